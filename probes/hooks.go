package probes

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"

	"github.com/pmtrace/pmtrace/bpf"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes/cpython"
	"github.com/pmtrace/pmtrace/probes/hook"
)

// Breakpoints is how many hardware breakpoints a thread has on x86-64.
const Breakpoints = 4

// rateWindow is for how long a hook's rate is counted.
const rateWindow = 100 * time.Millisecond

// NotWanted is record.Hook's NoDuration where the user did without.
const NotWanted = "not wanted"

// HookError says that a hook cannot be set.
type HookError struct {
	Spec hook.Spec
	Err  error
}

func (e *HookError) Error() string {
	var missing *hook.NotFoundError
	if errors.As(e.Err, &missing) {
		return "hook " + missing.Error()
	}
	return "hook " + e.Spec.String() + ": " + e.Err.Error()
}

func (e *HookError) Unwrap() error { return e.Err }

// HookProcess is a process with hooks in it.
type HookProcess struct {
	PID     int
	Process hook.Process
	Engine  *int // index in the events; nil: of none
	Thread  int  // on which Python functions are watched
	State   uint64
	Python  *cpython.Runtime
	// Unreadable is why there is no Python; nil: there is.
	Unreadable error
}

// hooked is a hook in force.
type hooked struct {
	spec    hook.Spec
	process HookProcess
	fact    record.Hook
	python  *hook.PythonFunction
	config  bpf.HooksPmHook
	entry   *breakpoint
	returns []*breakpoint
	links   []link.Link
	last    uint64 // calls, when last looked at
	looked  time.Time
}

// hookPrograms are the programs of hooks, in the kernel since the first one.
type hookPrograms struct {
	objs  bpf.HooksObjects
	multi bool // function programs are for uprobe_multi
}

func (t *Tracer) loadHooks() error {
	if t.hookProgs != nil {
		return nil
	}
	spec, err := bpf.LoadHooks()
	if err != nil {
		return err
	}
	if err := configureCalls(spec); err != nil {
		return err
	}
	spec.Maps["events"].MaxEntries = uint32(t.opts.RingBytes)
	p := &hookPrograms{multi: !t.opts.Calls.Plain && features.HaveBPFLinkUprobeMulti() == nil}
	if !p.multi {
		spec.Programs["function_entry"].AttachType = ebpf.AttachNone
		spec.Programs["function_return"].AttachType = ebpf.AttachNone
	}
	err = spec.LoadAndAssign(&p.objs, &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{"events": t.objs.Events}})
	if err != nil {
		return fmt.Errorf("load the BPF programs of hooks: %w", err)
	}
	t.hookProgs = p
	return nil
}

// AttachHooks sets the hooks of a process other than an engine's, whose Attach sets. It
// says what could not be set.
func (t *Tracer) AttachHooks(p HookProcess) ([]record.Hook, []record.Unavailable) {
	t.mu.Lock()
	defer t.mu.Unlock()
	hooks, failed := t.setHooks(p, func(hook.Spec) bool { return true })
	t.hooks = append(t.hooks, hooks...)
	var facts []record.Hook
	for _, h := range hooks {
		facts = append(facts, h.fact)
	}
	return facts, notHooked(p.Engine, failed)
}

// HooksOf gives the hooks that are in force in a process.
func (t *Tracer) HooksOf(pid int) []record.Hook {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []record.Hook
	for _, h := range t.hooks {
		if h.process.PID == pid {
			out = append(out, h.fact)
		}
	}
	return out
}

func isC(s hook.Spec) bool { return s.Language == hook.C }

// setHooks sets the hooks of a process that are wanted: what tells durations, and is
// not demanded, once all have their entries.
func (t *Tracer) setHooks(p HookProcess, wanted func(hook.Spec) bool) (hooks []*hooked, failed []error) {
	for _, s := range t.opts.Hooks {
		if s.Process != p.Process || !wanted(s) {
			continue
		}
		h, err := t.newHook(s, p)
		if err == nil {
			err = t.setHook(h)
		}
		if err != nil {
			failed = append(failed, errors.Join(&HookError{s, err}, h.close()))
			continue
		}
		hooks = append(hooks, h)
	}
	hooks, more := t.timeHooks(hooks)
	return hooks, append(failed, more...)
}

func (t *Tracer) setHook(h *hooked) error {
	if isC(h.spec) {
		return t.hookFunction(h)
	}
	err := t.hookPython(h)
	if err == nil && h.demandsDuration() {
		err = t.hookReturns(h)
	}
	if errors.Is(err, ErrNoSlot) {
		err = &NoSlotError{}
	}
	return err
}

