package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pmtrace/pmtrace/cupti/gpu"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/session"
)

// gpuWatch samples the devices that the workers run on, once there are any: what
// the driver says of them, and their hardware counters where asked for.
type gpuWatch struct {
	t       *trace
	told    []int      // the workers that the sampling knows of
	said    bool       // that there is nothing to sample
	workers chan []int // the newest, for the sampling's goroutine
	cancel  context.CancelFunc
	running sync.WaitGroup

	unmatched time.Duration // unmatchedPause, unless a test says so
	patience  time.Duration // gpuPatience, unless a test says so

	mu     sync.Mutex
	alive  map[string]bool // what is running, by the name that its losses have
	losses []record.Loss
	left   []record.Loss // what did not end
}

func newGPUWatch(t *trace) *gpuWatch {
	return &gpuWatch{
		t: t, workers: make(chan []int, 1), alive: map[string]bool{},
		unmatched: unmatchedPause, patience: gpuPatience,
	}
}

func (g *gpuWatch) wanted() bool {
	return slices.Contains(g.t.opts.on, session.ProfilerGPU) || g.t.opts.gpuSampling != samplingOff
}

// look begins as soon as a worker is probed, and follows those that come later: the
// ranks of a server come up one after the other.
func (g *gpuWatch) look() {
	if !g.wanted() || g.t.rec == nil {
		return
	}
	if g.t.hunt.onCPU {
		if !g.said {
			g.said = true
			g.nothing(errOnCPU)
		}
		return
	}
	if len(g.t.workers.probed) == len(g.told) {
		return
	}
	g.told = slices.Sorted(maps.Keys(g.t.workers.probed))
	select {
	case <-g.workers: // the sampling has not looked yet
	default:
	}
	g.workers <- g.told
	if g.cancel == nil {
		ctx, cancel := context.WithCancel(context.Background())
		g.cancel = cancel
		g.begin(session.TableGPUSamples, func() { g.run(ctx) }) // the driver takes its time to answer
	}
}

func (g *gpuWatch) begin(name string, run func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.alive[name] = true
	g.running.Go(func() {
		run()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.alive, name)
	})
}

// nothing says why there is nothing to sample. What nobody asked for is not told aloud.
func (g *gpuWatch) nothing(why error) {
	if slices.Contains(g.t.opts.on, session.ProfilerGPU) {
		g.fact(record.Fact{Unavailable: unavailable(session.ProfilerGPU, why)})
	}
	if g.t.opts.gpuSampling != samplingOff {
		g.missing(session.GPUSampling, why)
	}
}

// unmatchedPause is how long to wait before the driver is asked again for the
// devices of the workers: a process is on none before it has a CUDA context.
const unmatchedPause = 5 * time.Second

// gpuPatience is how long the trace's end waits for the driver and for the sampler's
// helper, which is killed after 10 s; one that the driver holds ends not even then.
const gpuPatience = 12 * time.Second

func (g *gpuWatch) run(ctx context.Context) {
	monitor, err := g.t.app.world.gpus()
	if err != nil {
		g.none(err)
		return
	}
	defer monitor.Close()
	d := &devices{g: g, monitor: monitor, known: map[int]record.GPU{}, without: map[string]bool{}, counted: map[int]bool{}}
	every := time.NewTicker(time.Duration(g.t.opts.gpuInterval))
	defer every.Stop()
	again := time.NewTicker(g.unmatched)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			d.refuse()
			return
		case d.pids = <-g.workers:
			err = d.use(ctx)
		case <-again.C:
			if !d.matched {
				if err = d.use(ctx); err == nil {
					d.refuse()
				}
			}
		case <-every.C:
			if slices.Contains(g.t.opts.on, session.ProfilerGPU) {
				d.sample()
			}
		}
		if err != nil {
			g.none(err)
			return
		}
	}
}

// none says why nothing is known of any device.
func (g *gpuWatch) none(err error) {
	if slices.Contains(g.t.opts.on, session.ProfilerGPU) {
		g.missing(session.ProfilerGPU, err)
	}
	if g.t.opts.gpuSampling != samplingOff {
		g.missing(session.GPUSampling, err)
	}
}

// devices are those that the workers run on. They belong to the sampling's goroutine.
type devices struct {
	g       *gpuWatch
	monitor gpuMonitor
	pids    []int
	known   map[int]record.GPU // by index, as told last
	without map[string]bool    // what they do not have, as told
	counted map[int]bool       // their hardware counters are sampled
	refused bool               // it was told that no one's are
	matched bool               // the driver names every worker on a device
	note    string
}

// use asks the driver for the workers' devices.
func (d *devices) use(ctx context.Context) error {
	list, note, err := d.monitor.Use(d.pids)
	if err != nil {
		return err
	}
	if note != "" && note != d.note {
		d.g.t.log.Warn("GPUs", "note", note)
	}
	d.note = note
	on := map[int]bool{}
	for i := range list {
		gpu := list[i]
		for _, pid := range gpu.PIDs {
			on[pid] = true
		}
		if known, ok := d.known[gpu.Index]; !ok || !slices.Equal(known.PIDs, gpu.PIDs) {
			d.known[gpu.Index] = gpu
			d.g.fact(record.Fact{GPU: &gpu})
			d.lacks(gpu)
		}
	}
	d.matched = len(on) == len(d.pids)
	if d.g.t.opts.gpuSampling == samplingOff {
		return nil
	}
	for _, gpu := range list {
		// Of a device that may be another's the counters are not ours to take.
		if !d.counted[gpu.Index] && (len(gpu.PIDs) > 0 || len(list) == 1) {
			d.counted[gpu.Index] = true
			d.count(ctx, gpu)
		}
	}
	return nil
}

