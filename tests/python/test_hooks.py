"""Callbacks that are registered and stay: in which registry, which function, where it is written, how many."""
import unittest

from graph import Program

HOOKS = """
import atexit, collections, functools, weakref
class Layer:
    def __init__(self):
        self._forward_hooks = collections.OrderedDict()
        self._forward_pre_hooks = {}
        self._backward_hooks = {}
        self._modules = {}
class Net(Layer):
    def forward(self): pass
def hook(*arguments): pass
def at_exit(): pass
def on_collect(phase, info): pass
def gone(reference): pass
@functools.lru_cache(None)
def cached(n): return n
def main():
    net = Net()
    net._modules["encoder"] = Layer()
    net._modules["encoder"]._modules["0"] = layer = Layer()
    for i in range(3):
        layer._forward_hooks[i] = hook
    net._backward_hooks[7] = functools.partial(hook, 1)
    net._forward_pre_hooks[0] = net.forward
    net._forward_pre_hooks[1] = lambda: None
    atexit.register(at_exit)
    gc.callbacks.append(on_collect)
    references = [weakref.ref(net, gone) for _ in range(5)]
    for i in range(9):
        cached(i)
    del layer
    snap("a")
    gc.callbacks.clear()
main()
"""
MODULE, ATEXIT, COLLECTOR, WEAKREF, CACHE = 7, 3, 12, 13, 15


class Hooks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.graph = Program(HOOKS)["a"]

    def found(self, kind):
        return sorted((h.registry, h.callback, h.count) for h in self.graph.hooks if h.kind == kind)

    def test_modules(self):
        self.assertEqual(
            self.found(MODULE),
            sorted(
                [("net.encoder.0._forward_hooks", "hook", 1)] * 3
                + [("net._backward_hooks", "hook", 1), ("net._forward_pre_hooks", "Net.forward", 1)]
                + [("net._forward_pre_hooks", "main.<locals>.<lambda>", 1)]
            ),
        )

    def test_file_and_line(self):
        lines = HOOKS.splitlines()
        for hook in self.graph.hooks:
            if hook.callback in ("hook", "at_exit", "on_collect", "gone"):
                self.assertTrue(hook.file.endswith("program.py"), hook)
                first = next(i for i, line in enumerate(lines) if line.startswith(f"def {hook.callback}("))
                head = {h.line - next(i for i, line in enumerate(lines) if line.startswith(f"def {h.callback}("))
                        for h in self.graph.hooks if h.callback in ("hook", "at_exit", "on_collect", "gone")}
                self.assertEqual(len(head), 1, head)
                self.assertEqual(hook.line - first, head.pop())

    def test_holder_and_callback_are_nodes(self):
        for hook in self.graph.hooks:
            self.assertTrue(hook.argument, hook)
            if hook.kind == MODULE:
                self.assertIn(self.graph.nodes[hook.holder].type, ("dict", "collections.OrderedDict"))

    def test_collector_and_exit(self):
        self.assertIn(("gc.callbacks", "on_collect", 1), self.found(COLLECTOR))
        self.assertIn(("atexit", "at_exit", 1), self.found(ATEXIT))

    def test_weak_references_are_counted_together(self):
        self.assertIn(("weakref", "gone", 5), self.found(WEAKREF))

    def test_caches(self):
        self.assertIn(("lru_cache", "cached", 9), self.found(CACHE))


if __name__ == "__main__":
    unittest.main(verbosity=2)
