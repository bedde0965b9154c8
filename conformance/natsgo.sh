#!/usr/bin/env bash
# usage: conformance/natsgo.sh [quick|all]
#
# Runs tests of the stock Go client (nats.go) against this tree's server and fails
# if one fails that natsgo-passing.txt lists. "quick", the default, leaves out
# those marked slow and takes two to three minutes; "all" runs every test listed.
#
# The suite is not part of this repository: it is looked for in
# ../shared/conformance/natsgo beside it, or where NATSGO_SUITE says. Without it
# nothing is checked. OUT says where results go.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-quick}
suite=${NATSGO_SUITE:-../shared/conformance/natsgo}
list=conformance/natsgo-passing.txt
if [ ! -x "$suite/run.sh" ]; then
    echo "skipped: the client's suite is not at $suite (set NATSGO_SUITE)"
    exit 0
fi

out=${OUT:-$(mktemp -d)}
mkdir -p "$out"
out=$(realpath -- "$out")
if [ -z "${OUT:-}" ]; then
    trap 'rm -rf "$out"' EXIT
fi

case $mode in
quick) grep -v '^#' "$list" | awk '$3 != "slow" { print $1, $2 }' >"$out/wanted" ;;
all) grep -v '^#' "$list" | awk '{ print $1, $2 }' >"$out/wanted" ;;
*) echo "unknown mode $mode: quick or all" >&2; exit 2 ;;
esac

go build -o "$out/weir" ./cmd/weir
pattern="^($(cut -d' ' -f2 "$out/wanted" | sort -u | paste -sd'|'))\$"
OUT=$out JOBS=${JOBS:-2} RETRIES=${RETRIES:-2} TEST_TIMEOUT=${TEST_TIMEOUT:-60s} \
    "$suite/run.sh" "$out/weir" "$pattern" >"$out/run.log" 2>&1 || {
    tail -20 "$out/run.log"
    exit 1
}

# tests.tsv: package, test, verdict, …
awk -F'\t' 'NR == FNR { split($0, f, " "); wanted[f[1] " " f[2]] = 1; next }
    ($1 " " $2) in wanted { n++; seen[$1 " " $2] = 1; if ($3 != "pass") { print "FAIL", $1, $2; bad++ } }
    END {
        for (t in wanted) if (!(t in seen)) { print "MISSING", t; bad++ }
        printf "%d tests of the Go client, %d failed\n", n, bad
        exit bad > 0
    }' "$out/wanted" "$out/tests.tsv" || {
    [ -z "${OUT:-}" ] && tail -40 "$out/failed.txt"
    exit 1
}
