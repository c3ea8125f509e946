package session

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// A session's directory and its journal are missed when they are removed, and are not when
// somebody moves the directory.
func TestKept(t *testing.T) {
	begin := func() (*Dir, string) {
		d, err := Create(t.TempDir(), time.Now(), Owner{UID: os.Geteuid(), GID: os.Getegid()})
		qt.Assert(t, qt.IsNil(err))
		t.Cleanup(func() { d.Close() })
		f, err := d.Create("journal")
		qt.Assert(t, qt.IsNil(err))
		t.Cleanup(func() { f.Close() })
		qt.Assert(t, qt.IsNil(d.Kept("journal")))
		return d, d.Path()
	}
	for name, c := range map[string]struct {
		harm func(path string) error
		lost string // "": nothing
	}{
		"the session": {os.RemoveAll, "session"},
		"the place":   {func(path string) error { return os.RemoveAll(filepath.Dir(path)) }, "session"},
		"the journal": {func(path string) error { return os.Remove(filepath.Join(path, "journal")) }, "journal"},
		"moved":       {func(path string) error { return os.Rename(path, path+"_moved") }, ""},
	} {
		d, path := begin()
		qt.Assert(t, qt.IsNil(c.harm(path)))
		err := d.Kept("journal")
		var removed *RemovedError
		switch {
		case c.lost == "":
			qt.Check(t, qt.IsNil(err), qt.Commentf(name))
			continue
		case !errors.As(err, &removed):
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := path
		if c.lost == "journal" {
			want = filepath.Join(path, "journal")
		}
		qt.Check(t, qt.Equals(removed.Path, want), qt.Commentf(name))
	}
}
