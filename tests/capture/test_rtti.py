"""Types of C++ objects by run-time type information and callbacks, with symbols, without any, and with the C++ library inside
the program. The program says what its objects are (see rtti.cc).

Environment: SNAP, PROGRAMS (with ":" between; stripped ones have "stripped" in their names), DESCRIBED (the same with debug
information), MODULE (what they load)."""
import json
import os
import subprocess
import tempfile
import unittest

SNAP = os.environ["SNAP"]
PROGRAMS = os.environ["PROGRAMS"].split(":")
DESCRIBED = os.environ["DESCRIBED"]
BY_VTABLE, BY_DWARF = 3, 4  # TYPE.source
TYPES_UNREAD = 8  # MODS.flags


def read(path):
    rows = {}
    text = subprocess.run([SNAP, "convert", "--to", "jsonl", path], stdout=subprocess.PIPE, check=True, text=True).stdout
    for line in text.splitlines():
        row = json.loads(line)
        rows.setdefault(row["table"], []).append(row)
    return rows


class Rtti(unittest.TestCase):
    def run_program(self, program, **variables):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rtti.snap")
            said = subprocess.run([SNAP, "run", "-q", "-o", os.path.join(folder, "exit.snap"), "--", program, path],
                                  stdout=subprocess.PIPE, check=True, text=True, env=dict(os.environ, **variables)).stdout
            return [line.split(" ", 2) for line in said.splitlines()], read(path)

    def test_programs(self):
        for program in PROGRAMS:
            with self.subTest(os.path.basename(program)):
                said, rows = self.run_program(program)
                text = [""] + [row["text"] for row in rows["STRS"]]
                types = [("", 0)] + [(text[row["name"]], row["source"]) for row in rows["TYPE"]]
                nodes = {row["address"]: types[row.get("type", 0)] for row in rows["NODE"]}
                expected = {int(line[1]): line[2] for line in said if line[0] == "node"}
                self.assertEqual(len(expected), 11)
                for address, name in expected.items():
                    found, source = nodes[address]
                    if name == "-":
                        self.assertNotEqual(source, BY_VTABLE, found)
                    else:
                        self.assertEqual((found, source), (name, BY_VTABLE))
                hooks = {text[row.get("callback", 0)]: row for row in rows.get("HOOK", [])}
                if "stripped" in os.path.basename(program):
                    continue  # functions have no names there
                for line in said:
                    if line[0] == "hook":
                        row = hooks[" ".join(line[1:])]
                        self.assertNotEqual(row.get("argument", 0), 0, line)
                    elif line[0] == "none":
                        self.assertNotIn(" ".join(line[1:]), hooks)
                self.assertIn("listeners", text[hooks["on_event(void*)"]["registry"]])

    def test_what_was_not_read_is_said(self):
        for ms, is_read in (("0", False), ("100000", True)):
            _, rows = self.run_program(DESCRIBED, HEAPSNAP_TYPES_MS=ms)
            text = [""] + [row["text"] for row in rows["STRS"]]
            unread = [os.path.basename(text[row["path"]]) for row in rows["MODS"] if row.get("flags", 0) & TYPES_UNREAD]
            said = [row["value"] for row in rows["META"] if row.get("name") == "untyped_modules"]
            typed = [row for row in rows["TYPE"] if row["source"] == BY_DWARF]
            self.assertEqual(os.path.basename(DESCRIBED) in unread, not is_read)
            self.assertEqual(said, [len(unread)] if unread else [])
            self.assertEqual(len(typed) > 0, is_read)


if __name__ == "__main__":
    unittest.main(verbosity=2)
