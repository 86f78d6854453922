"""Counts the test cases of one `meson test` run by suite and prints those that did not pass.

usage: tally.py TESTLOG.json SUITE...

For each suite that occurs, in the order given, a line "= SUITE PASSED FAILED SKIPPED SECONDS"; then follow skips with their
reason and, for each test that failed, the end of its output. A program that tells its cases (TAP, unittest) counts by them, any other counts as one.
"""
import json
import re
import sys

TAP_LINE = re.compile(r"^(not )?ok\b(.*)$")
TAP_SKIP = re.compile(r"#\s*skip\S*\s*(.*)$", re.IGNORECASE)
TAP_TODO = re.compile(r"#\s*todo\b", re.IGNORECASE)
TAP_PLAN = re.compile(r"^1\.\.\d+(?:\s*#\s*skip\S*\s*(.*))?", re.IGNORECASE | re.MULTILINE)
UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
UNITTEST_BAD = re.compile(r"^(?:FAIL|ERROR|UNEXPECTED SUCCESS): (\S+ \([^)\s]*\))", re.MULTILINE)
UNITTEST_END = re.compile(r"^(?:OK|FAILED)(?: \((.*)\))?$", re.MULTILINE)
TAIL_LINES = 40


def tap_cases(text):
    """(passed, failed, [skip reason]) of TAP output, or None if it is not TAP."""
    if not TAP_PLAN.search(text):
        return None
    passed = failed = 0
    skips = []
    for line in text.splitlines():
        match = TAP_LINE.match(line)
        if not match:
            continue
        skip = TAP_SKIP.search(match[2])
        if skip:
            skips.append(skip[1] or "no reason given")
        elif match[1] and not TAP_TODO.search(match[2]):
            failed += 1
        else:
            passed += 1
    return passed, failed, skips


def unittest_cases(text):
    """The same of Python's unittest."""
    ran = UNITTEST_RAN.search(text)
    end = UNITTEST_END.search(text, ran.end()) if ran else None
    if not end:
        return None
    counts = {name.strip(): int(n) for name, n in re.findall(r"([a-z ]+)=(\d+)", end[1] or "")}
    failed = len(set(UNITTEST_BAD.findall(text)))  # a test whose subtests fail is one
    skips = re.findall(r"skipped ['\"](.*)['\"]$", text, re.MULTILINE)
    skips += ["no reason given"] * (counts.get("skipped", 0) - len(skips))
    return max(int(ran[1]) - failed - len(skips), 0), failed, skips


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def suite_of(name, suites):
    """A test is called "project:suite+suite / name" in the log, by newer versions of meson "suite+suite - project:name"; it
    belongs to the first of the suites given."""
    before, found, _ = name.partition(" / ")
    named = (before.rpartition(":")[2] if found else name.partition(" - ")[0]).split("+")
    return next((suite for suite in suites if suite in named), named[0])


class Suite:
    def __init__(self):
        self.counts, self.seconds, self.report = [0, 0, 0], 0, []

    def add(self, test):
        out, err = test.get("stdout") or "", test.get("stderr") or ""
        bad = test["result"] not in ("OK", "SKIP", "EXPECTEDFAIL")
        cases = tap_cases(out) or unittest_cases(err) or unittest_cases(out)
        if test["result"] == "SKIP":
            cases = cases if cases and cases[2] else (0, 0, [last_line(out + err)])
        passed, failed, skips = cases or (0 if bad else 1, 0, [])
        if bad and failed == 0:
            failed = 1  # it crashed, ran too long, or failed in a way it did not count
        self.counts = [a + b for a, b in zip(self.counts, (passed, failed, len(skips)))]
        self.seconds += test["duration"]
        self.report += [f"    skipped: {test['name']}: {reason}" for reason in skips]
        if bad:
            self.report.append(f"    failed: {test['name']} ({test['result'].lower()}, status {test['returncode']})")
            self.report += ["        " + tail for tail in (out + err).splitlines()[-TAIL_LINES:]]


def main(path, *suites):
    found = {}
    with open(path, encoding="utf-8") as log:
        for line in log:
            test = json.loads(line)
            found.setdefault(suite_of(test["name"], suites), Suite()).add(test)
    for name in [*suites, *found]:
        if name in found:
            suite = found.pop(name)
            print("=", name, *suite.counts, round(suite.seconds))
            print("".join(line + "\n" for line in suite.report), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
