"""The objects in a snapshot against the collector's own view of them, and names against the program that has them."""
import collections
import unittest

import graph
from graph import Program

ORACLE = """
import asyncio, collections, concurrent.futures, dataclasses, decimal, email, enum, fractions, logging, unittest, xml.dom
class Slots:
    __slots__ = ("left", "right")
slots = Slots(); slots.left = Slots()
gc.collect()
objects = gc.get_objects()
known = {id(o): [id(r) for r in gc.get_referents(o)] for o in objects if o is not objects}
mine = [id(o) for o in (known, objects)] + [id(r) for r in known.values()]
snap("a")
print(json.dumps([known, mine, id(globals())]))
"""


class Oracle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = Program(ORACLE)

    def test_all_objects_and_all_references(self):
        program = self.program
        g = program["a"]
        known, mine, module = program.said
        known = {int(address): referents for address, referents in known.items()}
        self.assertGreater(len(known), 10000)
        self.assertEqual([a for a in known if a not in g.at], [])
        referents = collections.defaultdict(collections.Counter)
        for edge in g.edges:
            referents[g.nodes[edge.source].address][g.nodes[edge.target].address] += 1
        strings = {node.address for node in g.nodes[1:] if node.type == "str"}
        for address, wanted in known.items():
            if address in mine or address == module:
                continue
            wanted = collections.Counter(wanted)
            self.assertEqual(wanted - referents[address], collections.Counter(), g.nodes[g.at[address]])
            # What a dictionary's own traversal leaves out are keys, where all are strings.
            self.assertLessEqual(set(referents[address] - wanted), strings, g.nodes[g.at[address]])

    def test_all_tracked_are_there(self):
        program = self.program
        g = program["a"]
        tracked = {n.address for n in g.nodes[1:] if n.kind == graph.OBJECT and not n.flags & graph.UNTRACKED}
        known = set(map(int, program.said[0]))
        self.assertEqual(known - {n.address for n in g.nodes[1:]}, set())
        self.assertLess(len(known - tracked), 50)


NAMES = """
import collections, contextvars, functools

class Slots:
    __slots__ = ("left",)
class Plain:
    def method(self):
        pass
class Marker: pass
class Value: pass

variable = contextvars.ContextVar("variable")

def outer():
    captured = Marker()
    def inner():
        return captured
    return inner

def generate():
    in_generator = Marker()
    yield in_generator

def use(argument):
    local = Value()
    local.self_made = [Marker(), {7: Marker(), "word": Marker(), "not a name!": Marker()}]
    waiting = threading.Event()
    ready = threading.Event()
    def other():
        in_thread = Marker()
        ready.set()
        waiting.wait()
    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    snap("a")
    waiting.set()
    thread.join()

plain = Plain()
plain.attribute = Marker()
slots = Slots()
slots.left = Marker()
inner = outer()
generator = generate()
next(generator)
bound = plain.method
part = functools.partial(use, Marker(), key=Marker())
queue = collections.deque([Marker()])
members = {Marker()}
try:
    raise ValueError(Marker())
except ValueError as error:
    kept = error
def with_default(value=Marker()): pass
variable.set(Marker())
use(plain)
"""


