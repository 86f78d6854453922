"""python -m heapsnap VERB ...: the commands of heapsnap, for where they are not in PATH.

python -m heapsnap diff FILES...   is snapdiff; every other verb (run, show, verify, ...) is one of snap's.
"""
import os
import sys

from . import _command


def main():
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "diff":
        name, arguments = "snapdiff", arguments[1:]
    else:
        name = "snap"
    command = _command(name)
    try:
        os.execvp(command, [command, *arguments])
    except OSError as error:
        sys.exit(f"heapsnap: cannot run {command}: {error.strerror}")


if __name__ == "__main__":
    main()
