package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
	"github.com/pmtrace/pmtrace/probes/target"
)

// errNoCUDA says that a process has no CUDA library mapped (yet).
var errNoCUDA = errors.New("no CUDA library is loaded in it")

// errOnCPU says why a server has no GPU's side, though torch maps CUDA's libraries.
var errOnCPU = errors.New("the server runs on the CPU")

const (
	// Graphs are captured seconds after CUDA was loaded: to be there in time costs
	// a look at a few processes' mappings.
	workerPause = 250 * time.Millisecond
	// A worker that is probed is looked at for new threads, functions and graphs.
	workerPace = time.Second
	// An engine that runs has loaded CUDA long ago, if it ever does.
	workerPatience = 10 * time.Second
)

// workers probes the CUDA calls of a server's processes as they come up: also
// before there is an engine, since graphs are captured first. What is known of
// them waits until the session begins.
type workers struct {
	t       *trace
	found   map[int]worker        // by pid: its interpreter is open
	probed  map[int]record.Worker // by pid
	next    map[int]time.Time     // not tried before
	refused map[int]string        // by pid: why, for good

	nextLook time.Time
	lookedAt int           // engines that were armed when last looked
	why      string        // the newest reason for there being none
	waiting  []record.Fact // before the session began
	told     bool          // that there are none
}

func newWorkers(t *trace) *workers {
	return &workers{
		t: t, found: map[int]worker{}, probed: map[int]record.Worker{},
		next: map[int]time.Time{}, refused: map[int]string{},
	}
}

// wanted says whether a profiler that needs CUDA's calls is on.
func (w *workers) wanted() bool {
	return slices.ContainsFunc(w.t.opts.on, func(p string) bool {
		switch p {
		case session.ProfilerCUDAGraph, session.ProfilerForwardPass, session.ProfilerCPU, session.ProfilerEncoderDecoder:
			return true
		}
		return false
	})
}

// pause is how long to wait before the next look.
func (w *workers) pause() time.Duration {
	switch {
	case len(w.t.hunt.armed) == 0:
		return workerPause
	case len(w.probed) > 0:
		return workerPace
	case time.Since(w.t.hunt.first) > workerPatience:
		return idlePause
	}
	return workerPause
}

// look looks once.
func (w *workers) look() error {
	if !w.wanted() {
		return nil
	}
	if w.t.hunt.onCPU {
		w.why = errOnCPU.Error()
		w.release(func(int) bool { return true })
		return nil
	}
	candidates := w.candidates()
	for _, p := range candidates {
		if _, ok := w.probed[p.PID]; ok || w.refused[p.PID] != "" || time.Now().Before(w.next[p.PID]) {
			continue
		}
		if err := w.try(p); err != nil {
			return err
		}
	}
	w.say()
	if len(w.probed) == 0 {
		return nil
	}
	if err := w.follow(); err != nil {
		return err
	}
	w.settle(candidates)
	return w.engines(candidates)
}

// follow looks at what the workers have become. While a server imports its modules
// there is much to read each time, so that is done less often; as soon as there is an engine
// its graphs and layers are wanted.
func (w *workers) follow() error {
	began, armed := time.Now(), len(w.t.hunt.armed)
	if armed <= w.lookedAt && began.Before(w.nextLook) {
		return nil
	}
	w.lookedAt = armed
	facts := w.t.tracer.Look()
	w.nextLook = time.Now().Add(min(max(huntCost*time.Since(began), workerPace), workerPatience) - workerPause/2)
	return w.tell(facts...)
}

// candidates are the processes that may run a model.
func (w *workers) candidates() []target.Process {
	s := w.t.hunt.last
	list := slices.Clone(s.Candidates())
	for _, p := range s.Processes {
		if p.Role == target.RoleWorker {
			list = append(list, p)
		}
	}
	return list
}

// try probes one process.
func (w *workers) try(p target.Process) error {
	began := time.Now()
	defer func() {
		most := huntMost
		if len(w.t.hunt.armed) > 0 { // nothing is missed any more that comes but once
			most = workerPatience
		}
		w.next[p.PID] = time.Now().Add(min(huntCost*time.Since(began), most))
	}()
	found, ok := w.found[p.PID]
	if !ok {
		var err error
		if found, err = w.t.app.world.findWorker(p.PID, w.t.opts.force); err != nil {
			w.t.log.Debug("no worker yet", "pid", p.PID, "why", err)
			w.why = oneLine(err)
			return nil
		}
		w.found[p.PID] = found
	}
	return w.probe(p, found)
}

