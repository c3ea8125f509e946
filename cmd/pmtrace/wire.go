package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/findings"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/session"
	"github.com/pmtrace/pmtrace/probes"
	"github.com/pmtrace/pmtrace/probes/hook"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

// wire gives a world the real packages.
func wire(w *world) {
	w.find = findEngine
	w.findWorker = findWorker
	w.moeLayers = moeLayers
	w.gpus = openGPUs
	w.sampler = startSampler
	w.rings = openRings
	w.tracer = newTracer
	w.shed = shedCapabilities
	w.create = func(place string, now time.Time, env environment) (sessionDir, error) {
		d, err := session.Create(place, now, session.Invoker(env.get))
		if err != nil {
			return nil, err
		}
		return &realSession{dir: d}, nil
	}
	w.open = func(path string) (sessionDir, error) {
		d, err := session.Open(path)
		if err != nil {
			return nil, err
		}
		return &realSession{dir: d}, nil
	}
}

func findEngine(pid int, force bool) (engine, error) {
	e, err := vllm.Find(pid, vllm.Options{Force: force})
	if err == nil {
		return e, nil
	}
	var not *vllm.NotEngineError
	if !errors.As(err, &not) {
		return nil, err
	}
	state := map[vllm.State]huntState{
		vllm.NotPython: stateNotPython, vllm.NotVLLM: stateNotVLLM,
		vllm.NoEngine: stateNoEngine, vllm.Loading: stateLoading,
		vllm.Unsupported: stateUnsupported,
	}[not.State]
	return nil, &notReady{state: state, why: not.Found}
}

func findWorker(pid int, force bool) (worker, error) {
	return vllm.FindWorker(pid, vllm.Options{Force: force})
}

// moeLayers are the layers with experts of the model that a worker's process runs.
func moeLayers(pid int, force bool) []int32 {
	w, err := vllm.FindWorker(pid, vllm.Options{Force: force})
	if err != nil {
		return nil
	}
	return w.MoELayers()
}

// realTracer is probes.Tracer behind our interface.
type realTracer struct{ *probes.Tracer }

func newTracer(o tracerOptions) (tracer, error) {
	t, err := probes.New(probes.Options{
		RingBytes: o.ringBytes, Watches: watchesFor(o.profilers), Calls: callsFor(o.profilers, o.calls, o.windowed), AllCPUs: o.allCPUs, Log: o.log,
		Hooks: o.hooks.specs, ForceHooks: o.hooks.force, NeedHooks: o.needHooks, Routed: o.routed,
	})
	if err != nil {
		return nil, err
	}
	return realTracer{t}, nil
}

// watchesFor are the watches that the profilers' columns come from; steps are
// always traced. nil: all.
func watchesFor(profilers []string) []probes.Watch {
	on := map[probes.Watch]bool{probes.WatchScheduleReturn: true}
	for _, p := range profilers {
		switch p {
		case session.ProfilerKVCache:
			on[probes.WatchFreeBlocks] = true
		case session.ProfilerForwardPass:
			on[probes.WatchUpdateEntry] = true
		case session.ProfilerCPU:
			on[probes.WatchUpdateEntry], on[probes.WatchUpdateReturn] = true, true
		case session.ProfilerBatch, session.ProfilerPreemption:
			on[probes.WatchUpdateReturn] = true
		case session.ProfilerMoE:
			on[probes.WatchUpdateEntry] = true
		}
	}
	var out []probes.Watch
	for _, w := range []probes.Watch{probes.WatchScheduleReturn, probes.WatchFreeBlocks, probes.WatchUpdateReturn, probes.WatchUpdateEntry} {
		if on[w] {
			out = append(out, w)
		}
	}
	return out
}

