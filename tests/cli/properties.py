#!/usr/bin/env python3
"""Properties of snapdiff on random lives of programs, against the lives' own bookkeeping.

    properties.py --bin DIRECTORY --heapdsl PROGRAM [--seeds N]

Each life is a random text for heapdsl. What it allocates and frees is kept here, too, block by block,
and from that every series, every interval and every sum of the JSON is worked out a second time, with
sets. Then: a snapshot differs in nothing from itself; the reverse order negates; files in another
order and files of other processes give what they must. Output is TAP."""

import argparse
import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

DOMAINS = ("host", "python", "device", "pinned", "managed")


class Life:
    """A random life: its text, and the blocks of each snapshot: {serial: (site, size, domain, type)}."""

    def __init__(self, rng, n_snapshots, n_sites, scale):
        self.text, self.snapshots, self.live, self.serial = [], [], {}, 0
        self.live_of = collections.defaultdict(list)  # site: serials, in the order of their births
        self.births = rng.random() < 0.8
        if not self.births:
            self.text.append("births off")
        self.sites = []
        for i in range(n_sites):
            depth = rng.randrange(3)
            frames = ["main"] + ["outer%d" % rng.randrange(3) for _ in range(depth)] + ["site%d@s.c:%d" % (i, i + 1)]
            if rng.random() < 0.5:
                frames.append("malloc")
            domain = "host" if rng.random() < 0.7 else rng.choice(DOMAINS)
            self.sites.append((i, ">".join(frames), rng.choice((1, 16, 100, 4096, 70000)), domain,
                               "type%d" % rng.randrange(4) if rng.random() < 0.4 else None))
        for i in range(n_snapshots):
            for _ in range(rng.randrange(12) if i else 12):
                self.act(rng, scale)
            self.text.append("snap %d.snap" % i)
            self.snapshots.append(dict(self.live))

    def act(self, rng, scale):
        number, stack, size, domain, kind = rng.choice(self.sites)
        mine = self.live_of[number]
        what = rng.random()
        if what < 0.55 or not mine:
            count = rng.randrange(1, scale)
            self.text.append("alloc %s %d x %d domain %s%s" % (stack, count, size, domain, " type " + kind if kind else ""))
        elif what < 0.85:
            count = rng.randrange(1, len(mine) + 1)
            self.text.append("free %s %d" % (stack, count))
            for serial in mine[:count]:
                del self.live[serial]
            del mine[:count]
            return
        else:
            count = len(mine)
            self.text.append("replace %s" % stack)
            for serial in mine:
                del self.live[serial]
            mine.clear()
        for _ in range(count):
            self.serial += 1
            mine.append(self.serial)
            self.live[self.serial] = (number, size, domain, kind)


def size_of(blocks):
    return len(blocks), sum(block[1] for block in blocks)


