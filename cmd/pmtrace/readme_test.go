package main

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

const module = "github.com/pmtrace/pmtrace/"

// The picture of the packages in the README is what go list says: every import
// between them is an arrow, and every arrow an import.
func TestReadmePicture(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	qt.Assert(t, qt.IsNil(err))
	_, picture, ok := strings.Cut(string(readme), "```mermaid\n")
	qt.Assert(t, qt.IsTrue(ok))
	picture, _, _ = strings.Cut(picture, "```")

	node := regexp.MustCompile(`(\w+)(?:\[([\w/]+)\])?`)
	names := map[string]string{}
	for _, m := range node.FindAllStringSubmatch(picture, -1) {
		if m[2] != "" {
			names[m[1]] = m[2]
		}
	}
	name := func(end string) string {
		m := node.FindStringSubmatch(end)
		if n, ok := names[m[1]]; ok {
			return n
		}
		return m[1]
	}
	var drawn []string
	for line := range strings.Lines(picture) {
		if from, to, ok := strings.Cut(line, " --> "); ok {
			drawn = append(drawn, name(from)+" --> "+name(to))
		}
	}

	out, err := exec.Command("go", "list", "-f", `{{range .Imports}}{{$.ImportPath}} {{.}}{{"\n"}}{{end}}`, module+"...").CombinedOutput()
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))
	var imports []string
	for line := range strings.Lines(string(out)) {
		from, to, _ := strings.Cut(strings.TrimSpace(line), " ")
		from, to = strings.TrimPrefix(from, module), strings.TrimPrefix(to, module)
		if strings.Contains(to, ".") || !strings.Contains(line, " "+module) {
			continue // not one of ours
		}
		// What only tests and generators use is not in the picture.
		if strings.HasPrefix(from, "e2e/") || strings.Contains(from, "/internal/") || strings.HasSuffix(from, "/gen") {
			continue
		}
		imports = append(imports, from+" --> "+to)
	}
	slices.Sort(drawn)
	slices.Sort(imports)
	qt.Assert(t, qt.DeepEquals(drawn, imports))
}
