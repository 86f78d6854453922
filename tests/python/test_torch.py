"""PyTorch under `snap run` and without it: tensors, storages and the graph of autograd, by the names that Python has for them.
What Python says of itself is the truth; it is asked after the snapshot, for asking makes objects.

test_torch.py Graph: a small graph in all detail; Untracked: the same without a recorder. Lies: what looks like PyTorch's
objects, and is not. test_torch.py Accumulated: 2000 losses that keep their graphs."""
import collections
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

from graph import SNAP, Program

if importlib.util.find_spec("torch") is None:
    print("no torch")
    sys.exit(77)

RUN = [SNAP, "run", "-o", "exit.snap", "--"]
DEVICE = 3  # domain
PREFIX = re.compile(r"^torch::autograd::(generated::)?")

TRUTH = """
def graph_of(*tensors):
    seen, todo, nodes = {}, [t.grad_fn for t in tensors], []
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen:
            continue
        seen[id(node)] = node
        nodes.append(node)
        todo += [n for n, _ in node.next_functions]
    name = lambda n: n.name().replace("torch::autograd::", "")
    edges = sorted([name(n), i, name(m)] for n in nodes for i, (m, _) in enumerate(n.next_functions) if m is not None)
    saved = sorted({(name(n), a[11:]) for n in nodes for a in dir(n) if a.startswith("_raw_saved_") and a != "_raw_saved_tensors"
                    and getattr(n, "_saved_" + a[11:]) is not None})
    what = lambda t: str(t.dtype).removeprefix("torch.") + str(list(t.shape)) + " " + str(t.device)
    labels = sorted({(node, a, what(getattr(n, "_saved_" + a))) for n in nodes for node, a in saved
                     if name(n) == node and torch.is_tensor(getattr(n, "_saved_" + a, None))})
    return {"nodes": sorted(map(name, nodes)), "edges": edges, "saved": saved, "labels": labels}
def storages_of(*tensors):
    return {hex(s.data_ptr()): s.nbytes() for s in (t.untyped_storage() for t in tensors)}
"""

SMALL = """
import torch
torch.manual_seed(0)
""" + TRUTH + """
class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2
    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2
def main():
    model = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16))
    x, scale = torch.randn(8, 16), torch.randn(8, 16, requires_grad=True)
    model(x).sum().backward()
    total = 0
    for _ in range(5):
        total = total + (model(x) * scale.exp()).pow(2).mean()
    custom = Doubled.apply(scale)
    deep = Doubled.apply(scale).exp()
    view = x[0]
    view.label = "of a row"
    base = torch.zeros(100, 64)
    various = {"f16": torch.zeros(3, 5, dtype=torch.float16), "scalar": torch.tensor(7), "bool": torch.ones(2, 2, dtype=torch.bool),
               "bf16": torch.zeros(2, 1, 3, dtype=torch.bfloat16), "complex": torch.zeros(4, dtype=torch.complex64),
               "six": torch.zeros(1, 2, 1, 3, 1, 2), "meta": torch.zeros(1000, 1000, device="meta"), "none": torch.zeros(0, 3),
               "row": base[3], "turned": base.t(), "part": base[:, 5], "repeated": base[0, :1].expand(64)}
    def label(t):
        once, all = t.element_size(), t.untyped_storage().nbytes()
        for size, stride in zip(t.shape, t.stride()):
            once *= size if stride else 1
        text = str(t.dtype).removeprefix("torch.") + str(list(t.shape)) + " " + str(t.device)
        return text + (f", {once} of {all} bytes" if 0 < once < all else "")
    loss = total.detach()
    snap("a")
    print(json.dumps({"labels": {n: label(t) for n, t in various.items()}, "graph": graph_of(total), "custom": graph_of(custom),
                      "storages": storages_of(x, scale, view, *model.parameters(), *(p.grad for p in model.parameters()))}))
main()
"""


