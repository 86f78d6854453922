"""Process groups of torch.distributed: a resource for each that was made and not destroyed, with its backend, name and ranks.

test_groups.py Lies: a module of that name with other things in it, which needs no PyTorch. Untracked, Tracked: real ones."""
import importlib.util
import sys
import unittest

from graph import SNAP, Program

PROCESS_GROUP = 16
WORD = 60  # characters that are kept of a backend or name

LIES = """
import types
class Group: pass
class Text(str): pass
def main():
    module = types.ModuleType("torch.distributed.distributed_c10d")
    sys.modules[module.__name__] = module
    groups = [Group() for _ in range(9)]
    module._pg_map = {groups[0]: ("gloo", None), groups[1]: ("a secret of somebody", None), groups[2]: None, groups[3]: (), groups[4]: (7,),
                      groups[5]: ("cpu:gloo,cuda:nccl", None), groups[6]: (Text("ucc"), None), groups[7]: ("x" * 500, None), groups[8]: ("mpi", None)}
    module._pg_names = {g: str(i) for i, g in enumerate(groups)}
    module._pg_names[groups[1]] = "not a name"
    module._pg_names[groups[2]] = 5
    module._pg_group_ranks = {groups[8]: {"0": 0}, groups[0]: {0: 0, 1: 1, 2: 2, 7: 3, 9: 4, 10: 5}, groups[3]: {-1: 0}, groups[4]: {1 << 70: 0},
                              groups[5]: {i * 2: i for i in range(5000)}, groups[6]: [0, 1], groups[7]: {i: i for i in range(4000)}}
    snap("a")
    module._pg_map = [1, 2]
    snap("b")
    module._pg_map, module._pg_names, module._pg_group_ranks = {groups[0]: ("gloo", None)}, None, 3
    snap("c")
    sys.modules[module.__name__] = Group()
    snap("d")
    print(json.dumps([id(g) for g in groups]))
main()
"""

REAL = """
import tempfile
import torch.distributed as dist
def main():
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        snap("world")
        groups = []
        for i in range(3):
            groups.append(dist.new_group([0], backend="gloo"))
        dropped = id(groups.pop())
        snap("four")
        kept = [id(g) for g in groups]
        dist.destroy_process_group(groups[0])
        del groups[0]
        snap("three")
        dist.destroy_process_group()
        snap("none")
    print(json.dumps([*kept, dropped]))
    sys.stdout.flush()
    os._exit(0)
main()
"""


class Lies(unittest.TestCase):
    def test_only_names_are_names(self):
        program = Program(LIES)
        found = {r.handle: r.name for r in program["a"].resources if r.kind == PROCESS_GROUP}
        self.assertEqual([found[address] for address in program.said], [
            "gloo '0', 6 ranks: 0-2,7,9-10", "", "", "'3', 1 rank", "'4', 1 rank", found[program.said[5]], "ucc '6'",
            "x" * WORD + " '7', 4000 ranks: 0-3999", "mpi '8', 1 rank"])
        self.assertRegex(found[program.said[5]], r"^cpu:gloo,cuda:nccl '5', 5000 ranks: 0,2,4,6,[0-9,]+,\.\.\.$")
        self.assertLess(max(map(len, found.values())), 320)
        self.assertEqual(program["b"].resources, [])
        self.assertEqual([(r.handle, r.name) for r in program["c"].resources], [(program.said[0], "gloo")])
        self.assertEqual(program["d"].resources, [])


class Untracked(unittest.TestCase):
    command = ()

    def test_groups_until_they_are_destroyed(self):
        program = Program(REAL, command=self.command)
        for name, count in {"world": 1, "four": 4, "three": 3, "none": 0}.items():
            graph = program[name]
            groups = [r for r in graph.resources if r.kind == PROCESS_GROUP]
            self.assertEqual(len(groups), count, name)
            for group in groups:
                self.assertTrue(graph.nodes[graph.at[group.handle]].type.endswith(".ProcessGroup"))
                self.assertRegex(group.name, r"^gloo '[\w_:-]+', 1 rank: 0$")
                self.check(graph, group)
        self.assertLessEqual(set(program.said), {r.handle for r in program["four"].resources})
        self.assertEqual(set(program.said) - {r.handle for r in program["three"].resources}, {program.said[0]})

    def check(self, graph, group):
        self.assertEqual(group.stack, 0)


class Tracked(Untracked):
    command = (SNAP, "run", "-q", "-o", "exit.snap", "--")

    def check(self, graph, group):
        self.assertNotEqual(group.stack, 0)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] != "Lies" and importlib.util.find_spec("torch") is None:
        print("no torch")
        sys.exit(77)
    unittest.main()
