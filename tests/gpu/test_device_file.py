"""Snapshots of random programs for the driver hold what the driver's own books say: by class, count and byte; and their totals are
the sums of what counts. Arguments: the program, then its own but for the file."""
import collections
import json
import os
import subprocess
import sys
import tempfile

SNAP = os.environ["SNAP"]
NODES = {"device_linear": {"device": "linear", "managed": "managed", "pinned": "pinned"}, "registered": "registered",
         "device_array": "array", "device_async": "async", "device_physical": "physical", "device_virtual": "virtual",
         "device_multicast": "multicast", "device_imported": "imported", "device_graph": "graph-memory"}
RESOURCES = {"stream": "stream", "event": "event", "graph": "graph", "graph_exec": "exec", "device_module": "module",
             "library": "library", "context": "context", "texture": "texture", "surface": "surface", "linker": "linker",
             "external_memory": "external-memory", "external_semaphore": "external-semaphore"}
COUNT_IN_NO_TOTAL = {"device_virtual", "device_multicast", "device_imported", "device_external", "device_graph", "registered"}
NOT_SIZED = {"imported", "pool"}  # nobody says how large the former is; the latter is compared by what is in it


def read(path):
    """({class: [count, bytes]}, {domain: bytes that count}, tables)"""
    text = subprocess.run([SNAP, "convert", "--to", "json", "-o", "-", path], check=True, capture_output=True).stdout
    tables = json.loads(text)["tables"]
    classes, sums = collections.defaultdict(lambda: [0, 0]), collections.Counter()
    for node in tables["NODE"]:
        kind, domain, size = node["kind"], node["domain"], node.get("size", 0)
        if kind not in COUNT_IN_NO_TOTAL:
            sums[domain] += size
        if kind == "device_external":
            name = "external" if size else "external-array"
        else:
            name = NODES.get(kind)
        if isinstance(name, dict):
            name = name[domain]
        if name:
            classes[name][0] += 1
            classes[name][1] += size
    for resource in tables["RSRC"]:
        if resource["kind"] in RESOURCES:
            classes[RESOURCES[resource["kind"]]][0] += 1
    for pool in tables["POOL"]:
        if pool["kind"] == "cuda_mempool":
            classes["pool"][0] += 1
            classes["pool-reserved"][1] += pool.get("size", 0)
            classes["pool-used"][1] += pool.get("live", 0)
            if pool.get("size", 0) != pool.get("live", 0) + pool.get("cached", 0):
                raise SystemExit(f"not ok - {pool}: what is live and what is cached is not all")
    return classes, sums, tables


def main():
    bad = []
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "books.snap")
        os.environ["TMPDIR"] = directory
        run = subprocess.run([SNAP, "run", "-q", "-o", os.path.join(directory, "%n.snap"), "--", sys.argv[1], path, *sys.argv[2:]],
                             capture_output=True, text=True, timeout=900)
        if run.returncode != 0:
            raise SystemExit(f"not ok - status {run.returncode}: {run.stderr}")
        subprocess.run([SNAP, "verify", path], check=True, capture_output=True)
        classes, sums, tables = read(path)
        devices = json.loads(subprocess.run([SNAP, "show", "--json", path], check=True, capture_output=True).stdout)["devices"]
        text = subprocess.run([SNAP, "show", path], check=True, capture_output=True, text=True).stdout
    overheads = {int(name[6:]): (int(count), int(size)) for name, count, size in map(str.split, run.stdout.splitlines())
                 if name.startswith("device")}
    books = {name: (int(count), int(size)) for name, count, size in map(str.split, run.stdout.splitlines())
             if not name.startswith("device")}
    for name, (count, size) in books.items():
        ours = classes[name]
        if ours[0] != count or (name not in NOT_SIZED and ours[1] != size):
            bad.append(f"{name}: {ours[0]} with {ours[1]} bytes, the driver has {count} with {size}")
    for row in tables["SUMM"]:
        if row["kind"] == "total" and row.get("bytes", 0) != sums[row["domain"]]:
            bad.append(f"total of {row['domain']}: {row['bytes']} is not {sums[row['domain']]}")
    device = sum(books[name][1] for name in ("linear", "array", "async", "physical"))
    if sums["device"] != device:
        bad.append(f"device memory: {sums['device']} bytes, the driver has given out {device}")
    for row in devices:
        overhead, reported = overheads[row["device"]]
        if row["reported_bytes"] != [reported] or row["residual_bytes"] != [overhead]:
            bad.append(f"{row}: {reported} are reported, {overhead} of them nobody tracks")
        if not row["name"].endswith(f"Fake device {row['device']}") or row["name"] not in text or "the rest" not in text:
            bad.append(f"{row}: not in the text")
    if not devices:
        bad.append("no devices")
    # Types are read for a limited time, which a busy machine may not have.
    missing = [(row["name"], row["value"]) for row in tables["META"] if row["key"] == "completeness" and row["name"] not in
               ("truncated_stacks", "unread_bytes", "untyped_modules")]
    # The program frees what the driver never gave out, and is refused: nothing else may be unknown.
    if missing:
        bad.append(f"missing: {missing}")
    if any(node.get("stack", 0) == 0 for node in tables["NODE"] if node["kind"].startswith("device_")):
        bad.append("device memory without a stack")
    for line in bad:
        print("not ok -", line)
    if not bad:
        print(f"ok - {len(books)} classes, {device} bytes on devices")
    return bool(bad)


sys.exit(main())
