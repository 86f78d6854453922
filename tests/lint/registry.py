#!/usr/bin/env python3
"""Compares registry.md with snapdef.h, with snap-format.md, and its names with those that the library gives.

    registry.py [LIBRARY]"""
import ctypes
import os
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(os.environ.get("SOURCE_ROOT") or pathlib.Path(__file__).resolve().parents[2])
REGISTRY = (ROOT / "format/registry.md").read_text(encoding="utf-8")
SNAPDEF = (ROOT / "format/snapdef.h").read_text(encoding="utf-8")
SPEC = (ROOT / "format/snap-format.md").read_text(encoding="utf-8")
TABLE_H = (ROOT / "lib/include/heapsnap/table.h").read_text(encoding="utf-8")
LIBRARY = sys.argv.pop() if len(sys.argv) > 1 and not sys.argv[-1].startswith("-") else None
# Constants of snapdef.h that are no codes of an enumeration.
NO_CODES = ("SNAP_CODEC_", "SNAP_LAYOUT_", "SNAP_ENC_")


def constants():
    """name -> number of every enumerator, counting on where no number is given."""
    found = {}
    text = re.sub(r"/\*.*?\*/", "", SNAPDEF, flags=re.DOTALL)
    for body in re.findall(r"enum\s*\{(.*?)\}", text, flags=re.DOTALL):
        value = -1
        for item in filter(None, (part.strip() for part in body.split(","))):
            name, _, number = item.partition("=")
            value = int(number, 0) if number else value + 1
            found[name.strip()] = value
    return found


def enumerations():
    """prefix -> (places such as ("NODE", "kind"), {constant: number}), from the headings that name a prefix."""
    found = {}
    for title, prefix, body in re.findall(r"^## ([^\n]*): `(SNAP_\w+_)`\n(.*?)(?=^##|\Z)", REGISTRY,
                                          flags=re.MULTILINE | re.DOTALL):
        rows = re.findall(r"^\| (\d+) \| (\w+) \|", body, flags=re.MULTILINE)
        names = [prefix + name.upper() for _, name in rows]
        assert len(set(names)) == len(names), title
        found[prefix] = (re.findall(r"\b([A-Z]{4})\.(\w+)", title), dict(zip(names, (int(n) for n, _ in rows))))
    return found


def columns(text):
    """table -> [(id, name, type)]"""
    return {table: [(int(i), name, kind.strip()) for i, name, kind in
                    re.findall(r"^\| (\d+) \| (\w+) \| ([^|]+) \|", body, flags=re.MULTILINE)]
            for table, body in re.findall(r"^### ([A-Z]{4}): (.*?)(?=^##|\Z)", text, flags=re.MULTILINE | re.DOTALL)}


class Registry(unittest.TestCase):
    def test_codes(self):
        registered = {name: number for _, codes in enumerations().values() for name, number in codes.items()}
        defined = {name: number for name, number in constants().items()
                   if "_COL_" not in name and not name.startswith(NO_CODES)}
        self.assertGreater(len(registered), 200)
        self.assertEqual(registered, defined)

    def test_codes_are_not_given_twice(self):
        for prefix, (_, codes) in enumerations().items():
            self.assertEqual(len(set(codes.values())), len(codes), prefix)

    def test_columns(self):
        registered = columns(REGISTRY)
        self.assertEqual(len(registered), 17)
        self.assertEqual(registered, columns(SPEC))
        self.assertEqual({f"SNAP_{table}_COL_{name.upper()}": i for table, rows in registered.items()
                          for i, name, _ in rows},
                         {name: number for name, number in constants().items() if "_COL_" in name})

    @unittest.skipUnless(LIBRARY, "no library given")
    def test_names_of_the_library(self):
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            self.skipTest(str(error))  # built with a sanitizer
        library.snap_code_name.restype = ctypes.c_char_p
        library.snap_code_name.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint64]
        tables = {name: i for i, name in enumerate(re.findall(r"^    SNAP_TABLE_(\w{4}),", TABLE_H, re.MULTILINE))}
        places = [(("META", "key"), "SNAP_META_")]
        places += [(place, prefix) for prefix, (named, _) in enumerations().items() for place in named]
        n = 0
        for (table, column), prefix in places:
            column_id = {name: i for i, name, _ in columns(SPEC)[table]}[column]
            for constant, code in enumerations()[prefix][1].items():
                if "FLAG_" in prefix:
                    continue
                got = library.snap_code_name(tables[table], column_id, code)
                self.assertEqual(got and got.decode(), constant[len(prefix):].lower(), f"{table}.{column} {code}")
                n += 1
            self.assertIsNone(library.snap_code_name(tables[table], column_id, 1 << 40))
        self.assertGreater(n, 150)


if __name__ == "__main__":
    unittest.main()
