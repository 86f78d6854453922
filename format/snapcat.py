#!/usr/bin/env python3
"""Reads .snap files and prints them: the second reader of the format.

Written from snap-format.md alone, without a look at the C library, so that the two check each
other and the text that both follow. It needs Python 3.9 and the module `zstandard`; it uses
`xxhash` when it is there. It is meant to be plain, not fast.

    snapcat.py FILE             all rows of all tables, as JSON lines
    snapcat.py --check FILE     nothing but the verdict
    snapcat.py --summary FILE   header, sizes of the tables, metadata and summary, for people

Every form checks the whole file first. A file that is not sound gives one line on standard error,
`ERROR_NAME chunk offset message` (chunk `-` for the header and the footer), nothing on standard
output, and exit status 2.

The JSON lines are canonical: equal content gives equal bytes, however it was encoded and cut into
chunks. One line is one row: `{"table":"NODE","id":7,"size":24}`. Tables come in the order of the
specification, TOCC is left out, rows in the order of their ids, columns in the order of theirs.
Columns that are 0 or empty are left out. Numbers are the unsigned 64-bit values as stored, also
those that mean a signed one. References stay numbers. Bytes values are strings of printable ASCII:
`"` and `\\` behind a backslash, every other character as `\\uXXXX` of UTF-16; a byte b that is not
part of valid UTF-8 is `\\udcXX` with XX its value, which no valid text can give.

Not its job: names of codes, symbols, stacks, repair.
"""

import argparse
import array
import hashlib
import itertools
import json
import mmap
import os
import struct
import sys

try:
    import xxhash
except ImportError:
    xxhash = None
try:
    import zstandard
except ImportError:
    zstandard = None

MASK = (1 << 64) - 1
MAGIC = b"\x89SNAP\r\n\x1a"
END_MAGIC = b"\x1a\n\rPANS\x89"
HEADER_SIZE, HEADER_SIZE_MAX = 64, 4096
CHUNK_HEADER_SIZE, FOOTER_SIZE = 32, 32
RAW_MAX = 4 << 20
ROWS_MAX = 65536
BYTES_MAX = 65535
TABLE_ROWS_MAX = (1 << 32) - 2
WINDOW_MAX = 8 << 20
ANCILLARY_COLUMN = 0x8000
CONST, PLANES, DELTA, RUNS, HUBS, BYTES, KEYED = range(1, 8)
KINDS_NOT_COUNTED = frozenset((12, 13, 14, 15, 16, 18))
SUMM_TOTAL = 1

# Tables: columns by id from 1. A type is "num", "bytes" or the table that the column refers to.
TABLES = {
    "META": [("key", "num"), ("name", "bytes"), ("value", "num"), ("text", "bytes")],
    "STRS": [("text", "bytes")],
    "MODS": [("path", "STRS"), ("build_id", "bytes"), ("start", "num"), ("end", "num"),
             ("bias", "num"), ("flags", "num")],
    "FRAM": [("kind", "num"), ("module", "MODS"), ("offset", "num"), ("flags", "num")],
    "STAK": [("parent", "STAK"), ("frame", "FRAM"), ("flags", "num")],
    "SYMB": [("frame", "FRAM"), ("depth", "num"), ("function", "STRS"), ("file", "STRS"),
             ("line", "num"), ("source", "num")],
    "TYPE": [("name", "STRS"), ("source", "num"), ("size", "num"), ("flags", "num"),
             ("module", "MODS")],
    "THRD": [("tid", "num"), ("name", "STRS"), ("flags", "num"), ("sp", "num"),
             ("stack_low", "num"), ("stack_high", "num"), ("stack", "STAK")],
    "NODE": [("domain", "num"), ("kind", "num"), ("address", "num"), ("size", "num"),
             ("type", "TYPE"), ("stack", "STAK"), ("birth", "num"), ("flags", "num"),
             ("refcount", "num"), ("hidden", "num"), ("thread", "THRD"), ("device", "num"),
             ("pool", "POOL"), ("label", "STRS"), ("external", "num")],
    "EDGE": [("source", "NODE"), ("target", "NODE"), ("kind", "num"), ("label", "STRS"),
             ("source_offset", "num"), ("target_offset", "num"), ("flags", "num")],
    "ROOT": [("kind", "num"), ("target", "NODE"), ("target_offset", "num"), ("name", "STRS"),
             ("module", "MODS"), ("address", "num"), ("thread", "THRD"), ("frame", "FRAM"),
             ("flags", "num"), ("label", "STRS")],
    "HOOK": [("registry", "STRS"), ("callback", "STRS"), ("file", "STRS"), ("line", "num"),
             ("frame", "FRAM"), ("holder", "NODE"), ("holder_offset", "num"),
             ("argument", "NODE"), ("stack", "STAK"), ("birth", "num"), ("count", "num"),
             ("kind", "num"), ("root", "ROOT")],
    "POOL": [("kind", "num"), ("domain", "num"), ("device", "num"), ("name", "STRS"),
             ("address", "num"), ("size", "num"), ("live", "num"), ("cached", "num"),
             ("largest_gap", "num"), ("module", "MODS"), ("stack", "STAK"), ("birth", "num"),
             ("parent", "POOL"), ("flags", "num")],
    "REGN": [("address", "num"), ("size", "num"), ("kind", "num"), ("protection", "num"),
             ("name", "STRS"), ("stack", "STAK"), ("birth", "num"), ("resident", "num"),
             ("flags", "num")],
    "RSRC": [("kind", "num"), ("handle", "num"), ("name", "STRS"), ("module", "MODS"),
             ("stack", "STAK"), ("birth", "num"), ("device", "num"), ("size", "num"),
             ("flags", "num"), ("thread", "THRD")],
    "SUMM": [("kind", "num"), ("domain", "num"), ("key", "num"), ("key2", "num"),
             ("count", "num"), ("bytes", "num"), ("label", "bytes"), ("cached", "num")],
    "TOCC": [("id", "num"), ("offset", "num"), ("stored_size", "num"), ("raw_size", "num"),
             ("n_rows", "num")],
}


