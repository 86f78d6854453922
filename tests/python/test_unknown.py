"""Interpreters that nothing is known of are run as if they were none, and the file says what is missing."""
import os
import subprocess
import tempfile
import unittest

from graph import SNAP, Graph

VERSIONS = {
    "3.14.0 (main, Oct  7 2025) [GCC]": "3.14.0",
    "3.13.1 experimental free-threading build (main)": "3.13.1 without the global lock",
    "3.9.18 (main)": "3.9.18",
    "3.99.0a1+": "3.99.0a1+",
    "4.0": "4.0",
    "three": "three",
    "3.": "3.",
    "": "",
}


class Unknown(unittest.TestCase):
    def test_versions(self):
        for version, named in VERSIONS.items():
            with self.subTest(version=version), tempfile.TemporaryDirectory(prefix="heapsnap-unknown-") as folder:
                path = os.path.join(folder, "a.snap")
                done = subprocess.run([SNAP, "run", "-o", path, "--at-exit", "--", os.environ["UNKNOWN"]], capture_output=True, text=True,
                                      env={**os.environ, "UNKNOWN_VERSION": version}, check=False, timeout=200)
                self.assertEqual(done.returncode, 7, done.stderr)
                self.assertIn(f"no reader for CPython {named} is installed", done.stderr)
                g = Graph(path)
                self.assertEqual(sum(n.size == 4321 for n in g.nodes[1:]), 1000)
                self.assertEqual(g.meta["python_objects_unread"], 1)


if __name__ == "__main__":
    unittest.main()
