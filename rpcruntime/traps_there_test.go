// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// traps is how many there are.
const traps = 13

// TestEveryTrapIsThere looks at the source of the tests: each trap has one test,
// which is not empty, always built and never skipped.
func TestEveryTrapIsThere(t *testing.T) {
	fset := token.NewFileSet()
	files := map[string]*ast.File{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		files[filepath.ToSlash(name)], err = parser.ParseFile(fset, name, nil, parser.ParseComments)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range trapFaults(files) {
		t.Error(fault)
	}
}

// trapFaults says what is wrong with the tests of the traps.
func trapFaults(files map[string]*ast.File) (faults []string) {
	found := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := files[name]
		holdsOne := false
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "TestTrap") {
				continue
			}
			holdsOne = true
			found[fn.Name.Name]++
			if what := faultOf(fn); what != "" {
				faults = append(faults, fmt.Sprintf("%s in %s %s", fn.Name.Name, name, what))
			}
		}
		if holdsOne {
			for _, what := range fileFaults(name, file) {
				faults = append(faults, name+" "+what)
			}
		}
	}
	for i := range traps {
		name := fmt.Sprintf("TestTrap%02d", i+1)
		if n := found[name]; n != 1 {
			faults = append(faults, fmt.Sprintf("%s is there %d times", name, n))
		}
		delete(found, name)
	}
	for name := range found {
		faults = append(faults, name+" is no trap's name")
	}
	return faults
}

// faultOf says what is wrong with one test.
func faultOf(fn *ast.FuncDecl) string {
	params := fn.Type.Params.List
	switch {
	case strings.TrimSpace(fn.Doc.Text()) == "":
		return "does not say which trap it is"
	case fn.Body == nil || len(fn.Body.List) == 0:
		return "is empty"
	case fn.Type.Results != nil || fn.Type.TypeParams != nil || len(params) != 1 || len(params[0].Names) > 1:
		return "is no test"
	}
	star, ok := params[0].Type.(*ast.StarExpr)
	if !ok {
		return "is no test"
	}
	if sel, ok := star.X.(*ast.SelectorExpr); !ok || sel.Sel.Name != "T" {
		return "is no test"
	}
	for i, stmt := range fn.Body.List {
		if _, ok := stmt.(*ast.ReturnStmt); ok && i < len(fn.Body.List)-1 {
			return "returns before its end"
		}
	}
	return ""
}

// fileFaults says what in a file would keep its tests from running: helpers
// that skip count, too.
func fileFaults(name string, file *ast.File) (faults []string) {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if group.Pos() < file.Package && constraint.IsGoBuild(c.Text) {
				faults = append(faults, "is built under conditions only")
			}
		}
	}
	base := strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], "_test.go")
	if strings.Contains(base, "_") || strings.HasPrefix(base, ".") {
		faults = append(faults, "may be built for some systems only: name it without an underscore")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"Skip", "SkipNow", "Skipf"}, sel.Sel.Name) {
			faults = append(faults, "mentions "+sel.Sel.Name)
		}
		return true
	})
	return faults
}

// What TestEveryTrapIsThere looks for is found when it is planted.
func TestMissingTrapsAreFound(t *testing.T) {
	var good strings.Builder
	good.WriteString("package p\n")
	for i := range traps {
		fmt.Fprintf(&good, "\n// The trap.\nfunc TestTrap%02d(t *testing.T) { t.Log() }\n", i+1)
	}
	for name, tc := range map[string]struct {
		file, old, replaced string
		want                string // in one of the faults; empty for none
	}{
		"good":          {"traps_test.go", "", "", ""},
		"missing":       {"traps_test.go", "TestTrap13", "TestHole13", "TestTrap13 is there 0 times"},
		"twice":         {"traps_test.go", "TestTrap13", "TestTrap12", "TestTrap12 is there 2 times"},
		"too many":      {"traps_test.go", "func TestTrap03(", "func TestTrap14(t *testing.T) { t.Log() }\nfunc TestTrap03(", "TestTrap14 is no trap's name"},
		"empty":         {"traps_test.go", "TestTrap05(t *testing.T) { t.Log() }", "TestTrap05(t *testing.T) {}", "TestTrap05 in traps_test.go is empty"},
		"skip":          {"traps_test.go", "TestTrap05(t *testing.T) { t.Log() }", "TestTrap05(t *testing.T) { t.Skip() }", "mentions Skip"},
		"skipf":         {"traps_test.go", "TestTrap05(t *testing.T) { t.Log() }", `TestTrap05(t *testing.T) { f(t.Skipf) }`, "mentions Skipf"},
		"skip, nested":  {"traps_test.go", "TestTrap05(t *testing.T) { t.Log() }", "TestTrap05(t *testing.T) { help(t) }\nfunc help(x *testing.T) { x.SkipNow() }", "mentions SkipNow"},
		"early return":  {"traps_test.go", "TestTrap05(t *testing.T) { t.Log() }", "TestTrap05(t *testing.T) { return; t.Log() }", "returns before its end"},
		"no test":       {"traps_test.go", "TestTrap05(t *testing.T)", "TestTrap05(t int)", "is no test"},
		"no doc":        {"traps_test.go", "// The trap.\nfunc TestTrap05", "func TestTrap05", "does not say"},
		"a method":      {"traps_test.go", "func TestTrap05", "func (x y) TestTrap05", "TestTrap05 is there 0 times"},
		"conditions":    {"traps_test.go", "package p", "//go:build never\n\npackage p", "under conditions"},
		"one system's":  {"traps_windows_test.go", "", "", "some systems only"},
		"a deeper file": {"a_b/traps_test.go", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good.String(), tc.old, tc.replaced, 1)
			file, err := parser.ParseFile(token.NewFileSet(), tc.file, text, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			faults := trapFaults(map[string]*ast.File{tc.file: file})
			hit := slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, tc.want) })
			if tc.want == "" && len(faults) > 0 || tc.want != "" && !hit {
				t.Errorf("faults %q, want %q", faults, tc.want)
			}
		})
	}
}
