#!/usr/bin/env python3
"""Runs the cases of commands: *.test files that hold inputs, command lines and what must come out.

    run.py --bin DIRECTORY --heapdsl PROGRAM [--name NAME] [--update] [CASE...]

A case is a text of sections, each started by a line `--- NAME`:

    --- life            the life of a program for heapdsl (tests/support/heapdsl.c); its files lie
                        in the directory where the commands run
    --- file NAME       a file with this content; \\xNN stands for a byte
    --- run             a command line for sh; more than one may follow, each with its expectations:
    --- status N        its exit status; without it 0
    --- stdout          what it prints, byte by byte; without it nothing
    --- stderr          likewise

`--- stdout glob` compares line by line with * and ? as wildcards, where a line of three dots stands
for any number of lines; `--- stdout any` does not compare. Lines before the first section are
comments. --update writes what came out into sections that did not match; look at the difference
before you commit it. Output is TAP."""

import argparse
import fnmatch
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


class Section:
    def __init__(self, head):
        words = head.split()
        self.name, self.arguments, self.lines = words[0], words[1:], []

    @property
    def text(self):
        return "".join(line + "\n" for line in self.lines)

    def render(self):
        return "--- " + " ".join([self.name] + self.arguments) + "\n" + self.text


def parse(path):
    comment, sections = [], []
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        if line.startswith("--- "):
            sections.append(Section(line[4:]))
        elif sections:
            sections[-1].lines.append(line)
        else:
            comment.append(line)
    return comment, sections


def matches_glob(expected, actual):
    """Whether lines match patterns; "..." is any number of lines."""
    if not expected:
        return not actual
    if expected[0] == "...":
        return any(matches_glob(expected[1:], actual[i:]) for i in range(len(actual) + 1))
    # Brackets are common in output and useless in these patterns.
    pattern = expected[0].replace("[", "[[]") if actual else ""
    return bool(actual) and fnmatch.fnmatchcase(actual[0], pattern) and matches_glob(expected[1:], actual[1:])


def matches(section, actual):
    if section is None:
        return actual == ""
    if "any" in section.arguments:
        return True
    if "glob" in section.arguments:
        return matches_glob(section.lines, actual.splitlines())
    return section.text == actual


def decode(data):
    return re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m.group(1), 16)), data).encode("latin-1")


class Runner:
    def __init__(self, options):
        self.options = options
        self.bin = tempfile.TemporaryDirectory()
        for name, program in (("snap", options.name), ("snapdiff", "snapdiff"), ("heapdsl", options.heapdsl)):
            os.symlink(pathlib.Path(options.bin, program).resolve(), pathlib.Path(self.bin.name, name))
        self.environment = {
            "PATH": self.bin.name + os.pathsep + os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "dumb",
            "HOME": self.bin.name, "PYTHONPATH": str(HERE.parents[1] / "format")}
        for name, value in os.environ.items():
            if name.endswith("SAN_OPTIONS") or name in ("LD_LIBRARY_PATH", "MALLOC_PERTURB_"):
                self.environment[name] = value

    def shell(self, command, directory, data=None):
        done = subprocess.run(["sh", "-c", command], cwd=directory, env=self.environment, input=data,
                              stdin=None if data is not None else subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=120)
        texts = [text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr)]
        if self.options.name != "snap":  # the main command has another name where a foreign one is installed
            texts = [re.sub(r"(?m)(^|')%s( |:)" % re.escape(self.options.name), r"\1snap\2", text) for text in texts]
        return done.returncode, texts[0], texts[1]

    def run(self, path):
        """The complaints about a case; with --update the case is written anew."""
        comment, sections = parse(path)
        complaints, result = [], []
        with tempfile.TemporaryDirectory() as directory:
            i = 0
            while i < len(sections):
                section = sections[i]
                i += 1
                result.append(section)
                if section.name == "life":
                    status, _, err = self.shell("heapdsl", directory, section.text.encode("utf-8", "surrogateescape"))
                    if status != 0:
                        return ["heapdsl: " + err]
                elif section.name == "file":
                    pathlib.Path(directory, section.arguments[0]).write_bytes(decode(section.text))
                elif section.name == "run":
                    expected = {}
                    while i < len(sections) and sections[i].name in ("status", "stdout", "stderr"):
                        expected[sections[i].name] = sections[i]
                        i += 1
                    complaints += self.check(section, expected, directory)
                    result += [expected[name] for name in ("status", "stdout", "stderr") if name in expected]
                else:
                    return ["unknown section '%s'" % section.name]
        if complaints and self.options.update:
            text = "".join(line + "\n" for line in comment) + "".join(section.render() for section in result)
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
        return complaints

    def check(self, section, expected, directory):
        status, out, err = self.shell(section.text, directory)
        complaints = []
        wanted = int(expected["status"].arguments[0]) if "status" in expected else 0
        if status != wanted:
            complaints.append("status %d, expected %d" % (status, wanted))
            expected["status"] = Section("status %d" % status)
        for name, actual in (("stdout", out), ("stderr", err)):
            if matches(expected.get(name), actual):
                continue
            shown = expected[name].text if name in expected else ""
            complaints.append("%s differs\n  expected:\n%s  came:\n%s" % (name, indent(shown), indent(actual)))
            expected[name] = Section(name)
            expected[name].lines = actual.splitlines()
        return ["$ " + section.text.strip() + "\n" + complaint for complaint in complaints]


def indent(text):
    return "".join("    |" + line + "\n" for line in text.splitlines())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="where the commands were built")
    parser.add_argument("--heapdsl", required=True)
    parser.add_argument("--name", default="snap", help="name of the main command")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("cases", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    options.heapdsl = os.path.abspath(options.heapdsl)
    sys.stdout.reconfigure(errors="backslashreplace")
    runner = Runner(options)
    cases = options.cases or sorted(HERE.glob("cases/*.test"))
    print("1..%d" % len(cases))
    failed = 0
    for number, path in enumerate(cases, 1):
        complaints = runner.run(path)
        failed += bool(complaints)
        print("%s %d - %s" % ("not ok" if complaints else "ok", number, path.stem))
        for line in "\n".join(complaints).splitlines():
            print("# " + line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
