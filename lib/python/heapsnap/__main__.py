"""python -m heapsnap VERB ...: the commands of heapsnap, for where they are not in PATH.

python -m heapsnap diff FILES...   is snapdiff; every other verb (run, show, verify, ...) is one of snap's.
"""
import os
import sys

from . import _command


def execute(name, arguments):
    command = _command(name)
    try:
        os.execvp(command, [command, *arguments])
    except OSError as error:
        sys.exit(f"heapsnap: cannot run {command}: {error.strerror}")


def snapdiff():
    execute("snapdiff", sys.argv[1:])


def main():
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "diff":
        execute("snapdiff", arguments[1:])
    execute("snap", arguments)


if __name__ == "__main__":
    main()
