"""Programs that have bad luck with device memory run as if untracked, and what is left of it is in the file."""
import json
import os
import subprocess
import tempfile
import unittest

SNAP, PROGRAM, INTERPOSER, FAKE = (os.environ[name] for name in ("SNAP", "PROGRAM", "INTERPOSER", "FAKE"))


def snapshots(directory):
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        subprocess.run([SNAP, "verify", path], check=True, capture_output=True)
        yield json.loads(subprocess.run([SNAP, "convert", path], check=True, capture_output=True).stdout)["tables"]


def blocks(tables):
    return [n for n in tables["NODE"] if n["kind"] == "device_linear"]


class BadLuck(unittest.TestCase):
    def run_case(self, what, command=None, **environment):
        """Tables of the last snapshot of a run that printed what it prints untracked."""
        environment = {**os.environ, **environment}
        plain = subprocess.run([PROGRAM, what], capture_output=True, text=True, env=environment, timeout=60)
        self.assertEqual(plain.returncode, 0, plain.stderr)
        with tempfile.TemporaryDirectory() as directory:
            run = subprocess.run([SNAP, "run", "-q", "-o", os.path.join(directory, "%n.snap"), "--", *(command or [PROGRAM, what])],
                                 capture_output=True, text=True, env=environment, timeout=60)
            self.assertEqual((run.returncode, run.stdout), (0, plain.stdout), run.stderr)
            tables = list(snapshots(directory))
        self.stderr = run.stderr
        return tables[-1] if tables else None

    def test_nothing(self):
        self.assertEqual(len(blocks(self.run_case("nothing"))), 4)

    def test_context_is_reset(self):
        tables = self.run_case("reset")
        self.assertEqual(blocks(tables), [])
        self.assertNotIn("stream", [r["kind"] for r in tables["RSRC"]])

    def test_context_comes_from_elsewhere(self):
        """Who has made it is not seen; the device has its name, and what was in the context goes with it."""
        tables = self.run_case("private")
        self.assertEqual([n["device"] for n in blocks(tables)], [1] * 4)
        self.assertEqual([m["name"].split(" ", 1)[1] for m in tables["META"] if m["key"] == "device"], ["Fake device 0"])
        self.assertEqual([r["kind"] for r in tables["RSRC"]].count("context"), 1)
        tables = self.run_case("private reset")
        self.assertEqual(blocks(tables), [])
        self.assertEqual(tables.get("RSRC", []), [])

    def test_context_is_destroyed(self):
        tables = self.run_case("destroy")
        self.assertEqual([n["device"] for n in blocks(tables)], [1] * 4)

    def test_freed_by_another_thread(self):
        self.assertEqual(len(blocks(self.run_case("thread"))), 3)

    def test_freed_after_a_fork(self):
        tables = self.run_case("fork")
        self.assertEqual(len(blocks(tables)), 3)
        self.assertEqual([r["kind"] for r in tables["RSRC"]].count("stream"), 3)

    def test_freed_twice(self):
        self.assertEqual(len(blocks(self.run_case("again"))), 3)

    def test_allocation_fails(self):
        self.assertEqual(len(blocks(self.run_case("nothing", FAKE_CUDA_FAIL="2"))), 3)
        self.assertEqual(blocks(self.run_case("nothing", FAKE_CUDA_FAIL="1+")), [])

    def test_quick_exit(self):
        self.run_case("exit")

    def test_driver_is_newer(self):
        self.assertEqual(len(blocks(self.run_case("newer", FAKE_CUDA_VERSION="99000"))), 4)
        self.assertEqual(len(blocks(self.run_case("newer", FAKE_CUDA_VERSION="99000", FAKE_CUDA_ODD="1"))), 4)

    def test_driver_has_a_function_of_a_new_form(self):
        """What takes other arguments than any that we know is not called through ours, and the file says that something is missing."""
        tables = self.run_case("newer", FAKE_CUDA_VERSION="99000", FAKE_CUDA_FRESH="cuMemAlloc")
        self.assertEqual(blocks(tables), [])
        self.assertEqual([r["kind"] for r in tables["RSRC"]].count("stream"), 3)
        missing = {m["name"]: m["value"] for m in tables["META"] if m["key"] == "completeness"}
        self.assertEqual(missing.get("unseen_device_calls"), 1, missing)

    def test_no_driver(self):
        paths = [p for p in os.environ["LD_LIBRARY_PATH"].split(":") if os.path.abspath(p) != os.path.abspath(FAKE)]
        probe = subprocess.run([PROGRAM, "nothing"], capture_output=True, text=True, env={**os.environ, "LD_LIBRARY_PATH": ":".join(paths)})
        if probe.stdout.startswith("driver 1"):
            self.skipTest("there is a driver here")
        tables = self.run_case("nothing", LD_LIBRARY_PATH=":".join(paths))
        self.assertEqual(blocks(tables), [])
        self.assertFalse([m for m in tables["META"] if m["key"] == "device"])

    def test_versions_and_namespaces(self):
        self.assertEqual(len(blocks(self.run_case("versions"))), 4)

    def test_interposer_behind(self):
        tables = self.run_case("nothing", LD_PRELOAD=INTERPOSER, PROTOCOL="dlsym", INTERPOSER_SAYS="1")
        self.assertEqual(len(blocks(tables)), 4)
        self.assertIn("interposed 4", self.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)  # reasons of what is skipped, too
