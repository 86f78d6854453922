"""What snapshots say about a caching allocator is what the allocator itself says: live, cached, what could be given back, the
largest gap. The argument is the program; modes as in caching.h."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

SNAP, PROGRAM = os.environ["SNAP"], os.environ["PROGRAM"]


def run(mode, seed):
    """(books, device row of snap show, tables)"""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "cache.snap")
        out = subprocess.run([SNAP, "run", "-q", "-o", os.path.join(directory, "%n.snap"), "--", PROGRAM, path, str(seed)], text=True,
                             env={**os.environ, "CACHING": mode}, check=True, capture_output=True, timeout=60).stdout
        show = json.loads(subprocess.run([SNAP, "show", "--json", path], check=True, capture_output=True, timeout=60).stdout)
        text = subprocess.run([SNAP, "show", path], check=True, capture_output=True, text=True, timeout=60).stdout
        tables = json.loads(subprocess.run([SNAP, "convert", path], check=True, capture_output=True, timeout=60).stdout)["tables"]
    names = ("allocated", "reserved", "returnable", "largest_gap", "reports", "private_reserved", "private_allocated")
    return dict(zip(names, map(int, out.split()))), show["devices"], tables, text


class Cache(unittest.TestCase):
    def compare(self, mode, seed):
        books, devices, tables, text = run(mode, seed)
        self.assertEqual([row["device"] for row in devices], [0])
        device = devices[0]
        self.assertEqual(device["live_bytes"], [books["allocated"]])
        self.assertEqual("- returnable " in text, device["returnable_bytes"] != [0])
        self.assertEqual("- largest gap " in text, device["largest_gap_bytes"] != [0])
        if device["reported_bytes"] == [0]:
            self.assertEqual(device["residual_bytes"], [0])
            self.assertIn("the rest       unknown", text)
        else:  # on a real device
            self.assertEqual(device["live_bytes"][0] + device["cached_bytes"][0] + device["graph_bytes"][0] + device["residual_bytes"][0],
                             device["reported_bytes"][0])
            self.assertNotIn("the rest       unknown", text)
        return books, device, tables

    def test_segments(self):
        for seed in range(3):
            books, device, tables = self.compare("segments", seed)
            self.assertEqual(device["cached_bytes"], [books["reserved"] - books["allocated"]])
            self.assertEqual(device["returnable_bytes"], [books["returnable"]])
            self.assertEqual(device["largest_gap_bytes"], [books["largest_gap"]])
            self.assertGreater(books["returnable"], 0)
            self.assertEqual({p["kind"] for p in tables["POOL"]}, {"torch_segment"})
            self.assertEqual({n["kind"] for n in tables["NODE"] if n["domain"] == "device"}, {"device_block"})
            self.assertGreater(books["reports"], 1000)  # passed on to the library that they are for

    def test_expandable(self):
        books, device, tables = self.compare("expandable", 1)
        self.assertEqual(device["cached_bytes"], [books["reserved"] - books["allocated"]])
        self.assertEqual(device["largest_gap_bytes"], [books["largest_gap"]])
        self.assertEqual([p["flags"] for p in tables["POOL"]], [1])

    def test_graphs(self):
        """What is allocated while a stream is captured is of a graph, also after that; emptying the cache does not return it."""
        for seed in range(2):
            books, device, tables = self.compare("graphs", seed)
            self.assertEqual(device["cached_bytes"], [books["reserved"] - books["allocated"]])
            self.assertEqual(device["returnable_bytes"], [books["returnable"]])
            private = [p for p in tables["POOL"] if p["kind"] == "torch_private"]
            self.assertEqual((sum(p["size"] for p in private), sum(p.get("live", 0) for p in private)),
                             (books["private_reserved"], books["private_allocated"]))
            self.assertGreater(books["private_reserved"], books["private_allocated"])
            self.assertGreater(books["private_allocated"], 0)
            self.assertEqual({p["kind"] for p in tables["POOL"]}, {"torch_private", "torch_segment"})

    def test_without_cache(self):
        books, device, tables = self.compare("none", 1)
        self.assertEqual(device["cached_bytes"], [0])
        self.assertEqual(tables["POOL"], [])

    def test_driver_pool(self):
        books, device, tables = self.compare("async", 1)
        pool, = tables["POOL"]
        self.assertEqual((pool["kind"], pool["live"]), ("cuda_mempool", books["allocated"]))
        self.assertEqual(device["cached_bytes"], [pool["size"] - pool["live"]])
        self.assertEqual(device["returnable_bytes"], device["cached_bytes"])


class OutOfMemory(unittest.TestCase):
    def test_driver_and_framework(self):
        with tempfile.TemporaryDirectory() as directory:
            run = subprocess.run([SNAP, "run", "-q", "--on-oom", "--oom-interval=0", "-o", os.path.join(directory, "oom%n.snap"), "--",
                                  PROGRAM, os.path.join(directory, "last.snap"), "1"], capture_output=True, text=True, timeout=120,
                                 env={**os.environ, "CACHING": "segments", "FAKE_CUDA_FAIL": "12"})
            self.assertEqual(run.returncode, 0, run.stderr)
            asked = {}
            for name in os.listdir(directory):
                if name.startswith("oom"):
                    text = subprocess.run([SNAP, "convert", os.path.join(directory, name)], check=True, capture_output=True).stdout
                    tables = json.loads(text)["tables"]
                    meta = {row["key"]: row for row in tables["META"]}
                    self.assertEqual(meta["trigger"]["value"], 7)
                    asked[meta["label"]["text"]] = [n for n in tables["NODE"] if n["domain"] == "device"]
            self.assertEqual(len(asked), 2, asked.keys())
            self.assertIn("cuMemAlloc_v2 failed", asked)
            self.assertTrue(any(label.startswith("PyTorch's allocation of ") for label in asked), asked.keys())
            for nodes in asked.values():
                self.assertGreater(len(nodes), 0)


if __name__ == "__main__":
    unittest.main()
