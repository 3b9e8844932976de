// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mayImport says, for the packages in a folder and below it, which packages of
// this repository they may import: a folder stands for what lies in it, and
// "/..." after it for what lies below, too. The entry with the longest folder
// counts. A package may always import what lies below itself.
var mayImport = map[string][]string{
	// The leaves of the runtime.
	"rpcruntime/status":   {},
	"rpcruntime/wire":     {},
	"rpcruntime/policy":   {},
	"rpcruntime/internal": {"rpcruntime/internal/..."},
	// A second implementation proves something only if it shares nothing.
	"rpcruntime/internal/rpcxpeer": {},
	// A program that measures, and no user's program has.
	"rpcruntime/internal/wirebench": {"rpcruntime", "rpcruntime/codec", "rpcruntime/status", "rpcruntime/transport", "rpcruntime/wire", "rpcruntime/policy", "rpcruntime/internal/..."},
	// Its deciders, which are pure.
	"rpcruntime/balancer": {"rpcruntime/policy", "rpcruntime/status"},
	"rpcruntime/outlier":  {"rpcruntime/policy"},
	"rpcruntime/retry":    {"rpcruntime/policy", "rpcruntime/status"},
	"rpcruntime/limit":    {"rpcruntime/policy", "rpcruntime/status"},
	// Its edge, where goroutines are.
	"rpcruntime/codec":     {"rpcruntime/codec", "rpcruntime/status"},
	"rpcruntime/transport": {"rpcruntime/status", "rpcruntime/wire", "rpcruntime/internal/..."},
	"rpcruntime/registry":  {"rpcruntime/policy", "rpcruntime/status", "rpcruntime/transport", "rpcruntime/wire", "rpcruntime/internal/wheel"},
	"rpcruntime": {
		"rpcruntime/status", "rpcruntime/wire", "rpcruntime/policy", "rpcruntime/internal/...",
		"rpcruntime/balancer", "rpcruntime/outlier", "rpcruntime/retry", "rpcruntime/limit",
		"rpcruntime/codec", "rpcruntime/transport", "rpcruntime/registry",
	},
	// Adapters and the test kit stand on top of it.
	"rpcruntime/gateway": {"rpcruntime", "rpcruntime/codec", "rpcruntime/status"},
	"rpcruntime/metrics": {"rpcruntime"},
	"rpcruntime/otel":    {"rpcruntime"},
	"rpcruntime/rpctest": {"rpcruntime/..."},

	// Programs that measure, in a module of their own.
	"bench": {"bench/...", "rpcruntime/..."},

	// The operator. Of the runtime, what decides there knows the snapshot only.
	"api":               {},
	"config":            {}, // carries the CRDs as text
	"internal/compile":  {"api/...", "rpcruntime/policy"},
	"internal/manifest": {"api/...", "config/...", "internal/compile", "rpcruntime/policy"},
	"internal/publish":  {"rpcruntime", "rpcruntime/policy", "rpcruntime/status", "rpcruntime/registry", "rpcruntime/transport", "rpcruntime/codec"},
	"internal":          {"api/...", "config/...", "internal/...", "rpcruntime/..."},
	"controllers":       {"api/...", "internal/...", "controllers/...", "rpcruntime/policy", "rpcruntime/status"},
	"controllers/crd":   {"api/...", "config/..."},
	// Replicas ask each other, as clients of the service that they serve.
	"controllers/registry/count": {"internal/...", "rpcruntime", "rpcruntime/registry", "rpcruntime/policy"},
	// The one place where the operator is a program of its own runtime.
	"controllers/registry/serve": {"internal/...", "rpcruntime", "rpcruntime/metrics", "rpcruntime/registry", "rpcruntime/policy"},
	"fairleadtest":               {"api/...", "internal/...", "rpcruntime/..."},
	"examples":                   {"examples/...", "rpcruntime", "rpcruntime/status", "rpcruntime/codec", "rpcruntime/gateway"},
	"cmd":                        {"api/...", "config/...", "internal/...", "controllers/...", "cmd/...", "examples/...", "rpcruntime/..."},
}

// directions holds mayImport over every import of the product.
func directions(t *tree) (found []breach) {
	t.product(func(f *goFile) {
		folder, allowed := permission(f.dir())
		for _, spec := range f.syntax.Imports {
			target, ok := ours(imported(spec))
			switch {
			case !ok || within(target, f.dir()):
			case folder == "":
				found = append(found, t.breach(spec.Pos(), "%s has no row in the table of imports (test/house/imports_test.go)", f.dir()))
			case !permits(allowed, target):
				found = append(found, t.breach(spec.Pos(), "%s may not import %s", f.dir(), target))
			}
		}
	})
	return found
}

// permission finds the row of the table that counts for a folder.
func permission(dir string) (folder string, allowed []string) {
	for candidate, list := range mayImport {
		if within(dir, candidate) && len(candidate) > len(folder) {
			folder, allowed = candidate, list
		}
	}
	return folder, allowed
}

func permits(allowed []string, target string) bool {
	return slices.ContainsFunc(allowed, func(entry string) bool {
		below, all := strings.CutSuffix(entry, "/...")
		return target == entry || all && within(target, below)
	})
}

// coreModules are what the runtime's core may bring into a user's program.
// Adapters may bring the rest.
var (
	coreModules = []string{
		"github.com/go-logr/logr",
		"github.com/vmihailenco/msgpack/v5",
		"github.com/vmihailenco/tagparser/v2", // of msgpack
		"google.golang.org/protobuf",
	}
	adapters = []string{"rpcruntime/metrics", "rpcruntime/otel", "rpcruntime/codec/thrift"}
)

// listed is what the go command says of a package.
type listed struct {
	ImportPath string
	Standard   bool
	Deps       []string
	Module     *struct{ Path string }
}

// runtimeReach holds two rules over everything that the runtime's packages
// reach through others: nothing of Kubernetes and nothing of the root module,
// and only coreModules unless they are adapters.
func runtimeReach(packages []listed) (found []breach) {
	moduleOf := make(map[string]string)
	for _, p := range packages {
		if !p.Standard && p.Module != nil {
			moduleOf[p.ImportPath] = p.Module.Path
		}
	}
	for _, p := range packages {
		dir, ok := ours(p.ImportPath)
		if !ok || !within(dir, "rpcruntime") {
			continue
		}
		for _, dep := range p.Deps {
			switch from, ok := moduleOf[dep]; {
			case !ok || from == module+"/rpcruntime":
			case from == module, strings.HasPrefix(from, "k8s.io/"), strings.HasPrefix(from, "sigs.k8s.io/"):
				found = append(found, breach{p.ImportPath, "reaches " + dep + ", which nothing under rpcruntime may"})
			case !slices.Contains(coreModules, from) && !within(dir, adapters...):
				found = append(found, breach{p.ImportPath, "reaches " + dep + "; only adapters may bring in the module " + from})
			}
		}
	}
	return found
}

// listRuntime asks the go command for the runtime's packages and all that they
// reach. With -e, what does not compile is left for the compiler to report.
func listRuntime(root string) ([]listed, error) {
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Standard,Deps,Module", "./...")
	cmd.Dir = filepath.Join(root, "rpcruntime")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("go list in %s: %w", cmd.Dir, err)
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
}
