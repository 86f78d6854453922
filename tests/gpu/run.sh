#!/bin/sh
# Checks on a machine with a GPU, at most ten minutes: what the stand-in for the driver cannot show.
# usage: run.sh [BUILD]    BUILD: a built tree (default build/release). ANY_DRIVER=1: whatever libcuda.so.1 there is will do.
# Ends with "N passed, N failed"; exit status 0 all passed, 1 some failed, 77 no GPU here.
top=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
build=${1:-$top/build/release}
python=python3
[ -x "$top/build/venv/bin/python" ] && python=$top/build/venv/bin/python
[ -x "$build/cmd/snap" ] || { echo "run.sh: nothing is built in $build: meson setup $build && ninja -C $build" >&2; exit 1; }
exec "$python" "$top/tests/gpu/run_gpu.py" "$build"
