#!/bin/sh
# Runs golangci-lint, as pinned in hack/tools, over the modules, or over the
# packages named: hack/lint.sh ./rpcruntime/status ./internal/...
# Flags before the packages are passed on: hack/lint.sh --fix ./api/...
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

flags=
while [ $# -gt 0 ]; do
  case "$1" in
    -*) flags="$flags $1"; shift ;;
    *) break ;;
  esac
done
here= runtime= bench= chart= image=
for package in "$@"; do
  case "${package#./}" in
    rpcruntime) runtime="$runtime ." ;;
    rpcruntime/*) runtime="$runtime ./${package#*rpcruntime/}" ;;
    bench) bench="$bench ." ;;
    bench/*) bench="$bench ./${package#*bench/}" ;;
    hack/chart*) chart=" ./..." ;;
    hack/image*) image=" ./..." ;;
    *) here="$here ./${package#./}" ;;
  esac
done
[ $# -gt 0 ] || { here=./... runtime=./... bench=./... chart=./... image=./...; }

# lint FOLDER PACKAGES: each module is its own main module, as its users see it.
lint() {
  # shellcheck disable=SC2086 # flags and packages are lists
  (cd "$root/$1" && GOWORK=off go tool -modfile="$root/hack/tools/go.mod" golangci-lint run -c "$root/.golangci.yml" $flags $2)
}
status=0
[ -z "$here" ] || lint . "$here" || status=1
[ -z "$runtime" ] || lint rpcruntime "$runtime" || status=1
[ -z "$bench" ] || lint bench "$bench" || status=1
[ -z "$chart" ] || lint hack/chart "$chart" || status=1
[ -z "$image" ] || lint hack/image "$image" || status=1
exit $status