class SnapError(Exception):
    """A file that is refused: name of the error, table or chunk (None: header, footer), offset."""

    def __init__(self, name, chunk, offset, message):
        super().__init__(message)
        self.name, self.chunk, self.offset, self.message = name, chunk, offset, message

    def __str__(self):
        return "%s %s %d %s" % (self.name, self.chunk or "-", self.offset, self.message)


# XXH3, 64 bits, seed 0, default secret: the algorithm of the xxHash specification, for machines
# without the module.

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def _u64(data, at):
    return int.from_bytes(data[at:at + 8], "little")


def _u32(data, at):
    return int.from_bytes(data[at:at + 4], "little")


def _fold(a, b):
    product = a * b
    return (product & MASK) ^ (product >> 64)


def _avalanche(h):
    h = (h ^ h >> 37) * 0x165667919E3779F9 & MASK
    return h ^ h >> 32


def _avalanche64(h):
    h = (h ^ h >> 33) * P64_2 & MASK
    h = (h ^ h >> 29) * P64_3 & MASK
    return h ^ h >> 32


def _rotate(h, bits):
    return (h << bits | h >> 64 - bits) & MASK


def _mix16(data, at, secret_at):
    return _fold(_u64(data, at) ^ _u64(SECRET, secret_at),
                 _u64(data, at + 8) ^ _u64(SECRET, secret_at + 8))


def _accumulate(acc, words, secret_words):
    for i in range(8):
        word = words[i]
        key = word ^ secret_words[i]
        acc[i ^ 1] += word
        acc[i] = (acc[i] + (key & 0xFFFFFFFF) * (key >> 32)) & MASK
    for i in range(8):
        acc[i] &= MASK


