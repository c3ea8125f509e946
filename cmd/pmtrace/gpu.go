package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/session"
)

// gpuWatch samples the devices that the workers run on, once there are any: what
// the driver says of them, and their hardware counters where asked for.
type gpuWatch struct {
	t       *trace
	begun   bool
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newGPUWatch(t *trace) *gpuWatch { return &gpuWatch{t: t} }

func (g *gpuWatch) wanted() bool {
	return slices.Contains(g.t.opts.on, session.ProfilerGPU) || g.t.opts.gpuSampling != samplingOff
}

// look begins as soon as a worker is probed.
func (g *gpuWatch) look() {
	if g.begun || !g.wanted() || g.t.rec == nil || len(g.t.workers.probed) == 0 {
		return
	}
	g.begun = true
	if g.t.hunt.onCPU { // torch maps CUDA's libraries there as well
		g.fact(record.Fact{Unavailable: &record.Unavailable{Profiler: session.ProfilerGPU, Reason: "the server runs on the CPU"}})
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	var pids []int
	for pid := range g.t.workers.probed {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	g.running.Go(func() { g.run(ctx, pids) }) // the driver takes its time to answer
}

func (g *gpuWatch) run(ctx context.Context, pids []int) {
	monitor, err := g.t.app.world.gpus()
	if err != nil {
		g.missing(session.ProfilerGPU, err)
		return
	}
	defer monitor.Close()
	devices, note, err := monitor.Use(pids)
	if err != nil {
		g.missing(session.ProfilerGPU, err)
		return
	}
	if note != "" {
		g.t.log.Warn("GPUs", "note", note)
	}
	for i := range devices {
		g.fact(record.Fact{GPU: &devices[i]})
	}
	if g.t.opts.gpuSampling != samplingOff {
		for _, d := range devices {
			o := samplerOptions{
				pid: pids[0], device: d, peakDRAM: monitor.PeakDRAM(d.Index), mode: g.t.opts.gpuSampling, log: g.t.log,
			}
			g.running.Go(func() { g.counters(ctx, o) })
		}
	}
	if !slices.Contains(g.t.opts.on, session.ProfilerGPU) {
		return
	}
	every := time.NewTicker(time.Duration(g.t.opts.gpuInterval))
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			for _, s := range monitor.Sample() {
				g.fact(record.Fact{GPUSample: &s})
			}
		}
	}
}

// counters samples one device's hardware counters.
func (g *gpuWatch) counters(ctx context.Context, o samplerOptions) {
	s, err := g.t.app.world.sampler(o)
	if err == nil {
		err = s.Run(ctx, g.t.rec.fact, func(b []byte) error { return g.t.rec.event(journal.KindCounters, b) })
	}
	if err != nil && ctx.Err() == nil {
		g.missing(session.GPUSampling, err)
	}
}

func (g *gpuWatch) fact(f record.Fact) {
	if err := g.t.rec.fact(f); err != nil {
		g.t.log.Error("GPU", "error", err) // the loop hears of it from the journal
	}
}

// missing says why there are no samples.
func (g *gpuWatch) missing(profiler string, err error) {
	g.t.log.Error("GPU", "profiler", profiler, "error", err)
	u := record.Unavailable{Profiler: profiler, Reason: oneLine(err)}
	if remedy, ok := err.(interface{ Remedy() string }); ok {
		u.Remedy = remedy.Remedy()
	}
	g.fact(record.Fact{Unavailable: &u})
	g.t.status.done()
	line := "pmtrace: not available: " + profiler + ": " + printable(u.Reason)
	if u.Remedy != "" {
		line += "; " + printable(u.Remedy)
	}
	fmt.Fprintln(g.t.app.stderr, line)
}

func (g *gpuWatch) stop() {
	if g.cancel != nil {
		g.cancel()
	}
	g.running.Wait()
}
