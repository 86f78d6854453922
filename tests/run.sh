#!/bin/bash
# Installs what heapsnap needs, builds it and runs its tests. On a fresh Debian 12 nothing has to be prepared; a second run
# installs nothing. See --help.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
build=$root/build
all_suites=(lint unit vectors cli fault fuzz capture gpu python leaks examples install)

usage() {
    cat <<'END'
usage: tests/run.sh [--slow] [--suite NAME]... [--list]

Installs the packages that are missing (apt-get; Python packages into build/venv), builds heapsnap in build/release and,
with sanitizers, in build/asan and build/tsan, without its options in build/off and with clang in build/clang, and runs
the test suites. Logs are in build/logs.

  --suite NAME  run this suite only, and build what it needs (may be given more than once)
  --slow        run the long tests and the benchmarks, too (packages for them are installed)
  --list        print the names of the suites

Exit status: 0 all passed, 1 some failed, 2 could not start. The last line is "N passed, N failed";
what was skipped stands before it, with the reasons.
END
}

slow=0
suites=()
while [ $# -gt 0 ]; do
    case $1 in
    --slow) slow=1 ;;
    --suite)
        [[ $# -gt 1 && " ${all_suites[*]} " == *" $2 "* ]] || { echo "run.sh: --suite is one of: ${all_suites[*]}" >&2; exit 2; }
        suites+=("$2")
        shift
        ;;
    --list) printf '%s\n' "${all_suites[@]}"; exit 0 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "run.sh: unknown argument '$1' (see --help)" >&2; exit 2 ;;
    esac
    shift
done
[ ${#suites[@]} -gt 0 ] || suites=("${all_suites[@]}")
# A suite that is named runs whole, whatever the set-up excludes: hence the second word.
which=(--setup quick --no-suite slow)
[ $slow = 0 ] || which=(--setup slow)

cd "$root" || exit 2
mkdir -p "$build/logs" || exit 2
# shellcheck source=tests/support/setup.sh
. "$root/tests/support/setup.sh"

passed=0 failed=0 skipped=0

# Which suites run in which build. Sanitizers see the library and the commands; a recorder preloaded into programs that
# know nothing of sanitizers is tested in the plain build.
suites_of() {
    case $1 in
    release) echo "${all_suites[*]}" ;;
    asan) echo "unit vectors cli fault fuzz" ;;
    tsan) echo "unit" ;;
    # Another compiler, or fewer options, change little of the codec and of how it fails: that is for the long run.
    off) [ $slow = 1 ] && echo "unit vectors cli fault" || echo "unit cli" ;;
    clang) echo "unit" ;;
    esac
}
options_of() {
    case $1 in
    release) echo "-Dbuildtype=debugoptimized" ;;
    asan) echo "-Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false" ;;
    tsan) echo "-Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false" ;;
    off) echo "-Dbuildtype=debugoptimized -Dcuda=disabled -Dpython=disabled -Ddwarf=disabled -Dcapture=disabled" ;;
    clang) echo "-Dbuildtype=debugoptimized" ;;
    fuzz) echo "-Dbuildtype=debugoptimized -Dfuzzing=libfuzzer -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link" ;;
    esac
}
# The options of `meson test` that choose among the tests of a build: what is long once is not worth its time again without
# options or with another compiler.
setup_of() {
    case $1 in
    off | clang) echo "--setup quick --no-suite slow --no-suite compilers" ;;
    *) echo "${which[*]}" ;;
    esac
}
targets_of() { # what to build for the tests chosen; nothing: all
    local with_slow=()
    [ $slow = 0 ] || with_slow=(--with-slow)
    # shellcheck disable=SC2046 # suites are words
    case $1 in
    fuzz) ninja -C "$build/fuzz" -t targets all | sed -n 's/^\(tests\/fuzz\/fuzz_[a-z]*\):.*/\1/p' ;;
    release) [ $slow = 1 ] || python3 "$root/tests/support/targets.py" "$build/release" "${suites[@]}" ;; # slow: benchmarks, too
    tsan) python3 "$root/tests/support/targets.py" "$build/tsan" "${with_slow[@]}" threads ;;
    asan) python3 "$root/tests/support/targets.py" "$build/asan" "${with_slow[@]}" $(selected asan) ;;
    *) python3 "$root/tests/support/targets.py" "$build/$1" --without compilers $(selected "$1") ;;
    esac
}
selected() { # BUILD -> the suites to run in it
    local suite
    for suite in $(suites_of "$1"); do
        [[ " ${suites[*]} " == *" $suite "* ]] && printf '%s ' "$suite"
    done
}

# build_one NAME: configures and compiles build/NAME. Compiler warnings are errors.
build_one() {
    local name=$1 log=$build/logs/build-$1.log start=$SECONDS compiler=cc
    [[ $name != clang && $name != fuzz ]] || compiler=clang
    # shellcheck disable=SC2046 # options and targets are words
    if { CC=$compiler configure "$build/$name" -Dwerror=true $(options_of "$name") &&
        ninja -C "$build/$name" $(targets_of "$name"); } >"$log" 2>&1; then
        printf '%-9s %-8s built, %d s\n' build "$name" $((SECONDS - start))
        return 0
    fi
    printf '%-9s %-8s FAILED, %d s; from %s:\n' build "$name" $((SECONDS - start)) "build/logs/build-$name.log"
    { grep -E -A 12 '^FAILED|ERROR:' "$log" || tail -n 30 "$log"; } | head -n 60 | sed 's/^/        /'
    failed=$((failed + 1))
    return 1
}

