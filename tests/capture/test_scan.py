"""The scan of the copy against a program that knows its own references.

The stream is taken instead of a file: what is checked is the sender alone."""
import collections
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import stream

SNAP = os.environ["SNAP"]
CASES, MODULE = os.environ["CASES"], os.environ["SCAN_MODULE"]
TYPES = os.environ["TYPES"].split(":")
OTHERS = list(filter(None, os.environ.get("OTHERS", "").split(":")))  # CASES with other allocators
STAND_IN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stream.py")
LOW = 2
META_TRACKED, TRACKED_EDGES = 24, 8
UNREAD = "unread_bytes"
stream.learn_kinds(os.environ["WIRE"])


def processes():
    """{pid: (name, parent's pid)}"""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                name, rest = file.read().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        found[int(pid)] = name, int(rest.split()[1])
    return found


class Heap:
    def __init__(self, tables):
        self.tables = tables
        self.blocks = tables["BLOCK"]
        self.node_at = {b.address: i + 1 for i, b in enumerate(self.blocks)}
        self.edges = collections.defaultdict(set)
        for e in tables["EDGE"]:
            self.edges[e.source].add((e.source_word, e.target, e.target_offset))
        self.roots = collections.defaultdict(set)
        for r in tables["ROOT"]:
            self.roots[r.target].add((r.kind, r.flags & LOW))


