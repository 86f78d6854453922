"""What the leak programs in Python share; rounds.h tells the same of those in C."""
import os
import sys

N_ROUNDS = 4
FOLDER = os.environ.get("ROUNDS_FOLDER")  # of `score --untracked`: the snapshots are to be taken from inside, and go there
if FOLDER:
    import heapsnap


def is_leak():
    """True for the run that leaks, False for its twin."""
    if len(sys.argv) != 2 or sys.argv[1] not in ("leak", "fixed"):
        sys.exit(f"usage: {sys.argv[0]} leak|fixed")
    return sys.argv[1] == "leak"


def end(number, leaked=0, of_process=False):
    """Ends round `number`, 0 being the warm-up: says what has leaked up to there, in bytes, and waits."""
    if number == 0:
        return
    if FOLDER:
        heapsnap.snap(os.path.join(FOLDER, f"{number}.snap"))
    # Not print and input: they would leave objects of their own.
    whose = f" process {os.getpid()}" if of_process else ""
    os.write(1, f"round {number} leaked {leaked}{whose}\n".encode())
    os.read(0, 16)
