"""The suite python in every CPython from 3.10 on that is installed: on PATH, by pyenv, or named in HEAPSNAP_PYTHONS.

usage: versions.py [VERSION...]    one line each; what is missing is said. Each gets a build of its own: the recorder, the
commands and the module with the headers of that version.
"""
import glob
import json
import os
import subprocess
import sys
import tempfile

SOURCE = os.environ["SOURCE_ROOT"]
KNOWN = ("3.10", "3.11", "3.12", "3.13")
ABOUT = ("import json, sys, sysconfig; print(json.dumps(['%d.%d' % sys.version_info[:2], sysconfig.get_config_var('Py_GIL_DISABLED') or 0, "
         "sys.implementation.name]))")
TIMES_LONGER = "4"  # a whole machine to itself is not to be had


def run(*command, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)


def interpreters():
    """Path by version, the first that is found; builds without the global lock are not supported."""
    places = [path for path in os.environ.get("HEAPSNAP_PYTHONS", "").split(os.pathsep) if path]
    places += [os.path.join(folder, name) for name in ("python3", *("python" + version for version in KNOWN))
               for folder in os.environ.get("PATH", "").split(os.pathsep)]
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    places += sorted(glob.glob(os.path.join(glob.escape(pyenv), "versions", "*", "bin", "python3")))
    found = {}
    for path in places:
        done = run(path, "-c", ABOUT) if os.access(path, os.X_OK) else None
        if done is None or done.returncode:
            continue
        version, has_no_lock, implementation = json.loads(done.stdout)
        if implementation == "cpython" and not has_no_lock:
            found.setdefault(version, path)
    return found


def meson_for(folder):
    """meson as a command; before 1.3 it does not know Python 3.12. None: there is none that does."""
    done = run("meson", "--version")
    if done.returncode == 0 and [int(part) for part in done.stdout.split(".")[:2]] >= [1, 3]:
        return "meson"
    for command in ((sys.executable, "-m", "venv", folder), (f"{folder}/bin/pip", "install", "-q", "meson")):
        if run(*command).returncode:
            return None
    return f"{folder}/bin/meson"


def failure_of(version, path, meson):
    """None: it passed."""
    with tempfile.TemporaryDirectory(prefix=f"heapsnap-python{version}-") as build:
        done = run(meson, "setup", build, SOURCE, "-Dwerror=true", "-Dbuildtype=debugoptimized", "-Dpython=enabled",
                   f"-Dpython_command={path}")
        if done.returncode:
            return done.stdout[-3000:] + done.stderr[-2000:]
        targets = run(sys.executable, os.path.join(SOURCE, "tests", "support", "targets.py"), build, "--without", "once", "python")
        if targets.returncode or not targets.stdout.split():
            return "nothing to build: " + targets.stdout + targets.stderr
        done = run("ninja", "-C", build, *targets.stdout.split())
        if done.returncode:
            return done.stdout[-3000:]
        done = run(meson, "test", "-C", build, "--no-rebuild", "--setup", "quick", "--no-suite", "slow", "--no-suite", "once",
                   "--suite", "python", "-t", TIMES_LONGER, "--print-errorlogs")
        if done.returncode or "Ok:" not in done.stdout:
            return done.stdout[-6000:] + done.stderr[-1000:]
    return None


def main():
    found = interpreters()
    n_passed = n_failed = 0
    with tempfile.TemporaryDirectory(prefix="heapsnap-meson-") as folder:
        meson = meson_for(folder)
        if meson is None:
            print("no meson from 1.3 on, and none to be had by pip")
            return 77
        for version in sys.argv[1:] or KNOWN:
            if version not in found:
                print(f"python {version}: not installed, skipped", flush=True)
                continue
            failure = failure_of(version, found[version], meson)
            print(f"python {version}: {'FAILED' if failure else 'passed'}", flush=True)
            if failure:
                print(failure)
                n_failed += 1
            else:
                n_passed += 1
    return 1 if n_failed else 0 if n_passed else 77


if __name__ == "__main__":
    sys.exit(main())
