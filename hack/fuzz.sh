#!/bin/sh
# Runs every fuzz target of both modules for a while: hack/fuzz.sh DURATION
# Minimising is cut short: by default it takes a minute, for each input.
# An input that fails is kept in the package's testdata/fuzz; commit it.
set -eu
cd "$(dirname "$0")/.."
duration=$1

targets=$(find . \( -name '.?*' -o -name testdata -o -path ./bin -o -path ./hack \) -prune \
  -o -type f -name '*_test.go' -exec grep -oE '^func Fuzz[A-Za-z0-9_]*\(' /dev/null {} + |
  sed -E 's,^(.*)/[^/]*:func (Fuzz.*)\($,\1 \2,' | sort -u)
[ -n "$targets" ] || { echo "no fuzz targets found" >&2; exit 1; }
echo "$targets" | {
  status=0
  while read -r dir target; do
    hack/step.sh "$target in $dir" go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 5s "$dir" </dev/null || status=1
  done
  exit $status
}
