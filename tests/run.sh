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
the test suites. Logs are in build/logs. The seconds of a suite are the sum of those of its tests, of which some run at once.

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
# know nothing of sanitizers is tested in the plain build. Fewer options, or another compiler, change little of what the
# library computes: most of that is for the long run.
suites_of() {
    case $1 in
    release) echo "${all_suites[*]}" ;;
    asan) echo "unit vectors cli fault fuzz" ;;
    tsan) echo "unit" ;;
    off) [ $slow = 1 ] && echo "unit vectors cli fault" || echo "cli" ;;
    clang) echo "unit" ;;
    esac
}
# Sanitized code takes gcc three times as long to make with -O2 as with -O1, and nobody debugs it.
options_of() {
    local plain="-Dbuildtype=debugoptimized" sanitized="-Dbuildtype=debugoptimized -Doptimization=1 -Dc_args=-g1 -Db_lundef=false"
    case $1 in
    release) echo "$plain" ;;
    asan) echo "$sanitized -Db_sanitize=address,undefined" ;;
    tsan) echo "$sanitized -Db_sanitize=thread" ;;
    off) echo "$plain -Doptimization=0 -Dcuda=disabled -Dpython=disabled -Ddwarf=disabled -Dcapture=disabled" ;;
    clang) echo "$plain -Doptimization=1" ;;
    fuzz) echo "$plain -Dfuzzing=libfuzzer -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link" ;;
    esac
}
# Suites of which no test runs in a build, whatever else it names: what is long once is not worth its time again without
# options or with another compiler, and what says nothing new under a sanitizer even less.
left_out_of() {
    case $1 in
    release) ;;
    off | clang) echo "once compilers"; [ $slow = 1 ] || echo long ;;
    *) echo once ;;
    esac
}
words() { # BEFORE WORD... -> each word with the other before it
    local before=$1 word
    shift
    for word; do printf '%s %s ' "$before" "$word"; done
}
# The options of `meson test` that choose among the tests of a build.
# shellcheck disable=SC2046 # suites are words
setup_of() {
    local setup="${which[*]}"
    [[ $1 != off && $1 != clang ]] || setup="--setup quick --no-suite slow"
    echo "$setup $(words --no-suite $(left_out_of "$1"))"
}
targets_of() { # what to build for the tests chosen; nothing: all
    local options=()
    # shellcheck disable=SC2046 # suites are words
    read -ra options <<<"$(words --without $(left_out_of "$1"))"
    [[ $slow = 0 || $1 = off || $1 = clang ]] || options+=(--with-slow)
    # shellcheck disable=SC2046 # suites are words
    case $1 in
    fuzz) ninja -C "$build/fuzz" -t targets all | sed -n 's/^\(tests\/fuzz\/fuzz_[a-z]*\):.*/\1/p' ;;
    release) [ $slow = 1 ] || python3 "$root/tests/support/targets.py" "$build/release" "${suites[@]}" ;; # slow: benchmarks, too
    tsan) python3 "$root/tests/support/targets.py" "$build/tsan" "${options[@]}" threads ;;
    *) python3 "$root/tests/support/targets.py" "$build/$1" "${options[@]}" $(selected "$1") ;;
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
        nice ninja -C "$build/$name" $(targets_of "$name"); } >"$log" 2>&1; then
        printf '%-9s %-8s built, %d s\n' build "$name" $((SECONDS - start))
        return 0
    fi
    printf '%-9s %-8s FAILED, %d s; from %s:\n' build "$name" $((SECONDS - start)) "build/logs/build-$name.log"
    { grep -E -A 12 '^FAILED|ERROR:' "$log" || tail -n 30 "$log"; } | head -n 60 | sed 's/^/        /'
    return 1
}

