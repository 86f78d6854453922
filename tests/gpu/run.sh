#!/bin/bash
# Checks on a machine with a GPU, at most ten minutes: what the stand-in for the driver cannot show. A bare Debian will do: what is
# needed is installed and built first, unless it is there. Without PyTorch, JAX and CuPy their checks are skipped; nothing of CUDA
# but the driver is needed.
# usage: run.sh [BUILD]    BUILD: a built tree (default build/release), or what pack.sh made of one. PYTHON: the interpreter that has the frameworks (default: one
#                          that has PyTorch with CUDA). ANY_DRIVER=1: whatever libcuda.so.1 there is will do.
# Ends with "N passed, N failed"; exit status 0 all passed, 1 some failed, 2 it cannot be built, 77 no GPU here.
started=$SECONDS
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
build=$root/build
tree=$(realpath -m "${1:-$build/release}")
# pack.sh has brought what its programs need.
[ ! -d "$tree/libraries" ] || export LD_LIBRARY_PATH=$tree/libraries:$tree/tests/leaks:$tree/tests/gpu/runtime${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
if [ -z "${ANY_DRIVER-}" ] && [ ! -e /dev/nvidiactl ]; then
    echo "skipped: no GPU here"
    exit 77
fi

# The first interpreter with PyTorch that sees the GPU, else the first there is.
choose_python() {
    local candidate first=
    for candidate in ${PYTHON:+"$PYTHON"} "$build/venv/bin/python" python3 python /opt/conda/bin/python; do
        command -v "$candidate" >/dev/null || continue
        first=${first:-$candidate}
        if timeout 60 "$candidate" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
            first=$candidate
            break
        fi
        [ -z "${PYTHON-}" ] || break
    done
    echo "$first"
}

# A tree that was built elsewhere may want libraries that are not here.
is_built() { "$tree/cmd/snap" --version >/dev/null 2>&1 && [ -x "$tree/cmd/snapdiff" ] && [ -x "$tree/tests/gpu/device_cache" ]; }

python=$(choose_python)
if ! is_built; then
    mkdir -p "$build/logs"
    # shellcheck source=tests/support/setup.sh
    . "$root/tests/support/setup.sh"
    install_packages "${packages_core[@]}" check
    require_build_tools || exit 2
    python=${python:-python3}
    say "building $tree"
    { [ -f "$tree/build.ninja" ] || meson setup "$tree" "$root" -Dbuildtype=debugoptimized -Dpython_command="$python"; } >"$build/logs/gpu-build.log" 2>&1 &&
        parts=$(ninja -C "$tree" -t targets all | sed -n -E 's,^((cmd/snap|cmd/snapdiff|lib/[^:]*|tests/gpu/[^:]*|tests/leaks/cu-[^:]*\.o2)): (.*_LINKER|CUSTOM_COMMAND)$,\1,p') &&
        echo "$parts" | xargs ninja -C "$tree" >>"$build/logs/gpu-build.log" 2>&1 && is_built || {
        complain "it does not build: see $build/logs/gpu-build.log"
        exit 2
    }
fi
export PATH=$PATH:/usr/local/cuda/bin
GPU_SECONDS=$((SECONDS - started)) exec "$python" -u "$root/tests/gpu/run_gpu.py" "$tree"
