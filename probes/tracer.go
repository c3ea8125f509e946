package probes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/hook"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

// MaxEngines is how many engines one tracer follows.
const MaxEngines = 16

// Options of a Tracer. The zero value is ready.
type Options struct {
	// RingBytes is the size of the ring buffer: a power of two of at least a page;
	// 0 means 8 MiB.
	RingBytes int
	// Poll is how often the ring is looked into; 0 means 250 ms, and 40 ms for a ring
	// below 2 MiB. BPF wakes the reader earlier only when 1 MiB is waiting.
	Poll time.Duration
	// Watches that may be set; nil means all. A watch that is left out costs its
	// columns and nothing else.
	Watches []Watch
	// AllCPUs: the watches are set on all CPUs instead of on the engine's thread (see
	// scope). They are the machine's then: nobody else can have any.
	AllCPUs bool
	// Calls into CUDA that are probed in workers.
	Calls Calls
	// Hooks are functions that are watched besides. A Python function of an engine takes
	// one of its thread's breakpoints that the watches leave free; with ForceHooks it
	// comes before all watches but the first.
	Hooks      []hook.Spec
	ForceHooks bool
	// Routed: the experts that tokens chose are copied, where vLLM has them on the host; of
	// a step at most half of the ring.
	Routed bool
	// NeedHooks: rather no engine than one without all of its hooks.
	NeedHooks bool
	Log       *slog.Logger
}

// Tracer holds the programs and the watches in force.
type Tracer struct {
	opts Options
	objs bpf.SchedulerObjects
	ring *ring

	mu      sync.Mutex
	engines [MaxEngines]*traced // by their index in the events; nil: none has it
	calls   *programs           // nil: no worker yet
	workers []*worker
	events  uint64

	hookProgs *hookPrograms // nil: no hook yet
	hooks     []*hooked
	nextHook  int

	// By worker, for the goroutine of Run.
	handles [MaxWorkers]atomic.Pointer[handles]
}

// traced is an engine with its watches.
type traced struct {
	engine *vllm.Engine
	scope  scope // of the watches
	points []*breakpoint
	names  []Watch
	routed string // where routed experts are copied from; "": nowhere
}

// New loads the programs into the kernel.
func New(opts Options) (*Tracer, error) {
	if opts.RingBytes == 0 {
		opts.RingBytes = 8 << 20
	}
	if opts.Poll == 0 {
		opts.Poll = 250 * time.Millisecond
		if opts.RingBytes < 2<<20 {
			opts.Poll = 40 * time.Millisecond
		}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	spec, err := bpf.LoadScheduler()
	if err != nil {
		return nil, err
	}
	if err := bpf.ConfigureLoops(spec); err != nil {
		return nil, err
	}
	if err := configureIDs(spec); err != nil {
		return nil, err
	}
	spec.Maps["events"].MaxEntries = uint32(opts.RingBytes)
	t := &Tracer{opts: opts}
	if err := spec.LoadAndAssign(&t.objs, nil); err != nil {
		return nil, fmt.Errorf("load the BPF programs: %w", err)
	}
	t.ring, err = newRing(t.objs.Events)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the ring buffer: %w", err), t.objs.Close())
	}
	debug.FreeOSMemory()
	return t, nil
}

// Attach watches an engine and gives its index in the events. Where not all
// watches can be set, it says what is missing; it fails only when there is none.
func (t *Tracer) Attach(e *vllm.Engine) (int, []record.Unavailable, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	index, err := t.free(e.Fact().DataParallel)
	if err != nil {
		return 0, nil, err
	}
	where, err := t.scopeOf(e)
	if err != nil {
		return 0, nil, err
	}
	c := config(e)
	if t.opts.Routed {
		routedConfig(&c, e, t.opts.RingBytes/2)
	}
	if where.cpus != nil {
		c.Thread = uint32(e.Thread)
	}
	if err := t.objs.Engines.Put(uint32(index), &c); err != nil {
		return 0, nil, fmt.Errorf("configure the BPF programs: %w", err)
	}
	a := arming{t: t, tr: &traced{engine: e, scope: where}, index: index}
	a.breakpoints(plans(&c, &t.objs.SchedulerPrograms))
	if len(a.tr.points) == 0 {
		if a.why == nil {
			a.why = errNotAsked
		}
		return 0, nil, errors.Join(a.why, closeHooked(a.hooks))
	}
	var without []record.Unavailable
	a.tr.routed, without = a.routed()
	a.lost = append(a.lost, without...)
	hooks, failed := t.setHooks(a.process(), isC)
	hooks, failed = append(a.hooks, hooks...), append(a.failed, failed...)
	if t.opts.NeedHooks && len(failed) > 0 {
		return 0, nil, errors.Join(closePoints(a.tr.points), closeHooked(hooks), failed[0])
	}
	t.engines[index] = a.tr
	t.hooks = append(t.hooks, hooks...)
	return index, append(a.lost, notHooked(&index, failed)...), nil
}

