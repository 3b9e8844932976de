// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package house

import (
	"go/ast"
	"go/token"
	"slices"
)

// stateful are packages whose types are there to be changed.
var stateful = []string{"sync", "sync/atomic"}

// noState keeps package-level state out of the pure packages: a table that is
// only read may stand there, a variable that some function changes may not.
func noState(t *tree) (found []breach) {
	vars := make(map[string]map[string]bool) // by folder, by name
	t.product(func(f *goFile) {
		if !slices.Contains(pure, f.dir()) {
			return
		}
		if vars[f.dir()] == nil {
			vars[f.dir()] = make(map[string]bool)
		}
		for _, decl := range f.syntax.Decls {
			decl, ok := decl.(*ast.GenDecl)
			if !ok || decl.Tok != token.VAR {
				continue
			}
			for _, name := range declared(decl) {
				vars[f.dir()][name.Name] = true
			}
			if holdsState(f, decl) {
				found = append(found, t.breach(decl.Pos(), "%s is pure and may not keep a sync or atomic value", f.dir()))
			}
		}
	})
	t.product(func(f *goFile) {
		if vars[f.dir()] == nil {
			return
		}
		for _, ident := range changed(f.syntax) {
			if vars[f.dir()][ident.Name] && packageLevel(f.syntax, ident) {
				found = append(found, t.breach(ident.Pos(), "%s is pure and may not change its variable %s", f.dir(), ident.Name))
			}
		}
	})
	return found
}

// holdsState tells whether a declaration mentions a type that is there to be
// changed.
func holdsState(f *goFile, decl *ast.GenDecl) (holds bool) {
	ast.Inspect(decl, func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok {
			return false // what a function uses while it runs is its own
		}
		if expr, ok := n.(ast.Expr); ok {
			for _, pkg := range stateful {
				if name := member(f, expr, pkg); name != "" && ast.IsExported(name) && name != "OnceValue" && name != "OnceValues" {
					holds = true
				}
			}
		}
		return true
	})
	return holds
}

// changed returns the variables that a file assigns to, in whole or in part,
// or takes the address of.
func changed(file *ast.File) (idents []*ast.Ident) {
	note := func(expr ast.Expr) {
		if ident := root(expr); ident != nil {
			idents = append(idents, ident)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, left := range n.Lhs {
					note(left)
				}
			}
		case *ast.IncDecStmt:
			note(n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				note(n.X)
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") && len(n.Args) > 0 {
				note(n.Args[0])
			}
		}
		return true
	})
	return idents
}

// root is the variable at the bottom of x.f[i].g.
func root(expr ast.Expr) *ast.Ident {
	for {
		switch e := expr.(type) {
		case *ast.Ident:
			return e
		case *ast.SelectorExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.StarExpr:
			expr = e.X
		case *ast.ParenExpr:
			expr = e.X
		default:
			return nil
		}
	}
}

// packageLevel tells whether an identifier can mean a variable of the package:
// the parser resolves what the same file declares, and leaves the rest open.
func packageLevel(file *ast.File, ident *ast.Ident) bool {
	return ident.Obj == nil || ident.Obj == file.Scope.Lookup(ident.Name)
}