// callsFor are the calls that the profilers' columns come from, and those that are
// recorded one by one.
func callsFor(profilers, each []string, windowed bool) probes.Calls {
	sets := map[probes.Set]bool{}
	for _, p := range profilers {
		switch p {
		case session.ProfilerCUDAGraph:
			sets[probes.SetGraphs], sets[probes.SetCollectives] = true, true
		case session.ProfilerForwardPass:
			sets[probes.SetGraphs], sets[probes.SetTiming] = true, true
		case session.ProfilerCPU, session.ProfilerEncoderDecoder:
			sets[probes.SetTiming], sets[probes.SetPhases], sets[probes.SetLaunches] = true, true, true
		}
	}
	c := probes.Calls{Sets: []probes.Set{}}
	for _, set := range []probes.Set{
		probes.SetGraphs, probes.SetTiming, probes.SetPhases, probes.SetLaunches, probes.SetCollectives,
	} {
		if sets[set] {
			c.Sets = append(c.Sets, set)
		}
	}
	if windowed && sets[probes.SetLaunches] {
		c.Windowed = []probes.Set{probes.SetPhases, probes.SetLaunches}
	}
	of := map[string]probes.Set{
		callLaunches: probes.SetLaunches, callCopies: probes.SetPhases,
		callEvents: probes.SetEvents, callMemory: probes.SetMemory,
	}
	for _, name := range each {
		c.Record = append(c.Record, probes.RowsOf(of[name])...)
	}
	return c
}

func (t realTracer) Attach(e engine) (record.Engine, []record.Unavailable, error) {
	v, ok := e.(*vllm.Engine)
	if !ok {
		return record.Engine{}, nil, errors.New("not an engine")
	}
	index, missing, err := t.Tracer.Attach(v)
	if err != nil {
		return record.Engine{}, nil, err
	}
	fact := v.Armed()
	fact.Engine = index
	fact.MonoNS = monotonic()
	fact.Watches = nil
	for _, w := range t.Watches(index) {
		fact.Watches = append(fact.Watches, string(w))
	}
	fact.RoutedExperts = t.RoutedExperts(index)
	return fact, missing, nil
}

func (t realTracer) AttachRouted(e engine, index, pid int, force bool) (string, []int32, error) {
	v, ok := e.(*vllm.Engine)
	if !ok || !v.Routed.Apart {
		return "", nil, vllm.ErrNoRouted
	}
	w, err := vllm.FindWorker(pid, vllm.Options{Force: force})
	if err != nil {
		return "", nil, err
	}
	r, err := w.Routed()
	if err != nil {
		return "", nil, err
	}
	if err := t.Tracer.AttachRouted(index, r); err != nil {
		return "", nil, err
	}
	return probes.SourceWorker, r.MoELayers, nil
}

// RoutedMissing says why an engine's routed experts are read nowhere, though the server has
// them; "": it has none, or they are.
func (t realTracer) RoutedMissing(e engine) string {
	if v, ok := e.(*vllm.Engine); ok && v.Routed.Apart {
		return v.Routed.Missing
	}
	return ""
}

func (t realTracer) AttachWorker(found worker, s workerSpec) (record.Worker, []record.Unavailable, error) {
	v, ok := found.(*vllm.Worker)
	if !ok {
		return record.Worker{}, nil, errors.New("not a worker")
	}
	fact, missing, err := t.Tracer.AttachWorker(v, probes.WorkerSpec{
		Engine: s.engine, EngineThread: s.engineThread, Rank: s.rank, OtherProcess: s.otherProcess, FromStart: s.fromStart, Begin: s.begin,
	})
	var none *probes.NoCUDAError
	if errors.As(err, &none) {
		err = errNoCUDA
	}
	return fact, missing, err
}

func (t realTracer) AttachHooks(pid int, kind hook.Process, engine *int, force bool) ([]record.Hook, []record.Unavailable) {
	p := probes.HookProcess{PID: pid, Process: kind, Engine: engine}
	if main, err := hook.OpenMain(pid, force); err != nil {
		p.Unreadable = err // its C functions can be watched all the same
	} else {
		p.Thread, p.State, p.Python = main.TID, main.State, main.Python
	}
	return t.Tracer.AttachHooks(p)
}

