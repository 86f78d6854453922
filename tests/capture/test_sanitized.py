"""Programs built with a sanitizer run under the recorder as they do without. The arguments are the programs."""
import os
import subprocess
import sys
import tempfile

bad = []
environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0", TSAN_OPTIONS="")
for program in sys.argv[1:]:
    plain = subprocess.run([program], capture_output=True, text=True, env=environment, timeout=60)
    if plain.returncode != 0:
        print(f"skipped: {os.path.basename(program)} does not run here: {plain.stderr.strip()[-200:]}")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "s.snap")
        run = subprocess.run([os.environ["SNAP"], "run", "-q", "-o", path, "--", program], capture_output=True, text=True, env=environment,
                             timeout=120)
        if (run.returncode, run.stdout) != (0, plain.stdout) or not os.path.exists(path):
            bad.append(f"{os.path.basename(program)}: status {run.returncode}, {run.stdout!r}, {run.stderr!r}")
for line in bad:
    print("not ok -", line)
sys.exit(1 if bad else 0)
