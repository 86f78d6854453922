#!/bin/bash
# Checks on a machine with a GPU, at most ten minutes: what the stand-in for the driver cannot show. A bare Debian will do: what is
# needed is installed and built first, unless it is there. Without PyTorch, JAX and CuPy their checks are skipped.
# usage: run.sh [BUILD]    BUILD: a built tree (default build/release). PYTHON: the interpreter that has the frameworks.
#                          ANY_DRIVER=1: whatever libcuda.so.1 there is will do.
# Ends with "N passed, N failed"; exit status 0 all passed, 1 some failed, 2 it cannot be built, 77 no GPU here.
started=$SECONDS
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
build=$root/build
tree=$(realpath -m "${1:-$build/release}")
if [ -z "${ANY_DRIVER-}" ] && [ ! -e /dev/nvidiactl ]; then
    echo "skipped: no GPU here"
    exit 77
fi
if [ ! -x "$tree/cmd/snap" ] || [ ! -x "$tree/tests/gpu/device_cache" ]; then
    mkdir -p "$build/logs"
    # shellcheck source=tests/support/setup.sh
    . "$root/tests/support/setup.sh"
    install_packages "${packages_core[@]}" check
    require_build_tools || exit 2
    say "building $tree"
    { [ -f "$tree/build.ninja" ] || meson setup "$tree" "$root" -Dbuildtype=debugoptimized; } >"$build/logs/gpu-build.log" 2>&1 &&
        parts=$(ninja -C "$tree" -t targets all | sed -n -E 's,^((cmd/snap|cmd/snapdiff|lib/[^/]*|tests/gpu/[^:]*|tests/leaks/cu-[^:]*\.o2)): (.*_LINKER|CUSTOM_COMMAND)$,\1,p') &&
        echo "$parts" | xargs ninja -C "$tree" >>"$build/logs/gpu-build.log" 2>&1 || {
        complain "it does not build: see $build/logs/gpu-build.log"
        exit 2
    }
fi
python=${PYTHON:-python3}
[ -z "${PYTHON-}" ] && [ -x "$build/venv/bin/python" ] && python=$build/venv/bin/python
GPU_SECONDS=$((SECONDS - started)) exec "$python" "$root/tests/gpu/run_gpu.py" "$tree"
