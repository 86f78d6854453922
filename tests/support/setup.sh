# What heapsnap needs on a Debian machine, and how it gets there. Sourced by the two set-up commands, tests/run.sh and
# examples/quickstart.sh, which set $root (the source tree) and $build (the build folder) first.
#
# Nothing is installed that is there already, so that a second run needs neither the network nor root. Python packages
# live in $build/venv only. What cannot be installed is named; whether to go on without is the caller's decision.
# shellcheck shell=bash

packages_core=(gcc libc6-dev meson ninja-build pkg-config libzstd-dev libxxhash-dev libjansson-dev libdwarf-dev
    libiberty-dev zlib1g-dev python3 node-d3-hierarchy node-d3-scale node-d3-shape)
packages_python=(python3-venv python3-dev python3-zstandard python3-xxhash python3-pytest)
packages_test=(g++ check clang libclang-rt-dev clang-format binutils groff-base procps sqlite3 libunwind-dev libjemalloc2
    libtcmalloc-minimal4 libmimalloc2.0)
packages_slow=(clang-tidy valgrind gdb git dwz heaptrack redis-server redis-tools nodejs default-jre-headless libjemalloc-dev
    libpython3.11-testsuite chromium chromium-driver python3-selenium)

say() { printf '%s\n' "$*"; }
complain() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

package_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# The words to put before a command that needs root; fails if there is no way to become root.
root_prefix() {
    if [ "$(id -u)" = 0 ]; then
        return 0
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        echo sudo
    else
        return 1
    fi
}

apt_get() {
    # A network that swallows packets is given up on before a caller's minutes are over.
    # shellcheck disable=SC2086 # the prefix is no word or one
    $apt_prefix env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=1 -o Acquire::http::Timeout=20 \
        -o Acquire::https::Timeout=20 "$@" </dev/null >>"$build/logs/packages.log" 2>&1
}

# Installs what is missing of the packages named. Fails if any is still missing then, having said which.
install_packages() {
    local package missing=()
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        say "no Debian package manager here: going on with what is installed"
        return 0
    fi
    for package; do
        package_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! apt_prefix=$(root_prefix); then
        complain "not root, and no sudo: cannot install ${missing[*]}"
        return 1
    fi
    say "installing ${#missing[@]} Debian packages (${apt_prefix:+$apt_prefix }apt-get): ${missing[*]}"
    [ -n "${apt_updated-}" ] || apt_get update || true
    apt_updated=1
    if ! apt_get install --no-install-recommends "${missing[@]}"; then
        # One unknown name fails them all: then each on its own.
        for package in "${missing[@]}"; do
            apt_get install --no-install-recommends "$package" || true
        done
    fi
    local absent=()
    for package in "${missing[@]}"; do
        package_installed "$package" || absent+=("$package")
    done
    [ ${#absent[@]} -eq 0 ] && return 0
    complain "could not install ${absent[*]} (see $build/logs/packages.log)"
    return 1
}

# Fails, having said what is missing, unless a C program can be built here.
require_build_tools() {
    local tool absent=()
    for tool in cc meson ninja pkg-config python3; do
        command -v "$tool" >/dev/null || absent+=("$tool")
    done
    for tool in libzstd libxxhash jansson; do
        ! command -v pkg-config >/dev/null || pkg-config --exists "$tool" || absent+=("$tool (headers)")
    done
    [ ${#absent[@]} -eq 0 ] && return 0
    complain "cannot build without: ${absent[*]}"
    return 1
}

python_imports() { "$build/venv/bin/python3" -c "import $1" 2>/dev/null; }

pip_install() { "$build/venv/bin/python3" -m pip install -q --disable-pip-version-check "$@" </dev/null >>"$build/logs/python.log" 2>&1; }

# Makes $build/venv, which sees the packages of the Python under it, and puts it first in PATH. An installed torch decides
# which Python that is; otherwise it is Debian's, whose packages are those that apt-get installs.
setup_python() {
    local base
    if ! "$build/venv/bin/python3" -c 'import pip' 2>/dev/null; then
        base=$(command -v python3)
        if ! "$base" -c 'import torch' 2>/dev/null && /usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null; then
            base=/usr/bin/python3
        fi
        say "making a virtual environment of $base in build/venv"
        rm -rf "$build/venv"
        if ! "$base" -m venv --system-site-packages "$build/venv" >>"$build/logs/python.log" 2>&1; then
            complain "cannot make a Python virtual environment (see $build/logs/python.log)"
            return 1
        fi
    fi
    PATH=$build/venv/bin:$PATH
    export PATH
    local module failed=0
    for module; do
        python_imports "$module" || { say "installing $module (pip, build/venv)" && pip_install "$module"; } ||
            { complain "could not install $module (see $build/logs/python.log)" && failed=1; }
    done
    return $failed
}

# PyTorch, scikit-learn and NumPy. Fails if there is no torch in the end.
setup_torch() {
    if ! python_imports numpy || ! python_imports sklearn; then
        say "installing numpy and scikit-learn (pip, build/venv)"
        pip_install numpy scikit-learn || install_packages python3-sklearn
    fi
    if ! python_imports torch; then
        say "installing torch 2.13.0 (pip, build/venv; some minutes)"
        pip_install torch==2.13.0 || install_packages python3-torch
    fi
    python_imports torch && python_imports sklearn
}

# More large libraries for long tests, which do without those that cannot be had.
setup_transformers() {
    local module
    for module in transformers accelerate lightning; do
        python_imports "$module" || { say "installing $module (pip, build/venv)" && pip_install "$module"; } ||
            complain "could not install $module (see $build/logs/python.log)"
    done
}

# configure DIRECTORY OPTION...: meson setup, again if the folder is there. Everything goes to the caller's stdout.
configure() {
    local directory=$1
    shift
    if [ -f "$directory/build.ninja" ]; then
        meson setup --reconfigure "$@" "$directory" "$root" || meson setup --wipe "$@" "$directory" "$root"
    else
        meson setup "$@" "$directory" "$root"
    fi
}
