package probes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/probes/cpython"
	"github.com/pmtrace/pmtrace/probes/cuda"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

// WorkerSpec is what is known of a worker from its place in the server.
type WorkerSpec struct {
	Engine *int // index in the events; nil: not known (yet)
	// EngineThread is the thread that runs the scheduler, where this process is the
	// engine's own.
	EngineThread int
	Rank         *int
	// OtherProcess: not the engine's own. Its steps are told by PM_EV_WORKER_STEP.
	OtherProcess bool
	FromStart    bool // before it could capture a graph
	// Begin is called when all is set, with what there is to say of the worker: begin
	// lets its events come. What took long is done by then. nil: begin is called.
	Begin func(fact record.Worker, begin func() error) error
}

// NoCUDAError says that a process has no CUDA library mapped, which may change.
type NoCUDAError struct{ PID int }

func (e *NoCUDAError) Error() string {
	return fmt.Sprintf("no CUDA library is loaded in process %d", e.PID)
}

// model is what a worker's Python objects say; *vllm.Worker.
type model interface {
	Threads() ([]vllm.PythonThread, error)
	Functions() (fs []vllm.KnownFunction, changed bool, err error)
	Graphs(seen func(handle uint64) bool) (vllm.FoundGraphs, error)
	Runner() (vllm.Runner, error)
}

// worker is a process whose calls are probed.
type worker struct {
	index   int
	pid     int
	pidfd   int // -1: detached
	model   model
	python  *cpython.Runtime
	fact    record.Worker
	config  bpf.CudaPmWorker
	handles *handles
	graphs  []record.Graph // as last told
	losses  lossSums

	libraries []*attachedLibrary
	nextMaps  time.Time
	pauseMaps time.Duration
	threads   map[int]uint64 // PyThreadState by thread
	codes     map[uint64]bpf.CudaPmCode
	swept     time.Time
	active    bool              // the programs know of it
	window    record.CallWindow // that is open; zero: none
	said      map[string]bool   // errors that were logged
}

// AttachWorker probes the CUDA calls of a process. It fails with a *NoCUDAError
// where the process has no CUDA library (yet): that is cheap to ask again. What
// comes up later, Look follows.
func (t *Tracer) AttachWorker(w *vllm.Worker, spec WorkerSpec) (record.Worker, []record.Unavailable, error) {
	return t.attachWorker(w.PID, w.Python, w, spec)
}

func (t *Tracer) attachWorker(pid int, python *cpython.Runtime, m model, spec WorkerSpec) (record.Worker, []record.Unavailable, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.workers) == MaxWorkers {
		return record.Worker{}, nil, fmt.Errorf("more than %d workers", MaxWorkers)
	}
	libs, err := cuda.Find(pid)
	if err != nil {
		return record.Worker{}, nil, err
	}
	if !slices.ContainsFunc(libs, isCUDA) {
		return record.Worker{}, nil, &NoCUDAError{PID: pid}
	}
	if err := sameNamespace(pid); err != nil {
		return record.Worker{}, nil, err
	}
	if t.calls == nil {
		if t.calls, err = t.loadCalls(); err != nil {
			return record.Worker{}, nil, err
		}
	}
	w := &worker{
		index: len(t.workers), pid: pid, model: m, python: python, handles: newHandles(), said: map[string]bool{},
		threads: map[int]uint64{}, codes: map[uint64]bpf.CudaPmCode{}, pauseMaps: mapsPause,
	}
	if w.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		return record.Worker{}, nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	w.fact = record.Worker{
		Worker: w.index, PID: pid, Engine: spec.Engine, Rank: spec.Rank, EngineThread: spec.EngineThread, FromStart: spec.FromStart,
		CallsInWindows: len(t.opts.Calls.Windowed) > 0,
	}
	t.handles[w.index].Store(w.handles)
	unavailable, err := t.arm(w, spec, libs)
	if err != nil {
		t.handles[w.index].Store(nil)
		return record.Worker{}, nil, errors.Join(err, t.disarm(w))
	}
	t.workers = append(t.workers, w)
	return w.fact, unavailable, nil
}

