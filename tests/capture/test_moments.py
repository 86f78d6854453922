"""Moments: snapshots are taken when asked for, are whole, and leave the program as it was.

Every test runs `victim` (or a program of the system) under `snap run` and compares its output and status with those of
a run without; the files are read by `snap verify` and `snap convert`."""
import collections
import glob
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest

SNAP = os.environ["SNAP"]
VICTIM = os.environ["VICTIM"]
CONTROL = signal.SIGRTMAX - 7
TIMEOUT = 120

Result = collections.namedtuple("Result", "out err status files")


def seconds_left(end):
    return max(0.0, end - time.monotonic())


class Program(unittest.TestCase):
    """A victim and what it leaves behind."""

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="moments-")
        self.private = os.path.join(self.top, "run")
        os.mkdir(self.private, 0o700)
        self.env = dict(os.environ, XDG_RUNTIME_DIR=self.private)
        for name in [name for name in self.env if name.startswith("HEAPSNAP_")]:
            del self.env[name]
        self.directory = os.path.join(self.top, "out")
        os.mkdir(self.directory)
        self.started = []

    def tearDown(self):
        for process in self.started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.communicate()
        shutil.rmtree(self.top, ignore_errors=True)

    # --- running ---

    def files(self):
        return sorted(glob.glob(os.path.join(self.directory, "**/*.snap"), recursive=True), key=lambda path: (os.path.getmtime(path), path))

    def plain(self, *command, **options):
        done = subprocess.run(command, cwd=self.directory, env=self.env, stdout=subprocess.PIPE, timeout=TIMEOUT, **options)
        return done.stdout.decode(), done.returncode

    def snap(self, *arguments, **options):
        done = subprocess.run([SNAP, *arguments], cwd=self.directory, env=self.env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=TIMEOUT, **options)
        return Result(done.stdout.decode(), done.stderr.decode(), done.returncode, self.files())

    def run_victim(self, *arguments, options=(), **more):
        return self.snap("run", *options, "--", VICTIM, *arguments, **more)

    def start(self, *command, **options):
        """In a process group of its own: to be stopped as by a terminal, and ended whole."""
        options.setdefault("process_group", 0)
        process = subprocess.Popen(command, cwd=self.directory, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, **options)
        self.started.append(process)
        return process

    def start_victim(self, *arguments, options=()):
        """`snap run` of a victim that has said "ready"; also the victim's pid."""
        process = self.start(SNAP, "run", *options, "--", VICTIM, *arguments)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        return process, self.child_of(process.pid)

    def child_of(self, pid):
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return int(f.read().split()[0])

    @staticmethod
    def state(pid):
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]

    def wait_for_state(self, pid, wanted):
        end = time.monotonic() + 20
        while self.state(pid) not in wanted and seconds_left(end):
            time.sleep(0.01)
        self.assertIn(self.state(pid), wanted)

    def same_as_plain(self, *arguments, options=(), **more):
        out, status = self.plain(VICTIM, *arguments, **more)
        result = self.run_victim(*arguments, options=options, **more)
        self.assertEqual((result.out, result.status), (out, status), result.err)
        self.no_leftovers()
        return result

    def no_leftovers(self):
        """No page, no log, no half-written file."""
        private = os.path.join(self.private, f"heapsnap-{os.geteuid()}")
        end = time.monotonic() + 20
        while os.path.isdir(private) and os.listdir(private) and seconds_left(end):
            time.sleep(0.05)
        self.assertEqual(os.listdir(private) if os.path.isdir(private) else [], [])
        names = [name for _, _, names in os.walk(self.directory) for name in names]
        self.assertEqual([name for name in names if not name.endswith(".snap")], [])

    # --- reading ---

    def read(self, path):
        checked = self.snap("verify", path)
        self.assertEqual(checked.status, 0, checked.err)
        tables = json.loads(self.snap("convert", "--to", "json", path).out)["tables"]
        meta = {}
        for row in tables["META"]:
            value = row.get("text", row.get("value", 0))
            if "name" in row:
                meta.setdefault(row["key"], {})[row["name"]] = value
            else:
                meta[row["key"]] = value
        if "step" in meta:
            meta["step"] = self.signed(meta["step"])
        return meta, tables

    @staticmethod
    def signed(number):
        return number - (1 << 64) if number >> 63 else number

    def planted(self, tables, size):
        return sum(node["size"] == size for node in tables["NODE"])


