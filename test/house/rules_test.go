// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// pure lists the packages that decide and do nothing else: a simulator runs
// the very code that production runs.
var pure = []string{
	"rpcruntime/policy", "rpcruntime/balancer", "rpcruntime/outlier", "rpcruntime/retry", "rpcruntime/limit",
	"internal/compile",
}

// goroutineStarters lists where a goroutine may be started. Each has one
// owner, whose Close waits for it. A * stands for what lies below, too.
var goroutineStarters = []string{
	"rpcruntime", "rpcruntime/internal/wheel", "rpcruntime/transport", "rpcruntime/registry", "rpcruntime/rpctest",
	"rpcruntime/gateway", "rpcruntime/internal/rpcxpeer", "rpcruntime/internal/wirebench",
	"internal/publish", "internal/manifest", "controllers/*", "cmd/*", "examples/*",
	"bench/internal/*", // another module: programs that measure
}

// impureImports are packages that do I/O, log or keep a state of their own.
var impureImports = []string{
	"os", "os/exec", "os/signal", "net/http", "syscall", "log", "log/slog", "crypto/rand", "io/ioutil",
}

// impureMembers are the clock, and what starts something by itself.
var impureMembers = map[string][]string{
	"time":    {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"context": {"AfterFunc", "WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause"},
}

// addressMembers are the members of net that work on text and open nothing.
var addressMembers = []string{
	"JoinHostPort", "SplitHostPort", "ParseIP", "ParseCIDR", "IP", "IPNet", "IPMask", "AddrError", "ParseError",
}

// seeded are the members of math/rand and math/rand/v2 that do not draw from
// the generator of the process.
var seeded = []string{"New", "NewPCG", "NewChaCha8", "NewSource", "NewZipf", "Rand", "Source", "PCG", "ChaCha8", "Zipf"}

// purity keeps clocks, dice, I/O and goroutines out of the pure packages.
func purity(t *tree) (found []breach) {
	t.product(func(f *goFile) {
		if !slices.Contains(pure, f.dir()) {
			return
		}
		for _, spec := range f.syntax.Imports {
			if p := imported(spec); slices.Contains(impureImports, p) {
				found = append(found, t.breach(spec.Pos(), "%s is pure and may not import %s", f.dir(), p))
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if what, ok := startsGoroutine(f, n); ok {
				found = append(found, t.breach(n.Pos(), "%s is pure and may not have %s", f.dir(), what))
			}
			if expr, ok := n.(ast.Expr); ok {
				if what := impureMember(f, expr); what != "" {
					found = append(found, t.breach(n.Pos(), "%s is pure and may not use %s; take it as an argument", f.dir(), what))
				}
			}
			return true
		})
	})
	return found
}

func impureMember(f *goFile, expr ast.Expr) string {
	for pkg, names := range impureMembers {
		if name := member(f, expr, pkg); slices.Contains(names, name) {
			return pkg + "." + name
		}
	}
	for pkg, allowed := range map[string][]string{"math/rand": seeded, "math/rand/v2": seeded, "net": addressMembers} {
		if name := member(f, expr, pkg); name != "" && !slices.Contains(allowed, name) {
			return pkg + "." + name
		}
	}
	return ""
}

// startsGoroutine tells whether a node starts a goroutine: by a go statement,
// by the Go method of a group, or by a function that calls back later.
func startsGoroutine(f *goFile, n ast.Node) (what string, ok bool) {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a go statement", true
	case *ast.CallExpr:
		if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" && len(n.Args) == 1 {
			return "a call of a group's Go", true
		}
		for _, pkg := range []string{"time", "context"} {
			if member(f, n.Fun, pkg) == "AfterFunc" {
				return pkg + ".AfterFunc", true
			}
		}
	}
	return "", false
}

