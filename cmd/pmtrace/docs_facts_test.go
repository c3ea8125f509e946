package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

const module = "github.com/pmtrace/pmtrace/"

// The picture of the packages in docs/how-it-works.md is what go list says: every import
// between them is an arrow, and every arrow an import.
func TestDocPicture(t *testing.T) {
	page, err := os.ReadFile("../../docs/how-it-works.md")
	qt.Assert(t, qt.IsNil(err))
	_, picture, ok := strings.Cut(string(page), "```mermaid\n")
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

// The ratios in docs/cost.md are those of the raw figures, and the README's is one of them.
func TestDocFigures(t *testing.T) {
	page, err := os.ReadFile("../../docs/cost.md")
	qt.Assert(t, qt.IsNil(err))
	readme, err := os.ReadFile("../../README.md")
	qt.Assert(t, qt.IsNil(err))
	b, err := os.ReadFile("../../e2e/bench/h200.json")
	qt.Assert(t, qt.IsNil(err))
	type run struct {
		Pair   int     `json:"pair"`
		Traced bool    `json:"traced"`
		Tokens float64 `json:"tokens_per_s"`
		TPOT   float64 `json:"tpot_mean_ms"`
	}
	var file struct {
		Servers map[string][]run `json:"servers"`
	}
	qt.Assert(t, qt.IsNil(json.Unmarshal(b, &file)))
	qt.Assert(t, qt.HasLen(file.Servers, 2))
	for name, runs := range file.Servers {
		for what, value := range map[string]func(run) float64{
			"TPOT":   func(r run) float64 { return r.TPOT },
			"tokens": func(r run) float64 { return r.Tokens },
		} {
			logs := map[int]float64{}
			for _, r := range runs {
				sign := -1.0
				if r.Traced {
					sign = 1
				}
				logs[r.Pair] += sign * math.Log(value(r))
			}
			var mean, squares float64
			for _, l := range logs {
				mean += l / float64(len(logs))
			}
			for _, l := range logs {
				squares += (l - mean) * (l - mean)
			}
			n := float64(len(logs))
			half := 2.179 * math.Sqrt(squares/(n-1)/n) // Student's t, 12 degrees of freedom
			qt.Assert(t, qt.Equals(len(logs), 13))
			low, high := math.Exp(mean-half), math.Exp(mean+half)
			at := qt.Commentf("%s, %s: %.4f (%.4f to %.4f)", name, what, math.Exp(mean), low, high)
			for _, figure := range []string{fmt.Sprintf("%.4f", math.Exp(mean)), fmt.Sprintf("%.4f to %.4f", low, high)} {
				qt.Check(t, qt.StringContains(string(page), figure), at)
			}
			if what == "TPOT" && strings.Contains(name, "8B") {
				qt.Check(t, qt.StringContains(string(readme), fmt.Sprintf("%.4f", math.Exp(mean))), at)
			}
		}
	}
}
