"""The graph library on a real heap: syntax trees of this Python's own standard library.

Usage: graph_real.py BENCH_GRAPH [MILLION_NODES]

A process parses one source file of the library after the other, again from the start if need be, until it holds that many nodes,
and takes a snapshot of itself; then BENCH_GRAPH measures the heap in that file.
"""
import ast
import gc
import glob
import os
import subprocess
import sys
import sysconfig
import tempfile

import heapsnap


def parse_until(n_objects):
    """Trees by path."""
    paths = sorted(glob.glob(os.path.join(sysconfig.get_path("stdlib"), "**", "*.py"), recursive=True))
    trees, n_round = [], 0
    while True:
        n_round += 1
        before = len(trees)
        for path in paths:
            try:
                with open(path, encoding="utf-8") as file:
                    tree = ast.parse(file.read(), path)
            except (SyntaxError, UnicodeDecodeError, ValueError):
                continue
            trees.append((path, n_round, tree))
            if gc.get_count()[0] >= n_objects:
                return trees
        if len(trees) == before:
            raise SystemExit("no sources of the standard library")


def main():
    gc.disable()  # then the count of its youngest generation is that of all objects since
    # Objects that the collector does not track, as numbers and strings, and blocks are half as many again, or a little more.
    n_objects = int(float(sys.argv[2] if len(sys.argv) > 2 else "8") * 1e6 / 1.5)
    trees = parse_until(n_objects)
    with tempfile.TemporaryDirectory() as top:
        path = os.path.join(top, "trees.snap")
        heapsnap.snap(path)
        print(f"{len(trees)} files parsed, {os.path.getsize(path) / 1e6:.1f} MB", flush=True)
        trees.clear()
        gc.enable()
        gc.collect()
        raise SystemExit(subprocess.run([sys.argv[1], path], check=False).returncode)


if __name__ == "__main__":
    main()