// isCUDA says whether a library is enough to begin with.
func isCUDA(l cuda.Library) bool { return l.Kind == cuda.Runtime || l.Kind == cuda.Driver }

// sameNamespace refuses a process whose ids the programs cannot know: where we are
// not in the machine's own PID namespace, they see those of our own only.
func sameNamespace(pid int) error {
	_, own, err := pidNamespace("self")
	if err != nil || own == firstNamespace {
		return err
	}
	_, other, err := pidNamespace(strconv.Itoa(pid))
	if err != nil || other == own {
		return err
	}
	return fmt.Errorf("process %d is in a PID namespace below ours: run pmtrace in the host's PID namespace (docker run --pid=host, hostPID: true)", pid)
}

// arm tells the programs of a process and sets the probes.
func (t *Tracer) arm(w *worker, spec WorkerSpec, libs []cuda.Library) ([]record.Unavailable, error) {
	var unavailable []record.Unavailable
	w.config = bpf.CudaPmWorker{Index: uint32(w.index), Record: t.opts.Calls.mask()}
	if spec.OtherProcess {
		w.config.Flags = 1 // PM_WORKER_OTHER_PROCESS
	}
	if err := w.readPython(); err != nil {
		w.python = nil
		for _, u := range []record.Unavailable{
			{Profiler: "cpu", Columns: []string{"cpu_operations"}},
			{Profiler: "cuda_graph", Columns: []string{"graphs.descriptor", "graph_launches.descriptor", "steps.descriptor", "steps.cudagraph_mode"}},
			{Profiler: "forward_pass", Columns: []string{"steps.step_gpu_ns", "steps.gpu_idle_ns"}},
		} {
			u.Engine, u.Reason = spec.Engine, err.Error()
			unavailable = append(unavailable, u)
		}
	}
	// The Python side first: calls are told apart from the first one on.
	t.followPython(w)
	missing, err := t.follow(w, libs)
	if err != nil && len(w.fact.Probes) == 0 {
		return nil, err
	}
	t.complain(w, "probe a library", err) // the others are
	w.nextMaps = time.Now().Add(w.pauseMaps)
	w.fact.MonoNS = monotonic()
	w.active = true
	begin := func() error { return t.tell(w) }
	if spec.Begin == nil {
		err = begin()
	} else {
		err = spec.Begin(w.fact, begin)
	}
	if err != nil {
		return nil, err
	}
	return append(unavailable, missing...), nil
}

// readPython checks that the programs can walk the interpreter's frames.
func (w *worker) readPython() error {
	if w.python == nil {
		return nil
	}
	p := python(w.python.Offsets())
	if d := int32(p.FramePrevious - p.FrameCode); d != 8 && d != 16 && d != -8 {
		return fmt.Errorf("frames of this CPython are not laid out as known ones: %d bytes from the code to the previous frame", d)
	}
	w.config.Py = bpf.CudaPmPython(p)
	return nil
}

// disarm takes the probes off and forgets the process.
func (t *Tracer) disarm(w *worker) error {
	if w.pidfd < 0 {
		return nil
	}
	var errs []error
	for _, l := range w.libraries {
		errs = append(errs, l.close())
	}
	w.libraries = nil
	_ = t.calls.maps.Workers.Delete(uint32(w.pid))
	for tid := range w.threads {
		var st bpf.CudaPmState // the id may be another process's thread's by now
		if t.calls.maps.States.Lookup(uint32(tid), &st) == nil && st.Process == uint32(w.pid) {
			_ = t.calls.maps.States.Delete(uint32(tid))
		}
	}
	for code := range w.codes {
		_ = t.calls.maps.Codes.Delete(w.codeKey(code))
	}
	t.forget(w, func(int) (map[uint32]bool, error) { return nil, nil })
	errs = append(errs, unix.Close(w.pidfd))
	w.pidfd = -1
	return errors.Join(errs...)
}