class Names(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.graph = Program(NAMES)["a"]
        cls.module = next(r.target for r in cls.graph.find_root("module", "__main__"))

    def attributes(self, node):
        """Where a module's or an object's attributes are."""
        inside = [e.target for e in self.graph.out[node] if e.label == "__dict__"]
        return inside[0] if inside else node

    def is_marker(self, node):
        self.assertEqual(self.graph.nodes[node].type, "__main__.Marker")

    def variable(self, name):
        return self.graph.follow(self.attributes(self.module), name)

    def test_attribute(self):
        plain = self.variable("plain")
        self.is_marker(self.graph.follow(self.attributes(plain), "attribute"))

    def test_slot(self):
        slots = self.variable("slots")
        self.is_marker(self.graph.follow(slots, "left"))
        self.assertEqual([e.kind for e in self.graph.out[slots] if e.label == "left"], ["slot"])

    def test_cell(self):
        closure = self.graph.follow(self.variable("inner"), "__closure__")
        self.is_marker(self.graph.follow(closure, "captured", "cell_contents"))

    def test_generator(self):
        generator = self.variable("generator")
        frame = [e.target for e in self.graph.out[generator] if e.label == "gi_frame"]  # 3.10
        self.is_marker(self.graph.follow(frame[0] if frame else generator, "generate.<locals>.in_generator"))

    def test_bound_method(self):
        bound = self.variable("bound")
        self.assertEqual(self.graph.follow(bound, "__self__"), self.variable("plain"))
        self.assertEqual(self.graph.nodes[self.graph.follow(bound, "__func__")].type, "function")

    def test_partial(self):
        part = self.variable("part")
        self.assertEqual(self.graph.follow(part, "func"), self.variable("use"))
        self.is_marker(self.graph.follow(part, "args", 0))
        self.is_marker(self.graph.follow(part, "keywords", "['key']"))

    def test_default(self):
        self.is_marker(self.graph.follow(self.variable("with_default"), "__defaults__", 0))

    def test_exception(self):
        kept = self.variable("kept")
        self.is_marker(self.graph.follow(kept, "args", 0))
        self.assertEqual(self.graph.nodes[self.graph.follow(kept, "__traceback__")].type, "traceback")

    def test_deque_and_set(self):
        self.is_marker(self.graph.follow(self.variable("queue"), 0))
        self.is_marker(self.graph.follow(self.variable("members"), "[*]"))

    def test_local_of_a_frame(self):
        (root,) = self.graph.find_root("frame", label="local")
        self.assertRegex(root.name, r"^__main__:use$")
        value = self.attributes(root.target)
        keys = self.graph.follow(value, "self_made", 1)
        self.is_marker(self.graph.follow(keys, "[7]"))
        self.is_marker(self.graph.follow(keys, "['word']"))
        (argument,) = self.graph.find_root("frame", label="argument")
        self.assertEqual(argument.target, self.variable("plain"))

    def test_what_may_be_data_is_no_name(self):
        self.assertFalse([text for text in self.graph.strings.values() if "not a name" in text])

    def test_local_of_another_thread(self):
        (root,) = self.graph.find_root("frame", label="in_thread")
        self.is_marker(root.target)
        (mine,) = self.graph.find_root("frame", label="local")
        if mine.thread:
            self.assertNotEqual(root.thread, mine.thread)

    def test_context_variable(self):
        self.assertTrue(self.graph.find_root("context"))

    def test_every_object_is_reached_or_garbage(self):
        reached, todo = set(), [r.target for r in self.graph.roots]
        while todo:
            node = todo.pop()
            if node not in reached:
                reached.add(node)
                todo += [e.target for e in self.graph.out[node]]
        lost = [n for i, n in enumerate(self.graph.nodes) if n and i not in reached and not n.flags & graph.GARBAGE]
        self.assertEqual(lost, [])


class Origins(unittest.TestCase):
    def test_whose_a_class_is(self):
        g = Program(
            "import argparse, collections, functools\nimport types as kinds\n"
            "for folder in ('project', 'lib/site-packages'):\n"
            "    os.makedirs(folder)\n    sys.path.append(os.path.abspath(folder))\n"
            "open('project/mine.py', 'w').write('class Job: __slots__ = ()\\n')\n"
            "open('lib/site-packages/theirs.py', 'w').write('class Tool: pass\\n')\n"
            "import mine, theirs\nclass Own(theirs.Tool): pass\n"
            "nowhere = type('Nowhere', (), {'__module__': 'not.there'})\n"
            "things = [Own(), mine.Job(), theirs.Tool(), argparse.Namespace(), functools.partial(print), collections.OrderedDict(),\n"
            "          kinds.SimpleNamespace(), nowhere()]\nsnap('a')\n"
        )["a"]
        wanted = {"__main__.Own": graph.CLASS, "mine.Job": graph.CLASS, "theirs.Tool": graph.CLASS | graph.LIBRARY,
                  "argparse.Namespace": graph.CLASS | graph.LIBRARY, "functools.partial": 0, "collections.OrderedDict": 0,
                  "types.SimpleNamespace": 0, "not.there.Nowhere": 0, "list": 0, "function": 0}
        self.assertEqual({name: g.type_flags[name] for name in wanted}, wanted)


class States(unittest.TestCase):
    def test_frozen(self):
        g = Program("class Kept: pass\nkept = Kept()\ngc.freeze()\nassert not any(o is kept for o in gc.get_objects())\nsnap('a')\n")["a"]
        self.assertTrue(g.nodes[g.one("__main__.Kept")].flags & graph.FROZEN)
        self.assertGreater(g.meta["gc_frozen_objects"], 1000)
        self.assertEqual(g.meta["gc_frozen_objects"], sum(n.flags & graph.FROZEN != 0 for n in g.nodes if n))

    def test_garbage(self):
        g = Program(
            "class Node: pass\nclass Live(Node): pass\n"
            "gc.disable()\ngc.collect()\n"
            "for _ in range(3):\n    a = Node(); a.self = a; a.payload = bytearray(100)\n"
            "live = Live(); live.self = live\n"
            "del a\nsnap('before')\nsnap('after', collect=True)\n"
        )
        before, after = g["before"], g["after"]
        self.assertEqual([bool(before.nodes[i].flags & graph.GARBAGE) for i in before.of_type("__main__.Node")], [True] * 3)
        self.assertFalse(before.nodes[before.one("__main__.Live")].flags & graph.GARBAGE)
        self.assertEqual(before.meta["python_garbage_objects"], sum(n.flags & graph.GARBAGE != 0 for n in before.nodes if n))
        self.assertEqual(after.of_type("__main__.Node"), [])
        self.assertEqual(before.meta["gc_enabled"], 0)

    def test_hidden_references(self):
        g = Program(
            "import ctypes\nclass Batch: pass\nbatches = [Batch() for _ in range(5)]\nheld = Batch()\n"
            "for b in batches:\n    ctypes.pythonapi.Py_IncRef(ctypes.py_object(b))\ndel b\nbatches.clear()\nsnap('a')\n"
        )["a"]
        hidden = sorted(g.nodes[i].hidden for i in g.of_type("__main__.Batch"))
        self.assertEqual(hidden, [0, 1, 1, 1, 1, 1])
        held = {i for i in g.of_type("__main__.Batch") if g.nodes[i].hidden}
        self.assertEqual({r.target for r in g.find_root("native")} & set(g.of_type("__main__.Batch")), held)

    def test_sizes(self):
        g = Program(
            "class L(list): pass\nclass D(dict): pass\nclass S(set): pass\nclass B(bytearray): pass\nclass T(tuple): pass\nclass I(int): pass\n"
            "things = [L(range(1000)), D.fromkeys(range(1000)), S(range(1000)), B(5000), T(range(100)), I(1 << 300)]\n"
            "snap('a')\nprint(json.dumps([[type(t).__name__, sys.getsizeof(t)] for t in things]))\n"
        )
        for name, size in g.said:
            node = g["a"].nodes[g["a"].one("__main__." + name)]
            self.assertAlmostEqual(node.size + node.external, size, delta=64, msg=name)

    def test_sizes_of_static_types(self):
        g = Program("snap('a')\nprint(json.dumps([[id(t), type.__sizeof__(t)] for t in (int, dict, type, type(len))]))\n")
        for address, size in g.said:
            node = g["a"].nodes[g["a"].at[address]]
            self.assertEqual((node.size, node.external), (size, 0))

    def test_roots_in_c(self):
        g = Program(
            "import atexit\nclass AtExit:\n    def __call__(self): pass\nclass Trace:\n    def __call__(self, *a): pass\n"
            "class Callback:\n    def __call__(self, *a): pass\n"
            "atexit.register(AtExit())\ngc.callbacks.append(Callback())\nsys.setprofile(Trace())\nsnap('a')\nsys.setprofile(None)\n"
        )["a"]
        self.assertEqual([r.kind for r in g.roots if r.target == g.one("__main__.AtExit")], ["atexit"])
        self.assertEqual([r.kind for r in g.roots if r.target == g.one("__main__.Trace")], ["trace"])
        (callbacks,) = g.find_root("collector", "gc.callbacks")
        self.assertIn(g.one("__main__.Callback"), [e.target for e in g.out[callbacks.target]])


class Untouched(unittest.TestCase):
    def test_nothing_is_made_or_counted(self):
        said = Program(
            "objects = [object() for _ in range(1000)] + [[] for _ in range(1000)]\n"
            "snap('warm')\ngc.collect()\ngc.disable()\n"
            "numbers = [0] * 6\ndef count(i):\n    numbers[i] = sum(map(sys.getrefcount, objects))\n"
            "    numbers[i + 1] = len(gc.get_objects())\n    numbers[i + 2] = sys.getallocatedblocks()\n"
            "count(3); count(0)\nsnap('a')\ncount(3)\nprint(json.dumps(numbers))\n"
        ).said
        before, after = said[:3], said[3:]
        self.assertEqual(before[:2], after[:2])
        self.assertLessEqual(abs(after[2] - before[2]), 8)

    def test_values_stay_out(self):
        program = Program(
            "class Account: pass\na = Account(); a.name = 'Rumpelstilzchen'; a.key = b'Schneewittchen'\n"
            "table = {'Dorn Roeschen': 1}\nsnap('a', label='x')\n"
        )
        for secret in ("Rumpelstilzchen", "Schneewittchen", "Dorn Roeschen"):
            self.assertFalse([text for text in program["a"].strings.values() if secret in text], secret)

    def test_children_are_not_seen(self):
        said = Program(
            "import signal\nseen = []\nsignal.signal(signal.SIGCHLD, lambda *a: seen.append(1))\nsnap('a')\n"
            "try:\n    os.waitpid(-1, os.WNOHANG)\n    seen.append(2)\nexcept ChildProcessError:\n    pass\nprint(json.dumps(seen))\n"
        ).said
        self.assertEqual(said, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
