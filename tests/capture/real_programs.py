"""Programs of the system under `snap run --every 1`: the same output and exit status as without, and sound snapshots.

The list is below. A program that is not installed is skipped, with the reason; each is one test, so that one can be run
by its name: real_programs.py Programs.test_git_gc"""
import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

SNAP = os.environ["SNAP"]
TIMEOUT = 600
SNAPSHOTS = 12  # most that are verified of each

SQL = """
CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000)
INSERT INTO t(a, b) SELECT printf('row %d', i * 7919 % 400000), i * 31 % 1000 FROM n;
CREATE INDEX ta ON t(a); CREATE INDEX tb ON t(b);
SELECT count(*), sum(b), min(a), max(a) FROM t;
SELECT b, count(*), group_concat(substr(a, 5)) FROM t WHERE b < 3 GROUP BY b;
DELETE FROM t WHERE b % 3 = 0; VACUUM; PRAGMA integrity_check;
SELECT count(*), sum(length(a)) FROM t;
"""

NODE = """
const m = new Map(); let h = 0;
for (let round = 0; round < 12; round++) {
    for (let i = 0; i < 200000; i++) m.set('k' + i, { i, s: 'v'.repeat(i % 17) });
    for (const [k, v] of m) h = (h * 31 + v.s.length + k.length) | 0;
    m.clear();
}
require('zlib').gzip(Buffer.alloc(1 << 22, 'abc'), (e, d) => console.log(h, e, d.length > 0));
process.exitCode = 3;
"""

JAVA = """
import java.util.*; import java.util.stream.*;
public class Small { public static void main(String[] a) throws Exception {
    List<Thread> threads = new ArrayList<>(); long[] sums = new long[4];
    for (int t = 0; t < 4; t++) { final int k = t; Thread x = new Thread(() -> { Map<Integer, String> m = new TreeMap<>();
        for (int i = 0; i < 300000; i++) m.put(i * 7919 % 300007, "v" + i);
        for (String s : m.values()) sums[k] += s.length() * (k + 1); }); threads.add(x); x.start(); }
    for (Thread x : threads) x.join();
    System.out.println(Arrays.toString(sums) + IntStream.range(0, 1000000).parallel().sum()); System.exit(4); } }
"""

REDIS = r"""
set -e
redis-server --port "$1" --bind 127.0.0.1 --save '' --appendonly no --io-threads 4 --io-threads-do-reads yes \
    --daemonize no --logfile '' --dir . > server.log 2>&1 &
server=$!
for i in $(seq 100); do redis-cli -p "$1" ping > ping 2>&1 && break; sleep 0.1; done
redis-benchmark -p "$1" -n 6000 -c 40 -P 8 -r 5000 -t set,get,lpush,sadd,hset -q > bench.log
redis-cli -p "$1" config get io-threads
redis-cli -p "$1" eval "for i = 1, 20000 do redis.call('set', 'fixed:' .. i, string.rep('x', i % 100)) end return 1" 0
redis-cli -p "$1" get fixed:99
redis-cli -p "$1" shutdown nosave || true
wait $server
"""


def source_of_many_functions():
    lines = ["#include <stdio.h>", "static unsigned s;"]
    for i in range(1200):
        lines.append(f"static unsigned f{i}(unsigned a, unsigned *p) {{ for (unsigned i = 0; i < (a & {i % 29 + 3}); i++) "
                     f"p[i & 7] += a * {i}u + (p[(i + {i % 5}) & 7] >> {i % 13}); return p[a & 7] ^ {i}u; }}")
    calls = " ".join(f"s += f{i}(s + {i}u, p);" for i in range(1200))
    lines.append(f"int main(void) {{ unsigned p[8] = {{0}}; {calls} printf(\"%u\\n\", s); return 0; }}")
    return "\n".join(lines) + "\n"