// DetachWorker takes the probes off a worker, which may be gone. Its counters stay.
func (t *Tracer) DetachWorker(index int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.disarm(t.workers[index])
}

// gone says whether the process has ended.
func (w *worker) gone() bool {
	fds := []unix.PollFd{{Fd: int32(w.pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

func (w *worker) engine() int {
	if w.fact.Engine == nil {
		return -1
	}
	return *w.fact.Engine
}

// lost are the losses that are not counted by the kernel.
func (w *worker) lost() []record.Loss {
	w.handles.mu.Lock()
	dropped := w.handles.dropped
	w.handles.mu.Unlock()
	sums := slices.Clone(w.losses)
	sums.add(w.engine(), "handles", "too_long", dropped, true)
	return sums
}

// seeHandles takes the handles out of an event. It is called for each event, so it
// looks at two bytes first.
func (t *Tracer) seeHandles(event []byte) {
	if len(event) != wire.CallSize || wire.Kind(binary.LittleEndian.Uint16(event[12:])) != wire.KindCall {
		return
	}
	if worker := event[14]; worker < MaxWorkers {
		if h := t.handles[worker].Load(); h != nil {
			h.see(event)
		}
	}
}

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// ---- what the process has become ----

const (
	mapsPause     = time.Second
	longMapsPause = 10 * time.Second
	sweepPause    = time.Minute
)

// Look follows what the workers have become: new threads, functions, libraries and
// graphs. It is meant to be called about once a second, and returns what is new.
func (t *Tracer) Look() []record.Fact {
	t.mu.Lock()
	defer t.mu.Unlock()
	var facts []record.Fact
	for _, w := range t.workers {
		if w.pidfd >= 0 {
			facts = append(facts, t.look(w)...)
		}
	}
	return facts
}

func (t *Tracer) look(w *worker) []record.Fact {
	if w.gone() {
		if err := t.disarm(w); err != nil {
			t.opts.Log.Warn("take the probes off a worker that has ended", "pid", w.pid, "err", err)
		}
		return nil
	}
	t.followPython(w)
	facts := t.followLibraries(w)
	if w.followRunner() {
		facts = append(facts, record.Fact{Worker: w.copyFact()})
	}
	if g := t.readGraphs(w); g != nil {
		facts = append(facts, record.Fact{Graphs: g})
	}
	if time.Since(w.swept) > sweepPause {
		w.swept = time.Now()
		t.forget(w, tasksOf)
	}
	return facts
}

func (w *worker) copyFact() *record.Worker {
	f := w.fact
	return &f
}

// complain logs an error once.
func (t *Tracer) complain(w *worker, what string, err error) {
	if err == nil || w.said[what] || w.gone() {
		return
	}
	w.said[what] = true
	t.opts.Log.Warn(what, "pid", w.pid, "err", err)
}

// followPython tells the programs of new threads and functions.
func (t *Tracer) followPython(w *worker) {
	if w.python == nil {
		return
	}
	threads, err := w.model.Threads()
	t.complain(w, "read the Python threads of a worker", err)
	if err == nil || len(threads) > 0 {
		t.complain(w, "tell the threads of a worker", t.setThreads(w, threads, err == nil))
	}
	functions, changed, err := w.model.Functions()
	t.complain(w, "read the functions of a worker", err)
	if changed {
		t.setFunctions(w, functions)
	}
}

// setThreads tells each thread's PyThreadState. whole: there are no others.
func (t *Tracer) setThreads(w *worker, threads []vllm.PythonThread, whole bool) error {
	var errs []error
	changed := false
	old := w.threads
	w.threads = make(map[int]uint64, len(threads))
	for _, th := range threads {
		w.threads[th.TID] = th.State
		if old[th.TID] == th.State {
			continue
		}
		changed = true
		s := bpf.CudaPmState{State: th.State, Process: uint32(w.pid)}
		if err := t.calls.maps.States.Put(uint32(th.TID), &s); err != nil {
			w.losses.add(w.engine(), "threads", "too_long", 1, true)
			errs = append(errs, err)
			delete(w.threads, th.TID) // tried again
		}
	}
	for tid, state := range old {
		if _, ok := w.threads[tid]; ok {
			continue
		}
		if !whole {
			w.threads[tid] = state
			continue
		}
		changed = true
		errs = append(errs, ignoreMissing(t.calls.maps.States.Delete(uint32(tid))))
	}
	if changed {
		w.config.States++ // what the programs have learned of threads is void
		errs = append(errs, t.tell(w))
	}
	return errors.Join(errs...)
}

// tell gives the programs what they must know of a process.
func (t *Tracer) tell(w *worker) error {
	if !w.active {
		return nil
	}
	if err := t.calls.maps.Workers.Put(uint32(w.pid), &w.config); err != nil {
		return fmt.Errorf("configure the BPF programs: %w", err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) { // ebpf.ErrKeyNotExist is ENOENT
		return nil
	}
	return err
}

// setFunctions tells what calls under each function are for.
func (t *Tracer) setFunctions(w *worker, functions []vllm.KnownFunction) {
	codes := make(map[uint64]bpf.CudaPmCode, len(functions))
	for _, f := range functions {
		codes[f.Code] = codeOf(f)
	}
	for code := range w.codes {
		if _, ok := codes[code]; !ok {
			_ = t.calls.maps.Codes.Delete(w.codeKey(code))
		}
	}
	for code, c := range codes {
		if old, ok := w.codes[code]; ok && old == c {
			continue
		}
		if err := t.calls.maps.Codes.Put(w.codeKey(code), &c); err != nil {
			w.losses.add(w.engine(), "functions", "too_long", 1, true)
			delete(codes, code)
		}
	}
	w.codes = codes
	w.findNames(functions)
	// What the programs have learned of codes is void from here on. They tell
	// generations apart by a few bits.
	w.config.Generation++
	if w.config.Generation%generations == 0 {
		for i := range t.calls.maps.Classes.MaxEntries() {
			_ = t.calls.maps.Classes.Put(i, uint64(0))
		}
	}
	t.complain(w, "tell the functions of a worker", t.tell(w))
}

// generations is PM_GENERATIONS of bpf/calls.h.
const generations = 32

func (w *worker) codeKey(code uint64) *bpf.CudaPmCodeKey {
	return &bpf.CudaPmCodeKey{Code: code, Process: uint32(w.pid)}
}

// Flags of struct pm_code.
const (
	codeWeak      = 1
	codeDummy     = 2
	codeThrowaway = 4
)

func codeOf(f vllm.KnownFunction) bpf.CudaPmCode {
	c := bpf.CudaPmCode{Phase: uint8(f.Phase), Output: noLocal}
	if f.Weak {
		c.Flags |= codeWeak
	}
	if f.Dummy {
		c.Flags |= codeDummy
	}
	if f.Throwaway {
		c.Flags |= codeThrowaway
	}
	if f.OutputLocal >= 0 && f.OutputLocal < cellLocal {
		c.Output = uint16(f.OutputLocal)
		if f.OutputCell {
			c.Output |= cellLocal
		}
	}
	return c
}

// findNames finds the names of a SchedulerOutput's totals: the strings that the
// functions use are the ones that dicts and classes have as keys.
func (w *worker) findNames(functions []vllm.KnownFunction) {
	if w.config.Flags == 0 {
		return
	}
	found := map[string]uint64{}
	for _, f := range functions {
		if w.config.NameTokens != 0 && w.config.NameRequests != 0 {
			return
		}
		code, err := w.python.Code(f.Code)
		if err != nil {
			continue
		}
		names, err := w.python.CodeNames(code)
		if err != nil {
			continue
		}
		for _, n := range names {
			if s, err := w.python.Str(n); err == nil {
				found[s] = n
			}
		}
		w.config.NameTokens = found["total_num_scheduled_tokens"]
		w.config.NameRequests = found["num_scheduled_tokens"]
	}
}

// followRunner learns which model runner there is; true: it is new.
func (w *worker) followRunner() bool {
	if w.fact.Runner != "" || w.python == nil {
		return false
	}
	r, err := w.model.Runner()
	if err != nil || r.Module == "" {
		return false
	}
	w.fact.Runner = "v1"
	if r.V2 {
		w.fact.Runner = "v2"
	}
	if r.Rank != nil { // the title does not have it while the worker comes up
		w.fact.Rank = r.Rank
	}
	return true
}

// ---- libraries ----

// followLibraries looks for libraries that were mapped since, less and less often.
func (t *Tracer) followLibraries(w *worker) []record.Fact {
	now := time.Now()
	if now.Before(w.nextMaps) {
		return nil
	}
	w.pauseMaps = min(2*w.pauseMaps, longMapsPause)
	w.nextMaps = now.Add(w.pauseMaps)
	libs, err := cuda.Find(w.pid)
	if err != nil {
		t.complain(w, "read the mappings of a worker", err)
		return nil
	}
	before := w.fact
	missing, err := t.follow(w, libs)
	t.complain(w, "probe a library that was loaded later", err)
	if slices.Equal(before.Probes, w.fact.Probes) && slices.Equal(before.Libraries, w.fact.Libraries) {
		return nil
	}
	w.pauseMaps, w.nextMaps = mapsPause, now.Add(mapsPause) // there may be more to come
	facts := []record.Fact{{Worker: w.copyFact()}}
	for i := range missing {
		facts = append(facts, record.Fact{Unavailable: &missing[i]})
	}
	return facts
}

// follow probes the libraries that are mapped and were not before, and takes the
// probes off those that are not the right ones any more. The error is of those that
// could not be probed; w.fact.Probes are empty where that is all.
func (t *Tracer) follow(w *worker, libs []cuda.Library) ([]record.Unavailable, error) {
	static := !slices.ContainsFunc(libs, func(l cuda.Library) bool { return l.Kind == cuda.Runtime })
	var kept []*attachedLibrary
	var unavailable []record.Unavailable
	var errs []error
	w.fact.Libraries = nil
	for _, l := range libs {
		fact := record.Library{Path: l.Path, Kind: string(l.Kind), Skipped: l.Skipped}
		if l.Skipped == "" {
			a, err := t.keepOrProbe(w, l, static)
			if err != nil {
				fact.Skipped = err.Error()
				errs = append(errs, err)
				unavailable = append(unavailable, record.Unavailable{Profiler: "cuda_graph", Engine: w.fact.Engine, Reason: err.Error()})
			} else {
				kept = append(kept, a)
			}
		}
		w.fact.Libraries = append(w.fact.Libraries, fact)
	}
	for _, a := range w.libraries {
		if !slices.Contains(kept, a) {
			errs = append(errs, a.close())
		}
	}
	fresh := slices.DeleteFunc(slices.Clone(kept), func(a *attachedLibrary) bool { return slices.Contains(w.libraries, a) })
	w.libraries = kept
	w.fact.Probes = probeNamesOf(kept)
	if len(w.fact.Probes) == 0 {
		return nil, errors.Join(append(errs, errors.New("none of the functions that are wanted is in the process's CUDA libraries"))...)
	}
	if len(fresh) > 0 {
		unavailable = append(unavailable, missingRows(kept)...)
	}
	for i := range unavailable {
		unavailable[i].Engine = w.fact.Engine
	}
	return unavailable, errors.Join(errs...)
}

func (t *Tracer) keepOrProbe(w *worker, l cuda.Library, static bool) (*attachedLibrary, error) {
	static = static && l.Kind == cuda.Driver
	for _, a := range w.libraries {
		if a.library.ID() == l.ID() && a.static == static {
			return a, nil
		}
	}
	return t.probeLibrary(w.pid, l, static)
}

func probeNamesOf(libs []*attachedLibrary) []string {
	var out []string
	for _, r := range Rows() {
		for _, a := range libs {
			if slices.Contains(a.rows, r.Name) && !slices.Contains(out, r.Name) {
				out = append(out, r.Name)
			}
		}
	}
	return out
}

// ---- graphs ----

// readGraphs reads the graphs where there are handles without a name; nil: nothing
// new.
func (t *Tracer) readGraphs(w *worker) *record.Graphs {
	if w.python == nil {
		return nil
	}
	now := monotonic()
	due, changed := w.handles.due(now)
	if !due {
		return nil
	}
	found, err := w.model.Graphs(w.handles.seen)
	t.complain(w, "read the CUDA graphs of a worker", err)
	if err != nil {
		w.handles.retell(changed)
		return nil
	}
	found.Graphs = w.handles.living(found.Graphs)
	w.handles.name(found.Graphs)
	for reason, n := range found.Unnamed {
		w.losses.raise(w.engine(), "graphs", reason, uint64(max(n, 0)))
	}
	if found.Offset < 0 {
		w.handles.retell(changed)
		return nil
	}
	// The same list says something new where a handle means another graph now.
	if !changed && slices.EqualFunc(found.Graphs, w.graphs, sameGraph) {
		return nil
	}
	w.graphs = found.Graphs
	return &record.Graphs{Worker: w.index, MonoNS: now, Offset: found.Offset, Graphs: found.Graphs, MoELayers: found.MoELayers}
}

func sameGraph(a, b record.Graph) bool {
	return a.Exec == b.Exec && a.Holder == b.Holder && a.Mode == b.Mode && a.Key == b.Key &&
		same(a.Piece, b.Piece) && same(a.Pieces, b.Pieces) && same(a.NumTokens, b.NumTokens) && same(a.NumReqs, b.NumReqs) &&
		same(a.Uniform, b.Uniform) && same(a.HasLora, b.HasLora) && same(a.UniformTokenCount, b.UniformTokenCount) &&
		same(a.NumActiveLoras, b.NumActiveLoras) && same(a.MaxQueryLen, b.MaxQueryLen) && same(a.NumUbatches, b.NumUbatches)
}

func same[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// raise sets a counter that only rises.
func (s *lossSums) raise(engine int, probe, reason string, n uint64) {
	for i := range *s {
		if l := &(*s)[i]; l.Engine == engine && l.Probe == probe && l.Reason == reason {
			l.Count = max(l.Count, n)
			return
		}
	}
	s.add(engine, probe, reason, n, true)
}

// ---- threads that have ended ----

// tasksOf lists the threads of a process: none, where it has ended.
func tasksOf(pid int) (map[uint32]bool, error) {
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	out := map[uint32]bool{}
	for _, n := range names {
		if tid, err := strconv.ParseUint(n.Name(), 10, 32); err == nil {
			out[uint32(tid)] = true
		}
	}
	return out, nil
}

// forget drops what the programs remember of threads that are not living. Which are
// is asked after the others were looked at: a new one is not taken for one of them.
func (t *Tracer) forget(w *worker, living func(pid int) (map[uint32]bool, error)) {
	var known []uint32
	var tid uint32
	var th bpf.CudaPmThread
	for it := t.calls.maps.Threads.Iterate(); it.Next(&tid, &th); {
		if th.Process == uint32(w.pid) {
			known = append(known, tid)
		}
	}
	alive, err := living(w.pid)
	if err != nil {
		return
	}
	for _, tid := range known {
		if !alive[tid] {
			_ = t.calls.maps.Threads.Delete(tid)
		}
	}
}
