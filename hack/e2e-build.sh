#!/bin/sh
# Builds what the end-to-end tests need into bin/e2e, so that they run where
# nothing can be downloaded: both images, the tests, fairlead, and Helm.
set -eu
cd "$(dirname "$0")/.."
arch=$(go env GOARCH)
out=$PWD/bin/e2e
mkdir -p "$out"

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