func (h *hooked) demandsDuration() bool { return h.spec.Duration != nil && *h.spec.Duration }

// timeHooks watches the returns of Python functions, where breakpoints are left.
func (t *Tracer) timeHooks(hooks []*hooked) (left []*hooked, failed []error) {
	for _, h := range hooks {
		if !isC(h.spec) && !h.fact.Duration {
			if err := t.hookReturns(h); err != nil {
				failed = append(failed, errors.Join(&HookError{h.spec, err}, h.close()))
				continue
			}
		}
		left = append(left, h)
	}
	return left, failed
}

// hooksProfiler is how record.Unavailable names hooks, which are no profiler.
const hooksProfiler = "hooks"

func notHooked(engine *int, failed []error) []record.Unavailable {
	var out []record.Unavailable
	for _, err := range failed {
		out = append(out, record.Unavailable{Profiler: hooksProfiler, Engine: engine, Reason: err.Error()})
	}
	return out
}

func closeHooked(hooks []*hooked) error {
	var errs []error
	for _, h := range hooks {
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}

// newHook takes the next index.
func (t *Tracer) newHook(s hook.Spec, p HookProcess) (*hooked, error) {
	h := &hooked{spec: s, process: p}
	if err := sameNamespace(p.PID); s.Language == hook.C && err != nil {
		return h, err
	}
	if err := t.loadHooks(); err != nil {
		return h, err
	}
	if most := int(t.hookProgs.objs.Hooks.MaxEntries()); t.nextHook == most {
		return h, fmt.Errorf("more than %d hooks in all processes together", most)
	}
	h.fact = record.Hook{
		Hook: t.nextHook, Name: s.Name, Spec: s.String(), PID: p.PID, Engine: p.Engine, Rate: s.Rate, Result: string(s.Result),
		Arguments: []record.HookArgument{},
	}
	for _, a := range s.Arguments {
		h.fact.Arguments = append(h.fact.Arguments, record.HookArgument{Name: a.Text, Type: string(a.Type)})
	}
	h.fact.MonoNS, h.looked = monotonic(), time.Now()
	t.nextHook++
	return h, nil
}

// configureHook tells the programs of a hook, whose state is blank.
func (t *Tracer) configureHook(h *hooked, c *bpf.HooksPmHook, s *bpf.HooksPmHookState) error {
	c.Rate = uint32(max(1, h.spec.Rate*int(rateWindow/time.Millisecond)/1000))
	c.Window = uint64(rateWindow)
	c.Args = uint8(len(h.spec.Arguments))
	index := uint32(h.fact.Hook)
	err := t.hookProgs.objs.HookStates.Put(index, s)
	if err == nil {
		err = t.hookProgs.objs.Hooks.Put(index, c)
	}
	if err != nil {
		return fmt.Errorf("configure the BPF programs: %w", err)
	}
	return nil
}

// hookPython watches a Python function's entry, with one breakpoint.
func (t *Tracer) hookPython(h *hooked) error {
	if err := h.process.Unreadable; err != nil {
		return fmt.Errorf("the interpreter of process %d cannot be read: %w", h.process.PID, err)
	}
	f, err := hook.FindPython(h.process.Python, h.spec)
	if err != nil {
		return err
	}
	h.python = f
	none, err := h.process.Python.NoneAddr()
	if err != nil {
		return err
	}
	h.config = pythonHook(h, f, none)
	var state bpf.HooksPmHookState
	if f.Cold {
		state.Cold = 1
	}
	if err := t.configureHook(h, &h.config, &state); err != nil {
		return err
	}
	h.entry, err = watch(scope{thread: h.process.Thread}, f.Entry, 1, bpReadWrite, t.hookProgs.objs.PythonEntry, uint64(h.fact.Hook))
	if err != nil {
		return err
	}
	h.fact.Thread = h.process.Thread
	h.fact.Breakpoints = 1
	return nil
}

// hookReturns watches where a Python function returns, with a breakpoint for each
// place: all or none.
func (t *Tracer) hookReturns(h *hooked) error {
	f, wanted := h.python, h.spec.Duration
	why := ""
	switch {
	case wanted != nil && !*wanted:
		why = NotWanted
	case f.Suspends:
		why = "a generator or coroutine is left and entered again between its beginning and its end"
	case len(f.Returns) == 0:
		why = "the function never returns"
	case len(f.Returns) > Breakpoints-1:
		why = fmt.Sprintf("the function returns in %d places, and a thread has %d hardware breakpoints", len(f.Returns), Breakpoints)
	}
	if why == "" {
		err := t.watchReturns(h)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrNoSlot) {
			return err
		}
		why = fmt.Sprintf("the function returns in %d places, each of which takes a hardware breakpoint, and not as many are free", len(f.Returns))
		if len(f.Returns) == 1 {
			why = "the function's return takes a hardware breakpoint of its own, and none is free"
		}
	}
	h.fact.NoDuration = why
	if wanted != nil && *wanted {
		return errors.New("its duration cannot be had: " + why)
	}
	return nil
}

