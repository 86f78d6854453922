"""A release tarball, made from the last commit, configures and builds."""
import glob
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

SOURCE = os.environ["SOURCE_ROOT"]


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"{command} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        sys.exit(1)


def main():
    if not os.path.exists(os.path.join(SOURCE, ".git")):
        print("not a git checkout")
        return 77
    with tempfile.TemporaryDirectory(prefix="heapsnap-dist-") as top:
        run("meson", "setup", f"{top}/build", SOURCE)
        run("meson", "dist", "-C", f"{top}/build", "--no-tests", "--allow-dirty", "--formats", "gztar")
        (tarball,) = glob.glob(f"{top}/build/meson-dist/*.tar.gz")
        with tarfile.open(tarball) as archive:
            archive.extractall(f"{top}/unpacked")
        (unpacked,) = pathlib.Path(f"{top}/unpacked").iterdir()
        for name in ("README.md", "LICENSE", "NEWS.md", "format/snap-format.md", "tests/run.sh"):
            if not (unpacked / name).is_file():
                print(f"{name} is not in the tarball")
                return 1
        run("meson", "setup", f"{top}/again", str(unpacked), "-Doptimization=0")
        run("meson", "compile", "-C", f"{top}/again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
