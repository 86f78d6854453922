"""A snapshot as its rows, through `snap convert`, and programs to take one of."""
import collections
import gc
import json
import os
import subprocess
import sys
import tempfile

SNAP = os.environ["SNAP"]
EDGE = dict(enumerate("0 pointer attribute key value index cell local slot type internal storage saved next hook weak".split()))
ROOT = dict(
    enumerate(
        "0 global stack register tls api mapping alt_stack module interpreter thread frame context atexit signal codec collector "
        "trace event_loop native".split()
    )
)
GARBAGE, FROZEN, IMMORTAL, UNTRACKED = 8, 16, 32, 64
CLASS, LIBRARY = 2, 4  # of types
PYTHON, OBJECT, PLAIN_OBJECT = 2, 5, 6

Node = collections.namedtuple("Node", "type address size external refcount hidden flags kind domain label device")
Edge = collections.namedtuple("Edge", "source target kind label index")
Root = collections.namedtuple("Root", "kind target name label thread address")  # address: of the word, 0: none
Hook = collections.namedtuple("Hook", "kind registry callback file line holder argument count")
Resource = collections.namedtuple("Resource", "kind handle name stack")


class Graph:
    def __init__(self, path):
        self.strings, self.nodes = {0: ""}, [None]
        self.edges, self.roots, self.hooks, self.meta, self.regions, self.resources = [], [], [], {}, [], []
        text, types, edges, roots, hooks, biases = self.strings, [], [], [], [], [0]
        done = subprocess.run([SNAP, "convert", "--to", "jsonl", path], capture_output=True, check=True)
        gc.disable()  # a hundred thousand rows, and no garbage among them
        for row in json.loads(b"[" + b",".join(done.stdout.splitlines()) + b"]"):
            get = row.get
            table = row["table"]
            if table == "STRS":
                text[row["id"]] = row["text"]
            elif table == "TYPE":
                types.append((get("name", 0), get("flags", 0)))
            elif table == "NODE":
                self.nodes.append(row)
            elif table == "EDGE":
                edges.append(row)
            elif table == "MODS":
                biases.append(get("bias", 0))
            elif table == "ROOT":
                roots.append(row)
            elif table == "HOOK":
                hooks.append(row)
            elif table == "RSRC":
                self.resources.append(Resource(row["kind"], get("handle", 0), get("name", 0), get("stack", 0)))
            elif table == "REGN":
                self.regions.append((row["address"], row["size"], row.get("kind", 0)))
            elif table == "META":
                self.meta[get("name") or row["key"]] = row.get("value", row.get("text", 0))
        names = [""] + [text[name] for name, _ in types]
        self.type_flags = {text[name]: flags for name, flags in types}
        self.nodes = [None] + [
            Node(names[r.get("type", 0)], r["address"], r.get("size", 0), r.get("external", 0), r.get("refcount", 0),
                 r.get("hidden", 0), r.get("flags", 0), r.get("kind", 0), r.get("domain", 0),
                 text[r.get("label", 0)], r.get("device", 0))
            for r in self.nodes[1:]
        ]
        self.edges = [
            Edge(r["source"], r["target"], EDGE.get(r["kind"], r["kind"]), text[r.get("label", 0)], r.get("source_offset", 0))
            for r in edges
        ]
        self.roots = [
            Root(ROOT.get(r["kind"], r["kind"]), r["target"], text[r.get("name", 0)], text[r.get("label", 0)], r.get("thread", 0),
                 r.get("address", 0) + biases[r.get("module", 0)])
            for r in roots
        ]
        self.hooks = [
            Hook(r.get("kind", 0), text[r.get("registry", 0)], text[r.get("callback", 0)], text[r.get("file", 0)], r.get("line", 0),
                 r.get("holder", 0), r.get("argument", 0), r.get("count", 1))
            for r in hooks
        ]
        self.resources = [r._replace(name=text[r.name]) for r in self.resources]
        self.at = {node.address: i for i, node in enumerate(self.nodes) if node}
        self.out = collections.defaultdict(list)
        for edge in self.edges:
            self.out[edge.source].append(edge)
        gc.enable()

    def of_type(self, name):
        return [i for i, node in enumerate(self.nodes) if node and node.type == name]

    def one(self, name):
        (index,) = self.of_type(name)
        return index

    def follow(self, node, *labels):
        """The node at the end of a path of labels; an int is an index."""
        for label in labels:
            targets = [
                e.target for e in self.out[node] if (e.kind == "index" and e.index == label if isinstance(label, int) else e.label == label)
            ]
            assert len(targets) == 1, (self.nodes[node], label, [(e.kind, e.label) for e in self.out[node]])
            node = targets[0]
        return node

    def find_root(self, kind, name=None, label=None):
        return [
            r for r in self.roots if r.kind == kind and (name is None or r.name == name) and (label is None or r.label == label)
        ]


class Graphs(dict):
    """By name; holds the bytes of those that nobody has asked for yet: a large one takes minutes to read."""

    def __getitem__(self, name):
        if isinstance(super().__getitem__(name), bytes):
            with tempfile.NamedTemporaryFile(prefix="heapsnap-python-", suffix=".snap") as file:
                file.write(super().__getitem__(name))
                file.flush()
                self[name] = Graph(file.name)
        return super().__getitem__(name)


class Program:
    """Runs a program; its snapshots go to a folder of their own and are read when asked for. What it prints as JSON is `said`."""

    def __init__(self, text, *arguments, command=(), environment=None, timeout=200, status=0):
        with tempfile.TemporaryDirectory(prefix="heapsnap-python-") as folder:
            script = os.path.join(folder, "program.py")
            with open(script, "w", encoding="utf-8") as out:
                out.write("import gc, json, os, sys, threading\nimport heapsnap\n\ndef snap(name, **options):\n"
                          f"    heapsnap.snap(os.path.join({folder!r}, name + '.snap'), **options)\n\n" + text)
            self.done = subprocess.run(
                [*command, sys.executable, script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                timeout=timeout, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, cwd=folder, check=False,
            )
            if self.done.returncode != status:
                raise AssertionError(f"the program ended with {self.done.returncode}:\n{self.done.stderr}")
            self.said = json.loads(self.done.stdout) if self.done.stdout.startswith(("{", "[")) else None
            self.graphs, self.bytes = Graphs(), {}
            for name in sorted(os.listdir(folder)):
                if name.endswith(".snap"):
                    with open(os.path.join(folder, name), "rb") as file:
                        self.bytes[name[:-5]] = self.graphs[name[:-5]] = file.read()

    def __getitem__(self, name):
        return self.graphs[name]
