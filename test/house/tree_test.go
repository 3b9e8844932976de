// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

const module = "github.com/fairlead/fairlead"

// goFile is one parsed Go file.
type goFile struct {
	name      string // relative to the root, with slashes
	text      string
	syntax    *ast.File
	isTest    bool
	generated bool
}

// dir is the folder of the file, which is also its package's path below the
// module's: both modules lie where their paths say.
func (f *goFile) dir() string { return path.Dir(f.name) }

// product tells whether the file is hand-written and ends up in what users run.
func (f *goFile) product() bool {
	return !f.isTest && !f.generated && !within(f.dir(), "hack", "test")
}

// breach is one place where a rule is broken.
type breach struct {
	where string // file:line, or the package's path
	what  string
}

func (b breach) String() string { return b.where + ": " + b.what }

// tree is the repository, or a small one that a test made up.
type tree struct {
	fset  *token.FileSet
	files []*goFile
	texts map[string]string // files of any kind, by name
}

func newTree() *tree {
	return &tree{fset: token.NewFileSet(), texts: make(map[string]string)}
}

// add takes one file in. Files that are no Go are kept as text.
func (t *tree) add(name, text string) error {
	t.texts[name] = text
	if path.Ext(name) != ".go" {
		return nil
	}
	syntax, err := parser.ParseFile(t.fset, name, text, parser.ParseComments)
	if err != nil {
		return err
	}
	t.files = append(t.files, &goFile{
		name:      name,
		text:      text,
		syntax:    syntax,
		isTest:    strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(syntax),
	})
	return nil
}

func (t *tree) breach(pos token.Pos, format string, args ...any) breach {
	at := t.fset.Position(pos)
	return breach{where: fmt.Sprintf("%s:%d", at.Filename, at.Line), what: fmt.Sprintf(format, args...)}
}

// product calls visit for every file that ends up in what users run.
func (t *tree) product(visit func(*goFile)) {
	for _, f := range t.files {
		if f.product() {
			visit(f)
		}
	}
}

// readTree reads the repository. Folders that hold no source of ours are left
// out: build results, test data (which may be broken on purpose) and whatever
// starts with a dot, save .ci.
func readTree(root string) (*tree, error) {
	t := newTree()
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if entry.IsDir() {
			hidden := strings.HasPrefix(path.Base(name), ".") && name != "." && name != ".ci"
			if hidden || name == "bin" || path.Base(name) == "testdata" || strings.HasPrefix(name, "demo-") {
				return filepath.SkipDir
			}
			return nil
		}
		if info, err := entry.Info(); err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
			return err // links, sockets and large files hold no source
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return t.add(name, string(text))
	})
	return t, err
}

// within tells whether dir is one of the folders, or lies below one.
func within(dir string, folders ...string) bool {
	for _, folder := range folders {
		if dir == folder || strings.HasPrefix(dir, folder+"/") {
			return true
		}
	}
	return false
}

// imported returns the path of an import.
func imported(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser has accepted it
	}
	return p
}

// ours returns the folder of an imported package of this repository.
func ours(importPath string) (dir string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// localName is the name by which a file refers to a package that it imports,
// or "" if it does not import it.
func localName(f *goFile, importPath string) string {
	for _, spec := range f.syntax.Imports {
		if imported(spec) != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		base := path.Base(importPath)
		if strings.HasPrefix(base, "v") && strings.Trim(base[1:], "0123456789") == "" {
			base = path.Base(path.Dir(importPath)) // math/rand/v2 is rand
		}
		return base
	}
	return ""
}

// member returns the name of the member of package pkg that an expression
// selects, or "".
func member(f *goFile, expr ast.Expr, pkg string) string {
	sel, ok := expr.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok || x.Obj != nil || x.Name != localName(f, pkg) { // Obj: a variable of that name
		return ""
	}
	return sel.Sel.Name
}
