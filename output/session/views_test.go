package session

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

// DuckDB runs every view, over tables with rows and without.
func TestViews(t *testing.T) {
	python := analysisPython(t)
	script, err := filepath.Abs("testdata/views.py")
	qt.Assert(t, qt.IsNil(err))
	asked := regexp.MustCompile(`(?m)^-- .*\.(?: .*)?\n(?:-- .*\n)*create or replace view (q_\w+) as$`).FindAllStringSubmatch(questions, -1)
	qt.Assert(t, qt.HasLen(asked, 14))
	for name, more := range map[string]func(*Tables){
		"filled": func(tables *Tables) { fillAll(t, tables) },
		"empty":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			d, facts := traced(t, traffic.Decode32, 0, more)
			_, err := WriteFiles(d, facts, false)
			qt.Assert(t, qt.IsNil(err))
			c := exec.Command(python, script)
			c.Dir = d.Path()
			out, err := c.Output()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				t.Fatalf("%v\n%s", err, exit.Stderr)
			}
			qt.Assert(t, qt.IsNil(err))
			var rows map[string]int
			qt.Assert(t, qt.IsNil(json.Unmarshal(out, &rows)))
			tables, err := fs.ReadDir(d.FS(), tablesDir)
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.HasLen(rows, len(tables)+len(asked)))
			for _, table := range tables {
				qt.Check(t, qt.Equals(rows[table.Name()], map[string]int{"filled": filled}[name]), qt.Commentf("%s", table.Name()))
			}
			for _, q := range asked {
				n, ok := rows[q[1]]
				qt.Check(t, qt.IsTrue(ok && (name == "filled" || n == 0)), qt.Commentf("%s: %d", q[1], n))
			}
		})
	}
}

func TestViewsWithoutTables(t *testing.T) {
	d, _ := traced(t, traffic.Decode32, 0, nil)
	qt.Assert(t, qt.IsNil(d.removeAll("parquet/losses")))
	qt.Check(t, qt.ErrorMatches(WriteViews(d), "there is no table losses"))
}
