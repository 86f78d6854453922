#!/usr/bin/env python3
"""Writes the vectors of format/vectors from the descriptions below.

    make.py            writes every vector and the list in README.md
    make.py --check    fails if a file there differs from what would be written

The .hex files are the truth and are committed; this program only saves computing checksums, sizes
and offsets by hand. It builds files field by field, so that it can build wrong ones, too; it
shares nothing with a reader but the hash. Compressed data is built by hand (raw and RLE blocks) or
stands here as bytes, so that no version of zstd changes a vector.
"""

import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "format"))
import snapcat  # noqa: E402

VECTORS = os.path.join(ROOT, "format", "vectors")
MASK = (1 << 64) - 1


# Fields: (bytes, comment). Encodings give (encoding, width, fields).

def u8(value, comment):
    return struct.pack("<B", value), comment


def u16(value, comment):
    return struct.pack("<H", value), comment


def u32(value, comment):
    return struct.pack("<I", value), comment


def u64(value, comment):
    return struct.pack("<Q", value), comment


def zigzag(value):
    value &= MASK
    return (value << 1 ^ (MASK if value >> 63 else 0)) & MASK


def least_width(numbers):
    return (max(numbers, default=0).bit_length() + 7) // 8


def planes(numbers, width, what):
    fields = []
    for i in range(width):
        fields.append((bytes(n >> 8 * i & 255 for n in numbers), "%s: plane %d" % (what, i)))
    return fields


def differences(values):
    return [zigzag(v - p) for p, v in zip([0] + list(values), values)]


def const(value, width=0):
    return 1, width, [u64(value, "value of every row")]


def plane(values, width=None):
    width = least_width(values) if width is None else width
    return 2, width, planes(values, width, "values " + " ".join(map(str, values[:12])))


def delta(values):
    numbers = differences(values)
    width = least_width(numbers)
    return 3, width, planes(numbers, width, "zigzag differences")


def runs(values, lengths, wl=None, reserved=0, width=0):
    numbers = differences(values)
    wv, wl = least_width(numbers), least_width(lengths) if wl is None else wl
    return 4, width, [
        u32(len(values), "n_runs"), u8(wv, "wv"), u8(wl, "wl"), u16(reserved, "reserved"),
        *planes(numbers, wv, "zigzag differences of the runs' values"),
        *planes(lengths, wl, "run lengths " + " ".join(map(str, lengths)))]


def hubs(hub_values, codes, rest, n_rest=None, reserved=0):
    numbers = differences(rest)
    wh, wr = least_width(hub_values), least_width(numbers)
    return 5, 0, [
        u32(len(rest) if n_rest is None else n_rest, "n_rest"), u8(len(hub_values), "n_hubs"),
        u8(wh, "wh"), u8(wr, "wr"), u8(reserved, "reserved"),
        *planes(hub_values, wh, "hub values"), (bytes(codes), "codes"),
        *planes(numbers, wr, "zigzag differences of the rest")]


def texts(*values, width=None, lengths=None):
    values = [v.encode() if isinstance(v, str) else v for v in values]
    lengths = [len(v) for v in values] if lengths is None else lengths
    width = least_width(lengths) if width is None else width
    return 6, width, planes(lengths, width, "lengths") + [(v, repr(v)[1:40]) for v in values if v]


def keyed(values, keys, key_column, reserved=0):
    last, numbers = {}, []
    for v, k in zip(values, keys):
        numbers.append(zigzag(v - last.get(k % 65536, 0)))
        last[k % 65536] = v
    width = least_width(numbers)
    return 7, width, [u16(key_column, "key_column"), u16(reserved, "reserved"),
                      *planes(numbers, width, "zigzag differences per key")]


def column_name(table, column_id):
    types = snapcat.TABLES.get(table, [])
    return types[column_id - 1][0] if 1 <= column_id <= len(types) else "an unknown column"


def table(name, n_rows, columns, reserved=0, n_columns=None, sizes=None):
    """The fields of a table; columns is {id: encoding} or a list of such pairs."""
    columns = list(columns.items()) if isinstance(columns, dict) else columns
    n_columns = len(columns) if n_columns is None else n_columns
    fields = [u32(n_rows, "n_rows"), u16(n_columns, "n_columns"), u16(reserved, "reserved")]
    for column_id, (encoding, width, data) in columns:
        size = (sizes or {}).get(column_id, sum(len(d[0]) for d in data))
        known = snapcat.CONST <= encoding <= snapcat.KEYED
        fields.append((struct.pack("<HBBI", column_id, encoding, width, size),
                       "column %d %s, %s, width %d, size %d" % (
                           column_id, column_name(name, column_id),
                           ("CONST PLANES DELTA RUNS HUBS BYTES KEYED".split()[encoding - 1]
                            if known else "encoding %d" % encoding), width, size)))
    for column_id, (_, _, data) in columns:
        for i, (value, comment) in enumerate(data):
            prefix = "%s: " % column_name(name, column_id) if i == 0 else "  "
            fields.append((value, prefix + comment))
    return fields


def join(fields):
    return b"".join(f[0] for f in fields)


def frame(blocks, size, descriptor=0x20, size_bytes=1, dictionary=b"", window=b"", tail=b"",
          magic=b"\x28\xb5\x2f\xfd"):
    """A zstd frame by hand. blocks: bytes for a raw block, (byte, n) for a run of it."""
    descriptor |= {0: 0, 1: 0, 2: 0x40, 4: 0x80, 8: 0xC0}[size_bytes]
    stated = size - 256 if size_bytes == 2 else size
    fields = [(magic, "zstd magic"), u8(descriptor, "zstd frame header descriptor")]
    if window:
        fields.append((window, "zstd window descriptor"))
    if dictionary:
        fields.append((dictionary, "zstd dictionary id"))
    if size_bytes:
        fields.append((stated.to_bytes(size_bytes, "little"), "zstd content size, %d" % size))
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        if isinstance(block, bytes):
            head, kind, data = len(block) << 3 | last, "raw", block
        else:
            head, kind, data = block[1] << 3 | 1 << 1 | last, "RLE", bytes([block[0]])
        fields.append((head.to_bytes(3, "little"), "zstd block header: %s, %s"
                       % (kind, "last" if last else "not last")))
        fields.append((data, "  its data"))
    if tail:
        fields.append((tail, "after the frame's blocks"))
    return fields


class Chunk:
    """A chunk: payload fields and what is to be wrong with its header."""

    def __init__(self, name, fields, codec=0, layout=1, reserved=0, raw_size=None,
                 stored_size=None, wrong_hash=False, n_rows=None, toc=None, header_name=None,
                 hidden=b"", rows=1):
        self.name, self.fields, self.codec, self.layout = name, fields, codec, layout
        self.reserved, self.wrong_hash = reserved, wrong_hash
        self.hidden = [(hidden, "bytes of no chunk")] if hidden else []
        self.length = len(join(fields)) + len(hidden)
        self.stored_size = len(join(fields)) if stored_size is None else stored_size
        self.raw_size = self.stored_size if raw_size is None else raw_size
        self.n_rows = rows if n_rows is None else n_rows
        self.toc = toc or {}
        self.header_name = header_name or name

    def build(self):
        head = struct.pack("<4sBBHQQ", self.header_name.encode(), self.codec, self.layout,
                           self.reserved, self.stored_size, self.raw_size)
        value = snapcat.xxh3(head + join(self.fields)) ^ (1 if self.wrong_hash else 0)
        return [
            (self.header_name.encode(), "id '%s'" % self.header_name),
            u8(self.codec, "codec" + {0: ": as it is", 1: ": zstd"}.get(self.codec, "")),
            u8(self.layout, "layout"), u16(self.reserved, "reserved"),
            u64(self.stored_size, "stored_size %d" % self.stored_size),
            u64(self.raw_size, "raw_size %d" % self.raw_size),
            u64(value, "chunk_hash" + (" (wrong)" if self.wrong_hash else "")),
            *self.fields, *self.hidden]


