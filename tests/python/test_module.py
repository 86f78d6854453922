"""The module heapsnap as a user meets it."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import heapsnap
from graph import Graph, Program


class Folder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="heapsnap-python-")
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, name):
        return os.path.join(self.folder, name)


class Interpreters(Folder):
    def test_objects_of_another_interpreter(self):
        program = (
            "try:\n    import _interpreters as them\nexcept ImportError:\n    import _xxsubinterpreters as them\n"
            "other = them.create()\n"
            "(getattr(them, 'exec', None) or them.run_string)(other, 'class Other: pass\\nkept = [Other() for _ in range(321)]')\n"
            "snap('a')\n"
        )
        self.assertEqual(len(Program(program)["a"].of_type("__main__.Other")), 321)

    def test_free_threaded_builds_are_refused(self):
        program = "import sysconfig; sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1; import heapsnap"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("ImportError: heapsnap does not know free-threaded builds of CPython yet", done.stderr)


class Snap(Folder):
    def test_what_it_says(self):
        path = self.path("a.snap")
        heapsnap.snap(path, label="first", step=-3, rank=2, counters={"samples": 12, "lost": -1})
        meta = Graph(path).meta
        self.assertEqual(meta[8], "first")
        self.assertEqual(meta[7] - 2**64 if meta[7] >= 2**63 else meta[7], -3)
        self.assertEqual(meta[6], 2)
        self.assertEqual(meta["samples"], 12)

    def test_patterns(self):
        heapsnap.snap(self.path("p%p-%r-%%.snap"), rank=5)
        self.assertEqual(os.listdir(self.folder), [f"p{os.getpid()}-5-%.snap"])

    def test_path_like_and_bytes(self):
        import pathlib

        heapsnap.snap(pathlib.Path(self.path("a.snap")))
        heapsnap.snap(self.path("b.snap").encode())
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.snap", "b.snap"])

    def test_existing_file(self):
        path = self.path("a.snap")
        heapsnap.snap(path)
        with self.assertRaises(heapsnap.Error) as caught:
            heapsnap.snap(path)
        self.assertIsInstance(caught.exception, OSError)
        self.assertIn("a.snap", str(caught.exception))
        heapsnap.snap(path, overwrite=True)

    def test_folder_that_is_not_there(self):
        with self.assertRaises(heapsnap.Error):
            heapsnap.snap(self.path("none/a.snap"))

    def test_arguments(self):
        for wrong in ({"step": "x"}, {"counters": [1]}, {"counters": {1: 1}}, {"counters": {"a": "x"}}, {"label": 5}):
            with self.assertRaises(TypeError, msg=wrong):
                heapsnap.snap(self.path("a.snap"), **wrong)
        with self.assertRaises(ValueError):
            heapsnap.snap(self.path("a.snap"), counters={str(i): i for i in range(65)})
        with self.assertRaises(ValueError):
            heapsnap.snap("")
        self.assertEqual(os.listdir(self.folder), [])

    def test_no_writer(self):
        os.environ["HEAPSNAP_WRITE"], kept = self.path("none"), os.environ["HEAPSNAP_WRITE"]
        try:
            with self.assertRaises(heapsnap.Error) as caught:
                heapsnap.snap(self.path("a.snap"))
        finally:
            os.environ["HEAPSNAP_WRITE"] = kept
        self.assertIn("heapsnap-write", str(caught.exception))

    def test_not_tracked(self):
        self.assertFalse(heapsnap.is_tracked())


class Loops(Folder):
    def test_epochs(self):
        seen = list(heapsnap.epochs("abc", self.path("%n.snap")))
        self.assertEqual(seen, ["a", "b", "c"])
        self.assertEqual(len(os.listdir(self.folder)), 3)

    def test_every(self):
        with heapsnap.every(2, self.path("%n.snap")) as watch:
            self.assertEqual([watch.step() for _ in range(5)], [False, True, False, True, False])
        self.assertEqual(len(os.listdir(self.folder)), 3)
        with self.assertRaises(ValueError):
            heapsnap.every(0, "x")


GROWING = """
class Batch: pass
kept = []
for i in range(4):
    kept += [Batch() for _ in range(2000)]
    snap(f"g{i}", step=i)
"""
IDLE = """
snap("warm")
for i in range(20):
    snap(f"i{i:02}")
"""


class Compare(Folder):
    def take(self, text):
        script = self.path("program.py")
        with open(script, "w", encoding="utf-8") as out:
            out.write(f"import os, heapsnap\ndef snap(name, **o):\n    heapsnap.snap(os.path.join({self.folder!r}, name + '.snap'), **o)\n" + text)
        subprocess.run([sys.executable, script], check=True)

    def test_growth(self):
        self.take(GROWING)
        found = heapsnap.diff([self.path(f"g{i}.snap") for i in range(1, 4)])
        rows = [row for row in found["types"] if row["type"] == "__main__.Batch"]
        self.assertEqual([row["counts"] for row in rows], [[4000, 6000, 8000]])
        self.assertNotEqual(found["verdict"], "no-growth")

    def test_idle(self):
        self.take(IDLE)
        found = heapsnap.diff(self.path(f"i{i:02}.snap") for i in range(20))
        self.assertEqual(found["verdict"], "no-growth", json.dumps(found["suspects"])[:2000])

    def test_show(self):
        heapsnap.snap(self.path("a.snap"))
        self.assertIsInstance(heapsnap.show(self.path("a.snap")), dict)
        with self.assertRaises(heapsnap.Error):
            heapsnap.show(self.path("none.snap"))

    def test_commands(self):
        heapsnap.snap(self.path("a.snap"))
        heapsnap.snap(self.path("b.snap"))
        done = subprocess.run([sys.executable, "-m", "heapsnap", "diff", "--json", self.path("a.snap"), self.path("b.snap")],
                              stdout=subprocess.PIPE, check=False)
        self.assertEqual(json.loads(done.stdout)["schema"], 1)
        done = subprocess.run([sys.executable, "-m", "heapsnap", "verify", self.path("a.snap")], stdout=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 0)


class Imports(unittest.TestCase):
    def test_stubs_name_what_there_is(self):
        import ast

        folder = os.path.dirname(heapsnap.__file__)
        with open(os.path.join(folder, "__init__.pyi"), encoding="utf-8") as stubs:
            tree = ast.parse(stubs.read())
        named = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        self.assertEqual(named, set(heapsnap.__all__))
        for name in heapsnap.__all__:
            self.assertTrue(getattr(heapsnap, name).__doc__, name)

    def test_without_a_loaded_thread_state(self):
        Program("snap('a')\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
