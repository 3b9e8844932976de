#!/bin/sh
# Runs the demo and holds it against what it promises: how it ends, within what
# time, and its last line, number by number.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

begin=$(date +%s)
{ bin/fairlead demo && status=0 || status=$?; echo $status >"$dir/status"; } | tee "$dir/out"
took=$(($(date +%s) - begin))
status=$(cat "$dir/status")
[ "$status" -eq 0 ] || { echo "the demo ended with exit code $status" >&2; exit 1; }
[ "$took" -lt 60 ] || { echo "the demo took $took s, want less than 60 s" >&2; exit 1; }

# The line of numbers stands once, and nothing comes after it.
last=$(tail -n 1 "$dir/out")
case "$last" in
"demo: "*) ;;
*) echo "the demo's last line is not its line of numbers: $last" >&2; exit 1 ;;
esac
lines=$(grep -c '^demo: ' "$dir/out")
[ "$lines" -eq 1 ] || { echo "the demo printed $lines lines of numbers, want one" >&2; exit 1; }

# value NAME: the number behind NAME= in the last line.
value() { echo "$last" | sed -nE "s/^demo:.* $1=([0-9]+)( .*)?\$/\1/p"; }
# want NAME TEST NUMBER
want() {
  got=$(value "$1")
  [ -n "$got" ] && [ "$got" "$2" "$3" ] || { echo "the demo's $1 is '$got', want $2 $3: $last" >&2; exit 1; }
}
want calls -ge 20000
want failed -eq 0
want unknown -ge 0
want duplicates -eq 0
want refused -ge 1
want kills -ge 1
want rolling_restarts -ge 1
want policy_changes -ge 1
want control_plane_restarts -ge 1
echo "$last" | grep -Eq ' p99=[0-9]+\.[0-9]+ms( |$)' || { echo "the demo's p99 is missing: $last" >&2; exit 1; }