class Graph(unittest.TestCase):
    command = RUN

    @classmethod
    def setUpClass(cls):
        program = Program(SMALL, command=cls.command)
        cls.said, cls.graph = program.said, program["a"]
        (root,) = cls.graph.find_root("frame", "__main__:main", "total")
        cls.total = root.target

    def name(self, node):
        return PREFIX.sub("", self.graph.nodes[node].type)

    def nodes_below(self, node):
        seen, todo = set(), [node]
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += [e.target for e in self.graph.out[node] if e.kind == "next"]
        return seen

    def local(self, name):
        (root,) = self.graph.find_root("frame", "__main__:main", name)
        return root.target

    def test_nodes_and_edges(self):
        nodes = self.nodes_below(self.graph.follow(self.total, "grad_fn"))
        self.assertEqual(sorted(map(self.name, nodes)), self.said["graph"]["nodes"])
        edges = sorted([self.name(n), int(re.fullmatch(r"next_functions\[(\d+)\]", e.label)[1]), self.name(e.target)]
                       for n in nodes for e in self.graph.out[n] if e.kind == "next")
        self.assertEqual(edges, self.said["graph"]["edges"])

    def test_saved(self):
        nodes = self.nodes_below(self.graph.follow(self.total, "grad_fn"))
        saved = {(self.name(n), e.label) for n in nodes for e in self.graph.out[n] if e.kind == "saved"}
        self.assertEqual(sorted(saved), sorted((node, f"saved '{name}'") for node, name in self.said["graph"]["saved"]))
        for node in nodes:
            for edge in self.graph.out[node]:
                if edge.kind == "saved":
                    self.assertEqual(self.graph.nodes[edge.target].type, "c10::TensorImpl")
        labels = {(self.name(n), e.label, self.graph.nodes[e.target].label) for n in nodes for e in self.graph.out[n] if e.kind == "saved"}
        self.assertEqual(sorted(labels), sorted((node, f"saved '{name}'", label) for node, name, label in self.said["graph"]["labels"]))

    def test_a_function_in_python(self):
        node = self.graph.follow(self.local("custom"), "grad_fn")
        self.assertEqual(self.name(node), "PyNode")
        context = self.graph.follow(node, "ctx")
        self.assertTrue(self.graph.nodes[context].type.endswith("DoubledBackward"))
        saved = [e.target for e in self.graph.out[context] if e.kind == "saved"]
        deep = self.graph.follow(self.local("deep"), "grad_fn", "next_functions[0]", "ctx")
        self.assertEqual(self.graph.nodes[deep].type, self.graph.nodes[context].type)
        self.assertEqual(saved, [self.graph.follow(self.local("scale"), "_cdata")])

    def test_storages(self):
        blocks = {}
        for storage in self.graph.of_type("c10::StorageImpl"):
            for edge in self.graph.out[storage]:
                if edge.label == "data":
                    blocks[hex(self.graph.nodes[edge.target].address)] = self.graph.nodes[edge.target]
        said = self.said["storages"]
        self.assertEqual({a: blocks[a].size for a in said if a in blocks}, said)
        for address in said:  # numbers are no addresses
            self.assertEqual(self.graph.out[self.graph.at[int(address, 16)]], [])

    def test_a_view_has_the_storage_of_its_base(self):
        x, view = self.local("x"), self.local("view")
        self.assertEqual(self.graph.follow(x, "_cdata", "storage"), self.graph.follow(view, "_cdata", "storage"))

    def test_labels_say_what_tensors_are(self):
        labels = {e.label: self.graph.nodes[e.target].label for e in self.graph.out[self.local("various")] if e.kind == "value"}
        self.assertEqual({name.strip("[]'"): label for name, label in labels.items()}, self.said["labels"])

    def test_gradients(self):
        (root,) = self.graph.find_root("frame", "__main__:main", "model")
        parameters = self.graph.of_type("torch.nn.parameter.Parameter")
        self.assertEqual(len(parameters), 4)
        for parameter in parameters:
            self.assertEqual(self.graph.nodes[self.graph.follow(parameter, "grad")].type, "c10::TensorImpl")
        self.assertEqual(self.graph.nodes[root.target].type, "torch.nn.modules.container.Sequential")

    def test_no_callbacks_are_made_up(self):
        self.assertEqual([h for h in self.graph.hooks if h.kind == 1 and "DefaultCPUAllocator" in h.callback], [])


class Untracked(Graph):
    command = ()

    def test_nothing_is_missing(self):
        self.assertEqual([name for name in self.graph.meta if str(name).endswith(("_unread", "_unreadable"))], [])

    def test_only_what_tensors_lead_to_is_there(self):
        blocks = [node for node in self.graph.nodes[1:] if node.domain == 1]
        self.assertLess(len(blocks), 1000)
        self.assertEqual({hex(node.address): node.size for node in blocks if node.type == "tensor data" and hex(node.address) in self.said["storages"]},
                         self.said["storages"])


