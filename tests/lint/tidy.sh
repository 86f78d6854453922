#!/bin/sh
# clang-tidy with the checks of .clang-tidy over the library, the commands and the examples, warnings as errors.
# usage: tidy.sh BUILD_DIR [FILE...]
#
# A file that was clean is not looked at again until it, a header, the checks or its command change: BUILD_DIR/tidy holds an
# empty file per clean one, named by the sum of all these.
[ $# -ge 1 ] || { echo "usage: tidy.sh BUILD_DIR [FILE...]" >&2; exit 1; }
build=$(cd "$1" && pwd) || exit 1
shift
root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
command -v clang-tidy >/dev/null || { echo "no clang-tidy"; exit 77; }
[ -f "$build/compile_commands.json" ] || { echo "no compile_commands.json in '$build'" >&2; exit 1; }
mkdir -p "$build/tidy" || exit 1

if [ $# = 0 ]; then
    list=$(python3 - "$build" "$root" <<'END'
import json, os, sys
build, root = sys.argv[1:]
names = set()
for entry in json.load(open(os.path.join(build, "compile_commands.json"))):
    name = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
    if name.startswith((root + "/lib/", root + "/cmd/", root + "/examples/")) and name.endswith(".c"):
        names.add(name)
print("\n".join(sorted(names)))
END
    ) || exit 1
else
    list=$(for name in "$@"; do realpath "$name"; done)
fi
[ -n "$list" ] || { echo "no files in compile_commands.json" >&2; exit 1; }

common=$(cd "$root" && cat .clang-tidy $(find lib format cmd -name '*.h' | LC_ALL=C sort) | sha256sum | cut -c 1-32)
here=$root/tests/lint
export build common here
echo "$list" | xargs -d '\n' -P "$(nproc)" -n 1 sh -c '
    sum=$( (echo "$common $1"; cat "$1") | sha256sum | cut -c 1-32)
    [ -e "$build/tidy/$sum" ] && exit 0
    known="--extra-arg=-include$here/tidy.h"
    case $1 in */base/err.c) known=--extra-arg=-Wall ;; */lib/*) ;; *) known=--extra-arg=-Wall ;; esac
    out=$(clang-tidy -p "$build" --quiet --warnings-as-errors="*" --extra-arg=-Wno-unknown-warning-option \
        "$known" "$1" 2>&1) && {
        : > "$build/tidy/$sum"
        exit 0
    }
    printf "%s\n" "$out" | grep -vE "^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter"
    exit 1' tidy || exit 1
echo "$(echo "$list" | wc -l) files"