def rows(name, n, columns, **more):
    """A chunk that is stored as it is."""
    inner = {k: more.pop(k) for k in ("n_columns", "sizes") if k in more}
    if "table_reserved" in more:
        inner["reserved"] = more.pop("table_reserved")
    return Chunk(name, table(name, n, columns, **inner), rows=n, **more)


def packed(name, n, columns, run_from, blocks_after=(), **more):
    """A chunk in one zstd frame: the first run_from bytes raw, then one run of the byte there."""
    raw = join(table(name, n, columns))
    run = raw[run_from:]
    assert run == run[:1] * len(run)
    more.setdefault("size_bytes", 1 if len(raw) < 256 else 2 if len(raw) < 65792 else 4)
    chunk = {k: more.pop(k) for k in ("toc", "raw_size", "hidden") if k in more}
    size = more.pop("size", len(raw))
    blocks = [raw[:run_from]]
    left = len(run)
    while left:
        step = min(left, 131072)
        blocks.append((run[0], step))
        left -= step
    chunk.setdefault("raw_size", len(raw))
    return Chunk(name, frame(blocks, size, **more), codec=1, rows=n, **chunk)


def meta(**more):
    return rows("META", 1, {1: const(1), 4: texts("v")}, **more)


def summ(totals=((1, 0, 0),), extra=(), **more):
    """SUMM with a row (domain, count, bytes) per total, then extra rows (kind, ...)."""
    every = [(1,) + tuple(t) for t in totals] + list(extra)
    names = {1: 0, 2: 1, 5: 2, 6: 3}
    columns = {}
    for column_id, i in names.items():
        values = [r[i] for r in every]
        if any(values):
            columns[column_id] = plane(values)
    return rows("SUMM", len(every), columns, **more)


def file(*middle, first=None, last=None, header=None, footer=None, toc=None, toc_chunk=None,
         toc_columns=None, extension=b"", cut=None, append=b"", wrong_header_hash=False, wrong_footer_hash=False,
         totals=((1, 0, 0),)):
    """The fields of a whole file, and {(chunk name, nth): offset} with "TOCC" and "end"."""
    head = dict(magic=snapcat.MAGIC, header_size=64 + len(extension), major=1, minor=0,
                incompatible=0, compatible=0, reserved=(0, 0, 0))
    head.update(header or {})
    plain = [(head["magic"], "magic"), u32(head["header_size"], "header_size"),
             u16(head["major"], "version_major"), u16(head["minor"], "version_minor"),
             u64(head["incompatible"], "incompatible"), u64(head["compatible"], "compatible")]
    plain += [u64(v, "reserved") for v in head["reserved"]]
    header_hash = snapcat.xxh3(join(plain)) ^ (1 if wrong_header_hash else 0)
    fields = plain + [u64(header_hash, "header_hash" + (" (wrong)" if wrong_header_hash else ""))]
    if extension:
        fields.append((extension, "fields of a later minor version"))
    chunks = [first or meta(), *middle, last or summ(totals)]
    chunks = [c for c in chunks if c != "none"]
    at, where, toc_rows = len(join(fields)), {}, []
    for chunk in chunks:
        nth = sum(1 for name, _ in where if name == chunk.name)
        where[chunk.name, nth] = at
        row = dict(id=int.from_bytes(chunk.name.encode(), "little"), offset=at,
                   stored_size=chunk.stored_size, raw_size=chunk.raw_size, n_rows=chunk.n_rows)
        row.update(chunk.toc)
        toc_rows.append(row)
        fields.append((b"", "--- chunk %s at %d" % (chunk.name, at)))
        fields += chunk.build()
        at += 32 + chunk.length
    if toc:
        toc_rows = toc(toc_rows)
    columns = {}
    for column_id, name in enumerate(("id", "offset", "stored_size", "raw_size", "n_rows"), 1):
        columns[column_id] = plane([row[name] for row in toc_rows])
    columns.update(toc_columns or {})
    where["TOCC", 0] = at
    contents = rows("TOCC", len(toc_rows), columns, **(toc_chunk or {}))
    fields.append((b"", "--- chunk TOCC at %d" % at))
    fields += contents.build()
    size = len(join(fields)) + 32
    foot = dict(toc_offset=at, file_size=size, end_magic=snapcat.END_MAGIC)
    foot.update(footer or {})
    start = struct.pack("<QQ", foot["toc_offset"], foot["file_size"])
    footer_hash = snapcat.xxh3(struct.pack("<Q", header_hash) + start)
    fields.append((b"", "--- footer at %d" % (size - 32)))
    fields += [u64(foot["toc_offset"], "toc_offset %d" % foot["toc_offset"]),
               u64(foot["file_size"], "file_size %d" % foot["file_size"]),
               u64(footer_hash ^ (1 if wrong_footer_hash else 0),
                   "footer_hash" + (" (wrong)" if wrong_footer_hash else "")),
               (foot["end_magic"], "end_magic")]
    if append:
        fields.append((append, "after the end"))
        size += len(append)
    if cut is not None:
        point = cut(where, size)
        kept, length = [], 0
        for value, comment in fields:
            if length >= point:
                break
            kept.append((value[:point - length], comment))
            length += len(value)
        fields, size = kept + [(b"", "--- cut off here")], point
    where["end"] = size
    return fields, where


ALL = []


def vector(name, sentence, fields_where, verdict=("OK",)):
    """verdict: (error, chunk name or None, nth chunk of that name, or offset from the end)."""
    fields, where = fields_where
    if len(verdict) > 1:
        error, chunk, position = verdict
        if chunk is None:
            offset = position if position >= 0 else where["end"] + position
        else:
            offset = where[chunk, position]
        verdict = (error, chunk or "-", str(offset))
    ALL.append((name, sentence, fields, verdict))


def good(name, sentence, fields_where):
    vector("good-" + name, sentence, fields_where)


def corrupt(name, sentence, fields_where, chunk, position=0, error="CORRUPT"):
    vector("bad-" + name, sentence, fields_where, (error, chunk, position))


def newer(name, sentence, fields_where, chunk, position=0):
    vector("unsupported-" + name, sentence, fields_where, ("UNSUPPORTED", chunk, position))


def thrd(columns, n=1, **more):
    return rows("THRD", n, columns, **more)


