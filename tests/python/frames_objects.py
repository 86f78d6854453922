"""Objects of which the stack is wanted: 1000 of a class, in lists of a known line; run with and without --python-allocations."""
import os
import signal
import time


class Kept:
    __slots__ = ("value",)


def make():
    for i in range(1000):
        one = Kept()  # LINE
        one.value = None
        yield one


kept = list(make())
again = [Kept() for _ in range(10)]
again.clear()
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.3)
