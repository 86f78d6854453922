"""The reference graph in a file against programs that know their own: every edge is there, hardly one more, names of types
and of roots are those of the program. The programs write a book (see graph_oracle.c) and stop for the snapshot.

Environment: SNAP, ORACLES (programs, with ":" between), NODES (about how many blocks each makes), SEEDS."""
import array
import bisect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SNAP = os.environ["SNAP"]
ORACLES = os.environ["ORACLES"].split(":")
NODES = os.environ.get("NODES", "10000")
SEEDS = os.environ.get("SEEDS", "1 2 3").split()
EDGE_PRECISION = 0.995
TYPED_SHARE = 0.98
SITE = 6  # TYPE.source: "allocated in", says nothing of the type
GUESS = 5
LOW = 2  # EDGE.flags: of low confidence
ROOT_KINDS = {"global": 1, "stack": 2, "tls": 4}


class Book:
    """What the program says of itself."""

    def __init__(self, path):
        self.types, self.sizes, self.words, self.roots = {}, {}, {}, []
        with open(path, encoding="ascii") as book:
            for line in book:
                kind, _, rest = line.rstrip("\n").partition(" ")
                if kind == "n":
                    address, size, name = rest.split(" ", 2)
                    self.types[int(address)] = name
                    self.sizes[int(address)] = int(size)
                elif kind == "e":
                    block, offset, value = map(int, rest.split())
                    self.words[block + offset] = value
                else:
                    kind, name, value = rest.split()
                    self.roots.append((kind, name, int(value)))


class Graph:
    """The same of the snapshot: addresses instead of ids."""

    def __init__(self, path):
        self.address, self.size = array.array("Q", [0]), array.array("Q", [0])
        self.type, self.edges, self.roots = array.array("I", [0]), [], []
        self.strings, self.types = {0: ""}, {0: ("", 0)}
        types = []
        convert = subprocess.Popen([SNAP, "convert", "--to", "jsonl", path], stdout=subprocess.PIPE)
        for line in convert.stdout:
            row = json.loads(line)
            table = row["table"]
            if table == "NODE":
                self.address.append(row["address"])
                self.size.append(row.get("size", 0))
                self.type.append(row.get("type", 0))
            elif table == "EDGE":
                self.edges.append((row["source"], row.get("source_offset", 0), row["target"], row.get("target_offset", 0),
                                   row.get("flags", 0)))
            elif table == "STRS":
                self.strings[row["id"]] = row.get("text", "")
            elif table == "TYPE":
                types.append((row.get("name", 0), row.get("source", 0)))
            elif table == "ROOT":
                self.roots.append((row.get("kind"), row.get("name", 0), row["target"], row.get("target_offset", 0)))
        convert.stdout.close()
        if convert.wait() != 0:
            raise RuntimeError(f"snap convert ended with {convert.returncode}")
        for index, (name, source) in enumerate(types, 1):
            self.types[index] = (self.strings[name], source)


class Inside:
    """Which addresses lie in blocks of the book."""

    def __init__(self, book, graph):
        size_of = dict(zip(graph.address, graph.size))
        self.starts = sorted(book.types)
        self.ends = [start + max(size_of.get(start, 0), 1) for start in self.starts]

    def __call__(self, address):
        index = bisect.bisect_right(self.starts, address) - 1
        return index >= 0 and address < self.ends[index]


def is_spelled(found, name):
    """Whether it is the name in the book; white space does not count, a name with "~" is a regular expression."""
    if name.startswith("~"):
        return re.search(name[1:], found) is not None
    return re.sub(r"\s+", "", found) == re.sub(r"\s+", "", name)


