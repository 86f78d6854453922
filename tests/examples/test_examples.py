"""The small programs of examples/ under `snap run`: the sites they name are the ones their source leaks at."""
import glob
import json
import os
import subprocess
import tempfile
import unittest

BUILD = os.environ["BUILD_ROOT"]
SNAP = os.path.join(BUILD, "cmd", os.environ["COMMAND_NAME"])
SNAPDIFF = os.path.join(BUILD, "cmd", "snapdiff")


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def example(name):
    return os.path.join(BUILD, "examples", name)


class Examples(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="heapsnap examples ")
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name

    def run_ok(self, *command):
        done = run(*command)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
        return done

    def test_leak(self):
        plain = self.run_ok(example("leak"), "0.1")
        pattern = os.path.join(self.directory, "leak.%n.snap")
        for seconds in "2", "15":  # on a busy machine a moment passes while the file of the one before is written
            tracked = self.run_ok(SNAP, "run", "--force", "-o", pattern, "--every", "0.5", "--", example("leak"), seconds)
            self.assertEqual(tracked.stdout.split()[1:], plain.stdout.split()[1:])
            files = sorted(glob.glob(os.path.join(self.directory, "leak.*.snap")), key=lambda name: int(name.split(".")[-2]))
            if len(files) >= 3:
                break
        self.assertGreaterEqual(len(files), 3)
        diff = run(SNAPDIFF, "--json", *files)
        self.assertIn(diff.returncode, (0, 1), diff.stderr)
        site = json.loads(diff.stdout)["sites"][0]
        self.assertIn("open_session", [frame["function"] for frame in site["stack"]])
        self.assertEqual(site["counts"], sorted(site["counts"]))
        self.assertGreater(site["counts"][-1], site["counts"][0])

    def test_watch(self):
        tracked = self.run_ok(SNAP, "run", "-q", "--", example("watch"), self.directory)
        lines = tracked.stdout.splitlines()
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertIn("cache_result", line)
            self.assertIn("in +100 blocks", line)
        self.assertEqual(tracked.stderr, "")

    def test_annotate(self):
        plain = self.run_ok(example("annotate"))
        path = os.path.join(self.directory, "annotate.snap")
        tracked = self.run_ok(SNAP, "run", "-q", "-o", path, "--", example("annotate"))
        self.assertEqual(tracked.stdout, plain.stdout)
        chains = json.loads(self.run_ok(SNAP, "paths", "--json", "--type", "struct session", path).stdout)
        self.assertEqual(chains["count"], 200)
        self.assertIn("open sessions", json.dumps(chains))
        tables = json.loads(self.run_ok(SNAP, "convert", path).stdout)["tables"]
        self.assertEqual([hook["callback"] for hook in tables["HOOK"] if hook["registry"] == "on_close"], ["on_close"] * 3)
        self.assertEqual(sum(row["kind"] == "api_block" for row in tables["NODE"]), 200)

    def test_watch_without_a_recorder(self):
        plain = self.run_ok(example("watch"), self.directory)
        self.assertIn("not under `snap run`", plain.stderr)
        self.assertEqual(plain.stdout, "nothing grew\n" * 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
