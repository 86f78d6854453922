#!/usr/bin/env python3
"""Compiles the fixtures in many ways and checks what the symbolizer says about each.

test_fixtures.py SYMBOLIZE HAS_DWARF FOLDER quick|all

Where addr2line understands a variant, it is the oracle for every instruction (oracle.py). Variants
that it does not follow are compared with the variant that has the same code.
"""
import os
import shutil
import subprocess
import sys

import oracle

FAILURES = []


def check(condition, text):
    print("%s - %s" % ("ok" if condition else "FAILED", text))
    if not condition:
        FAILURES.append(text)


def run(*command, cwd=None):
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if result.returncode:
        print("# %s: %s" % (" ".join(command), result.stderr.strip().split("\n")[0]))
    return result.returncode == 0


class Fixtures:
    def __init__(self, symbolize, folder):
        self.symbolize = symbolize
        self.folder = folder
        self.source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures")

    def path(self, name):
        return os.path.join(self.folder, name)

    def build(self, name, cc, cxx, flags, link=()):
        """Compiles and links; None if the compiler cannot."""
        objects = []
        for compiler, source in ((cc, "shared.c"), (cxx, "inlined.cc")):
            target = "%s-%s.o" % (name, source)
            if not run(*compiler, *flags, "-I" + self.source, "-c",
                       os.path.join(self.source, source), "-o", target, cwd=self.folder):
                return None
            objects.append(target)
        if not run(*cxx, *flags, *objects, *link, "-o", name, cwd=self.folder):
            return None
        return self.path(name)

    def agrees(self, path, options=()):
        check(oracle.compare(self.symbolize, path, 1, True, options), "%s agrees with addr2line"
              % os.path.basename(path))

    def ask(self, path, wanted, options=()):
        return oracle.run_ours(self.symbolize, path, wanted, options)


def build_id(path):
    text = subprocess.run(["readelf", "-n", path], capture_output=True, text=True).stdout
    for line in text.splitlines():
        if "Build ID:" in line:
            return line.split()[-1]
    return None


def check_tables(fixtures, cc, cxx):
    """Without DWARF: names from .symtab, then from .dynsym only."""
    path = fixtures.build("symtab", cc, cxx, ["-O2", "-Wl,--build-id"], ["-rdynamic"])
    if not path:
        return
    fixtures.agrees(path)
    wanted = oracle.addresses(path)
    with_symtab = fixtures.ask(path, wanted)
    sources = {position[2] for chain in with_symtab.values() for position in chain}
    check(2 in sources and not sources & {1, 5}, "names come from .symtab")
    stripped = fixtures.path("dynsym")
    run("strip", "-o", stripped, path)
    only_dynamic = fixtures.ask(stripped, wanted)
    named = [address for address in wanted if only_dynamic[address]]
    check(named and len(named) < len(wanted), "a stripped file names its exported functions only")
    check(all(only_dynamic[a][0][0] == with_symtab[a][0][0] for a in named),
          "names of a stripped file are those of its whole form")
    check({p[2] for c in only_dynamic.values() for p in c} == {3}, "they come from .dynsym")


def check_separate(fixtures, path, wanted, whole):
    """A debug file beside the module, by link and checksum, by build id, and a wrong one."""
    debug, stripped = fixtures.path("separate.debug"), fixtures.path("separate")
    run("objcopy", "--only-keep-debug", path, debug)
    run("objcopy", "--strip-all", "--add-gnu-debuglink=" + debug, path, stripped)
    answer = fixtures.ask(stripped, wanted)
    check([[p[:2] for p in answer[a]] for a in wanted] == [[p[:2] for p in whole[a]] for a in wanted],
          "a file found by .gnu_debuglink says the same")
    check(5 in {p[2] for c in answer.values() for p in c}, "its source is told")

    # Without a build id, the checksum alone tells whether the file belongs.
    plain, plain_debug = fixtures.path("plain"), fixtures.path("plain.debug")
    run("objcopy", "--remove-section=.note.gnu.build-id", path, fixtures.path("plain.whole"))
    run("objcopy", "--only-keep-debug", fixtures.path("plain.whole"), plain_debug)
    run("objcopy", "--strip-all", "--add-gnu-debuglink=" + plain_debug,
        fixtures.path("plain.whole"), plain)
    answer = fixtures.ask(plain, wanted)
    check([[p[:2] for p in answer[a]] for a in wanted] == [[p[:2] for p in whole[a]] for a in wanted],
          "a file found by .gnu_debuglink and its checksum says the same")
    with open(plain_debug, "ab") as file:
        file.write(b"x")
    answer = fixtures.ask(plain, wanted)
    check({p[2] for c in answer.values() for p in c} <= {3}, "a wrong checksum is refused")

    # By build id, in a folder of debug files; then a file that lies there under a wrong name.
    identity = build_id(path)
    os.rename(debug, fixtures.path("moved"))
    os.remove(plain_debug)
    folder = os.path.join(fixtures.path("dirs"), ".build-id", identity[:2])
    os.makedirs(folder, exist_ok=True)
    shutil.copy(fixtures.path("moved"), os.path.join(folder, identity[2:] + ".debug"))
    answer = fixtures.ask(stripped, wanted, ["-d", fixtures.path("dirs")])
    check([[p[:2] for p in answer[a]] for a in wanted] == [[p[:2] for p in whole[a]] for a in wanted],
          "a file found by build id says the same")
    answer = fixtures.ask(fixtures.path("no such file"), wanted,
                          ["-b", identity, "-d", fixtures.path("dirs")])
    check(any(answer.values()), "a deleted module is named through its debug file")
    other = "ff" * 20
    folder = os.path.join(fixtures.path("dirs"), ".build-id", "ff")
    os.makedirs(folder, exist_ok=True)
    shutil.copy(fixtures.path("moved"), os.path.join(folder, other[2:] + ".debug"))
    answer = fixtures.ask(stripped, wanted, ["-b", other, "-d", fixtures.path("dirs")])
    check(not any(answer.values()), "a debug file with another build id is refused")


