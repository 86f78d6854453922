"""The callbacks for Lightning and for Hugging Face's Trainer, with the real packages: a snapshot per epoch on the trainer's own
steps; the planted leak is the first suspect, held by what its author wrote; without it there is no suspect."""
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE, BUILD = pathlib.Path(os.environ["SOURCE_ROOT"]), pathlib.Path(os.environ["BUILD_ROOT"])
SNAP, SNAPDIFF = BUILD / "cmd" / os.environ["COMMAND_NAME"], BUILD / "cmd" / "snapdiff"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BUILD / "lib" / "python"), *filter(None, [os.environ.get("PYTHONPATH")])]),
               "HEAPSNAP_COMMANDS": str(BUILD / "cmd"), "HF_HUB_OFFLINE": "1"}


class Callbacks(unittest.TestCase):
    def run_it(self, *command, status=0):
        done = subprocess.run([str(word) for word in command], env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        self.assertEqual(done.returncode, status, done.stdout[-2000:] if status == 0 else "")
        return done.stdout

    def compare(self, program, *arguments, tracked=True):
        missing = [name for name in ("torch", "sklearn", *NEEDS[program]) if importlib.util.find_spec(name) is None]
        if missing:
            self.skipTest(f"python has no {', '.join(missing)}")
        with tempfile.TemporaryDirectory(prefix="heapsnap-callbacks-") as folder:
            before = [SNAP, "run", "-q", "-o", f"{folder}/end.%p.snap", "--"] if tracked else []
            self.run_it(*before, sys.executable, SOURCE / "examples" / f"{program}_digits.py", folder, *arguments)
            paths = [pathlib.Path(folder, f"epoch{i}.snap") for i in (1, 2, 3, 4)]
            self.assertEqual(sorted(pathlib.Path(folder).glob("epoch*")), paths)
            result = json.loads(self.run_it(SNAPDIFF, "--json", *paths, status=1 if "leak" in arguments else 0))
        # 1797 images in batches of 32
        self.assertEqual([s["step"] for s in result["snapshots"]], [57, 114, 171, 228])
        self.assertEqual([s["label"] for s in result["snapshots"]], ["epoch 1", "epoch 2", "epoch 3", "epoch 4"])
        self.assertEqual([s["rank"] for s in result["snapshots"]], [0] * 4)
        return result["suspects"]

    def test_lightning(self):
        first = self.compare("lightning", "leak")[0]
        self.assertEqual(first["class"], "autograd")
        self.assertRegex(first["holder"], r"__main__:main local 'module'\.curve\[\*\]")
        self.assertEqual(first["counts"], [57, 114, 171, 228])

    def test_lightning_clean(self):
        self.assertEqual(self.compare("lightning"), [])

    def test_lightning_untracked(self):
        first = self.compare("lightning", "leak", tracked=False)[0]
        self.assertRegex(first["holder"], r"__main__:main local 'module'\.curve\[\*\]")
        self.assertEqual(first["counts"], [57, 114, 171, 228])

    def test_transformers(self):
        first = self.compare("transformers", "leak")[0]
        self.assertEqual(first["class"], "hook")
        self.assertRegex(first["holder"], r"\._forward_hooks\[\*\]")
        self.assertEqual([b - a for a, b in zip(first["counts"], first["counts"][1:])], [1, 1, 1])
        self.assertGreaterEqual(first["growth_bytes"], 3 << 20)

    def test_transformers_clean(self):
        self.assertEqual(self.compare("transformers"), [])


NEEDS = {"lightning": ["lightning"], "transformers": ["transformers", "accelerate"]}

if __name__ == "__main__":
    unittest.main(verbosity=2)
