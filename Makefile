# Two commands to know: `make demo` and `make test`. `make` lists the rest.
# Needs Go, git and make; tests run with the race detector if there is a C
# compiler, too.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   = -X main.version=$(VERSION)
FUZZTIME ?= 30s
# How often `make stress` runs each test.
STRESS_COUNT         ?= 10
STRESS_ENVTEST_COUNT ?= 3
# More flags for go test, as in: make test-unit TESTFLAGS='-run TestDrain -v'
TESTFLAGS ?=

# ./... does not reach the second module, so both are named.
PACKAGES := ./... ./rpcruntime/...
STEP     := hack/step.sh
TOOL     := GOWORK=off go tool -modfile=hack/tools/go.mod
# Asked for at most once, and only by the targets that use it.
RACE      = $(eval RACE := $$(shell hack/race.sh))$(RACE)

##@ Use

.PHONY: help
help: ## Lists the targets.
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Runs the product on this machine under load, with kills and restarts: about a minute.
	@go build -ldflags '$(LDFLAGS)' -o bin/fairlead ./cmd/fairlead
	@bin/fairlead demo

.PHONY: build
build: ## Builds bin/fairlead and bin/manager.
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/fairlead ./cmd/manager

IMAGE ?= ghcr.io/fairlead/fairlead:$(VERSION)
ARCH  ?= $(shell go env GOARCH)

.PHONY: image
image: ## Writes bin/image.tar, the operator's image, without Docker: IMAGE=NAME:TAG, ARCH=amd64 or arm64.
	@$(STEP) "image $(IMAGE) for $(ARCH)" hack/image.sh '$(IMAGE)' '$(ARCH)' bin/image.tar '$(VERSION)'

.PHONY: clean
clean: ## Removes bin/. What is in the user's cache stays.
	rm -rf bin

##@ Change

.PHONY: generate
generate: ## Makes deep copies and Protobuf code.
	@$(STEP) "generated code" hack/generate.sh code

.PHONY: manifests
manifests: ## Makes the CRDs, and the operator's role in config/rbac.
	@$(STEP) "generated manifests" hack/generate.sh manifests
	@$(STEP) "charts' copies" hack/chart.sh sync

.PHONY: fmt
fmt: ## Formats all Go files.
	@$(TOOL) golangci-lint fmt

##@ Check

.PHONY: test
test: verify test-unit test-envtest helm-lint ## Everything that must pass: verify, unit tests, tests against an API server, charts.

.PHONY: verify
verify: verify-generated verify-modules verify-format vet lint verify-house ## Checks that need no test: generated files, go.mod, format, vet, lint, house rules.

.PHONY: verify-generated
verify-generated:
	@$(STEP) "generated files are current" hack/generate.sh check
	@$(STEP) "charts' copies are current" hack/chart.sh check

.PHONY: verify-modules
verify-modules:
	@$(STEP) "go.mod is tidy" env GOWORK=off go mod tidy -diff
	@$(STEP) "rpcruntime/go.mod is tidy" env GOWORK=off go -C rpcruntime mod tidy -diff
	@$(STEP) "bench/go.mod is tidy" env GOWORK=off go -C bench mod tidy -diff
	@$(STEP) "hack/chart and hack/image are tidy" sh -c 'for m in hack/chart hack/image; do GOWORK=off go -C $$m mod tidy -diff || exit 1; done'

.PHONY: verify-format
verify-format:
	@$(STEP) "format" sh -c 'list=$$(gofmt -l .) && { test -z "$$list" || { echo "not formatted: $$list"; exit 1; }; }'

.PHONY: vet
vet: ## go vet, each module by itself as its users see it.
	@$(STEP) "vet" env GOWORK=off go vet -tags envtest,e2e ./...
	@$(STEP) "vet rpcruntime" env GOWORK=off go -C rpcruntime vet -tags envtest ./...
	@$(STEP) "vet bench" env GOWORK=off go -C bench vet ./...
	@$(STEP) "vet hack" sh -c 'for m in hack/chart hack/image; do GOWORK=off go -C $$m vet -tags envtest ./... || exit 1; done'

.PHONY: lint
lint: ## golangci-lint. For one package: hack/lint.sh ./rpcruntime/status
	@$(STEP) "lint" hack/lint.sh

.PHONY: verify-house
verify-house:
	@$(STEP) "house rules" go test -count=1 ./test/house

# The demo's tests run it whole, under load, and judge rates: they want the
# machine for themselves, and so come after all others.
DEMO := ./cmd/fairlead/internal/demo

