"""A program that knows the stacks it allocates on: run by test_frames.py under the recorder, without the module.

Each block has a size of its own. What is printed is, per size, the functions of Python in which it was asked for, innermost
first, as the interpreter's own frames tell them at that moment: [name, line, whether a C function calls it]."""
import asyncio
import atexit
import ctypes
import functools
import json
import os
import sys
import threading

lib = ctypes.CDLL(os.environ["STACKED"])  # lets go of the global lock
held = ctypes.PyDLL(os.environ["STACKED"])  # keeps it
for library in (lib, held):
    library.stacked_block.restype = ctypes.c_void_p
    library.stacked_block.argtypes = [ctypes.c_size_t]
CALLBACK = ctypes.CFUNCTYPE(None)
HERE = __file__
truth, sizes = {}, iter(range(1000003, 10**9, 16))
lock = threading.Lock()
NAME = "co_qualname" if hasattr((lambda: 0).__code__, "co_qualname") else "co_name"


def stack(size, frame, lines=0):
    """Tells the stack of a frame, at the line where it stands, or so many further on."""
    told = []
    while frame:
        told.append([getattr(frame.f_code, NAME), frame.f_lineno, frame.f_code.co_filename])
        frame = frame.f_back
    told[0][1] += lines
    truth[size] = told
    return size


def new_size():
    with lock:
        return next(sizes)


get = sys._getframe


def plain():
    lib.stacked_block(stack(new_size(), get()))
    held.stacked_block(stack(new_size(), get()))


def over_lines():
    size = new_size()
    lib.stacked_block(
        stack(
            size,
            get(), -1))


def by_comprehension():
    return [lib.stacked_block(stack(new_size(), get())) for _ in range(3)]


def generator():
    lib.stacked_block(stack(new_size(), get()))
    yield 1
    lib.stacked_block(stack(new_size(), get()))
    yield from inner_generator()


def inner_generator():
    lib.stacked_block(stack(new_size(), get()))
    yield lib.stacked_block(stack(new_size(), get()))


class Made:
    def __init__(self, value):
        self.value = lib.stacked_block(stack(new_size(), get()))

    def __del__(self):
        lib.stacked_block(stack(new_size(), get()))

    @property
    def asked(self):
        return lib.stacked_block(stack(new_size(), get()))

    def __lt__(self, other):
        lib.stacked_block(stack(new_size(), get()))
        return True

    @functools.lru_cache(None)
    def cached(self, n):
        return lib.stacked_block(stack(new_size(), get()))


class Context:
    def __enter__(self):
        lib.stacked_block(stack(new_size(), get()))

    def __exit__(self, *what):
        lib.stacked_block(stack(new_size(), get()))
        return True


def exceptions(depth):
    try:
        if depth:
            exceptions(depth - 1)
        lib.stacked_block(stack(new_size(), get()))
        raise ValueError(depth)
    except ValueError:
        lib.stacked_block(stack(new_size(), get()))
        if depth:
            raise
    finally:
        lib.stacked_block(stack(new_size(), get()))


def from_c(depth):
    """C that calls Python that calls C."""
    def back():
        lib.stacked_block(stack(new_size(), get()))
        if depth:
            from_c(depth - 1)
        lib.stacked_block(stack(new_size(), get()))
    (lib if depth % 2 else held).stacked_call(CALLBACK(back))


def from_thread_of_c():
    def back():
        lib.stacked_block(stack(new_size(), get()))
        plain()
    lib.stacked_call_in_thread(CALLBACK(back))


def deep(n):
    if n:
        return deep(n - 1)
    lib.stacked_block(stack(new_size(), get()))


def deeper(n):
    """Down and up again, so that what was remembered is cut and whole by turns."""
    if n % 40 == 0:
        lib.stacked_block(stack(new_size(), get()))
    if n:
        deeper(n - 1)
    if n % 50 == 0:
        lib.stacked_block(stack(new_size(), get()))


def code_that_comes_and_goes():
    for i in range(60):
        text = "\n" * i + "lib.stacked_block(stack(new_size(), get()))"
        exec(compile(text, "made%d" % (i % 7), "exec"), globals())
        space = {}
        exec(compile("\n" * (i % 5) + "def made(): return lib.stacked_block(stack(new_size(), get()))", "def%d" % (i % 3), "exec"),
             globals(), space)
        space["made"]()


async def coroutine(n):
    lib.stacked_block(stack(new_size(), get()))
    await asyncio.sleep(0)
    lib.stacked_block(stack(new_size(), get()))
    if n:
        await asyncio.gather(coroutine(n - 1), coroutine(n - 1))
        async for _ in agenerator():
            lib.stacked_block(stack(new_size(), get()))


async def agenerator():
    lib.stacked_block(stack(new_size(), get()))
    yield 1


def threads():
    barrier = threading.Barrier(5)

    def work(i):
        for turn in range(40):
            if turn % 10 == 0:
                barrier.wait()
            (deep if turn % 2 else plain)(*[i][:turn % 2])
    all_threads = [threading.Thread(target=work, args=(i,)) for i in range(5)]
    for t in all_threads:
        t.start()
    for t in all_threads:
        t.join()


def names():
    namespace = {"lib": lib, "stack": stack, "new_size": new_size, "get": get}
    for name in ("prüfen", "检查", "\U00010400"):
        exec(compile("def %s():\n    lib.stacked_block(stack(new_size(), get()))" % name, "файл-%s.py" % name, "exec"), namespace)
        namespace[name]()


def again_and_again():
    """The same lines many times: what is remembered of a stack must not outlive it."""
    for _ in range(50):
        lib.stacked_block(stack(new_size(), get())); lib.stacked_block(stack(new_size(), get()))
        plain()
        plain()


def frames_used_again():
    """Functions alike that run in the same frame, one after the other: 3.10 keeps frames for whoever comes next."""
    for turn in range(4):
        space, work, truths = {"block": lib.stacked_block}, [], []
        for name, depth in (("first", 1), ("second", 0)):
            exec(compile("def %s(n, size):\n if n:\n  %s(n - 1, 0)\n if size:\n  block(size)" % (name, name), "again", "exec"), space)
            work.append((space[name], depth, new_size()))
            truths.append([name, 5, "again"])
        told = truth.pop(stack(new_size(), get(), 2))
        for function, depth, size in work:
            function(depth, size)
        for (_, _, size), first in zip(work, truths):
            truth[size] = [first, *told]


def traced():
    sys.settrace(lambda *what: None)
    plain()
    sys.settrace(None)
    sys.setprofile(lambda *what: None)
    plain()
    sys.setprofile(None)


def at_exit():
    lib.stacked_block(stack(new_size(), get()))


def numbers():
    """Memory of the interpreter itself, through its own allocators."""
    kept = bytearray(stack(new_size(), get()) - 1)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))  # outlives the interpreter


def main():
    plain()
    over_lines()
    by_comprehension()
    list(generator())
    for _ in map(lambda g: next(g), [generator()]):
        pass
    made = [Made(i) for i in range(2)]
    made[0].asked, made[0].cached(1)
    sorted(made)
    made.clear()
    with Context():
        raise KeyError
    try:
        exceptions(3)
    except ValueError:
        pass
    from_c(4)
    from_thread_of_c()
    deep(20)
    deep(500)
    deeper(400)
    code_that_comes_and_goes()
    asyncio.run(coroutine(2))
    threads()
    names()
    again_and_again()
    frames_used_again()
    traced()
    numbers()


sys.setrecursionlimit(5000)
atexit.register(at_exit)
main()
atexit.register(lambda: print(json.dumps(truth)))
