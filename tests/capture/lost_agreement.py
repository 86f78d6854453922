"""Which blocks nobody refers to at the end of a program: what a snapshot taken at exit says, block by block against
LeakSanitizer and against valgrind (definite and indirect losses), on the leak programs and on programs of Debian.

The three run the program apart, so addresses differ: a block is matched by the stack that allocated it (module and offset
of each frame for LeakSanitizer; module and function for valgrind, which says no offsets) and by its size. Frames of malloc
and of the C library's wrappers of it at the inner end are left out, because each tool has its own. What one of them has and
another has not must fall under one of the explanations below, each of which is looked up in the snapshot.

Environment: SNAP, PROGRAMS (folder of the leak programs), SET (small or all)."""
import collections
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

SNAP = os.environ["SNAP"]
PROGRAMS = os.environ["PROGRAMS"]
LSAN = next(iter(glob.glob("/usr/lib/x86_64-linux-gnu/liblsan.so.[0-9]")), None)
TIMEOUT = 600
EDGE_WEAK, EDGE_MEMBER = 15, 17
HOST = 1  # the domain of blocks, which is what the other tools know
ROOTS = {1: "global", 2: "stack", 3: "register", 4: "tls", 6: "mapping", 7: "alternate stack"}
FRAM_EXACT = 1

# Where a block is that the snapshot can reach and another tool cannot, and why both may be right.
REACHED = {
    "mapping": "only memory that the program mapped itself refers to it, which LeakSanitizer does not read",
    "stack": "only a word of a stack refers to it: frames and dead words differ at the moment of each tool",
    "register": "only a register refers to it, as for stacks",
    "interior": "only the inside of it is referred to, which valgrind calls possibly lost",
}
# The other way round.
LOST = {
    "loader": "the dynamic loader allocated it: LeakSanitizer takes its blocks as reachable",
    "word of a stack": "LeakSanitizer finds a word on its stack: it reports the block when told to leave out stacks",
    "third": "the third tool finds nothing that refers to it, either: a dead word of the other's own moment",
}
OVERWRITE = "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"
# What compilers add to the name of a function that they copied or cut.
CLONE = re.compile(r"\.(isra|constprop|part|cold|body)(\.\d+)?")
WRAPPERS = re.compile(r"^(libc\.so|libc-|liblsan|libheapsnap|ld-linux|vgpreload|libstdc\+\+)")


def module_of(path):
    return os.path.basename(path or "")


def is_wrapper(module):
    return WRAPPERS.match(module) is not None


def named(module, function):
    """A frame as two tools name it alike: aliases and versions of the C library's functions differ, and one tool tells clones."""
    return (module, "" if is_wrapper(module) else CLONE.sub("", function))


def up_to_main(frames):
    """Without what called main."""
    for index, (_, function) in enumerate(frames):
        if function == "main":
            return frames[:index + 1]
        if function.startswith("__libc_start") or function == "(below main)":
            return frames[:index]
    return frames


def trimmed(frames):
    """Without the frames of allocators at the inner end."""
    index = 0
    while index < len(frames) and is_wrapper(frames[index][0]):
        index += 1
    return tuple(frames[index:])


