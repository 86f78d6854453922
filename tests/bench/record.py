"""What recording costs: nanoseconds that a malloc and free pair takes longer, about 21 frames deep.

Usage: record.py LOAD_PROGRAM PRELOAD_LIBRARY [REPEATS [BLOCKS...]]

Runs the same load plain, under heapsnap, under heaptrack and under jemalloc's exact profile (as far as they are installed), with
1, 2 and 4 threads, alternating; the least time of REPEATS counts. heaptrack writes its raw data to a file here, without the process
that interprets and compresses it in ordinary use. "elapsed" is what a user sees; "processor" leaves out what other programs of the
machine took, and waiting.
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

PAIRS = 1000000
WANTED_ADDED_NS = 60
WANTED_RATIO = {"1": 6, "2": 15, "4": 15}
WANTED_BYTES = 24
LINE = re.compile(r"^([\d.]+) ([\d.]+) (\d+) (\d+)$", re.M)


def run(command, pairs, **variables):
    """Returns (elapsed ns, processor ns, resident bytes), or None if the tool does not work here."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HEAPSNAP_", "LD_PRELOAD", "MALLOC_"))}
    done = subprocess.run(command + [str(pairs)], env=dict(env, **variables), capture_output=True, text=True, timeout=600)
    found = LINE.search(done.stdout)
    if not found or "Invalid conf" in done.stderr:
        return None
    return float(found[1]), float(found[2]), int(found[3])


def compare(load, preload, blocks, repeats, heaptrack_library, jemalloc, heaptrack_output):
    """The table of one size of the live set."""
    def plain(threads):
        return run([load, threads, blocks], PAIRS)

    def heapsnap(threads):
        return run([load, threads, blocks], PAIRS, LD_PRELOAD=preload)

    def heaptrack(threads):
        return run([load, threads, blocks], PAIRS // 8, LD_PRELOAD=heaptrack_library[0],
                   DUMP_HEAPTRACK_OUTPUT=heaptrack_output) if heaptrack_library else None

    def jemalloc_exact(threads):
        return run([load, threads, blocks], PAIRS // 16, LD_PRELOAD=jemalloc[0],
                   MALLOC_CONF="prof:true,lg_prof_sample:0") if jemalloc else None

    tools = {"heapsnap": heapsnap, "heaptrack": heaptrack, "jemalloc exact": jemalloc_exact}
    print(f"{blocks} live blocks; ns per pair, added to plain; least of {repeats}")
    print(f"{'threads':>7} {'':16} {'elapsed':>9} {'added':>9} {'processor':>10} {'added':>9}   heapsnap's part")
    for threads in ("1", "2", "4"):
        best = {}
        for _ in range(repeats):
            for name, tool in {"plain": plain, **tools}.items():
                result = tool(threads)
                if result:
                    best[name] = tuple(map(min, best.get(name, result), result))
        base = best["plain"]
        print(f"{threads:>7} {'plain':16} {base[0]:9.1f} {'':9} {base[1]:10.1f}")
        ours = best["heapsnap"]
        for name in tools:
            if name not in best:
                print(f"{'':7} {name:16} not installed, or built without it")
                continue
            elapsed, used, _ = best[name]
            if name == "heapsnap":
                part = f"   wanted: <= {WANTED_ADDED_NS} ns added"
            else:
                part = f"   1/{(elapsed - base[0]) / (ours[0] - base[0]):.1f} elapsed, 1/{(used - base[1]) / (ours[1] - base[1]):.1f} processor"
            if name == "heaptrack":
                part += f"   wanted: <= 1/{WANTED_RATIO[threads]}"
            print(f"{'':7} {name:16} {elapsed:9.1f} {elapsed - base[0]:9.1f} {used:10.1f} {used - base[1]:9.1f}{part}")


def main():
    load, preload = sys.argv[1:3]
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    cases = sys.argv[4:] or ["1000", "20000", "100000"]
    jemalloc = sorted(glob.glob("/usr/lib/*/libjemalloc.so.*"))
    heaptrack_library = glob.glob("/usr/lib/heaptrack/libheaptrack_preload.so") + glob.glob("/usr/lib/*/heaptrack/libheaptrack_preload.so")
    with tempfile.TemporaryDirectory() as top:
        for blocks in cases:
            compare(load, preload, blocks, repeats, heaptrack_library, jemalloc, os.path.join(top, "heaptrack"))
        plain_bytes, with_bytes = run([load, "1", "1000000"], 1000000)[2], run([load, "1", "1000000"], 1000000, LD_PRELOAD=preload)[2]
        print(f"own memory with 1,000,000 live blocks: {(with_bytes - plain_bytes) / 1e6:.1f} bytes per block, stacks and all; "
              f"wanted: <= {WANTED_BYTES} and the stacks")


if __name__ == "__main__":
    main()
