package main

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

var updateDocs = flag.Bool("update-docs", false, "write what the examples of the documentation print anew")

// docSessions are the recorded sessions, each with all of its files, in one directory, beside
// a fleet to which they were shipped.
func docSessions(t *testing.T) string {
	root := t.TempDir()
	for host, recorded := range fleetHosts() {
		path := docSession(t, root, recorded)
		code, said := ship(t, nil, "--host", host, path, filepath.Join(root, "fleet"))
		qt.Assert(t, qt.Equals(code, 0), qt.Commentf("%s", said))
	}
	docSession(t, root, "../../e2e/gpu/testdata/h200-llama1b")
	docSession(t, root, "../../e2e/gpu/testdata/h100-qwen3moe-v2")
	return root
}

func docSession(t *testing.T, root, recorded string) string {
	path := filepath.Join(root, filepath.Base(recorded))
	qt.Assert(t, qt.IsNil(os.CopyFS(filepath.Join(path, "journal"), os.DirFS(filepath.Join(recorded, "journal")))))
	pmtrace(t, "decode", path)
	return path
}

// Every example of the README and of docs/ runs, in the session that the page names, and
// prints what the page says.
func TestDocExamples(t *testing.T) {
	interpreter := python(t, "docs.sh")
	t.Setenv("PATH", filepath.Dir(interpreter)+":"+os.Getenv("PATH"))
	root := docSessions(t)
	t.Run("plots", func(t *testing.T) { checkPlots(t, interpreter, root) })
	for _, page := range docPages(t) {
		t.Run(filepath.Base(filepath.Dir(page.path))+"/"+filepath.Base(page.path), func(t *testing.T) {
			var examples []*docBlock
			for _, b := range page.blocks() {
				if !b.runs() {
					continue
				}
				examples = append(examples, b)
				_, err := os.Stat(filepath.Join(root, b.in))
				qt.Check(t, qt.IsTrue(b.in != "" && err == nil), qt.Commentf("%s:%d: in which session does it run?", page.path, b.line+1))
			}
			if !t.Failed() {
				runExamples(t, interpreter, root, examples)
			}
		})
	}
}

// checkPlots draws the plots of the pages: the same sessions give the same bytes.
func checkPlots(t *testing.T, interpreter, root string) {
	const plots = "../../docs/plots"
	into := t.TempDir()
	if *updateDocs {
		into = plots
	}
	out, err := exec.Command(interpreter, filepath.Join(plots, "plots.py"), root, into).CombinedOutput()
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))
	qt.Check(t, qt.DeepEquals(contents(t, into), contents(t, plots)), qt.Commentf("if this is right: make docs"))
}

// contents are the checksums of a directory's drawings.
func contents(t *testing.T, dir string) map[string][32]byte {
	paths, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	qt.Assert(t, qt.IsNil(err))
	sums := map[string][32]byte{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		qt.Assert(t, qt.IsNil(err))
		sums[filepath.Base(path)] = sha256.Sum256(b)
	}
	return sums
}

func runExamples(t *testing.T, interpreter, root string, examples []*docBlock) {
	told := map[*docBlock]string{}
	runPython(t, interpreter, root, slices.Collect(func(yield func(*docBlock) bool) {
		for _, b := range examples {
			if b.lang == "python" && !yield(b) {
				return
			}
		}
	}), told)
	for _, b := range examples {
		if b.lang != "python" {
			told[b] = runShell(t, root, b)
		}
	}
	// From the end, since answers may change in length.
	for _, b := range slices.Backward(examples) {
		if want := b.answer(); want != nil {
			want.compare(t, told[b])
		}
	}
}

func runPython(t *testing.T, interpreter, root string, examples []*docBlock, told map[*docBlock]string) {
	if len(examples) == 0 {
		return
	}
	type example struct {
		Where string `json:"where"`
		Code  string `json:"code"`
	}
	var list []example
	for _, b := range examples {
		list = append(list, example{filepath.Join(root, b.in), b.text()})
	}
	in, err := json.Marshal(list)
	qt.Assert(t, qt.IsNil(err))
	c := exec.Command(interpreter, "testdata/docs/run.py")
	c.Stdin, c.Stderr = strings.NewReader(string(in)), os.Stderr
	out, err := c.Output()
	qt.Assert(t, qt.IsNil(err))
	var results []struct{ Out, Error string }
	qt.Assert(t, qt.IsNil(json.Unmarshal(out, &results)))
	for i, r := range results {
		qt.Check(t, qt.Equals(r.Error, ""), qt.Commentf("%s:%d", examples[i].page.path, examples[i].line+1))
		told[examples[i]] = r.Out
	}
}

// runShell runs what is typed: SQL into duckdb with the session's views, the rest into a shell.
func runShell(t *testing.T, root string, b *docBlock) string {
	c := exec.Command("bash", "-euo", "pipefail", "-s")
	if b.lang == "sql" {
		views := "views.sql"
		if b.in == "." {
			views = "/dev/null"
		}
		c = exec.Command("duckdb", "-bail", "-init", views)
	}
	var errs strings.Builder
	c.Dir, c.Stdin, c.Stderr = filepath.Join(root, b.in), strings.NewReader(b.text()), &errs
	out, err := c.Output()
	qt.Check(t, qt.IsNil(err), qt.Commentf("%s:%d: %s", b.page.path, b.line+1, errs.String()))
	return string(out)
}

// compare wants what the block says to have been printed; a line … stands for any lines.
func (b *docBlock) compare(t *testing.T, got string) {
	lines := strings.Split(strings.TrimRight(got, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	pattern := regexp.QuoteMeta(strings.Join(b.body, "\n"))
	pattern = strings.ReplaceAll("\n"+pattern+"\n", "\n…\n", "\n(?:.*\n)*")
	if regexp.MustCompile(`^` + pattern + `$`).MatchString("\n" + strings.Join(lines, "\n") + "\n") {
		return
	}
	if !*updateDocs {
		t.Errorf("%s:%d: it prints (if this is right: go test ./cmd/pmtrace -run TestDocExamples -update-docs)\n%s", b.page.path, b.line+1, strings.Join(lines, "\n"))
		return
	}
	p := b.page
	p.lines = slices.Replace(p.lines, b.line+1, b.line+1+len(b.body), lines...)
	qt.Assert(t, qt.IsNil(os.WriteFile(p.path, []byte(p.text()), 0o644)))
	fmt.Fprintf(os.Stderr, "%s:%d: written anew\n", p.path, b.line+1)
}