class Snapshot:
    """Blocks of a file: address, size, stack, and what reaches them."""

    def __init__(self, path):
        self.path = path
        self.tables = collections.defaultdict(list)
        strings = {0: ""}
        done = subprocess.Popen([SNAP, "convert", "--to", "jsonl", path], stdout=subprocess.PIPE)
        for line in done.stdout:
            row = json.loads(line)
            if row["table"] == "STRS":
                strings[row["id"]] = row.get("text", "")
            else:
                self.tables[row["table"]].append(row)
        done.stdout.close()
        if done.wait() != 0:
            raise RuntimeError("snap convert failed")
        self.strings = strings
        self.modules = [""] + [module_of(strings[row["path"]]) for row in self.tables["MODS"]]
        self.functions = {}
        for row in self.tables["SYMB"]:  # the last row of a frame is its function, those before it are inlined there
            self.functions[row["frame"]] = strings[row.get("function", 0)]
        self.frames = [None]
        for index, row in enumerate(self.tables["FRAM"], 1):
            exact = row.get("flags", 0) & FRAM_EXACT
            self.frames.append((self.modules[row.get("module", 0)], row["offset"] - (0 if exact else 1),
                                self.functions.get(index, "")))
        self.stacks = [()]
        for row in self.tables["STAK"]:
            self.stacks.append((self.frames[row["frame"]],) + self.stacks[row.get("parent", 0)])
        self.lost = self.find_lost()
        self.blocks = [node for node, row in enumerate(self.tables["NODE"], 1) if row.get("domain") == HOST]

    def find_lost(self):
        """Ids of the nodes that no root reaches; of the others, the kinds of roots that do, starts apart."""
        n = len(self.tables["NODE"]) + 1
        edges = collections.defaultdict(list)
        for row in self.tables["EDGE"]:
            if row.get("kind") not in (EDGE_WEAK, EDGE_MEMBER):
                edges[row["source"]].append((row["target"], row.get("target_offset", 0) == 0))
        self.by_start, self.by_kind = [False] * n, {}
        # The strongest kind of root first, so that a block counts as held by a mapping only if nothing else holds it.
        for kind in (1, 4, 2, 7, 3, 6):
            todo = [row["target"] for row in self.tables["ROOT"] if row.get("kind") == kind]
            while todo:
                node = todo.pop()
                if node in self.by_kind:
                    continue
                self.by_kind[node] = kind
                todo.extend(target for target, _ in edges[node] if target not in self.by_kind)
        for row in self.tables["ROOT"]:  # other kinds: they do not come from words
            if row.get("kind") not in ROOTS:
                self.by_kind.setdefault(row["target"], row["kind"])
        starts = [row["target"] for row in self.tables["ROOT"] if row.get("target_offset", 0) == 0]
        while starts:
            node = starts.pop()
            if not self.by_start[node]:
                self.by_start[node] = True
                starts.extend(target for target, is_start in edges[node] if is_start)
        return {node for node in range(1, n) if node not in self.by_kind}

    def key(self, node, column):
        """(stack, size) of a block, as LeakSanitizer (column 1) or valgrind (column 2) name frames."""
        row = self.tables["NODE"][node - 1]
        frames = [(frame[0], frame[column]) for frame in self.stacks[row.get("stack", 0)]]
        if column == 2:
            frames = [named(*frame) for frame in up_to_main(frames)]
        return trimmed(frames), row.get("size", 0)

    def is_by_loader(self, node):
        frames = self.stacks[self.tables["NODE"][node - 1].get("stack", 0)]
        return any(frame[0].startswith("ld-linux") for frame in frames[:3])


def lsan_blocks(text):
    """Counter of (stack, size) from a report of LeakSanitizer with report_objects."""
    result = collections.Counter()
    frames = []
    for line in text.splitlines():
        frame = re.match(r"\s+#\d+ 0x[0-9a-f]+\s+\((.*)\+0x([0-9a-f]+)\)", line)
        if frame:
            frames.append((module_of(frame[1]), int(frame[2], 16)))
        elif re.match(r"(Direct|Indirect) leak", line):
            frames = []
        else:
            block = re.match(r"0x[0-9a-f]+ \((\d+) bytes\)", line)
            if block:
                result[(trimmed(frames), int(block[1]))] += 1
    return result


def valgrind_records(path):
    """{stack: [blocks, bytes]} of definite and indirect losses."""
    result = collections.defaultdict(lambda: [0, 0])
    for error in ElementTree.parse(path).getroot().iter("error"):
        if error.findtext("kind") not in ("Leak_DefinitelyLost", "Leak_IndirectlyLost"):
            continue
        text = error.findtext("xwhat/text")
        size = re.search(r"\(([\d,]+) direct", text) or re.match(r"([\d,]+)", text)
        frames = [(module_of(frame.findtext("obj")), frame.findtext("fn") or "")
                  for frame in error.find("stack").iter("frame")]
        entry = result[trimmed([named(*frame) for frame in up_to_main(frames)])]
        entry[0] += int(error.findtext("xwhat/leakedblocks"))
        entry[1] += int(size[1].replace(",", ""))
    return result


