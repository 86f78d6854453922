"""A heap of a million objects of the program's own: everything is there, and what it costs is printed."""
import os
import time
import unittest

from graph import Program

LARGE = """
import time
class Node:
    __slots__ = ("left", "right", "value")
nodes = []
for i in range(1000000):
    n = Node()
    n.left = nodes[i // 2] if i else None
    n.right = None
    n.value = (i, float(i))
    nodes.append(n)
start = time.monotonic()
snap("a")
print(json.dumps([time.monotonic() - start]))
"""


class Large(unittest.TestCase):
    def test_a_million(self):
        start = time.monotonic()
        program = Program(LARGE, timeout=500)
        g = program["a"]
        self.assertEqual(len(g.of_type("__main__.Node")), 1000000)
        print(f"{len(g.nodes) - 1} objects, {len(g.edges)} references: {program.said[0]:.2f} s, {len(program.bytes['a'])} bytes; "
              f"with reading {time.monotonic() - start:.0f} s on {os.cpu_count()} cores")


if __name__ == "__main__":
    unittest.main(verbosity=2)
