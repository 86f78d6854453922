#!/bin/sh
# Each public header compiles alone, as C99, C11 and C++17, without a warning.
# usage: headers.sh INCLUDE_DIR...    The headers are */heapsnap/*.h below the first directory that has some.
[ $# -gt 0 ] || { echo "usage: headers.sh INCLUDE_DIR..." >&2; exit 1; }
# A command each, maybe with words before the compiler, as in CC="ccache cc".
cc=${CC:-cc} cxx=${CXX:-c++}
command -v ${cc%% *} >/dev/null || { echo "no C compiler"; exit 77; }

flags='' headers=''
for folder in "$@"; do
    flags="$flags -I$folder"
    for header in "$folder"/heapsnap/*.h; do
        [ -f "$header" ] || continue
        name=heapsnap/${header##*/}
        case " $headers " in
        *" $name "*) ;;
        *) headers="$headers $name" ;;
        esac
    done
done
[ -n "$headers" ] || { echo "no headers found in: $*" >&2; exit 1; }

failed=0
check() {
    # The directories of a build have no spaces in the names that meson gives; $flags is split on purpose.
    # shellcheck disable=SC2086
    printf '#include <%s>\n#include <%s>\nint main(void) { return 0; }\n' "$header" "$header" |
        "$@" -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Werror $flags - || {
        echo "headers: <$header> does not compile with: $*" >&2
        failed=1
    }
}
for header in $headers; do
    # shellcheck disable=SC2086
    check $cc -x c -std=c99 -Wstrict-prototypes
    # shellcheck disable=SC2086
    check $cc -x c -std=c11 -Wstrict-prototypes
    # shellcheck disable=SC2086
    if command -v ${cxx%% *} >/dev/null; then
        check $cxx -x c++ -std=c++17
    fi
done
# shellcheck disable=SC2086
set -- $headers
echo "$# headers"
exit $failed