class Moments(Program):
    """At exit, at intervals, on conditions and signals, and when an allocation fails."""

    # --- at exit ---

    def test_at_exit_by_default(self):
        result = self.same_as_plain("plain")
        self.assertEqual(result.status, 7)
        self.assertEqual(len(result.files), 1)
        meta, tables = self.read(result.files[0])
        self.assertEqual(meta["trigger"], 2)
        self.assertEqual(meta["sequence"], 1)
        self.assertEqual(meta["consistency"], 1)
        self.assertEqual(meta["command"], f"{VICTIM} plain")
        self.assertEqual(os.path.basename(result.files[0]), f"heapsnap.{meta['pid']}.1.snap")
        self.assertGreater(meta["pause_ns"], 0)
        self.assertGreater(meta["process"]["rss_bytes"], 0)
        self.assertGreaterEqual(meta["process"]["malloc_in_use_bytes"], 48000)
        self.assertEqual(len(meta["lineage"]), 32)
        self.assertEqual(self.planted(tables, 48), 1000)
        self.assertIn("wrote heapsnap.", result.err)
        self.assertEqual(len(result.err.splitlines()), 1)

    def test_sites_are_named(self):
        result = self.run_victim("plain")
        _, tables = self.read(result.files[0])
        nodes = [node for node in tables["NODE"] if node["size"] == 48]
        names = {tables["TYPE"][node["type"] - 1]["name"] for node in nodes}
        self.assertEqual(names, {"allocated in planted_blocks"})
        modules = {os.path.basename(row["path"]) for row in tables["MODS"]}
        self.assertLessEqual({"victim", "libc.so.6", "[vdso]", "ld-linux-x86-64.so.2"}, modules)
        main = [row for row in tables["MODS"] if row.get("flags", 0) & 1]
        self.assertEqual([os.path.realpath(row["path"]) for row in main], [os.path.realpath(VICTIM)])

    def test_quiet(self):
        self.assertEqual(self.run_victim("plain", options=["-q"]).err, "")

    def test_every_way_to_end(self):
        for mode in ["_exit", "_Exit", "quick_exit", "thread-exit", "main-thread-exit"]:
            with self.subTest(mode):
                before = len(self.files())
                result = self.same_as_plain(mode)
                self.assertEqual(len(result.files), before + 1)
                self.read(result.files[-1])

    def test_crash(self):
        result = self.same_as_plain("crash")
        self.assertEqual(result.status, -signal.SIGSEGV)
        self.assertEqual(result.files, [])
        self.assertIn("signal 11", result.err)

    def test_ended_by_a_signal(self):
        result = self.same_as_plain("killed")
        self.assertEqual(result.status, -signal.SIGTERM)

    def test_closed_descriptors(self):
        result = self.same_as_plain("closed")
        self.assertEqual(len(result.files), 1)

    def test_in_place(self):
        result = self.same_as_plain("plain", options=["--no-fork"])
        meta, tables = self.read(result.files[0])
        self.assertEqual(meta["consistency"], 2)
        self.assertGreater(meta["pause_ns"], 0)
        self.assertEqual(self.planted(tables, 48), 1000)

    # --- intervals, conditions, signals ---

    def test_every(self):
        for milliseconds in (1500, 20000):  # while a file is written there is no other snapshot
            result = self.run_victim("idle", str(milliseconds), options=["--every", "0.3"])
            self.assertEqual((result.out, result.status), ("ready\nend\n", 0))
            if len(result.files) >= 2:
                break
            for path in result.files:
                os.remove(path)
        self.assertGreaterEqual(len(result.files), 2, result.err)
        sequences, lineages = [], set()
        for path in result.files:
            meta, _ = self.read(path)
            self.assertEqual(meta["trigger"], 4)
            sequences.append(meta["sequence"])
            lineages.add(meta["lineage"])
        self.assertEqual(sequences, list(range(1, len(sequences) + 1)))
        self.assertEqual(len(lineages), 1)
        self.no_leftovers()

    def test_on_signal(self):
        out, status = "raised\n", 0
        result = self.run_victim("usr1", options=["--on-signal", "USR1"])
        self.assertEqual((result.out, result.status), (out, status), result.err)
        self.assertEqual([self.read(path)[0]["trigger"] for path in result.files], [3, 3])

    def test_own_handler_wins(self):
        result = self.same_as_plain("own-handler", options=["--on-signal", "USR1"])
        self.assertEqual(result.files, [])
        self.assertIn("handles signal 10 itself", result.err)

    def test_every_note_is_told(self):
        result = self.snap("run", "--on-signal", "USR1", "--on-signal", "WINCH", "--", "sh", "-c", "trap : USR1 WINCH; :")
        for signal in (10, 28):
            self.assertEqual(result.err.count(f"handles signal {signal} itself"), 1, result.err)

    def test_when_growth(self):
        result = self.run_victim("grow", options=["--when", "growth>40M"])
        self.assertEqual(result.out, "grown\n")
        triggers = [self.read(path)[0]["trigger"] for path in result.files]
        self.assertEqual(triggers, [6] * len(triggers))
        self.assertIn(len(triggers), (2, 3), result.err)

    def test_when_rss_has_hysteresis(self):
        result = self.run_victim("grow", "2", options=["--when", "rss>80M"])
        self.assertEqual(len(result.files), 2, result.err)

    def test_a_device_is_written_to(self):
        """Not a file beside it, in a folder of devices."""
        before = glob.glob("/dev/null*")
        result = self.snap("run", "-o", "/dev/null", "--", VICTIM, "plain")
        self.assertEqual((result.status, result.out), (7, "plain\n"), result.err)
        self.assertEqual(glob.glob("/dev/null*"), before)
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))

    def test_rank(self):
        for name, value in (("LOCAL_RANK", "3"), ("RANK", "5")):
            self.env[name] = value
            result = self.run_victim("plain", options=["-f", "-o", "rank%r.snap"])
            self.assertEqual(self.read(os.path.join(self.directory, f"rank{value}.snap"))[0]["rank"], int(value), result.err)

    # --- allocations that fail ---

    def test_on_oom(self):
        result = self.same_as_plain("oom", "3", options=["--on-oom"])
        self.assertEqual(len(result.files), 1, result.err)
        meta, tables = self.read(result.files[0])
        self.assertEqual((meta["trigger"], meta["label"]), (7, "malloc of 1073741824 bytes failed"))
        self.assertEqual(self.planted(tables, 48), 1000)
        self.assertEqual(result.err.count("failed"), 0)

    def test_on_oom_names_who_asked(self):
        result = self.run_victim("oom", options=["--on-oom"])
        _, tables = self.read(result.files[0])
        self.assertEqual(self.asked_by(tables)[:2], ["want", "oom"])

    def asked_by(self, tables):
        """Functions of the stack that the snapshot was taken at, the innermost first."""
        functions = {row["frame"]: row.get("function") for row in reversed(tables["SYMB"])}
        at, names = tables["THRD"][0]["stack"], []
        while at:
            row = tables["STAK"][at - 1]
            names.append(functions.get(row["frame"]))
            at = row.get("parent")
        return names

    def test_on_oom_again(self):
        result = self.run_victim("oom", "4", options=["--on-oom", "--oom-interval", "1ms"])
        self.assertEqual(result.status, 7)
        self.assertEqual(len(result.files), 4, result.err)

    def test_on_oom_then_abort(self):
        result = self.same_as_plain("oom-abort", options=["--on-oom"])
        self.assertEqual(result.status, -signal.SIGABRT)
        self.assertEqual(len(result.files), 1, result.err)
        self.assertEqual(self.planted(self.read(result.files[0])[1], 48), 1000)

    def test_on_oom_by_each_of_the_family(self):
        for name in ["calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "memalign", "valloc", "mmap"]:
            with self.subTest(name):
                result = self.same_as_plain("oom-by", name, options=["--on-oom", "-f", "-o", name + ".snap"])
                meta, _ = self.read(os.path.join(self.directory, name + ".snap"))
                self.assertEqual(meta["trigger"], 7)
                by = "realloc" if name == "reallocarray" else name
                self.assertEqual(meta["label"], f"{by} of {1 << 46} bytes failed", result.err)

    def test_on_oom_not_for_nonsense(self):
        result = self.same_as_plain("oom-none", options=["--on-oom"])
        self.assertEqual(result.files, [])

    def test_on_oom_in_threads(self):
        result = self.same_as_plain("oom-threads", options=["--on-oom"])
        self.assertEqual(len(result.files), 1, result.err)

    def test_on_oom_in_a_child(self):
        result = self.same_as_plain("oom-fork", options=["--on-oom"])
        metas = [self.read(path)[0] for path in result.files]
        self.assertEqual(len({meta["pid"] for meta in metas}), 2, result.err)
        self.assertEqual([meta["trigger"] for meta in metas], [7, 7])

    def test_without_on_oom(self):
        result = self.run_victim("oom", options=["--every", "1h"])
        self.assertEqual(result.files, [])


class Requests(Program):
    """By `snap take`, with all threads of the program."""

    # --- on request ---

    def test_take(self):
        process, pid = self.start_victim("idle", "4000")
        result = self.snap("take", str(pid), "-o", "asked.snap", "--label", "asked", "--step", "12")
        self.assertEqual(result.status, 0, result.err)
        self.assertEqual(result.out, os.path.join(os.path.realpath(self.directory), "asked.snap") + "\n")
        meta, tables = self.read(result.out.strip())
        self.assertEqual((meta["trigger"], meta["label"], meta["step"]), (5, "asked", 12))
        self.assertEqual(self.planted(tables, 48), 1000)
        again = self.snap("take", str(pid), "-o", "asked.snap")
        self.assertEqual(again.status, 2)
        self.assertIn("asked.snap", again.err)
        self.assertEqual(self.snap("take", str(pid), "-o", "asked.snap", "--force").status, 0)
        self.assertEqual(process.wait(TIMEOUT), 0)
        # Some were taken, so there is none at exit.
        self.assertEqual([os.path.basename(path) for path in self.files()], ["asked.snap"])

    def test_take_many_times(self):
        process, pid = self.start_victim("churn", "3000")
        n = 0
        while process.poll() is None and n < 8:
            result = self.snap("take", str(pid))
            if result.status != 0:
                self.assertRegex(result.err, "ended|ending|no process|not tracked")
                break
            self.read(result.out.strip())
            n += 1
        self.assertGreater(n, 1)
        self.assertEqual(process.communicate(timeout=TIMEOUT)[0], b"wrong 0\n")

    def test_take_of_strangers(self):
        other = self.start("sleep", "30")
        for pid, message in [(other.pid, "not tracked"), (2**22 - 1, "no process"), (1 << 31, "no process number")]:
            result = self.snap("take", str(pid))
            self.assertEqual(result.status, 2)
            self.assertIn(message, result.err)
        self.assertEqual(self.snap("take", "one").status, 2)
        self.assertEqual(self.snap("take").status, 2)

    def test_take_as_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to be somebody else")
        process, pid = self.start_victim("idle", "3000")
        os.chmod(self.top, 0o755)
        try:
            result = subprocess.run([SNAP, "take", str(pid)], capture_output=True, text=True, user=65534, group=65534,
                                    timeout=TIMEOUT, cwd="/")
        except PermissionError:
            self.skipTest("another user may not enter the build folder")
        self.assertEqual(result.returncode, 2)
        self.assertIn("another user", result.stderr)
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_take_when_deaf(self):
        process, pid = self.start_victim("block-all", "2000")
        result = self.snap("take", str(pid))
        self.assertEqual(result.status, 2)
        self.assertIn("blocks signal", result.err)
        self.assertEqual(process.wait(TIMEOUT), 0)
        self.assertEqual(len(self.files()), 1)

    def test_take_when_stopped(self):
        process, pid = self.start_victim("idle", "1000")
        os.kill(pid, signal.SIGSTOP)
        result = self.snap("take", str(pid), "--timeout", "0.5")
        os.kill(pid, signal.SIGCONT)
        self.assertEqual(result.status, 2)
        self.assertIn("does not answer", result.err)
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_take_from_another_pid_namespace(self):
        if os.geteuid() != 0 or not shutil.which("unshare"):
            self.skipTest("needs root and unshare(1)")
        process = self.start("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", SNAP, "run", "--", VICTIM, "idle", "4000")
        if process.stdout.readline() != b"ready\n":
            self.skipTest("no new pid namespace here")
        pid = self.child_of(self.child_of(process.pid))
        result = self.snap("take", str(pid))
        self.assertEqual(result.status, 0, result.err)
        meta, _ = self.read(result.out.strip())
        self.assertNotEqual(meta["pid"], pid)
        process.wait(TIMEOUT)

    def test_two_requests_at_once(self):
        process, pid = self.start_victim("idle", "5000")
        takers = [self.start(SNAP, "take", str(pid)) for _ in range(3)]
        for taker in takers:
            _, err = taker.communicate(timeout=TIMEOUT)
            self.assertEqual(taker.returncode, 0, err)
        self.assertEqual(len(self.files()), 3)
        process.kill()

    def test_writer_killed(self):
        """Whoever asked hears of it, the program does not, and there is no file."""
        process, pid = self.start_victim("idle", "4000")
        # A FIFO in place of the file's directory cannot be had; so: a limit on memory of the writer's making is not ours to
        # set, and the kill is sent when it shows up.
        taker = self.start(SNAP, "take", str(pid))
        end, killed = time.monotonic() + 30, False
        while not killed and taker.poll() is None and seconds_left(end):
            for path in glob.glob("/proc/[0-9]*/comm"):
                try:
                    with open(path) as f:
                        name = f.read()
                    writer = int(path.split("/")[2])
                    with open(f"/proc/{writer}/cwd/.", "rb"):
                        pass
                except (OSError, ValueError):
                    name = name if name.startswith("heapsnap-write") else ""
                if name.startswith("heapsnap-write") and os.readlink(f"/proc/{writer}/cwd") == os.path.realpath(self.directory):
                    os.kill(writer, signal.SIGKILL)
                    killed = True
                    break
        _, err = taker.communicate(timeout=TIMEOUT)
        if not killed:
            self.skipTest("the writer was too fast to be killed")
        self.assertEqual(taker.returncode, 2)
        self.assertIn(b"heapsnap-write", err)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual((out, process.returncode), (b"end\n", 0))

    # --- threads ---

    def test_threads_are_stopped_or_listed(self):
        process, pid = self.start_victim("threads", "4000")
        result = self.snap("take", str(pid))
        self.assertEqual(result.status, 0, result.err)
        self.assertEqual(process.wait(TIMEOUT), 0)
        meta, tables = self.read(result.out.strip())
        threads = {row["name"]: row["flags"] for row in tables["THRD"]}
        self.assertEqual(len(tables["THRD"]), 5)
        self.assertEqual(threads["deaf"] & 7, 4, "a thread that blocks the signal is unstopped")
        self.assertIn(threads["runner"] & 15, (1, 8), "one that runs is parked, or took it")
        blocked = [row for row in tables["THRD"] if row["flags"] & 2]
        self.assertGreaterEqual(len(blocked), 2)
        self.assertEqual(meta["completeness"]["unstopped_threads"], 1)
        for row in tables["THRD"]:
            if row["name"] != "deaf":
                self.assertTrue(row["stack_low"] <= row["sp"] < row["stack_high"], row)

    def take_of_busy(self, pid, n):
        """Takes n snapshots of a program that keeps all processors busy. Linux 6.18 may then keep others from them for half a minute;
        so a few may give up waiting: the threads were stopped all the same."""
        failed = [result.err for result in (self.snap("take", "--no-edges", str(pid)) for _ in range(n)) if result.status]
        self.assertEqual([err for err in failed[:3] if "makes no progress" not in err] + failed[3:], [])

    def test_sleeps_are_not_cut_short(self):
        process, pid = self.start_victim("eintr")
        for _ in range(5):
            result = self.snap("take", str(pid))
            self.assertEqual(result.status, 0, result.err)
        out, _ = process.communicate(input=b"x", timeout=TIMEOUT)
        self.assertEqual(out, b"interrupted 0\n")

    def test_brief_sleeps_are_not_cut_short(self):
        """Threads that are about to sleep, or have been woken and wait for a processor, when a snapshot looks for them."""
        process, pid = self.start_victim("brief-sleeps")
        self.take_of_busy(pid, 15)
        out, _ = process.communicate(input=b"x", timeout=TIMEOUT)
        lines = out.decode().splitlines()
        self.assertEqual(len(lines), 9)
        self.assertEqual([line for line in lines if not line.endswith(": 0 0")], [], "kind: interrupted, short")

    def test_the_only_sleep_goes_on(self):
        for how in ("nanosleep", "absolute", "select", "ppoll", "sigwait", "pause"):
            with self.subTest(how):
                for seconds in (1, 4, 16):  # a busy machine may come too late to a short one
                    process, pid = self.start_victim("sleep-alone", how, str(seconds))
                    if not os.access(f"/proc/{pid}/syscall", os.R_OK):
                        self.skipTest("what a process sleeps in may not be seen here")
                    self.wait_for_state(pid, "SZ")
                    taken = [self.snap("take", str(pid)).status == 0 for _ in range(2)]
                    out, _ = process.communicate(timeout=TIMEOUT)
                    self.assertEqual(out, b"0 whole\n")
                    if any(taken):
                        break
                else:
                    self.fail("no snapshot came in time")

    def test_signals_of_the_program_are_not_lost(self):
        result = self.run_victim("interrupted-reads", options=["--every", "0.001"])
        self.assertEqual((result.out, result.status), ("ready\ninterrupted 300\n", 0), result.err)

    def test_signals_of_the_program_end_what_they_ended(self):
        """A call that the program's handler interrupts while the thread is stopped is not taken for one that we interrupted."""
        process, pid = self.start_victim("interrupted-polls")
        self.take_of_busy(pid, 10)
        out, _ = process.communicate(input=b"x", timeout=TIMEOUT)
        self.assertEqual(out, b"not ended 0\n")
        result = self.run_victim("interrupted-polls", "alone", options=["--every", "0.01"])
        self.assertEqual((result.out, result.status), ("ready\nnot ended 0\n", 0), result.err)

    def test_small_stack(self):
        process, pid = self.start_victim("small-stack", "3000")
        result = self.snap("take", str(pid))
        self.assertEqual(result.status, 0, result.err)
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_churn_under_snapshots(self):
        result = self.run_victim("churn", "2500", options=["--every", "0.2"])
        self.assertEqual((result.out, result.status), ("ready\nwrong 0\n", 0), result.err)
        for path in result.files:
            self.read(path)


class Children(Program):
    """Of children and what is executed, and by calls of the library."""

    # --- children, fork, exec ---

    def test_no_strange_children(self):
        result = self.run_victim("wait", "1500", options=["--every", "0.2"])
        self.assertEqual(result.out, "ready\nstrangers 0 signals 0 own 1 then 1\n")
        self.assertGreater(len(result.files), 0, result.err)

    def test_ignored_sigchld(self):
        result = self.run_victim("ignore-children", "1200", options=["--every", "0.3"])
        self.assertEqual((result.out, result.status), ("ready\nend\n", 0))
        self.assertGreater(len(result.files), 0, result.err)

    def test_tree(self):
        result = self.same_as_plain("tree", options=["--all-processes"])
        self.assertEqual(len(result.files), 5)
        metas = [self.read(path)[0] for path in result.files]
        by_lineage = {meta["lineage"]: meta for meta in metas}
        self.assertEqual(len(by_lineage), 5)
        parents = collections.Counter(meta.get("parent_lineage", "") for meta in metas)
        self.assertEqual(sorted(parents.values()), [1, 1, 1, 2])
        for meta in metas:
            if "parent_lineage" in meta:
                self.assertIn(meta["parent_lineage"], by_lineage)
            self.assertEqual(meta["sequence"], 1)

    def test_inherited_blocks(self):
        result = self.run_victim("tree", options=["--all-processes"])
        for path in result.files:
            meta, tables = self.read(path)
            inherited = [node for node in tables["NODE"] if node["size"] == 64 and node.get("flags", 0) & 1]
            self.assertEqual(len(inherited), 100 if "parent_lineage" in meta else 0)

    def test_fork_storm(self):
        result = self.same_as_plain("fork-storm", options=["--every", "0.2"])
        self.assertEqual(result.status, 0)

    def test_no_follow(self):
        self.assertEqual(len(self.same_as_plain("tree", options=["--no-follow"]).files), 1)
        self.assertEqual(len(self.same_as_plain("shell", options=["--no-follow", "--all-processes"]).files), 2)

    def test_daemon(self):
        result = self.run_victim("daemon", options=["--all-processes"])
        self.assertEqual((result.out, result.status), ("daemon ended 0\n", 0))
        pids = {self.read(path)[0]["pid"] for path in self.files()}
        self.assertEqual(len(pids), 3)

    def test_shell(self):
        result = self.same_as_plain("shell", options=["--all-processes"])
        self.assertGreaterEqual(len(result.files), 3)
        for path in result.files:
            self.read(path)

    def test_short_lived_processes_are_left_out(self):
        script = "for i in 1 2 3; do /bin/true; done; x=$(echo y); /bin/sleep 1.2; exec /bin/echo end"
        result = self.snap("run", "--", "/bin/sh", "-c", script)
        self.assertEqual(result.out, "end\n")
        names = sorted(os.path.basename(self.read(path)[0]["executable"]) for path in result.files)
        self.assertEqual(names, ["echo", "sleep"])
        self.assertIn("short-lived processes left out", result.err)
        before = set(result.files)
        result = self.snap("run", "--all-processes", "--", "/bin/sh", "-c", script)
        self.assertGreaterEqual(len(set(result.files) - before), 5)
        self.assertNotIn("left out", result.err)

    def test_processes_that_hold_much_are_kept(self):
        code = ("import os\nif os.fork() == 0:\n    keep = bytearray(3 << 20)\n    os._exit(0)\nos.wait()\n"
                "if os.fork() == 0:\n    os._exit(0)\nos.wait()\n")
        result = self.snap("run", "--", "/usr/bin/python3", "-I", "-c", "keep = bytearray(5 << 20)\n" + code)
        self.assertEqual(len(result.files), 2, result.err)

    def test_exec(self):
        result = self.same_as_plain("exec")
        self.assertEqual(result.out, "errno 2\nzero one\n")
        self.assertEqual([os.path.basename(self.read(path)[0]["executable"]) for path in result.files], ["dash"])

    def test_exec_under_fire(self):
        """A request that comes while a program replaces itself must not kill it."""
        result = self.run_victim("exec-chain", "60", options=["--every", "0.001"])
        self.assertEqual((result.out, result.status), ("chain end\n", 0), result.err)

    def test_vfork(self):
        result = self.same_as_plain("vfork")
        self.assertEqual(result.out, "good 20\n")

    def test_clone_without_fork_handlers(self):
        result = self.same_as_plain("clone", options=["--all-processes"])
        pids = {self.read(path)[0]["pid"] for path in result.files}
        self.assertEqual(len(pids), 2)

    def test_pipes_close_when_the_program_closes_them(self):
        process, pid = self.start_victim("lost-pipe", options=["--every", "0.1"])
        start = time.monotonic()
        self.assertEqual(process.stdout.read(), b"")
        self.assertIsNone(process.poll(), f"end of file only after {time.monotonic() - start:.1f} s")
        process.wait(TIMEOUT)

    # --- the library's call ---

    @unittest.skipIf(os.environ.get("WITHOUT_LIBRARY"), "the library is made for a sanitizer")
    def test_api(self):
        for name, more, consistency in [("a.snap", [], 1), ("b.snap", ["in-place"], 2)]:
            result = self.run_victim("api", name, *more)
            self.assertEqual(result.out.splitlines()[0], "0 ", result.err)
            self.assertEqual(result.out.splitlines()[1], "again -2")
            meta, tables = self.read(os.path.join(self.directory, name))
            self.assertEqual((meta["trigger"], meta["label"], meta["step"]), (1, "epoch 1", -3))
            user = {name: self.signed(value) for name, value in meta["user"].items()}
            self.assertEqual(user, {"samples": 1024, "negative": -5})
            self.assertEqual(meta["consistency"], consistency)
            self.assertEqual(self.planted(tables, 48), 1000)

    @unittest.skipIf(os.environ.get("WITHOUT_LIBRARY"), "the library is made for a sanitizer")
    def test_api_untracked(self):
        out, status = self.plain(VICTIM, "api", "c.%p.%n.snap")
        self.assertEqual((out, status), ("0 \nagain 0\n", 0))
        files = self.files()
        self.assertEqual(len(files), 2)
        meta, tables = self.read(files[0])
        self.assertEqual((meta["trigger"], meta["label"], meta["consistency"]), (1, "epoch 1", 3))
        self.assertEqual(meta.get("tracked", 0), 0)
        self.assertGreater(meta["process"]["rss_bytes"], 0)
        self.assertGreater(len(tables["MODS"]), 2)
        self.assertGreater(len(tables["REGN"]), 5)
        self.assertEqual(tables["NODE"], [])
        self.assertEqual([self.read(path)[0]["sequence"] for path in files], [1, 2])

    @unittest.skipIf(os.environ.get("WITHOUT_LIBRARY"), "the library is made for a sanitizer")
    def test_api_in_threads(self):
        result = self.run_victim("api-threads")
        self.assertEqual(result.out, "good 9\n", result.err)
        self.assertEqual(sorted(self.read(path)[0]["sequence"] for path in result.files), list(range(1, 10)))


class Surroundings(Program):
    """Names, bad luck, programs that cannot be tracked, and what a program sees of it."""

    # --- names ---

    def test_existing_files_are_kept(self):
        for expected in (1, 2, 3):
            result = self.run_victim("plain", options=["-o", "same.snap"])
            self.assertEqual(len(result.files), expected)
        self.assertIn(os.path.join(self.directory, "same.snap"), self.files())
        self.assertTrue(all(name.startswith("same.") for name in os.listdir(self.directory)))
        first = os.stat(os.path.join(self.directory, "same.snap"))
        self.run_victim("plain", options=["-o", "same.snap", "--force"])
        self.assertEqual(len(self.files()), 3)
        self.assertNotEqual(os.stat(os.path.join(self.directory, "same.snap")).st_ino, first.st_ino)

    def test_pattern(self):
        self.env["RANK"] = "3"
        result = self.run_victim("plain", options=["-o", "a%%-%r-%n-%p.snap"])
        meta, _ = self.read(result.files[0])
        self.assertEqual(meta["rank"], 3)
        self.assertEqual(os.path.basename(result.files[0]), f"a%-3-1-{meta['pid']}.snap")
        self.assertEqual(self.run_victim("plain", options=["-o", "a%x"]).status, 2)

    def test_directory_with_odd_name(self):
        odd = os.path.join(self.directory, "50% of a:b c")
        os.mkdir(odd)
        done = subprocess.run([SNAP, "run", "--", VICTIM, "plain"], cwd=odd, env=self.env, capture_output=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertEqual(len(os.listdir(odd)), 1)

    def test_relative_name_and_changed_directory(self):
        result = self.snap("run", "-o", "here.snap", "--", sys.executable, "-I", "-c", "import os; os.chdir('/')")
        self.assertEqual([os.path.basename(path) for path in result.files], ["here.snap"], result.err)

    # --- bad luck ---

    def test_unwritable_directory(self):
        for place in ("/proc", "/nonexistent", "/dev/null"):
            result = self.run_victim("plain", options=["-o", f"{place}/x.snap"])
            self.assertEqual((result.out, result.status), ("", 2))
            self.assertEqual(len(result.err.splitlines()), 1)
            self.assertIn(place, result.err)

    def test_directory_that_vanishes(self):
        gone = os.path.join(self.directory, "gone")
        os.mkdir(gone)
        result = self.snap("run", "-o", "gone/x.snap", "--", "rmdir", gone)
        self.assertEqual((result.out, result.status), ("", 0))
        self.assertIn("failed", result.err)
        self.no_leftovers()

    def test_full_disk(self):
        result = self.same_as_plain("full-disk")
        self.assertEqual((result.out, result.status, result.files), ("full\n", 9, []))
        self.assertIn("1 failed", result.err)

    def test_full_device(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        result = self.run_victim("plain", options=["-f", "-o", "/dev/full"])
        self.assertEqual((result.out, result.status), ("plain\n", 7))
        self.assertIn("1 failed", result.err)
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))

    def test_hung_writer(self):
        hung = os.path.join(self.top, "hung")
        with open(hung, "w") as f:
            f.write("#!/bin/sh\nexec sleep 20\n")
        os.chmod(hung, 0o755)
        recorder = self.recorder()
        env = dict(self.env, LD_PRELOAD=recorder, HEAPSNAP_WRITE=hung, HEAPSNAP_EXIT_TIMEOUT="1")
        start = time.monotonic()
        done = subprocess.run([VICTIM, "plain"], cwd=self.directory, env=env, capture_output=True, timeout=TIMEOUT)
        self.assertEqual((done.stdout, done.stderr, done.returncode), (b"plain\n", b"", 7))
        self.assertLess(time.monotonic() - start, 15)
        self.assertEqual(self.files(), [])

    def test_missing_writer(self):
        env = dict(self.env, LD_PRELOAD=self.recorder(), HEAPSNAP_WRITE="/nonexistent/writer")
        done = subprocess.run([VICTIM, "plain"], cwd=self.directory, env=env, capture_output=True, timeout=TIMEOUT)
        self.assertEqual((done.stdout, done.stderr, done.returncode), (b"plain\n", b"", 7))

    def recorder(self):
        out = self.snap("run", "-q", "-o", "/dev/null", "--", "env").out
        return [line for line in out.splitlines() if line.startswith("LD_PRELOAD=")][0].split("=", 1)[1]

    def test_private_directory_of_another(self):
        """A directory that others may write to is not used."""
        shared = os.path.join(self.private, f"heapsnap-{os.geteuid()}")
        os.mkdir(shared)
        os.chmod(shared, 0o777)
        self.env["TMPDIR"] = self.top
        result = self.run_victim("plain")
        self.assertEqual(result.status, 7, result.err)
        self.assertEqual(os.listdir(shared), [])

    # --- programs that cannot be tracked ---

    def test_missing_and_forbidden(self):
        text = os.path.join(self.directory, "text")
        with open(text, "w") as f:
            f.write("no program\n")
        for command, status in [("/nonexistent", 127), ("no-such-command-anywhere", 127), (text, 126), (self.directory, 126)]:
            result = self.snap("run", "--", command)
            self.assertEqual(result.status, status, result.err)
            self.assertEqual(len(result.err.splitlines()), 1)
            self.assertEqual(result.out, "")
        os.unlink(text)

    def compile(self, *options):
        source, binary = os.path.join(self.top, "a.c"), os.path.join(self.top, "a.out")
        with open(source, "w") as f:
            f.write('#include <stdio.h>\nint main(void) { puts("ran"); return 0; }\n')
        done = subprocess.run(["cc", source, "-o", binary, *options], capture_output=True)
        if done.returncode != 0:
            self.skipTest(f"the compiler cannot make one: cc {' '.join(options)}")
        return binary

    def refuse(self, binary, message):
        result = self.snap("run", "--", binary)
        self.assertEqual((result.out, result.status), ("", 2), result.err)
        self.assertEqual(len(result.err.splitlines()), 1)
        self.assertIn(message, result.err)

    def test_static(self):
        self.refuse(self.compile("-static"), "statically linked")
        self.refuse(self.compile("-static-pie"), "statically linked")

    def test_32_bit(self):
        binary = self.compile()
        with open(binary, "r+b") as f:  # the class in the ELF header is all that is looked at
            f.seek(4)
            f.write(b"\x01")
        self.refuse(binary, "32-bit")

    def test_musl(self):
        self.refuse(self.compile("-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"), "musl")

    def test_setuid(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to make one")
        binary = self.compile()
        os.chown(binary, 65534, 65534)
        os.chmod(binary, 0o4755)
        self.refuse(binary, "setuid")

    def test_script_of_a_static_interpreter(self):
        binary, script = self.compile("-static"), os.path.join(self.top, "script")
        with open(script, "w") as f:
            f.write(f"#!{binary}\n")
        os.chmod(script, 0o755)
        self.refuse(script, "statically linked")

    def test_wrong_options(self):
        for arguments in [[], ["--nonsense", "true"], ["--every", "x", "true"], ["--when", "cpu>1", "true"],
                          ["--on-signal", "KILL", "true"], ["--every"], ["--on-signal", str(CONTROL), "true"]]:
            result = self.snap("run", *arguments)
            self.assertEqual((result.out, result.status), ("", 2), arguments)
            self.assertTrue(result.err)

    def test_help(self):
        for verb in ("run", "take"):
            result = self.snap(verb, "--help")
            self.assertEqual((result.status, result.err), (0, ""))
            self.assertIn("Usage: ", result.out)
            self.assertLessEqual(max(map(len, result.out.splitlines())), 100)

    # --- standing in the program's place ---

    def test_signals_are_passed_on(self):
        process, _ = self.start_victim("signals")
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
            process.send_signal(number)
            self.assertEqual(process.stdout.readline(), f"signal {int(number)}\n".encode())
        process.terminate()
        self.assertEqual(process.stdout.readline(), b"signal 15\n")
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_stop_and_continue(self):
        process, pid = self.start_victim("idle", "1500")

        os.kill(pid, signal.SIGSTOP)
        self.wait_for_state(pid, "T")
        os.kill(pid, signal.SIGCONT)
        self.wait_for_state(pid, "SR")
        os.killpg(process.pid, signal.SIGTSTP)
        self.wait_for_state(pid, "T")
        self.wait_for_state(process.pid, "T")
        os.killpg(process.pid, signal.SIGCONT)
        self.wait_for_state(pid, "SR")
        process.send_signal(signal.SIGTSTP)
        self.wait_for_state(pid, "T")
        self.wait_for_state(process.pid, "T")
        os.kill(process.pid, signal.SIGCONT)
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_other_preloads_stay(self):
        self.env["LD_PRELOAD"] = "libm.so.6"
        result = self.snap("run", "-q", "--", "sh", "-c", "echo $LD_PRELOAD")
        self.assertRegex(result.out, r"libheapsnap-preload\.so:libm\.so\.6\n$")

    def test_standard_descriptors_closed(self):
        """Files of ours must not land on descriptors that the program takes for its own."""
        script = f"exec '{SNAP}' run -q -- '{VICTIM}' _exit <&- >&- 2>&-"
        done = subprocess.run(["sh", "-c", script], cwd=self.directory, env=self.env, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 11)
        self.assertEqual(len(self.files()), 1)
        self.read(self.files()[0])


if __name__ == "__main__":
    if sys.platform != "linux":
        print("the recorder runs on Linux only")
        sys.exit(77)
    unittest.main(verbosity=2)
