"""A runtime inside a library is seen however the library was opened, also where it looks for dlsym in libc before it looks at us."""
import json
import os
import subprocess
import tempfile
import unittest

SNAP, PROGRAM, INTERPOSER = (os.environ[name] for name in ("SNAP", "PROGRAM", "INTERPOSER"))
PLUGINS = os.environ["PLUGINS"].split(":")  # by protocol
LINKED = os.environ["LINKED"].split(":")  # to the driver: each calls three functions that the recorder stands for


class Plugin(unittest.TestCase):
    def run_case(self, how, plugin, unseen=0, **environment):
        environment = {**os.environ, **environment}
        command = [PROGRAM, how, plugin]
        plain = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        self.assertEqual(plain.returncode, 0, plain.stdout + plain.stderr)
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "plugin.snap")
            run = subprocess.run([SNAP, "run", "-q", "-o", path, "--", *command], capture_output=True, text=True, env=environment, timeout=60)
            self.assertEqual((run.returncode, run.stdout), (0, plain.stdout), run.stderr)
            subprocess.run([SNAP, "verify", path], check=True, capture_output=True)
            tables = json.loads(subprocess.run([SNAP, "convert", path], check=True, capture_output=True).stdout)["tables"]
        self.stderr = run.stderr
        missing = {m["name"]: m["value"] for m in tables["META"] if m["key"] == "completeness"}
        self.assertNotIn("unknown_frees", missing)
        self.assertEqual(missing.get("unseen_device_calls", 0), unseen)
        return sorted(n["size"] for n in tables["NODE"] if n["kind"] == "device_linear")

    def test_local(self):
        for plugin in PLUGINS:
            self.assertEqual(self.run_case("local", plugin, PLUGIN_WHOLE="1"), sorted([100001, 100002, 100003] * 2), plugin)

    def test_searched_first(self):
        for plugin in PLUGINS:
            self.assertEqual(self.run_case("deep", plugin, PLUGIN_WHOLE="1"), sorted([100001, 100002, 100003] * 2), plugin)

    def test_searched_first_while_it_is_loaded(self):
        for plugin in PLUGINS:
            sizes = self.run_case("deep", plugin, PLUGIN_AT_START="1")
            self.assertEqual(sizes, sorted([70000, 100001, 100002, 100003] * 2), plugin)

    def test_namespace(self):
        """It has a libc of its own, too: nothing of it is seen, and nothing goes wrong, but its driver is counted."""
        self.assertEqual(self.run_case("apart", PLUGINS[0], unseen=2), [])  # one each time that it is opened
        self.assertEqual(self.run_case("apart", LINKED[0], unseen=4), [])
        self.assertEqual(self.run_case("apart", LINKED[0], unseen=4, PLUGIN_DRIVER="1"), [])  # two drivers: neither is taken for the other

    def test_linked_to_the_driver(self):
        """Searched first, the driver is found before the recorder, which then takes its place."""
        for how, linked in ("local", LINKED[0]), *(("deep", linked) for linked in LINKED):
            self.assertEqual(self.run_case(how, linked), sorted([100001, 100002, 100003] * 2), (how, linked))

    def test_linked_behind_an_interposer(self):
        """Whose handles may be its own: what is called past the recorder is counted."""
        self.assertEqual(self.run_case("deep", LINKED[0], unseen=3, LD_PRELOAD=INTERPOSER), [])

    def test_behind_an_interposer(self):
        """One that came before us passes its calls to libc's dlsym, which a library searched first reaches past it."""
        sizes = self.run_case("local", PLUGINS[0], LD_PRELOAD=INTERPOSER, INTERPOSER_SAYS="1")
        self.assertEqual(sizes, sorted([100001, 100002, 100003] * 2))
        self.assertIn("interposed 8", self.stderr)
        sizes = self.run_case("deep", PLUGINS[0], LD_PRELOAD=INTERPOSER, INTERPOSER_SAYS="1")
        self.assertEqual(sizes, sorted([100001, 100002, 100003] * 2))


if __name__ == "__main__":
    unittest.main()
