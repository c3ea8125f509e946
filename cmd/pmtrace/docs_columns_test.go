package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// docs/columns.md is made from the rows' types: each table, each column, and what is said of it there.
func TestDocColumnsPage(t *testing.T) {
	const path = "../../docs/columns.md"
	want := columnsPage(t)
	if *updateDocs {
		qt.Assert(t, qt.IsNil(os.WriteFile(path, []byte(want), 0o644)))
	}
	got, err := os.ReadFile(path)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(string(got) == want), qt.Commentf("docs/columns.md is not up to date: make docs"))
}

func columnsPage(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# Every column

Made from the types that the tables are written from (` + "`make docs`" + `). Names end in their units: ` + "`_ns`" + ` are
nanoseconds, of CLOCK_MONOTONIC since the session began where it is a moment. "null" says that a column may be
null: not known, or not to be had, and ` + "`metadata.json`" + ` says why. Tables are joined by (` + "`engine`, `step_id`" + `),
` + "`request_uid`" + ` and ` + "`graph_id`" + `.
`)
	facts := factComments(t)
	for _, file := range []string{"row.go", "hook.go"} {
		for _, g := range typesOf(t, file) {
			b.WriteString(tableOf(g, facts))
		}
	}
	return b.String()
}

func typesOf(t *testing.T, file string) (types []*ast.GenDecl) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../decode/record/"+file, nil, parser.ParseComments)
	qt.Assert(t, qt.IsNil(err))
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
			types = append(types, g)
		}
	}
	return types
}

// factComments are what is said of the columns of gpu_samples where the samples are read.
func factComments(t *testing.T) map[string]string {
	said := map[string]string{}
	for _, g := range typesOf(t, "gpu.go") {
		spec := g.Specs[0].(*ast.TypeSpec)
		if spec.Name.Name != "GPUSample" {
			continue
		}
		for _, field := range spec.Type.(*ast.StructType).Fields.List {
			tag, _ := strconv.Unquote(field.Tag.Value)
			name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			said[name] = words(field.Comment)
		}
	}
	return said
}

var isRow = regexp.MustCompile(`(?s)^\w+ is a row of the table (\w+)(?: \(([^)]*)\))?[.:]\s*(.*)$`)

// tableOf is what the page says of a row's type; "" for another type.
func tableOf(g *ast.GenDecl, facts map[string]string) string {
	m := isRow.FindStringSubmatch(words(g.Doc))
	if m == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n", m[1])
	if said := m[3]; said != "" && !strings.HasPrefix(said, "see ") {
		fmt.Fprintf(&b, "\n%s\n", prose(strings.ToUpper(said[:1])+said[1:]))
	}
	b.WriteString("\n| column | type | |\n|---|---|---|\n")
	for _, field := range g.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType).Fields.List {
		if doc := words(field.Doc); doc != "" {
			fmt.Fprintf(&b, "| | | *%s* |\n", prose(doc))
		}
		tag, _ := strconv.Unquote(field.Tag.Value)
		options := strings.Split(reflect.StructTag(tag).Get("parquet"), ",")
		said := words(field.Comment)
		if said == "" && m[1] == "gpu_samples" {
			said = facts[options[0]]
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", options[0], typeOf(field.Type, slices.Contains(options, "optional")), prose(said))
	}
	return b.String()
}

func words(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	return strings.Join(strings.Fields(c.Text()), " ")
}

// prose is a comment as a cell of a table; the names of Go's fields are not the reader's.
func prose(s string) string {
	for from, to := range map[string]string{"LifetimeNS": "lifetime_ns", "IdleNS": "idle_ns", "|": `\|`} {
		s = strings.ReplaceAll(s, from, to)
	}
	return s
}

func typeOf(e ast.Expr, optional bool) string {
	if p, ok := e.(*ast.StarExpr); ok {
		e = p.X
	}
	name := map[string]string{"float64": "double", "float32": "float"}[e.(*ast.Ident).Name]
	if name == "" {
		name = e.(*ast.Ident).Name
	}
	if optional {
		name += ", null"
	}
	return name
}
