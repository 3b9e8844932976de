#!/bin/sh
# Checks what installs the operator: lints and renders the charts with every
# switch both ways, compares them with config/default, and has an API server
# judge the objects. What nothing here enforces is named at the end.
# hack/helm-lint.sh [FLAG OF GO TEST ...]
set -eu
cd "$(dirname "$0")/.."
hack/chart.sh check
KUBEBUILDER_ASSETS=$(GOWORK=off go -C hack/envtest run .)
export KUBEBUILDER_ASSETS
# Without a package named, go test passes on what the tests print. Its cache
# knows nothing of files outside of the module, such as the charts.
cd hack/chart
GOWORK=off exec go test -count=1 -tags envtest -timeout 10m "$@"
