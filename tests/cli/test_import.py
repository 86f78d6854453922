"""Importing PyTorch's pickles: totals are PyTorch's own for every layout, nothing in a pickle is ever run, and whatever is not as it
should be ends in an error that says where."""
import collections
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import torch_pickles  # noqa: E402

SNAP = os.environ["SNAP"]


def convert(directory, data, *options):
    path = os.path.join(directory, "dump.pickle")
    out = os.path.join(directory, "out.snap")
    with open(path, "wb") as f:
        f.write(data)
    return out, subprocess.run([SNAP, "convert", *options, "-o", out, path], capture_output=True, text=True, timeout=60)


def tables_of(path):
    return json.loads(subprocess.run([SNAP, "convert", path], check=True, capture_output=True).stdout)["tables"]


class Import(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.directory = holder.name

    def compare(self, tables, totals):
        for device, total in totals.items():
            nodes = [n for n in tables["NODE"] if n["device"] == device + 1]
            pools = [p for p in tables["POOL"] if p["device"] == device + 1]
            allocated = sum(n["size"] for n in nodes if not n.get("flags", 0) & 256)
            self.assertEqual(len(nodes), total["blocks"])
            self.assertEqual(allocated, total["allocated"])
            self.assertEqual(sum(n["size"] for n in nodes), total["active"])
            self.assertEqual(sum(p["size"] for p in pools), total["reserved"])
            self.assertEqual(sum(p.get("live", 0) for p in pools), total["active"])
            self.assertEqual(sum(p.get("cached", 0) for p in pools), total["reserved"] - total["active"])

    def test_layouts(self):
        for version in torch_pickles.VERSIONS:
            for protocol in (2, 4):
                with self.subTest(version=version, protocol=protocol):
                    whole, totals = torch_pickles.snapshot(protocol, version)
                    out, run = convert(self.directory, pickle.dumps(whole, protocol))
                    self.assertEqual((run.returncode, run.stderr), (0, ""))
                    subprocess.run([SNAP, "verify", out], check=True, capture_output=True)
                    tables = tables_of(out)
                    self.compare(tables, totals)
                    summary = [r for r in tables["SUMM"] if r["kind"] == "total" and r["domain"] == "device"]
                    self.assertEqual(summary[0]["bytes"], sum(t["active"] for t in totals.values()))
                    os.unlink(out)

    def test_python_pickler(self):
        whole, totals = torch_pickles.snapshot(9, "2.13")
        out = io.BytesIO()
        pickle._Pickler(out, 4).dump(whole)  # the one in Python memoizes otherwise
        out, run = convert(self.directory, out.getvalue(), "--from", "torch")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.compare(tables_of(out), totals)

    def test_stacks(self):
        whole, _ = torch_pickles.snapshot(3, "2.1")
        expected = collections.Counter()
        for segment in whole["segments"]:
            for block in segment["blocks"]:
                if block["state"] != "inactive":
                    expected[tuple((f["filename"], f["line"], f["name"]) for f in block["frames"])] += 1
        out, _ = convert(self.directory, pickle.dumps(whole))
        tables = tables_of(out)
        symbols = {s["frame"]: (s.get("file", ""), s.get("line", 0), s["function"]) for s in tables["SYMB"]}
        parents = {s["id"]: (s.get("parent", 0), s["frame"]) for s in tables["STAK"]}
        found = collections.Counter()
        for node in tables["NODE"]:
            stack, at = [], node["stack"]
            while at:
                at, frame = parents[at]
                stack.append(symbols[frame])
            found[tuple(stack)] += 1
        self.assertEqual(found, expected)
        self.assertEqual(len(set(symbols.values())), len(symbols))

    def test_shows_and_compares(self):
        files = []
        for i in range(3):
            whole, totals = torch_pickles.snapshot(1, "2.5", 10 + 10 * i)
            out, _ = convert(self.directory, pickle.dumps(whole))
            files.append(os.path.join(self.directory, f"{i}.snap"))
            os.rename(out, files[-1])
        show = json.loads(subprocess.run([SNAP, "show", "--json", files[-1]], check=True, capture_output=True).stdout)
        for device in show["devices"]:
            total = totals[device["device"]]
            self.assertEqual(device["live_bytes"], [total["active"]])
            self.assertEqual(device["cached_bytes"], [total["reserved"] - total["active"]])
        diff = subprocess.run([os.environ["SNAPDIFF"], "--json", *files], capture_output=True, text=True)
        self.assertEqual(diff.returncode, 1, diff.stderr)
        self.assertEqual(json.loads(diff.stdout)["sites"][0]["stack"][0]["file"][:1] in "/<?", True)

    def test_nothing_is_run(self):
        witness = os.path.join(self.directory, "witness")
        for what, data, name in torch_pickles.malicious(witness):
            for options in (("--from", "torch"), ())[:1 + ("protocol" in what)]:
                with self.subTest(what=what):
                    out, run = convert(self.directory, data, *options)
                    self.assertEqual(run.returncode, 2)
                    self.assertIn(name, run.stderr)
                    self.assertRegex(run.stderr, r"refused.* at offset \d+")
                    self.assertFalse(os.path.exists(witness))
                    self.assertFalse(os.path.exists(out))
        with open(os.path.join(self.directory, "check"), "wb") as f:
            f.write(torch_pickles.malicious(witness)[0][1])
        with open(os.path.join(self.directory, "check"), "rb") as f:
            pickle.load(f)["segments"][0].close()
        self.assertTrue(os.path.exists(witness))  # these pickles do run elsewhere

    def test_damaged(self):
        for what, data in torch_pickles.damaged():
            with self.subTest(what=what):
                out, run = convert(self.directory, data, "--from", "torch")
                self.assertEqual(run.returncode, 2, run.stdout)
                self.assertTrue(run.stderr.strip())
                self.assertFalse(os.path.exists(out))

    def test_every_cut(self):
        data = pickle.dumps(torch_pickles.snapshot(2, "2.13", 1)[0])
        for size in list(range(0, len(data), max(1, len(data) // 25))):
            _, run = convert(self.directory, data[:size], "--from", "torch")
            self.assertEqual(run.returncode, 2)

    def test_pipe(self):
        whole, totals = torch_pickles.snapshot(4, "2.1")
        out = os.path.join(self.directory, "piped.snap")
        run = subprocess.run([SNAP, "convert", "--from", "torch", "-o", out, "-"], input=pickle.dumps(whole), capture_output=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.compare(tables_of(out), totals)

    def test_profile_of_torch(self):
        try:
            import torch
            from torch.cuda import _memory_viz
            from torch.profiler import ProfilerActivity, profile
            make = _memory_viz._profile_to_snapshot
        except (ImportError, AttributeError) as error:
            self.skipTest(str(error))
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=True, with_stack=True) as p:
            kept = [torch.ones(1000 * (i + 1)) + 1 for i in range(5)]
            sum(t.sum() for t in kept)
        whole = make(p)
        for segment in whole["segments"]:  # made from a profile, blocks come in the order of time
            segment["blocks"] = [b for b in segment["blocks"] if b["state"] != "inactive"]
            segment["total_size"] = max(segment["total_size"], sum(b["size"] for b in segment["blocks"]))
        total = {s["device"]: sum(b["size"] for b in s["blocks"]) for s in whole["segments"]}
        out, run = convert(self.directory, pickle.dumps(whole))
        self.assertEqual(run.returncode, 0, run.stderr)
        tables = tables_of(out)
        for device, size in total.items():
            self.assertEqual(sum(n["size"] for n in tables["NODE"] if n["device"] == device + 1), size)
            self.assertGreater(size, 5 * 4000)


if __name__ == "__main__":
    unittest.main(verbosity=2)  # reasons of what is skipped, too
