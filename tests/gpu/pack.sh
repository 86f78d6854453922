#!/bin/bash
# Copies what run.sh needs of a built tree, with the libraries that it needs, for a machine on which nothing can be built or installed.
# Build for the Python that has the frameworks there: meson setup -Dpython_command=PYTHON, of the same minor version.
# usage: pack.sh FOLDER [BUILD]    then there: run.sh FOLDER
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(realpath -m "$1")
cd "${2:-$root/build/release}"
mkdir -p "$folder/libraries"
cp -rL --parents cmd/snap cmd/snapdiff lib/*.so* lib/heapsnap-write tests/gpu/device_* tests/gpu/libinterposer.so tests/gpu/runtime/*.so \
    tests/leaks/cu-*.o2 tests/leaks/lib*.o2* "$folder"
[ ! -d lib/python ] || cp -rL --parents lib/python "$folder"
find "$folder" -name '*.p' -prune -exec rm -r {} +
# What the C library is made of is the machine's own.
ldd cmd/snap lib/heapsnap-write lib/libheapsnap.so | awk '$2 == "=>" { print $3 }' | sort -u |
    grep -v -E '/(libheapsnap|ld-linux|libc\.so|libm\.so|libdl\.so|libpthread\.so|librt\.so)' | xargs cp -L -t "$folder/libraries"