OPTIMIZER = """
import torch
class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(2)])
        self.scale = torch.nn.Parameter(torch.ones(4))
    def forward(self, x):
        for layer in self.layer:
            x = layer(x) * self.scale
        return x
def main():
    model = torch.nn.Sequential()
    model.encoder = Block()
    alone = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.Adam([*model.parameters(), alone])
    (model.encoder(torch.randn(3, 4)).sum() * alone).backward()
    optimizer.step()
    snap("a")
    print(json.dumps([name for name, _ in model.named_parameters()]))
main()
"""


class Optimizer(unittest.TestCase):
    def test_state_is_by_the_names_of_parameters(self):
        program = Program(OPTIMIZER)
        graph = program["a"]
        (root,) = graph.find_root("frame", "__main__:main", "optimizer")
        owner = graph.out[root.target]
        state = graph.follow(root.target if any(e.label == "state" for e in owner) else graph.follow(root.target, "__dict__"), "state")
        labels = sorted(e.label for e in graph.out[state] if e.kind == "value")
        self.assertEqual(labels, sorted(["", *(f"['{name}']" for name in program.said)]))
        for name in program.said:
            self.assertEqual(graph.nodes[graph.follow(state, f"['{name}']", "['exp_avg']")].type, "torch.Tensor")


# Numbers in objects, as ctypes has them: addresses of memory that begins with the address of a real virtual table, but is no
# block, or of a wrong size; that ends before the object would; that holds arrays of any length and bytes that are not there.
LIES = """
import ctypes, mmap, torch
SIZE = 1 << 20
def main():
    leaf = torch.randn(300, requires_grad=True)
    made = leaf.exp()
    area = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    words = (ctypes.c_uint64 * (SIZE // 8)).from_address(base)
    word = lambda address: ctypes.c_uint64.from_address(address).value
    tables = [word(leaf._cdata), word(leaf.untyped_storage()._cdata), word(leaf._cdata) - 16, word(leaf._cdata) + 8, base, 8]
    headers = [0, 1, 2, 0x20, 0x21, 0x22, 0x71, 0x1001, SIZE | 1, SIZE | 2, 1 << 40, (1 << 63) | 1, (1 << 64) - 1, (1 << 64) - 16]
    inside = [0, 16, base + 16, base + SIZE - 16, base + SIZE, base - 16, (1 << 47) - 16, (1 << 64) - 16, leaf._cdata + 16, leaf._cdata]
    lies = [ctypes.c_uint64(a) for a in inside + tables]
    at = 2
    for header in headers:
        for table in tables:
            words[at - 1], words[at] = header, table
            lies.append(ctypes.c_uint64(base + at * 8))
            for i, value in enumerate(inside):
                words[at + 2 + 3 * i:at + 5 + 3 * i] = [value & ~7, (value + 8) % (1 << 64) & ~7, (value + (1 << 45)) % (1 << 64) & ~7]
                words[at + 40 + 2 * i:at + 42 + 2 * i] = [value, value]
            at += 64
    words[SIZE // 8 - 2] = tables[0]  # the block would end behind the mapping
    lies.append(ctypes.c_uint64(base + SIZE - 16))
    snap("a")
    print(json.dumps({hex(t.data_ptr()): t.nbytes for t in (leaf, made)}))
main()
"""


class Lies(unittest.TestCase):
    def test(self):
        program = Program(LIES)
        graph = program["a"]
        found = {hex(node.address): node.size for node in graph.nodes[1:] if node.type == "tensor data"}
        self.assertEqual({a: found.get(a) for a in program.said}, program.said)
        self.assertLess(sum(node.size for node in graph.nodes[1:] if node.domain == 1), 4 << 20)


