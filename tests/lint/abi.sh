#!/bin/sh
# The symbols that libheapsnap exports are those of tests/abi/symbols.txt and those that the public headers declare, so that
# a change of the interface is made on purpose.
# usage: abi.sh LIBRARY HEADER_DIR [--update]
[ $# -ge 2 ] || { echo "usage: abi.sh LIBRARY HEADER_DIR [--update]" >&2; exit 1; }
library=$1 headers=$2
listed=$(dirname "$0")/../abi/symbols.txt
command -v nm >/dev/null || { echo "no nm"; exit 77; }

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
    grep -vE '^(_init|_fini|_edata|_end|__bss_start|__(asan|ubsan|odr_asan|tsan|lsan|sancov|llvm|gcov)_?.*|_ITM_.*|__gmon_start__)$' |
    LC_ALL=C sort > "$scratch/exported"
[ -s "$scratch/exported" ] || { echo "abi: '$library' exports nothing" >&2; exit 1; }
if [ "${3:-}" = --update ]; then
    mkdir -p "$(dirname "$listed")" && cp "$scratch/exported" "$listed"
    exit
fi
# A declaration is SNAP_API, then its type, then the name and a parenthesis, maybe over two lines.
cat "$headers"/*.h | tr '\n' ' ' | grep -oE 'SNAP_API [^;()]*\(' | grep -oE 'snap_[a-z0-9_]+ *\($' |
    tr -d ' (' | LC_ALL=C sort -u > "$scratch/declared"

failed=0
report() {
    [ -s "$2" ] || return 0
    sed "s/^/abi: $1: /" "$2" >&2
    failed=1
}
LC_ALL=C comm -23 "$scratch/declared" "$scratch/exported" > "$scratch/out"
report 'declared in a public header but not in the library' "$scratch/out"
LC_ALL=C comm -13 "$scratch/declared" "$scratch/exported" > "$scratch/out"
report 'exported but in no public header' "$scratch/out"
LC_ALL=C comm -23 "$listed" "$scratch/exported" > "$scratch/out"
report 'in tests/abi/symbols.txt but no longer exported (breaks programs)' "$scratch/out"
LC_ALL=C comm -13 "$listed" "$scratch/exported" > "$scratch/out"
report 'not in tests/abi/symbols.txt; if meant: tests/lint/abi.sh LIBRARY HEADER_DIR --update' "$scratch/out"
[ $failed = 0 ] && echo "$(wc -l < "$scratch/exported") symbols"
exit $failed
