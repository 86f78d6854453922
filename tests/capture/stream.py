#!/usr/bin/env python3
"""A reader of the capture stream (lib/model/wire.h), for tests of its sender.

As a program it stands in for heapsnap-write: it keeps the stream as it is, under the name of the file that was asked for.
The records are those of the header, taken apart with struct; texts follow some of them."""
import collections
import os
import struct
import sys
import time

KINDS = {}  # by their numbers, which the header gives
BY_NAME = {
    "HELLO": ("QII", "magic version flags", ""),
    "TARGET": ("IIII", "flags path_len pid sequence", "path_len"),
    "META": ("IIIIQ", "key name_len text_len reserved value", "name_len text_len"),
    "MODULE": ("QQQIIII", "start end bias flags path_len build_id_len reserved", "path_len build_id_len"),
    "STACK": ("IIQ", "parent flags pc", ""),
    "THREAD": ("QQQIIII16s", "sp stack_low stack_high tid flags stack reserved name", ""),
    "REGION": ("QQQQIIIIII", "address size birth resident kind protection stack flags name_len reserved", "name_len"),
    "BLOCK": ("QQQII", "address size birth stack flags", ""),
    "STRING": ("II", "length reserved", "length"),
    "TYPE": ("QIIII", "size name source flags module", ""),
    "POOL": ("QQQQQQIIIIIIII", "address size live cached largest_gap birth kind domain device name module stack parent flags", ""),
    "NODE_TYPE": ("II", "node type", ""),
    "NODE_POOL": ("II", "node pool", ""),
    "NODE_LABEL": ("II", "node label", ""),
    "REFERENCE": ("QQIIIHH", "source_offset target_offset source target label kind flags", ""),
    "HOOK": ("QQQIIIIIIIIII", "pc holder_offset birth registry callback file line holder argument stack count kind root", ""),
    "FRAME": ("QQII", "sp pc thread is_exact", ""),
    "TLS": ("QQII", "address size thread module", ""),
    "VTABLE": ("QQQqII", "address type_info type_info_vtable offset_to_top name_len reserved", "name_len"),
    "VPTR": ("IIII", "node offset vtable reserved", ""),
    "FUNCTION": ("Q", "pc", ""),
    "CODE": ("QII", "address node function", ""),
    "EDGE": ("IIII", "source target source_word target_offset", ""),
    "ROOT": ("QQIIIIIIII", "address target_offset target kind flags thread name label frame reserved", ""),
    "END": ("QQQ", "n_blocks block_bytes pause_ns", ""),
}


def learn_kinds(header):
    """Numbers of the kinds, from the enum in wire.h."""
    with open(header) as file:
        text = file.read()
    names = text.split("enum wire_kind {")[1].split("}")[0].replace("= 1", "").split(",")
    for number, name in enumerate((n.strip() for n in names if n.strip()), 1):
        name = name[len("WIRE_"):]
        if name in BY_NAME:
            fmt, fields, texts = BY_NAME[name]
            KINDS[number] = (name, struct.Struct("<" + fmt), collections.namedtuple(name, fields + " texts"), texts.split())


def read(path):
    """{kind: [records]} and the order of the sections' kinds."""
    tables, order = collections.defaultdict(list), []
    with open(path, "rb") as file:
        data = file.read()
    at = 0
    while at < len(data):
        kind, n, size = struct.unpack_from("<IIQ", data, at)
        at += 16
        end = at + size
        if end > len(data) or size % 8:
            raise ValueError(f"section {kind} of {size} bytes at {at}")
        name, record, make, texts = KINDS[kind]
        order.append(name)
        rows = tables[name]
        if not texts:
            if size != n * record.size:
                raise ValueError(f"{n} records of {name} in {size} bytes")
            rows.extend(make(*values, ()) for values in record.iter_unpack(data[at:end]))
        for _ in range(n if texts else 0):
            values = record.unpack_from(data, at)
            at += record.size
            row = make(*values, ())
            found = []
            for length in (getattr(row, text) for text in texts):
                found.append(data[at:at + length])
                at += length
            at += -at % 8
            rows.append(row._replace(texts=tuple(found)))
        if texts and at != end:
            raise ValueError(f"texts of {name}")
        at = end
    return tables, order


def stand_in():
    """Takes the stream; while a file of its name with ".hold" exists, nothing after the first references:
    ".held" says that it is there."""
    learn_kinds(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../lib/model/wire.h"))
    data, path = bytearray(), b""
    while True:
        head = sys.stdin.buffer.read(16)
        if len(head) < 16:
            break
        kind, _, size = struct.unpack("<IIQ", head)
        data += head + sys.stdin.buffer.read(size)
        if KINDS[kind][0] == "TARGET":
            length = struct.unpack_from("<I", data, len(data) - size + 4)[0]
            path = bytes(data[len(data) - size + 16:len(data) - size + 16 + length])
        if KINDS[kind][0] == "EDGE" and os.path.exists(path + b".hold"):
            open(path + b".held", "w").close()
        while KINDS[kind][0] == "EDGE" and os.path.exists(path + b".hold"):
            time.sleep(0.02)
    with open(path, "wb") as file:
        file.write(data)
    os.write(3, b"ok " + path + b"\n")


if __name__ == "__main__":
    stand_in()