.PHONY: test-unit
test-unit: ## Unit tests of both modules, with -race where there is a C compiler.
	@$(STEP) "unit tests $(RACE)" sh -c 'go test $(RACE) -timeout 15m $(TESTFLAGS) $$(go list $(PACKAGES) | grep -v /internal/demo$$)'
	@$(STEP) "guards against allocations" sh -c 'go test -run Alloc ./rpcruntime/... && GOWORK=off go -C bench test -run Alloc ./internal/micro'
	@$(STEP) "unit tests of the benchmarks $(RACE)" env GOWORK=off go -C bench test $(RACE) -timeout 10m $(TESTFLAGS) ./...
	@$(STEP) "unit tests of the demo $(RACE)" go test $(RACE) -timeout 15m $(TESTFLAGS) $(DEMO)

.PHONY: test-envtest
test-envtest: ## Tests against a real API server, which is built first if need be: about 5 minutes, once.
	@$(STEP) "etcd and API server" env GOWORK=off go -C hack/envtest run .
	@$(STEP) "tests of these two" env GOWORK=off go -C hack/envtest test .
	@$(STEP) "tests against an API server $(RACE)" hack/test-envtest.sh $(RACE) -timeout 20m $(TESTFLAGS)

.PHONY: helm-lint
helm-lint: ## Charts and kustomization: lint, every switch both ways, judged by an API server.
	@$(STEP) "charts" hack/helm-lint.sh
	@$(STEP) "tests of the image's maker" env GOWORK=off go -C hack/image test .

.PHONY: e2e-build
e2e-build: ## Builds what test-e2e needs into bin/e2e: images, tests, Helm.
	@$(STEP) "programs and images of the end-to-end tests" hack/e2e-build.sh

.PHONY: test-e2e
test-e2e: ## Tests on the cluster of KUBECONFIG; E2E_LOAD_IMAGE hands it images. Downloads nothing. First: make e2e-build.
	@$(STEP) "end-to-end tests" env E2EFLAGS='$(E2EFLAGS)' hack/test-e2e.sh

.PHONY: test-demo
test-demo: ## Runs the demo and checks what it reports.
	@go build -ldflags '$(LDFLAGS)' -o bin/fairlead ./cmd/fairlead
	@$(STEP) "demo" hack/test-demo.sh

.PHONY: stress
stress: stress-unit stress-envtest ## All tests many times over: STRESS_COUNT=10, STRESS_ENVTEST_COUNT=3.

.PHONY: stress-unit
stress-unit:
	@$(STEP) "unit tests $(RACE) x $(STRESS_COUNT)" sh -c 'go test $(RACE) -count=$(STRESS_COUNT) -timeout 90m $(TESTFLAGS) $$(go list $(PACKAGES) | grep -v /internal/demo$$)'
	@$(STEP) "unit tests of the demo $(RACE) x $(STRESS_COUNT)" go test $(RACE) -count=$(STRESS_COUNT) -timeout 90m $(TESTFLAGS) $(DEMO)

.PHONY: stress-envtest
stress-envtest:
	@$(STEP) "tests against an API server $(RACE) x $(STRESS_ENVTEST_COUNT)" hack/test-envtest.sh $(RACE) -count=$(STRESS_ENVTEST_COUNT) -timeout 60m $(TESTFLAGS)

# Built first, and outside of what is measured.
.PHONY: build-bench
build-bench:
	@go build -o bin/fairlead ./cmd/fairlead
	@GOWORK=off go -C bench build -o ../bin/bench .

.PHONY: bench
bench: build-bench ## Measures calls side by side with grpc-go and others, against the goals: about 20 minutes.
	@bin/bench -fairlead bin/fairlead -out bench/results

.PHONY: bench-quick
bench-quick: build-bench ## The same in less than a minute: shows that it works, and proves nothing.
	@bin/bench -quick -fairlead bin/fairlead

.PHONY: bench-operator
bench-operator: ## Measures one replica of the operator with 1,000 services and 10,000 Pods, against the goals: about 3 minutes.
	@CGO_ENABLED=0 go build -trimpath -o bin/manager ./cmd/manager
	@go build -o bin/benchoperator ./test/benchoperator
	@KUBEBUILDER_ASSETS="$$(GOWORK=off go -C hack/envtest run .)" bin/benchoperator -manager bin/manager

.PHONY: bench-wire
bench-wire: ## Measures cancelling, drains, half-open connections and large messages: about 3 minutes.
	@go run ./rpcruntime/internal/wirebench

.PHONY: fuzz
fuzz: ## Runs each fuzz target for FUZZTIME=30s.
	@hack/fuzz.sh $(FUZZTIME)

