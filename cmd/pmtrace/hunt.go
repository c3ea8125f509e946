package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/pmtrace/pmtrace/decode/model"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
	"github.com/pmtrace/pmtrace/probes/target"
)

// notReady says that a process holds no engine that can be watched now.
type notReady struct {
	state huntState
	why   string
}

func (e *notReady) Error() string { return e.why }

type huntState int

const (
	stateNone        huntState = iota // nothing looked into yet
	stateLoading                      // wait for it
	stateNoEngine                     // vLLM, but no engine here
	stateNotVLLM                      // Python without vLLM
	stateNotPython                    // no Python
	stateUnsupported                  // cannot be read, and will not be
)

// Pauses between looks at the tree.
const (
	huntPause  = 50 * time.Millisecond  // an engine is about to come up
	settlePace = 250 * time.Millisecond // others of its group may be
	idlePause  = 10 * time.Second       // all known ones are armed
	settleTime = 2 * time.Minute
	// Looking into a process costs the more, the bigger it is. An engine goes on
	// loading for longer than huntMost after it can be found.
	huntCost = 25
	huntMost = 500 * time.Millisecond
	// A process that says that it is an engine is unreadable for a moment
	// around exec; longer is for good.
	patience = 10 * time.Second
)

// hunt looks for engines in a server's tree and arms them as they come up.
type hunt struct {
	t       *trace
	follow  *target.Follower
	armed   map[int]int    // pid → index of the engine in the events
	starts  map[int]uint64 // of those: when the process began, since numbers are used again
	ended   chan struct{}  // one of them has
	watch   sync.WaitGroup // for that
	lost    time.Time      // when one had last
	threads map[int]int    // pid → thread that runs the engine
	onCPU   bool           // the engine that was armed last says that it needs no GPU
	dead    map[int]bool
	since   map[int]time.Time // first unreadable
	next    map[int]time.Time // not looked at before
	told    map[int]string    // process facts written: pid → role and title
	want    int               // engines of the data-parallel group
	first   time.Time         // when the first was armed
	waiting bool              // said so
	state   huntState
	last    target.Server
	refused *failure
}

func newHunt(t *trace) *hunt {
	return &hunt{
		t: t, follow: t.app.world.proc.Follow(t.root.PID), armed: map[int]int{}, starts: map[int]uint64{}, ended: make(chan struct{}, 1), threads: map[int]int{}, dead: map[int]bool{},
		since: map[int]time.Time{}, next: map[int]time.Time{}, told: map[int]string{},
	}
}

// pause is how long to wait before the next look.
func (h *hunt) pause() time.Duration {
	switch {
	case len(h.armed) == 0:
		return h.follow.Pause(huntPause)
	case len(h.armed) < h.want && time.Since(h.first) < settleTime, time.Since(h.lost) < settleTime:
		return h.follow.Pause(settlePace)
	}
	return h.follow.Pause(idlePause)
}

// look looks once. An error ends the trace.
func (h *hunt) look(ctx context.Context) error {
	server, err := h.follow.Look()
	if err != nil {
		// Its end is the handle's to tell.
		return nil
	}
	h.last = server
	h.forget()
	candidates := server.Candidates()
	h.want = max(h.want, len(server.Engines()))
	for _, p := range candidates {
		if ctx.Err() != nil {
			return nil
		}
		if _, ok := h.armed[p.PID]; ok || h.dead[p.PID] || time.Now().Before(h.next[p.PID]) {
			continue
		}
		if err := h.try(p); err != nil {
			return err
		}
		if _, ok := h.armed[p.PID]; ok {
			h.expect(ctx, p)
		}
	}
	if h.t.rec != nil {
		if err := h.t.hooks.look(server); err != nil {
			return err
		}
		return h.processes()
	}
	return h.giveUp(candidates)
}

// forget drops what is known of processes whose numbers others have by now: a supervisor may
// start its engine again and again.
func (h *hunt) forget() {
	for _, p := range h.last.Processes {
		began, known := h.starts[p.PID]
		if !known {
			h.starts[p.PID] = p.Start
			continue
		}
		if began != p.Start {
			h.starts[p.PID] = p.Start
			for _, m := range []map[int]int{h.armed, h.threads} {
				delete(m, p.PID)
			}
			delete(h.dead, p.PID)
			delete(h.since, p.PID)
			delete(h.next, p.PID)
			delete(h.told, p.PID)
		}
	}
}

// expect has the loop look again as soon as an engine has ended: another one may come up in
// its place.
func (h *hunt) expect(ctx context.Context, p target.Process) {
	handle, err := h.t.app.world.proc.Open(p)
	if err != nil {
		return // gone already
	}
	h.watch.Go(func() {
		defer handle.Close()
		if handle.Wait(ctx) != nil {
			return
		}
		select {
		case h.ended <- struct{}{}:
		default:
		}
	})
}