def every_table():
    """Two rows in each table, a value in every column of the second."""
    chunks = []
    n = 0
    for name, types in snapcat.TABLES.items():
        if name in ("META", "SUMM", "TOCC"):
            continue
        columns = {}
        for column_id, (column, kind) in enumerate(types, 1):
            n += 1
            if kind == "bytes":
                columns[column_id] = texts("a%d" % n, "b%d" % n)
            elif kind == "num":
                columns[column_id] = plane([n, n + 1])
            elif kind == name:
                columns[column_id] = plane([0, 1])
            else:
                columns[column_id] = plane([1, 2])
        if name == "NODE":
            columns[1] = plane([1, 2])
        chunks.append(rows(name, 2, columns))
    return chunks


def describe_good():
    good("empty", "the smallest file: one META row, one SUMM row", file())

    chunks = every_table()
    base = 0
    for name, types in snapcat.TABLES.items():
        if name == "NODE":
            break
        if name not in ("META", "SUMM", "TOCC"):
            base += len(types)
    first_row = [base + 4, base + 15]
    totals = ((1, 1, sum(first_row)), (2, 1, sum(first_row) + 2))
    good("every-table", "two rows in every table, all columns of the specification",
         file(*chunks,
              first=rows("META", 4, {1: plane([1, 3, 7, 32]), 2: texts("", "", "", "samples"),
                                     3: plane([0, 5, MASK, 12]), 4: texts("w", "", "", "")}),
              last=rows("SUMM", 3, {1: plane([1, 1, 2]), 2: plane([1, 2, 1]),
                                    3: plane([0, 0, 77]), 4: plane([0, 0, 78]),
                                    5: plane([1, 1, 1]),
                                    6: plane([totals[0][2], totals[1][2], 9]),
                                    7: texts("", "", "type"), 8: plane([0, 3, 4])})))
    good("planes", "PLANES of every width from 0 to 8",
         file(thrd({1: plane([1, 255, 0]), 3: plane([0, 0, 0]), 4: plane([256, 65535, 1]),
                    5: plane([1 << 16, 1, (1 << 24) - 1]), 6: plane([1 << 24, 7, 0])}, 3),
              rows("REGN", 3, {1: plane([1, 1 << 32, (1 << 40) - 1]), 2: plane([1 << 40, 2, 3]),
                               3: plane([1 << 48, 0, 1]), 4: plane([MASK, 1 << 63, 0])})))
    good("const", "CONST columns, 0 and the largest number among them",
         file(thrd({1: const(7), 3: const(0), 4: const(MASK)}, 3)))
    good("delta-wrap", "DELTA whose differences pass over both ends of the numbers",
         file(thrd({1: delta([MASK, 0, MASK, 1 << 63, 0, 5]), 4: delta([9, 8, 7, 6, 5, 4])}, 6)))
    good("runs", "RUNS: several runs, a single one, one per row",
         file(thrd({1: runs([5, 3, 900], [2, 1, 3]), 3: runs([MASK], [6]),
                    4: runs([1, 2, 3, 4, 5, 6], [1] * 6)}, 6)))
    good("runs-wide", "RUNS with run lengths of two bytes, and a value of width 0",
         file(thrd({1: runs([0, 1], [299, 1])}, 300)))
    good("hubs", "HUBS with and without rest, and without hubs",
         file(thrd({1: hubs([1000, 2], [1, 2, 0, 1, 0], [70000, 5]),
                    3: hubs([9], [1] * 5, []), 4: hubs([], [0] * 5, [MASK, 0, 3, 2, 1])}, 5)))
    good("bytes", "BYTES: empty values, UTF-8, bytes that are no UTF-8, controls, a long one",
         file(rows("MODS", 8, {2: texts("", "caf\u00e9 \U0001f600", b"\xff\xc3(\xe2\x82",
                                        "a\"b\\c\n\x1b[0m\x7f", b"\xed\xa0\x80\xc0\xaf\xf4\x90\x80\x80",
                                        "x" * 300, b"\xe2\x82\xac\xf0\x9f\x98", "")}, )))
    good("bytes-none", "BYTES of width 0: every value is empty",
         file(rows("MODS", 2, {2: texts("", ""), 3: const(1)})))
    good("bytes-longest", "a bytes value of 65,535 bytes, the longest",
         file(packed("STRS", 1, {1: texts(b"a" * 65535)}, 18)))
    good("keyed", "KEYED: by a column that is there, one that is not, and keys that are equal "
         "modulo 65,536",
         file(thrd({1: plane([3, 65539, 3, 131072, 0, 3]),
                    4: keyed([10, 20, 21, 1000, 990, 30], [3, 65539, 3, 131072, 0, 3], 1),
                    5: keyed([1, 2, MASK, 0, 1, 5], [0] * 6, 3)}, 6)))
    good("keyed-ref", "KEYED by a column of references that is itself HUBS",
         file(rows("TYPE", 3, {1: const(0), 3: plane([8, 16, 24])}),
              rows("NODE", 5, {1: const(1), 4: plane([8, 16, 8, 24, 16]),
                               5: hubs([2], [0, 1, 0, 0, 1], [1, 1, 3]),
                               7: keyed([1, 2, 3, 4, 5], [1, 2, 1, 3, 2], 5)}),
              totals=((1, 5, 72),)))
    good("no-columns", "a chunk without columns: rows of zeros",
         file(rows("THRD", 3, {})))
    good("rows-65536", "65,536 rows in one chunk, the most",
         file(thrd({1: const(1)}, 65536)))
    good("interleaved", "chunks of several tables in turns, references to rows that come later",
         file(rows("NODE", 2, {1: const(1), 4: plane([5, 6]), 5: plane([3, 1])}),
              rows("STRS", 1, {1: texts("one")}),
              rows("TYPE", 1, {1: plane([2])}),
              rows("STRS", 2, {1: texts("two", "three")}),
              rows("NODE", 1, {1: const(1), 4: const(7), 5: const(2)}),
              rows("EDGE", 1, {1: plane([1]), 2: plane([3])}),
              rows("TYPE", 2, {1: plane([3, 1])}),
              rows("EDGE", 2, {1: plane([1, 3]), 2: plane([2, 1])}),
              totals=((1, 3, 18),)))
    good("stacks", "a prefix tree of stacks over two chunks",
         file(rows("FRAM", 3, {3: plane([100, 200, 300])}),
              rows("STAK", 3, {1: plane([0, 1, 1]), 2: plane([1, 2, 3])}),
              rows("STAK", 2, {1: plane([2, 4]), 2: plane([3, 1]), 3: plane([0, 1])})))
    good("ancillary-chunk", "an unknown ancillary chunk with an unknown codec and layout",
         file(Chunk("xtra", [(b"\x01\x02\x03", "data that only its writer knows")], codec=9,
                    layout=7, reserved=3, raw_size=1000, rows=0)))
    good("ancillary-empty", "an unknown ancillary chunk without payload",
         file(Chunk("zero", [], rows=0)))
    good("ancillary-column", "an unknown ancillary column with an unknown encoding",
         file(thrd({1: plane([4, 5]), 0x8000: (99, 200, [(b"\x01\x02\x03", "unknown")]),
                    0xFFFF: (2, 9, [])}, 2)))
    good("header-longer", "a header of 96 bytes, from a later minor version",
         file(extension=bytes(range(1, 33))))
    good("header-longest", "a header of 4,096 bytes, the longest", file(extension=b"\x5a" * 4032))
    good("minor", "a later minor version", file(header=dict(minor=65535)))
    good("compatible", "unknown compatible features", file(header=dict(compatible=MASK)))
    good("unknown-codes", "unknown codes of all enumerations, an unknown META key",
         file(rows("FRAM", 1, {1: const(200), 4: const(MASK)}),
              rows("STAK", 1, {3: const(1 << 40)}),
              rows("SYMB", 1, {1: const(1), 6: const(201)}),
              rows("MODS", 1, {6: const(1 << 63)}),
              rows("TYPE", 1, {2: const(202), 4: const(1 << 33)}),
              rows("THRD", 1, {3: const(1 << 34)}),
              rows("NODE", 1, {1: const(203), 2: const(1 << 35), 8: const(MASK)}),
              rows("EDGE", 1, {3: const(204), 7: const(MASK)}),
              rows("ROOT", 1, {1: const(205), 9: const(MASK)}),
              rows("HOOK", 1, {12: const(206)}),
              rows("POOL", 1, {1: const(207), 2: const(208), 14: const(MASK)}),
              rows("REGN", 1, {3: const(209), 4: const(MASK)}),
              rows("RSRC", 1, {1: const(210)}),
              first=rows("META", 3, {1: plane([1, 999, 1 << 40]), 2: texts("", "n", ""),
                                     3: plane([0, 6, 7]), 4: texts("w", "t", "")}),
              last=rows("SUMM", 2, {1: plane([1, 99]), 2: plane([203, 1]), 5: plane([1, 2])})))
    good("meta-wide-keys", "unknown META keys over 32 bits",
         file(first=rows("META", 4, {1: plane([1, (1 << 32) - 1, 1 << 32, 1 << 40]),
                                     3: plane([0, 1, 2, 3]), 4: texts("w", "", "", "")})))
    good("totals", "totals of several domains, one without nodes; imported nodes do not count; "
         "external bytes do",
         file(rows("NODE", 4, {1: plane([1, 1, 3, 3]), 2: plane([1, 1, 14, 8]),
                               4: plane([10, MASK, 50, 60]), 15: plane([0, 3, 9, 4])}),
              totals=((1, 2, 12), (2, 0, 0), (3, 1, 64))))
    good("imported-only", "a domain whose only node is imported has a total of 0",
         file(rows("NODE", 1, {1: const(3), 2: const(14), 4: const(5)}),
              totals=((3, 0, 0),)))
    good("zstd", "a zstd frame of a raw and an RLE block",
         file(packed("THRD", 200, {1: plane([7] * 200)}, 16)))
    good("zstd-window", "a zstd frame with a window descriptor and a content size of 8 bytes",
         file(packed("THRD", 200, {1: plane([7] * 200)}, 16, descriptor=0, size_bytes=8,
                     window=b"\x00")))
    good("zstd-window-largest", "a zstd frame with a window of 8 MiB, the largest",
         file(packed("THRD", 300, {1: plane([7] * 300)}, 16, descriptor=0, size_bytes=2,
                     window=b"\x68")))
    good("zstd-dictionary-zero", "a zstd frame with a dictionary id of 0, which is none",
         file(packed("THRD", 200, {1: plane([7] * 200)}, 16, descriptor=0x21,
                     dictionary=b"\x00")))
    good("zstd-largest", "a payload of 4 MiB, the largest",
         file(packed("STRS", 1, {1: texts(b"a" * 100), 0x8000: (0, 0, [(b"\0" * (
             (4 << 20) - 8 - 16 - 101), "")])}, 8 + 16 + 101)))
    good("zstd-compressed", "a frame as libzstd 1.5 writes it, with literals, sequences and a "
         "checksum",
         file(compressed_chunk()))
    good("file-order", "NODE rows that are not sorted, as META says",
         file(rows("NODE", 3, {1: const(1), 3: plane([48, 16, 32])}),
              first=rows("META", 2, {1: plane([1, 23]), 3: plane([0, 1]), 4: texts("w", "")}),
              totals=((1, 3, 0),)))


