"""What a snapshot of a heap of Python's objects costs, beside other tools on the same heap.

Usage: python_heap.py SNAP [--peers PYTHON] [--objects N] [--slow]

A heap of N objects (1 million; --slow: 10 million, too) with three references each is built in a process for each tool; then
the tool looks at it once, as its documentation says. Told are how long building took (tools that watch allocations slow it
down), how long the program stood still, how long it took until the result was there, how much memory that took (of the process
and all that it started, sampled), and the size of what was written. --peers: a Python that has guppy3, pympler, objgraph and
memray; by default the one that runs this. The module heapsnap has to be found by it, too (PYTHONPATH). What a training step
costs while allocations are watched is told by python_step.py."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

PROGRAM = '''
import gc, json, random, sys, threading, time
tool, n, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def now():
    return time.monotonic()

class Node:
    __slots__ = ("left", "right", "parts")

if tool == "tracemalloc":
    import tracemalloc
    tracemalloc.start()
start = now()
gc.disable()
nodes = []
last = None
chance = random.Random(1).random
for i in range(n // 4):
    node = Node()
    node.left, node.right = last, nodes
    name, value = "name %d" % i, i + 0.5
    far, near = nodes[int(chance() * i)] if i else None, nodes[-1 - int(chance() * min(i, 100))] if i else None
    node.parts = (name, value, far, near, value, nodes, Node)
    nodes.append(node)
    last = node
gc.enable()
built = now() - start

def heapsnap():
    import heapsnap
    return lambda: heapsnap.snap(path)

def guppy3():
    import guppy
    return lambda: guppy.hpy().heap().size

def pympler():
    from pympler import muppy, summary
    return lambda: summary.summarize(muppy.get_objects())

def objgraph():
    import objgraph
    return lambda: objgraph.most_common_types(limit=50)

def tracemalloc():
    import tracemalloc
    return lambda: tracemalloc.take_snapshot().dump(path)

look = {"heapsnap": heapsnap, "guppy3": guppy3, "pympler": pympler, "objgraph": objgraph, "tracemalloc": tracemalloc}
act = look[tool]() if tool in look else None
gap, stop = 0.0, False

def tick():
    global gap
    before = now()
    while not stop:
        time.sleep(0.001)
        after = now()
        gap = max(gap, after - before)
        before = after

ticker = threading.Thread(target=tick, daemon=True)
print("ready", flush=True)
sys.stdin.readline()
ticker.start()
start = now()
if act:
    act()
took, stop = now() - start, True
ticker.join()
print(json.dumps({"built": built, "took": took, "pause": gap}), flush=True)
sys.stdin.readline()
'''
MIB = 1 << 20
# (arguments of Python before the program, what it has to import)
TOOLS = {
    "heapsnap": ([], "heapsnap"),
    "guppy3": ([], "guppy"),
    "pympler": ([], "pympler"),
    "objgraph": ([], "objgraph"),
    "tracemalloc": ([], "tracemalloc"),
    "memray": (["-m", "memray", "run", "-q", "--trace-python-allocators", "-o", "PATH"], "memray"),
}


def tree(pid):
    yield pid
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                for child in file.read().split():
                    yield from tree(int(child))
    except OSError:
        pass


def memory(pid):
    """Proportional size of a process and all under it: what they share counts once."""
    total = 0
    for one in tree(pid):
        try:
            with open(f"/proc/{one}/smaps_rollup", encoding="ascii") as file:
                total += sum(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
        except OSError:
            pass
    return total


def measure(python, name, n, folder):
    before, module = TOOLS[name]
    if subprocess.run([python, "-c", f"import {module}"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return None
    program, path = os.path.join(folder, "program.py"), os.path.join(folder, name + ".out")
    with open(program, "w", encoding="utf-8") as file:
        file.write(PROGRAM)
    command = [python, *(part.replace("PATH", path) for part in before), program, name, str(n), path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != "ready\n":
            return None
        base = peak = memory(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        os.set_blocking(process.stdout.fileno(), False)
        said = ""
        while not said.endswith("\n") and process.poll() is None:
            start = time.monotonic()
            peak = max(peak, memory(process.pid))
            said += process.stdout.readline() or ""
            time.sleep(max(0.02, 9 * (time.monotonic() - start)))  # looking takes a processor: a tenth of its time
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait()
    if process.returncode != 0 or not said:
        return None
    told = json.loads(said)
    told.update(base=base, memory=peak - base, bytes=os.path.getsize(path) if os.path.exists(path) else 0, path=path)
    return told


def limits(snap, told, n):
    """What is wanted of a snapshot, and whether it is so."""
    shown = json.loads(subprocess.run([snap, "show", "--json", told["path"]], capture_output=True, check=True).stdout)
    rows = shown["tables"]
    size = 4 * rows["NODE"] + 1.2 * rows["EDGE"]
    wanted = [("pause", told["pause"] * 1e3, 60 + 25 * told["base"] / (1 << 30), "ms"), ("size", told["bytes"] / MIB, size / MIB, "MiB")]
    if n >= 10_000_000:
        wanted.append(("time", told["took"], 6.0, "s"))
    return rows, [(what, value, most, unit, value <= most) for what, value, most, unit in wanted]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("snap")
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--tools", default=",".join(TOOLS))
    options = parser.parse_args()
    missed = 0
    for n in [options.objects] + ([10_000_000] if options.slow else []):
        print(f"{n:,} objects\n  {'tool':12} {'built s':>8} {'pause ms':>9} {'result s':>9} {'memory MiB':>11} {'file MiB':>9}", flush=True)
        for name in options.tools.split(","):
            with tempfile.TemporaryDirectory(prefix="heapsnap-bench-") as folder:
                told = measure(options.peers, name, n, folder)
                if told is None:
                    print(f"  {name:12} is not here, or does not run: left out", flush=True)
                    continue
                rows, wanted = limits(options.snap, told, n) if name == "heapsnap" else ({}, [])
                at_once = f"{told['pause'] * 1e3:9.1f} {told['took']:9.2f}" if name != "memray" else f"{'-':>9} {'-':>9}"
                print(f"  {name:12} {told['built']:8.2f} {at_once} {told['memory'] / MIB:11.1f} {told['bytes'] / MIB:9.1f}", flush=True)
                if rows:
                    print(f"  {'':12} {rows['NODE']:,} nodes, {rows['EDGE']:,} references, {told['base'] / MIB:.0f} MiB before")
                for what, value, most, unit, is_met in wanted:
                    missed += not is_met
                    print(f"  {'':12} {what} {value:.2f} {unit}, wanted <= {most:.2f}{'' if is_met else ': MISSED'}", flush=True)
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
