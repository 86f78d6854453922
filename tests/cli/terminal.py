#!/usr/bin/env python3
"""What depends on where output goes and who runs it: colours on a terminal only, lines that fit into
it, and files that may not be read.

    terminal.py --bin DIRECTORY --heapdsl PROGRAM"""

import argparse
import fcntl
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

parser = argparse.ArgumentParser()
parser.add_argument("--bin", required=True, type=pathlib.Path)
parser.add_argument("--heapdsl", required=True, type=pathlib.Path)
parser.add_argument("--name", help="ignored")
OPTIONS = parser.parse_args()

LIFE = b"""alloc main>outer@%(long)s.c:1>f@f.c:1 1 x 1000
snap a.snap
alloc main>outer@%(long)s.c:1>f@f.c:1 1000 x 1000
alloc main>%(long)s%(long)s%(long)s<%(long)s>::method@f.c:1 1000 x 1000
snap b.snap
""" % {b"long": b"a_long_name_of_a_function_or_file_" * 2}


class Terminal(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        subprocess.run([OPTIONS.heapdsl.resolve(), "-C", self.directory.name], input=LIFE, check=True)
        self.snapdiff = str(OPTIONS.bin.resolve() / "snapdiff")

    def on_terminal(self, columns, **environment):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        done = subprocess.Popen([self.snapdiff, "a.snap", "b.snap"], cwd=self.directory.name, stdin=slave, stdout=slave,
                                stderr=slave, env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **environment})
        os.close(slave)
        data = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            data += piece
        os.close(master)
        self.assertEqual(done.wait(), 1)
        return data.decode()

    def test_colours_on_a_terminal(self):
        self.assertIn("\x1b[1;33mGROWTH\x1b[0m", self.on_terminal(80))

    def test_no_colours_if_not_wanted(self):
        for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            with self.subTest(environment):
                text = self.on_terminal(80, **environment)
                self.assertIn("GROWTH", text)
                self.assertNotIn("\x1b", text)

    def test_no_colours_in_a_pipe(self):
        done = subprocess.run([self.snapdiff, "a.snap", "b.snap"], cwd=self.directory.name, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm", "NO_COLOR": ""})
        self.assertNotIn(b"\x1b", done.stdout)
        self.assertEqual(done.stderr, b"")

    def test_lines_fit(self):
        for columns in (60, 80, 132):
            with self.subTest(columns):
                text = re.sub("\x1b\\[[0-9;]*m", "", self.on_terminal(columns))
                # The tables of numbers need 80.
                self.assertLessEqual(max(len(line) for line in text.splitlines()), max(columns, 80))

    def test_unreadable_file(self):
        if os.geteuid() == 0:
            self.skipTest("root may read everything")
        os.chmod(os.path.join(self.directory.name, "a.snap"), 0)
        done = subprocess.run([self.snapdiff, "a.snap", "b.snap"], cwd=self.directory.name, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, "snapdiff: cannot open 'a.snap': Permission denied\n")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=2)
