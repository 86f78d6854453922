"""The build options: each can be off alone; with all of them off the library and the commands still build; and each
combination configures.

usage: test_options.py [--all]        --all: what is built with all of them off, and all combinations of on and off, configured only
"""
import itertools
import os
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.environ["SOURCE_ROOT"]
OPTIONS = ["cuda", "python", "dwarf", "capture", "tests"]


def meson(*arguments):
    done = subprocess.run(["meson", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        output = (done.stdout + done.stderr)[-3000:]
        raise AssertionError(f"meson {' '.join(arguments)} ended with {done.returncode}:\n{output}")
    return done.stdout


class Options(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="heapsnap-options-")
        self.addCleanup(temporary.cleanup)
        self.build = os.path.join(temporary.name, "build")

    def configure(self, **values):
        """Sets each option to its value, those not named to auto."""
        again = ["--reconfigure"] if os.path.exists(os.path.join(self.build, "build.ninja")) else []
        return meson("setup", *again, self.build, SOURCE, "-Dwerror=true", "-Doptimization=0", "-Ddebug=false",
                     *(f"-D{name}={values.get(name, 'auto')}" for name in OPTIONS))


class EachAlone(Options):
    def test_no_warning_from_meson(self):
        out = self.configure()
        self.assertEqual([line for line in out.splitlines() if "deprecat" in line.lower()], [])

    def test_one_off(self):
        for name in OPTIONS:
            with self.subTest(option=name):
                self.configure(**{name: "disabled"})


class AllCombinations(Options):
    def test_all_off_builds(self):
        self.configure(**dict.fromkeys(OPTIONS, "disabled"))
        meson("compile", "-C", self.build)
        version = subprocess.run([os.path.join(self.build, "cmd", os.environ["COMMAND_NAME"]), "--version"],
                                 capture_output=True, text=True)
        self.assertEqual(version.returncode, 0, version.stderr)
        self.assertIn("(heapsnap)", version.stdout)

    def test_one_on(self):
        for name in OPTIONS:
            with self.subTest(option=name):
                self.configure(**{name: "enabled"})

    def test_each_configures(self):
        for values in itertools.product(["enabled", "disabled"], repeat=len(OPTIONS)):
            combination = dict(zip(OPTIONS, values))
            with self.subTest(**combination):
                self.configure(**combination)


if __name__ == "__main__":
    if "--all" in sys.argv:
        sys.argv.remove("--all")
        unittest.main(defaultTest="AllCombinations", verbosity=2)
    else:
        unittest.main(defaultTest="EachAlone", verbosity=2)
