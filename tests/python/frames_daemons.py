"""Threads that allocate without the global lock while the interpreter goes down under them."""
import ctypes
import os
import threading
import time

lib = ctypes.CDLL(os.environ["STACKED"])
lib.stacked_block.restype = ctypes.c_void_p
lib.stacked_block.argtypes = [ctypes.c_size_t]
libc = ctypes.CDLL(None)
libc.free.argtypes = [ctypes.c_void_p]


def work(depth):
    if depth:
        return work(depth - 1)
    lib.stacked_for_ever()


class Late:
    def __del__(self):
        for _ in range(20000):
            libc.free(lib.stacked_block(3000))


late = Late()
for i in range(6):
    threading.Thread(target=work, args=(i * 5,), daemon=True).start()
time.sleep(0.2)
