"""Other tools that stand in front of the recorder or behind it: the program does what it does without the recorder, and its
blocks are seen. PROGRAM holds them; INTERPOSERS are builds of one such tool."""
import collections
import json
import os
import subprocess
import tempfile
import unittest

SNAP, PROGRAM = os.environ["SNAP"], os.environ["PROGRAM"]
INTERPOSERS = os.environ["INTERPOSERS"].split(":")
FRONT = 'LD_PRELOAD="$0:$LD_PRELOAD" exec "$@"'
BLOCKS = dict.fromkeys((1201, 1203, 1205, 1207, 1209, 1211, 1920, 1213), 16)


def run(command, **environment):
    environment = {**os.environ, **environment}
    environment.pop("MALLOC_PERTURB_", None)
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


class Interposer(unittest.TestCase):
    def check(self, command, plain, **environment):
        """The sizes of blocks in the file of a run that printed what it prints untracked."""
        with tempfile.TemporaryDirectory() as directory:
            done = run([SNAP, "run", "-q", "-o", os.path.join(directory, "%n.snap"), "--", *command], **environment)
            self.assertEqual((done.returncode, done.stdout), (plain.returncode, plain.stdout), done.stderr)
            path = os.path.join(directory, sorted(os.listdir(directory))[-1])
            self.assertEqual(run([SNAP, "verify", path]).returncode, 0)
            tables = json.loads(run([SNAP, "convert", path]).stdout)["tables"]
        self.assertTrue(any(r["size"] == 1 << 20 and "stack" in r for r in tables["REGN"]))
        sizes = collections.Counter(n["size"] for n in tables["NODE"])
        return {size: sizes[size] for size in BLOCKS}, done.stderr

    def test_alone(self):
        self.assertEqual(self.check([PROGRAM], run([PROGRAM]))[0], BLOCKS)

    def test_behind(self):
        for interposer in INTERPOSERS:
            with self.subTest(os.path.basename(interposer)):
                plain = run([PROGRAM], LD_PRELOAD=interposer, INTERPOSER_SAYS="1")
                self.assertEqual(plain.returncode, 0, plain.stderr)
                sizes, says = self.check([PROGRAM], plain, LD_PRELOAD=interposer, INTERPOSER_SAYS="1")
                self.assertEqual(sizes, BLOCKS)
                self.assertIn(" mmap ", says)

    def test_in_front(self):
        for interposer in INTERPOSERS:
            with self.subTest(os.path.basename(interposer)):
                plain = run([PROGRAM], LD_PRELOAD=interposer)
                self.assertEqual(plain.returncode, 0, plain.stderr)
                self.assertEqual(self.check(["sh", "-c", FRONT, interposer, PROGRAM], plain)[0], BLOCKS)

    def test_exec_in_front(self):
        for interposer in INTERPOSERS:
            with self.subTest(os.path.basename(interposer)):
                command = [PROGRAM, "sh", "-c", "echo other"]
                plain = run(command, LD_PRELOAD=interposer)
                self.assertEqual(plain.stdout.splitlines()[-1], "other")
                with tempfile.TemporaryDirectory() as directory:
                    done = run([SNAP, "run", "-q", "-o", os.path.join(directory, "%p.%n.snap"), "--", "sh", "-c", FRONT, interposer, *command])
                self.assertEqual((done.returncode, done.stdout), (plain.returncode, plain.stdout), done.stderr)


if __name__ == "__main__":
    unittest.main()