// goroutines keeps goroutines at the edge.
func goroutines(t *tree) (found []breach) {
	t.product(func(f *goFile) {
		allowed := slices.ContainsFunc(goroutineStarters, func(entry string) bool {
			below, all := strings.CutSuffix(entry, "/*")
			return f.dir() == entry || all && within(f.dir(), below)
		})
		if allowed {
			return
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if what, ok := startsGoroutine(f, n); ok {
				found = append(found, t.breach(n.Pos(), "%s starts no goroutines and may not have %s", f.dir(), what))
			}
			return true
		})
	})
	return found
}

// vague are names that say nothing of what a package owns.
var vague = []string{"util", "utils", "common", "share", "shared", "helper", "helpers", "base", "misc"}

// names refuses vague names of packages and of their folders.
func names(t *tree) (found []breach) {
	seen := make(map[string]bool)
	for _, f := range t.files {
		folder, name := path.Base(f.dir()), strings.TrimSuffix(f.syntax.Name.Name, "_test")
		if seen[f.dir()] || !slices.Contains(vague, folder) && !slices.Contains(vague, name) {
			continue
		}
		seen[f.dir()] = true
		found = append(found, t.breach(f.syntax.Name.Pos(), "package %s in %s: name it after what it owns", name, f.dir()))
	}
	return found
}

// globals refuses exported variables, which anybody could change, and init
// functions, by which an import would register something. Sentinel errors are
// no configuration, and Kubernetes' scheme builders need both.
func globals(t *tree) (found []breach) {
	t.product(func(f *goFile) {
		if f.syntax.Name.Name == "main" || within(f.dir(), "api") {
			return
		}
		for _, decl := range f.syntax.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil && decl.Name.Name == "init" {
					found = append(found, t.breach(decl.Pos(), "nothing is set up by an import; make it part of a constructor"))
				}
			case *ast.GenDecl:
				if decl.Tok != token.VAR {
					continue
				}
				for _, name := range declared(decl) {
					if name.IsExported() && !strings.HasPrefix(name.Name, "Err") {
						found = append(found, t.breach(name.Pos(), "exported variable %s can be changed by anybody; make it a constant or a function", name.Name))
					}
				}
			}
		}
	})
	return found
}

func declared(decl *ast.GenDecl) (idents []*ast.Ident) {
	for _, spec := range decl.Specs {
		if spec, ok := spec.(*ast.ValueSpec); ok {
			idents = append(idents, spec.Names...)
		}
	}
	return idents
}

const header = "// Copyright The Fairlead Authors.\n// SPDX-License-Identifier: Apache-2.0\n\n"

// headers wants the two lines and an empty one at the top of each hand-written
// Go file.
func headers(t *tree) (found []breach) {
	for _, f := range t.files {
		if !f.generated && !strings.HasPrefix(f.text, header) {
			found = append(found, breach{f.name + ":1", "does not begin with the lines of hack/boilerplate.go.txt and an empty line"})
		}
	}
	return found
}

// sleeps lets a test sleep only where time is virtual.
func sleeps(t *tree) (found []breach) {
	for _, f := range t.files {
		if !f.isTest || localName(f, "testing/synctest") != "" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if expr, ok := n.(ast.Expr); ok && member(f, expr, "time") == "Sleep" {
				found = append(found, t.breach(n.Pos(), "a test waits for what it waits for; time.Sleep is for synctest bubbles only"))
			}
			return true
		})
	}
	return found
}

// outside is a folder that developers have beside the repository and users
// have not. It is put together here so that this file does not name it either.
var outside = strings.Join([]string{"..", "shared"}, "/")

// selfContained refuses references to that folder, save in .ci/run.
func selfContained(t *tree) (found []breach) {
	for name, text := range t.texts {
		if before, _, ok := strings.Cut(text, outside); ok && name != ".ci/run" {
			line := 1 + strings.Count(before, "\n")
			found = append(found, breach{fmt.Sprintf("%s:%d", name, line), "refers to " + outside + ", which users do not have"})
		}
	}
	return found
}