COMPRESSED = bytes.fromhex(
    "28b52ffd64d802a50600440a780000000200000001000202f004000306d002000000081e4274b402"
    "5ec840c65a0bbb79451f160c1022517fbb146cd255d76714c08951361a1b1b38548dc51a6edf5edc"
    "7720c88d6032211e29335a8fd22373e05be47b20d39463402b242b406394d3207be45be07323d28f"
    "5a33291e2132608dc82077dc5edf6e1ac58d54381b1b1a365189c01467d755d26c00010101020203"
    "0203030002030200807f00207f00fe00142030e0711b538a64a8ec990a06f061ca0c202d0a60daeb"
    "041801f6c9e4b6236059c470dd70868112e09202ee0b75aa5748")


def compressed_rows():
    """The rows of good-zstd-compressed, in the encodings of its decoded payload."""
    return {1: plane([(i * i * 7 + i) % 1009 for i in range(120)]),
            4: delta([0x7F0000000000 + 64 * i + (i % 5) * 4096 for i in range(120)])}


def compressed_chunk():
    raw = join(table("THRD", 120, compressed_rows()))
    return Chunk("THRD", [(COMPRESSED, "a zstd frame")], codec=1, rows=120, raw_size=len(raw))


def describe_bad_frame_of_file():
    corrupt("empty-file", "no bytes at all", file(cut=lambda w, n: 0), None, 0, "FORMAT")
    corrupt("magic-cut", "the first seven bytes of the magic", file(cut=lambda w, n: 7), None, 0,
            "FORMAT")
    corrupt("magic", "another magic", file(header=dict(magic=b"\x89SNAQ\r\n\x1a")), None, 0,
            "FORMAT")
    corrupt("magic-text", "a file transfer turned CR LF into LF",
            file(header=dict(magic=b"\x89SNAP\n\x1a")), None, 0, "FORMAT")
    corrupt("header-cut", "cut off within the header", file(cut=lambda w, n: 40), None, 56)
    corrupt("header-hash", "header_hash is wrong", file(wrong_header_hash=True), None, 56)
    corrupt("header-hash-newer", "a wrong header_hash wins over a higher version",
            file(wrong_header_hash=True, header=dict(major=2)), None, 56)
    corrupt("header-size-small", "header_size 56", file(header=dict(header_size=56)), None, 8)
    corrupt("header-size-step", "header_size 68 is no multiple of 8",
            file(header=dict(header_size=68)), None, 8)
    corrupt("header-size-large", "header_size 4,104",
            file(header=dict(header_size=4104), extension=b"\0" * 4040), None, 8)
    corrupt("header-size-past-end", "header_size is past the end of the file",
            file(header=dict(header_size=4096)), None, 8)
    corrupt("cut-after-header", "cut off after the header", file(cut=lambda w, n: 64), None, -8)
    corrupt("cut-chunk-header", "cut off within a chunk's header",
            file(thrd({1: const(1)}), cut=lambda w, n: w["THRD", 0] + 13), None, -8)
    corrupt("cut-payload", "cut off within a chunk's payload",
            file(thrd({1: const(1)}), cut=lambda w, n: w["THRD", 0] + 41), None, -8)
    corrupt("cut-between", "cut off between two chunks",
            file(thrd({1: const(1)}), cut=lambda w, n: w["SUMM", 0]), None, -8)
    corrupt("cut-toc", "cut off within the table of contents",
            file(cut=lambda w, n: w["TOCC", 0] + 45), None, -8)
    corrupt("cut-footer", "cut off before the footer", file(cut=lambda w, n: n - 32), None, -8)
    corrupt("cut-footer-half", "cut off within the footer", file(cut=lambda w, n: n - 16), None,
            -8)
    corrupt("cut-last-byte", "the last byte is missing", file(cut=lambda w, n: n - 1), None, -8)
    corrupt("trailing", "a byte after the footer", file(append=b"\n"), None, -8)
    corrupt("trailing-footer", "the footer is there twice: file_size is not the file's",
            trailing_footer(), None, -24)
    corrupt("end-magic", "another end_magic", file(footer=dict(end_magic=b"\x1a\n\rPANS\x88")),
            None, -8)
    corrupt("footer-hash", "footer_hash is wrong", file(wrong_footer_hash=True), None, -16)
    corrupt("file-size", "file_size is one too large",
            file(footer=dict(file_size=len(join(file()[0])) + 1)), None, -24)
    corrupt("toc-offset-low", "toc_offset lies in the header", file(footer=dict(toc_offset=32)),
            None, -32)
    corrupt("toc-offset-high", "toc_offset leaves no room for a chunk header",
            file(footer=dict(toc_offset=len(join(file()[0])) - 63)), None, -32)
    corrupt("toc-offset-past-end", "toc_offset is past the end",
            file(footer=dict(toc_offset=MASK)), None, -32)


