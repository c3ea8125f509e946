package main

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/pmtrace/pmtrace/cupti/inject"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/session"
)

// cuptiOptions are record's own: whether CUDA loads our library into the server.
type cuptiOptions struct {
	cupti     string // on, replays, off
	kernels   windows
	moeSample int
}

const maxMoESample = 1 << 20

const (
	cuptiOn      = "on"
	cuptiReplays = "replays"
	cuptiOff     = "off"
)

func (o *cuptiOptions) flags(f *pflag.FlagSet) {
	o.kernels = windows{time.Second, time.Minute}
	f.StringVar(&o.cupti, "cupti", cuptiOn, "have CUDA load pmtrace's library into the server, for exact GPU times: on; replays: of graphs alone, and of copies in windows (--kernels); off")
	f.Var(&o.kernels, "kernels", "tell GPU kernels one by one, for a time of each period: 1s/60s, off, always; slows the server meanwhile")
	f.IntVar(&o.moeSample, "moe-sample", 64, "with --moe on: of one routing in so many tell the weights as well; 0: of none")
}

func (o *cuptiOptions) resolve(moe string) error {
	if o.cupti != cuptiOn && o.cupti != cuptiReplays && o.cupti != cuptiOff {
		return usage("--cupti: %q is not one of on, replays, off", o.cupti)
	}
	switch {
	case moe == moeOn && o.cupti == cuptiOff:
		return usage("--moe on needs --cupti on")
	case o.moeSample < 0 || o.moeSample > maxMoESample:
		return usage("--moe-sample: want 0 to %d", maxMoESample)
	}
	return nil
}

// injected is what the half that traces knows of the library in the server.
type injected struct {
	dir     string // of the rings; "": it is in none
	session uint64
	missing string // why it is in none, though asked for
}

// injectedFlags say it to the privileged half.
func (i *injected) flags(f *pflag.FlagSet) {
	f.StringVar(&i.dir, "cupti-dir", "", "")
	f.Uint64Var(&i.session, "cupti-session", 0, "")
	f.StringVar(&i.missing, "cupti-missing", "", "")
}

func (i *injected) arguments() []string {
	var args []string
	if i.dir != "" {
		args = append(args, "--cupti-dir="+i.dir, "--cupti-session="+strconv.FormatUint(i.session, 10))
	}
	if i.missing != "" {
		args = append(args, "--cupti-missing="+i.missing)
	}
	return args
}

// inject puts the library in its place and its variables into the command's
// environment. Without it the command runs all the same. remove takes it away.
func (a *app) inject(o *recordOptions, s *spawn) (remove func()) {
	if o.cuptiOptions.cupti == cuptiOff {
		return func() {}
	}
	without := func(why string) func() {
		o.injected.missing, o.cpuWindows = why, always()
		a.notAvailable(&record.Unavailable{Profiler: session.CUPTI, Reason: why})
		return func() {}
	}
	if other := a.env.get(inject.VariableInjection); other != "" {
		return without(inject.VariableInjection + " is set to " + other + " by another tool")
	}
	if torchProfiler(a.env.get, s.argv) {
		return without("the server is started with torch.profiler, and CUPTI serves one tool at a time")
	}
	uid, gid := s.user()
	i, err := inject.New(inject.Options{
		Candidates: inject.Candidates(a.env.get), UID: uid, GID: gid, Kernels: inject.Kernels(o.kernels),
		CopiesInWindows: o.cuptiOptions.cupti == cuptiReplays, RingBytes: ringBytes(o.moe), MoE: o.moe == moeOn, MoEWeights: o.moeSample,
	})
	if err != nil {
		return without(oneLine(err))
	}
	o.injected.dir, o.injected.session = i.Dir, i.Session
	s.variables = i.Environment()
	return func() { _ = i.Remove() } // what is left is a library of ours in a directory of the user's
}

// torchProfiler reports whether a server is started so that torch.profiler can be used in
// it: whoever does that wants that one.
func torchProfiler(get func(string) string, argv []string) bool {
	return get("VLLM_TORCH_PROFILER_DIR") != "" || slices.ContainsFunc(argv, func(arg string) bool {
		return strings.HasPrefix(strings.ReplaceAll(arg, "_", "-"), "--profiler-config")
	})
}

// ringBytes: a long prompt tells some MB of choices at once.
func ringBytes(moe string) int {
	if moe == moeOn {
		return 64 << 20
	}
	return 0
}

// Pauses between readings of the rings, and how long the library has to come to its end.
const (
	ringPause = 100 * time.Millisecond
	ringEnd   = 3 * time.Second
)

// rings are those of the processes with our library.
type rings interface {
	// Look gives what is new of the processes.
	Look() []record.Fact
	// Drain hands on what they tell; stop: and asks them for no more.
	Drain(stop bool, sink func([]byte) error) error
	// Alive tells them that we live.
	Alive()
	// Busy reports whether one may still have something to tell.
	Busy() bool
	Losses() []record.Loss
	Close() error
}

// tracing is the profilers that are on, with those that have a flag of their own.
func (o *traceOptions) tracing() []string {
	if o.moe != moeOn {
		return o.on
	}
	return append(slices.Clone(o.on), session.ProfilerMoE)
}

