package cpython

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestNamespaces opens an interpreter in its own PID and mount namespace, whose
// files are elsewhere for us: thread ids and paths have to be translated.
func TestNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making namespaces needs root")
	}
	forEachInterpreter(t, 10, func(t *testing.T, py interpreter) {
		if !py.needed {
			t.Skip("one of each minor version is enough")
		}
		home, err := filepath.EvalSymlinks(filepath.Dir(py.path))
		qt.Assert(t, qt.IsNil(err))
		// The mount is seen inside only, over a directory that is empty here.
		inside := t.TempDir()
		script := "mount --bind " + home + " " + inside + " && exec unshare --pid --fork --kill-child " +
			inside + "/python -c 'import os, threading, json; print(json.dumps([threading.get_native_id(), id(None)]), flush=True); os.read(0, 1)'"
		p := start(t, "unshare", "--mount", "--propagation", "private", "sh", "-c", script)
		var said [2]uint64
		p.answer(t, &said)
		qt.Assert(t, qt.Equals(said[0], 1))

		pid := onlyChild(t, p.pid)
		r, err := Open(pid, Options{})
		qt.Assert(t, qt.IsNil(err))
		none, err := r.NoneAddr()
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(none, said[1]))
		_, err = os.Stat(r.Image().Path)
		qt.Check(t, qt.ErrorIs(err, os.ErrNotExist)) // not our file

		interp, err := r.MainInterpreter()
		qt.Assert(t, qt.IsNil(err))
		threads, err := r.Threads(interp)
		qt.Assert(t, qt.IsNil(err))
		tids, err := HostTIDs(pid)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(threads[0].NativeID, 1))
		qt.Check(t, qt.Equals(tids[1], pid))
	})
}

func onlyChild(t *testing.T, pid int) int {
	t.Helper()
	out, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	qt.Assert(t, qt.IsNil(err))
	child, err := strconv.Atoi(strings.TrimSpace(string(out)))
	qt.Assert(t, qt.IsNil(err))
	return child
}
