"""Handles of libraries on top of the driver are counted, however a program comes by the functions that make them; and a program
without such a library finds none."""
import collections
import json
import os
import subprocess
import tempfile
import unittest

SNAP, LINKED, UNLINKED, LIBRARY = (os.environ[name] for name in ("SNAP", "LINKED", "UNLINKED", "LIBRARY"))

ENVIRONMENT = {**os.environ, "LD_LIBRARY_PATH": os.path.dirname(LIBRARY) + ":" + os.environ.get("LD_LIBRARY_PATH", "")}


def run(program, how, library=LIBRARY):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "handles.snap")
        out = subprocess.run([SNAP, "run", "-q", "-o", os.path.join(directory, "%n.snap"), "--", program, how, path, library],
                             capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
        if out.returncode != 0:
            raise AssertionError(f"status {out.returncode}: {out.stderr}")
        if not os.path.exists(path):
            return out.stdout, None
        text = subprocess.run([SNAP, "convert", path], check=True, capture_output=True, timeout=60).stdout
    return out.stdout, json.loads(text)["tables"]


class Handles(unittest.TestCase):
    def check(self, tables):
        kinds = collections.Counter(r["kind"] for r in tables["RSRC"])
        self.assertEqual(kinds["library_handle"], 4 + 4)
        self.assertEqual(kinds["communicator"], 6)
        frames = {f["frame"]: f["function"] for f in tables["SYMB"]}
        innermost = {s["id"]: frames.get(s["frame"]) for s in tables["STAK"]}
        self.assertEqual({innermost[r["stack"]] for r in tables["RSRC"] if r["kind"] == "communicator"}, {"main"})
        self.assertEqual({r["handle"] for r in tables["RSRC"] if r["kind"] == "library_handle"} & set(range(100)), {1, 2, 5, 6})
        missing = {m["name"] for m in tables["META"] if m["key"] == "completeness"}
        self.assertFalse(missing & {"unknown_frees", "unseen_device_calls", "dropped_blocks"}, missing)

    def test_linked(self):
        self.check(run(LINKED, "link")[1])

    def test_whole_program(self):
        self.check(run(LINKED, "default")[1])

    def test_local(self):
        self.check(run(UNLINKED, "local")[1])

    def test_deep(self):
        self.check(run(UNLINKED, "deep")[1])

    def test_library_that_finds_its_own_names_elsewhere(self):
        for how, library in ("program", "DISPATCHER"), ("plugin", "DISPATCHER_USER"):
            tables = run(os.environ["DISPATCH"], how, os.environ[library])[1]
            self.assertEqual([r["kind"] for r in tables["RSRC"]], ["library_handle"] * 3, how)
            missing = {m["name"] for m in tables["META"] if m["key"] == "completeness"}
            self.assertFalse(missing & {"unknown_frees", "unseen_device_calls", "dropped_blocks"}, missing)

    def test_absent(self):
        self.assertEqual(run(UNLINKED, "default")[0], "absent\n")


if __name__ == "__main__":
    unittest.main()
