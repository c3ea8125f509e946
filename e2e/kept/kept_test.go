package kept_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/e2e/kept"
)

func TestKept(t *testing.T) {
	dir := t.TempDir()
	figures := map[string]int{"a": 1}
	qt.Assert(t, qt.IsNil(kept.Read(dir, "figures", &figures))) // there are none yet
	qt.Check(t, qt.DeepEquals(figures, map[string]int{"a": 1}))

	qt.Assert(t, qt.IsNil(kept.Write(dir, "figures", map[string]int{"b": 2}, "a page")))
	page, err := os.ReadFile(filepath.Join(dir, "FIGURES.md"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(string(page), "a page"))
	figures = nil
	qt.Assert(t, qt.IsNil(kept.Read(dir, "figures", &figures)))
	qt.Check(t, qt.DeepEquals(figures, map[string]int{"b": 2}))

	qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(dir, "figures.json"), []byte("{"), 0o644)))
	qt.Check(t, qt.ErrorMatches(kept.Read(dir, "figures", &figures), "figures.json: .*"))
}
