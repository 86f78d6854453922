"""What a program tells only NVTX of its pools is in the file as it is in the program's books; without the recorder, and with another
tool, it runs as ever.
"""
import json
import os
import subprocess
import tempfile
import unittest

SNAP = os.environ["SNAP"]
PROGRAMS = os.environ["PROGRAMS"].split(":")
SIZE = 4096 * 512


class Nvtx(unittest.TestCase):
    def run_program(self, program, seed, **environment):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "nvtx.snap")
            command = [SNAP, "run", "-o", os.path.join(directory, "%n.snap"), "--", program, path, str(seed)]
            run = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
            self.assertEqual(run.returncode, 0, run.stderr)
            self.notes = run.stderr
            subprocess.run([SNAP, "verify", path], check=True, capture_output=True)
            self.tables = json.loads(subprocess.run([SNAP, "convert", path], check=True, capture_output=True).stdout)["tables"]
            self.devices = json.loads(subprocess.run([SNAP, "show", "--json", path], check=True, capture_output=True).stdout)["devices"]
        lines = [line.split() for line in run.stdout.splitlines()]
        self.places = [int(place, 0) for place in lines[-1][1:]]
        return {line[0]: tuple(map(int, line[1:])) for line in lines[:-1]}

    def type_at(self, address):
        node, = [n for n in self.tables["NODE"] if n.get("address") == address and n["domain"] == "host"]
        return next(t["name"] for t in self.tables["TYPE"] if t["id"] == node["type"])

    def test_books(self):
        for program in PROGRAMS:
            for seed in range(2):
                books = self.run_program(program, seed)
                named, unnamed, reset, _, block = self.places
                rows = {(row["name"], row["domain"]): row for row in self.tables["POOL"] if "parent" not in row}
                self.assertEqual(set(rows), {("named", "device"), ("a.domain", "device"), ("r\u00e9set \u20ac", "device"), ("host", "host")})
                for name, place in ("named", named), ("a.domain", unnamed):
                    row = rows[name, "device"]
                    self.assertEqual((row["kind"], row["address"], row["size"], row["live"], row["cached"]),
                                     ("api", place, SIZE, books[name][1], SIZE - books[name][1]))
                    blocks = [b for b in self.tables["NODE"] if b.get("pool") == row["id"]]
                    self.assertEqual((len(blocks), sum(b["size"] for b in blocks)), books[name])
                row = rows["r\u00e9set \u20ac", "device"]
                self.assertEqual((row["address"], row["live"], row["largest_gap"]), (reset, 100, SIZE - 4096 - 100))
                self.assertEqual(rows["host", "host"]["live"], books["host"][1])
                self.assertEqual(books["handle"], (1,))
                self.assertEqual(self.type_at(block), "a block")
                live = 3 * SIZE + books["named"][1] + books["a.domain"][1] + 100
                self.assertEqual(self.devices[0]["live_bytes"], [live])
                missing = {row["name"]: row["value"] for row in self.tables["META"] if row["key"] == "completeness"}
                self.assertEqual(missing.get("dropped_annotations"), 1)

    def test_ranges_have_no_function(self):
        for program in PROGRAMS:
            self.assertEqual(self.run_program(program, 1)["pop"], (-2,))  # NVTX_NO_PUSH_POP_TRACKING

    def test_another_tool(self):
        for program in PROGRAMS:
            self.run_program(program, 1, NVTX_INJECTION64_PATH="/nowhere/other.so")
            self.assertEqual(self.tables.get("POOL", []), [])
            self.assertIn("NVTX speaks to another tool", self.notes)

    def test_preloading_undone(self):
        """The variable alone is left: the recorder is opened too late, and does nothing."""
        for program in PROGRAMS:
            with tempfile.TemporaryDirectory() as directory:
                script = f'unset LD_PRELOAD; "{program}" "{directory}/late.snap" 1'
                run = subprocess.run([SNAP, "run", "-q", "-o", os.path.join(directory, "%p-%n.snap"), "--", "sh", "-c", script],
                                     capture_output=True, text=True, timeout=60, check=False)
                self.assertEqual((run.returncode, run.stderr), (0, ""))
                self.assertIn("pop -2\n", run.stdout)
                path = os.path.join(directory, "late.snap")
                tables = json.loads(subprocess.run([SNAP, "convert", path], check=True, capture_output=True).stdout)["tables"]
                self.assertEqual(tables.get("POOL", []), [])


if __name__ == "__main__":
    unittest.main()
