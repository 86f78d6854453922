"""Data flows one way through lib/, and so do the #includes. The two tables below are the arrows; what is not in them is
forbidden. A folder may always include its own headers."""
import os
import pathlib
import re
import unittest

ROOT = pathlib.Path(os.environ["SOURCE_ROOT"])

# Folder of lib/ -> the other folders whose private headers it may include.
MAY_INCLUDE = {
    "base": [],
    "symbol": ["base"],
    "codec": ["base", "symbol"],
    "model": ["base", "symbol"],
    "graph": ["base"],
    "diff": ["base", "graph", "symbol"],
    "report": ["base"],
    "convert": ["base", "model"],
    "capture": ["base", "model"],
    "python": ["base", "capture", "model"],
}
# Folder -> public headers it may include: the graph never sees a file, a hook never sees the writer, and so on.
BASIS = ["common", "snapdef", "table"]
MAY_INCLUDE_PUBLIC = {
    "base": ["common"],
    "symbol": BASIS + ["snapshot"],
    "codec": BASIS + ["writer", "snapshot"],
    "model": BASIS + ["writer"],
    "graph": ["common", "snapdef", "graph"],
    "diff": BASIS + ["snapshot", "graph", "holder", "diff"],
    "report": BASIS + ["snapshot", "graph", "holder", "diff", "report"],
    "convert": BASIS + ["snapshot", "writer", "convert"],
    "capture": BASIS + ["capture", "annotate", "annotate_inline"],
    "python": BASIS + ["capture", "diff", "report", "snapshot", "writer"],
}
# The writer and the reader never include one another, directly or through a header of either.
SIBLINGS = ("codec/snapwrite", "codec/snapread")

# Header of a dependency -> the files that touch it. With a dependency away, these are what has to be replaced.
DEPENDENCIES = {
    r"zstd\w*\.h": ["lib/codec/pack.c", "lib/codec/snapread.h", "lib/symbol/inflate.c", "lib/symbol/inflate_zstd.c"],
    r"xxhash\.h": ["lib/base/strtab.c", "lib/codec/chunk.c", "lib/codec/stackkey.c", "lib/codec/summary.c", "lib/codec/verify.c"],
    r"jansson\.h": ["lib/report/json.c"],
    r"(libdwarf/)?(lib)?dwarf\w*\.h": ["lib/symbol/dwarf.c"],
    r"(libiberty/)?demangle\.h": ["lib/symbol/demangle.c"],
    r"libunwind.*\.h": [],
    r"Python\.h": ["lib/python/cpython.h"],
    r"cuda\w*\.h": [],
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def sources(*folders):
    for folder in folders:
        yield from sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in (".c", ".h", ".cc", ".cpp"))


def includes(path):
    return [(kind, name) for kind, name in INCLUDE.findall(path.read_text(encoding="utf-8"))]


def resolve(path, name):
    """The file of lib/ that #include "name" in path means, relative to lib/; None if there is none."""
    for base in (path.parent, ROOT / "lib"):
        if (base / name).is_file():
            return (base / name).resolve().relative_to((ROOT / "lib").resolve())
    return None


class Layers(unittest.TestCase):
    def test_every_folder_has_arrows(self):
        folders = sorted(path.name for path in (ROOT / "lib").iterdir() if path.is_dir() and path.name != "include")
        self.assertEqual(folders, sorted(MAY_INCLUDE))
        self.assertEqual(folders, sorted(MAY_INCLUDE_PUBLIC))

    def test_no_cycle_in_the_arrows(self):
        order, todo = [], dict(MAY_INCLUDE)
        while todo:
            free = [folder for folder, needs in todo.items() if all(need in order for need in needs)]
            self.assertTrue(free, f"a cycle among {sorted(todo)}")
            order += free
            for folder in free:
                del todo[folder]

    def test_lib(self):
        wrong = []
        for path in sources("lib"):
            relative = path.relative_to(ROOT / "lib")
            folder = relative.parts[0]
            if folder == "include":
                continue
            for kind, name in includes(path):
                if name.startswith("heapsnap/"):
                    public = name.removeprefix("heapsnap/").removesuffix(".h")
                    if public not in MAY_INCLUDE_PUBLIC[folder]:
                        wrong.append(f"{relative}: <{name}>")
                elif kind == '"':
                    target = resolve(path, name)
                    if target is None:
                        wrong.append(f'{relative}: "{name}" is no file of lib')
                    elif target.parts[0] != folder and target.parts[0] not in MAY_INCLUDE[folder]:
                        wrong.append(f'{relative}: "{name}"')
        self.assertEqual(wrong, [])

    def test_public_headers_include_only_public_headers(self):
        wrong = []
        for path in [*sources("lib/include"), ROOT / "format/snapdef.h"]:
            for kind, name in includes(path):
                if kind == '"' or ("/" in name and not name.startswith(("heapsnap/", "sys/"))):
                    wrong.append(f"{path.name}: {name}")
        self.assertEqual(wrong, [])

    def test_commands_and_examples_see_only_public_headers(self):
        wrong = []
        for path in sources("cmd", "examples"):
            for kind, name in includes(path):
                if kind == '"' and not (path.parent / name).is_file():
                    wrong.append(f'{path.relative_to(ROOT)}: "{name}"')
        self.assertEqual(wrong, [])

    def test_writer_and_reader_apart(self):
        def reach(path, seen):
            for kind, name in includes(path):
                target = resolve(path, name) if kind == '"' else None
                if target and target not in seen:
                    seen.add(target)
                    reach(ROOT / "lib" / target, seen)
            return seen

        for mine, other in (SIBLINGS, SIBLINGS[::-1]):
            for path in (ROOT / "lib/codec").glob(mine.split("/")[1] + "*"):
                seen = reach(path, set())
                self.assertEqual([str(target) for target in seen if str(target).startswith(other)], [], path.name)
                public = "snapshot" if mine.endswith("write") else "writer"
                direct = [name for _, name in includes(path)]
                self.assertNotIn(f"heapsnap/{public}.h", direct, path.name)

    def test_dependencies_are_behind_their_files(self):
        wrong = []
        for path in sources("lib", "cmd"):
            relative = str(path.relative_to(ROOT))
            for kind, name in includes(path):
                for pattern, users in DEPENDENCIES.items():
                    if kind == "<" and re.fullmatch(pattern, name) and relative not in users:
                        wrong.append(f"{relative}: <{name}>")
        self.assertEqual(wrong, [])

    def test_file_names_are_unique(self):
        names = {}
        for path in sources("lib", "cmd"):
            names.setdefault(path.name, []).append(str(path.relative_to(ROOT)))
        # A public header and the private one of the same part may share a name.
        twice = {name: paths for name, paths in names.items()
                 if len([path for path in paths if "include/heapsnap" not in path]) > 1}
        self.assertEqual(twice, {})

    def test_every_source_is_built(self):
        missing = []
        for path in sources("lib", "cmd", "examples"):
            if path.suffix != ".c":
                continue
            text, folder = "", path.parent
            while folder != ROOT.parent and not text:
                build = folder / "meson.build"
                text = build.read_text(encoding="utf-8") if build.is_file() else ""
                folder = folder.parent
            if path.name not in text and f"'{path.stem}'" not in text:
                missing.append(str(path.relative_to(ROOT)))
        self.assertEqual(missing, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