func (t *Tracer) watchReturns(h *hooked) error {
	for _, at := range h.python.Returns {
		b, err := watch(scope{thread: h.process.Thread}, at, 1, bpReadWrite, t.hookProgs.objs.PythonReturn, uint64(h.fact.Hook))
		if err != nil {
			err = errors.Join(err, closePoints(h.returns))
			h.returns = nil
			return err
		}
		h.returns = append(h.returns, b)
	}
	// Calls that begin from now on wait for their ends.
	h.config.Returns = 1
	if err := t.hookProgs.objs.Hooks.Put(uint32(h.fact.Hook), &h.config); err != nil {
		return fmt.Errorf("configure the BPF programs: %w", err)
	}
	h.fact.Duration = true
	h.fact.Breakpoints += len(h.returns)
	return nil
}

// pythonHook is what the programs are told of a Python function.
func pythonHook(h *hooked, f *hook.PythonFunction, none uint64) bpf.HooksPmHook {
	o := h.process.Python.Offsets()
	c := bpf.HooksPmHook{
		Code: f.Code.Addr, First: f.First, Resume: f.Resume, Warmup: f.Warmup, ThreadState: h.process.State, None: none,
		TypeFloat: f.Types.Float, TypeBool: f.Types.Bool, TypeSet: f.Types.Set, TypeFrozenset: f.Types.FrozenSet,
		TypeDeque: f.Types.Deque, TypeBytearray: f.Types.ByteArray, TypeMember: f.Types.Member,
		TypeFlags: uint32(o.Type.Flags), TypeBase: uint32(o.Type.Base), TypeDict: uint32(o.Type.Dict), TypeMro: uint32(o.Type.MRO),
		MemberDef: uint32(o.Member.Def), DefType: uint32(o.MemberDef.Type), DefOffset: uint32(o.MemberDef.Offset),
		Managed: uint32(o.Type.FlagManagedDict), Py: bpf.HooksPmPython(python(o)),
	}
	for i, a := range h.spec.Arguments {
		to := &c.Arg[i]
		to.Local = uint16(f.Locals[i].Index)
		if f.Locals[i].Cell {
			to.Local |= cellLocal
		}
		to.Steps = uint8(len(a.Path))
		if a.Length {
			to.Length = 1
		}
		for j, name := range a.Path {
			to.Step[j] = attributeName(name)
		}
	}
	return c
}

// attributeName is a name as the programs compare it.
func attributeName(name string) bpf.HooksPmHookStep {
	s := bpf.HooksPmHookStep{Bytes: uint64(len(name))}
	for i := range len(name) {
		s.Name[i/8] |= uint64(name[i]) << (8 * (i % 8))
	}
	return s
}

// hookFunction probes a C function.
func (t *Tracer) hookFunction(h *hooked) error {
	f, err := hook.FindNative(h.process.PID, h.spec)
	if err != nil {
		return err
	}
	defer f.Close()
	c := bpf.HooksPmHook{Process: uint32(h.process.PID)}
	for i, a := range h.spec.Arguments {
		c.Arg[i].Local = uint16(a.Number)
	}
	if h.spec.WantsReturn() {
		c.Returns = 1
	} else {
		h.fact.NoDuration = NotWanted
	}
	if err := t.configureHook(h, &c, &bpf.HooksPmHookState{}); err != nil {
		return err
	}
	h.fact.File, h.fact.Duration = f.Path, c.Returns == 1
	return t.probeFunction(h, f, c.Returns == 1)
}

// errNotProbed is the kernel's ENOTSUPP, or EOPNOTSUPP.
var errNotProbed = errors.New("the kernel cannot put a probe on the instruction that it begins with")