def trailing_footer():
    fields, where = file()
    footer = [f for f in fields if f[0]][-4:]
    return fields + footer, dict(where, end=where["end"] + 32)


def toc_of(change):
    def apply(toc_rows):
        change(toc_rows)
        return toc_rows
    return apply


def set_toc(i, **values):
    return toc_of(lambda r: r[i].update(values))


def elsewhere(offset, *middle):
    """A file whose toc_offset leads to the wrong place; that is where the error is."""
    fields, where = file(*middle, footer=dict(toc_offset=offset))
    return fields, {**where, ("TOCC", 0): offset}


def describe_bad_contents():
    node = rows("THRD", 1, {1: const(1)})
    n = "TOCC"

    def chunk_id(text):
        return int.from_bytes(text, "little")

    corrupt("toc-elsewhere", "toc_offset leads to another chunk", elsewhere(file(node)[1]["SUMM", 0], node), n)
    corrupt("toc-in-payload", "toc_offset leads into a payload",
            elsewhere(file(node)[1]["THRD", 0] + 4, node), n)
    corrupt("toc-hash", "the table of contents has a wrong chunk_hash",
            file(node, toc_chunk=dict(wrong_hash=True)), n)
    corrupt("toc-size", "the table of contents ends before the footer",
            file(node, toc_chunk=dict(hidden=b"\0" * 8)), n)
    corrupt("toc-size-past", "the table of contents reaches into the footer",
            file(node, toc_chunk=dict(stored_size=80, raw_size=80)), n)
    corrupt("toc-gap", "a gap between two chunks, as the table of contents has it",
            file(node, toc=set_toc(1, offset=file(node)[1]["THRD", 0] + 8)), n)
    corrupt("toc-overlap", "two chunks overlap, as the table of contents has it",
            file(node, toc=set_toc(2, offset=file(node)[1]["SUMM", 0] - 1)), n)
    corrupt("toc-first", "the first chunk does not start after the header",
            file(node, toc=set_toc(0, offset=72)), n)
    corrupt("toc-header-size", "the chunks do not start at header_size",
            file(header=dict(header_size=72)), n)
    corrupt("toc-missing", "a chunk that the table of contents does not have",
            file(node, toc=toc_of(lambda r: r.pop(1))), n)
    corrupt("toc-hidden-end", "bytes between the last chunk and the table of contents",
            file(last=summ(hidden=b"\0" * 8)), n)
    corrupt("toc-swapped", "two rows of the table of contents are swapped",
            file(node, rows("REGN", 1, {1: const(1)}),
                 toc=lambda r: [r[0], r[2], r[1], r[3]]), n)
    corrupt("toc-past", "a chunk reaches into the table of contents",
            file(node, toc=set_toc(2, stored_size=4096, raw_size=4096)), n)
    corrupt("toc-stored-size", "the table of contents has another stored_size",
            file(node, toc=toc_of(lambda r: (r[1].update(stored_size=r[1]["stored_size"] - 1),))),
            n)
    corrupt("toc-raw-size-limit", "a raw_size over the limit in the table of contents",
            file(node, toc=set_toc(1, raw_size=(4 << 20) + 1)), n)
    corrupt("toc-raw-size", "the table of contents has another raw_size than the chunk",
            file(node, toc=set_toc(1, raw_size=1000)), "THRD")
    corrupt("toc-rows", "the table of contents has another n_rows than the chunk",
            file(node, toc=set_toc(1, n_rows=2)), "THRD")
    corrupt("toc-stored-size-chunk", "a chunk's zstd frame is followed by bytes that only the "
            "table of contents counts to it",
            file(packed("THRD", 200, {1: plane([7] * 200)}, 16, toc=dict(stored_size=37),
                        hidden=b"\0" * 8)), "THRD")
    corrupt("toc-rows-zero", "n_rows 0 in the table of contents",
            file(node, toc=set_toc(1, n_rows=0)), n)
    corrupt("toc-rows-limit", "n_rows 65,537 in the table of contents",
            file(node, toc=set_toc(1, n_rows=65537)), n)
    corrupt("toc-id", "the table of contents has another id than the chunk",
            file(rows("REGN", 1, {1: const(1)}, header_name="THRD")), "REGN")
    corrupt("toc-id-letters", "a chunk id that is not four letters",
            file(node, toc=set_toc(1, id=chunk_id(b"TH0D"))), n)
    corrupt("toc-id-wide", "a chunk id over 32 bits",
            file(node, toc=set_toc(1, id=chunk_id(b"THRD\1"))), n)
    corrupt("toc-ancillary-rows", "rows of an unknown ancillary chunk",
            file(Chunk("xtra", [], rows=1)), n)
    corrupt("toc-in-toc", "a second table of contents among the chunks",
            file(rows("TOCC", 1, {1: const(1)})), n)
    corrupt("meta-twice", "META is there twice", file(meta()), n)
    corrupt("meta-second", "META is not the first chunk",
            file(meta(), first=rows("THRD", 1, {1: const(1)})), n)
    corrupt("meta-missing", "no META", file(first=rows("THRD", 1, {1: const(1)})), n)
    corrupt("summ-missing", "no SUMM", file(node, last="none"), n)
    corrupt("summ-twice", "SUMM is there twice", file(summ()), n)
    corrupt("summ-early", "SUMM is not the last chunk", file(summ(), last=node), n)


