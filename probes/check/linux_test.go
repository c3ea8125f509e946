package check

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
)

// What the checks claim of this machine is so: where they find no failure,
// the trial runs; a test machine of CI is such a one.
func TestThisMachine(t *testing.T) {
	var m Linux
	if !Privileged(m) {
		t.Skip("not privileged")
	}
	for _, f := range Run(m, Options{OutputDir: t.TempDir(), Targets: []Target{{PID: os.Getpid(), Threads: []int{os.Getpid()}}}}) {
		if f.Status == Fail {
			t.Errorf("%s: %s", f.ID, f.Found)
		}
	}
}

// Slots that are taken are seen, on our own thread.
func TestFreeSlotsTaken(t *testing.T) {
	var m Linux
	if !Privileged(m) {
		t.Skip("not privileged")
	}
	free, err := m.FreeSlots(os.Getpid())
	qt.Assert(t, qt.IsNil(err))
	if free == 0 {
		t.Skip("another tracer has all slots of this thread")
	}
	fd, err := openWatch(os.Getpid(), 4096)
	qt.Assert(t, qt.IsNil(err))
	defer os.NewFile(uintptr(fd), "watch").Close()
	left, err := m.FreeSlots(os.Getpid())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(left, free-1))
}

func TestWritable(t *testing.T) {
	var m Linux
	dir := t.TempDir()
	_, err := m.Writable(filepath.Join(dir, "a", "b"))
	qt.Check(t, qt.IsNil(err))
	_, err = os.Stat(filepath.Join(dir, "a"))
	qt.Check(t, qt.ErrorIs(err, os.ErrNotExist), qt.Commentf("looking made it"))
	qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)))
	_, err = m.Writable(filepath.Join(dir, "file", "x"))
	qt.Check(t, qt.ErrorMatches(err, ".*not a directory"))
}
