"""Python's functions in stacks of allocations: in every version of CPython that is here, the order that the program knows."""
import bisect
import collections
import json
import os
import subprocess
import sys
import tempfile
import unittest

SNAP, SNAPDIFF = os.environ["SNAP"], os.environ["SNAPDIFF"]
HERE = os.path.dirname(os.path.abspath(__file__))
VERSIONS = os.environ.get("VERSIONS", "3.10 3.11 3.12 3.13").split()
DEPTH = 128
SUMM_SITE = 3
Frame = collections.namedtuple("Frame", "kind function line file module")


def find_pythons():
    """{version: interpreters}, those on the path and those of pyenv, each once."""
    found = collections.defaultdict(dict)
    folders = os.environ.get("PATH", "").split(os.pathsep)
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    for versions in (os.path.join(root, "versions"),):
        if os.path.isdir(versions):
            folders += [os.path.join(versions, name, "bin") for name in sorted(os.listdir(versions))]
    for version in VERSIONS:
        for folder in folders:
            path = os.path.join(folder, "python" + version)
            if not os.access(path, os.X_OK) or os.path.basename(folder) == "shims":
                continue
            said = subprocess.run([path, "-c", "import os, sys, ctypes; print(os.path.realpath(sys.executable), '%d.%d' % sys.version_info[:2])"],
                                  capture_output=True, text=True, check=False).stdout.split()
            if len(said) == 2 and said[1] == version:
                found[version].setdefault(said[0], path)
    return {version: sorted(paths) for version, paths in found.items()}


class Stacks:
    """Stacks of a snapshot, innermost frame first."""

    def __init__(self, path):
        text, frames, symbols, self.stacks, self.nodes, modules = {0: ""}, [None], {}, [None], [], [None]
        types, self.sites = [""], {}
        done = subprocess.run([SNAP, "convert", "--to", "jsonl", path], capture_output=True, check=True)
        for line in done.stdout.splitlines():
            row = json.loads(line)
            table = row["table"]
            if table == "STRS":
                text[row["id"]] = row["text"]
            elif table == "FRAM":
                frames.append(row)
            elif table == "STAK":
                self.stacks.append(row)
            elif table == "SYMB" and not row.get("depth", 0):
                symbols[row["frame"]] = row
            elif table == "NODE":
                self.nodes.append(row)
            elif table == "MODS":
                modules.append(row)
            elif table == "TYPE":
                types.append(row["name"])
            elif table == "SUMM" and row["kind"] == SUMM_SITE:
                self.sites[row.get("label", "")] = row["count"]
        self.types = [text.get(name, "") for name in types]
        self.frames = [None]
        for i, row in enumerate(frames[1:], 1):
            s = symbols.get(i, {})
            module = modules[row["module"]] if row.get("module") else {}
            name = module.get("path", "")
            self.frames.append(Frame(row.get("kind", 0), text[s.get("function", 0)], s.get("line", 0), text[s.get("file", 0)],
                                     text.get(name, name) if isinstance(name, int) else name))

    def of(self, row):
        """Its frames, and whether there were more."""
        out, flags, at = [], 0, row.get("stack", 0)
        while at:
            stack = self.stacks[at]
            out.append(self.frames[stack["frame"]])
            flags = stack.get("flags", 0)
            at = stack.get("parent", 0)
        return out, bool(flags & 1)


def place(told):
    """What a label calls the innermost function of a stack."""
    function, line, path = told[0]
    return "%s:%d %s" % (os.path.basename(path), line, function)


