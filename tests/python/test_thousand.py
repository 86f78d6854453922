"""A thousand snapshots in one process leave nothing behind in it: by the kernel's books, and by what snapdiff says of it."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
COUNT = int(os.environ.get("THOUSAND", "1000"))


class Thousand(unittest.TestCase):
    def check(self, prefix):
        with tempfile.TemporaryDirectory(prefix="heapsnap-thousand-") as folder, tempfile.TemporaryDirectory(prefix="heapsnap-thousand-") as end:
            command = [part.replace("END", end) for part in prefix] + [sys.executable, os.path.join(HERE, "thousand.py"), folder, str(COUNT)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                                  env={**os.environ, "TMPDIR": end})
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            left = {name for _, _, names in os.walk(end) for name in names}
            self.assertEqual(left - {"end.snap"}, set(), "temporary files")
            told = json.loads(done.stdout)
            print(*prefix[:2] or ["untracked"], *told, sep="\n    ", file=sys.stderr)
            first, last = told[1], told[-1]  # by then all that is made once is made
            for what in ("descriptors", "children", "threads"):
                self.assertEqual(last[what], first[what], what)
            self.assertEqual(last["files"] - first["files"], len(told) - 2, "files that nobody asked for")
            self.assertLessEqual(last["mappings"], first["mappings"] + 2)
            # A page for every snapshot would be four times as much.
            self.assertLessEqual(last["anonymous_kb"], first["anonymous_kb"] + COUNT * 3 // 5, "pages")
            self.assertLessEqual(last["virtual_kb"], first["virtual_kb"] + COUNT * 3 // 5, "address space")
            kept = [os.path.join(folder, "kept.%d.snap" % (COUNT // 5 * turn)) for turn in range(2, 6)]
            diff = subprocess.run([os.environ["SNAPDIFF"], "--json", *kept], capture_output=True, text=True, check=False)
            self.assertIn(diff.returncode, (0, 1), diff.stderr)
            report = json.loads(diff.stdout)
            self.assertEqual(report["verdict"], "no-growth", json.dumps(report["suspects"])[:3000])

    def test_untracked(self):
        self.check([])

    def test_tracked(self):
        self.check([os.environ["SNAP"], "run", "-q", "-o", "END/end.snap", "--"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
