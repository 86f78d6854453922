#!/usr/bin/env python3
"""Compares our names, files, lines and inlined functions with those of addr2line.

oracle.py SYMBOLIZE FILE... [--every N] [--verbose]

Asks for every instruction that objdump lists (or every N-th). Both sides are normalised: paths
without `..`, an unknown line as 0, clone suffixes off. A position agrees if the whole chain of
functions and of file:line is the same. Where the two may differ for good reasons, see `excused`.
Exit status: 0 agreed, 1 did not, 77 addr2line or objdump missing.
"""
import argparse
import collections
import os
import re
import shutil
import subprocess
import sys

SUFFIX = re.compile(r"( \[clone [^]]*\])+$|(\.(constprop|isra|part|cold|lto_priv|localalias)(\.\d+)*)+$")


def addresses(path):
    """Addresses of instructions, by symbol table and sections, without padding."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "--section=.text", path],
                          check=True, capture_output=True, text=True).stdout
    found = []
    for line in text.splitlines():
        match = re.match(r"\s+([0-9a-f]+):\t(\S+)(.*)", line)
        if match and match.group(2) not in ("nop", "nopw", "nopl", "data16", "cs", "int3"):
            if not (match.group(2) == "xchg" and "%ax,%ax" in match.group(3)):
                found.append(int(match.group(1), 16))
    return found


def name(text):
    text = SUFFIX.sub("", text)
    return "" if text == "??" else text.split("@")[0]


def place(text):
    text = text.split(" (discriminator")[0]
    file, _, line = text.rpartition(":")
    file = "" if file in ("??", "") else os.path.normpath(file)
    return file, 0 if line in ("?", "") else int(line)


def run_theirs(path, wanted, argument="-e"):
    text = subprocess.run(["addr2line", "-a", "-f", "-i", "-C", argument, path],
                          input="".join("0x%x\n" % a for a in wanted), check=True,
                          capture_output=True, text=True).stdout
    found = {}
    chain = None
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if re.fullmatch(r"0x[0-9a-f]{16}", lines[at]):
            chain = found.setdefault(int(lines[at], 16), [])
            at += 1
        else:
            chain.append((name(lines[at]), place(lines[at + 1])))
            at += 2
    return found


def run_ours(symbolize, path, wanted, options=()):
    text = subprocess.run([symbolize, *options, path], input="".join("%x\n" % a for a in wanted),
                          check=True, capture_output=True, text=True).stdout
    found = {}
    for line in text.splitlines():
        if line.startswith("0x"):
            chain = found.setdefault(int(line, 16), [])
        else:
            _, function, where, source = line.split("\t")
            chain.append((name(function), place(where), int(source)))
    return found


def excused(ours, theirs, aliases):
    """Differences that are not errors of ours."""
    if not ours:
        # No symbol holds the address; addr2line takes the nearest one before it.
        return len(theirs) == 1 and theirs[0][1] == ("", 0)
    if len(ours) != len(theirs):
        return False
    for i, ((our_name, our_place), (their_name, their_place)) in enumerate(zip(ours, theirs)):
        if our_place != their_place:
            # addr2line drops the file of code that belongs to no line.
            # And it starts sequences of DWARF 5 with the primary source, not with file 1.
            if not (our_place[1] == their_place[1] and
                    (our_place[1] == 0 or (i == 0 and their_place[0].endswith((".c", ".cc", "<artificial>"))))):
                return False
        # For an inlined function without a linkage name, addr2line names the symbol around it.
        if i == 0 and len(ours) > 1 and their_name == theirs[-1][0]:
            continue
        # We give names without a linkage name their scope.
        if our_name.endswith("::" + their_name):
            continue
        if our_name != their_name and our_name not in aliases.get(their_name, ()):
            return False
    return True


def read_aliases(path):
    """Other names of the symbol of that name: which one of several is chosen is a matter of taste."""
    by_address = collections.defaultdict(set)
    for option in ("-C", "-CD"):
        text = subprocess.run(["nm", option, path], capture_output=True, text=True).stdout
        for line in text.splitlines():
            match = re.match(r"([0-9a-f]{16}) \S (.*)", line)
            if match:
                by_address[match.group(1)].add(name(match.group(2)))
    aliases = collections.defaultdict(set)
    for names in by_address.values():
        for one in names:
            aliases[one] |= names
    return aliases


def compare(symbolize, path, every, verbose, options=()):
    wanted = addresses(path)[::every]
    if not wanted:
        print("%s: no code" % path)
        return False
    ours = run_ours(symbolize, path, wanted, options)
    theirs = run_theirs(path, wanted)
    aliases = read_aliases(path)
    same = excuses = 0
    shown = 0
    inlined = named = 0
    for address in wanted:
        mine = [position[:2] for position in ours[address]]
        other = theirs[address]
        inlined += len(mine) > 1
        named += bool(mine)
        if mine == other:
            same += 1
        elif excused(mine, other, aliases):
            excuses += 1
        elif shown < (20 if verbose else 3):
            shown += 1
            print("%s 0x%x\n  ours   %s\n  theirs %s" % (path, address, mine, other))
    bad = len(wanted) - same - excuses
    print("%s: %d addresses, %d with inlined functions, %d equal, %d excused, %d wrong, %d unnamed"
          % (path, len(wanted), inlined, same, excuses, bad, len(wanted) - named))
    return bad == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("symbolize")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    for tool in ("addr2line", "objdump", "nm"):
        if not shutil.which(tool):
            print("skipped: %s is missing" % tool)
            return 77
    results = [compare(arguments.symbolize, path, arguments.every, arguments.verbose)
               for path in arguments.files]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
