"""The examples of tests that fail when memory is left behind: they pass, their twins that leak fail and name what grew."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE, BUILD = pathlib.Path(os.environ["SOURCE_ROOT"]), pathlib.Path(os.environ["BUILD_ROOT"])
SNAP = BUILD / "cmd" / os.environ["COMMAND_NAME"]
PACKAGE = BUILD / "lib" / "python"


class Growth(unittest.TestCase):
    def run_it(self, *command, **environment):
        with tempfile.TemporaryDirectory(prefix="heapsnap-growth-") as folder:
            done = subprocess.run([str(word) for word in command], cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        return done.returncode, done.stdout

    def check_growth(self, *arguments, tracked=True, **environment):
        program = BUILD / "examples/check_growth"
        if not program.exists():
            self.skipTest("no Check here")
        return self.run_it(*([SNAP, "run", "-q", "-o", "%p.snap", "--"] if tracked else []), program, *arguments, **environment)

    def test_check(self):
        status, output = self.check_growth()
        self.assertEqual(status, 0, output)
        self.assertIn("Checks: 1, Failures: 0, Errors: 0", output)

    def test_check_leak(self):
        status, output = self.check_growth("leak")
        self.assertEqual(status, 1, output)
        self.assertIn("Checks: 2, Failures: 1, Errors: 0", output)
        self.assertIn("test_messages_are_kept:0: 112 bytes more after every round", output)
        self.assertRegex(output, r"\+448 bytes  \+4  allocated in receive")

    def test_check_where_there_is_no_room(self):
        status, output = self.check_growth(TMPDIR="/proc")
        self.assertEqual(status, 1, output)
        self.assertRegex(output, "cannot make a folder for snapshots in /proc: ")

    def test_check_untracked(self):
        self.assertEqual(self.check_growth("leak", tracked=False)[0], 0)

    def pytest(self, *options, **environment):
        if not list(PACKAGE.glob("heapsnap/_heapsnap*.so")):
            self.skipTest("no Python module here")
        if subprocess.run([sys.executable, "-c", "import pytest"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("no pytest here (Debian: python3-pytest)")
        return self.run_it(sys.executable, "-m", "pytest", "-q", "-p", "heapsnap.pytest_plugin", "-p", "no:cacheprovider", *options,
                           PYTHONPATH=str(PACKAGE), HEAPSNAP_COMMANDS=str(BUILD / "cmd"), PYTHONDONTWRITEBYTECODE="1", **environment)

    def test_pytest(self):
        status, output = self.pytest(SOURCE / "examples/test_growth.py")
        self.assertEqual(status, 0, output)
        self.assertIn("1 passed, 1 skipped", output)

    def test_pytest_leak(self):
        status, output = self.pytest(SOURCE / "examples/test_growth.py", HEAPSNAP_LEAK="1")
        self.assertEqual(status, 1, output)
        self.assertIn("1 failed, 1 passed", output)
        self.assertIn("memory in use grows with every run", output)
        self.assertRegex(output, r"held by test_growth.*history\[\*\]")

    def test_pytest_marker(self):
        with tempfile.TemporaryDirectory() as folder:
            test = pathlib.Path(folder, "test_marker.py")
            test.write_text("import pytest\n@pytest.mark.heapsnap(max_growth='much')\ndef test_it(): pass\n")
            status, output = self.pytest("--strict-markers", test)
        self.assertEqual(status, 1, output)
        self.assertIn("max_growth='much' is no size", output)


if __name__ == "__main__":
    unittest.main(verbosity=2)  # reasons of what is skipped, too