class Check:
    def __init__(self, options, directory):
        self.options, self.directory, self.failures = options, directory, []

    def snapdiff(self, *arguments):
        done = subprocess.run([self.options.snapdiff, "--json", "--top", "all", *arguments], cwd=self.directory,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
        if done.returncode not in (0, 1):
            raise RuntimeError("snapdiff %s: status %d: %s" % (arguments, done.returncode, done.stderr.decode()))
        result = json.loads(done.stdout)
        if (result["verdict"] != "no-growth") != done.returncode:
            self.failures.append("status %d for %s" % (done.returncode, result["verdict"]))
        return result

    def equal(self, what, actual, expected):
        if actual != expected:
            self.failures.append("%s: %r, expected %r" % (what, actual, expected))

    def series(self, what, rows, key, snapshots, key_of):
        """Rows of a table against sums over blocks."""
        wanted = {}
        for i, blocks in enumerate(snapshots):
            for block, count in collections.Counter(blocks.values()).items():  # few differ
                counts, sums = wanted.setdefault(key_of(block), ([0] * len(snapshots), [0] * len(snapshots)))
                counts[i] += count
                sums[i] += count * block[1]
        actual = {}
        for row in rows:
            if key(row) in actual:
                self.failures.append("%s: %r occurs twice" % (what, key(row)))
            actual[key(row)] = (row["counts"], row["bytes"])
            self.equal(what + " growth", row["growth_bytes"], row["bytes"][-1] - row["bytes"][0])
            self.equal(what + " growth", row["growth_count"], row["counts"][-1] - row["counts"][0])
        self.equal(what, actual, wanted)
        order = [row["growth_bytes"] for row in rows]
        self.equal(what + " order", order, sorted(order, reverse=True))

    def intervals(self, result, snapshots, births):
        for i, interval in enumerate(result["intervals"]):
            a, b = snapshots[i], snapshots[i + 1]
            if not births:
                # An address may be used again by a block that looks the same: only sums are sure.
                for which, blocks in (("new", b), ("freed", a)):
                    pair = tuple(interval[which + unit] + interval["surviving" + unit] for unit in ("_count", "_bytes"))
                    self.equal("%s + surviving" % which, pair, size_of(blocks.values()))
                continue
            for which, blocks in (("new", [b[s] for s in b.keys() - a.keys()]),
                                  ("freed", [a[s] for s in a.keys() - b.keys()]),
                                  ("surviving", [b[s] for s in b.keys() & a.keys()])):
                self.equal("%s of interval %d" % (which, i), (interval[which + "_count"], interval[which + "_bytes"]),
                           size_of(blocks))

    def new_blocks(self, result, snapshots):
        first, last = snapshots[0], snapshots[-1]
        for row in result["sites"]:
            number = int(row["stack"][next(
                i for i, frame in enumerate(row["stack"]) if frame["function"].startswith("site"))]["function"][4:])
            new = [block for serial, block in last.items()
                   if serial not in first and (block[0], block[2]) == (number, row["domain"])]
            self.equal("new of site%d" % number, (row["new_count"], row["new_bytes"]), size_of(new))

    def everything(self, result, snapshots, life):
        self.series("sites", result["sites"], lambda row: (row["label"], row["domain"]), snapshots,
                    lambda block: ("allocated in site%d" % block[0], block[2]))
        self.series("types", result["types"], lambda row: (row["type"], row["domain"]), snapshots,
                    lambda block: (block[3] or "allocated in site%d" % block[0], block[2]))
        self.series("modules", result["modules"], lambda row: (row["module"], row["domain"]), snapshots,
                    lambda block: ("/usr/bin/prog", block[2]))
        for snapshot, blocks in zip(result["snapshots"], snapshots):
            for domain in DOMAINS:
                total = snapshot["totals"][domain]
                self.equal("total of " + domain, (total["count"], total["bytes"]),
                           size_of([block for block in blocks.values() if block[2] == domain]))
        self.intervals(result, snapshots, life.births)


def check_life(options, seed):
    rng = random.Random(seed)
    # Every tenth life is large enough to be cut into parts for threads, which a part of 65536 blocks is not.
    large = seed % 10 == 9
    life = Life(rng, rng.randrange(2, 6), rng.randrange(1, 12), options.scale if large else 50)
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([options.heapdsl, "-C", directory], input="\n".join(life.text).encode(), check=True)
        check = Check(options, directory)
        n = len(life.snapshots)
        files = ["%d.snap" % i for i in range(n)]

        forward = check.snapdiff(*files)
        check.everything(forward, life.snapshots, life)
        if life.births:
            check.new_blocks(forward, life.snapshots)

        shuffled = files[:]
        rng.shuffle(shuffled)
        again = check.snapdiff(*shuffled)
        noted = [limit for limit in again["limits"] if "put in the order" in limit]
        check.equal("note of the order", bool(noted), shuffled != files)
        again["limits"] = [limit for limit in again["limits"] if limit not in noted]
        check.equal("the same in any order", again, forward)

        backward = check.snapdiff("--keep-order", *reversed(files))
        check.everything(backward, life.snapshots[::-1], life)
        for table, key in (("sites", lambda row: (row["key"], row["domain"])),
                           ("types", lambda row: (row["type"], row["domain"]))):
            there = {key(row): (row["growth_bytes"], row["growth_count"]) for row in forward[table]}
            back = {key(row): (-row["growth_bytes"], -row["growth_count"]) for row in backward[table]}
            check.equal("backward negates " + table, back, there)
        for there, back in zip(forward["intervals"], reversed(backward["intervals"])):
            check.equal("backward swaps new and freed", (there["new_count"], there["new_bytes"], there["freed_count"]),
                        (back["freed_count"], back["freed_bytes"], back["new_count"]))

        same = check.snapdiff(files[-1], files[-1])
        check.equal("itself: verdict", same["verdict"], "no-growth")
        check.equal("itself: intervals", [same["intervals"][0][key] for key in ("new_count", "new_bytes", "freed_count")],
                    [0, 0, 0])
        check.equal("itself: growth", {row["growth_bytes"] for row in same["sites"]} - {0}, set())
        check.equal("itself: not leaks", same["not_leaks"], [])

        # The same life in another process: no block can be the same, all sums are.
        subprocess.run([options.heapdsl, "-C", directory], check=True, input="\n".join(
            ["lineage two", "pid 200"] + life.text).replace("snap ", "snap other").encode())
        other = check.snapdiff(files[0], "other%d.snap" % (n - 1))
        check.equal("another process: match", other["intervals"][0]["match"], "path")
        two = check.snapdiff(files[0], files[-1])
        for table in ("sites", "types", "modules"):
            for row in two[table] + other[table]:
                row.pop("new_count", None), row.pop("new_bytes", None), row.pop("trend"), row.pop("blamed", None)
            check.equal("another process: " + table, other[table], two[table])

        if options.slow_orders or not large:
            subprocess.run([options.heapdsl, "-C", directory], check=True, input="\n".join(
                ["order unsorted"] + life.text).replace("snap ", "snap un").encode())
            unsorted = check.snapdiff(*["un" + name for name in files])
            for snapshot in unsorted["snapshots"]:
                snapshot["file"] = snapshot["file"][2:]
            unsorted["limits"] = forward["limits"] if len(unsorted["limits"]) == len(forward["limits"]) else None
            check.equal("unsorted rows", unsorted, forward)
        return check.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--heapdsl", required=True)
    parser.add_argument("--name", help="ignored: the name of the main command")
    parser.add_argument("--seeds", type=int, default=20, help="how many lives; default %(default)s")
    parser.add_argument("--first", type=int, default=0, help="the first seed; default %(default)s")
    parser.add_argument("--scale", type=int, default=20000, help="blocks at once in a large life; default %(default)s")
    options = parser.parse_args()
    options.snapdiff = str(pathlib.Path(options.bin, "snapdiff").resolve())
    options.heapdsl = os.path.abspath(options.heapdsl)
    options.slow_orders = options.seeds > 50
    print("1..%d" % options.seeds)
    failed = 0
    for number, seed in enumerate(range(options.first, options.first + options.seeds), 1):
        failures = check_life(options, seed)
        failed += bool(failures)
        print("%s %d - life %d" % ("not ok" if failures else "ok", number, seed), flush=True)
        for failure in failures[:5]:
            print("# " + failure[:1000])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