// try looks for an engine in one process and arms it.
func (h *hunt) try(p target.Process) error {
	handle, err := h.t.app.world.proc.Open(p)
	if err != nil {
		h.t.log.Debug("no engine", "pid", p.PID, "error", err)
		return nil // gone: the next look says what there is
	}
	defer handle.Close()
	began := time.Now()
	e, err := h.t.app.world.find(p.PID, h.t.opts.force)
	took := time.Since(began)
	h.next[p.PID] = time.Now().Add(min(huntCost*took, huntMost))
	var not *notReady
	switch {
	case handle.Ended(): // what was found may be another one's by now
		return nil
	case err == nil:
		return h.arm(p, e)
	case !errors.As(err, &not):
		not = &notReady{stateUnsupported, err.Error()}
	}
	h.t.log.Debug("no engine yet", "pid", p.PID, "why", not.why, "took", took)
	h.state = not.state
	if not.state == stateUnsupported || not.state == stateNotPython && h.unreadableFor(p.PID) > patience {
		h.dead[p.PID] = true
		h.refuse(p, not.why)
	}
	return nil
}

func (h *hunt) unreadableFor(pid int) time.Duration {
	if h.since[pid].IsZero() {
		h.since[pid] = time.Now()
	}
	return time.Since(h.since[pid])
}

func (h *hunt) refuse(p target.Process, why string) {
	h.t.log.Error("engine cannot be traced", "pid", p.PID, "why", why)
	h.refuseWith(impossible(fmt.Sprintf("cannot trace process %d (%s)", p.PID, printable(p.Title)), printable(why), "see pmtrace check --pid "+fmt.Sprint(p.PID)))
}

func (h *hunt) refuseWith(f *failure) {
	h.refused = f
	if len(h.armed) > 0 || h.t.mode == modeRecord { // tracing does not end with it
		h.t.status.done()
		fmt.Fprintln(h.t.app.stderr, "pmtrace:", h.refused.Error())
	}
}

// giveUp ends an attach that cannot become a trace.
func (h *hunt) giveUp(candidates []target.Process) error {
	for _, p := range candidates {
		if !h.dead[p.PID] {
			return h.wait()
		}
	}
	if len(candidates) > 0 && h.refused != nil && h.t.mode == modeAttach {
		return h.refused
	}
	return nil
}

// wait says once what is waited for.
func (h *hunt) wait() error {
	if h.t.mode == modeAttach && h.state == stateNotVLLM && !h.t.opts.force && !hasVLLM(h.last) {
		return notVLLMFailure(h.t.root.PID)
	}
	if !h.waiting && h.t.mode == modeAttach {
		h.waiting = true
		fmt.Fprintln(h.t.app.stderr, "pmtrace: waiting for the server's engine to come up")
	}
	return nil
}

// hasVLLM says whether anything in a tree says that it is vLLM's.
func hasVLLM(s target.Server) bool {
	for _, p := range s.Processes {
		if p.Titled || p.Role == target.RoleAPIServer {
			return true
		}
	}
	return false
}

func (h *hunt) waitedFor() string {
	switch h.state {
	case stateNoEngine:
		return "vLLM was there, but no engine came up"
	case stateLoading:
		return "the engine was still loading"
	}
	return "no vLLM engine came up"
}

// arm attaches to an engine that was found. With the first one the session
// begins: an engine that cannot be watched leaves nothing behind. Its events
// wait in the ring until then.
func (h *hunt) arm(p target.Process, e engine) error {
	var facts []record.Fact
	var err error
	if first := h.t.rec == nil; first {
		began := h.t.clock()
		if facts, err = h.attach(e); err == nil {
			if err := h.t.begin(began); err != nil {
				return err
			}
			h.t.rec.attach(func() ([]record.Fact, error) { return facts, nil })
			if err := h.t.workers.begun(); err != nil {
				return err
			}
			h.t.drain()
		}
	} else {
		h.t.rec.attach(func() ([]record.Fact, error) {
			facts, err = h.attach(e)
			return facts, err
		})
	}
	if err != nil {
		h.dead[p.PID] = true
		if f := hookFailure(err); f != nil {
			h.refuseWith(f)
			return nil
		}
		h.refuse(p, oneLine(err))
		return nil
	}
	if err := h.t.rec.broken(); err != nil {
		return err
	}
	if h.first.IsZero() {
		h.first = time.Now()
		if h.t.opts.begun != nil {
			h.t.opts.begun(h.t.dir.Path())
		}
	}
	fact := facts[0].Engine
	h.armed[p.PID], h.threads[p.PID] = fact.Engine, fact.Thread
	h.onCPU = fact.Device == "cpu"
	h.want = max(h.want, fact.DP)
	return nil
}

