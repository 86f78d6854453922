"""Python that is interrupted anywhere by a handler in C that maps memory, so that its stack is read between any two instructions."""
import ctypes
import json
import os
import time

lib = ctypes.CDLL(os.environ["STACKED"])
lib.stacked_signals.restype = ctypes.c_long


class A:
    def __init__(self, n):
        self.n = [n] * 3

    def method(self, n):
        return self.n and sum(x for x in range(n % 7))


def down(n):
    return down(n - 1) + 1 if n else A(n).method(n)


lib.stacked_signals(1)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    down(50)
    list(map(lambda n: A(n).method(n), range(50)))
    eval("[down(3) for _ in range(3)]")
    try:
        down(-1) if False else int("x")
    except ValueError:
        pass
print(json.dumps({"signals": lib.stacked_signals(0)}))
