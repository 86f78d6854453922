"""Runs a program with a log of the names that it asks the stand-in for the driver for."""
import os
import subprocess
import sys
import tempfile

with tempfile.TemporaryDirectory() as directory:
    environment = dict(os.environ, FAKE_CUDA_LOG=os.path.join(directory, "log"))
    sys.exit(subprocess.run(sys.argv[1:], env=environment, timeout=60).returncode)