def _xxh3_long(data):
    n = len(data)
    stripe = struct.Struct("<8Q")
    secrets = [stripe.unpack_from(SECRET, 8 * i) for i in range(16)]
    scramble = stripe.unpack_from(SECRET, 128)
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    at = 0
    for _ in range((n - 1) // 1024):
        for i in range(16):
            _accumulate(acc, stripe.unpack_from(data, at), secrets[i])
            at += 64
        for i in range(8):
            acc[i] = ((acc[i] ^ acc[i] >> 47) ^ scramble[i]) * P32_1 & MASK
    for i in range((n - 1 - at) // 64):
        _accumulate(acc, stripe.unpack_from(data, at), secrets[i])
        at += 64
    _accumulate(acc, stripe.unpack_from(data, n - 64), stripe.unpack_from(SECRET, 121))
    h = n * P64_1
    for i in range(4):
        h += _fold(acc[2 * i] ^ _u64(SECRET, 11 + 16 * i),
                   acc[2 * i + 1] ^ _u64(SECRET, 19 + 16 * i))
    return _avalanche(h & MASK)


def xxh3_plain(data):
    """XXH3_64bits(data) with nothing but Python."""
    n = len(data)
    if n > 240:
        return _xxh3_long(data)
    if n > 128:
        h = n * P64_1
        for i in range(8):
            h += _mix16(data, 16 * i, 16 * i)
        h = _avalanche(h & MASK)
        for i in range(8, n // 16):
            h += _mix16(data, 16 * i, 16 * (i - 8) + 3)
        h += _mix16(data, n - 16, 136 - 17)
        return _avalanche(h & MASK)
    if n > 16:
        h = n * P64_1
        for i in range((n - 1) // 32, -1, -1):
            h += _mix16(data, 16 * i, 32 * i)
            h += _mix16(data, n - 16 * (i + 1), 32 * i + 16)
        return _avalanche(h & MASK)
    if n > 8:
        low = _u64(data, 0) ^ _u64(SECRET, 24) ^ _u64(SECRET, 32)
        high = _u64(data, n - 8) ^ _u64(SECRET, 40) ^ _u64(SECRET, 48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _avalanche((n + swapped + high + _fold(low, high)) & MASK)
    if n > 3:
        h = _u32(data, n - 4) + (_u32(data, 0) << 32)
        h ^= _u64(SECRET, 8) ^ _u64(SECRET, 16)
        h ^= _rotate(h, 49) ^ _rotate(h, 24)
        h = h * 0x9FB21C651E98DF25 & MASK
        h = (h ^ (h >> 35) + n) * 0x9FB21C651E98DF25 & MASK
        return h ^ h >> 28
    if n > 0:
        h = data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8
        return _avalanche64(h ^ _u32(SECRET, 0) ^ _u32(SECRET, 4))
    return _avalanche64(_u64(SECRET, 56) ^ _u64(SECRET, 64))


def xxh3(data):
    if xxhash is not None:
        return xxhash.xxh3_64_intdigest(data)
    return xxh3_plain(bytes(data))


class Bad(Exception):
    """CORRUPT or UNSUPPORTED inside a chunk; the caller knows which chunk."""

    def __init__(self, name, message):
        super().__init__(message)
        self.name, self.message = name, message


def corrupt(message, *values):
    raise Bad("CORRUPT", message % values)


def unsupported(message, *values):
    raise Bad("UNSUPPORTED", message % values)


def zstd_frame_check(payload, raw_size):
    """Checks what section 6 says of the frame by walking it (RFC 8878), without decoding."""
    n = len(payload)
    if n < 6 or payload[:4] != b"\x28\xb5\x2f\xfd":
        corrupt("payload is no zstd frame")
    descriptor = payload[4]
    at = 5
    single = descriptor >> 5 & 1
    if descriptor & 8:
        corrupt("zstd frame has its reserved bit set")
    window = 0
    if not single:
        base = 1 << 10 + (payload[at] >> 3)
        window = base + (base >> 3) * (payload[at] & 7)
        at += 1
    dictionary_bytes = (0, 1, 2, 4)[descriptor & 3]
    size_bytes = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    if at + dictionary_bytes + size_bytes > n:
        corrupt("zstd frame header does not fit")
    if int.from_bytes(payload[at:at + dictionary_bytes], "little"):
        corrupt("zstd frame needs a dictionary")
    at += dictionary_bytes
    if not size_bytes:
        corrupt("zstd frame does not state its content size")
    size = int.from_bytes(payload[at:at + size_bytes], "little") + (256 if size_bytes == 2 else 0)
    at += size_bytes
    if size != raw_size:
        corrupt("zstd frame states content size %d, chunk header %d", size, raw_size)
    if window > WINDOW_MAX:
        corrupt("zstd frame needs a window of %d bytes", window)
    last = False
    while not last:
        if at + 3 > n:
            corrupt("zstd frame is cut off")
        block = int.from_bytes(payload[at:at + 3], "little")
        last = block & 1
        kind = block >> 1 & 3
        if kind == 3:
            corrupt("zstd frame has a block of unknown type")
        at += 3 + (1 if kind == 1 else block >> 3)
    at += 4 if descriptor & 4 else 0
    if at != n:
        corrupt("zstd frame has %d bytes, payload %d", at, n)


def unpack(codec, payload, raw_size):
    """The decoded payload of a chunk."""
    if codec == 0:
        if len(payload) != raw_size:
            corrupt("stored_size %d and raw_size %d of a chunk stored as it is differ",
                    len(payload), raw_size)
        return payload
    zstd_frame_check(payload, raw_size)
    try:
        raw = zstandard.ZstdDecompressor().decompress(payload, max_output_size=raw_size)
    except zstandard.ZstdError as error:
        corrupt("zstd: %s", error)
    if len(raw) != raw_size:
        corrupt("zstd frame decodes to %d bytes, not %d", len(raw), raw_size)
    return raw


def unzigzag(z):
    return z >> 1 ^ -(z & 1)


class Cursor:
    """The bytes of one column, taken from the front."""

    def __init__(self, data, start, size):
        self.data, self.at, self.end = data, start, start + size

    def take(self, n):
        if n > self.end - self.at:
            corrupt("a column has fewer bytes than its encoding needs")
        self.at += n
        return self.data[self.at - n:self.at]

    def planes(self, n, width):
        """planes(n, width) as an array of numbers."""
        if width > 8:
            corrupt("a width of %d", width)
        data = self.take(n * width)
        interleaved = bytearray(8 * n)
        for i in range(width):
            interleaved[i::8] = data[i * n:(i + 1) * n]
        numbers = array.array("Q")
        numbers.frombytes(bytes(interleaved))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers

    def deltas(self, n, width):
        """planes(n, width) of zigzagged differences, added up."""
        return [v & MASK for v in itertools.accumulate(map(unzigzag, self.planes(n, width)))]

    def done(self):
        if self.at != self.end:
            corrupt("a column has %d bytes too many", self.end - self.at)


def column_const(cursor, n, width):
    if width:
        corrupt("width %d of a CONST column", width)
    return [_u64(cursor.take(8), 0)] * n


def column_runs(cursor, n, width):
    n_runs, wv, wl, reserved = struct.unpack("<IBBH", cursor.take(8))
    if reserved:
        unsupported("reserved field of a RUNS column is not zero")
    if width:
        corrupt("width %d of a RUNS column", width)
    if n_runs > n:
        corrupt("%d runs for %d rows", n_runs, n)
    values = cursor.deltas(n_runs, wv)
    lengths = cursor.planes(n_runs, wl)
    if any(length < 1 or length > n for length in lengths) or sum(lengths) != n:
        corrupt("run lengths do not add up to %d rows", n)
    column = []
    for value, length in zip(values, lengths):
        column.extend([value] * length)
    return column


def column_hubs(cursor, n, width):
    n_rest, n_hubs, wh, wr, reserved = struct.unpack("<IBBBB", cursor.take(8))
    if reserved:
        unsupported("reserved field of a HUBS column is not zero")
    if width:
        corrupt("width %d of a HUBS column", width)
    if n_rest > n:
        corrupt("%d rows without a hub of %d", n_rest, n)
    hubs = cursor.planes(n_hubs, wh)
    codes = cursor.take(n)
    if max(codes) > n_hubs:
        corrupt("code %d of %d hubs", max(codes), n_hubs)
    if bytes(codes).count(0) != n_rest:
        corrupt("n_rest is not the number of rows without a hub")
    rest = iter(cursor.deltas(n_rest, wr))
    return [hubs[code - 1] if code else next(rest) for code in codes]


def column_bytes(cursor, n, width):
    lengths = cursor.planes(n, width)
    if max(lengths) > BYTES_MAX:
        corrupt("a bytes value of %d bytes", max(lengths))
    if sum(lengths) != cursor.end - cursor.at:
        corrupt("lengths of bytes values do not add up to the column's size")
    values = [bytes(cursor.take(length)) for length in lengths]
    if any(b"\0" in value for value in values):
        corrupt("a bytes value holds a NUL")
    return values


def column_keyed(cursor, n, width, column_id, types, columns, encodings):
    key_id, reserved = struct.unpack("<HH", cursor.take(4))
    if reserved:
        unsupported("reserved field of a KEYED column is not zero")
    if not 1 <= key_id < column_id or types[key_id - 1][1] == "bytes":
        corrupt("a KEYED column names column %d as its key", key_id)
    if encodings.get(key_id) == KEYED:
        corrupt("the key of a KEYED column is KEYED itself")
    numbers = cursor.planes(n, width)
    keys = columns.get(key_id) or [0] * n
    last = {}
    column = []
    for key, z in zip(keys, numbers):
        key &= 0xFFFF
        value = last[key] = last.get(key, 0) + unzigzag(z) & MASK
        column.append(value)
    return column


def table_rows(raw):
    """n_rows of a decoded payload, checked."""
    if len(raw) < 8:
        corrupt("no room for a table")
    n = _u32(raw, 0)
    if not 1 <= n <= ROWS_MAX:
        corrupt("a table of %d rows in one chunk", n)
    return n


def decode_table(table, raw):
    """The columns of one chunk of a known table: (n_rows, {column id: list of values})."""
    n = table_rows(raw)
    n_columns, reserved = struct.unpack_from("<HH", raw, 4)
    if reserved:
        unsupported("reserved field of a table is not zero")
    at = 8 + 8 * n_columns
    if at > len(raw):
        corrupt("no room for %d column entries", n_columns)
    entries = list(struct.iter_unpack("<HBBI", raw[8:at]))
    if any(a[0] >= b[0] for a, b in zip(entries, entries[1:])):
        corrupt("column ids do not ascend")
    if at + sum(entry[3] for entry in entries) != len(raw):
        corrupt("sizes of the columns do not add up to the chunk's")
    types = TABLES[table]
    for column_id, encoding, _, _ in entries:
        if not 1 <= column_id <= len(types):
            if column_id < ANCILLARY_COLUMN:
                unsupported("unknown column %d", column_id)
            continue
        if encoding > KEYED:
            unsupported("unknown encoding %d of column %d", encoding, column_id)
        if encoding == 0 or (encoding == BYTES) != (types[column_id - 1][1] == "bytes"):
            corrupt("encoding %d of column %d", encoding, column_id)
    columns, encodings = {}, {}
    for column_id, encoding, width, size in entries:
        if column_id < ANCILLARY_COLUMN:
            cursor = Cursor(raw, at, size)
            encodings[column_id] = encoding
            if encoding == CONST:
                column = column_const(cursor, n, width)
            elif encoding == PLANES:
                column = cursor.planes(n, width)
            elif encoding == DELTA:
                column = cursor.deltas(n, width)
            elif encoding == RUNS:
                column = column_runs(cursor, n, width)
            elif encoding == HUBS:
                column = column_hubs(cursor, n, width)
            elif encoding == BYTES:
                column = column_bytes(cursor, n, width)
            else:
                column = column_keyed(cursor, n, width, column_id, types, columns, encodings)
            cursor.done()
            columns[column_id] = column
        at += size
    return n, columns


class Chunk:
    """A row of TOCC."""

    def __init__(self, name, offset, stored_size, raw_size, n_rows, first_id):
        self.name, self.offset, self.stored_size = name, offset, stored_size
        self.raw_size, self.n_rows, self.first_id = raw_size, n_rows, first_id


class Snapshot:
    """A .snap file in memory or a mapping. The constructor does steps 1 to 3 of section 10's
    order, verify() the others; max_rows bounds the time that a hostile file can take."""

    def __init__(self, data, max_rows=1 << 28):
        self.data, self.max_rows = data, max_rows
        self.rows = dict.fromkeys(TABLES, 0)
        self.chunks = []
        self.header()
        self.footer()
        self.contents()

    def header(self):
        data = self.data
        if bytes(data[:8]) != MAGIC:
            raise SnapError("FORMAT", None, 0, "not a .snap file")
        if len(data) < HEADER_SIZE:
            raise SnapError("CORRUPT", None, 56, "header is cut off")
        self.header_hash = bytes(data[56:64])
        if xxh3(data[:56]) != _u64(self.header_hash, 0):
            raise SnapError("CORRUPT", None, 56, "header_hash is wrong")
        (self.header_size, self.major, self.minor, incompatible, self.compatible, *reserved) = \
            struct.unpack_from("<IHHQQ3Q", data, 8)
        if self.major != 1:
            raise SnapError("UNSUPPORTED", None, 12, "format version %d.%d"
                            % (self.major, self.minor))
        if incompatible:
            raise SnapError("UNSUPPORTED", None, 16, "unknown feature bits %#x" % incompatible)
        if any(reserved):
            raise SnapError("UNSUPPORTED", None, 32, "reserved field of the header is not zero")
        size = self.header_size
        if not HEADER_SIZE <= size <= HEADER_SIZE_MAX or size % 8 or size > len(data):
            raise SnapError("CORRUPT", None, 8, "header_size is %d" % size)

    def footer(self):
        data, size = self.data, len(self.data)
        if size < self.header_size + FOOTER_SIZE or bytes(data[size - 8:]) != END_MAGIC:
            raise SnapError("CORRUPT", None, size - 8, "no footer at the end: cut off, or something "
                            "follows")
        toc_offset, file_size, footer_hash = struct.unpack_from("<3Q", data, size - FOOTER_SIZE)
        if xxh3(self.header_hash + data[size - 32:size - 16]) != footer_hash:
            raise SnapError("CORRUPT", None, size - 16, "footer_hash is wrong")
        if file_size != size:
            raise SnapError("CORRUPT", None, size - 24, "file_size is %d, the file has %d bytes"
                            % (file_size, size))
        if not self.header_size <= toc_offset <= size - FOOTER_SIZE - CHUNK_HEADER_SIZE:
            raise SnapError("CORRUPT", None, size - 32, "toc_offset is %d" % toc_offset)
        self.toc_offset = toc_offset

    def chunk_payload(self, offset, end):
        """Checks a chunk's header against its bounds and its hash; (header fields, payload)."""
        if end - offset < CHUNK_HEADER_SIZE:
            corrupt("chunk header does not fit")
        fields = struct.unpack_from("<4sBBHQQQ", self.data, offset)
        _, _, _, _, stored_size, raw_size, chunk_hash = fields
        start = offset + CHUNK_HEADER_SIZE
        if raw_size > RAW_MAX:
            corrupt("raw_size is %d", raw_size)
        if stored_size > raw_size:
            corrupt("stored_size %d is more than raw_size %d", stored_size, raw_size)
        if stored_size > end - start:
            corrupt("stored_size is %d, %d bytes are left", stored_size, end - start)
        payload = bytes(self.data[start:start + stored_size])
        if xxh3(bytes(self.data[offset:offset + 24]) + payload) != chunk_hash:
            corrupt("chunk_hash is wrong")
        return fields, payload

    @staticmethod
    def chunk_raw(fields, payload):
        """Codec, layout and reserved; then the decoded payload."""
        _, codec, layout, reserved, _, raw_size, _ = fields
        if codec > 1:
            unsupported("unknown codec %d", codec)
        if layout != 1:
            unsupported("unknown layout %d", layout)
        if reserved:
            unsupported("reserved field of the chunk header is not zero")
        return unpack(codec, payload, raw_size)

    def contents(self):
        try:
            self.contents_read()
        except Bad as bad:
            raise SnapError(bad.name, "TOCC", self.toc_offset, bad.message) from None

    def contents_read(self):
        end = len(self.data) - FOOTER_SIZE
        fields, payload = self.chunk_payload(self.toc_offset, end)
        if fields[0] != b"TOCC":
            corrupt("toc_offset does not lead to a table of contents")
        if self.toc_offset + CHUNK_HEADER_SIZE + len(payload) != end:
            corrupt("the table of contents does not end at the footer")
        n, columns = decode_table("TOCC", self.chunk_raw(fields, payload))
        zeros = [0] * n
        at = self.header_size
        rows = zip(*(columns.get(c, zeros) for c in range(1, 6)))
        for i, (chunk_id, offset, stored_size, raw_size, n_rows) in enumerate(rows):
            if offset != at:
                corrupt("row %d: offset %d, but the chunk before ends at %d", i, offset, at)
            if raw_size > RAW_MAX or stored_size > raw_size:
                corrupt("row %d: stored_size %d, raw_size %d", i, stored_size, raw_size)
            at += CHUNK_HEADER_SIZE + stored_size
            if at > self.toc_offset:
                corrupt("row %d reaches into the table of contents", i)
            name = chunk_id.to_bytes(8, "little")
            if any(name[4:]) or not name[:4].isalpha():
                corrupt("row %d: %#x is no chunk id", i, chunk_id)
            name = name[:4].decode("ascii")
            if (name == "META") != (i == 0):
                corrupt("row %d: META has to be the first chunk and no other", i)
            if name == "TOCC" or (name == "SUMM" and i != n - 1):
                corrupt("row %d: %s out of its place", i, name)
            if name not in TABLES and name[0].isupper():
                raise SnapError("UNSUPPORTED", name, offset, "unknown critical chunk")
            known = name in TABLES
            if not (1 <= n_rows <= ROWS_MAX if known else n_rows == 0):
                corrupt("row %d: n_rows is %d", i, n_rows)
            first_id = self.rows.get(name, 0) + 1
            self.chunks.append(Chunk(name, offset, stored_size, raw_size, n_rows, first_id))
            if known:
                self.rows[name] += n_rows
        if self.chunks[-1].name != "SUMM":
            corrupt("SUMM is not the last chunk before the table of contents")
        if at != self.toc_offset:
            corrupt("the last chunk ends at %d, the table of contents starts at %d",
                    at, self.toc_offset)
        for table, count in self.rows.items():
            if count > TABLE_ROWS_MAX:
                corrupt("%s has %d rows", table, count)
        if sum(self.rows.values()) > self.max_rows:
            raise SnapError("LIMIT", None, 0, "%d rows are more than --max-rows %d"
                            % (sum(self.rows.values()), self.max_rows))

    def read(self, chunk):
        """The columns of one chunk, by id, all rules of the chunk checked; None if ancillary."""
        try:
            fields, payload = self.chunk_payload(chunk.offset, self.toc_offset)
            name, _, _, _, stored_size, raw_size, _ = fields
            if (name.decode("latin-1"), stored_size, raw_size) != \
                    (chunk.name, chunk.stored_size, chunk.raw_size):
                corrupt("chunk header and table of contents differ")
            if chunk.name not in TABLES:
                return None
            n, columns = decode_table(chunk.name, self.chunk_raw(fields, payload))
            if n != chunk.n_rows:
                corrupt("chunk has %d rows, the table of contents says %d", n, chunk.n_rows)
            for column_id, (name, target) in enumerate(TABLES[chunk.name], 1):
                if target in self.rows and column_id in columns:
                    self.check_references(chunk, name, target, columns[column_id])
            return columns
        except Bad as bad:
            raise SnapError(bad.name, chunk.name, chunk.offset, bad.message) from None

    def check_references(self, chunk, name, target, column):
        worst = max(column)
        if worst > self.rows[target]:
            corrupt("%s refers to row %d of %s, which has %d", name, worst, target,
                    self.rows[target])
        if chunk.name == "STAK" and name == "parent":
            for row_id, parent in enumerate(column, chunk.first_id):
                if parent >= row_id:
                    corrupt("stack %d has the parent %d", row_id, parent)

    def verify(self):
        """Checks all chunks and the rules between rows."""
        rules = Rules()
        for chunk in self.chunks:
            columns = self.read(chunk)
            if columns is not None:
                try:
                    rules.chunk(chunk, columns)
                except Bad as bad:
                    raise SnapError(bad.name, chunk.name, chunk.offset, bad.message) from None
        try:
            rules.totals_agree()
        except Bad as bad:
            summary = self.chunks[-1]
            raise SnapError(bad.name, "SUMM", summary.offset, bad.message) from None

    def table(self, name):
        """The chunks of a table, in turn: (chunk, columns)."""
        for chunk in self.chunks:
            if chunk.name == name:
                yield chunk, self.read(chunk)


class Rules:
    """The rules of section 8.1, fed with the chunks in file order."""

    def __init__(self):
        self.last = {}       # table: its last row's sort key
        self.texts = set()   # digests of STRS, so that long strings cost no memory
        self.nodes = {}      # domain: [count, bytes]
        self.totals = {}     # domain: (count, bytes)

    def chunk(self, chunk, columns):
        check = getattr(self, "table_" + chunk.name.lower(), None)
        if check is not None:
            check(chunk, columns)

    def column(self, chunk, columns, column_id):
        empty = b"" if TABLES[chunk.name][column_id - 1][1] == "bytes" else 0
        return columns.get(column_id) or [empty] * chunk.n_rows

    def ascend(self, chunk, columns, column_ids, strict):
        previous = self.last.get(chunk.name)
        for row in zip(*(self.column(chunk, columns, c) for c in column_ids)):
            if previous is not None and (row < previous or (strict and row == previous)):
                corrupt("rows are not sorted by %s",
                        ", ".join(TABLES[chunk.name][c - 1][0] for c in column_ids))
            previous = row
        self.last[chunk.name] = previous

    def table_meta(self, chunk, columns):
        self.ascend(chunk, columns, (1, 2), True)

    def table_symb(self, chunk, columns):
        self.ascend(chunk, columns, (1, 2), True)

    def table_edge(self, chunk, columns):
        self.ascend(chunk, columns, (1,), False)

    def table_regn(self, chunk, columns):
        self.ascend(chunk, columns, (1,), False)

    def table_strs(self, chunk, columns):
        for text in self.column(chunk, columns, 1):
            if not text:
                corrupt("an empty string")
            digest = hashlib.blake2b(text, digest_size=16).digest()
            if digest in self.texts:
                corrupt("a string occurs twice")
            self.texts.add(digest)

    def table_node(self, chunk, columns):
        for domain, kind, size, external in zip(*(self.column(chunk, columns, c)
                                                  for c in (1, 2, 4, 15))):
            total = self.nodes.get(domain)
            if total is None:
                total = self.nodes[domain] = [0, 0]
                # A SUMM chunk has no room for more totals, so the file is corrupt already; there
                # is no need to keep more of it.
                if len(self.nodes) > 2 * ROWS_MAX:
                    self.nodes.popitem()
            if kind not in KINDS_NOT_COUNTED:
                total[0] += 1
                total[1] = total[1] + size + external & MASK

    def table_summ(self, chunk, columns):
        previous = None
        for row in zip(*(self.column(chunk, columns, c) for c in (1, 2, 6, 5, 3, 4))):
            kind, domain, size, count, key, key2 = row
            order = (kind, domain, -size, -count, key, key2)
            if previous is not None and order < previous:
                corrupt("rows are not sorted")
            previous = order
            if kind == SUMM_TOTAL:
                if domain in self.totals:
                    corrupt("domain %d has two totals", domain)
                self.totals[domain] = (count, size)

    def totals_agree(self):
        for domain in sorted(set(self.nodes) | set(self.totals)):
            expected = tuple(self.nodes.get(domain, (0, 0)))
            if self.totals.get(domain) != expected:
                corrupt("the total of domain %d is not that of its nodes", domain)


def text_of(value):
    """A bytes value as a JSON string of printable ASCII."""
    return json.dumps(value.decode("utf-8", "surrogateescape")).replace("\x7f", "\\u007f")


def dump_json(snapshot, out):
    for table, types in TABLES.items():
        if table == "TOCC":
            continue
        for chunk, columns in snapshot.table(table):
            present = []
            for column_id in sorted(columns):
                name, kind = types[column_id - 1]
                present.append((',"%s":' % name, kind == "bytes", columns[column_id]))
            for i in range(chunk.n_rows):
                line = ['{"table":"%s","id":%d' % (table, chunk.first_id + i)]
                for label, is_bytes, column in present:
                    value = column[i]
                    if value:
                        line.append(label + (text_of(value) if is_bytes else str(value)))
                out.write("".join(line) + "}\n")


def dump_summary(snapshot, out):
    out.write("version %d.%d, %d bytes, header %d bytes, compatible features %#x\n\n"
              % (snapshot.major, snapshot.minor, len(snapshot.data), snapshot.header_size,
                 snapshot.compatible))
    out.write("%-6s %8s %12s %12s %12s\n" % ("chunk", "chunks", "rows", "raw", "stored"))
    names = sorted({chunk.name for chunk in snapshot.chunks},
                   key=lambda name: (list(TABLES).index(name) if name in TABLES else 99, name))
    for name in names:
        chunks = [chunk for chunk in snapshot.chunks if chunk.name == name]
        out.write("%-6s %8d %12d %12d %12d\n"
                  % (name, len(chunks), sum(c.n_rows for c in chunks),
                     sum(c.raw_size for c in chunks), sum(c.stored_size for c in chunks)))
    for table in ("META", "SUMM"):
        out.write("\n%s\n" % table)
        for chunk, columns in snapshot.table(table):
            for i in range(chunk.n_rows):
                words = []
                for column_id, (name, kind) in enumerate(TABLES[table], 1):
                    value = columns[column_id][i] if column_id in columns else 0
                    if value:
                        words.append("%s %s" % (name, text_of(value) if kind == "bytes" else value))
                out.write("  " + ", ".join(words) + "\n")


def load(path):
    """All bytes of a file, mapped where the system can; "-" is standard input."""
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return file.read()
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return file.read()


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Check a .snap file and print it as JSON lines.",
        epilog="Exit status: 0 sound, 2 refused; then standard error says "
               "ERROR_NAME chunk offset message.")
    parser.add_argument("file", metavar="FILE", help="the file; - is standard input")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--check", action="store_true", help="print nothing but the error")
    form.add_argument("--summary", action="store_true", help="print an overview for people")
    parser.add_argument("--max-rows", type=int, default=1 << 28, metavar="N",
                        help="refuse files of more rows (LIMIT); default %(default)s")
    options = parser.parse_args(arguments)
    if zstandard is None:
        print("snapcat.py: needs the Python module zstandard", file=sys.stderr)
        return 2
    try:
        snapshot = Snapshot(load(options.file), options.max_rows)
        snapshot.verify()
        if options.summary:
            dump_summary(snapshot, sys.stdout)
        elif not options.check:
            dump_json(snapshot, sys.stdout)
        sys.stdout.flush()
    except SnapError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 2
    except OSError as error:
        print("IO - 0 cannot read '%s': %s" % (options.file, error.strerror), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
