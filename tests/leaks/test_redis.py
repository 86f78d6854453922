"""redis-server of the distribution under load: of the ten sites that grew most, every block that is looked at is held by a
chain from a named variable, or by one whose root is said to be uncertain.

Environment: SNAP, SNAPDIFF; REDIS_SERVER for another than that of PATH."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

SNAP, SNAPDIFF = os.environ["SNAP"], os.environ["SNAPDIFF"]
SERVER = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
ROUNDS, SITES, BLOCKS = 4, 10, 6
MANY = ["-r", "100000000"]
LOAD = [
    ["-n", "4000", *MANY, "-t", "set,sadd,hset,zadd"],
    ["-n", "2000", "-t", "lpush"],
    ["-n", "2000", *MANY, "hset", "h:__rand_int__", "f:__rand_int__", "value:__rand_int__"],
    ["-n", "1000", *MANY, "sadd", "s:__rand_int__", "m:__rand_int__"],
    ["-n", "1000", *MANY, "xadd", "stream", "*", "field", "value:__rand_int__"],
    ["-n", "500", *MANY, "eval", "return redis.call('set', KEYS[1], string.rep('x', 100))", "1", "e:__rand_int__"],
    ["-n", "500", *MANY, "setex", "t:__rand_int__", "100000", "hello"],
]


def frames_of(site):
    """(module, offset) of each frame; inlined functions share one."""
    frames = []
    for frame in site["stack"]:
        here = (frame["module"], frame["offset"])
        if not frames or frames[-1] != here:
            frames.append(here)
    return tuple(frames)


def stacks_and_blocks(path):
    """{frames: [(birth, address)]} of the blocks in a file."""
    strings, modules, frames, stacks, blocks = {0: ""}, [""], [None], [()], {}
    pending = {"MODS": [], "FRAM": [], "STAK": [], "NODE": []}
    convert = subprocess.run([SNAP, "convert", "--to", "jsonl", path], stdout=subprocess.PIPE, check=True, text=True)
    for line in convert.stdout.splitlines():
        row = json.loads(line)
        if row["table"] == "STRS":
            strings[row["id"]] = row.get("text", "")
        elif row["table"] in pending:
            pending[row["table"]].append(row)
    modules += [strings[row["path"]] for row in pending["MODS"]]
    frames += [(modules[row.get("module", 0)], row["offset"]) for row in pending["FRAM"]]
    for row in pending["STAK"]:
        stacks.append((frames[row["frame"]],) + stacks[row.get("parent", 0)])
    for row in pending["NODE"]:
        blocks.setdefault(stacks[row.get("stack", 0)], []).append((row.get("birth", 0), row["address"]))
    return blocks


@unittest.skipIf(SERVER is None or shutil.which("redis-benchmark") is None, "redis-server and redis-benchmark are not installed")
class Redis(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="redis-")
        self.addCleanup(shutil.rmtree, self.directory, True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = str(s.getsockname()[1])

    def run_ok(self, *command):
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return done.stdout

    def snapshots(self):
        server = subprocess.Popen([SNAP, "run", "-q", "-o", "%n.snap", "--", SERVER, "--port", self.port, "--bind", "127.0.0.1",
                                   "--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", ""],
                                  cwd=self.directory, stdout=subprocess.DEVNULL)
        try:
            for _ in range(200):
                if subprocess.run(["redis-cli", "-p", self.port, "ping"], capture_output=True).stdout == b"PONG\n":
                    break
                time.sleep(0.1)
            with open(f"/proc/{server.pid}/task/{server.pid}/children", encoding="ascii") as children:
                pid = children.read().split()[0]
            paths = []
            for number in range(ROUNDS + 1):
                for load in LOAD:
                    self.run_ok("redis-benchmark", "-p", self.port, "-c", "20", "-P", "8", "-q", *load)
                if number > 0:
                    paths.append(os.path.join(self.directory, f"take{number}.snap"))
                    self.run_ok(SNAP, "take", "-q", "-o", paths[-1], pid)
            return paths
        finally:
            subprocess.run(["redis-cli", "-p", self.port, "shutdown", "nosave"], capture_output=True)
            server.wait(60)

    def held_by(self, path, address):
        """How the best chain to a block begins: "name" or "uncertain: name"; None if there is no such chain."""
        report = json.loads(self.run_ok(SNAP, "paths", "--json", "--addr", hex(address), path))
        for group in report["groups"]:
            for chain in group["chains"]:
                if chain["low"] > 0:
                    return f"uncertain: {chain['kind']} {chain['root']}"
                # Names of unknown variables are a module and an offset in a section.
                if chain["root"] and " ." not in chain["root"]:
                    return f"{chain['kind']} {chain['root']}"
        return None

    def test_growth_is_held_by_names(self):
        paths = self.snapshots()
        diff = subprocess.run([SNAPDIFF, "--json", "--top", "all", "--frames", "all", *paths], capture_output=True, text=True)
        self.assertIn(diff.returncode, (0, 1), diff.stderr)
        sites = sorted(json.loads(diff.stdout)["sites"], key=lambda site: -site["growth_bytes"])[:SITES]
        newest = stacks_and_blocks(paths[-1])
        before = max(birth for blocks in stacks_and_blocks(paths[0]).values() for birth, _ in blocks)
        failed = []
        for site in sites:
            blocks = [address for birth, address in sorted(newest.get(frames_of(site), ())) if birth > before]
            self.assertGreater(len(blocks), 0, site["label"])
            looked_at = blocks[:: max(1, len(blocks) // BLOCKS)][:BLOCKS]
            holders = {self.held_by(paths[-1], address) for address in looked_at}
            print(f"    +{site['growth_bytes']} {site['label']}: {holders}", file=sys.stderr)
            if None in holders:
                failed.append(site["label"])
        self.assertEqual(len(sites), SITES)
        self.assertEqual(failed, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
