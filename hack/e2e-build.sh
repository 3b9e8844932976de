#!/bin/sh
# Builds what the end-to-end tests need into bin/e2e, so that they run where
# nothing can be downloaded: both images, the tests, fairlead, and Helm; and in
# bin/e2e/earlier charts and image of an earlier commit, to upgrade from.
#
# E2E_EARLIER names that commit. Default: the newest release before this commit;
# without one, the first commit that Helm could install.
set -eu
cd "$(dirname "$0")/.."
arch=$(go env GOARCH)
out=$PWD/bin/e2e
mkdir -p "$out"

# earlier_commit prints the id of the commit to upgrade from.
earlier_commit() {
  chart=charts/fairlead/Chart.yaml
  if [ -n "${E2E_EARLIER:-}" ]; then
    ref=$E2E_EARLIER
  elif ! git rev-parse --verify --quiet 'HEAD^{commit}' >/dev/null; then
    echo "no commit to upgrade from: this is no git clone, and the end-to-end tests need one" >&2
    return 1
  elif [ "$(git rev-parse --is-shallow-repository)" = true ]; then
    echo "no commit to upgrade from: this clone is shallow. Run git fetch --unshallow --tags, or name a commit that it has in E2E_EARLIER" >&2
    return 1
  else
    # This commit's own release, if it is one, is not earlier.
    ref=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 'HEAD^' 2>/dev/null) ||
      ref=$(git log --reverse --format=%H --diff-filter=A -- "$chart" | head -n 1)
  fi
  git cat-file -e "$ref:$chart" || {
    echo "no commit to upgrade from: $ref has no $chart, or is not in this clone. Name another in E2E_EARLIER" >&2
    return 1
  }
  git rev-parse --verify "$ref^{commit}"
}

# build_earlier COMMIT: its charts and image. That takes a while, and a commit
# never changes: it is done once.
build_earlier() {
  [ "$(cat "$out/earlier/commit" 2>/dev/null)" != "$1 $arch" ] || return 0
  rm -rf "$out/earlier"
  source=$(mktemp -d "$out/source.XXXXXX")
  trap 'rm -rf "$source"' EXIT
  trap 'exit 1' INT TERM
  git archive --format=tar "$1" | tar -x -C "$source"
  mkdir "$out/earlier"
  "$source/hack/image.sh" fairlead.test/operator:earlier "$arch" "$out/earlier/operator.tar" earlier
  mv "$source/charts" "$out/earlier/charts"
  rm -rf "$source"
  echo "$1 $arch" >"$out/earlier/commit"
}

earlier=$(earlier_commit)
hack/image.sh fairlead.test/operator:e2e "$arch" "$out/operator.tar" e2e
# The same program that is in the image.
cp "bin/image/$arch/fairlead" "$out/fairlead"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/workload" ./test/e2e/workload
GOWORK=off go -C hack/image run . -name fairlead.test/workload:e2e -platform "linux/$arch" -version e2e -out "$out/workload.tar" "$out/workload"
CGO_ENABLED=0 go test -c -tags e2e -o "$out/e2e.test" ./test/e2e
# Helm as a program, in the version that the tests of the charts use as a library.
helm=$(GOWORK=off go -C hack/chart list -m -f '{{.Version}}' helm.sh/helm/v3)
if [ "$(cat "$out/helm.version" 2>/dev/null)" != "$helm" ]; then
  (cd "$out" && GOWORK=off GOFLAGS=-mod=mod GOBIN=$out CGO_ENABLED=0 go install "helm.sh/helm/v3/cmd/helm@$helm")
  echo "$helm" >"$out/helm.version"
fi
build_earlier "$earlier"
