"""Python under `snap run`: objects and blocks in one graph, whoever asked for the snapshot."""
import bisect
import os
import unittest

from graph import SNAP, Program

RUN = [SNAP, "run", "-o", "exit.snap", "--"]


class Tracked(unittest.TestCase):
    def test_by_the_module(self):
        program = Program("class Kept: pass\nkept = Kept()\nassert heapsnap.is_tracked()\nsnap('a')\n", command=RUN)
        g = program["a"]
        self.assertTrue(g.meta[24] & 16)  # objects are there
        self.assertTrue(g.find_root("module", "__main__"))
        kept = g.nodes[g.one("__main__.Kept")]
        self.assertEqual((kept.domain, kept.hidden), (2, 0))

    def test_by_a_signal(self):
        program = Program(
            "import signal, time\nclass Kept: pass\ndef main():\n    local = Kept()\n    os.kill(os.getpid(), signal.SIGUSR1)\n    time.sleep(0.5)\nmain()\n",
            command=[SNAP, "run", "-o", "signal.snap", "--on-signal", "USR1", "--"],
        )
        g = program["signal"]
        (root,) = g.find_root("frame", "__main__:main", "local")
        self.assertEqual(g.nodes[root.target].type, "__main__.Kept")

    def test_a_script_that_knows_nothing(self):
        program = Program("import signal, time\nos.kill(os.getpid(), signal.SIGUSR1)\ntime.sleep(0.5)\n",
                          command=[SNAP, "run", "-o", "signal.snap", "--on-signal", "USR1", "--"])
        self.assertGreater(len([n for n in program["signal"].nodes[1:] if n.domain == 2]), 10000)

    def test_blocks_of_objects_are_theirs(self):
        program = Program("class Big: __slots__ = tuple(f's{i}' for i in range(100))\nbig = Big()\nlist_of_many = list(range(100000))\n"
                          "class Marked(list): pass\nmarked = Marked(range(100000))\nsnap('a')\n", command=RUN)
        g = program["a"]
        big = g.nodes[g.one("__main__.Big")]
        self.assertGreater(big.size, 800)
        self.assertFalse([n for n in g.nodes[1:] if n.domain == 1 and n.address <= big.address < n.address + n.size])
        marked = g.one("__main__.Marked")
        blocks = [e.target for e in g.out[marked] if e.kind == "pointer" and g.nodes[e.target].domain == 1]
        self.assertEqual([g.nodes[b].size // 100000 for b in blocks], [8])
        self.assertLess(g.nodes[marked].external, 1000)

    def test_a_native_holder(self):
        program = Program(
            "import ctypes\nclass Batch: pass\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\n"
            "slot = libc.malloc(ctypes.c_size_t(1000))\nb = Batch()\nctypes.pythonapi.Py_IncRef(ctypes.py_object(b))\n"
            "ctypes.c_uint64.from_address(slot + 40).value = id(b)\ndel b\nprint(json.dumps([slot]))\nsys.stdout.flush()\nsnap('a')\n",
            command=RUN,
        )
        g = program["a"]
        batch = g.one("__main__.Batch")
        self.assertEqual(g.nodes[batch].hidden, 1)
        held = [(g.nodes[e.source].address, e.index) for e in g.edges if e.target == batch and e.kind == "pointer"]
        self.assertEqual(held, [(program.said[0], 40)])
        self.assertEqual([r for r in g.find_root("native") if r.target == batch], [])

    def test_static_tables_are_no_callbacks(self):
        made = (
            "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\n"
            "def add(name):\n    table, argument = libc.malloc(ctypes.c_size_t(64)), libc.malloc(ctypes.c_size_t(100))\n"
            "    ctypes.c_uint64.from_address(table).value = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value\n"
            "    ctypes.c_uint64.from_address(table + 8).value = argument\n    return table\n"
        )
        program = Program(
            f"made = {made!r}\n"
            "for folder in ('project', 'lib/site-packages'):\n"
            "    os.makedirs(folder)\n    sys.path.append(os.path.abspath(folder))\n"
            "open('project/mine.py', 'w').write(made + 'table = add(\"PyLong_FromLong\")\\n')\n"
            "open('lib/site-packages/theirs.py', 'w').write(made + 'table = add(\"PyLong_AsLong\")\\n')\n"
            "import mine, theirs, datetime, decimal, sqlite3\nlate = theirs.add('PyFloat_FromDouble')\nsnap('a')\n"
            "print(json.dumps([mine.table, late]))\n", command=RUN)
        g = program["a"]
        native = [h for h in g.hooks if h.kind == 1]
        self.assertEqual({h.callback: g.nodes[h.holder].address for h in native if h.callback.startswith(("PyLong_", "PyFloat_"))},
                         dict(zip(("PyLong_FromLong", "PyFloat_FromDouble"), program.said)))
        # Slots that types inherit are written as they are made.
        self.assertEqual({h.registry for h in native} & {"PyFloat_Type", "PyLong_Type", "PyList_Type", "PyDict_Type"}, set())

    def test_mappings_are_the_programs_own(self):
        # Those of whoever looks at the objects are not: they move while the copy reads.
        program = Program(
            "def spans():\n    with open('/proc/self/maps') as lines:\n        return [[int(x, 16) for x in l.split()[0].split('-')] for l in lines]\n"
            "many = [[i] for i in range(300000)]\nbefore = spans()\nsnap('a')\nprint(json.dumps(before + spans()))\n", command=RUN)
        g = program["a"]
        self.assertGreater(len(g.regions), 20)
        strange = [(hex(address), size, kind) for address, size, kind in g.regions
                   if not any(start < address + size and address < end for start, end in program.said)]
        self.assertEqual(strange, [])

    def test_words_of_objects_in_images(self):
        # Its own code was made with the interpreter, and stands in its data.
        g = Program("blocks = [bytearray(100) for _ in range(100000)]\nsnap('a')\n", command=RUN)["a"]
        objects = sorted((n.address, n.size, n.type) for n in g.nodes[1:] if n.domain == 2)
        starts = [address for address, _, _ in objects]
        inside = []
        for root in g.roots:
            if root.kind == "global":
                address, size, kind = objects[bisect.bisect(starts, root.address) - 1]
                if address <= root.address < address + size:
                    inside.append((kind, root))
        self.assertEqual([row for row in inside if row[0] in ("code", "str", "bytes", "int")], [])

    def test_without_objects(self):
        program = Program("snap('a')\n", command=RUN, environment={"HEAPSNAP_WALKERS": "/nonexistent"})
        g = program["a"]
        self.assertEqual([n for n in g.nodes[1:] if n.domain == 2], [])
        self.assertGreater(len(g.nodes), 50)

    def test_children(self):
        program = Program("import subprocess\nsubprocess.run([sys.executable, '-c', 'class Kept: pass\\nkept = Kept()'], check=True)\n",
                          command=[SNAP, "run", "-o", "%p.snap", "--at-exit", "--all-processes", "--"])
        self.assertGreaterEqual(len([program[name] for name in program.graphs]), 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
