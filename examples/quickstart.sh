#!/bin/bash
# From a fresh Debian machine to the name of a leak: installs what is missing, builds heapsnap, trains a small network on
# real data under it with a snapshot after each epoch, and compares the snapshots. See --help.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
build=$root/build

usage() {
    cat <<'END'
usage: examples/quickstart.sh [--native] [--out DIRECTORY] [--built DIRECTORY]

Trains a small PyTorch network on scikit-learn's digits under `snap run`, with two planted leaks (a loss that is summed with
its graph, a hook that is registered anew in each epoch), takes a snapshot after each of four epochs, runs snapdiff on them and
writes its report as a page for a browser, too. Installs the packages that are missing (apt-get; Python packages into
build/venv) and builds heapsnap in build/release first.

  --native           train a network written in C, without Python
  --out DIRECTORY    where snapshots and reports go (build/quickstart)
  --built DIRECTORY  use the build in DIRECTORY and install nothing

Exit status: 0 the planted leak is the first site that snapdiff names, and the hook is named, 1 it is not, 2 trouble; with
--built, 77 if there is no PyTorch, or no module for python3.
END
}

mode=torch out=$build/quickstart built=
while [ $# -gt 0 ]; do
    case $1 in
    --native) mode=native ;;
    --out | --built)
        [ $# -gt 1 ] || { echo "quickstart.sh: $1 needs a directory" >&2; exit 2; }
        if [ "$1" = --out ]; then out=$2; else built=$2; fi
        shift
        ;;
    -h | --help) usage; exit 0 ;;
    *) echo "quickstart.sh: unknown argument '$1' (see --help)" >&2; exit 2 ;;
    esac
    shift
done

fail() { echo "quickstart.sh: $*" >&2; exit 2; }

mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
[ -z "$built" ] || built=$(cd "$built" && pwd) || exit 2
rm -f "$out"/epoch*.snap

if [ -z "$built" ]; then
    mkdir -p "$build/logs" || exit 2
    # shellcheck source=tests/support/setup.sh
    . "$root/tests/support/setup.sh"
    built=$build/release
    install_packages "${packages_core[@]}"
    require_build_tools || exit 2
    if [ $mode = torch ]; then
        install_packages "${packages_python[@]}"
        setup_python || mode=native
        [ $mode = native ] || setup_torch || mode=native
        [ $mode = torch ] || say "no PyTorch here: going on with the trainer written in C"
    fi
    say "building heapsnap in build/release"
    log=$build/logs/build-quickstart.log
    if ! { configure "$built" -Dbuildtype=debugoptimized && ninja -C "$built"; } >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        fail "the build failed, see $log"
    fi
fi

if [ $mode = torch ] && ! python3 -c 'import torch, sklearn' 2>/dev/null; then
    echo "quickstart.sh: python3 has no torch, or no sklearn"
    exit 77
fi

if [ $mode = torch ] && ! PYTHONPATH=$built/lib/python python3 -c 'import heapsnap' 2>/dev/null; then
    echo "quickstart.sh: the module heapsnap was not built for python3 (are its headers there?)"
    exit 77
fi

# The command is named heapsnap where another `snap` is installed.
snap=$built/cmd/snap
[ -x "$snap" ] || snap=$built/cmd/heapsnap
snapdiff=$built/cmd/snapdiff
for command in "$snap" "$snapdiff"; do
    [ -x "$command" ] || fail "$command is missing: built without it?"
done

if [ $mode = native ]; then
    program=("$built/examples/train_native" "$root/examples/data/digits.csv" "$out")
else
    program=(python3 "$root/examples/train_torch.py" "$out")
    export PYTHONPATH=$built/lib/python${PYTHONPATH:+:$PYTHONPATH}
fi
echo "\$ ${snap##*/} run -- ${program[0]##*/} ${program[1]##*/} ..."
"$snap" run -- "${program[@]}" | tee "$out/training.txt"
[ "${PIPESTATUS[0]}" = 0 ] || fail "the training failed"
planted=$(sed -n 's/^planted leak: //p' "$out/training.txt")

files=("$out"/epoch[1-4].snap)
page=$out/report.html
rm -f "$page"
echo
echo "\$ snapdiff --html report.html epoch1.snap epoch2.snap epoch3.snap epoch4.snap"
(cd "$out" && "$snapdiff" --top 3 --html report.html "${files[@]##*/}") 2>"$out/complaints.txt"
status=$?
# The page is written after the text, and not at all by a build without D3.
if [ $status -gt 1 ] && ! grep -q 'built without' "$out/complaints.txt"; then
    fail "snapdiff failed: $(cat "$out/complaints.txt")"
fi
"$snapdiff" --json "${files[@]}" >"$out/report.json"
[ $? -le 1 ] || fail "snapdiff --json failed"

# The functions of the site that grew most: the report lists sites by growth, each with its stack before its counts.
first_site=$(tr '\n' ' ' <"$out/report.json" | awk '{
    text = substr($0, index($0, "\"sites\":"))
    print substr(text, 1, index(text, "\"counts\":")) }' | grep -o '"function": *"[^"]*"')
echo
[ ! -e "$page" ] || echo "quickstart: the report for a browser is $page"
if [ -n "$planted" ] && grep -qwF -- "$planted" <<<"$first_site"; then
    echo "quickstart: the planted leak ($planted) is the first site of $out/report.json"
else
    echo "quickstart: the planted leak ($planted) is NOT the first site of $out/report.json" >&2
    exit 1
fi
[ $mode = torch ] || exit 0

# The hook: its registry as a path in the program, its function's file and line, one more in each epoch.
hook_line=$(sed -n 's/^planted hook: .*://p' "$out/training.txt")
if python3 - "$out/report.json" "$hook_line" <<'END'
import json, sys
for hook in json.load(open(sys.argv[1]))["hooks"]:
    if hook["registry"].endswith("._forward_hooks") and hook["line"] == int(sys.argv[2]) and hook["counts"] == [1, 2, 3, 4]:
        print(f"quickstart: the planted hook is {hook['registry']} -> {hook['callback']}, one more in each epoch")
        sys.exit(0)
sys.exit(1)
END
then
    exit 0
fi
echo "quickstart: the planted hook (line $hook_line) is NOT in $out/report.json" >&2
exit 1
