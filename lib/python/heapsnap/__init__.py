"""Snapshots of a process's heap, and what grew between them.

    import heapsnap

    for epoch in heapsnap.epochs(range(10), "run/epoch%n.snap"):
        train(epoch)                     # a snapshot after each
    heapsnap.diff(["run/epoch2.snap", "run/epoch5.snap", "run/epoch10.snap"])

A snapshot holds every object the interpreter knows: its type, its size with what it keeps outside of itself, its reference
count, and what refers to it by the name that is written in the program. It holds no values. The process is copied and goes
on; the copy writes the file. Objects are neither made nor freed nor counted.

In a process started by `snap run -- python ...` a snapshot also holds every block of memory with the stack that allocated it,
and calling this module is not needed.
"""
import contextlib
import gc
import json
import os
import subprocess
import sys
import sysconfig

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    raise ImportError(
        "heapsnap does not know free-threaded builds of CPython yet, whose objects are counted and kept differently; "
        "use a build with the global lock"
    )

from ._heapsnap import Error, _snap, is_tracked
from ._heapsnap import version as __version__

__all__ = ["Error", "Every", "diff", "epochs", "every", "is_tracked", "show", "snap"]


def snap(path, label=None, step=None, rank=None, counters=None, collect=False, overwrite=False):
    """Writes a snapshot of this process to path and returns when the file is complete.

    path      may hold %p (process id), %n (number of the snapshot), %r (rank), %% (a percent sign)
    label     text that tells the snapshot from others
    step      number of the training step or epoch
    rank      number of this process in a parallel job; None: what the launcher has put into the environment
    counters  whole numbers by name, such as {"samples": 4096}
    collect   True: collect garbage first, so that what remains is held by somebody
    overwrite True: replace an existing file

    Raises heapsnap.Error (an OSError) where the file cannot be written, ValueError for arguments that make no sense.
    """
    if collect:
        gc.collect()
    _snap(path, label, step, rank, counters, overwrite)


class Every:
    """Takes a snapshot at every n-th call of step(), and as a context manager one more at the end."""

    def __init__(self, n, path, collect=False, overwrite=False):
        if n < 1:
            raise ValueError("n must be 1 or more")
        self.n = n
        self.path = path
        self.collect = collect
        self.overwrite = overwrite
        self.count = 0
        self._last = None

    def step(self, label=None, counters=None):
        """Counts; True if a snapshot was taken."""
        self.count += 1
        if self.count % self.n:
            return False
        self._take(label, counters)
        return True

    def _take(self, label=None, counters=None):
        snap(self.path, label, self.count, None, counters, self.collect, self.overwrite)
        self._last = self.count

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._last != self.count:
            self._take("end")


def every(n, path, collect=False, overwrite=False):
    """A snapshot every n steps:

    with heapsnap.every(100, "run/%n.snap") as watch:
        for batch in loader:
            train(batch)
            watch.step()
    """
    return Every(n, path, collect, overwrite)


def epochs(iterable, path, collect=False, overwrite=False):
    """Iterates, with a snapshot after each turn of the loop; its step is the number of the turn from 1 on."""
    step = 0
    for value in iterable:
        yield value
        del value  # not held by this frame while the snapshot is taken
        step += 1
        snap(path, f"epoch {step}", step, None, None, collect, overwrite)


def _command(name):
    """Path of a command that came with this module, else of the one installed."""
    own = os.path.join(os.path.dirname(__file__), "bin", "heapsnap" if name == "snap" else name)
    if os.access(own, os.X_OK):
        return own
    beside = os.path.join(os.path.dirname(sys.executable), name)
    if os.access(beside, os.X_OK):
        return beside
    return os.environ.get("HEAPSNAP_COMMANDS", "") and os.path.join(os.environ["HEAPSNAP_COMMANDS"], name) or name


def _json(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except OSError as error:
        raise Error(2, f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode not in (0, 1):
        raise Error(done.returncode, done.stderr.decode(errors="replace").strip())
    return json.loads(done.stdout)


def diff(paths, *options):
    """Compares snapshots and returns what `snapdiff --json` prints, as a dict. options: of snapdiff, such as "--top", "5"."""
    return _json(_command("snapdiff"), "--json", *options, "--", *map(os.fspath, paths))


def show(path, *options):
    """What `snap show --json` prints of a snapshot, as a dict. options: of snap show, such as "--by", "site"."""
    return _json(_command("snap"), "show", "--json", *options, "--", os.fspath(path))
