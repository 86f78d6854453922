"""C++ objects of PyTorch in a trainer: each tensor, storage and node of the autograd graph is typed by its virtual table, from
the libraries as they are distributed, without debug information. The trainer says where they are, by ways of its own.

Run with "trainer" it is that trainer. Environment: SNAP."""
import collections
import ctypes
import gc
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

SNAP = os.environ["SNAP"]
VTABLE, HOST = 3, 1  # TYPE.source, NODE.domain
SHARED = re.compile(r"^std::make_shared<(.*?)(, .*)?>$")


def word_at(address):
    return ctypes.c_size_t.from_address(address).value


def address_of_node(function):
    """A Python object of a node holds a std::shared_ptr to it right behind its head. Not that of a function in Python."""
    return word_at(id(function) + object.__basicsize__)


def train(torch):
    """A network with layers of several sorts, a hand-written function, and a graph that is kept."""
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 2

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Flatten(),
                              torch.nn.LayerNorm(56), torch.nn.Linear(56, 8), torch.nn.GELU(), torch.nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    recurrent = torch.nn.GRU(2, 3)
    kept = []
    for _ in range(6):
        x = torch.randn(16, 1, 16)
        out = Doubled.apply(net(x))
        steps, _ = recurrent(out.unsqueeze(0))
        loss = torch.nn.functional.cross_entropy(out, torch.randint(0, 2, (16,))) + steps.tanh().pow(2).mean()
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()
        kept.append(loss)
    return net, optimizer, recurrent, kept


def tell(torch, kept):
    for tensor in (o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)):
        print("tensor", tensor._cdata)
        if tensor.layout == torch.strided:
            print("storage", tensor.untyped_storage()._cdata)
    nodes, functions, work = {}, set(), [loss.grad_fn for loss in kept]
    while work:
        function = work.pop()
        is_python = isinstance(function, torch.autograd.function.BackwardCFunction)
        address = address_of_node(function)
        if address in nodes or function in functions:
            continue
        if is_python:
            functions.add(function)
        else:
            nodes[address] = type(function).__name__
        work.extend(f for f, _ in function.next_functions if f is not None)
    for address, name in nodes.items():
        print("node", address, name)
    print("functions", len(functions))


def trainer():
    import torch
    kept = train(torch)
    tell(torch, kept[3])
    print("ready", flush=True)
    sys.stdin.readline()
    return kept


@unittest.skipIf(importlib.util.find_spec("torch") is None, "there is no PyTorch")
class TorchTypes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory(prefix="torch-types-") as directory:
            path = os.path.join(directory, "out.snap")
            run = subprocess.Popen([SNAP, "run", "-q", "--no-follow", "-o", path, "--", sys.executable, os.path.abspath(__file__),
                                    "trainer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            cls.books = []
            with run.stdin, run.stdout:
                for line in run.stdout:
                    if line == "ready\n":
                        break
                    cls.books.append(line.split())
                with open(f"/proc/{run.pid}/task/{run.pid}/children", encoding="ascii") as children:
                    pid = children.read().split()[0]
                done = subprocess.run([SNAP, "take", "-q", "--timeout", "200", "-o", path, pid], capture_output=True, text=True)
                run.stdin.write("\n")
            if run.wait() != 0 or done.returncode != 0:
                raise RuntimeError(f"the trainer ended with {run.returncode}: {done.stderr}")
            cls.read(path)

    @classmethod
    def read(cls, path):
        strings, types, nodes = {0: ""}, [(0, 0)], []
        convert = subprocess.Popen([SNAP, "convert", "--to", "jsonl", path], stdout=subprocess.PIPE)
        for line in convert.stdout:
            if line.startswith((b'{"table":"NODE"', b'{"table":"STRS"', b'{"table":"TYPE"')):
                row = json.loads(line)
                if row["table"] == "STRS":
                    strings[row["id"]] = row.get("text", "")
                elif row["table"] == "TYPE":
                    types.append((row.get("name", 0), row.get("source", 0)))
                else:
                    nodes.append(row)
        convert.stdout.close()
        if convert.wait() != 0:
            raise RuntimeError("snap convert failed")
        types = [(strings[name], source) for name, source in types]
        # Host memory only: objects of Python are nodes of their own.
        cls.type_at = {row["address"]: types[row.get("type", 0)] for row in nodes if row.get("domain") == HOST}

    def addresses(self, kind):
        return {int(line[1]): line[2:] for line in self.books if line[0] == kind}

    def type_of(self, address):
        """Of the object, or of the block of std::make_shared that it lies in, behind two counts."""
        if address in self.type_at:
            return self.type_at[address]
        name, source = self.type_at.get(address - 16, ("nothing", 0))
        match = SHARED.match(name)
        return (match[1] if match else name), source

    def check(self, kind, is_right, least):
        found = collections.Counter()
        wrong = []
        for address, rest in self.addresses(kind).items():
            name, source = self.type_of(address)
            found[name] += 1
            if source != VTABLE or not is_right(name, rest):
                wrong.append((hex(address), name, source, rest))
        print(f"    {kind}: {sum(found.values())} in all, {dict(found)}", file=sys.stderr)
        self.assertEqual(wrong, [])
        self.assertGreaterEqual(sum(found.values()), least)

    def test_tensors(self):
        self.check("tensor", lambda name, _: name == "c10::TensorImpl", 50)

    def test_storages(self):
        self.check("storage", lambda name, _: name == "c10::StorageImpl", 50)

    def test_nodes_of_the_graph(self):
        def is_right(name, rest):
            return name.rsplit("::", 1)[-1] == rest[0] and name.startswith("torch::autograd::")
        self.check("node", is_right, 100)

    def test_nodes_of_functions_in_python(self):
        """Where these are nobody tells, but how many there are."""
        (wanted,) = (int(line[1]) for line in self.books if line[0] == "functions")
        found = sum(1 for type_ in self.type_at.values() if type_ == ("torch::autograd::PyNode", VTABLE))
        self.assertGreater(wanted, 0)
        self.assertEqual(found, wanted)


if __name__ == "__main__":
    if sys.argv[1:] == ["trainer"]:
        trainer()
    else:
        unittest.main(verbosity=2)
