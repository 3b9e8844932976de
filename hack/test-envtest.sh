#!/bin/sh
# Runs the tests that need an API server, those in files with the build
# constraint envtest: hack/test-envtest.sh [FLAG OF GO TEST ...]
set -eu
cd "$(dirname "$0")/.."

dirs=$(find . \( -name '.?*' -o -name testdata -o -path ./bin -o -path ./hack \) -prune \
  -o -type f -name '*_test.go' -exec grep -lE '^//go:build .*envtest' {} + | sed "s,/[^/]*$,," | sort -u)
if [ -z "$dirs" ]; then
  echo "no test needs an API server"
  exit 0
fi
KUBEBUILDER_ASSETS=$(GOWORK=off go -C hack/envtest run .)
export KUBEBUILDER_ASSETS
# One package at a time: each starts an API server of its own.
# shellcheck disable=SC2086 # a list of folders without spaces
exec go test -tags envtest -p 1 "$@" $dirs