// free is the index of an engine that is new: its data-parallel rank, in whatever order the
// engines of a group come up. Where that is taken (its server was started again) or too
// high, the first that is not.
func (t *Tracer) free(rank int) (int, error) {
	if rank >= 0 && rank < MaxEngines && t.engines[rank] == nil {
		return rank, nil
	}
	if i := slices.Index(t.engines[:], nil); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("more than %d engines", MaxEngines)
}

// scopeOf is where the watches of an engine are set.
func (t *Tracer) scopeOf(e *vllm.Engine) (scope, error) {
	where := scope{thread: e.Thread}
	if !t.opts.AllCPUs {
		return where, nil
	}
	if err := sameNamespace(e.PID); err != nil { // its thread could not be told from others
		return where, err
	}
	var err error
	where.cpus, err = onlineCPUs()
	return where, err
}

var (
	errNotAsked = errors.New("switched off")
	errNotFound = errors.New("not found in this version of vLLM")
)

func (t *Tracer) set(tr *traced, p plan, index uint64) error {
	if t.opts.Watches != nil && !slices.Contains(t.opts.Watches, p.name) {
		return errNotAsked
	}
	if p.addr == 0 {
		return errNotFound
	}
	bp, err := watch(tr.scope, p.addr, p.size, p.access, p.prog, index)
	if errors.Is(err, ErrNoSlot) && tr.scope.cpus != nil { // one thread of the machine's has none free
		t.opts.Log.Warn("watched on its thread: not all CPUs have a hardware breakpoint free", "watch", p.name)
		bp, err = watch(scope{thread: tr.scope.thread}, p.addr, p.size, p.access, p.prog, index)
	}
	if err != nil {
		return err
	}
	tr.points = append(tr.points, bp)
	return nil
}

// Watches gives the watches in force on an engine, most worth first.
func (t *Tracer) Watches(index int) []Watch {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.engines[index].names)
}

// Detach takes the watches off an engine, which may be gone.
func (t *Tracer) Detach(index int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, p := range t.engines[index].points {
		errs = append(errs, p.close())
	}
	t.engines[index].points = nil
	return errors.Join(errs...)
}

// Run hands each event to sink until ctx ends, and then what is still in the
// ring. idle is called when the ring was found empty, at least once in Poll. Both
// are called from this goroutine alone; the event is valid until sink returns.
func (t *Tracer) Run(ctx context.Context, sink func(event []byte) error, idle func() error) error {
	var rec ringbuf.Record
	counted := func(event []byte) error {
		t.events++
		t.seeHandles(event)
		return sink(event)
	}
	for {
		done := ctx.Err() != nil
		if err := t.ring.drain(&rec, counted); err != nil {
			return err
		}
		if err := idle(); err != nil {
			return err
		}
		if done {
			return nil
		}
		if err := t.ring.wait(ctx, t.opts.Poll); err != nil {
			return fmt.Errorf("wait for the ring buffer: %w", err)
		}
	}
}

// Events is the number of events read.
func (t *Tracer) Events() uint64 { return t.events }

// Close takes all watches off and unloads the programs.
func (t *Tracer) Close() error {
	var errs []error
	for i, e := range t.engines {
		if e != nil {
			errs = append(errs, t.Detach(i))
		}
	}
	for i := range t.workers {
		errs = append(errs, t.DetachWorker(i))
	}
	if t.calls != nil {
		errs = append(errs, t.calls.close())
	}
	return errors.Join(append(errs, t.closeHooks(), t.ring.close(), t.objs.Close())...)
}

// loss says which columns a missing watch leaves empty.
func loss(w Watch, index int, err error) record.Unavailable {
	u := record.Unavailable{Engine: &index, Reason: err.Error(), Columns: columnsOfWatch(w)}
	if errors.Is(err, ErrNoSlot) {
		u.Remedy = "end the debugger or tracer that holds them (gdb, perf, bpftrace, pmtrace with --breakpoints cpus), then attach again"
	}
	switch w {
	case WatchScheduleReturn, WatchUpdateReturn:
		u.Profiler = "batch"
	case WatchFreeBlocks:
		u.Profiler = "kv_cache"
	case WatchUpdateEntry:
		u.Profiler = "forward_pass"
	}
	return u
}

// columnsOfWatch are the columns that come from a watch.
func columnsOfWatch(w Watch) []string {
	switch w {
	case WatchScheduleReturn:
		return []string{"steps", "step_requests", "requests"}
	case WatchFreeBlocks:
		return []string{"kv_usage", "kv_blocks", "kv_evictions", "preemptions.blocks_freed"}
	case WatchUpdateReturn:
		return []string{
			"steps.end_ns", "steps.update_ns", "steps.output_tokens", "steps.finished_requests",
			"step_requests.output_tokens", "requests.first_token_ns", "requests.output_tokens",
			"requests.finish_reason",
		}
	case WatchUpdateEntry:
		return []string{"steps.update_start_ns", "steps.update_ns", "steps.forward_ns"}
	}
	return nil
}
