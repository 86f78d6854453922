"""What a file says of the process it was taken of: the blocks are those of the program's own books, and the names are in
the file, so that it says the same where the binaries are gone."""
import os
import shutil
import subprocess
import tempfile
import unittest

SNAP = os.environ["SNAP"]
BOOKKEEPER = os.environ["BOOKKEEPER"]
STEPS = os.environ.get("STEPS", "5000")
RACING_SIZE = 5000
WORKER = "step"


class Files(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="files-")
        self.addCleanup(shutil.rmtree, self.directory, True)

    def run_tracked(self, *command):
        done = subprocess.run([SNAP, "run", "-q", "--", *command], cwd=self.directory, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=500)
        self.assertEqual(done.returncode, 0, done.stderr.decode())

    def snap(self, *arguments):
        done = subprocess.run([SNAP, *arguments], cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=500)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode()

    def blocks(self, name):
        """{(address, size)} of the blocks that the bookkeeper's workers allocated."""
        import json
        tables = {}
        for line in self.snap("convert", "--to", "jsonl", name).splitlines():
            row = json.loads(line)
            tables.setdefault(row["table"], []).append(row)
        strings = {row["id"]: row["text"] for row in tables["STRS"]}
        ours = {row["frame"] for row in tables["SYMB"] if strings.get(row.get("function")) == WORKER}
        of_worker = [False]
        for row in tables["STAK"]:
            of_worker.append(row["frame"] in ours or of_worker[row.get("parent", 0)])
        return {(row["address"], row.get("size", 0)) for row in tables["NODE"] if of_worker[row.get("stack", 0)]}

    def books(self, number):
        with open(os.path.join(self.directory, f"{number}.books")) as file:
            return {tuple(map(int, line.split())) for line in file}

    def test_blocks_are_those_of_the_books(self):
        for threads in ("1", "3", "16"):
            self.run_tracked(BOOKKEEPER, threads, STEPS, "3", threads)
            for number in range(3):
                books = self.books(number)
                self.assertGreater(len(books), 500 * int(threads))
                self.assertEqual(self.blocks(f"{number}.snap") ^ books, set())
                self.snap("verify", f"{number}.snap")
                os.unlink(os.path.join(self.directory, f"{number}.snap"))

    def test_blocks_are_those_of_the_books_while_others_race(self):
        self.run_tracked(BOOKKEEPER, "8", STEPS, "4", "5", "racing")
        for number in range(4):
            blocks = self.blocks(f"{number}.snap")
            calm = {block for block in blocks if block[1] < RACING_SIZE}
            self.assertEqual(calm ^ self.books(number), set())
            self.assertGreater(len(blocks), len(calm))
            starts = sorted(blocks)
            self.assertTrue(all(a[0] + a[1] <= b[0] for a, b in zip(starts, starts[1:])), "blocks overlap")
            self.snap("verify", f"{number}.snap")

    def test_names_stay_without_the_binaries(self):
        program = os.path.join(self.directory, "program")
        shutil.copy(BOOKKEEPER, program)
        self.run_tracked(program, "1", "2000", "1", "9")
        before = self.snap("show", "0.snap", "--top", "50")
        self.assertIn(f"{WORKER} ", before)
        self.assertIn("bookkeeper.c:", before)
        os.unlink(program)
        empty = os.path.join(self.directory, "nothing")
        os.mkdir(empty)
        self.assertEqual(self.snap("show", "0.snap", "--top", "50"), before)


if __name__ == "__main__":
    unittest.main()