// attach arms the watches; the facts begin with the engine's.
func (h *hunt) attach(e engine) ([]record.Fact, error) {
	began := time.Now()
	fact, missing, err := h.t.tracer.Attach(e)
	if err != nil {
		return nil, err
	}
	missing = append(missing, h.routed(e, &fact)...)
	facts := []record.Fact{{Engine: &fact}}
	if u := workUnknown(&fact); u != nil {
		facts = append(facts, record.Fact{Unavailable: u})
	}
	for i := range missing {
		facts = append(facts, record.Fact{Unavailable: &missing[i]})
	}
	hooks := h.t.tracer.HooksOf(fact.PID)
	facts = append(facts, hookFacts(hooks)...)
	defer h.t.hooks.say(hooks)
	h.say(fact, missing, time.Since(began))
	return facts, nil
}

// routed looks for an engine's routed experts in the processes that run its model, where the
// engine's own has none of them, and for the layers that they are of.
func (h *hunt) routed(e engine, fact *record.Engine) []record.Unavailable {
	why := ""
	if h.t.opts.moe != moeOff && fact.RoutedExperts == "" {
		why = h.t.tracer.RoutedMissing(e)
	}
	for _, p := range h.last.Processes {
		if p.Role != target.RoleWorker || p.PPID != fact.PID {
			continue
		}
		if why != "" && fact.RoutedExperts == "" {
			source, layers, err := h.t.tracer.AttachRouted(e, fact.Engine, p.PID, h.t.opts.force)
			h.t.log.Debug("routed experts", "pid", p.PID, "source", source, "error", err)
			if err == nil {
				fact.RoutedExperts, fact.MoELayers = source, layers
			}
		}
		if fact.RoutedExperts != "" && len(fact.MoELayers) == 0 { // without a GPU nothing else is read there
			fact.MoELayers = h.t.app.world.moeLayers(p.PID, h.t.opts.force)
		}
	}
	if why == "" || fact.RoutedExperts != "" {
		return nil
	}
	return []record.Unavailable{{Profiler: session.ProfilerMoE, Engine: &fact.Engine, Reason: why}}
}

// workUnknown says why it is not known what a step of the model must do.
func workUnknown(f *record.Engine) *record.Unavailable {
	_, _, err := model.Serve(f.ModelConfig, model.Serving{
		TensorParallel: f.TP, PipelineParallel: f.PP, DataParallel: f.DP, KVCache: f.KVCacheType,
	})
	if err == nil {
		return nil
	}
	return &record.Unavailable{
		Profiler: session.ProfilerForwardPass, Reason: err.Error(),
		Columns: []string{"steps.model_bytes", "steps.model_flops", "steps.mbu", "steps.mfu"},
	}
}

// say tells what is traced now, and what could not be had.
func (h *hunt) say(f record.Engine, missing []record.Unavailable, took time.Duration) {
	h.t.log.Info("armed", "pid", f.PID, "engine", f.Engine, "watches", f.Watches, "missing", f.Missing, "took", took)
	h.t.status.done()
	fmt.Fprintf(h.t.app.stderr, "pmtrace: tracing engine %d (process %d, vLLM %s, Python %s, %s)\n",
		f.Engine, f.PID, orDash(printable(f.VLLM)), orDash(printable(f.Python)), orDash(printable(f.Model)))
	for i := range missing {
		if missing[i].Profiler == session.Hooks || slices.Contains(h.t.opts.on, missing[i].Profiler) { // else switched off: nobody misses it
			h.t.app.notAvailable(&missing[i])
		}
	}
}

// processes writes facts about the tree's processes that are new or have said
// more of themselves since.
func (h *hunt) processes() error {
	for _, p := range h.last.Processes {
		said := string(p.Role) + " " + p.Title
		if p.Rank != nil { // among the workers that are titled by now
			said += " " + strconv.Itoa(*p.Rank)
		}
		if h.told[p.PID] == said {
			continue
		}
		h.told[p.PID] = said
		if err := h.t.rec.fact(record.Fact{Process: h.process(p)}); err != nil {
			return err
		}
	}
	return nil
}

func (h *hunt) process(p target.Process) *record.Process {
	v := h.t.app.world.proc.Versions(p.PID)
	r := &record.Process{
		PID: p.PID, Role: string(p.Role), Engine: p.Engine, Rank: p.Rank, Title: p.Title,
		Command: joinCommand(p.Command), Python: v.Python, VLLM: v.VLLM, Torch: v.Torch, CUDA: v.CUDA,
		StartNS: p.StartNS, TracedNS: h.t.app.world.monotonic(),
	}
	if index, ok := h.armed[p.PID]; ok {
		r.Engine = &index
		r.Role = string(target.RoleEngine) // also where untitled, or in process
	}
	if index, ok := h.armed[p.PPID]; ok && p.Role == target.RoleWorker {
		r.Engine = &index
	}
	return r
}

// rest writes at the end what was not written yet.
func (h *hunt) rest() {
	if err := h.processes(); err != nil {
		h.t.log.Error("processes", "error", err)
	}
}
