package page

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/output/session"
)

// written writes a page to a file.
func written(t testing.TB, p *Page) string {
	name := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(name)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(p.Write(f)))
	qt.Assert(t, qt.IsNil(f.Close()))
	return name
}

// ran runs a script of testdata by a Python that a script of e2e/setup prepares.
func ran(t *testing.T, python, dir string, into any, args ...string) {
	t.Helper()
	script, err := filepath.Abs(args[0])
	qt.Assert(t, qt.IsNil(err))
	c := exec.Command(python, append([]string{script}, args[1:]...)...)
	c.Dir = dir
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(json.Unmarshal(out, into)), qt.Commentf("%s", out))
}

func setup(t *testing.T, script string) []string {
	if os.Getenv("PMTRACE_TEST_SKIP_ANALYSIS") != "" {
		t.Skip("PMTRACE_TEST_SKIP_ANALYSIS")
	}
	c := exec.Command("../../e2e/setup/" + script)
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 { // what the script says cannot be had
		t.Skipf("%s", exit.Stderr)
	}
	qt.Assert(t, qt.IsNil(err))
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// TestFigures holds every figure that charts are drawn from against the tables.
func TestFigures(t *testing.T) {
	python := setup(t, "analysis.sh")[0]
	for name, steps := range map[string]int{"all steps": 900, "moments": 14_000} {
		t.Run(name, func(t *testing.T) {
			dir, facts := makeServer(t, steps)
			var result struct {
				Compared int
				Wrong    []string
			}
			ran(t, python, dir.Path(), &result, "testdata/figures.py", written(t, build(t, dir, facts)))
			qt.Check(t, qt.HasLen(result.Wrong, 0))
			qt.Check(t, qt.IsTrue(result.Compared > 50_000), qt.Commentf("%d", result.Compared))
			t.Logf("%d figures compared", result.Compared)
		})
	}
}

// TestNothing: a session in which nothing happened has a page that says so.
func TestNothing(t *testing.T) {
	dir := empty(t)
	page, err := os.ReadFile(written(t, build(t, dir, &session.Facts{})))
	qt.Assert(t, qt.IsNil(err))
	for _, says := range []string{"no step was seen", "no request was scheduled while", "single kernels can be seen from within", "no layer with experts", "no process was found whose CUDA graphs"} {
		qt.Check(t, qt.IsTrue(strings.Contains(string(page), says)), qt.Commentf("%s", says))
	}
}

func empty(t *testing.T) *session.Dir {
	dir, err := session.OpenPlace(t.TempDir(), session.Owner{UID: -1, GID: -1})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { dir.Close() })
	tables, err := session.CreateTables(dir, session.About{})
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(tables.Close()))
	return dir
}
