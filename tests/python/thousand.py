"""Takes many snapshots of itself, and tells what the process had of the kernel at some of them. Run by test_thousand.py."""
import json
import os
import sys

import heapsnap

folder, count = sys.argv[1], int(sys.argv[2])


def resources():
    with open("/proc/self/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    with open("/proc/self/maps", encoding="utf-8") as file:
        mappings = sum(1 for _ in file)
    with open("/proc/self/task/%d/children" % os.getpid(), encoding="ascii") as file:
        children = len(file.read().split())
    return {"descriptors": len(os.listdir("/proc/self/fd")), "mappings": mappings, "children": children,
            "anonymous_kb": int(fields["RssAnon"].split()[0]), "virtual_kb": int(fields["VmSize"].split()[0]),
            "threads": int(fields["Threads"]), "files": len(os.listdir(folder))}


told = []
for i in range(count):
    heapsnap.snap(os.path.join(folder, "again.snap"), overwrite=True, label="again", step=i, counters={"turn": i})
    if (i + 1) % (count // 5) == 0:
        heapsnap.snap(os.path.join(folder, "kept.%d.snap" % (i + 1)), step=i)
        told.append(resources())
print(json.dumps(told))
