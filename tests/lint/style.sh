#!/bin/sh
# Style of all files as text: line length, banned functions, tabs, trailing space, leftovers. Layout is test_format.py's.
# usage: style.sh [SOURCE_ROOT]    Exit status: 0 clean, 1 not
cd "${1:-$(dirname "$0")/../..}" || exit 1

failed=0
list=$(mktemp) || exit 1
trap 'rm -f "$list"' EXIT
if ! git ls-files -co --exclude-standard > "$list" 2>/dev/null; then
    find . -type f ! -path './build*' ! -path './.git/*' ! -path '*/__pycache__/*' | sed 's,^\./,,' > "$list"
fi

# files PATTERN: tracked files whose name fits and that are still there
files() {
    grep -E "$1" "$list" | while read -r name; do [ -f "$name" ] && echo "$name"; done
}

# rule NAME PATTERN FILES...: no line of the files fits the pattern
rule() {
    rule_name=$1 pattern=$2
    shift 2
    [ $# -gt 0 ] || return 0
    if grep -nHE -e "$pattern" -- "$@"; then
        echo "style: $rule_name" >&2
        failed=1
    fi
}

c_files=$(files '\.(c|h|cc|cpp)$')
prose=$(files '(\.(py|sh|build|md|in|map|[1-8])|\.ci/run)$' | grep -v '^format/vectors/')
text=$(files '.' | grep -vE '\.(hex|csv|json|png|gz|zst|snap)$|^LICENSE')

# Names of files have no spaces here: lists are split on purpose.
# shellcheck disable=SC2086
{
    # Where clang-format puts the backslash that ends a line of a macro is its business.
    rule 'a line of C over 100 characters' '^.{100}.*[^\\]$' $(echo "$c_files" | grep -v /fixtures/)
    # Rows of tables cannot be broken.
    rule 'a line over 180 characters' '^[^|].{180}' $prose
    rule 'a function that cannot be used safely' \
        '(^|[^_a-zA-Z0-9."])(strcpy|strcat|sprintf|vsprintf|strtok|alloca|gets|tmpnam|mktemp)[ ]*\(' $c_files
    rule 'a tab' "$(printf '\t')" $(echo "$text" | grep -v '\.tsv$')
    rule 'space at the end of a line' '[ ]$' $text
    rule 'a carriage return' "$(printf '\r')" $text
    rule 'something left to do' '(^|[^_a-zA-Z0-9])(TOD[O]|FIXM[E]|XX[X])([^_a-zA-Z0-9]|$)' $text
    rule 'a mark of a merge' '^(<<<<<<[<]|>>>>>>[>]) ' $text
    rule 'a path of one machine' '(^|[^a-zA-Z0-9_.$}*])/(wor[k]|roo[t]|home/[a-z]+)/' $(echo "$text" | grep -v '^tests/bench/')
    rule 'a word about how the work is organised' '(shared/(DESIG[N]|note[s]|prototype[s])|[Ii]ssue [0-9]+[^0-9-]*(of|in) this repo)' \
        $text
    for name in $text; do
        if [ -s "$name" ] && [ -n "$(tail -c 1 "$name")" ]; then
            echo "$name: no newline at the end" >&2
            failed=1
        fi
    done
    for name in $(echo "$c_files" | grep '\.c$'); do
        # A .c file opens with a comment that says what it is for.
        case $(head -c 2 "$name") in
        '/*' | '//') ;;
        *)
            echo "$name: does not open with a comment" >&2
            failed=1
            ;;
        esac
    done
}
exit $failed