// cuptiWatch reads what the library tells.
type cuptiWatch struct {
	t       *trace
	running sync.WaitGroup
	end     chan struct{} // closed to end it

	failed atomic.Bool // in a process

	mu    sync.Mutex
	rings rings // nil: none
	seen  bool  // a process
	told  map[string]bool
}

func newCUPTIWatch(t *trace) *cuptiWatch {
	return &cuptiWatch{t: t, told: map[string]bool{}}
}

// open opens the directory before the server can have loaded anything.
func (c *cuptiWatch) open() {
	i := &c.t.opts.injected
	if i.dir == "" {
		return
	}
	r, err := c.t.app.world.rings(i.dir, i.session)
	if err != nil {
		i.missing = oneLine(err)
		c.t.log.Error("CUPTI", "error", err)
		return
	}
	c.rings = r
}

// wait is for the time before there is a session: what they tell waits in the rings.
func (c *cuptiWatch) wait() {
	if c.rings != nil && c.end == nil {
		c.rings.Alive()
	}
}

// begin reads from now on. What they have told by now comes before the first step, which
// else would not wait for them.
func (c *cuptiWatch) begin() {
	if why := c.t.opts.injected.missing; why != "" {
		c.fact(record.Fact{Unavailable: &record.Unavailable{Profiler: session.CUPTI, Reason: why}})
	}
	if c.rings == nil {
		return
	}
	c.end = make(chan struct{})
	if c.read(false) == nil { // else the loop hears of it from the journal
		c.running.Go(c.run)
	}
}

func (c *cuptiWatch) run() {
	every := time.NewTicker(ringPause)
	defer every.Stop()
	for {
		select {
		case <-c.end:
			return
		case <-every.C:
			if c.read(false) != nil {
				return // the loop hears of it from the journal
			}
		}
	}
}

// read takes what there is. A process's end comes behind what it told.
func (c *cuptiWatch) read(stop bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	err := c.rings.Drain(stop, func(b []byte) error { return c.t.rec.event(journal.KindEvent, b) })
	c.look()
	return err
}

func (c *cuptiWatch) look() {
	for _, f := range c.rings.Look() {
		c.seen = true
		c.fact(f)
		c.judge(f.Injected)
	}
}

// judge says what a process has to do without.
func (c *cuptiWatch) judge(i *record.Injected) {
	c.t.log.Info("CUPTI", "pid", i.PID, "state", i.State, "version", i.CUPTI, "library", i.Library, "why", i.Why, "note", i.Note, "error", i.Error)
	if i.State == record.InjectedFailed {
		c.failed.Store(true)
		why := i.Why
		if i.Error != 0 {
			why += ": CUPTI's error " + strconv.Itoa(i.Error)
		}
		c.missing(session.CUPTI, why, remedyOf(i))
	}
	if i.NoWindows {
		c.missing(session.ProfilerKernels, i.Note, "")
	} else if i.Note != "" {
		c.missing(session.CUPTI, i.Note, "")
	}
	if i.MoENote != "" {
		c.missing(session.ProfilerMoE, i.MoENote, "")
	}
}

// remedyOf is what helps, where something does.
func remedyOf(i *record.Injected) string {
	switch {
	case i.Library == "" && strings.HasPrefix(i.Why, "no libcupti"):
		return "install nvidia-cuda-cupti (CUDA 12: nvidia-cuda-cupti-cu12) into the server's environment"
	case i.Error == 39:
		return "end the other tool that uses CUPTI (torch.profiler, nsys)"
	}
	return ""
}

// missing says once what is not to be had: of many processes the reason is the same.
func (c *cuptiWatch) missing(profiler, why, remedy string) {
	if c.told[profiler+why] {
		return
	}
	c.told[profiler+why] = true
	u := &record.Unavailable{Profiler: profiler, Reason: printable(why), Remedy: remedy}
	c.fact(record.Fact{Unavailable: u})
	c.t.status.done()
	c.t.app.notAvailable(u)
}

func (c *cuptiWatch) fact(f record.Fact) {
	if err := c.t.rec.fact(f); err != nil {
		c.t.log.Error("CUPTI", "error", err) // the loop hears of it from the journal
	}
}

// rest asks the processes for what they still have, and takes it.
func (c *cuptiWatch) rest() {
	if c.end == nil {
		return
	}
	close(c.end)
	c.running.Wait()
	for until := time.Now().Add(ringEnd); ; time.Sleep(ringPause / 4) {
		if c.read(true) != nil || !c.rings.Busy() || time.Now().After(until) {
			break
		}
	}
	if !c.seen {
		why := "CUDA has loaded pmtrace's library into no process of the server"
		if c.t.hunt.onCPU {
			why = errOnCPU.Error()
		}
		c.fact(record.Fact{Unavailable: &record.Unavailable{Profiler: session.CUPTI, Reason: why}})
	}
}

// lost counts what did not come.
func (c *cuptiWatch) lost() []record.Loss {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rings == nil {
		return nil
	}
	return c.rings.Losses()
}

// close lets go of the rings; who made the directory removes it.
func (c *cuptiWatch) close() {
	if c.rings == nil {
		return
	}
	if err := c.rings.Close(); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.log.Warn("CUPTI", "error", err)
	}
}
