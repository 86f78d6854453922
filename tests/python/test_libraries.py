"""A process with large libraries: what the collector and PyTorch say of themselves is what the snapshot has. PyTorch and
scikit-learn are needed; transformers is imported where it is."""
import array
import collections
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import unittest

import heapsnap
from graph import EDGE, OBJECT, PLAIN_OBJECT, SNAP, UNTRACKED, Program

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("sklearn") is None:
    print("no torch or no sklearn")
    sys.exit(77)

RUN = [SNAP, "run", "-o", "exit.snap", "--"]
IMPORTS = """
import torch, sklearn.datasets, sklearn.ensemble, sklearn.linear_model
torch.manual_seed(0)
try:
    import transformers
except ImportError:
    transformers = None
def make_model():
    if transformers is None:
        return torch.nn.Sequential(torch.nn.Embedding(1000, 64), torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True))
    return transformers.BertModel(transformers.BertConfig(
        vocab_size=1000, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128))
model = make_model()
"""

# Whatever is made to ask the collector is not asked about; nor is what changes while it is asked.
ORACLE = IMPORTS + """
class Asked: pass
gc.collect()
gc.disable()
objects = gc.get_objects()
asked = {id(o): [id(r) for r in gc.get_referents(o)] for o in objects if o is not objects}
mine = {id(asked), id(objects), id(globals()), id(sys._getframe())} | {id(r) for r in asked.values()}
snap("a")
print(json.dumps([asked, list(mine)]))
"""

STORAGES = IMPORTS + """
data = sklearn.datasets.load_digits()
x = torch.tensor(data.data[:256], dtype=torch.float32)
view, half = x[:7], x.half()
optimizer = torch.optim.Adam(model.parameters())
parameters = list(model.parameters())
sum((p * p).sum() for p in parameters).backward()
optimizer.step()
def main():
    snap("a")
    gc.collect()
    tensors = [o for o in gc.get_objects() if isinstance(o, torch.Tensor)]
    tensors += [t.grad for t in tensors if t.grad is not None]
    storages = {}
    for t in tensors:
        s = t.untyped_storage()
        if s.nbytes():
            storages[s.data_ptr()] = s.nbytes()
    print(json.dumps([storages]))
main()
"""

IDLE = """
import torch
layer = torch.nn.Linear(64, 64)
layer(torch.randn(8, 64)).sum().backward()
gc.collect()
snap("warm")
for i in range(20):
    snap(f"i{i:02}")
"""


class Rows:
    """The rows of a snapshot, one after the other: whole graphs of this size do not fit into objects of Python."""

    def __init__(self, data):
        self.file = tempfile.NamedTemporaryFile(prefix="heapsnap-python-", suffix=".snap")
        self.file.write(data)
        self.file.flush()

    def __iter__(self):
        with subprocess.Popen([SNAP, "convert", "--to", "jsonl", self.file.name], stdout=subprocess.PIPE) as convert:
            yield from map(json.loads, convert.stdout)
        if convert.returncode != 0:
            raise AssertionError(f"snap convert ended with {convert.returncode}")


def read_objects(rows):
    """Addresses of objects by id (0: a native block), which are strings, and which the collector has."""
    text, types, addresses, strings, tracked = {}, [], array.array("Q", [0]), set(), set()
    for row in rows:
        if row["table"] == "STRS":
            text[row["id"]] = row["text"]
        elif row["table"] == "TYPE":
            types.append(row.get("name", 0))
        elif row["table"] == "NODE":
            addresses.append(row["address"] if row.get("kind") in (OBJECT, PLAIN_OBJECT) else 0)
            if row.get("kind") == OBJECT and not row.get("flags", 0) & UNTRACKED:
                tracked.add(row["address"])
            strings.add((row["address"], row.get("type", 0)))
    str_types = {i for i, name in enumerate(types, 1) if text[name] == "str"}
    return addresses, {address for address, type_id in strings if type_id in str_types}, tracked


class Oracle(unittest.TestCase):
    def test_objects_and_references_are_the_collectors(self):
        program = Program(ORACLE, timeout=600)
        rows = Rows(program.bytes["a"])
        asked, mine = program.said
        asked, mine = {int(a): r for a, r in asked.items()}, set(mine)
        self.assertGreater(len(asked), 100000)
        addresses, strings, tracked = read_objects(rows)
        self.assertEqual(set(asked) - set(addresses), set())
        self.assertLess(len(set(asked) - tracked), 50)
        n_references = 0
        unseen = {a for a, referents in asked.items() if referents and a not in mine}
        # The collector knows of objects only: what those have in native memory is none of its references.
        edges = ((row["source"], row["target"]) for row in rows if row["table"] == "EDGE" and addresses[row["target"]])
        for source, group in itertools.groupby(edges, key=lambda edge: edge[0]):
            address = addresses[source]
            if address not in unseen:
                continue
            unseen.remove(address)
            wanted = collections.Counter(asked[address])
            referents = collections.Counter(addresses[target] for _, target in group)
            n_references += sum(wanted.values())
            self.assertEqual(wanted - referents, collections.Counter(), hex(address))
            # What a dictionary's own traversal leaves out are keys, where all are strings.
            self.assertLessEqual(set(referents - wanted), strings, hex(address))
        self.assertEqual(unseen, set())
        print(f"{len(asked)} objects, {n_references} references")


class Storages(unittest.TestCase):
    def test_under_the_recorder(self):
        self.check(RUN)

    def test_imported_only(self):
        self.check([])

    def check(self, command):
        program = Program(STORAGES, command=command, timeout=600)
        rows = Rows(program.bytes["a"])
        storages = {int(a): n for a, n in program.said[0].items()}
        self.assertGreater(len(storages), 40)
        found, ids = {}, {}
        for row in rows:
            if row["table"] == "NODE" and row["address"] in storages:
                found[row["address"]] = row.get("size", 0)
                ids[row["id"]] = row["address"]
        self.assertEqual(found, storages)
        held = {ids[row["target"]] for row in rows if row["table"] == "EDGE" and row["target"] in ids and EDGE[row["kind"]] == "storage"}
        self.assertEqual(held, set(storages))
        print(f"{len(storages)} storages, {sum(found.values())} bytes")


class Idle(unittest.TestCase):
    def check(self, command):
        program = Program(IDLE, command=command, timeout=900)
        paths = []
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="heapsnap-python-"))
        for i in range(20):
            paths.append(os.path.join(folder, f"i{i:02}.snap"))
            with open(paths[-1], "wb") as out:
                out.write(program.bytes[f"i{i:02}"])
        found = heapsnap.diff(paths)
        self.assertEqual((found["verdict"], found["suspects"]), ("no-growth", []), str(found["suspects"])[:2000])

    def test_imported_only(self):
        self.check([])

    def test_under_the_recorder(self):
        self.check(RUN)


if __name__ == "__main__":
    unittest.main(verbosity=2)