# Tensors on devices that need not be there: what another library hands over by DLPack is where it says; PyTorch itself makes the
# tensors and storages. The addresses are nobody's, so that whoever reads them dies.
HANDED_OVER = """
import ctypes, torch
torch.cuda._lazy_init = lambda: None
torch.privateuseone = sys.modules["torch.privateuseone"] = torch.cuda
class DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8),
                ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
                ("offset", ctypes.c_uint64)]
class Managed(ctypes.Structure):
    _fields_ = [("tensor", DLTensor), ("context", ctypes.c_void_p), ("delete", ctypes.c_void_p), ("n", ctypes.c_int64)]
CUDA, EXTENSION = 2, 12
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
free = ctypes.cast(libc.free, ctypes.c_void_p).value
new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype, new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
def on_device(address, n_bytes, number, kind=CUDA):
    at = libc.malloc(ctypes.sizeof(Managed))
    tensor = DLTensor(address, (kind, number), 1, 2, 32, 1, at + Managed.n.offset, None, 0)
    Managed.from_address(at).__init__(tensor, None, free, n_bytes // 4)
    return torch._C._from_dlpack(new_capsule(at, b"dltensor", None))
BASE, KIB = 0x7e0000000000, 1024
"""

DEVICES = HANDED_OVER + """
def main():
    cpu = torch.ones(64, 64)
    meta = torch.empty(64, 64, device="meta")
    alone = on_device(BASE, 4 * KIB, 0)
    same = [on_device(BASE + (1 << 20), 64 * KIB, 0) for _ in range(3)]
    parts = [on_device(BASE + (2 << 20) + i * 4 * KIB, 8 * KIB, 0) for i in (2, 0, 1, 3)]
    inside = [on_device(BASE + (3 << 20), 32 * KIB, 0), on_device(BASE + (3 << 20) + 512, 512, 0)]
    beside = [on_device(BASE + (4 << 20), 4 * KIB, 0), on_device(BASE + (4 << 20) + 4 * KIB, 4 * KIB, 0)]
    other = on_device(BASE, 12 * KIB, 1)
    custom = on_device(BASE + (5 << 20), 16 * KIB, 2, EXTENSION)
    empty = on_device(BASE + (6 << 20), 0, 0)
    gone = on_device(BASE + (7 << 20), 8 * KIB, 0)
    del gone
    snap("a")
    print(json.dumps([str(t.device) for t in (alone, other, custom)]))
main()
"""


