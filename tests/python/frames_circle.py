"""Python whose innermost frame says, while memory is mapped, that it was called by itself."""
import ctypes
import os
import sys

lib = ctypes.CDLL(os.environ["STACKED"])
lib.stacked_in_circle.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
lib.stacked_in_circle.restype = None

# Where an object of type frame has its frame, and that one its caller's: see CPython's pycore_frame.h.
FRAME_AT, PREVIOUS_AT = 24, 48 if sys.version_info < (3, 12) else 8


def inner(n):
    frame = ctypes.c_void_p.from_address(id(sys._getframe()) + FRAME_AT).value
    for _ in range(n):
        lib.stacked_in_circle(frame, frame + PREVIOUS_AT)
    return n


def outer(n):
    return inner(n)


print(outer(3))