func (w *workers) probe(p target.Process, found worker) error {
	spec := workerSpec{rank: p.Rank, otherProcess: p.Role == target.RoleWorker, fromStart: w.t.mode == modeRecord && len(w.t.hunt.armed) == 0}
	spec.engine, spec.engineThread = w.engineOf(p)
	spec.begin = func(fact record.Worker, begin func() error) error {
		w.probed[p.PID] = fact
		if w.t.rec == nil {
			w.waiting = append(w.waiting, record.Fact{Worker: &fact})
			return begin()
		}
		var err error
		w.t.rec.attach(func() ([]record.Fact, error) {
			err = begin()
			return []record.Fact{{Worker: &fact}}, err
		})
		return err
	}
	fact, missing, failed := w.t.tracer.AttachWorker(found, spec)
	if failed == nil {
		w.t.log.Info("probed", "pid", p.PID, "worker", fact.Worker, "probes", fact.Probes, "libraries", fact.Libraries)
		for i := range missing {
			if err := w.tell(record.Fact{Unavailable: &missing[i]}); err != nil {
				return err
			}
		}
	} else {
		delete(w.probed, p.PID)
	}
	switch {
	case failed == nil:
		return nil
	case errors.Is(failed, errNoCUDA):
		w.why = errNoCUDA.Error()
		delete(w.found, p.PID) // it may be another program by the next try
		return nil
	}
	w.why = oneLine(failed)
	w.refused[p.PID] = w.why
	w.t.log.Error("CUDA calls cannot be probed", "pid", p.PID, "why", failed)
	return nil
}

// engineOf is the engine that a process works for, where it is traced already,
// and the thread that runs it, where it is the process's own.
func (w *workers) engineOf(p target.Process) (engine *int, thread int) {
	if index, ok := w.t.hunt.armed[p.PID]; ok {
		return &index, w.t.hunt.threads[p.PID]
	}
	if index, ok := w.t.hunt.armed[p.PPID]; ok && p.Role == target.RoleWorker {
		return &index, 0
	}
	return nil, 0
}

// settle takes the probes off processes that were candidates only before the engine
// was known: the API server loads CUDA's libraries as well.
func (w *workers) settle(candidates []target.Process) {
	if len(w.t.hunt.armed) == 0 {
		return
	}
	w.release(func(pid int) bool {
		is := func(p target.Process) bool { return p.PID == pid }
		_, engine := w.t.hunt.armed[pid]
		// Of one that has ended what it did stays.
		return !engine && !slices.ContainsFunc(candidates, is) && slices.ContainsFunc(w.t.hunt.last.Processes, is)
	})
}

// release takes the probes off processes.
func (w *workers) release(which func(pid int) bool) {
	for pid, fact := range w.probed {
		if !which(pid) {
			continue
		}
		if err := w.t.tracer.DetachWorker(fact.Worker); err != nil {
			w.t.log.Warn("take the probes off", "pid", pid, "error", err)
		}
		delete(w.probed, pid)
		delete(w.found, pid)
	}
}

// engines tells which engine workers are of that were there before it.
func (w *workers) engines(candidates []target.Process) error {
	for _, p := range candidates {
		fact, ok := w.probed[p.PID]
		if !ok || fact.Engine != nil {
			continue
		}
		engine, thread := w.engineOf(p)
		if engine == nil {
			continue
		}
		fact.Engine, fact.EngineThread = engine, thread
		w.probed[p.PID] = fact
		if err := w.tell(record.Fact{Worker: &fact}); err != nil {
			return err
		}
	}
	return nil
}

// tell writes facts, or keeps them until there is a session.
func (w *workers) tell(facts ...record.Fact) error {
	if w.t.rec == nil {
		w.waiting = append(w.waiting, facts...)
		return nil
	}
	for _, f := range facts {
		if f.Worker != nil { // the tracer knows its probes, we the engine
			if known, ok := w.probed[f.Worker.PID]; ok && f.Worker.Engine == nil {
				f.Worker.Engine, f.Worker.EngineThread = known.Engine, known.EngineThread
			}
			w.probed[f.Worker.PID] = *f.Worker
		}
		if err := w.t.rec.fact(f); err != nil {
			return err
		}
	}
	return nil
}

// begun writes what waited for the session.
func (w *workers) begun() error {
	facts := w.waiting
	w.waiting = nil
	return w.tell(facts...)
}

// rest says at the end why there was none.
func (w *workers) rest() {
	if !w.wanted() || w.t.rec == nil {
		return
	}
	if len(w.probed) > 0 {
		if err := w.tell(w.t.tracer.Look()...); err != nil {
			w.t.log.Error("workers", "error", err)
		}
		for _, pid := range slices.Sorted(maps.Keys(w.refused)) {
			w.missing(fmt.Sprintf("process %d: %s", pid, w.refused[pid]))
		}
		return
	}
	why := w.why
	if why == "" {
		why = "no process of the server runs a model on a GPU"
	}
	w.missing(why)
}

// missing writes why there are no graphs and GPU times, or not all.
func (w *workers) missing(why string) {
	for _, p := range []string{session.ProfilerCUDAGraph, session.ProfilerEncoderDecoder} {
		if !slices.Contains(w.t.opts.on, p) {
			continue
		}
		u := record.Unavailable{Profiler: p, Reason: why}
		if err := w.t.rec.fact(record.Fact{Unavailable: &u}); err != nil {
			w.t.log.Error("workers", "error", err)
		}
	}
}

// say tells on stderr, once, that there is no GPU side.
func (w *workers) say() {
	if w.told || len(w.refused) == 0 {
		return
	}
	w.told = true
	w.t.status.done()
	for _, pid := range slices.Sorted(maps.Keys(w.refused)) {
		fmt.Fprintf(w.t.app.stderr, "pmtrace: not available: CUDA graphs and GPU times of process %d: %s\n", pid, printable(w.refused[pid]))
	}
}