class Scan(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="scan-")
        self.addCleanup(shutil.rmtree, self.directory, True)

    def take(self, *command, options=(), env=None):
        """What the program said, and the stream of its only snapshot."""
        path = os.path.join(self.directory, "out.stream")
        done = subprocess.run([SNAP, "run", "-q", "-o", path, *options, "--", "env", "HEAPSNAP_WRITE=" + STAND_IN, *command],
                              cwd=self.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                              env=dict(os.environ, **(env or {})))
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        tables, order = stream.read(path)
        os.unlink(path)
        self.assertEqual(order[-1], "END")
        return done.stdout.decode().splitlines(), Heap(tables)

    def check_locals(self, places, heap, program):
        """places: {(module, tid): address}. Each variable is in one place of its image, in all threads."""
        t = heap.tables
        thread_of = {thread.tid: i + 1 for i, thread in enumerate(t["THREAD"])}
        of_thread, offsets, modules = collections.defaultdict(list), {}, {}
        for row in t["TLS"]:
            of_thread[row.thread].append(row)
        self.assertEqual([(r.thread, r.address) for r in t["TLS"]], sorted((r.thread, r.address) for r in t["TLS"]))
        for (module, tid), address in places.items():
            found = [r for r in of_thread[thread_of[tid]] if r.address <= address < r.address + r.size]
            self.assertEqual(len(found), 1, (module, tid))
            self.assertEqual(offsets.setdefault(module, address - found[0].address), address - found[0].address)
            self.assertEqual(modules.setdefault(module, found[0].module), found[0].module)
        for module, path in enumerate((program, MODULE)):
            if module in modules:
                self.assertEqual(t["MODULE"][modules[module] - 1].texts[0].decode(), path)

    def check(self, said, heap, program=CASES):
        wanted_unread, places = 0, {}
        n = collections.Counter()
        for line in said:
            word, *numbers = line.split()
            numbers = [int(x, 16) for x in numbers]
            n[word] += 1
            with self.subTest(line):
                if word == "edge":
                    source, at, target, offset = numbers
                    self.assertIn((at, heap.node_at[target], offset), heap.edges[heap.node_at[source]])
                elif word == "none":
                    source, target = (heap.node_at[x] for x in numbers)
                    self.assertEqual([e for e in heap.edges[source] if e[1] == target], [])
                elif word == "held":
                    source, target = (heap.node_at[x] for x in numbers)
                    self.assertIn(target, {e[1] for e in heap.edges[source]})
                elif word == "root":
                    kind, target, low = numbers
                    self.assertIn((kind, LOW * low), heap.roots[heap.node_at[target]])
                elif word == "local":
                    module, address, tid = numbers
                    places[module, tid] = address
                elif word == "missing":
                    wanted_unread += numbers[0]
                else:
                    self.fail("not understood")
        unread = sum(m.value for m in heap.tables["META"] if m.texts[0] == UNREAD.encode())
        self.assertEqual(unread, wanted_unread)
        with self.subTest("thread-local variables"):
            self.check_locals(places, heap, program)
        return n

    def check_order(self, heap):
        t = heap.tables
        n_nodes = len(t["BLOCK"])
        for name, key in (("EDGE", lambda e: (e.source, e.source_word)), ("VPTR", lambda v: (v.node, v.offset)),
                          ("CODE", lambda c: (c.node, c.address))):
            keys = [key(row) for row in t[name]]
            self.assertEqual(keys, sorted(set(keys)), name)
        for e in t["EDGE"]:
            size = t["BLOCK"][e.target - 1].size
            self.assertLess(e.target_offset, max(size, 1) if size <= 0xffffffff else 0xffffffff + 1)
            self.assertLessEqual(e.source_word * 8 + 8, t["BLOCK"][e.source - 1].size)
        self.assertTrue(all(1 <= r.target <= n_nodes for r in t["ROOT"]))
        self.assertTrue(all(1 <= c.function <= len(t["FUNCTION"]) and c.node <= n_nodes for c in t["CODE"]))
        self.assertTrue(all(1 <= v.vtable <= len(t["VTABLE"]) for v in t["VPTR"]))
        self.assertEqual(len({f.pc for f in t["FUNCTION"]}), len(t["FUNCTION"]))
        frames = [(f.thread, f.sp) for f in t["FRAME"]]
        self.assertEqual(frames, sorted(frames))
        low = [r.target for r in t["ROOT"] if r.flags & LOW]
        self.assertEqual(len(low), len(set(low)))

    def test_every_sort_of_reference(self):
        said, heap = self.take(CASES)
        n = self.check(said, heap)
        self.assertGreater(n["edge"], 20000)
        self.assertGreater(n["root"], 20)
        self.assertEqual(n["local"], 8)
        self.check_order(heap)
        tracked = [m.value for m in heap.tables["META"] if m.key == META_TRACKED]
        self.assertEqual([value & TRACKED_EDGES for value in tracked], [TRACKED_EDGES])

    @unittest.skipIf(not OTHERS, "no other allocator is installed")
    def test_other_allocators(self):
        for program in OTHERS:
            with self.subTest(os.path.basename(program)):
                said, heap = self.take(program, "2")
                n = self.check(said, heap, program)
                self.assertGreater(n["edge"], 20000)
                self.check_order(heap)

    def test_in_place(self):
        said, heap = self.take(CASES, options=["--no-fork"], env={"IN_PLACE": "1"})
        self.check(said, heap)
        self.check_order(heap)

    def test_tables_and_functions(self):
        for program in TYPES:
            said, heap = self.take(program)
            t = heap.tables
            self.check_order(heap)
            vptrs = collections.defaultdict(set)
            for v in t["VPTR"]:
                table = t["VTABLE"][v.vtable - 1]
                vptrs[v.node].add((v.offset // 8, table.texts[0].decode(), table.offset_to_top))
            codes = collections.defaultdict(set)
            for c in t["CODE"]:
                codes[c.node].add((c.address // (8 if c.node else 1), t["FUNCTION"][c.function - 1].pc))
            frames = collections.defaultdict(list)
            for f in t["FRAME"]:
                frames[t["THREAD"][f.thread - 1].tid].append(f.pc)
            n = collections.Counter()
            for line in said:
                word, first, *rest = line.split()
                n[word] += 1
                node = heap.node_at.get(int(first, 16), 0)
                with self.subTest(line):
                    if word == "vptr":
                        self.assertIn((int(rest[0], 16), rest[1], int(rest[2])), vptrs[node])
                    elif word == "novptr":
                        self.assertEqual(vptrs[node], set())
                    elif word == "code":
                        self.assertIn((int(rest[0], 16), int(rest[1], 16)), codes[node])
                    elif word == "nocode":
                        self.assertEqual(codes[node], set())
                    elif word == "frame":
                        low, high = (int(x, 16) for x in rest)
                        self.assertEqual([low < pc <= high for pc in frames[int(first, 16)]].count(True), 1)
                    else:
                        self.fail("not understood")
            self.assertEqual(sorted(n), ["code", "frame", "nocode", "novptr", "vptr"])
            # The class of a type_info is known by the record of its own table.
            tables = {v.address: v.texts[0].decode() for v in t["VTABLE"]}
            self.assertEqual(len(tables), len(t["VTABLE"]))
            for v in t["VTABLE"]:
                self.assertRegex(tables[v.type_info_vtable], r"^N10__cxxabiv1\d+__\w*type_infoE$")

    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "one processor: there are no workers")
    def test_worker_dies(self):
        path = os.path.join(self.directory, "out.stream")
        open(path + ".hold", "w").close()
        said = open(os.path.join(self.directory, "said"), "w+")
        self.addCleanup(said.close)
        process = subprocess.Popen([SNAP, "run", "-q", "-o", path, "--", "env", "HEAPSNAP_WRITE=" + STAND_IN, CASES, "0", "300000"],
                                   cwd=self.directory, stdout=said, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        end = time.monotonic() + 100
        while not os.path.exists(path + ".held"):
            self.assertLess(time.monotonic(), end, "no references")
            time.sleep(0.02)
        found = processes()
        copies = [pid for pid, (name, parent) in found.items() if name == "heapsnap" and found[parent][1] == process.pid]
        workers = [pid for pid, (name, parent) in found.items() if name == "heapsnap" and parent in copies]
        self.assertEqual(len(copies), 1)
        self.assertGreater(len(workers), 0)
        os.kill(workers[0], signal.SIGKILL)
        os.unlink(path + ".hold")
        _, err = process.communicate(timeout=200)
        said.seek(0)
        self.assertEqual(process.returncode, 0, err.decode())
        tables, order = stream.read(path)
        self.assertEqual(order[-1], "END")
        heap = Heap(tables)
        self.assertGreater(self.check(said.read().splitlines(), heap)["edge"], 300000)
        self.check_order(heap)

    def test_without_edges(self):
        _, heap = self.take(CASES, options=["--no-edges"])
        self.assertGreater(len(heap.blocks), 20000)
        for kind in ("EDGE", "ROOT", "FRAME", "CODE", "VPTR"):
            self.assertEqual(heap.tables[kind], [])
        tracked = [m.value for m in heap.tables["META"] if m.key == META_TRACKED]
        self.assertEqual([value & TRACKED_EDGES for value in tracked], [0])

    def test_thousand_threads(self):
        said, heap = self.take(CASES, "1000")
        n = self.check(said, heap)
        self.assertGreater(n["root"], 3000)
        self.check_order(heap)
        threads = {r.thread for r in heap.tables["ROOT"] if r.kind == 2 and not r.flags & LOW}
        self.assertGreater(len(threads), 1000)
        self.assertGreater(len({f.thread for f in heap.tables["FRAME"]}), 1000)


if __name__ == "__main__":
    unittest.main(verbosity=2)  # reasons of what is skipped, too