class InEveryVersion(unittest.TestCase):
    def run_program(self, python, program, *arguments, environment=None, options=()):
        with tempfile.TemporaryDirectory(prefix="heapsnap-frames-") as folder:
            path = os.path.join(folder, "a.snap")
            done = subprocess.run([SNAP, "run", "-o", path, *options, "--", python, program, *arguments], capture_output=True, text=True,
                                  timeout=200, env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": "", **(environment or {})},
                                  stdin=subprocess.DEVNULL, check=False)
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            return Stacks(path), done.stdout

    def check_stack(self, size, told, frames, is_cut):
        python = [[f.function, f.line, f.file] for f in frames if f.kind == 1]
        if is_cut:
            self.assertGreaterEqual(len(python), min(len(told), 20), size)
            self.assertEqual(python, told[:len(python)], size)
        else:
            self.assertEqual(python, told, size)
        # Where Python called C that called Python, the C function stands between the two.
        names = [f.function for f in frames]
        self.assertEqual(frames[0].kind, 0)
        for i, frame in enumerate(frames):
            if frame.kind == 1 and frame.function.endswith("back") and i + 1 < len(frames):
                between = []
                for outer in frames[i + 1:]:
                    if outer.kind == 1:
                        break
                    between.append(outer.function)
                self.assertIn("stacked_call", between, names)

    def check(self, python):
        stacks, said = self.run_program(python, os.path.join(HERE, "frames_program.py"))
        truth = {int(size): told for size, told in json.loads(said).items()}
        found = collections.defaultdict(list)
        for node in stacks.nodes:
            if node.get("size") in truth and node.get("domain") == 1:
                found[node["size"]].append(node)
        self.assertGreater(len(truth), 800)
        n_cut = 0
        labels = collections.Counter(place(told) for told in truth.values())
        for label, _ in labels.most_common(10):
            self.assertGreater(stacks.sites.get(label, 0), 0, label)
        for size, told in sorted(truth.items()):
            self.assertEqual(len(found[size]), 1, (size, told[:2]))
            frames, is_cut = stacks.of(found[size][0])
            self.check_stack(size, told, frames, is_cut)
            self.assertEqual(stacks.types[found[size][0]["type"]], "allocated in " + place(told))
            self.assertTrue(is_cut or len(told) <= DEPTH)
            self.assertTrue(not is_cut or len(told) > 25)
            n_cut += is_cut
        self.assertGreater(n_cut, 4)
        self.assertLess(n_cut, len(truth) // 4)

    def test_signals(self):
        for python in ALL:
            with self.subTest(python=python):
                stacks, said = self.run_program(python, os.path.join(HERE, "frames_signals.py"))
                self.assertGreater(json.loads(said)["signals"], 100)
                self.assertGreater(len(stacks.nodes), 10)

    def test_circle(self):
        for python in ALL:
            if subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], check=False).returncode != 0:
                continue  # frames are objects there, and walks go by calls
            with self.subTest(python=python):
                stacks, said = self.run_program(python, os.path.join(HERE, "frames_circle.py"))
                self.assertEqual(said, "3\n")
                self.assertGreater(len(stacks.nodes), 10)

    def test_threads_at_the_end(self):
        for python in ALL:
            with self.subTest(python=python):
                stacks, _ = self.run_program(python, os.path.join(HERE, "frames_daemons.py"))
                self.assertGreater(len(stacks.nodes), 10)


    def test_python_allocations(self):
        program = os.path.join(HERE, "frames_objects.py")
        with open(program, encoding="utf-8") as file:
            line = [i for i, text in enumerate(file, 1) if "# LINE" in text][0]
        for python in ALL:
            with self.subTest(python=python):
                found = {}
                for options in ((), ("--python-allocations",)):
                    stacks, _ = self.run_program(python, program, options=("--on-signal", "USR1", *options))
                    made = []
                    for node in stacks.nodes:
                        frames, _ = stacks.of(node)
                        python_frames = [f for f in frames if f.kind == 1]
                        if python_frames[:1] and (python_frames[0].function, python_frames[0].line) == ("make", line):
                            made.append((node["address"], node["size"]))
                            self.assertEqual([f.function for f in python_frames], ["make", "<module>"])
                    found[options] = made
                    objects = [n["address"] for n in stacks.nodes if n.get("domain") == 2]
                    for node in stacks.nodes:
                        if node.get("domain") == 1:
                            i = bisect.bisect_left(objects, node["address"])
                            self.assertFalse(objects[i:i + 1] and objects[i] < node["address"] + node.get("size", 0), "an object and its block")
                self.assertLess(len(found[()]), 10)
                self.assertEqual(len(found[("--python-allocations",)]), 1000)

    def test_report(self):
        """What Python asked for is told by its line, and its functions are seen whatever stands under them."""
        program = os.path.join(HERE, "frames_growth.py")
        with open(program, encoding="utf-8") as file:
            line = [i for i, text in enumerate(file, 1) if "# LINE" in text][0]
        with tempfile.TemporaryDirectory(prefix="heapsnap-frames-") as folder:
            paths = [os.path.join(folder, "%d.snap" % count) for count in (2, 40)]
            for path, count in zip(paths, ("2", "40")):
                subprocess.run([SNAP, "run", "-q", "-o", path, "--", ALL[0], program, count], check=True, stdin=subprocess.DEVNULL)
            rules = [subprocess.run([SNAPDIFF, "--fail-on", "site:%s>%d" % (name, limit), *paths], capture_output=True, text=True, check=False)
                     for name in ("keep", "frames_growth.py:%d keep" % line) for limit in (37, 38)]
        self.assertEqual([done.returncode for done in rules], [1, 0, 1, 0], rules[0].stderr)
        text = rules[1].stdout
        self.assertIn("allocated in frames_growth.py:%d keep" % line, text)
        self.assertRegex(text, r"stacked_block .*\n.*\n +\(\d+ native\)\n +keep +frames_growth.py:%d\n +<module> +frames_growth.py:\d+\n" % line)

    def test_failures_of_allocators(self):
        """An allocation of Python's own that fails is an error of the program's, as ever."""
        for python in ALL:
            with self.subTest(python=python):
                code = ("import sys\ntry:\n    bytearray(1 << 60)\nexcept MemoryError:\n    print('[1]')\n"
                        "x = [0] * 10\nfor n in (10**4, 10, 10**5, 600, 1): x = x[:1] * n; x.append(1)\n")
                with tempfile.TemporaryDirectory(prefix="heapsnap-frames-") as folder:
                    program = os.path.join(folder, "p.py")
                    with open(program, "w", encoding="utf-8") as file:
                        file.write(code)
                    _, said = self.run_program(python, program, options=("--python-allocations",))
                self.assertEqual(json.loads(said), [1])


PYTHONS = find_pythons()
ALL = [python for paths in PYTHONS.values() for python in paths]


def add_tests():
    for version in VERSIONS:
        def test(self, version=version):
            if version not in PYTHONS:
                self.skipTest(f"CPython {version} is not here")
            for python in PYTHONS[version]:
                with self.subTest(python=python):
                    self.check(python)
        setattr(InEveryVersion, "test_order_" + version.replace(".", "_"), test)


add_tests()

if __name__ == "__main__":
    for version in VERSIONS:
        print(version, *PYTHONS.get(version, ["is not here: skipped"]), file=sys.stderr)
    unittest.main(verbosity=2)
