#!/usr/bin/env python3
"""Puts vectors, changed vectors and written files through both readers and compares them.

    run.py [--catc PROGRAM] [--writec PROGRAM] [--slow] [--only NAME] [PART...]

PART: vectors (verdict and content of each), mutations (every one-byte change and every truncation
of the small sound vectors, with checksums left wrong and with checksums made right again), written
(files of the library's own writer, from a seed). catc is the library behind a reader that prints
what snapcat.py prints (catc.c), writec the writer (writec.c); parts that need a program that was not
given are left out. Without --slow, snapcat.py sees a sample of the mutations; the library
always sees all.
"""

import argparse
import io
import os
import random
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "format")]
try:
    import zstandard  # noqa: F401
except ImportError:
    print("1..0 # SKIP needs the Python module zstandard")
    sys.exit(77)
import hex as hex_text  # noqa: E402
import snapcat  # noqa: E402

VECTORS = os.path.join(ROOT, "format", "vectors")
SMALL = 500           # bytes of a vector that is small enough for all its mutations
SMALL_SLOW = 700      # with --slow
SMALL_FEW = 340       # with --few
SAMPLE = 150          # mutations of one vector that snapcat.py sees without --slow and catc
CATC_EVERY = 499      # of the mutations that catc sees, snapcat.py sees one in so many
CATC_EVERY_SLOW = 199
MAX_FAILURES = 60


class Failures:
    def __init__(self):
        self.count = 0

    def add(self, text):
        self.count += 1
        if self.count <= MAX_FAILURES:
            print("FAIL " + text)


def words_of(error):
    """(name, chunk, offset) of the line `NAME chunk offset message`."""
    words = error.split(" ", 3)
    return (words[0], words[1], int(words[2])) if len(words) >= 3 else ("?", error, 0)


def by_snapcat(data):
    """(verdict, canonical text)"""
    try:
        snapshot = snapcat.Snapshot(data)
        snapshot.verify()
    except snapcat.SnapError as error:
        return (error.name, error.chunk or "-", error.offset), ""
    out = io.StringIO()
    snapcat.dump_json(snapshot, out)
    return ("OK",), out.getvalue()


