"""Counts the test cases of one `meson test` run and prints those that did not pass.

usage: tally.py TESTLOG.json [TESTLOG.json ...]

The first line of the output is "PASSED FAILED SKIPPED"; then follow skips with their reason and, for each test that
failed, the end of its output. A program that tells its cases (TAP, unittest) counts by them, any other counts as one.
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


def main(paths):
    total = [0, 0, 0]
    report = []
    for path in paths:
        with open(path, encoding="utf-8") as log:
            for line in log:
                test = json.loads(line)
                out, err = test.get("stdout") or "", test.get("stderr") or ""
                bad = test["result"] not in ("OK", "SKIP", "EXPECTEDFAIL")
                cases = tap_cases(out) or unittest_cases(err) or unittest_cases(out)
                if test["result"] == "SKIP":
                    cases = cases if cases and cases[2] else (0, 0, [last_line(out + err)])
                passed, failed, skips = cases or (0 if bad else 1, 0, [])
                if bad and failed == 0:
                    failed = 1  # it crashed, ran too long, or failed in a way it did not count
                total = [total[0] + passed, total[1] + failed, total[2] + len(skips)]
                report += [f"    skipped: {test['name']}: {reason}" for reason in skips]
                if bad:
                    report.append(f"    failed: {test['name']} ({test['result'].lower()}, status {test['returncode']})")
                    report += ["        " + tail for tail in (out + err).splitlines()[-TAIL_LINES:]]
    print(*total)
    print("\n".join(report))


if __name__ == "__main__":
    main(sys.argv[1:])
