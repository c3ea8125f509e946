package cpython

import (
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestBusyProcess reads a process that never stands still: its frames, lists
// and dicts change while they are read. Outer frames stay, and must be found in
// nearly every walk; what fails must be an *Error.
func TestBusyProcess(t *testing.T) {
	forEachInterpreter(t, 10, func(t *testing.T, py interpreter) {
		p := start(t, py.path, filepath.Join("testdata", "busy.py"))
		var self struct{ Queue, Table uint64 }
		p.answer(t, &self)
		r, err := Open(p.pid, Options{})
		qt.Assert(t, qt.IsNil(err))
		interp, err := r.MainInterpreter()
		qt.Assert(t, qt.IsNil(err))

		const walks = 300
		found := 0
		for range walks {
			for _, obj := range []uint64{self.Queue, self.Table} {
				_, err := r.Deque(obj)
				onlyTyped(t, err)
				_, err = r.Dict(obj)
				onlyTyped(t, err)
			}
			threads, err := r.Threads(interp)
			onlyTyped(t, err)
			qt.Assert(t, qt.HasLen(threads, 1))
			f, c, err := r.FindFrame(threads[0], 1, isLoop)
			onlyTyped(t, err)
			if err != nil {
				continue
			}
			found++
			_, err = r.LocalByName(f, c, "rounds")
			onlyTyped(t, err)
		}
		// The inner frames come and go, so a way to the outer one may break.
		qt.Check(t, qt.IsTrue(found > walks/2), qt.Commentf("found in %d of %d walks; %v", found, walks, r.Failures()))
		threads, err := r.Threads(interp)
		qt.Assert(t, qt.IsNil(err))
		_, _, err = r.FindFrame(threads[0], 100, isLoop)
		qt.Check(t, qt.IsNil(err))
		_, _, err = r.FindFrame(threads[0], 2, func(Frame, Code) bool { return false })
		qt.Check(t, qt.ErrorIs(err, NotFound))
		t.Logf("found in %d of %d walks; %v", found, walks, r.Failures())
	})
}

func isLoop(_ Frame, c Code) bool { return c.Name == "run_busy_loop" }

func onlyTyped(t *testing.T, err error) {
	t.Helper()
	if _, ok := ReasonOf(err); err != nil && !ok {
		t.Errorf("not an *Error: %v", err)
	}
}
