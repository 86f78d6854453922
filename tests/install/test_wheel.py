"""`pip install .` in a new virtual environment: what is there then, and that it works without anything of the build folder."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE = os.environ["SOURCE_ROOT"]
PYTHON = os.environ.get("TARGET_PYTHON", sys.executable)
TRAIN = """
class Batch: pass
history = []
def train(n):
    for _ in range(n):
        history.append(Batch())
import heapsnap
assert heapsnap.is_tracked() == {tracked}
for epoch in heapsnap.epochs(range(3), "{name}.%n.snap"):
    train(1000)
"""


def run(command, cwd, status=0):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HEAPSNAP_", "PYTHON", "LD_"))}
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != status:
        print(f"{command} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        sys.exit(1)
    return done.stdout


def check(is_true, text):
    if not is_true:
        print(text)
        sys.exit(1)


def main():
    if os.environ.get("PIP_NO_INDEX") or subprocess.run(
            [PYTHON, "-m", "pip", "download", "-q", "--no-deps", "-d", tempfile.mkdtemp(dir=os.environ.get("TMPDIR")), "meson-python"],
            capture_output=True, check=False).returncode:
        print("no package index with meson-python")
        return 77
    with tempfile.TemporaryDirectory(prefix="heapsnap-wheel-") as top:
        if subprocess.run([PYTHON, "-m", "venv", f"{top}/venv"], capture_output=True, check=False).returncode:
            print("no virtual environments: python3-venv is missing")
            return 77
        python = f"{top}/venv/bin/python"
        # Out of a copy: nothing is left in the source.
        run(["git", "-C", SOURCE, "checkout-index", "-a", f"--prefix={top}/source/"], top)
        run([python, "-m", "pip", "install", "-q", f"{top}/source"], top)
        (package,) = pathlib.Path(top, "venv").glob("lib/python3.*/site-packages/heapsnap")
        for name in ("py.typed", "__init__.pyi", "bin/heapsnap", "bin/snapdiff", "bin/heapsnap-write", "bin/libheapsnap-preload.so"):
            check((package / name).is_file(), f"{name} is not in the package")
        os.rename(f"{top}/source", f"{top}/gone")

        for name, command in (("plain", [python]), ("tracked", [python, "-m", "heapsnap", "run", "-q", "--", python])):
            with open(f"{top}/{name}.py", "w", encoding="utf-8") as out:
                out.write(TRAIN.format(name=name, tracked=name == "tracked"))
            run([*command, f"{name}.py"], top)
            files = [f"{name}.{n}.snap" for n in (1, 2, 3)]
            diff = json.loads(run([python, "-m", "heapsnap", "diff", "--json", *files], top, status=1))
            held = [s for s in diff["suspects"] if s["type"] == "__main__.Batch" and "history" in json.dumps(s)]
            check(diff["verdict"] == "leak" and held, f"{name}: {diff['suspects']}")
            check("__main__.Batch" in {row["type"] for row in diff["types"]}, f"{name}: no row of the type")
            check("history" in run([python, "-m", "heapsnap", "paths", files[2], "--type", "__main__.Batch"], top), f"{name}: paths")
            check("python" in run([python, "-m", "heapsnap", "show", files[2]], top), f"{name}: show")
        check("usage" in run([f"{top}/venv/bin/heapsnap", "--help"], top).lower(), "heapsnap --help")
        run([f"{top}/venv/bin/snapdiff", "plain.1.snap", "plain.3.snap"], top, status=1)
        said = run([python, "-c", "import heapsnap; print(heapsnap.diff(['plain.1.snap', 'plain.3.snap'])['verdict'], "
                    "'schema' in heapsnap.show('plain.1.snap'))"], top)
        check(said.split() == ["growth", "True"], said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
