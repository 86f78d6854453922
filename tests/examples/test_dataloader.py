"""A PyTorch trainer with DataLoader workers prints the same and ends the same with and without `snap run --every 1`."""
import glob
import os
import subprocess
import sys
import tempfile
import unittest

SNAP = os.path.join(os.environ["BUILD_ROOT"], "cmd", os.environ["COMMAND_NAME"])
PROGRAM = [sys.executable, "-W", "error", os.path.join(os.environ["SOURCE_ROOT"], "examples/dataloader.py")]


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)


class DataLoader(unittest.TestCase):
    def test_same_output_and_status(self):
        plain = run(*PROGRAM)
        self.assertEqual(plain.returncode, 0, plain.stderr)
        with tempfile.TemporaryDirectory() as directory:
            pattern = os.path.join(directory, "%p.%n.snap")
            tracked = run(SNAP, "run", "-q", "-o", pattern, "--every", "1", "--", *PROGRAM)
            self.assertEqual((tracked.returncode, tracked.stdout, tracked.stderr), (0, plain.stdout, plain.stderr))
            files = glob.glob(os.path.join(directory, "*"))
            self.assertGreater(len(files), 0)
            self.assertEqual([name for name in files if not name.endswith(".snap")], [])
            for name in files:
                verified = run(SNAP, "verify", name)
                self.assertEqual(verified.returncode, 0, verified.stderr)


if __name__ == "__main__":
    missing = subprocess.run([sys.executable, "-c", "import torch, sklearn"], capture_output=True).returncode
    if missing:
        print("python3 has no torch, or no sklearn")
        sys.exit(77)
    unittest.main(verbosity=2)
