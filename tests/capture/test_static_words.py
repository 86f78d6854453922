"""Data of an image that is as its file has it refers to no block, whatever it looks like (see static_words.c).

Environment: SNAP, PROGRAM (not position-independent)."""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

SNAP = os.environ["SNAP"]
PROGRAM = os.environ["PROGRAM"]
MARK = 0x6D756E2063697473
GLOBAL = 1
SAME_PLACES = ["setarch", "-R"]


def run(program, folder, name):
    path = os.path.join(folder, name)
    done = subprocess.run([*SAME_PLACES, SNAP, "run", "-q", "-o", path, "--", program], stdout=subprocess.PIPE, check=True, text=True)
    blocks = [(int(address), same == "1") for _, address, same in map(str.split, done.stdout.splitlines())]
    text = subprocess.run([SNAP, "convert", "--to", "jsonl", path], stdout=subprocess.PIPE, check=True, text=True).stdout
    rows = [json.loads(line) for line in text.splitlines()]
    nodes = [0] + [row["address"] for row in rows if row["table"] == "NODE"]
    held = {nodes[row["target"]] for row in rows if row["table"] == "ROOT" and row["kind"] == GLOBAL and not row.get("target_offset", 0)}
    return blocks, held


class StaticWords(unittest.TestCase):
    def test(self):
        with tempfile.TemporaryDirectory() as folder:
            # In one place, under one name: the heap is where it was.
            program = shutil.copy(PROGRAM, os.path.join(folder, "program"))
            blocks, held = run(program, folder, "first.snap")
            self.assertEqual([same for _, same in blocks], [False, False])
            self.assertEqual([address in held for address, _ in blocks], [False, True])
            with open(program, "rb") as file:
                image = file.read()
            for i, (address, _) in enumerate(blocks):
                mark = struct.pack("<Q", MARK + i)
                self.assertEqual(image.count(mark), 1)
                image = image.replace(mark, struct.pack("<Q", address))
            with open(program, "wb") as file:
                file.write(image)
            again, held = run(program, folder, "second.snap")
            if again != [(address, True) for address, _ in blocks]:
                print("the heap moves from run to run here")
                sys.exit(77)
            self.assertEqual([address in held for address, _ in again], [False, False])


if __name__ == "__main__":
    if subprocess.run([*SAME_PLACES, "true"], check=False).returncode != 0:
        print("places of memory cannot be kept here")
        sys.exit(77)
    unittest.main(verbosity=2)
