"""clang-format decides on the layout of C. Its versions differ, so that only the one the tree is kept with is asked."""
import os
import pathlib
import shutil
import subprocess
import sys

VERSION = "14."
ROOT = pathlib.Path(os.environ["SOURCE_ROOT"])


def main():
    tool = shutil.which("clang-format")
    version = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout if tool else "none"
    if f"version {VERSION}" not in version:
        print(f"needs clang-format {VERSION}x, found: {version.strip()}")
        return 77
    paths = [path for folder in ("lib", "cmd", "format", "tests", "examples") for path in (ROOT / folder).rglob("*")
             if path.suffix in (".c", ".h", ".cc", ".cpp")]
    if not paths:
        print("no source found")
        return 1
    return subprocess.run([tool, "--dry-run", "-Werror", *sorted(paths)]).returncode


if __name__ == "__main__":
    sys.exit(main())
