#!/bin/sh
# Runs the demo and holds its last line against what it promises.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

{ bin/fairlead demo && status=0 || status=$?; echo $status >"$dir/status"; } | tee "$dir/out"
status=$(cat "$dir/status")
[ "$status" -eq 0 ] || { echo "the demo ended with exit code $status" >&2; exit 1; }
last=$(tail -n 1 "$dir/out")

# value NAME: the number behind NAME= in the last line.
value() { echo "$last" | sed -nE "s/^demo:.* $1=([0-9]+)( .*)?\$/\1/p"; }
# want NAME TEST NUMBER
want() {
  got=$(value "$1")
  [ -n "$got" ] && [ "$got" "$2" "$3" ] || { echo "the demo's $1 is '$got', want $2 $3: $last" >&2; exit 1; }
}
want calls -ge 20000
want failed -eq 0
want duplicates -eq 0
want refused -ge 1
want kills -ge 1
want rolling_restarts -ge 1
want policy_changes -ge 1
want control_plane_restarts -ge 1
