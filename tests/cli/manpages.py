#!/usr/bin/env python3
"""Every option that --help names stands in the man page with the same form, and the other way round;
every verb has its section; pages format without a complaint.

    manpages.py --bin DIRECTORY --name NAME"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True, type=pathlib.Path)
parser.add_argument("--heapdsl", help="ignored")
parser.add_argument("--name", default="snap")
OPTIONS = parser.parse_args()
COMMON = {"-h, --help", "--version"}


def help_options(*command):
    text = subprocess.run([OPTIONS.bin / command[0], *command[1:], "--help"], stdout=subprocess.PIPE, check=True,
                          text=True).stdout
    found = set()
    for line in text.splitlines():
        match = re.match(r"  (?:(-\w)(?:, )?|    )(--[a-z-]+)?([= ][A-Z]+)?(?:  |$)", line)
        if match and (match.group(1) or match.group(2)):
            found.add(", ".join(name for name in match.groups()[:2] if name) + (match.group(3) or ""))
    return found


def verbs():
    text = subprocess.run([OPTIONS.bin / OPTIONS.name, "--help"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return set(re.findall(r"(?m)^  ([a-z]+) ", text.split("Verbs:")[1]))


def page_options(text):
    """What stands under .TP and looks like an option."""
    found = set()
    lines = text.splitlines()
    for before, line in zip(lines, lines[1:]):
        if before == ".TP" and line.startswith("\\fB\\-"):
            found.add(re.sub(r"\\f[BIR]", "", line).replace("\\-", "-"))
    return found


class Manpages(unittest.TestCase):
    def setUp(self):
        self.snap = (OPTIONS.bin / (OPTIONS.name + ".1")).read_text()
        self.snapdiff = (OPTIONS.bin / "snapdiff.1").read_text()
        self.sections = dict(re.findall(r"(?ms)^\.SS %s (\w+)\n(.*?)(?=^\.S[SH] )" % re.escape(OPTIONS.name), self.snap))

    def test_snapdiff(self):
        options = help_options("snapdiff")
        self.assertGreater(len(options), 5)
        self.assertEqual(page_options(self.snapdiff), options)

    def test_verbs(self):
        present = verbs()
        # Without the recorder there is no run and no take; the page is the same.
        self.assertEqual(set(self.sections) - {"run", "take"}, present - {"run", "take"})
        for verb in sorted(present):
            with self.subTest(verb):
                self.assertEqual(page_options(self.sections[verb]), help_options(OPTIONS.name, verb) - COMMON)

    def test_nothing_left_to_put_in_place(self):
        for page in OPTIONS.bin.glob("*.[15]"):
            self.assertNotRegex(page.read_text(), "@[A-Z_]+@")

    def test_pages_format(self):
        groff = shutil.which("groff")
        if groff is None:
            self.skipTest("groff is not installed")
        for page in OPTIONS.bin.glob("*.[15]"):
            with self.subTest(page.name):
                done = subprocess.run([groff, "-man", "-Tutf8", "-ww", page], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=2)
