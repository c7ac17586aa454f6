#!/bin/sh
# Runs one phase of a make target and prints how long it took; --summary lists them all.
# Usage: phase.sh NAME COMMAND [ARG ...]
set -u
log=.tools/phases
mkdir -p .tools

if [ "$1" = --summary ]; then
    echo "Phases:"
    awk '{ printf "  %-20s %5d s\n", $1, $2; total += $2 } END { printf "  %-20s %5d s\n", "total", total }' "$log"
    rm -f "$log"
    exit 0
fi

name=$1
shift
started=$(date +%s)
"$@"
code=$?
seconds=$(($(date +%s) - started))
echo "$name $seconds" >>"$log"
if [ "$code" -eq 0 ]; then
    echo "== $name: ok, $seconds s"
else
    echo "== $name: FAILED with exit code $code after $seconds s" >&2
    rm -f "$log"
fi
exit "$code"