# run_suites BUILD SETUP SUITE...: runs them at once and adds up their test cases. SETUP: valgrind, or empty.
run_suites() {
    local name=$1 special=$2 setup log suite text p f s seconds
    shift 2
    [ $# -gt 0 ] || return 0
    read -ra setup <<<"$(setup_of "$name")"
    [ -z "$special" ] || setup=(--setup "$special" --no-suite slow --no-suite script --no-suite compilers)
    local filter=("$@")
    [ "$name" != tsan ] || filter=(threads) # where there is one thread, there is nothing to see
    log=$build/logs/tests-$name-${special:-$1}
    rm -f "$build/$name/meson-logs/run-"*.json
    # shellcheck disable=SC2046 # suites are words
    meson test -C "$build/$name" --no-rebuild "${setup[@]}" $(words --suite "${filter[@]}") --logbase run >"$log.out" 2>&1 </dev/null
    local status=$? json=$build/$name/meson-logs/run-${setup[1]}.json failed_before=$failed
    name=${special:-$name}
    if [ ! -s "$json" ]; then
        if [ $status = 0 ]; then
            printf '%-9s %-8s no tests\n' "$*" "$name"
        else
            printf '%-9s %-8s FAILED to run:\n' "$*" "$name"
            tail -n 20 "$log.out" | sed 's/^/        /'
            failed=$((failed + 1))
        fi
        return
    fi
    python3 "$root/tests/support/tally.py" "$json" "${all_suites[@]}" >"$log.txt" || { failed=$((failed + 1)); return; }
    while IFS= read -r text; do
        if [[ $text != "= "* ]]; then
            printf '%s\n' "$text"
            continue
        fi
        read -r _ suite p f s seconds <<<"$text"
        printf '%-9s %-8s %d passed, %d failed' "$suite" "$name" "$p" "$f"
        [ "$s" = 0 ] || printf ', %d skipped' "$s"
        printf ', %d s\n' "$seconds"
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    done <"$log.txt"
    if [[ $status != 0 && $failed = "$failed_before" ]]; then
        printf '%-9s %-8s FAILED: status %d, see %s\n' "$*" "$name" "$status" "$log.out"
        failed=$((failed + 1))
    fi
}

# seeds_of TARGET FOLDER: writes what coverage-guided fuzzing of it begins with: test vectors, and what the tests replay.
seeds_of() {
    local made=$build/release/tests/fuzz file
    mkdir -p "$2" || return
    case $1 in
    fuzz_read)
        for file in "$root"/format/vectors/*.hex; do
            python3 "$root/tests/vectors/hex.py" "$file" >"$2/$(basename "$file" .hex)" || return
        done
        ;;
    fuzz_ingest) cp "$made"/*.stream "$2" ;;
    fuzz_pickle) cp "$made"/*.pickle "$2" ;;
    esac
}

# Coverage-guided fuzzing of each target for a minute, from its seeds and the corpus of earlier runs.
fuzz() {
    local target name log seeds=$build/corpus/seeds
    [[ " ${suites[*]} " == *" fuzz "* ]] && command -v clang >/dev/null || return 0
    build_one fuzz || { failed=$((failed + 1)); return; }
    for target in "$build"/fuzz/tests/fuzz/fuzz_*; do
        [ -f "$target" ] && [ -x "$target" ] || continue
        name=${target##*/}
        log=$build/logs/$name
        mkdir -p "$build/corpus/$name"
        if { seeds_of "$name" "$seeds/$name" && cd "$build/corpus" &&
            "$target" -max_total_time=60 -rss_limit_mb=4096 "$name" "seeds/$name"; } >"$log.out" 2>&1 </dev/null; then
            printf '%-9s %-8s 1 passed, 0 failed: %s\n' fuzz fuzz "$(tail -n 1 "$log.out")"
            passed=$((passed + 1))
        else
            printf '%-9s %-8s 0 passed, 1 failed, in build/corpus:\n' fuzz fuzz
            tail -n 30 "$log.out" | sed 's/^/        /'
            failed=$((failed + 1))
        fi
        cd "$root" || return
    done
}

# --- what is needed
packages=("${packages_core[@]}" "${packages_python[@]}" "${packages_test[@]}")
[ $slow = 0 ] || packages+=("${packages_slow[@]}")
install_packages "${packages[@]}"
require_build_tools || exit 2
setup_python zstandard xxhash
torch_job=
if [[ " ${suites[*]} " == *" examples "* || " ${suites[*]} " == *" python "* ||
    ($slow = 1 && " ${suites[*]} " == *" leaks "*) ]]; then
    # Beside the builds: it mostly waits for the network and the disk.
    { setup_torch && { [ $slow = 0 ] || setup_transformers; }; } &
    torch_job=$!
fi

# --- builds, and beside them the suites of what is built
builds=()
for name in release asan tsan off clang; do
    [ -n "$(selected "$name")" ] || continue
    rm -f "$build/logs/built-$name"
    if [ "$name" = clang ] && ! command -v clang >/dev/null; then
        say "no clang: not built with it"
    else
        builds+=("$name")
    fi
done
build_all() {
    local name
    for name; do
        if build_one "$name"; then
            echo yes >"$build/logs/building"
        else
            echo no >"$build/logs/building"
        fi
        mv "$build/logs/building" "$build/logs/built-$name" # whole, once it is seen
    done
}
build_all "${builds[@]}" &
build_job=$!
is_built() { # waits for it
    while [ ! -e "$build/logs/built-$1" ] && kill -0 $build_job 2>/dev/null; do sleep 0.2; done
    [ "$(cat "$build/logs/built-$1" 2>/dev/null)" = yes ]
}
later=() # what needs the Python packages
for name in "${builds[@]}"; do
    if ! is_built "$name"; then
        failed=$((failed + 1))
        continue
    fi
    now=()
    for suite in $(selected "$name"); do
        case $suite in
        python | leaks | examples) later+=("$suite") ;;
        *) now+=("$suite") ;;
        esac
    done
    run_suites "$name" "" ${now[@]+"${now[@]}"}
done
wait $build_job
if [ -n "$torch_job" ]; then
    start=$SECONDS
    wait "$torch_job" || say "no PyTorch: going on without what needs it"
    [ $((SECONDS - start)) -lt 5 ] || say "waited $((SECONDS - start)) s for Python packages"
fi
run_suites release "" ${later[@]+"${later[@]}"}
if [[ $slow = 1 && -e $build/logs/built-release && $(cat "$build/logs/built-release") = yes ]]; then
    if [[ " ${suites[*]} " == *" unit "* ]] && command -v valgrind >/dev/null; then
        run_suites release valgrind unit
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