class Devices(unittest.TestCase):
    """Without a recorder: what tensors keep is known by device, each byte once."""

    @classmethod
    def setUpClass(cls):
        program = Program(DEVICES)
        cls.said, cls.graph = program.said, program["a"]

    def test_ranges(self):
        base, kib = 0x7E0000000000, 1024
        self.assertEqual(self.said, ["cuda:0", "cuda:1", "privateuseone:2"])
        found = sorted((node.device - 1, node.address - base, node.size // kib) for node in self.graph.nodes[1:] if node.domain == DEVICE)
        self.assertEqual(found, [(0, 0, 4), (0, 1 << 20, 64), (0, 2 << 20, 20), (0, 3 << 20, 32), (0, 4 << 20, 4),
                                 (0, (4 << 20) + 4 * kib, 4), (1, 0, 12), (2, 5 << 20, 16)])
        self.assertEqual({node.type for node in self.graph.nodes[1:] if node.domain == DEVICE}, {"tensor data"})

    def test_chains(self):
        for name, path, device in (("alone", ["_cdata", "storage", "data"], 0), ("same", [2, "_cdata", "storage", "data"], 0),
                                   ("other", ["_cdata", "storage", "data"], 1)):
            (root,) = self.graph.find_root("frame", "__main__:main", name)
            node = self.graph.nodes[self.graph.follow(root.target, *path)]
            self.assertEqual((node.domain, node.device - 1), (DEVICE, device), name)

    def test_nothing_is_missing(self):
        self.assertEqual([name for name in self.graph.meta if str(name).endswith(("_unread", "_unreadable"))], [])


DEVICES_GROW = HANDED_OVER + """
cache = {}
def main():
    here = torch.ones(64, 64)
    steady = [on_device(BASE + (1 << 30) + i * (1 << 20), 256 * KIB, 0) for i in range(8)]
    for step in range(4):
        for i in range(16):
            cache[len(cache)] = on_device(BASE + len(cache) * (1 << 20), 128 * KIB, 1)
        snap(str(step))
main()
"""


class DevicesGrow(unittest.TestCase):
    def test(self):
        program = Program(DEVICES_GROW)
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for name, data in sorted(program.bytes.items()):
                paths.append(os.path.join(folder, name + ".snap"))
                with open(paths[-1], "wb") as out:
                    out.write(data)
            done = subprocess.run([os.environ["SNAPDIFF"], "--json", *paths], capture_output=True, text=True, check=False)
            text = subprocess.run([os.environ["SNAPDIFF"], *paths], capture_output=True, text=True, check=False).stdout
        self.assertEqual(done.returncode, 1, done.stderr)
        report = json.loads(done.stdout)
        first = report["suspects"][0]
        part = 16 * 128 * 1024
        self.assertEqual((first["class"], first["counts"], first["trend"]), ("device", [0, 16, 32, 48], "linear"))
        self.assertLess(abs(first["retained_bytes"] - 3 * part), part / 50)
        self.assertIn("cache", first["holder"])
        chain = [step["edge"] for step in first["chain"]]
        self.assertEqual(chain[-3:], ["._cdata", ".storage", ".data"])
        self.assertEqual([s["totals"]["device"]["bytes"] for s in report["snapshots"]], [8 * 256 * 1024 + n * part for n in (1, 2, 3, 4)])
        limits = [limit for limit in report["limits"] if "device" in limit]
        self.assertEqual(len(limits), 1, report["limits"])
        self.assertIn("tensors", limits[0])
        self.assertRegex(text, r"(?m)^device 0\n *live +2\.1 MB.*2\.1 MB +\+0 B")
        self.assertRegex(text, r"(?m)^device 1\n *live +2\.1 MB +4\.2 MB")


STEPS = 2000
ACCUMULATED = f"""
import ctypes, torch
torch.manual_seed(0)
torch.set_num_threads(1)
class Info(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
def in_use():
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd
def train(model, total_loss, steps):
    for _ in range(steps):
        total_loss = total_loss + model(torch.randn(256, 64)).pow(2).mean()
    return total_loss
def main():
    model = torch.nn.Linear(64, 64)
    total_loss = train(model, 0, 1)
    used = []
    for i in range(3):
        gc.collect()
        used.append(in_use())
        snap(str(i))
        if i < 2:
            total_loss = train(model, total_loss, {STEPS} // 2)
    print(json.dumps(used))
main()
"""


def count_by_type(path):
    """Blocks and objects by type, row by row: all of a large snapshot at once takes gigabytes."""
    text, names, count = {0: ""}, [0], collections.Counter()
    with subprocess.Popen([SNAP, "convert", "--to", "jsonl", path], stdout=subprocess.PIPE) as convert:
        for line in convert.stdout:
            if line.startswith((b'{"table":"STRS"', b'{"table":"TYPE"', b'{"table":"NODE"')):
                row = json.loads(line)
                if row["table"] == "STRS":
                    text[row["id"]] = row["text"]
                elif row["table"] == "TYPE":
                    names.append(row.get("name", 0))
                else:
                    count[row.get("type", 0)] += 1
    assert convert.returncode == 0
    return {PREFIX.sub("", text[names[number]]): n for number, n in count.items()}


class Accumulated(unittest.TestCase):
    def test(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Program(ACCUMULATED, command=RUN, timeout=600)
            paths = []
            for name, data in sorted(program.bytes.items()):
                if name != "exit":
                    paths.append(os.path.join(folder, name + ".snap"))
                    with open(paths[-1], "wb") as out:
                        out.write(data)
            kinds = count_by_type(paths[-1])
            done = subprocess.run([os.environ["SNAPDIFF"], "--json", *paths], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 1, done.stderr)
            report = json.loads(done.stdout)
        first = report["suspects"][0]
        chain = " ".join(step["edge"] + " " + step["node"] for step in first["chain"])
        grown = program.said[-1] - program.said[0]
        self.assertEqual(first["class"], "autograd")
        self.assertIn("total_loss", first["holder"])
        self.assertRegex(chain, r"\.grad_fn torch::autograd::generated::AddBackward0.* \.saved( '\w+')? c10::TensorImpl \.storage c10::StorageImpl")
        self.assertLess(abs(first["growth_bytes"] - grown), grown / 50, (first["growth_bytes"], grown))
        for name in ("AddBackward0", "MeanBackward0", "PowBackward0", "AddmmBackward0", "TBackward0"):
            self.assertEqual(kinds[name], STEPS + 1, name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