def describe_bad_chunks():
    n = "THRD"

    def one(columns, count=1, **more):
        return file(rows("THRD", count, columns, **more))

    corrupt("chunk-hash", "a chunk_hash is wrong", one({1: const(1)}, wrong_hash=True), n)
    corrupt("chunk-hash-newer", "a wrong chunk_hash wins over an unknown codec",
            one({1: const(1)}, wrong_hash=True, codec=2), n)
    corrupt("meta-hash", "META has a wrong chunk_hash", file(first=meta(wrong_hash=True)), "META")
    corrupt("ancillary-hash", "an unknown ancillary chunk has a wrong chunk_hash",
            file(Chunk("xtra", [(b"abc", "data")], rows=0, wrong_hash=True)), "xtra")
    corrupt("raw-size-limit", "a raw_size over the limit in the chunk",
            one({1: const(1)}, raw_size=(4 << 20) + 1, toc=dict(raw_size=24)), n)
    corrupt("stored-size-raw", "stored_size is more than raw_size",
            one({1: const(1)}, raw_size=23, toc=dict(raw_size=24)), n)
    corrupt("stored-size-past-end", "stored_size reaches into the table of contents",
            one({1: const(1)}, stored_size=1000, raw_size=1000,
                toc=dict(stored_size=24, raw_size=24)), n)
    corrupt("stored-size", "stored_size is one less than the table of contents says",
            one({1: const(1)}, stored_size=23, raw_size=24, toc=dict(stored_size=24)), n)
    corrupt("plain-sizes", "sizes differ in a chunk that is stored as it is",
            one({1: const(1)}, raw_size=100), n)
    corrupt("ancillary-size", "an unknown ancillary chunk has another size than the table of "
            "contents says",
            file(Chunk("xtra", [(b"abc", "data")], rows=0, raw_size=5, toc=dict(raw_size=4))),
            "xtra")
    corrupt("payload-short", "a payload of seven bytes is no table",
            file(Chunk(n, [(b"\1\0\0\0\0\0\0", "too short")])), n)
    corrupt("payload-empty", "a table without payload", file(Chunk(n, [])), n)
    corrupt("rows-0", "n_rows 0", file(Chunk(n, table(n, 0, {}))), n)
    corrupt("rows-65537", "n_rows 65,537",
            file(Chunk(n, table(n, 65537, {1: const(1)}))), n)
    corrupt("directory-short", "the column entries do not fit",
            one({1: const(1)}, n_columns=4), n)
    corrupt("columns-descend", "column ids descend", one([(3, const(1)), (1, const(2))]), n)
    corrupt("columns-twice", "a column is there twice", one([(1, const(1)), (1, const(1))]), n)
    corrupt("columns-size-less", "sizes of the columns leave a byte over",
            one({1: const(1), 3: const(2)}, sizes={3: 7}), n)
    corrupt("columns-size-more", "sizes of the columns exceed the chunk",
            one({1: const(1), 3: const(2)}, sizes={3: 0xFFFFFFFF}), n)
    corrupt("columns-shifted", "sizes of two columns add up but are not those of their encodings",
            one({1: const(1), 3: const(2)}, sizes={1: 9, 3: 7}), n)
    corrupt("encoding-0", "encoding 0", one({1: (0, 0, [])}), n)
    corrupt("encoding-bytes", "BYTES in a column of numbers", one({1: texts("a")}), n)
    corrupt("encoding-number", "PLANES in a column of bytes", file(rows("STRS", 1, {1: const(1)})),
            "STRS")
    corrupt("const-size", "CONST of seven bytes", one({1: (1, 0, [(b"\1" * 7, "value")])}), n)
    corrupt("const-width", "CONST with a width", one({1: const(1, width=8)}), n)
    corrupt("planes-width", "PLANES of width 9", one({1: (2, 9, [(b"\1" * 9, "value")])}), n)
    corrupt("planes-size", "PLANES with a byte too many",
            one({1: (2, 1, [(b"\1\2\3", "values")])}, 2), n)
    corrupt("planes-cut", "PLANES with a byte too few",
            one({1: (2, 2, [(b"\1\2\3", "values")])}, 2), n)
    corrupt("delta-width", "DELTA of width 255", one({1: (3, 255, [(b"\1" * 255, "value")])}), n)
    corrupt("runs-short", "RUNS without room for its fixed part",
            one({1: (4, 0, [(b"\1\0\0\0\1\1\0", "cut off")])}), n)
    corrupt("runs-zero-length", "a run of length 0", one({1: runs([1, 2, 3], [1, 0, 3])}, 4), n)
    corrupt("runs-none", "no runs", one({1: runs([], [])}, 2), n)
    corrupt("runs-less", "runs end before the last row", one({1: runs([1, 2], [1, 1])}, 3), n)
    corrupt("runs-more", "runs go on after the last row", one({1: runs([1, 2], [1, 3])}, 3), n)
    corrupt("runs-wrap", "run lengths add up to the rows only modulo 2^64",
            one({1: runs([1, 2], [MASK, 4])}, 3), n)
    corrupt("runs-count", "n_runs is more than the column holds",
            one({1: (4, 0, [u32(0xFFFFFFFF, "n_runs"), u8(1, "wv"), u8(1, "wl"),
                            u16(0, "reserved"), (b"\2\1", "data")])}), n)
    corrupt("runs-count-zero-width", "n_runs of 2^32 - 1 with numbers of width 0",
            one({1: (4, 0, [u32(0xFFFFFFFF, "n_runs"), u8(0, "wv"), u8(0, "wl"),
                            u16(0, "reserved")])}), n)
    corrupt("runs-width", "RUNS with wv 9",
            one({1: (4, 0, [u32(1, "n_runs"), u8(9, "wv"), u8(1, "wl"), u16(0, "reserved"),
                            (b"\2" * 9, "value"), (b"\1", "length")])}), n)
    corrupt("runs-column-width", "RUNS with a width", one({1: runs([1], [1], width=1)}), n)
    corrupt("hubs-code", "a hub code above n_hubs", one({1: hubs([5, 6], [1, 3], [])}, 2), n)
    corrupt("hubs-rest-more", "n_rest is more than the rows without a hub",
            one({1: hubs([5, 6], [1, 2], [7])}, 2), n)
    corrupt("hubs-rest-less", "n_rest is less than the rows without a hub",
            one({1: hubs([5, 6], [1, 0], [])}, 2), n)
    corrupt("hubs-rest-zero-width", "n_rest of 2^32 - 1 with numbers of width 0",
            one({1: hubs([5, 6], [1, 2], [], n_rest=0xFFFFFFFF)}, 2), n)
    corrupt("hubs-size", "HUBS with a byte too many",
            one({1: (5, 0, hubs([5], [1], [])[2] + [(b"\0", "one more")])}), n)
    corrupt("hubs-width", "HUBS with wh 9",
            one({1: (5, 0, [u32(0, "n_rest"), u8(1, "n_hubs"), u8(9, "wh"), u8(0, "wr"),
                            u8(0, "reserved"), (b"\2" * 9, "hub"), (b"\1", "code")])}), n)
    corrupt("bytes-lengths", "lengths of bytes values exceed the column",
            file(rows("STRS", 2, {1: texts("ab", "c", lengths=[2, 2])})), "STRS")
    corrupt("bytes-rest", "bytes after the last bytes value",
            file(rows("STRS", 2, {1: texts("ab", "c", lengths=[1, 1])})), "STRS")
    corrupt("bytes-wrap", "lengths of bytes values add up only modulo 2^64",
            file(rows("STRS", 2, {1: texts("abc", b"", lengths=[MASK, 4])})), "STRS")
    corrupt("bytes-nul", "a NUL in a bytes value", file(rows("STRS", 1, {1: texts(b"a\0b")})),
            "STRS")
    corrupt("bytes-long", "a bytes value of 65,536 bytes",
            file(packed("STRS", 1, {1: texts(b"a" * 65536)}, 19)), "STRS")
    corrupt("keyed-short", "KEYED without room for its fixed part",
            one({1: const(1), 3: (7, 0, [(b"\1\0\0", "cut off")])}), n)
    corrupt("keyed-by-itself", "KEYED by the column itself",
            one({1: const(1), 3: keyed([1], [1], 3)}), n)
    corrupt("keyed-by-higher", "KEYED by a higher column",
            one({3: keyed([1], [1], 4), 4: const(1)}), n)
    corrupt("keyed-by-zero", "KEYED by column 0", one({3: keyed([1], [0], 0)}), n)
    corrupt("keyed-by-keyed", "KEYED by a KEYED column",
            one({1: const(1), 3: keyed([2], [1], 1), 4: keyed([3], [2], 3)}), n)
    corrupt("keyed-by-bytes", "KEYED by a column of bytes",
            file(rows("MODS", 1, {2: texts("a"), 3: keyed([1], [0], 2)})), "MODS")
    corrupt("keyed-by-bytes-absent", "KEYED by a column of bytes that is not in the chunk",
            file(rows("MODS", 1, {3: keyed([1], [0], 2)})), "MODS")


