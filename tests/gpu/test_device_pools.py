"""What a program says of its pools in memory of a device is in the file as it is in the program's books, and no byte is counted twice.
"""
import json
import os
import subprocess
import tempfile
import unittest

SNAP, PROGRAM = os.environ["SNAP"], os.environ["PROGRAM"]
SIZE = 4096 * 512


class Pools(unittest.TestCase):
    def run_program(self, seed):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "pools.snap")
            command = [SNAP, "run", "-q", "-o", os.path.join(directory, "%n.snap"), "--", PROGRAM, path, str(seed)]
            run = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertEqual(run.returncode, 0, run.stderr)
            subprocess.run([SNAP, "verify", path], check=True, capture_output=True)
            self.tables = json.loads(subprocess.run([SNAP, "convert", path], check=True, capture_output=True).stdout)["tables"]
            self.devices = json.loads(subprocess.run([SNAP, "show", "--json", path], check=True, capture_output=True).stdout)["devices"]
        lines = [line.split() for line in run.stdout.splitlines()]
        self.places = [int(place, 0) for place in lines[-1][1:]]
        return {line[0]: tuple(map(int, line[1:])) for line in lines[:-1]}

    def test_books(self):
        for seed in range(3):
            books = self.run_program(seed)
            device, managed, reset, second, _ = self.places
            rows = {(row["name"], row["domain"]): row for row in self.tables["POOL"] if "parent" not in row}
            self.assertEqual(set(rows), {("device", "device"), ("managed", "managed"), ("reset", "device"), ("both", "device"), ("both", "host")})
            for name, domain, place in ("device", "device", device), ("managed", "managed", managed), ("both", "device", second):
                n, live, gap = books[name]
                row = rows[name, domain]
                self.assertEqual((row["kind"], row["address"], row["size"], row["live"], row["cached"], row["largest_gap"]),
                                 ("api", place, SIZE, live, SIZE - live, gap))
                blocks = [b for b in self.tables["NODE"] if b.get("pool") == row["id"]]
                self.assertEqual((len(blocks), sum(b["size"] for b in blocks)), (n, live))
                self.assertEqual({(b["kind"], b["domain"]) for b in blocks}, {("device_block", domain)})
            row = rows["reset", "device"]
            self.assertEqual((row["address"], row["live"], row["largest_gap"]), (reset, 100, SIZE - 4096 - 100))
            self.assertEqual(rows["both", "host"]["live"], books["host"][1])

    def test_sums(self):
        books = self.run_program(7)
        # Memory of pools without blocks, or whose pool has gone or has lost it, is what it was.
        whole = [n for n in self.tables["NODE"] if n["kind"] == "device_linear"]
        self.assertEqual([(n["size"], n["domain"]) for n in whole], [(SIZE, "device")] * 3)
        live = 3 * SIZE + books["device"][1] + 100 + books["both"][1]
        self.assertEqual(self.devices[0]["live_bytes"], [live])
        self.assertEqual(self.devices[0]["cached_bytes"], [6 * SIZE - live])
        self.assertEqual(self.devices[0]["largest_gap_bytes"], [SIZE - 4096 - 100])
        self.assertEqual(self.devices[0]["returnable_bytes"], [0])
        reported = self.devices[0]["reported_bytes"][0]
        self.assertEqual(self.devices[0]["residual_bytes"], [reported and reported - 6 * SIZE])


if __name__ == "__main__":
    unittest.main()
