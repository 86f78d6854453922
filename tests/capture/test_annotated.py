"""What a program says of its memory is in the snapshot, and what is outdated is not."""
import json
import os
import subprocess
import tempfile
import unittest

SNAP = os.environ["SNAP"]
PROGRAM = os.environ["ANNOTATED"]


class Annotated(unittest.TestCase):
    options = []

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="annotated-")
        path = os.path.join(cls.directory.name, "a.snap")
        done = subprocess.run([SNAP, "run", "-q", "-o", path, *cls.options, "--", PROGRAM], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (0, "0\n"), done
        subprocess.run([SNAP, "verify", "-q", path], check=True)
        text = subprocess.run([SNAP, "convert", path], stdout=subprocess.PIPE, check=True).stdout
        cls.tables = json.loads(text)["tables"]
        for name in ("TYPE", "EDGE", "ROOT", "HOOK", "POOL", "NODE"):
            cls.tables.setdefault(name, [])
        cls.types = {row["id"]: row["name"] for row in cls.tables["TYPE"]}
        cls.pools = {row["id"]: row for row in cls.tables["POOL"]}

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def node(self, size):
        found = [row for row in self.tables["NODE"] if row["size"] == size]
        self.assertEqual(len(found), 1, size)
        return found[0]

    def has_node(self, size):
        return any(row["size"] == size for row in self.tables["NODE"])

    def type_of(self, size):
        return self.types.get(self.node(size).get("type"), "")

    def pool_row(self, name):
        found = [row for row in self.tables["POOL"] if row["name"] == name and "parent" not in row]
        self.assertEqual(len(found), 1, name)
        return found[0]

    # --- types ---

    def test_types(self):
        self.assertEqual(self.type_of(1001), "struct right")
        self.assertNotIn("struct outdated", self.types.values())
        self.assertNotIn("struct taken_back", self.types.values())
        self.assertNotEqual(self.type_of(1004), "struct inside")

    # --- references ---

    def roots(self, name):
        return [row for row in self.tables["ROOT"] if row["kind"] == "api" and row["name"] == name]

    def test_edges(self):
        edges = [row for row in self.tables["EDGE"] if row["kind"] == "api"]
        self.assertEqual([(row["source"], row["target"], row["label"], row.get("source_offset", 0)) for row in edges],
                         [(self.node(1102)["id"], self.node(1101)["id"], "link", 16)])

    def test_roots(self):
        self.assertEqual([row["target"] for row in self.roots("held by nothing that shows")], [self.node(1102)["id"]])
        self.assertEqual([(row["target"], row["target_offset"]) for row in self.roots("inside")], [(self.node(1103)["id"], 24)])
        self.assertEqual([row["target"] for row in self.roots("from a global")], [self.node(1104)["id"]])
        self.assertEqual(self.roots("undone root"), [])
        self.assertEqual([row["target"] for row in self.roots("my region")], [self.node(1106)["id"]])

    # --- pools ---

    def test_blocks_take_the_place_of_their_memory(self):
        self.assertFalse(self.has_node(100000))
        blocks = [row for row in self.tables["NODE"] if row["size"] == 500]
        self.assertEqual(len(blocks), 25)
        pool = self.pool_row("arena")
        for row in blocks:
            self.assertEqual(row["kind"], "api_block")
            self.assertEqual(self.pools[row["pool"]]["parent"], pool["id"])
            self.assertGreater(row["stack"], 0)
        self.assertEqual((pool["size"], pool["live"], pool["cached"]), (90000, 25 * 500, 90000 - 25 * 500))
        # After the last block, which is number 49.
        self.assertEqual(pool["largest_gap"], 90000 - 49 * 1000 - 500)

    def test_their_words_are_references(self):
        blocks = [row["id"] for row in self.tables["NODE"] if row["size"] == 500]
        target = self.node(1201)["id"]
        self.assertTrue([row for row in self.tables["EDGE"] if row["source"] == blocks[0] and row["target"] == target])

    def test_an_opaque_pool(self):
        node = self.node(100001)
        pool = self.pool_row("opaque arena")
        self.assertEqual(self.pools[node["pool"]]["parent"], pool["id"])
        self.assertEqual((pool["size"], pool.get("cached", 0), pool["flags"]), (100001, 0, 2))

    def test_memory_that_went(self):
        self.assertFalse(self.has_node(77))
        self.assertEqual(self.node(100002).get("pool", 0), 0)

    def test_memory_of_a_mapping(self):
        node = self.node(1301)
        self.assertEqual(self.pools[node["pool"]]["name"], "mapped arena")
        self.assertTrue([row for row in self.tables["ROOT"] if row["target"] == node["id"] and row["kind"] == "global"])

    def test_reset_and_removed(self):
        self.assertFalse(self.has_node(1401))
        self.assertEqual(self.pools[self.node(1402)["pool"]]["name"], "reset arena")
        self.assertFalse(self.has_node(1501))
        self.assertEqual(self.node(50001).get("pool", 0), 0)
        self.assertNotIn("removed arena", [row["name"] for row in self.tables["POOL"]])

    def test_an_arena_out_of_an_arena(self):
        self.assertFalse(self.has_node(70000))
        self.assertFalse(self.has_node(20000))
        self.assertEqual(self.pools[self.node(1601)["pool"]]["name"], "inner arena")

    # --- callbacks ---

    def hooks(self, **wanted):
        return [row for row in self.tables["HOOK"] if all(row.get(key) == value for key, value in wanted.items())]

    def test_hooks(self):
        found = self.hooks(registry="on_batch_end")
        self.assertEqual(len(found), 3)
        for row in found:
            self.assertEqual((row["callback"], row["kind"], row["argument"]), ("callback", "api", self.node(1701)["id"]))
            self.assertTrue(row["file"].endswith("annotated.c"))
            self.assertGreater(row["stack"], 0)

    def test_the_library_is_not_on_the_stack(self):
        stacks = {row["id"]: row for row in self.tables["STAK"]}
        symbols = {}
        for row in self.tables["SYMB"]:
            symbols.setdefault(row["frame"], set()).add(row["function"])
        for row in self.hooks(registry="on_batch_end"):
            self.assertTrue(symbols[stacks[row["stack"]]["frame"]] & {"hooks", "main"})

    def test_exit_handlers(self):
        found = self.hooks(kind="atexit", callback="at_exit_handler")
        self.assertEqual([row.get("count", 1) for row in found], [4])

    def test_signal_handlers(self):
        found = {row["registry"]: row["callback"] for row in self.hooks(kind="signal")}
        self.assertEqual(found, {"signal USR2": "signal_handler", "signal CHLD": "signal_handler"})

    def test_thread_keys(self):
        self.assertEqual(len(self.hooks(kind="thread_key", callback="key_destructor")), 1)


class AnnotatedInPlace(Annotated):
    options = ["--no-fork"]


if __name__ == "__main__":
    unittest.main(verbosity=2)
