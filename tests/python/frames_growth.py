"""Keeps as many blocks as it is told to, under more functions of C than a report shows."""
import ctypes
import os
import sys

lib = ctypes.CDLL(os.environ["STACKED"])
lib.stacked_block.argtypes = [ctypes.c_size_t]


def keep(size):
    lib.stacked_block(size)  # LINE


for i in range(int(sys.argv[1])):
    keep(1000000 + 16 * i)
