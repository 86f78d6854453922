"""When a tracked Python program is copied: whoever asks, whatever it does, its objects are whole, or the file says that
they may not be."""
import unittest

from graph import SNAP, Program

RUN = [SNAP, "run", "-o", "exit.snap", "--"]
KEPT = "class Kept: pass\nkept = [Kept() for _ in range(1000)]\n"


class Asked(unittest.TestCase):
    SIGNAL = [SNAP, "run", "-o", "signal.snap", "--on-signal", "USR1", "--"]
    LATER = "def later():\n    time.sleep(0.3)\n    os.kill(os.getpid(), signal.SIGUSR1)\nimport signal, time\n"

    def check_moment(self, text, trigger=3, moving=None, command=SIGNAL, name="signal"):
        program = Program(KEPT + self.LATER + text, command=command)
        g = program[name]
        self.assertEqual(g.meta[17], trigger)
        self.assertEqual(len(g.of_type("__main__.Kept")), 1000)
        self.assertFalse(g.meta.get("python_objects_unreadable"))
        if moving is not None:
            self.assertEqual(g.meta.get("python_objects_moving", 0), moving)
        return g

    def test_busy_main_thread(self):
        """Its own steps are waited for; objects that it makes and drops all the time are whole."""
        g = self.check_moment(
            "threading.Thread(target=later).start()\ndef main():\n    end = time.monotonic() + 1\n    while time.monotonic() < end:\n"
            "        local = [{str(i): [i]} for i in range(100)]\nmain()\n", moving=0)
        self.assertTrue(g.find_root("frame", "__main__:main", "end"))

    def test_sleeping_main_thread(self):
        self.check_moment("threading.Thread(target=later).start()\ntime.sleep(0.8)\n", moving=0)

    def test_main_thread_that_waits_for_a_busy_one(self):
        """Nobody but the busy thread could be called back; it is taken all the same."""
        self.check_moment(
            "def work():\n    end = time.monotonic() + 2.5\n    while time.monotonic() < end:\n        a = [[i] for i in range(100)]\n"
            "t = threading.Thread(target=work)\nt.start()\nlater()\nt.join()\n")

    def test_c_code_that_keeps_the_lock(self):
        """For four seconds on any machine, of which one is waited."""
        self.check_moment("begin = time.monotonic()\nsum(range(10**7))\nn = int(4e7 / (time.monotonic() - begin))\n"
                          "os.system(f'(sleep 0.5; kill -USR1 {os.getpid()}) &')\nsum(range(n))\n", moving=1)

    def test_asked_while_busy(self):
        """Where the program gets no processor for a second it is taken all the same, and says so: then once more."""
        for _ in range(3):
            g = self.check_moment(
                "import subprocess\ndone = []\ndef ask():\n    done.append(subprocess.run([os.environ['SNAP'], 'take', '-o', 'asked.snap', "
                "str(os.getpid())], env={**os.environ, 'LD_PRELOAD': ''}).returncode)\n"
                "t = threading.Thread(target=ask)\nt.start()\nwhile t.is_alive():\n    local = [{str(i): [i]} for i in range(100)]\n"
                "assert done == [0]\n", trigger=5, command=RUN, name="asked")
            if not g.meta.get("python_objects_moving"):
                return
        self.fail("never whole")

    def test_at_exit(self):
        for end in ("", "sys.exit(0)", "os._exit(0)", "import atexit\natexit.register(lambda: print('end'))",
                    "threading.Thread(target=time.sleep, args=(100,), daemon=True).start()"):
            with self.subTest(end):
                g = self.check_moment(end + "\n", trigger=2, moving=0, command=RUN, name="exit")
                self.assertTrue(g.find_root("module", "__main__"))

    def test_at_exit_with_an_exception(self):
        program = Program(KEPT + "def fails():\n    local = Kept()\n    raise ValueError\nfails()\n", command=RUN, status=1)
        self.assertEqual(len(program["exit"].of_type("__main__.Kept")), 1001)

    def test_at_exit_after_the_last_callback(self):
        """What the program itself registers to happen at its end has happened."""
        g = self.check_moment("import atexit\natexit.register(kept.append, Kept())\natexit.register(kept.clear)\nkept.extend(range(5))\n"
                              "more = [Kept() for _ in range(999)]\n", trigger=2, command=RUN, name="exit")
        self.assertEqual(len(g.of_type("__main__.Kept")), 1000)

    def test_nothing_of_ours_is_left_in_the_interpreter(self):
        said = Program("before = len(gc.get_objects())\nimport atexit\nprint(json.dumps([atexit._ncallbacks()]))\n", command=RUN).said
        self.assertEqual(said, [1])


class OutOfMemory(unittest.TestCase):
    OOM = [SNAP, "run", "-o", "oom.snap", "--on-oom", "--"]

    def check_oom(self, text, **options):
        program = Program(KEPT + text, command=self.OOM, **options)
        g = program["oom"]
        self.assertEqual(g.meta[17], 7)
        self.assertEqual(len(g.of_type("__main__.Kept")), 1000)
        self.assertFalse(g.meta.get("python_objects_unreadable"))
        return program

    def test_memory_error(self):
        program = self.check_oom("try:\n    b = bytearray(1 << 46)\nexcept MemoryError:\n    print('[1]')\n")
        self.assertEqual(program.said, [1])

    def test_memory_error_at_a_limit(self):
        """Where there is no address space left for anybody; what remains is for the copy."""
        self.check_oom(
            "import resource\nwith open('/proc/self/statm') as f:\n    used = int(f.read().split()[0]) * 4096\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), resource.getrlimit(resource.RLIMIT_AS)[1]))\nhold = []\n"
            "try:\n    while True:\n        hold.append([i for i in range(1000)])\nexcept MemoryError:\n    hold = None\n"
        )

    def test_memory_error_in_a_thread(self):
        self.check_oom("def work():\n    try:\n        b = bytearray(1 << 46)\n    except MemoryError:\n        pass\n"
                       "t = threading.Thread(target=work)\nt.start()\nt.join()\n")

    def test_out_of_memory_in_torch(self):
        try:
            import torch
        except ImportError:
            self.skipTest("no PyTorch")
        del torch
        program = self.check_oom("import torch\ntry:\n    t = torch.empty(1 << 44)\nexcept RuntimeError as e:\n    print(json.dumps([str(e)]))\n")
        self.assertIn("can't allocate memory", program.said[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
