package vllm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pmtrace/pmtrace/probes/cpython"
)

// Options changes what Find accepts.
type Options struct {
	// Force goes on with interpreters of unknown versions.
	Force bool
}

const (
	pages     = 16384 // a walk remembers at most 64 MiB of pages; it needs some hundred
	maxFrames = 128
	// frameTries bounds how often a running thread's frames are walked.
	frameTries = 20
)

// failureOf makes the errors about a process.
func failureOf(pid int) func(s State, err error, format string, args ...any) error {
	return func(s State, err error, format string, args ...any) error {
		return &NotEngineError{PID: pid, State: s, Found: fmt.Sprintf(format, args...), Err: err}
	}
}

// openPython opens the interpreter of a process. The error is a *NotEngineError.
func openPython(pid int, opts cpython.Options) (*cpython.Runtime, error) {
	fail := failureOf(pid)
	rt, err := cpython.Open(pid, opts)
	if err == nil {
		return rt, nil
	}
	var un *cpython.UnsupportedError
	switch {
	case errors.As(err, &un):
		return nil, fail(Unsupported, err, "%s", un.Error())
	case errors.Is(err, cpython.NotFound):
		return nil, fail(NotPython, err, "no CPython in it")
	}
	return nil, fail(NotPython, err, "its memory cannot be read: %v", err)
}

// Find looks for an engine in a process and resolves all that the watches need.
// It only reads. The error is a *NotEngineError.
func Find(pid int, opts Options) (*Engine, error) {
	fail := failureOf(pid)
	live, err := openPython(pid, cpython.Options{AllowUnknown: opts.Force, AllowJIT: false})
	if err != nil {
		return nil, err
	}
	var failed uint64
	for range engineTries {
		e, err := find(pid, live)
		var not *NotEngineError
		if e == nil || !errors.As(err, &not) || not.State != Unsupported || e.core == failed {
			if err != nil {
				e = nil
			}
			return e, err
		}
		failed = e.core
	}
	return nil, fail(Loading, nil, "its threads run on while they are read")
}

// engineTries bounds looks for an engine. Where a thread runs on meanwhile, what stands in
// its frame may be taken for an engine; the true one is found twice.
const engineTries = 5

// find looks once. An engine that cannot be read is there as well, with its object alone.
func find(pid int, live *cpython.Runtime) (*Engine, error) {
	fail := failureOf(pid)
	rt := live.Snapshot(pages)
	interp, err := rt.MainInterpreter()
	if err != nil {
		return nil, fail(Loading, err, "the interpreter is starting: %v", err)
	}
	if _, err := rt.Module(interp, modScheduler); err != nil {
		if _, err := rt.Module(interp, "vllm"); err != nil {
			return nil, fail(NotVLLM, err, "Python %s without vLLM", rt.Version())
		}
		return nil, fail(NoEngine, err, "vLLM is imported, but no scheduler")
	}
	hosts, err := cpython.HostTIDs(pid)
	if err != nil {
		return nil, fail(NotPython, err, "its threads cannot be listed: %v", err)
	}
	f := finder{live: live, rt: rt, interp: interp}
	core, thread, err := f.engine()
	if err != nil {
		state := NoEngine
		if f.starting {
			state = Loading
		}
		return nil, fail(state, err, "no engine runs in it (yet)")
	}
	tid, ok := hosts[thread.NativeID]
	if !ok {
		return nil, fail(Loading, nil, "thread %d of the engine is gone", thread.NativeID)
	}
	e := &Engine{PID: pid, Thread: tid, ThreadState: thread.Addr, Python: live, core: core}
	r := resolver{rt: rt, interp: interp, core: core, e: e}
	if err := r.resolve(); err != nil {
		if errors.Is(err, errStarting) {
			return nil, fail(Loading, err, "the engine is starting: %v", err)
		}
		return &Engine{core: core}, fail(Unsupported, err, "its engine cannot be read: %v", err)
	}
	return e, nil
}

var errStarting = errors.New("not all parts are there yet")

// finder looks for the EngineCore object and the thread that runs it.
type finder struct {
	live     *cpython.Runtime
	rt       *cpython.Runtime // a snapshot of it
	interp   uint64
	starting bool
}

func (f *finder) engine() (core uint64, thread cpython.Thread, err error) {
	threads, err := f.rt.Threads(f.interp)
	if len(threads) == 0 {
		return 0, cpython.Thread{}, err
	}
	// The main thread, the oldest, is last. It runs the engine nearly always, and
	// while it runs a walk over its frames may break off: then it is walked again.
	slices.Reverse(threads)
	for i, t := range threads {
		tries := 1
		if i == 0 {
			tries = frameTries
		}
		if core := f.inFrames(t, tries); core != 0 {
			return core, t, nil
		}
	}
	// An engine in a process of its own making (an offline LLM) that is idle now
	// shows in the variables of the main thread.
	for _, t := range threads {
		frames, _ := t.Frames(maxFrames)
		if core := f.inVariables(frames); core != 0 {
			return core, t, nil
		}
	}
	return 0, cpython.Thread{}, cpython.NotFound
}

// inFrames looks for a function of the engine among a thread's frames.
func (f *finder) inFrames(t cpython.Thread, tries int) uint64 {
	var path []string
	frame, code, err := f.live.FindFrame(t, tries, func(fr cpython.Frame, c cpython.Code) bool {
		if !strings.Contains(c.Filename, "vllm") {
			return false
		}
		name := f.live.Qualname(fr, c)
		for _, s := range startingFrames {
			f.starting = f.starting || strings.HasSuffix(name, s) || !strings.Contains(name, ".") && strings.HasSuffix(s, "."+name)
		}
		for _, ef := range engineFrames {
			if strings.HasSuffix(name, ef.qualname) {
				path = ef.path
				return true
			}
		}
		return false
	})
	if err != nil {
		return 0
	}
	self, err := f.live.LocalByName(frame, code, "self")
	if err != nil {
		return 0
	}
	return f.follow(self, path)
}

// inVariables looks for an object that leads to an engine among the locals and
// globals of frames.
func (f *finder) inVariables(frames []cpython.Frame) uint64 {
	seen := map[uint64]bool{}
	for _, fr := range slices.Backward(frames) {
		code, err := f.rt.Code(fr.Code)
		if err != nil {
			continue
		}
		for i := range code.Nlocalsplus {
			if obj, err := f.rt.Local(fr, code, i); err == nil {
				if core := f.holder(obj); core != 0 {
					return core
				}
			}
		}
		globals, err := f.rt.Globals(fr)
		if err != nil || seen[globals] {
			continue
		}
		seen[globals] = true
		items, err := f.rt.Dict(globals)
		if err != nil {
			continue
		}
		for _, it := range items {
			if core := f.holder(it.Value); core != 0 {
				return core
			}
		}
	}
	return 0
}

func (f *finder) holder(obj uint64) uint64 {
	t, err := f.rt.Type(obj)
	if err != nil {
		return 0
	}
	path, ok := engineHolders[t.Name]
	if !ok {
		return 0
	}
	return f.follow(obj, path)
}

// follow gives the EngineCore behind obj: an object with a scheduler.
func (f *finder) follow(obj uint64, path []string) uint64 {
	core, err := f.rt.AttrPath(obj, path...)
	if err != nil {
		return 0
	}
	if _, err := f.rt.Attr(core, "scheduler"); err != nil {
		f.starting = true
		return 0
	}
	return core
}
