"""What the children of a process have for themselves: counters in its snapshots, and what snapdiff says when they grow."""
import glob
import json
import os
import re
import subprocess
import tempfile
import unittest

SNAP, SNAPDIFF, WORKERS = (os.environ[name] for name in ("SNAP", "SNAPDIFF", "WORKERS"))
STEP = 4 << 20
SLACK = 256 << 10  # pages of the stack and of libc that are written on the way
TIMEOUT = 120
NOBODY = 65534


class Workers(unittest.TestCase):
    arguments, options = (), {}

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="workers-")
        self.addCleanup(self.folder.cleanup)
        os.chmod(self.folder.name, 0o777)
        self.run_ = subprocess.Popen([SNAP, "run", "-q", "-o", os.path.join(self.folder.name, "end.snap"), "--", WORKERS, *self.arguments],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **self.options)
        self.addCleanup(self.end)
        if self.run_.stdout.readline() != "ready\n":
            self.skipTest("the program cannot run so")
        self.pid = children_of(self.run_.pid)[0]

    def end(self):
        try:
            self.run_.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.run_.kill()
            raise

    def do(self, letters):
        for letter in letters:
            self.run_.stdin.write(letter + "\n")
            self.run_.stdin.flush()
            self.assertEqual(self.run_.stdout.readline(), "done\n")

    def take(self, name):
        path = os.path.join(self.folder.name, name + ".snap")
        subprocess.run([SNAP, "take", "-q", "-o", path, str(self.pid)], check=True, timeout=TIMEOUT)
        return path

    def three(self, letters):
        """Reports over snapshots with the same work between."""
        paths = [self.take("0")]
        for i in range(1, 4):
            self.do(letters)
            paths.append(self.take(str(i)))
        done = subprocess.run([SNAPDIFF, "--json", *paths], capture_output=True, text=True, timeout=TIMEOUT)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return json.loads(done.stdout)

    def test_counters(self):
        self.do("cm")
        counters = process_counters(self.take("a"))
        own = {f"child{pid}_private_dirty_bytes": private_bytes(pid) for pid in descendants(self.pid) if is_worker(pid)}
        self.assertEqual(len(own), 4)
        self.assertEqual(counters["children"], len(own))
        self.assertNotIn("children_unread", counters)
        told = {name: value for name, value in counters.items() if re.fullmatch(r"child\d+_private_dirty_bytes", name)}
        self.assertEqual(sorted(told), sorted(own))
        for name, value in own.items():
            self.assertLess(abs(told[name] - value), SLACK, name)
        self.assertEqual(counters["children_private_dirty_bytes"], sum(told.values()))
        self.assertEqual(counters["children_anonymous_bytes"],
                         sum(value for name, value in counters.items() if re.fullmatch(r"child\d+_anonymous_bytes", name)))

    def test_copies_of_the_recorder_are_no_children(self):
        """The page of control lets one ask at a time, but does not wait for the files."""
        paths = [os.path.join(self.folder.name, f"many{i}.snap") for i in range(6)]
        for process in [subprocess.Popen([SNAP, "take", "-q", "-o", path, str(self.pid)]) for path in paths]:
            self.assertEqual(process.wait(TIMEOUT), 0)
        self.assertEqual([process_counters(path)["children"] for path in paths], [4] * len(paths))

    def test_copied_pages_are_no_leak(self):
        report = self.three("c")
        self.assertEqual([], report["suspects"])
        (row,) = [row for row in report["not_leaks"] if row["class"] == "copy-on-write"]
        self.assertLess(abs(row["bytes"] - 3 * STEP), SLACK)
        self.assertRegex(row["explanation"], r"private pages of 4 child processes \+12\.\d MB.*arrays")

    def test_so_are_those_of_children_of_children(self):
        (row,) = [row for row in self.three("g")["not_leaks"] if row["class"] == "copy-on-write"]
        self.assertLess(abs(row["bytes"] - 3 * STEP), SLACK)

    def test_memory_that_a_child_makes_is_its_own(self):
        report = self.three("m")
        self.assertEqual([row for row in report["not_leaks"] if row["class"] == "copy-on-write"], [])
        (text,) = [text for text in report["limits"] if text.startswith("memory that")]
        first, last = (process_counters(os.path.join(self.folder.name, name)) for name in ("0.snap", "3.snap"))
        maker = max((name for name in last if re.fullmatch(r"child\d+_anonymous_bytes", name)), key=lambda name: last[name] - first[name])
        pid = re.search(r"\d+", maker)[0]
        self.assertRegex(text, rf"^memory that 4 child processes made grew by 12\.\d MB, nowhere more than in process {pid}: ")

    def test_no_work_says_nothing(self):
        report = self.three("")
        self.assertEqual([row for row in report["not_leaks"] if row["class"] == "copy-on-write"], [])
        self.assertNotIn("child process", " ".join(report["limits"]))

    def test_a_child_that_has_ended_is_not_counted(self):
        self.do("e")
        self.assertEqual(process_counters(self.take("a"))["children"], 3)


class Unreadable(Workers):
    """One that may not be looked at is counted, and nothing else of it."""

    arguments, options = ("hidden",), {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("not root, who can be somebody else")
        try:
            super().setUp()
        except PermissionError:
            self.skipTest("nobody may not run the programs")

    def test_counters(self):
        counters = process_counters(self.take("a"))
        self.assertEqual((counters["children"], counters.get("children_unread")), (5, 1))
        self.assertEqual(len([name for name in counters if re.fullmatch(r"child\d+_private_dirty_bytes", name)]), 4)

    test_copies_of_the_recorder_are_no_children = test_copied_pages_are_no_leak = None
    test_so_are_those_of_children_of_children = test_memory_that_a_child_makes_is_its_own = None
    test_no_work_says_nothing = test_a_child_that_has_ended_is_not_counted = None


def children_of(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(path, encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def descendants(pid):
    return [one for child in children_of(pid) for one in (child, *descendants(child))]


def is_worker(pid):
    """Not a copy that the recorder has made and that has not been taken note of."""
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:
        return file.read() == "workers\n"


def private_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return int(re.search(r"Private_Dirty: +(\d+) kB", file.read())[1]) * 1024


def process_counters(path):
    done = subprocess.run([SNAP, "convert", "--to", "json", path], capture_output=True, check=True, timeout=TIMEOUT)
    return {row["name"]: row.get("value", 0) for row in json.loads(done.stdout)["tables"]["META"] if row["key"] == "process"}


if __name__ == "__main__":
    unittest.main(verbosity=2)  # reasons of what is skipped, too
