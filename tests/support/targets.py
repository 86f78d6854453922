"""Prints what ninja has to build for some of the tests, one file a line.

usage: targets.py BUILD [--with-slow] [--without NAME]... SUITE...

A test that names one of the suites counts, unless it names 'slow' (without --with-slow) or one of the suites left out, too.
Building these and no more saves a third of the time where a build runs few of the tests.
"""
import argparse
import json
import os
import subprocess

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("build")
parser.add_argument("suites", nargs="+")
parser.add_argument("--with-slow", action="store_true")
parser.add_argument("--without", action="append", default=[])
options = parser.parse_args()


def introspect(what):
    command = ["meson", "introspect", options.build, what]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


left_out = set(options.without) | (set() if options.with_slow else {"slow"})
needed = set()
for test in introspect("--tests"):
    suites = {suite.partition(":")[2] for suite in test["suite"]}
    if suites & set(options.suites) and not suites & left_out:
        needed.update(test["depends"])
top = os.path.abspath(options.build)
for target in introspect("--targets"):
    if target["id"] in needed:
        print("\n".join(os.path.relpath(path, top) for path in target["filename"]))
