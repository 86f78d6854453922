"""Objects and moments that would crash or hang a walk that believes what it is told."""
import os
import tempfile
import unittest

from graph import Program

HOSTILE = """
import hostile
class Value: pass
gc.disable()
thing = getattr(hostile, sys.argv[1])()
thing.set(Value())
thing.track()
snap("a")
thing.untrack()
"""


class Hostile(unittest.TestCase):
    def check(self, name, is_bad):
        g = Program(HOSTILE, name)["a"]
        thing = g.one("hostile." + name)
        self.assertEqual(len(g.of_type("__main__.Value")), 1)
        self.assertEqual(bool(g.meta.get("python_objects_unreadable")), is_bad)
        self.assertTrue(g.find_root("module", "__main__"))
        self.assertEqual(g.nodes[thing].hidden, 0)
        self.assertGreater(len(g.nodes), 20000)
        return g

    def test_junk(self):
        self.check("junk", is_bad=True)

    def test_forever(self):
        self.check("forever", is_bad=True)

    def test_fault(self):
        self.check("fault", is_bad=True)

    def test_abort(self):
        self.check("abort", is_bad=True)

    def test_wild(self):
        self.check("wild", is_bad=True)

    def test_often(self):
        g = self.check("often", is_bad=False)
        self.assertEqual(g.nodes[g.one("__main__.Value")].hidden, 0)


class Moments(unittest.TestCase):
    def test_deep_chain(self):
        g = Program("class Link: pass\nhead = None\nfor _ in range(200000):\n    n = Link(); n.next = head; head = n\nsnap('a')\n"
                    "while head is not None:\n    head = head.next\n")["a"]
        self.assertEqual(len(g.of_type("__main__.Link")), 200000)

    def test_deep_recursion(self):
        g = Program("sys.setrecursionlimit(20000)\ndef deep(n):\n    local = [n]\n    return deep(n - 1) if n else snap('a')\ndeep(4000)\n")["a"]
        self.assertEqual(len(g.find_root("frame", "__main__:deep", "local")), 4001)

    def test_threads_that_run(self):
        g = Program(
            "stop = False\ndef run():\n    while not stop:\n        a = [{str(i): [i]} for i in range(50)]\n"
            "threads = [threading.Thread(target=run) for _ in range(4)]\n[t.start() for t in threads]\n"
            "for i in range(5):\n    snap(f'a{i}')\nstop = True\n[t.join() for t in threads]\n"
        )
        for name in ("a0", "a4"):
            self.assertGreater(len(g[name].nodes), 20000)
            self.assertFalse(g[name].meta.get("python_objects_unreadable"))

    def test_while_the_collector_runs(self):
        g = Program("def callback(phase, info):\n    snap(phase, overwrite=True)\ngc.callbacks.append(callback)\ngc.collect()\n"
                    "gc.callbacks.clear()\n")
        self.assertGreater(len(g["start"].nodes), 20000)
        self.assertGreater(len(g["stop"].nodes), 20000)

    def test_in_a_forked_child(self):
        g = Program("pid = os.fork()\nsnap('child' if pid == 0 else 'parent')\nif pid == 0:\n    os._exit(0)\nos.waitpid(pid, 0)\n")
        self.assertNotEqual(g["child"].meta[2], g["parent"].meta[2])  # lineages
        self.assertGreater(len(g["child"].nodes), 20000)

    def test_writer_that_reads_late(self):
        """The walk waits for it in the middle of a section, longer than any one object may take."""
        with tempfile.TemporaryDirectory() as top:
            late = os.path.join(top, "late")
            with open(late, "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\nsleep 4\nexec "{os.environ["HEAPSNAP_WRITE"]}" "$@"\n')
            os.chmod(late, 0o755)
            g = Program(f"os.environ['HEAPSNAP_WRITE'] = {late!r}\nclass Value: pass\nkept = [Value() for _ in range(100000)]\nsnap('a')\n")["a"]
        self.assertEqual(len(g.of_type("__main__.Value")), 100000)
        self.assertFalse(g.meta.get("python_objects_unreadable"))

    def test_from_many_threads_at_once(self):
        g = Program("threads = [threading.Thread(target=snap, args=(f't{i}',)) for i in range(6)]\n[t.start() for t in threads]\n"
                    "[t.join() for t in threads]\n")
        self.assertEqual(len([g[name] for name in g.graphs]), 6)

    def test_open_files_are_let_go(self):
        said = Program("r, w = os.pipe()\nos.set_inheritable(w, True)\nsnap('a')\nos.close(w)\nprint(json.dumps([len(os.read(r, 10))]))\n").said
        self.assertEqual(said, [0])

    def test_subinterpreter(self):
        g = Program(
            "try:\n    import _interpreters as sub\nexcept ImportError:\n    try:\n        import _xxsubinterpreters as sub\n"
            "    except ImportError:\n        sub = None\nif sub:\n    i = sub.create()\nsnap('a')\nif sub:\n    sub.destroy(i)\n"
        )
        self.assertGreater(len(g["a"].nodes), 20000)


if __name__ == "__main__":
    unittest.main(verbosity=2)
