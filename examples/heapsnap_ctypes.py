"""heapsnap's C function snap_take(), called through ctypes.

The structures are those of <heapsnap/capture.h> and <heapsnap/common.h>. The library is the file named by the environment
variable HEAPSNAP_LIBRARY, else the installed libheapsnap.
"""
import ctypes
import ctypes.util
import os


class Counter(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_int64)]


class TakeOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("label", ctypes.c_char_p),
        ("step", ctypes.c_int64),
        ("has_step", ctypes.c_int),
        ("overwrite", ctypes.c_int),
        ("no_fork", ctypes.c_int),
        ("counters", ctypes.POINTER(Counter)),
        ("n_counters", ctypes.c_size_t),
    ]


class Error(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_int32),
        ("chunk", ctypes.c_uint32),
        ("offset", ctypes.c_uint64),
        ("message", ctypes.c_char * 240),
    ]


class SnapError(RuntimeError):
    """A snapshot could not be taken."""


def load():
    path = os.environ.get("HEAPSNAP_LIBRARY") or ctypes.util.find_library("heapsnap")
    if not path:
        raise SnapError("libheapsnap is not installed; HEAPSNAP_LIBRARY can name the file")
    library = ctypes.CDLL(path)
    library.snap_take.argtypes = [ctypes.c_char_p, ctypes.POINTER(TakeOptions), ctypes.POINTER(Error)]
    library.snap_take.restype = ctypes.c_int
    return library


_library = load()


def take(path, label=None, step=None, counters=None, overwrite=False):
    """Writes a snapshot of this process to path. counters is a dict of names and integers."""
    rows = [Counter(name.encode(), value) for name, value in (counters or {}).items()]
    options = TakeOptions(
        struct_size=ctypes.sizeof(TakeOptions),
        label=label.encode() if label is not None else None,
        step=step or 0,
        has_step=step is not None,
        overwrite=overwrite,
        counters=(Counter * len(rows))(*rows) if rows else None,
        n_counters=len(rows),
    )
    error = Error()
    if _library.snap_take(os.fsencode(path), ctypes.byref(options), ctypes.byref(error)) < 0:
        raise SnapError(error.message.decode(errors="replace"))