# run_suite SUITE BUILD [SETUP]: runs it and adds up its test cases.
run_suite() {
    local suite=$1 name=$2 setup start=$SECONDS log=$build/logs/$1-$2${3:+-$3} p f s
    local filter=$suite
    [ "$name" != tsan ] || filter=threads # where there is one thread, there is nothing to see
    read -ra setup <<<"$(setup_of "$name")"
    [ $# -lt 3 ] || setup=(--setup "$3" --no-suite slow --no-suite script)
    rm -f "$build/$name/meson-logs/$suite-"*.json
    meson test -C "$build/$name" --no-rebuild "${setup[@]}" --suite "$filter" --logbase "$suite" >"$log.out" 2>&1 </dev/null
    local status=$? json=$build/$name/meson-logs/$suite-${setup[1]}.json
    name=${3:-$name}
    if [ ! -s "$json" ]; then
        if [ $status = 0 ]; then
            printf '%-9s %-8s no tests\n' "$suite" "$name"
        else
            printf '%-9s %-8s FAILED to run:\n' "$suite" "$name"
            tail -n 20 "$log.out" | sed 's/^/        /'
            failed=$((failed + 1))
        fi
        return
    fi
    python3 "$root/tests/support/tally.py" "$json" >"$log.txt" || { failed=$((failed + 1)); return; }
    read -r p f s <"$log.txt"
    [ "$status" = 0 ] || [ "$f" -gt 0 ] || f=1
    printf '%-9s %-8s %d passed, %d failed' "$suite" "$name" "$p" "$f"
    [ "$s" = 0 ] || printf ', %d skipped' "$s"
    printf ', %d s\n' $((SECONDS - start))
    tail -n +2 "$log.txt" | sed '/^$/d'
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# Coverage-guided fuzzing of each target for a minute, from the corpus of earlier runs.
fuzz() {
    local target log
    [[ " ${suites[*]} " == *" fuzz "* ]] && command -v clang >/dev/null && build_one fuzz || return 0
    for target in "$build"/fuzz/tests/fuzz/fuzz_*; do
        [ -f "$target" ] && [ -x "$target" ] || continue
        log=$build/logs/${target##*/}
        mkdir -p "$build/corpus/${target##*/}"
        if (cd "$build/corpus" && "$target" -max_total_time=60 -rss_limit_mb=4096 "${target##*/}") >"$log.out" 2>&1 </dev/null; then
            printf '%-9s %-8s 1 passed, 0 failed: %s\n' fuzz fuzz "$(tail -n 1 "$log.out")"
            passed=$((passed + 1))
        else
            printf '%-9s %-8s 0 passed, 1 failed, in build/corpus:\n' fuzz fuzz
            tail -n 30 "$log.out" | sed 's/^/        /'
            failed=$((failed + 1))
        fi
    done
}

# --- what is needed
install_packages "${packages_core[@]}"
require_build_tools || exit 2
install_packages "${packages_python[@]}" "${packages_test[@]}"
[ $slow = 0 ] || install_packages "${packages_slow[@]}"
setup_python zstandard xxhash
torch_job=
if [[ " ${suites[*]} " == *" examples "* || " ${suites[*]} " == *" python "* ]]; then
    setup_torch & # beside the builds: it mostly waits for the network and the disk
    torch_job=$!
fi

# --- builds, then suites
builds=()
for name in release asan tsan off clang; do
    [ -n "$(selected "$name")" ] || continue
    if [ "$name" = clang ] && ! command -v clang >/dev/null; then
        say "no clang: not built with it"
        continue
    fi
    build_one "$name" && builds+=("$name")
done
if [ -n "$torch_job" ]; then
    start=$SECONDS
    wait "$torch_job" || say "no PyTorch: going on without what needs it"
    [ $((SECONDS - start)) -lt 5 ] || say "waited $((SECONDS - start)) s for Python packages"
fi
for name in ${builds[@]+"${builds[@]}"}; do
    for suite in $(selected "$name"); do
        run_suite "$suite" "$name"
    done
done
if [ $slow = 1 ] && [[ " ${builds[*]-} " == *" release "* ]]; then
    if [[ " ${suites[*]} " == *" unit "* ]] && command -v valgrind >/dev/null; then
        run_suite unit release valgrind
    fi
    fuzz
    say "benchmarks:"
    meson test -C "$build/release" --no-rebuild --benchmark --logbase benchmark --verbose </dev/null 2>&1 |
        tee "$build/logs/benchmark.out" | sed 's/^/    /'
    [ "${PIPESTATUS[0]}" = 0 ] || failed=$((failed + 1))
fi

say "heapsnap tests: ${SECONDS} s, logs in $build/logs"
[ $skipped = 0 ] || echo "$skipped skipped"
printf '%d passed, %d failed\n' $passed $failed
[ $failed = 0 ]