def describe_bad_zstd():
    n = "THRD"
    columns = {1: plane([7] * 200)}

    def one(**more):
        return file(packed(n, 200, columns, 16, **more))

    def plain(data, raw_size, **more):
        return file(Chunk(n, [(data, "payload")], codec=1, raw_size=raw_size, rows=200, **more))

    good_frame = join(packed(n, 200, columns, 16).fields)
    corrupt("zstd-no-size", "a zstd frame that does not state its content size",
            one(descriptor=0, size_bytes=0, window=b"\x50"), n)
    corrupt("zstd-size-more", "the zstd frame states more than raw_size", one(size=217), n)
    corrupt("zstd-size-less", "the zstd frame states less than raw_size", one(size=215), n)
    corrupt("zstd-lies-more", "the zstd frame decodes to less than it and raw_size say",
            one(size=217, raw_size=217), n)
    corrupt("zstd-lies-less", "the zstd frame decodes to more than it and raw_size say",
            one(size=215, raw_size=215), n)
    corrupt("zstd-dictionary", "a zstd frame that needs a dictionary",
            one(descriptor=0x21, dictionary=b"\x05"), n)
    corrupt("zstd-window", "a zstd frame with a window over 8 MiB",
            one(descriptor=0, size_bytes=8, window=b"\x69"), n)
    corrupt("zstd-trailing", "a byte after the zstd frame", one(tail=b"\0"), n)
    corrupt("zstd-two-frames", "a second, empty zstd frame in the payload",
            one(tail=b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00"), n)
    corrupt("zstd-skippable-after", "a skippable frame after the zstd frame",
            one(tail=b"\x50\x2a\x4d\x18\x00\x00\x00\x00"), n)
    corrupt("zstd-skippable", "a skippable frame before the zstd frame",
            plain(b"\x50\x2a\x4d\x18\x00\x00\x00\x00" + good_frame, 216), n)
    corrupt("zstd-cut", "the zstd frame is cut off", plain(good_frame[:-1], 216), n)
    corrupt("zstd-cut-header", "the zstd frame header is cut off", plain(good_frame[:5], 216), n)
    corrupt("zstd-block-type", "a zstd block of the reserved type",
            plain(good_frame[:6] + b"\x07\x00\x00", 216), n)
    corrupt("zstd-reserved", "the zstd frame has its reserved bit set", one(descriptor=0x28), n)
    corrupt("zstd-checksum", "the checksum of the zstd frame is wrong",
            one(descriptor=0x24, tail=b"\x01\x02\x03\x04"), n)
    corrupt("zstd-none", "no zstd frame at all", plain(b"\x01\x02\x03\x04" * 8, 216), n)
    corrupt("zstd-empty", "no bytes where a zstd frame has to be", plain(b"", 216), n)
    raw = bytearray(COMPRESSED)
    raw[len(raw) // 2] ^= 0x10
    corrupt("zstd-damaged", "a compressed block is damaged, the chunk's hash is not",
            file(Chunk(n, [(bytes(raw), "a damaged zstd frame")], codec=1, rows=120,
                       raw_size=compressed_chunk().raw_size)), n)


def describe_bad_rows():
    corrupt("ref-range", "a reference to a row that is not there",
            file(rows("STRS", 1, {1: texts("a")}), rows("TYPE", 2, {1: plane([1, 2])})), "TYPE")
    corrupt("ref-no-table", "a reference to a table that is not there",
            file(rows("THRD", 1, {7: const(1)})), "THRD")
    corrupt("ref-wide", "a reference that is 1 modulo 2^32",
            file(rows("STRS", 1, {1: texts("a")}), rows("TYPE", 1, {1: const((1 << 32) + 1)})),
            "TYPE")
    corrupt("stack-parent", "a stack whose parent is a later one",
            file(rows("STAK", 3, {1: plane([0, 3, 1])})), "STAK")
    corrupt("stack-parent-self", "a stack that is its own parent, in the second chunk",
            file(rows("STAK", 2, {1: plane([0, 1])}), rows("STAK", 2, {1: plane([2, 4])})),
            "STAK", 1)
    corrupt("meta-order", "META is not sorted by key",
            file(first=rows("META", 2, {1: plane([3, 1]), 4: texts("", "w")})), "META")
    corrupt("meta-pair", "a META key is there twice",
            file(first=rows("META", 2, {1: plane([1, 1]), 4: texts("w", "w")})), "META")
    corrupt("meta-names", "META is not sorted by name within a key",
            file(first=rows("META", 3, {1: plane([1, 32, 32]), 2: texts("", "b", "a"),
                                        4: texts("w", "", "")})), "META")
    corrupt("strs-empty", "an empty string", file(rows("STRS", 2, {1: texts("a", "")})), "STRS")
    corrupt("strs-absent", "strings without their column", file(rows("STRS", 1, {})), "STRS")
    corrupt("strs-twice", "a string is there twice, in two chunks",
            file(rows("STRS", 1, {1: texts("a")}), rows("STRS", 2, {1: texts("b", "a")})),
            "STRS", 1)
    corrupt("symb-order", "SYMB is not sorted by frame",
            file(rows("FRAM", 2, {}), rows("SYMB", 2, {1: plane([2, 1])})), "SYMB")
    corrupt("symb-depth", "SYMB is not sorted by depth",
            file(rows("FRAM", 2, {}), rows("SYMB", 2, {1: const(1), 2: plane([1, 0])})), "SYMB")
    corrupt("symb-pair", "a position of SYMB is there twice",
            file(rows("FRAM", 2, {}), rows("SYMB", 2, {1: const(1)})), "SYMB")
    corrupt("edge-order", "EDGE is not sorted by source over two chunks",
            file(rows("NODE", 2, {1: const(1)}),
                 rows("EDGE", 1, {1: const(2)}), rows("EDGE", 1, {1: const(1)}),
                 totals=((1, 2, 0),)), "EDGE", 1)
    corrupt("regn-order", "REGN is not sorted by address",
            file(rows("REGN", 2, {1: plane([2, 1])})), "REGN")
    corrupt("summ-order", "SUMM is not sorted by bytes",
            file(last=summ(extra=((2, 1, 1, 5), (2, 1, 1, 6)))), "SUMM")
    corrupt("summ-order-kind", "SUMM is not sorted by kind",
            file(last=rows("SUMM", 2, {1: plane([2, 1]), 2: const(1)})), "SUMM")
    corrupt("total-twice", "a domain has two totals",
            file(last=summ(totals=((1, 0, 0), (1, 0, 0)))), "SUMM")
    corrupt("total-missing", "a domain with nodes has no total",
            file(rows("NODE", 1, {1: const(2), 4: const(5)})), "SUMM")
    corrupt("total-count", "the count of a total is wrong",
            file(rows("NODE", 1, {1: const(1), 4: const(5)}), totals=((1, 2, 5),)), "SUMM")
    corrupt("total-bytes", "the bytes of a total are wrong",
            file(rows("NODE", 1, {1: const(1), 4: const(5)}), totals=((1, 1, 6),)), "SUMM")
    corrupt("total-without-nodes", "a total counts nodes that are not there",
            file(totals=((1, 1, 0),)), "SUMM")
    corrupt("total-imported", "a total counts an imported node",
            file(rows("NODE", 1, {1: const(3), 2: const(14), 4: const(5)}),
                 totals=((3, 1, 5),)), "SUMM")


def describe_unsupported():
    n = "THRD"

    def one(columns, count=1, **more):
        return file(rows("THRD", count, columns, **more))

    newer("major", "version 2", file(header=dict(major=2)), None, 12)
    newer("major-0", "version 0", file(header=dict(major=0)), None, 12)
    newer("incompatible", "an incompatible feature", file(header=dict(incompatible=1 << 40)),
          None, 16)
    newer("header-reserved", "the last reserved field of the header",
          file(header=dict(reserved=(0, 0, 1))), None, 32)
    newer("header-size-too", "a higher version wins over a header_size out of range",
          file(header=dict(major=3, header_size=8192)), None, 12)
    newer("chunk", "an unknown critical chunk",
          file(Chunk("Xtra", [(b"abc", "data")], rows=1)), "Xtra")
    newer("codec", "an unknown codec", one({1: const(1)}, codec=2), n)
    newer("layout", "an unknown layout", one({1: const(1)}, layout=2), n)
    newer("layout-0", "layout 0", one({1: const(1)}, layout=0), n)
    newer("chunk-reserved", "the reserved field of a chunk header",
          one({1: const(1)}, reserved=0x8000), n)
    newer("toc-codec", "an unknown codec of the table of contents",
          file(toc_chunk=dict(codec=3)), "TOCC")
    newer("toc-column", "an unknown column of the table of contents",
          file(toc_columns={6: const(1)}), "TOCC")
    newer("meta-codec", "an unknown codec of META", file(first=meta(codec=2)), "META")
    newer("summ-column", "an unknown column of SUMM",
          file(last=rows("SUMM", 1, {1: const(1), 2: const(1), 9: const(1)})), "SUMM")
    newer("table-reserved", "the reserved field of a table",
          one({1: const(1)}, table_reserved=1), n)
    newer("column", "an unknown critical column", one({1: const(1), 8: const(1)}), n)
    newer("column-0", "column 0", one({0: const(1), 1: const(1)}), n)
    newer("column-0x7fff", "the highest critical column", one({0x7FFF: const(1)}), n)
    newer("encoding", "an unknown encoding", one({1: (8, 0, [(b"\0" * 4, "unknown")])}), n)
    newer("encoding-bytes", "an unknown encoding of a column of bytes",
          file(rows("STRS", 1, {1: (255, 0, [(b"a", "unknown")])})), "STRS")
    newer("runs-reserved", "the reserved field of RUNS", one({1: runs([1], [1], reserved=1)}), n)
    newer("hubs-reserved", "the reserved field of HUBS",
          one({1: hubs([1], [1], [], reserved=1)}), n)
    newer("keyed-reserved", "the reserved field of KEYED",
          one({1: const(1), 3: keyed([1], [1], 1, reserved=1)}), n)


def hex_text(name, sentence, fields, verdict):
    lines = ["# %s: %s" % (name, sentence), "# verdict: " + " ".join(verdict), ""]
    for value, comment in fields:
        if not value:
            lines.append("")
            lines.append("# " + comment)
            continue
        words = value.hex(" ")
        if len(value) <= 8:
            lines.append("%-24s # %s" % (words, comment))
            continue
        lines.append("# " + comment)
        for i in range(0, len(words), 96):
            lines.append(words[i:i + 96].rstrip())
    return "\n".join(lines) + "\n"


def readme():
    lines = [
        "# Vectors",
        "",
        "Whole files as annotated hexadecimal text, for every reader of the format. `good-*` are sound, `bad-*` are no",
        "`.snap` files (FORMAT) or damaged (CORRUPT), `unsupported-*` are sound and need a newer reader. The second line of each",
        "names the verdict: the error, the chunk (`-`: header or footer) and the offset that a verifier has to give",
        "(snap-format.md, section 10). `tests/vectors/hex.py FILE.hex > FILE.snap` makes a file of one,",
        "`tests/vectors/make.py` writes them from short descriptions, `tests/vectors/run.py` puts them through both readers.",
        "",
        "| vector | verdict | what it is |",
        "|---|---|---|"]
    for name, sentence, _, verdict in ALL:
        lines.append("| `%s` | %s | %s |" % (name, " ".join(verdict), sentence))
    return "\n".join(lines) + "\n"


def main():
    describe_good()
    describe_bad_frame_of_file()
    describe_bad_contents()
    describe_bad_chunks()
    describe_bad_zstd()
    describe_bad_rows()
    describe_unsupported()
    files = {name + ".hex": hex_text(name, *rest) for name, *rest in ALL}
    assert len(files) == len(ALL), "two vectors of one name"
    files["README.md"] = readme()
    if "--check" in sys.argv[1:]:
        wrong = []
        for name in sorted(set(files) | set(os.listdir(VECTORS))):
            path = os.path.join(VECTORS, name)
            text = None
            if os.path.exists(path):
                with open(path, encoding="ascii") as f:
                    text = f.read()
            if text != files.get(name):
                wrong.append(name)
        for name in wrong:
            print("%s is not what make.py would write" % name)
        print("%d files, %d differ" % (len(files), len(wrong)))
        return 1 if wrong else 0
    os.makedirs(VECTORS, exist_ok=True)
    for name, text in files.items():
        with open(os.path.join(VECTORS, name), "w", encoding="ascii") as f:
            f.write(text)
    print("%d vectors" % len(ALL))
    return 0


if __name__ == "__main__":
    sys.exit(main())