func (t *Tracer) probeFunction(h *hooked, f *hook.NativeFunction, withReturns bool) error {
	file, err := link.OpenExecutable(f.Functions.Path())
	if err != nil {
		return err
	}
	var probes []callProbe
	for _, at := range f.Offsets {
		probes = append(probes, callProbe{at: at, cookie: uint64(h.fact.Hook), row: h.spec.Function})
	}
	var returns []callProbe
	if withReturns {
		returns = probes
	}
	p := functionPrograms{t.hookProgs.objs.FunctionEntry, t.hookProgs.objs.FunctionReturn}
	switch pid := h.process.PID; {
	case !t.hookProgs.multi:
		h.links, err = setPlain(file, p, probes, returns)
	case filtersProcesses(file, p.entry, probes[0].at):
		h.links, err = setMulti(file, pid, p, probes, returns)
	default: // the programs look at the process themselves
		h.links, err = setMulti(file, 0, p, probes, returns)
	}
	const notSupported = syscall.Errno(524) // ENOTSUPP
	if errors.Is(err, notSupported) || errors.Is(err, syscall.EOPNOTSUPP) {
		return errNotProbed
	}
	return err
}

// close takes a hook off.
func (h *hooked) close() error {
	points := h.returns
	if h.entry != nil {
		points = append(points, h.entry)
	}
	err := errors.Join(closePoints(points), closeAll(h.links))
	h.entry, h.returns, h.links = nil, nil, nil
	return err
}

func (h *hooked) on() bool { return h.entry != nil || len(h.links) > 0 }

func closePoints(points []*breakpoint) error {
	var errs []error
	for _, p := range points {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// LookAtHooks reads the counters of the hooks, and takes those off that are called so
// often that watching them would slow the server; changed are the facts of these. It is
// meant to be called about once a second.
func (t *Tracer) LookAtHooks() (counts []record.HookCount, changed []record.Hook, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.hooks {
		var s bpf.HooksPmHookState
		if err := t.hookProgs.objs.HookStates.Lookup(uint32(h.fact.Hook), &s); err != nil {
			return counts, changed, fmt.Errorf("read the counters of hooks: %w", err)
		}
		counts = append(counts, record.HookCount{
			Hook: h.fact.Hook, Calls: s.Calls,
			NotTold:  s.Lost[bpf.SchedulerPmReasonPM_LOST_RATE] + s.Lost[bpf.SchedulerPmReasonPM_LOST_RING_FULL],
			NoValues: s.Lost[bpf.SchedulerPmReasonPM_LOST_LAYOUT],
		})
		since := time.Since(h.looked)
		if since < time.Second/2 {
			continue
		}
		rate := float64(s.Calls-h.last) / since.Seconds()
		h.last, h.looked = s.Calls, time.Now()
		if h.on() && h.spec.Limit > 0 && rate > float64(h.spec.Limit) {
			h.fact.Ended = fmt.Sprintf("called %.0f times a second, more than %d: it is watched no longer, since each call costs the server", rate, h.spec.Limit)
			h.fact.EndedNS = monotonic()
			if err := h.close(); err != nil {
				t.opts.Log.Warn("take a hook off", "hook", h.spec, "err", err)
			}
			changed = append(changed, h.fact)
		}
	}
	return counts, changed, nil
}

// hookLosses reads what the programs of hooks have lost.
func (t *Tracer) hookLosses() ([]record.Loss, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sums := lossSums{}
	for _, h := range t.hooks {
		var s bpf.HooksPmHookState
		if err := t.hookProgs.objs.HookStates.Lookup(uint32(h.fact.Hook), &s); err != nil {
			return nil, fmt.Errorf("read the loss counters of hooks: %w", err)
		}
		engine := -1
		if h.process.Engine != nil {
			engine = *h.process.Engine
		}
		for _, r := range reasons {
			name, lost := r.name, r.lost
			if r.reason == bpf.SchedulerPmReasonPM_LOST_LAYOUT {
				name, lost = "no_value", false // an object that has not what was asked for
			}
			sums.add(engine, record.HookProbe+h.fact.Name, name, s.Lost[r.reason], lost)
		}
	}
	err := t.busyHooks(&sums)
	return sums, err
}

// busyHooks counts the calls for which the kernel ran no program: it runs none on a CPU where
// one is running.
func (t *Tracer) busyHooks(sums *lossSums) error {
	if t.hookProgs == nil {
		return nil
	}
	o := &t.hookProgs.objs
	for _, p := range []*ebpf.Program{o.PythonEntry, o.PythonReturn, o.FunctionEntry, o.FunctionReturn} {
		s, err := p.Stats()
		if err != nil {
			return fmt.Errorf("statistics of the programs of hooks: %w", err)
		}
		sums.add(-1, "hooks", "program_busy", s.RecursionMisses, true)
	}
	return nil
}

// closeHooks takes all hooks off.
func (t *Tracer) closeHooks() error {
	err := closeHooked(t.hooks)
	if t.hookProgs != nil {
		err = errors.Join(err, t.hookProgs.objs.Close())
	}
	return err
}
