package cpython

import (
	"testing"

	"github.com/go-quicktest/qt"
)

// TestFrames walks the frames of a thread that waits inside a generator, below
// a call from C, and reads its locals.
func TestFrames(t *testing.T) {
	forEachInterpreter(t, 10, func(t *testing.T, py interpreter) {
		p, r, tr := known(t, py)
		interp, err := r.MainInterpreter()
		qt.Assert(t, qt.IsNil(err))
		threads, err := r.Threads(interp)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.HasLen(threads, 2))
		tids, err := HostTIDs(p.pid)
		qt.Assert(t, qt.IsNil(err))

		var worker Thread
		for _, th := range threads {
			qt.Check(t, qt.Equals(tids[th.NativeID], th.NativeID)) // one namespace
			if th.NativeID == tr.Thread.NativeID {
				worker = th
			}
		}
		frames, err := worker.Frames(0)
		qt.Assert(t, qt.IsNil(err))
		codes := make(map[string]Code)
		byName := make(map[string]Frame)
		var names []string
		for _, f := range frames {
			c, err := r.Code(f.Code)
			qt.Assert(t, qt.IsNil(err))
			name := r.Qualname(f, c)
			codes[name], byName[name] = c, f
			names = append(names, name)
			checkRunning(t, r, f, c)
		}
		qt.Assert(t, qt.DeepEquals(names[:len(tr.Thread.Names)], tr.Thread.Names))
		qt.Check(t, qt.Equals(byName["Engine.step"].Globals, tr.Globals))

		for _, want := range []struct {
			function, local string
			value           uint64
		}{
			{"Engine.run_busy_loop", "self", tr.Thread.Engine},
			{"Engine.step", "self", tr.Thread.Engine},
			{"Engine.step", "shared_var", tr.Thread.SharedVar},
			{"Engine.step", "plain_var", tr.Thread.PlainVar},
			{"waiting", "in_generator", tr.Thread.PlainVar},
			{tr.Thread.Names[3], "engine", tr.Thread.Engine},
		} {
			got, err := r.LocalByName(byName[want.function], codes[want.function], want.local)
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(got, want.value), qt.Commentf("%s in %s", want.local, want.function))
		}
		flag, err := r.LocalByName(byName["Engine.step"], codes["Engine.step"], "flag")
		qt.Assert(t, qt.IsNil(err))
		text, err := r.Str(flag)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(text, "in the loop"))

		few, err := worker.Frames(2)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.HasLen(few, 2))
	})
}

// checkRunning: a frame that has called another stands at some kind of call,
// or at the FOR_ITER that resumed a generator.
func checkRunning(t *testing.T, r *Runtime, f Frame, c Code) {
	t.Helper()
	ins, err := r.Instructions(c)
	qt.Assert(t, qt.IsNil(err))
	for _, in := range ins {
		if f.InstrIndex >= in.Start && f.InstrIndex <= in.Index+int(r.ops.caches[in.Base]) {
			switch in.Name {
			case "CALL", "FOR_ITER", "CALL_FUNCTION_EX", "PRECALL", "CALL_KW", "CALL_FUNCTION", "CALL_FUNCTION_KW", "CALL_METHOD":
				return
			}
			t.Errorf("%s stands at %s", c.Qualname, in.Name)
			return
		}
	}
	t.Errorf("%s: no instruction at %d", c.Qualname, f.InstrIndex)
}

func TestModule(t *testing.T) {
	forEachInterpreter(t, 10, func(t *testing.T, py interpreter) {
		_, r, tr := known(t, py)
		interp, err := r.MainInterpreter()
		qt.Assert(t, qt.IsNil(err))
		main, err := r.Module(interp, "__main__")
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(main, tr.Globals))
		_, err = r.Module(interp, "no.such.module")
		qt.Check(t, qt.ErrorIs(err, NotFound))

		moved := *r // as if imports.modules were elsewhere in another micro version
		moved.off.Interp.Modules = moved.off.Interp.SysDict
		main, err = moved.Module(interp, "__main__")
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(main, tr.Globals))
	})
}

func TestInnermostTID(t *testing.T) {
	for status, want := range map[string]int{
		"Name:\tx\nNSpid:\t4711\t12\t1\nFDSize: 2\n": 1,
		"NSpid:\t4711\n": 4711,
		"NSpid:\n":       0,
		"Name:\tx\n":     0,
	} {
		got, ok := innermostTID(status)
		qt.Check(t, qt.Equals(got, want))
		qt.Check(t, qt.Equals(ok, want != 0))
	}
}
