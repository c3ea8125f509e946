package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// The page on troubleshooting has every line that ends pmtrace, and every check.
func TestDocRefusals(t *testing.T) {
	page := strings.Join(strings.Fields(docPageOf(t, "troubleshooting.md").text()), " ")
	for _, refusal := range refusals(t, ".") {
		for _, words := range fragments(refusal) {
			qt.Check(t, qt.IsTrue(strings.Contains(page, words)), qt.Commentf("docs/troubleshooting.md does not explain %q", refusal))
		}
	}
	for _, id := range checkIDs(t) {
		qt.Check(t, qt.IsTrue(strings.Contains(page, "| `"+id+"` |")), qt.Commentf("docs/troubleshooting.md does not have the check %s", id))
	}
}

// The same of what a summary finds.
func TestDocFindings(t *testing.T) {
	page := strings.Join(strings.Fields(docPageOf(t, "troubleshooting.md").text()), " ")
	titles := fieldsOf(t, "../../output/findings", "Finding", "Title")
	for _, name := range ruleNames(t) {
		titles = append(titles, "| `"+name+"` |")
	}
	qt.Assert(t, qt.IsTrue(len(titles) >= 30), qt.Commentf("%q", titles))
	for _, title := range titles {
		for _, words := range fragments(title) {
			qt.Check(t, qt.IsTrue(strings.Contains(page, words)), qt.Commentf("docs/troubleshooting.md does not have the finding %q", title))
		}
	}
}

// ruleNames are the findings' names: rows {"kv_cache_too_small", kvTooSmall}.
func ruleNames(t *testing.T) (names []string) {
	for _, file := range parsed(t, "../../output/findings") {
		ast.Inspect(file, func(n ast.Node) bool {
			if row, ok := n.(*ast.CompositeLit); ok && row.Type == nil && len(row.Elts) == 2 {
				if name, ok := row.Elts[0].(*ast.BasicLit); ok {
					names = append(names, constants(name))
				}
			}
			return true
		})
	}
	return append(names, "events_lost") // a constant there
}

func parsed(t *testing.T, dir string) (files []*ast.File) {
	packages, err := parser.ParseDir(token.NewFileSet(), dir, func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0)
	qt.Assert(t, qt.IsNil(err))
	for _, p := range packages {
		for _, name := range slices.Sorted(maps.Keys(p.Files)) {
			files = append(files, p.Files[name])
		}
	}
	return files
}

// refusals are the texts that failure.go makes failures of, where they are constant.
func refusals(t *testing.T, dir string) (list []string) {
	for _, file := range parsed(t, dir) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			if name, ok := call.Fun.(*ast.Ident); ok && slices.Contains([]string{"usage", "failed", "impossible"}, name.Name) {
				list = append(list, constants(call.Args[0]))
				if name.Name == "impossible" {
					list = append(list, constants(call.Args[1]))
				}
			}
			return true
		})
	}
	list = append(list, fieldsOf(t, dir, "failure", "what")...)
	qt.Assert(t, qt.IsTrue(len(list) > 100))
	return list
}

// fieldsOf are the constant texts that a field of a type has in literals.
func fieldsOf(t *testing.T, dir, typeName, field string) (list []string) {
	for _, file := range parsed(t, dir) {
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if name, ok := literal.Type.(*ast.Ident); !ok || name.Name != typeName {
				return true
			}
			for _, e := range literal.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok && kv.Key.(*ast.Ident).Name == field {
					list = append(list, constants(kv.Value))
				}
			}
			return true
		})
	}
	return list
}

// constants are the texts of an expression, with %v for what is computed.
func constants(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(e.Value)
		return s
	case *ast.BinaryExpr:
		return constants(e.X) + constants(e.Y)
	case *ast.CallExpr:
		if len(e.Args) > 0 {
			if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
				return constants(e.Args[0])
			}
		}
	}
	return "%v"
}

var verb = regexp.MustCompile(`%[#+]?\w`)

// fragments are the parts of a text between what is computed, long enough to be looked for.
func fragments(text string) (list []string) {
	for _, part := range verb.Split(text, -1) {
		if part = strings.Trim(part, " :,;()"); len(part) >= 8 {
			list = append(list, strings.Join(strings.Fields(part), " "))
		}
	}
	return list
}

// checkIDs are the findings of pmtrace check.
func checkIDs(t *testing.T) []string {
	ids := fieldsOf(t, "../../probes/check", "Finding", "ID")
	for _, file := range parsed(t, "../../probes/check") {
		ast.Inspect(file, func(n ast.Node) bool {
			// Rows {"cap_bpf", "CAP_BPF", …} and calls that are given an id.
			switch n := n.(type) {
			case *ast.CompositeLit:
				if n.Type == nil && len(n.Elts) > 2 {
					ids = append(ids, constants(n.Elts[0]))
				}
			case *ast.CallExpr:
				if name, ok := n.Fun.(*ast.Ident); ok && name.Name == "sysctlFinding" {
					ids = append(ids, constants(n.Args[1]))
				}
			}
			return true
		})
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == "%v" })
	qt.Assert(t, qt.IsTrue(len(ids) > 20), qt.Commentf("%q", ids))
	return ids
}