def check_same(fixtures, path, reference, what):
    """Two files with the same code must get the same answers."""
    wanted, others = oracle.addresses(path), oracle.addresses(reference)
    name = os.path.basename(path)
    if len(wanted) != len(others):
        print("# %s: other code than %s" % (name, what))
        return
    ours, whole = fixtures.ask(path, wanted), fixtures.ask(reference, others)
    same = 0
    for address, other in zip(wanted, others):
        mine, theirs = ([p[:2] for p in a] for a in (ours[address], whole[other]))
        if mine == theirs:
            same += 1
        elif same + 3 > wanted.index(address):
            print("# 0x%x\n#  %s\n#  %s" % (address, mine, theirs))
    check(same == len(wanted), "%s: %d of %d as %s" % (name, same, len(wanted), what))


def check_split(fixtures, name, cc, cxx, flags, reference):
    path = fixtures.build(name, cc, cxx, flags)
    if not path or not reference:
        return
    check_same(fixtures, path, reference, "without split files")
    wanted = oracle.addresses(path)
    for file in os.listdir(fixtures.folder):
        if file.startswith(name) and file.endswith(".dwo"):
            os.remove(fixtures.path(file))
    ours = fixtures.ask(path, wanted)
    check(sum(bool(c and c[-1][0] and c[0][1][1]) for c in ours.values()) > len(wanted) // 2,
          "%s: without .dwo files, names and lines remain" % name)


COMPILERS = ((["cc"], ["c++"]), (["clang"], ["clang++"]))
VARIANTS = (
    ("lto", ["-O2", "-g", "-flto"]),
    ("zlib", ["-O2", "-g", "-gz=zlib"]),
    ("zstd", ["-O2", "-g", "-gz=zstd"]),
    ("O0-dwarf4", ["-g", "-gdwarf-4"]),
    ("O2-dwarf4", ["-O2", "-g", "-gdwarf-4"]),
    ("O0", ["-g"]),
    ("O1-pie", ["-O1", "-g", "-fPIE", "-pie"]),
    ("O2-sections", ["-O2", "-g", "-ffunction-sections", "-Wl,--gc-sections"]),
    ("O3", ["-O3", "-g"]),
    ("lines", ["-O2", "-g1"]),
)


def check_compilers(fixtures, base, is_all):
    """The fixtures compiled with every compiler and set of flags."""
    for compilers in COMPILERS if is_all else COMPILERS[:1]:
        if not shutil.which(compilers[0][0]):
            continue
        for name, flags in VARIANTS if is_all else VARIANTS[:2]:
            if name == "lines" and compilers[0][0] == "clang":
                # Such functions tell no file, without which row_file of dwarf.c cannot decide.
                flags = ["-O2", "-gdwarf-4", "-g1"]
            name = "%s-%s" % (compilers[0][0], name)
            built = fixtures.build(name, *compilers, base + flags)
            if not built:
                continue
            if compilers[0][0] == "cc" or "-gdwarf-4" in flags:
                fixtures.agrees(built)
                continue
            # addr2line does not follow the range lists that clang makes of DWARF 5.
            reference = fixtures.build(name + "-4", *compilers, base + ["-gdwarf-4"] + flags)
            if reference:
                check_same(fixtures, built, reference, "DWARF 4")
        for version in ("4", "5") if is_all else ("5",):
            flags = base + ["-O2", "-g", "-gdwarf-" + version]
            name = "%s-%%s%s" % (compilers[0][0], version)
            reference = fixtures.build(name % "reference", *compilers, flags)
            check_split(fixtures, name % "split", *compilers, flags + ["-gsplit-dwarf"],
                        reference)


def main():
    symbolize, has_dwarf, folder, extent = sys.argv[1], sys.argv[2] == "yes", *sys.argv[3:5]
    for tool in ("addr2line", "objdump", "objcopy", "strip", "nm", "readelf", "cc", "c++"):
        if not shutil.which(tool):
            print("skipped: %s is missing" % tool)
            return 77
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    fixtures = Fixtures(symbolize, os.path.realpath(folder))
    cc, cxx = ["cc"], ["c++"]
    check_tables(fixtures, cc, cxx)

    base = ["-Wl,--build-id"]
    path = fixtures.build("O2", cc, cxx, base + ["-O2", "-g"])
    check(path is not None, "the fixtures compile")
    if not path:
        return 1
    wanted = oracle.addresses(path)
    whole = fixtures.ask(path, wanted)
    check(not any(fixtures.ask(path, wanted, ["-b", "00" * 20]).values()),
          "a module with another build id is not used")
    check(fixtures.ask(path, wanted, ["-b", build_id(path)]) == whole,
          "a module with the right build id is used")
    check(not any(fixtures.ask(fixtures.path("no such file"), wanted).values()),
          "a missing module has no names")
    check(not any(fixtures.ask(__file__, wanted).values()), "a text file has no names")
    check(all(len(c) <= 1 and p[2] == 2 for c in fixtures.ask(path, wanted, ["-n"]).values()
              for p in c), "DWARF is not used where it is not wanted")
    if has_dwarf:
        fixtures.agrees(path)
        check_compilers(fixtures, base, extent == "all")
        check_separate(fixtures, path, wanted, whole)
    print("%d failures" % len(FAILURES))
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