def by_catc(catc, path):
    done = subprocess.run([catc, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode == 0:
        return ("OK",), done.stdout.decode("ascii")
    text = done.stderr.decode("utf-8", "backslashreplace").strip()
    if done.returncode != 2:
        return ("exit status %d" % done.returncode, text[-300:], 0), ""
    return words_of(text), done.stdout.decode("ascii")


def every_vector(only):
    for name in sorted(os.listdir(VECTORS)):
        if name.endswith(".hex") and (only is None or only in name):
            data, verdict = hex_text.load(os.path.join(VECTORS, name))
            yield name[:-4], data, verdict


def check_vectors(options, failures):
    n = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vector.snap")
        for name, data, verdict in every_vector(options.only):
            n += 1
            if verdict is None:
                failures.add("%s: no verdict in its comments" % name)
                continue
            expected = {"good": ("OK",), "bad": ("FORMAT", "CORRUPT"),
                        "unsupported": ("UNSUPPORTED",)}[name.split("-")[0]]
            if verdict[0] not in expected:
                failures.add("%s: verdict %s does not fit its name" % (name, verdict[0]))
            got, text = by_snapcat(data)
            if got != verdict:
                failures.add("%s: snapcat.py says %s, expected %s" % (name, got, verdict))
            if options.catc:
                with open(path, "wb") as file:
                    file.write(data)
                c_got, c_text = by_catc(options.catc, path)
                if c_got != verdict:
                    failures.add("%s: catc says %s, expected %s" % (name, c_got, verdict))
                elif c_text != text:
                    failures.add("%s: content differs:\n%s" % (name, first_difference(text, c_text)))
    return "%d vectors" % n


def first_difference(a, b):
    for x, y in zip(a.splitlines(), b.splitlines()):
        if x != y:
            return "  snapcat.py %s\n  catc       %s" % (x[:300], y[:300])
    return "  snapcat.py has %d lines, catc %d" % (a.count("\n"), b.count("\n"))


def repair(data, layout):
    """Makes the checksums right again at the places where the unchanged file has them."""
    header_size, chunks, toc_offset = layout
    data = bytearray(data)
    data[56:64] = snapcat.xxh3(bytes(data[:56])).to_bytes(8, "little")
    for offset, stored_size in chunks:
        end = offset + 32 + stored_size
        covered = bytes(data[offset:offset + 24] + data[offset + 32:end])
        data[offset + 24:offset + 32] = snapcat.xxh3(covered).to_bytes(8, "little")
    covered = bytes(data[56:64] + data[-32:-16])
    data[-16:-8] = snapcat.xxh3(covered).to_bytes(8, "little")
    return bytes(data)


def layout_of(data):
    snapshot = snapcat.Snapshot(data)
    chunks = [(c.offset, c.stored_size) for c in snapshot.chunks]
    toc = snapshot.toc_offset
    chunks.append((toc, len(data) - 64 - toc))
    return snapshot.header_size, chunks, toc


def mutate(data, kind, position, value, layout):
    if kind == "cut":
        return data[:position]
    changed = data[:position] + bytes([value]) + data[position + 1:]
    return repair(changed, layout) if kind == "repaired" else changed


def all_mutations(data):
    for position in range(len(data)):
        yield "cut", position, 0
        for kind in ("set", "repaired"):
            for value in range(256):
                if value != data[position]:
                    yield kind, position, value


def digest(text):
    return "%016x" % snapcat.xxh3(text.encode("ascii"))


def check_mutations(options, failures):
    # Millions of openings: what is freed need not be kept from use for long.
    environment = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "")
                       + ":quarantine_size_mb=4:malloc_context_size=4")
    n = n_python = n_same = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vector.snap")
        for name, data, verdict in every_vector(options.only):
            small = SMALL_FEW if options.few else SMALL_SLOW if options.slow else SMALL
            if verdict != ("OK",) or len(data) > small:
                continue
            layout = layout_of(data)
            original = digest(by_snapcat(data)[1])
            if options.catc:
                every = str(CATC_EVERY_SLOW if options.slow else CATC_EVERY)
                arguments = [options.catc, "--mutate", path, every] + (
                    ["few"] if options.few else ["all"] if options.slow else [])
                with open(path, "wb") as file:
                    file.write(data)
                with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True,
                                      env=environment) as process:
                    for line in process.stdout:
                        words = line.split()
                        if words[0] == "total":
                            n += int(words[1])
                            n_same += int(words[3])
                            continue
                        what, kind, position, value, verdict_name, chunk, offset, text = words
                        position, value = int(position), int(value)
                        got = ("OK",) if verdict_name == "OK" else (verdict_name, chunk,
                                                                    int(offset))
                        where = "%s: %s byte %d to %d" % (name, kind, position, value)
                        if what == "fault":
                            failures.add("%s: catc gives %s, content %s (unchanged: %s)"
                                         % (where, got, text, original))
                            continue
                        n_python += 1
                        mine, content = by_snapcat(mutate(data, kind, position, value, layout))
                        if mine != got:
                            failures.add("%s: snapcat.py says %s, catc %s" % (where, mine, got))
                        elif mine == ("OK",) and digest(content) != text:
                            failures.add("%s: content differs" % where)
                if process.returncode != 0:
                    failures.add("%s: catc --mutate ended with status %d" % (name,
                                                                            process.returncode))
            else:
                chosen = random.Random(name)
                share = 1.0 if options.slow else SAMPLE / (len(data) * (2 * 255 + 1))
                for kind, position, value in all_mutations(data):
                    if chosen.random() < share:
                        n_python += 1
                        mine, content = by_snapcat(mutate(data, kind, position, value, layout))
                        if kind != "repaired" and mine == ("OK",) and digest(content) != original:
                            failures.add("%s: %s byte %d to %d: other content and no error"
                                         % (name, kind, position, value))
    return "%d mutations in the library (%d of them harmless), %d of them in snapcat.py" % (
        n, n_same, n_python)


def check_written(options, failures):
    """Files of the writer: both readers accept them and find the same, and writing again what was
    read gives the same bytes (writec checks that itself)."""
    seeds = range(1, 41 if options.slow else 9)
    n_rows = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            path = os.path.join(folder, "%d.snap" % seed)
            done = subprocess.run([options.writec, str(seed), path], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode != 0:
                failures.add("writec %d: %s" % (seed, done.stdout.strip()[-300:]))
                continue
            with open(path, "rb") as file:
                verdict, text = by_snapcat(file.read())
            c_verdict, c_text = by_catc(options.catc, path)
            if verdict != ("OK",) or c_verdict != ("OK",):
                failures.add("writec %d: snapcat.py says %s, catc %s" % (seed, verdict, c_verdict))
            elif text != c_text:
                failures.add("writec %d: content differs:\n%s"
                             % (seed, first_difference(text, c_text)))
            n_rows += text.count("\n")
    return "%d written files, %d rows" % (len(seeds), n_rows)


def main():
    parser = argparse.ArgumentParser(description="Compare the two readers of .snap files.")
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help="vectors, mutations, written; default: all that can be run")
    parser.add_argument("--catc")
    parser.add_argument("--writec")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--few", action="store_true",
                        help="fewer mutations, for a catc that is slowed down by a sanitizer")
    parser.add_argument("--only", help="vectors whose name holds this")
    options = parser.parse_args()
    failures = Failures()
    parts = {"vectors": check_vectors, "mutations": check_mutations, "written": check_written}
    for name in options.parts or parts:
        if name == "written" and not (options.writec and options.catc):
            continue
        before = failures.count
        result = parts[name](options, failures)
        print("%s: %s, %d failures" % (name, result, failures.count - before))
    return 1 if failures.count else 0


if __name__ == "__main__":
    sys.exit(main())