// lacks says, once for all devices of a kind, which columns a device has no values for.
func (d *devices) lacks(gpu record.GPU) {
	if gpu.GPM || !slices.Contains(d.g.t.opts.on, session.ProfilerGPU) {
		return
	}
	why := gpu.Name + " has no GPM: GPUs since Hopper have it, with driver 520 or newer"
	if gpu.MIG {
		why = gpu.Name + " is in MIG mode: GPM counts an instance at a time, and is left out"
	}
	if d.without[why] {
		return
	}
	d.without[why] = true
	d.g.fact(record.Fact{Unavailable: &record.Unavailable{Profiler: session.ProfilerGPU, Columns: gpmColumns(), Reason: why}})
}

// gpmColumns are those that GPM alone fills.
func gpmColumns() []string {
	var out []string
	for _, c := range []string{"sm_pct", "occupancy_pct", "tensor_pct", "dram_pct",
		"pcie_rx_bytes_per_s", "pcie_tx_bytes_per_s", "nvlink_rx_bytes_per_s", "nvlink_tx_bytes_per_s"} {
		out = append(out, session.TableGPUSamples+"."+c)
	}
	return out
}

// count begins to sample a device's hardware counters.
func (d *devices) count(ctx context.Context, gpu record.GPU) {
	o := samplerOptions{
		pid: d.pids[0], device: gpu, peakDRAM: d.monitor.PeakDRAM(gpu.Index), mode: d.g.t.opts.gpuSampling, log: d.g.t.log,
	}
	if len(gpu.PIDs) > 0 {
		o.pid = gpu.PIDs[0]
	}
	d.g.begin(fmt.Sprintf("%s/%d", session.TableGPUCounters, gpu.Index), func() { d.g.counters(ctx, o) })
}

// sample takes what the driver says of the devices.
func (d *devices) sample() {
	for _, s := range d.monitor.Sample() {
		d.g.fact(record.Fact{GPUSample: &s})
	}
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	d.g.losses = d.monitor.Losses()
}

// refuse says, once, that no device's counters are sampled since none is known to be
// the workers': the session begins when an engine runs, which is on its devices then.
func (d *devices) refuse() {
	if d.refused || d.g.t.opts.gpuSampling == samplingOff || len(d.counted) > 0 || d.pids == nil {
		return
	}
	d.refused = true
	d.g.missing(session.GPUSampling, &gpu.NotAvailable{
		What: "hardware counters", Why: "the driver names none of the traced processes on one of its devices",
		How: "run pmtrace in the host's PID namespace",
	})
}

// lost are the samples that the driver did not give, so far.
func (g *gpuWatch) lost() []record.Loss {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Concat(g.losses, g.left)
}

// counters samples one device's hardware counters.
func (g *gpuWatch) counters(ctx context.Context, o samplerOptions) {
	s, err := g.t.app.world.sampler(ctx, o)
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

func unavailable(profiler string, err error) *record.Unavailable {
	u := &record.Unavailable{Profiler: profiler, Reason: oneLine(err)}
	if remedy, ok := err.(interface{ Remedy() string }); ok {
		u.Remedy = remedy.Remedy()
	}
	return u
}

// missing says why there are no samples, aloud.
func (g *gpuWatch) missing(profiler string, err error) {
	g.t.log.Error("GPU", "profiler", profiler, "error", err)
	u := unavailable(profiler, err)
	g.fact(record.Fact{Unavailable: u})
	g.t.status.done()
	g.t.app.notAvailable(u)
}

// notAvailable says it, in one line.
func (a *app) notAvailable(u *record.Unavailable) {
	line := "pmtrace: not available: " + u.Profiler
	if len(u.Columns) > 0 {
		line += fmt.Sprintf(" (%d columns)", len(u.Columns))
	}
	line += ": " + printable(u.Reason)
	if u.Remedy != "" {
		line += "; " + printable(u.Remedy)
	}
	fmt.Fprintln(a.stderr, line)
}

// stop asks all to end.
func (g *gpuWatch) stop() {
	if g.wanted() && g.told == nil && !g.said && g.t.rec != nil {
		g.nothing(errors.New("no process of the server was found that computes on a GPU, or none of the profilers that look for one is on (" +
			session.ProfilerCUDAGraph + ", " + session.ProfilerForwardPass + ", " + session.ProfilerCPU + ")"))
	}
	if g.cancel != nil {
		g.cancel()
	}
}

// rest waits for the end of all, and says what did not come to it.
func (g *gpuWatch) rest() {
	ended := make(chan struct{})
	go func() {
		g.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-time.After(g.patience):
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(g.alive)) {
		g.left = append(g.left, record.Loss{Engine: -1, Probe: name, Reason: "not_ended", Count: 1, Lost: true})
		fmt.Fprintf(g.t.app.stderr, "pmtrace: %s: the driver does not answer: not ended within %v, and what was not handed on is lost\n", name, g.patience)
	}
}
