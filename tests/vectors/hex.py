"""Annotated hexadecimal text to bytes.

A vector is pairs of hexadecimal digits with white space anywhere and comments from `#` to the end
of the line. Its first comment lines say what it is; one of them is its verdict:

    # verdict: OK
    # verdict: CORRUPT NODE 352
    # verdict: FORMAT - 0

that is the error, the chunk (- for header and footer) and the offset.
"""

import re
import sys


def parse(text):
    """(bytes, verdict) of a vector's text; verdict is the tuple of its words, offset as int."""
    verdict = None
    digits = []
    for line in text.splitlines():
        code, _, comment = line.partition("#")
        digits.append(code)
        match = re.match(r"\s*verdict: (\S+)(?: (\S+) (\d+))?\s*$", comment)
        if match:
            name, chunk, offset = match.groups()
            verdict = (name,) if chunk is None else (name, chunk, int(offset))
    return bytes.fromhex("".join(digits)), verdict


def load(path):
    with open(path, encoding="ascii") as file:
        return parse(file.read())


if __name__ == "__main__":
    # hex.py FILE.hex > FILE.snap
    sys.stdout.buffer.write(load(sys.argv[1])[0])