class Graphs(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="graph-")
        self.addCleanup(shutil.rmtree, self.directory, True)

    def take(self, oracle, seed, nodes=NODES):
        book = os.path.join(self.directory, "book")
        path = os.path.join(self.directory, f"{os.path.basename(oracle)}.{seed}.snap")
        run = subprocess.Popen([SNAP, "run", "-q", "--no-follow", "-o", path, "--", oracle, nodes, seed, book],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=self.directory)
        with run.stdin, run.stdout:
            self.assertEqual(run.stdout.readline(), "ready\n")
            with open(f"/proc/{run.pid}/task/{run.pid}/children", encoding="ascii") as children:
                pid = children.read().split()[0]
            done = subprocess.run([SNAP, "take", "-q", "--timeout", "120", "-o", path, pid], capture_output=True, text=True)
            run.stdin.write("\n")
        self.assertEqual(run.wait(), 0)
        self.assertEqual(done.returncode, 0, done.stderr)
        return Book(book), Graph(path)

    def check_edges(self, book, graph):
        inside = Inside(book, graph)
        nodes = set(zip(graph.address, graph.size))
        for address, size in book.sizes.items():
            if size != 0 and (address, size) not in nodes:
                self.fail(f"no block of {size} bytes at {address:#x}")
        wanted = {word: value for word, value in book.words.items() if inside(value)}
        n_right, wrong, n_low, doubted = 0, [], 0, []
        address = graph.address
        for source, source_offset, target, target_offset, flags in graph.edges:
            if address[source] not in book.types:
                continue
            word = address[source] + source_offset
            if wanted.get(word) == address[target] + target_offset:
                n_right += 1
                wanted[word] = None
                if flags & LOW:
                    doubted.append((source, source_offset, target, target_offset))
            elif flags & LOW:
                n_low += 1
            else:
                wrong.append((source, source_offset, target, target_offset))
        missed = [word for word, value in wanted.items() if value is not None]
        n_true = n_right + len(missed)
        said = (f"{n_true} true edges, {n_right} found, {len(wrong)} more and {n_low} of low confidence; missed e.g. "
                f"{[(hex(word), hex(wanted[word])) for word in missed[:3]]}, wrong e.g. {wrong[:3]}")
        print(f"    {said}", file=sys.stderr)
        self.assertGreater(n_true, len(book.types))
        self.assertEqual(len(missed), 0, said)
        self.assertEqual(doubted, [])
        self.assertGreaterEqual(n_right, EDGE_PRECISION * (n_right + len(wrong)), said)

    def check_types(self, book, graph):
        typed = wanted = untyped_known = guessed = 0
        wrong, missed = {}, {}
        for index in range(1, len(graph.address)):
            name = book.types.get(graph.address[index])
            if name is None:
                continue
            size = graph.size[index]
            is_wanted = not name.startswith("?")
            found, source = graph.types[graph.type[index]]
            wanted += size * is_wanted
            if found == "" or source == SITE:
                if is_wanted:
                    missed[name] = missed.get(name, 0) + 1
            elif is_spelled(found, name.lstrip("?")):
                typed += size * is_wanted
                untyped_known += not is_wanted
                guessed += source == GUESS
            else:
                wrong[(name, found, source)] = wrong.get((name, found, source), 0) + 1
        said = (f"{typed} of {wanted} bytes typed, {untyped_known} blocks beyond, {guessed} by guess; "
                f"missed {missed}, wrong {wrong}")
        print(f"    {said}", file=sys.stderr)
        self.assertEqual(wrong, {}, said)
        self.assertGreaterEqual(typed, TYPED_SHARE * wanted, said)

    def check_roots(self, book, graph):
        found = {}
        for kind, name, target, offset in graph.roots:
            found.setdefault((kind, graph.address[target] + offset), []).append(graph.strings[name])
        missed = []
        for kind, name, value in book.roots:
            names = found.get((ROOT_KINDS[kind], value), [])
            if not any(one in text for one in name.split("|") for text in names):
                missed.append((kind, name, hex(value), names))
        self.assertEqual(missed, [])

    def test_graphs(self):
        for oracle in ORACLES:
            for seed in SEEDS:
                book, graph = self.take(oracle, seed)
                for check in (self.check_edges, self.check_types, self.check_roots):
                    with self.subTest(oracle=os.path.basename(oracle), seed=seed, check=check.__name__):
                        check(book, graph)

    @unittest.skipIf(shutil.which("dwz") is None, "dwz is not installed")
    def test_shared_debug_information(self):
        """What several programs have in common is in a file that dwz made for all of them."""
        copies = [shutil.copy(oracle, self.directory) for oracle in ORACLES]
        twins = [shutil.copy(oracle, oracle + ".twin") for oracle in copies]  # so that it is worth it
        subprocess.run(["dwz", "-m", "common.debug", *map(os.path.basename, copies + twins)], cwd=self.directory, check=True)
        self.assertTrue(os.path.exists(os.path.join(self.directory, "common.debug")))
        for oracle in copies:
            with open(oracle, "rb") as file:
                self.assertIn(b".gnu_debugaltlink", file.read())
            book, graph = self.take(oracle, "1", "2000")
            self.check_edges(book, graph)
            self.check_types(book, graph)
            self.check_roots(book, graph)


if __name__ == "__main__":
    unittest.main(verbosity=2)
