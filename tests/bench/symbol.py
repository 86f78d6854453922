#!/usr/bin/env python3
"""Times the symbolizer on a Python process that has loaded every extension module it can.

symbol.py BENCH_SYMBOL [N]
"""
import subprocess
import sys

CHILD = """
import importlib, os, sys, sysconfig
folder = sysconfig.get_config_var("DESTSHARED")
for name in sorted(os.listdir(folder)):
    try:
        importlib.import_module(name.split(".")[0])
    except Exception:
        pass
for name in ("numpy", "scipy.linalg", "scipy.sparse", "scipy.optimize", "pandas", "torch", "sqlite3", "ssl"):
    try:
        importlib.import_module(name)
    except Exception:
        pass
print("ready", flush=True)
sys.stdin.read()
"""


def main():
    target = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    target.stdout.readline()
    result = subprocess.run([sys.argv[1], str(target.pid), sys.argv[2] if len(sys.argv) > 2 else "100"])
    target.stdin.close()
    target.wait()
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