class Programs(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="real-programs-")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("HEAPSNAP_")}
        self.env.update(XDG_RUNTIME_DIR=self.top, LC_ALL="C.UTF-8")

    def tearDown(self):
        shutil.rmtree(self.top, ignore_errors=True)

    def need(self, *names):
        for name in names:
            if not shutil.which(name):
                self.skipTest(f"{name} is not installed")

    def folder(self, name):
        path = os.path.join(self.top, name)
        os.mkdir(path)
        return path

    def compare(self, command, prepare=None, clean=lambda text: text, after=None, every="1"):
        """Runs the command without and with; `prepare(folder)` fills the folder, `after(folder)` says what came out."""
        results = []
        for name, prefix in [("plain", []), ("tracked", [SNAP, "run", "-o", f"{self.top}/%p.%n.snap", "--at-exit", "--every",
                                                         every, "--"])]:
            folder = self.folder(name)
            if prepare:
                prepare(folder)
            done = subprocess.run([*prefix, *command], cwd=folder, env=self.env, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=TIMEOUT)
            results.append((clean(done.stdout), done.returncode, after(folder) if after else None))
        error = done.stderr
        self.assertEqual(results[1], results[0], error[-2000:])
        self.check_snapshots(error)

    def check_snapshots(self, error):
        paths = sorted(glob.glob(f"{self.top}/*.snap"), key=os.path.getmtime)
        self.assertGreater(len(paths), 0, error[-2000:])
        for path in paths[-SNAPSHOTS:]:
            done = subprocess.run([SNAP, "verify", path], capture_output=True, text=True, timeout=TIMEOUT)
            self.assertEqual(done.returncode, 0, done.stderr)
        summary = error.splitlines()[-1] if error else ""
        print(f"    {len(paths)} snapshots; {summary}", file=sys.stderr)

    def write(self, folder, name, text):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)

    def content(self, folder, name):
        with open(os.path.join(folder, name), "rb") as f:
            return f.read()

    def test_redis_with_io_threads(self):
        self.need("redis-server", "redis-benchmark", "redis-cli")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.compare(["sh", "-c", REDIS, "redis", str(port)])

    def test_sqlite3(self):
        self.need("sqlite3")
        self.compare(["sqlite3", "test.db", ".read script.sql"], prepare=lambda folder: self.write(folder, "script.sql", SQL))

    def test_python_regression_tests(self):
        self.need("python3")
        if subprocess.run(["python3", "-c", "import test.test_list"], capture_output=True).returncode != 0:
            self.skipTest("python3's own tests are not installed")
        # Which modules ran and which failed; "passed" is said only of those that took long.
        self.compare(["python3", "-m", "test", "test_list", "test_dict", "test_gc", "test_thread", "test_subprocess",
                      "test_fork1", "test_signal", "test_json"],
                     clean=lambda text: sorted(set(re.findall(r"\] test_\w+|test_\w+ (?:failed|skipped)|Result: \w+", text))))

    def test_python_processes(self):
        self.need("python3")
        text = ("import multiprocessing as m\n"
                "def f(i): return sum(len(str(k)) for k in range(i * 20000))\n"
                "if __name__ == '__main__':\n"
                "    m.set_start_method('fork')\n"
                "    with m.Pool(4) as p: print(p.map(f, range(30)))\n")
        self.compare(["python3", "pool.py"], prepare=lambda folder: self.write(folder, "pool.py", text))

    def test_gcc(self):
        self.need("gcc")
        self.compare(["gcc", "-O2", "-c", "-o", "large.o", "large.c"],
                     prepare=lambda folder: self.write(folder, "large.c", source_of_many_functions()),
                     after=lambda folder: self.content(folder, "large.o"))

    def test_node(self):
        self.need("node")
        self.compare(["node", "small.js"], prepare=lambda folder: self.write(folder, "small.js", NODE))

    def test_java(self):
        self.need("java", "javac")

        def prepare(folder):
            self.write(folder, "Small.java", JAVA)
            subprocess.run(["javac", "Small.java"], cwd=folder, env=self.env, check=True, capture_output=True)

        self.compare(["java", "-Xmx256m", "Small"], prepare=prepare)

    def test_git_gc(self):
        self.need("git")

        def prepare(folder):
            script = ("git init -q . && git config user.name n && git config user.email e@example.org && for i in $(seq 40); do "
                      "seq $((i * 50)) $((i * 90)) > f$((i % 7)); cp f$((i % 7)) g$i; git add . && git commit -q -m $i; done")
            env = dict(self.env, GIT_AUTHOR_DATE="2020-01-01T00:00:00Z", GIT_COMMITTER_DATE="2020-01-01T00:00:00Z")
            subprocess.run(["sh", "-c", script], cwd=folder, env=env, check=True, capture_output=True)

        def after(folder):
            run = lambda *command: subprocess.run(command, cwd=folder, env=self.env, capture_output=True, text=True).stdout
            return run("git", "rev-parse", "HEAD"), run("git", "fsck"), run("git", "count-objects", "-v").splitlines()[:3]

        self.compare(["git", "gc", "-q", "--aggressive", "--prune=now"], prepare=prepare, after=after, every="0.2")

    def test_shell_pipeline(self):
        self.compare(["sh", "-c", "seq 200000 | sort -R --random-source=/dev/zero | sort -n | tail -n 3; exit 5"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