func (t realTracer) Cost() ([]programCost, error) {
	list, err := t.Tracer.Cost()
	var out []programCost
	for _, c := range list {
		out = append(out, programCost{string(c.Watch), c.Runs, c.Time})
	}
	return out, err
}

func (t realTracer) Run(ctx context.Context, sink func(kind byte, payload []byte) error, idle func() error) error {
	event := func(b []byte) error { return sink(journal.KindEvent, b) }
	return t.Tracer.Run(ctx, event, idle)
}

// realSession is a session directory with the packages that fill it.
type realSession struct {
	dir     *session.Dir
	journal *journal.Writer // nil: none is written
	facts   session.Facts
	swap    bool // tables were made again beside the old ones
}

func (s *realSession) ID() string   { return s.dir.Name() }
func (s *realSession) Path() string { return s.dir.Path() }

func (s *realSession) Log() (io.WriteCloser, error) { return s.dir.Create("pmtrace.log") }

func (s *realSession) Journal(rotated func()) (journalWriter, error) {
	sub, err := s.dir.Sub("journal")
	if err != nil {
		return nil, err
	}
	s.journal, err = journal.Create(sub, journal.Options{Rotated: func(*journal.Writer) error { rotated(); return nil }})
	return s.journal, err
}

func (s *realSession) Kept() error {
	if s.journal == nil {
		return nil
	}
	return s.dir.Kept("journal/" + s.journal.Name())
}

func (s *realSession) Replay(sink func(kind byte, payload []byte) error) (damage []string, err error) {
	sub, err := s.dir.OpenSub("journal")
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	r, err := journal.Open(sub.FS())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	err = r.Each(func(rec journal.Record) error { return sink(rec.Kind, rec.Payload) })
	damage = damages(r)
	if err == nil {
		s.facts.Damage = damage
	}
	return damage, err
}

func damages(r *journal.Reader) []string {
	list, more := r.Damage()
	var out []string
	for _, d := range list {
		out = append(out, d.Error())
	}
	if more > 0 {
		out = append(out, "and more places")
	}
	return out
}

// again is where decode makes tables before they take the old ones' place.
const again = ".again"

func (s *realSession) Tables(start record.Start, replace bool, also []listener, log *slog.Logger) (pipeline, error) {
	s.facts = session.Facts{}
	s.facts.Add(record.Fact{Start: &start})
	into := s.dir
	if s.swap = replace; replace {
		if err := s.dir.RemoveAll(again); err != nil {
			return nil, err
		}
		sub, err := s.dir.Sub(again)
		if err != nil {
			return nil, err
		}
		defer sub.Close()
		into = sub
	}
	tables, err := session.CreateTables(into, s.facts.About())
	if err != nil {
		return nil, err
	}
	if replace { // nobody's server waits for a core
		if err := tables.Concurrently(runtime.GOMAXPROCS(0)); err != nil {
			return nil, err
		}
	}
	return newPipeline(tables, &s.facts, also, log), nil
}

// Finish puts tables that were made again in place and writes the other files.
func (s *realSession) Finish(csv bool) (string, error) {
	if s.swap {
		if err := s.replaceTables(); err != nil {
			return "", err
		}
	}
	search := findings.NewSearch(&s.facts)
	sum, err := session.WriteFiles(s.dir, &s.facts, csv, search.Visitor())
	if err != nil {
		return "", err
	}
	return summaryText(sum, search.Findings())
}

// summaryText is what a person reads of a session.
func summaryText(sum *session.Summary, list []findings.Finding) (string, error) {
	var text strings.Builder
	err := sum.WriteText(&text)
	if err == nil {
		err = findings.WriteText(&text, list)
	}
	return text.String(), err
}

func (s *realSession) replaceTables() error {
	if err := session.RemoveTables(s.dir); err != nil {
		return err
	}
	if err := s.dir.Rename(again+"/parquet", "parquet"); err != nil {
		return err
	}
	return s.dir.RemoveAll(again)
}

func (s *realSession) Close() error { return s.dir.Close() }