@unittest.skipIf(LSAN is None or shutil.which("valgrind") is None, "needs liblsan and valgrind")
class Agreement(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="lost-")
        self.addCleanup(shutil.rmtree, self.directory, True)
        self.env = {**os.environ, "LC_ALL": "C", "PYTHONHASHSEED": "0", "PYTHONMALLOC": "malloc"}

    def run_in(self, command, **env):
        """Runs it in a fresh folder; returns the process's number."""
        folder = tempfile.mkdtemp(dir=self.directory)
        with open(os.path.join(folder, "a.c"), "w", encoding="ascii") as source:
            source.write("int main(void) { return 0; }\n")
        process = subprocess.Popen(command, cwd=folder, env={**self.env, **env}, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process.wait(TIMEOUT)
        return process.pid

    def snapshot(self, command):
        path = os.path.join(self.directory, "at-exit.snap")
        # Objects of Python are blocks to the other tools, so they are here.
        self.run_in([SNAP, "run", "-q", "-f", "--no-follow", "--at-exit", "-o", path, "--", *command],
                    GLIBC_TUNABLES=OVERWRITE, HEAPSNAP_WALKERS="/nonexistent")
        return Snapshot(path)

    def lsan(self, command, more=""):
        log = os.path.join(self.directory, "lsan")
        pid = self.run_in(command, LD_PRELOAD=LSAN,
                          LSAN_OPTIONS="exitcode=0:fast_unwind_on_malloc=0:malloc_context_size=60:report_objects=1:symbolize=0:"
                                       f"print_suppressions=0:log_path={log}{more}")
        try:
            with open(f"{log}.{pid}", encoding="utf-8", errors="replace") as report:
                text = report.read()
        except FileNotFoundError:
            return collections.Counter()
        self.assertNotIn("fatal error", text)
        return lsan_blocks(text)

    def valgrind(self, command):
        pattern = os.path.join(self.directory, "valgrind.%p.xml")
        pid = self.run_in(["valgrind", "--xml=yes", f"--xml-file={pattern}", "--leak-check=full", "--show-leak-kinds=definite,indirect",
                     "--leak-resolution=high", "--run-libc-freeres=no", "--run-cxx-freeres=no", "--read-inline-info=no",
                     "--num-callers=60", *command])
        return valgrind_records(pattern.replace("%p", str(pid)))

    def explain_reached(self, snapshot, nodes):
        """Explanations of blocks that the snapshot reaches and the other tool does not."""
        return collections.Counter(self.explanation(snapshot, node) for node in nodes)

    def explanation(self, snapshot, node):
        kind = ROOTS.get(snapshot.by_kind.get(node), "other")
        return "interior" if kind not in REACHED and not snapshot.by_start[node] else kind

    def doubtful(self, snapshot, nodes, n):
        """The n blocks of a stack that another tool most likely sees otherwise: those with an explanation come first."""
        return sorted(nodes, key=lambda node: self.explanation(snapshot, node) not in REACHED)[:n]

    def compare_lsan(self, name, command, snapshot, records):
        theirs = self.lsan(command)
        without_stacks = None
        ours, reached = collections.defaultdict(list), collections.defaultdict(list)
        for node in snapshot.blocks:
            (ours if node in snapshot.lost else reached)[snapshot.key(node, 1)].append(node)
        n_both, explained, unexplained = 0, collections.Counter(), []
        for key in set(ours) | set(theirs):
            both = min(len(ours[key]), theirs[key])
            n_both += both
            extra = theirs[key] - both
            if extra > 0:
                kinds = self.explain_reached(snapshot, self.doubtful(snapshot, reached[key], extra))
                if sum(kinds.values()) < extra or any(kind not in REACHED for kind in kinds):
                    unexplained.append(("LeakSanitizer only", extra, key, dict(kinds)))
                else:
                    explained.update({"LeakSanitizer only: " + kind: n for kind, n in kinds.items()})
            extra = len(ours[key]) - both
            if extra > 0:
                if without_stacks is None:
                    without_stacks = self.lsan(command, ":use_stacks=0:use_registers=0")
                # valgrind has no sizes: all that the snapshot has of the stack must be there
                stack = snapshot.key(ours[key][0], 2)[0]
                of_stack = sum(snapshot.key(node, 2)[0] == stack for node in snapshot.blocks if node in snapshot.lost)
                if all(snapshot.is_by_loader(node) for node in ours[key]):
                    explained["snapshot only: loader"] += extra
                elif without_stacks[key] >= len(ours[key]):
                    explained["snapshot only: word of a stack"] += extra
                elif records.get(stack, [0, 0])[0] >= of_stack:
                    explained["snapshot only: third"] += extra
                else:
                    unexplained.append(("snapshot only", extra, key, None))
        print(f"    {name}: LeakSanitizer {sum(theirs.values())}, snapshot {sum(node in snapshot.lost for node in snapshot.blocks)}, both {n_both}, "
              f"{dict(explained)}", file=sys.stderr)
        self.assertEqual(unexplained, [])
        return n_both

    def compare_valgrind(self, name, theirs, snapshot, of_lsan):
        ours, reached = collections.defaultdict(lambda: [0, 0]), collections.defaultdict(list)
        nodes = collections.defaultdict(list)
        for node in snapshot.blocks:
            stack, size = snapshot.key(node, 2)
            if node in snapshot.lost:
                ours[stack][0] += 1
                ours[stack][1] += size
                nodes[stack].append(node)
            else:
                reached[stack].append(node)
        n_both, explained, unexplained = 0, collections.Counter(), []
        for stack in set(ours) | set(theirs):
            mine, other = ours[stack], theirs.get(stack, [0, 0])
            n_both += min(mine[0], other[0])
            extra = other[0] - mine[0]
            if mine == other:
                continue
            if extra > 0:
                kinds = self.explain_reached(snapshot, self.doubtful(snapshot, reached[stack], extra))
                if sum(kinds.values()) == extra and all(kind in REACHED for kind in kinds):
                    explained.update({"valgrind only: " + kind: n for kind, n in kinds.items()})
                    continue
            elif all(snapshot.is_by_loader(node) for node in nodes[stack]):
                explained["snapshot only: loader"] -= extra
                continue
            elif all(of_lsan[snapshot.key(node, 1)] > 0 for node in nodes[stack]):
                explained["snapshot only: third"] -= extra
                continue
            unexplained.append((stack, "snapshot", mine, "valgrind", other))
        print(f"    {name}: valgrind {sum(n for n, _ in theirs.values())}, snapshot {sum(node in snapshot.lost for node in snapshot.blocks)}, both {n_both}, "
              f"{dict(explained)}", file=sys.stderr)
        self.assertEqual(unexplained, [])
        return n_both

    def check(self, name, command, least=0):
        snapshot = self.snapshot(command)
        shown = subprocess.run([SNAP, "show", "--lost", "--json", snapshot.path], capture_output=True, text=True)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertEqual(json.loads(shown.stdout)["lost_count"], len(snapshot.lost))
        records = self.valgrind(command)
        with self.subTest(program=name, against="LeakSanitizer"):
            self.assertGreaterEqual(self.compare_lsan(name, command, snapshot, records), least)
        with self.subTest(program=name, against="valgrind"):
            self.assertGreaterEqual(self.compare_valgrind(name, records, snapshot, self.lsan(command)), least)

    def program(self, name, mode="leak", least=0):
        self.check(f"{name} {mode}", [os.path.join(PROGRAMS, f"{name}.o2"), mode], least)

    def test_lost(self):
        self.program("c-lost", least=5000)

    def test_lost_on_error_path(self):
        self.program("c-op-temp", least=200)

    def test_nothing_lost(self):
        self.program("c-hash-cache")

    @unittest.skipIf(os.environ.get("SET") == "small", "among the slow tests")
    def test_other_leak_programs(self):
        for path in sorted(glob.glob(os.path.join(PROGRAMS, "*.o2"))):
            name = os.path.basename(path).removesuffix(".o2")
            for mode in ("leak", "fixed"):
                self.program(name, mode)

    @unittest.skipIf(os.environ.get("SET") == "small", "among the slow tests")
    def test_programs_of_debian(self):
        commands = {
            "gcc": ["/usr/bin/gcc", "-c", "a.c"],
            "ld": ["/usr/bin/ld", "-r", "-o", "b.o", "/usr/lib/x86_64-linux-gnu/crt1.o"],
            "dpkg-query": ["/usr/bin/dpkg-query", "-l"],
            "lsof": ["/usr/bin/lsof", "-p", "1"],
            "tar": ["/usr/bin/tar", "cf", "/dev/null", "/usr/include/linux"],
            "sort": ["/usr/bin/sort", "/etc/passwd"],
            "gdb": ["/usr/bin/gdb", "--batch", "--nx", "-ex", "info line main", "/usr/bin/true"],
            "python3": ["/usr/bin/python3.11", "-c", "import json"],
        }
        n = 0
        for name, command in commands.items():
            if os.path.exists(command[0]):
                self.check(name, command)
                n += 1
        self.assertGreaterEqual(n, 5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
