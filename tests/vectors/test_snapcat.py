#!/usr/bin/env python3
"""Tests of format/snapcat.py itself: its hash, its command line, its escapes, hostile files.

Hostile files are run in a process with an address space of 1 GiB, so that one that makes it
allocate by a number from the file fails."""

import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "format")]
try:
    import zstandard
except ImportError:
    print("needs the Python module zstandard")
    sys.exit(77)
import hex as hex_text  # noqa: E402
import make  # noqa: E402
import snapcat  # noqa: E402

SNAPCAT = os.path.join(ROOT, "format", "snapcat.py")


def vector(name):
    return hex_text.load(os.path.join(ROOT, "format", "vectors", name + ".hex"))[0]


def run(data, *options, limit=1 << 30, timeout=60):
    """snapcat.py on bytes, as a process: (status, stdout, stderr)."""
    with tempfile.NamedTemporaryFile(suffix=".snap") as file:
        file.write(data)
        file.flush()
        done = subprocess.run(
            [sys.executable, SNAPCAT, *options, file.name], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=timeout, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    return done.returncode, done.stdout.decode("ascii"), done.stderr.decode("utf-8")


class Hash(unittest.TestCase):
    # Values of XXH3_64bits from the C library of xxHash 0.8, for bytes i * 131 + 7 modulo 256; so
    # that each class of lengths is tested where the module is missing, too.
    KNOWN = {
        0: 0x2d06800538d394c2, 1: 0x4c5cca45d0f4811f, 2: 0x29c60963cbfa4e6e,
        3: 0x6e3e2670e61106ac, 4: 0x5c4c63133443d03f, 7: 0x46a5c724d51fe43f,
        8: 0xf9fd4dd0b04d78f5, 9: 0x7c20df9712c26edf, 15: 0xb345a7b2698ba575,
        16: 0x86abf6baccea0858, 17: 0xb58bf5dc5022d071, 32: 0xe3712ed84c04a66e,
        33: 0xa4dee99b093e1f73, 64: 0x1291d2d4042330dd, 65: 0x97c6bf83217e5ec9,
        96: 0x81296929fc063365, 97: 0xf145a45b658ab9dd, 127: 0xed4cf62104020db5,
        128: 0x10d17f72c0ccba41, 129: 0x1648bdc3db49d1a2, 144: 0xb46dbfc6d9e31aba,
        240: 0xb6cfaf343fab81e6, 241: 0x956cae592c67279e, 512: 0xa0e9790eb93990d7,
        1024: 0x70bd377d9574f4bb, 1025: 0x66c4487c41e127a7, 2049: 0x581cd184fd9b76c5,
        4999: 0xc3af6109daa0965b,
    }

    def data(self, n):
        return bytes((i * 131 + 7) & 255 for i in range(n))

    def test_known_values(self):
        for n, value in self.KNOWN.items():
            self.assertEqual(snapcat.xxh3_plain(self.data(n)), value, n)

    def test_against_module(self):
        if snapcat.xxhash is None:
            self.skipTest("no module xxhash")
        chosen = random.Random(1)
        for n in [*range(0, 520), 1023, 1024, 1025, 1088, 2048, 2049, 4096, 65537]:
            data = chosen.randbytes(n)
            self.assertEqual(snapcat.xxh3_plain(data), snapcat.xxhash.xxh3_64_intdigest(data), n)

    def test_fallback_reads_files(self):
        real, snapcat.xxhash = snapcat.xxhash, None
        try:
            snapcat.Snapshot(vector("good-every-table")).verify()
        finally:
            snapcat.xxhash = real


class CommandLine(unittest.TestCase):
    def test_sound(self):
        status, out, err = run(vector("good-every-table"))
        self.assertEqual((status, err), (0, ""))
        rows = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([r["id"] for r in rows if r["table"] == "NODE"], [1, 2])
        # All columns of all tables are there in the second row.
        for table, types in snapcat.TABLES.items():
            if table not in ("META", "SUMM", "TOCC"):
                row = [r for r in rows if r["table"] == table][1]
                self.assertEqual(list(row)[2:], [name for name, _ in types])

    def test_check_is_silent(self):
        self.assertEqual(run(vector("good-empty"), "--check"), (0, "", ""))

    def test_summary(self):
        status, out, _ = run(vector("good-every-table"), "--summary")
        self.assertEqual(status, 0)
        self.assertIn("version 1.0", out)
        self.assertRegex(out, r"NODE +1 +2 ")

    def test_error_line(self):
        status, out, err = run(vector("bad-chunk-hash"))
        self.assertEqual((status, out), (2, ""))
        self.assertRegex(err, r"\ACORRUPT THRD 130 \S.*\n\Z")
        status, out, err = run(vector("bad-magic"), "--check")
        self.assertRegex(err, r"\AFORMAT - 0 \S.*\n\Z")

    def test_missing_file(self):
        done = subprocess.run([sys.executable, SNAPCAT, "/nonexistent/x.snap"], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"\AIO - 0 ")

    def test_standard_input(self):
        done = subprocess.run([sys.executable, SNAPCAT, "-"], input=vector("good-empty"),
                              stdout=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout.count(b"\n"), 2)


class Text(unittest.TestCase):
    def test_escapes(self):
        for value, expected in [
                (b"plain", '"plain"'), (b'a"b\\', '"a\\"b\\\\"'), (b"\n\x1b\x7f", '"\\n\\u001b\\u007f"'),
                ("\u00e9\u20ac\U0001f600".encode(), '"\\u00e9\\u20ac\\ud83d\\ude00"'),
                (b"\xff\xe2\x82", '"\\udcff\\udce2\\udc82"'),
                (b"\xed\xa0\x80", '"\\udced\\udca0\\udc80"')]:
            self.assertEqual(snapcat.text_of(value), expected)

    def test_bytes_come_back(self):
        chosen = random.Random(2)
        for _ in range(300):
            value = bytes(chosen.choices(b"a\x80\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\xed\xb2", k=12))
            text = snapcat.text_of(value)
            self.assertTrue(text.isascii() and text.isprintable())
            self.assertEqual(json.loads(text).encode("utf-8", "surrogateescape"), value)


class Canonical(unittest.TestCase):
    def text(self, *middle):
        data = make.join(make.file(*middle)[0])
        status, out, err = run(data)
        self.assertEqual((status, err), (0, ""))
        return out

    def test_encoding_and_chunks_do_not_show(self):
        values = [5, 5, 5, 9, 9, 7]
        columns = [make.plane(values), make.plane(values, 8), make.delta(values),
                   make.runs([5, 9, 7], [3, 2, 1]), make.hubs([5, 9], [1, 1, 1, 2, 2, 0], [7]),
                   make.keyed(values, [0] * 6, 1)]
        outputs = {self.text(make.rows("THRD", 6, {3: column})) for column in columns}
        outputs.add(self.text(make.rows("THRD", 2, {3: make.plane(values[:2])}),
                              make.rows("THRD", 4, {1: make.const(0), 3: make.plane(values[2:])})))
        self.assertEqual(len(outputs), 1)
        self.assertIn('{"table":"THRD","id":4,"flags":9}\n', outputs.pop())


class Hostile(unittest.TestCase):
    def refused(self, data, error, **more):
        status, out, err = run(data, "--check", **more)
        self.assertEqual((status, out), (2, ""))
        self.assertTrue(err.startswith(error + " "), err)
        self.assertNotIn("Traceback", err)

    def test_many_rows_of_few_bytes(self):
        # 65,536 rows in 24 bytes, 8,000 times: 500 million rows in 450 kB.
        chunk = make.rows("THRD", 65536, {1: make.const(1)})
        data = make.join(make.file(*[chunk] * 8000)[0])
        self.assertLess(len(data), 1 << 20)
        self.refused(data, "LIMIT")

    def test_zstd_bomb(self):
        # A frame that says 4 MiB and holds RLE blocks for 4 GiB.
        fields = make.frame([(0, 131072)] * 32768, 4 << 20, size_bytes=4)
        chunk = make.Chunk("STRS", fields, codec=1, raw_size=4 << 20)
        self.refused(make.join(make.file(chunk)[0]), "CORRUPT STRS")

    def test_frame_that_never_ends(self):
        fields = make.frame([(0, 1)] * 200000, 4 << 20, size_bytes=4)
        fields[-2] = (b"\x0a\x00\x00", "not the last")
        chunk = make.Chunk("STRS", fields, codec=1, raw_size=4 << 20)
        self.refused(make.join(make.file(chunk)[0]), "CORRUPT STRS")

    def test_deep_stacks(self):
        # One chain of 196,608 stacks: nothing may recurse.
        chunks = [make.rows("STAK", 65536, {1: make.delta(range(65536 * i, 65536 * (i + 1)))})
                  for i in range(3)]
        status, _, err = run(make.join(make.file(*chunks)[0]), "--check")
        self.assertEqual((status, err), (0, ""))

    def test_many_domains(self):
        chunks = [make.rows("NODE", 65536, {1: make.delta(range(65536 * i, 65536 * (i + 1)))})
                  for i in range(4)]
        self.refused(make.join(make.file(*chunks)[0]), "CORRUPT SUMM")

    def test_long_strings(self):
        # 48 strings of 65,535 bytes a chunk, 100 chunks: only their digests may stay in memory.
        chunks = []
        for i in range(100):
            values = [b"%08d" % (48 * i + k) + b"x" * 65527 for k in range(48)]
            raw = make.join(make.table("STRS", 48, {1: make.texts(*values)}))
            packed = zstandard.ZstdCompressor().compress(raw)
            chunks.append(make.Chunk("STRS", [(packed, "")], codec=1, rows=48, raw_size=len(raw)))
        data = make.join(make.file(*chunks)[0])
        status, _, err = run(data, "--check", limit=300 << 20)
        self.assertEqual((status, err), (0, ""))

    def test_random_bytes_behind_right_checksums(self):
        chosen = random.Random(3)
        for _ in range(3000):
            n = chosen.choice([1, 2, 3, 17, 200])
            columns = {}
            for column_id in sorted(chosen.sample(range(1, 8), chosen.randint(1, 4))):
                size = chosen.choice([0, 4, 8, 9, n, n + 8, 2 * n + 8])
                data = bytearray(chosen.randbytes(size))
                if chosen.random() < 0.7 and size >= 8:
                    data[:8] = struct.pack("<IBBH", chosen.choice([0, 1, n, 1 << 31]),
                                           chosen.choice([0, 1, 2, 9]), chosen.choice([0, 1, 9]), 0)
                columns[column_id] = (chosen.randint(0, 8), chosen.randint(0, 9),
                                      [(bytes(data), "")])
            data = make.join(make.file(make.rows("THRD", n, columns))[0])
            try:
                snapcat.Snapshot(data).verify()
            except snapcat.SnapError as error:
                self.assertIn(error.name, ("CORRUPT", "UNSUPPORTED"))
                self.assertEqual(error.chunk, "THRD")

    def test_random_files(self):
        chosen = random.Random(4)
        good = vector("good-every-table")
        for _ in range(3000):
            data = bytearray(good)
            for _ in range(chosen.randint(1, 6)):
                data[chosen.randrange(len(data))] = chosen.randrange(256)
            if chosen.random() < 0.3:
                del data[chosen.randrange(len(data)):]
            try:
                snapcat.Snapshot(bytes(data)).verify()
            except snapcat.SnapError:
                pass


if __name__ == "__main__":
    unittest.main(verbosity=2)  # reasons of what is skipped, too
