"""The recorder in programs: its stacks against libunwind, its hooks over several allocators, real programs undisturbed.

RECORDER_CHECK is the recorder of the tests, PROGRAMS the folder of the programs.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

RECORDER = os.environ["RECORDER_CHECK"]
PROGRAMS = os.environ["PROGRAMS"]
ROUNDS = os.environ.get("ROUNDS", "16")
COUNTS = re.compile(r"pid \d+: (\d+) stacks, (\d+) frames, (\d+) cut, (\d+) of them early, (\d+) through signals, (\d+) none, "
                    r"(\d+) unchecked, (\d+) found again, (\d+) different")


def program(name):
    return os.path.join(PROGRAMS, name)


def run(command, preload, timeout=60, **variables):
    env = dict(os.environ, LD_PRELOAD=preload, **variables)
    for name in ("MALLOC_PERTURB_", "ASAN_OPTIONS"):
        env.pop(name, None)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)


class Stacks(unittest.TestCase):
    def check(self, command, allow_early=False, at_least=1000):
        """Runs a command; returns the sums of what its processes counted."""
        with tempfile.TemporaryDirectory() as top:
            path = os.path.join(top, "counts")
            done = run(command, RECORDER, timeout=int(ROUNDS) + 100, HEAPSNAP_CHECK_STACKS=path)
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        rows = [tuple(map(int, row)) for row in COUNTS.findall(text)]
        stacks, frames, cut, early, signals, none, unchecked, again, different = map(sum, zip(*rows))
        self.assertGreaterEqual(stacks, at_least, text[-3000:])
        self.assertGreater(again, 0, text[-3000:])  # else they are not compared
        self.assertEqual(different, 0, text[:6000])
        self.assertEqual((none, unchecked), (0, 0), text[-3000:])
        if not allow_early:
            self.assertEqual(early, 0, text[:6000])
        return stacks, frames, cut, signals, again

    def test_loads(self):
        for kind in ("o0", "o2", "fp"):
            with self.subTest(kind):
                stacks, frames, cut, signals, again = self.check(
                    [program("stacks_load_" + kind), ROUNDS, program("stacks_module_40.so"), program("stacks_module_120.so")])
                self.assertGreater(frames, 5 * stacks)
                self.assertGreater(cut, 0)  # deeper than the limit
                self.assertGreater(signals, 100)
                self.assertGreater(again, stacks // 20)

    def test_sqlite3(self):
        tool = shutil.which("sqlite3") or self.skipTest("no sqlite3")
        script = ("create table t(a,b,c); with recursive r(x) as (select 1 union all select x+1 from r where x<500) "
                  "insert into t select x, hex(randomblob(20)), x%7 from r; create index i on t(b); "
                  "select count(*), c from t group by c; select sum(length(b)) from t where b like '%AB%';")
        self.check([tool, ":memory:", script])

    def test_python(self):
        self.check([sys.executable, "-S", "-c", "import json, re; print(len(json.dumps(list(range(1000)))))"])


class Hooks(unittest.TestCase):
    def check(self, command, preload, status, **variables):
        done = run(command, preload, timeout=60, **variables)
        self.assertEqual(done.returncode, status, (done.stdout + done.stderr)[-3000:])
        return done.stdout

    def test_libc(self):
        out = self.check([program("hooks_load")], RECORDER, 0)
        self.assertIn("libc.so.6", out)
        # One block was made while the recorder was frozen, one while it was mute, whose free is no unknown one.
        self.assertIn("0 wrong, 1 unknown frees", out)

    def test_allocators(self):
        found = 0
        for name, variables in (("jemalloc", {}), ("tcmalloc_minimal", {}), ("mimalloc", {"NO_THROW": "1"})):
            library = sorted(glob.glob(f"/usr/lib/*/lib{name}.so.*"))
            variables["NO_PVALLOC"] = "1"
            if library:
                with self.subTest(name + " preloaded behind the recorder"):
                    out = self.check([program("hooks_load")], RECORDER + " " + library[0], 0, **variables)
                    self.assertIn(f"lib{name}", out)
                with self.subTest(name + " preloaded before it"):
                    out = self.check([program("hooks_load")], library[0] + " " + RECORDER, 4, **variables)
                    self.assertIn(", foreign", out)
                found += 1
            if os.path.exists(program("hooks_load_" + name)):
                with self.subTest(name + " linked"):
                    out = self.check([program("hooks_load_" + name)], RECORDER, 0, **variables)
                    self.assertIn(f"lib{name}", out)
        if not found:
            self.skipTest("no other allocator is installed")


class Programs(unittest.TestCase):
    """With the recorder, and nothing set, programs print what they print without it and end the same way."""

    COMMANDS = (
        ["ls", "-l", "/usr/lib"],
        ["sh", "-c", "ls /etc | sort | head -5; exit 3"],
        ["bash", "-c", "for i in 1 2 3; do (echo $i & wait); done; kill -TERM $$"],
        ["python3", "-c", "import threading, subprocess, sys\n"
                          "t = [threading.Thread(target=lambda: [bytearray(i) for i in range(9999)]) for _ in range(8)]\n"
                          "[x.start() for x in t]; [x.join() for x in t]\n"
                          "print(subprocess.check_output(['echo', 'inner']))\n"
                          "import os\npid = os.fork()\nif pid: os.wait()\nprint(pid == 0, flush=True)"],
        ["sqlite3", ":memory:", "select 6 * 7"],
        ["git", "--version"],
        ["perl", "-e", "my %h; $h{$_} = 'x' x $_ for 1..3000; print scalar(keys %h), \"\\n\""],
        ["gcc", "-x", "c", "-O2", "-S", "-o", "-", "/dev/null"],
        ["node", "-e", "console.log([1,2,3].map(x => x * 2).join())"],
    )

    def test_same(self):
        for command in self.COMMANDS:
            if not shutil.which(command[0]):
                continue
            with self.subTest(command[0]):
                plain, recorded = run(command, ""), run(command, RECORDER)
                self.assertEqual((recorded.returncode, recorded.stdout, recorded.stderr),
                                 (plain.returncode, plain.stdout, plain.stderr))


if __name__ == "__main__":
    unittest.main(verbosity=2)
