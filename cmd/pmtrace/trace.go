package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
	"github.com/pmtrace/pmtrace/probes/check"
	"github.com/pmtrace/pmtrace/probes/target"
)

// How often things are done while tracing.
const (
	tick        = time.Second      // status line
	lossesEvery = 5 * time.Second  // loss counters into the journal
	clockEvery  = 10 * time.Minute // wall time into the journal
	clockStep   = time.Second      // also when it was set by more
)

// trace is one server being traced into one session.
type trace struct {
	app    *app
	opts   *traceOptions
	mode   string // attach, record
	root   target.Process
	handle *target.Handle
	log    *slog.Logger
	keep   *sessionLog
	status *status

	tracer  tracer
	dir     sessionDir     // nil until an engine was found
	logFile io.WriteCloser // in it
	rec     *recorder
	hunt    *hunt
	workers *workers
	gpu     *gpuWatch
	cupti   *cuptiWatch
	hooks   *hookWatch
	monitor *monitor
	ended   chan error    // of tracer.Run
	ahead   time.Duration // of the wall clock to the monotonic one, as written last
	stop    context.CancelFunc
}

// result is how a trace went.
type result struct {
	path string // of the session; "" where there is none
	lost uint64
	// endedNS is when the server did, or the trace: CLOCK_MONOTONIC.
	endedNS int64
	err     error // a *failure
}

// frugal keeps the runtime from taking of the server's machine what it would
// take of its own: memory for twice the live heap, and a quarter of all cores for
// a moment of collection. The live heap is about 15 MB; to collect it often costs
// too little to be measured.
func frugal() {
	debug.SetGCPercent(12)
	runtime.GOMAXPROCS(min(2, runtime.GOMAXPROCS(0)))
}

// trace follows a server from now to its end, or until ctx ends.
func (a *app) trace(ctx context.Context, o *traceOptions, mode string, s target.Server, st *status) (r result) {
	frugal()
	t := &trace{app: a, opts: o, mode: mode, status: st}
	t.log, t.keep = newLog(a.stderr, o.verbose)
	root := s.Process(s.Root)
	if root == nil {
		return result{err: targetFailure(s.Root, target.ErrGone)}
	}
	t.root = *root
	var err error
	if t.handle, err = a.world.proc.Open(t.root); err != nil {
		return result{err: targetFailure(s.Root, err)}
	}
	defer t.handle.Close()
	t.tracer, err = a.world.tracer(tracerOptions{
		ringBytes: int(o.ringSize), profilers: o.tracing(), calls: o.cudaCalls, windowed: !o.cpuWindows.always(), allCPUs: o.breakpoints == breakpointsCPUs, log: t.log, routed: o.moe != moeOff,
		hooks: o.hooks, needHooks: mode == modeAttach,
	})
	if err != nil {
		return result{err: impossible("cannot load the BPF programs", oneLine(err), "pmtrace check says what is missing")}
	}
	t.hunt = newHunt(t)
	t.workers = newWorkers(t)
	t.gpu = newGPUWatch(t)
	t.cupti = newCUPTIWatch(t)
	t.hooks = newHookWatch(t)
	t.cupti.open()
	defer t.cupti.close()
	if t.monitor, err = newMonitor(t); err != nil {
		return result{err: err}
	}
	defer t.monitor.close()
	return t.run(ctx)
}

// run is the loop of one trace.
func (t *trace) run(ctx context.Context) result {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		if t.handle.Wait(ctx) == nil {
			cancel(errServerExited)
		}
	}()
	err := t.loop(ctx)
	ended := t.app.world.monotonic()
	cancel(nil)
	<-exited
	t.hunt.watch.Wait()
	r := t.finish(err)
	r.endedNS = ended
	return r
}

var (
	errServerExited = errors.New("the server has exited")
	errDuration     = errors.New("the time is over")
)

// loop returns why it ended.
func (t *trace) loop(ctx context.Context) error {
	seconds := time.NewTicker(tick)
	defer seconds.Stop()
	look := time.NewTimer(0)
	defer look.Stop()
	calls := time.NewTimer(workerPause)
	defer calls.Stop()
	over := t.over()
	var last due
	last.losses, last.clock = t.app.world.monotonic(), t.app.world.monotonic()
	watched := newCallWindows(t)
	defer watched.close()
	cuts, stop := t.cuts()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over:
			return errDuration
		case err := <-t.ended:
			t.ended = nil
			return errors.Join(errTracer, err)
		case <-look.C:
			if err := t.hunt.look(ctx); err != nil {
				return err
			}
			look.Reset(t.hunt.pause())
		case <-t.hunt.ended:
			t.hunt.lost = time.Now()
			look.Reset(0)
		case <-calls.C:
			t.cupti.wait()
			if err := t.workers.look(); err != nil {
				return err
			}
			t.gpu.look()
			calls.Reset(t.workers.pause())
		case <-watched.due():
			if err := watched.turn(); err != nil {
				return err
			}
		case <-cuts:
			if err := t.cut(); err != nil {
				return err
			}
		case <-seconds.C:
			if err := t.second(&last); err != nil {
				return err
			}
		}
	}
}

var errTracer = errors.New("reading events failed")

func (t *trace) over() <-chan time.Time {
	if t.opts.duration == 0 {
		return nil
	}
	return time.After(time.Duration(t.opts.duration))
}

// cuts tick when the tables' parts are to be completed.
func (t *trace) cuts() (<-chan time.Time, func()) {
	if t.opts.rotate == 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(time.Duration(t.opts.rotate))
	return ticker.C, ticker.Stop
}

// cut completes them: by a fact, so that decoding the journal makes the same parts.
func (t *trace) cut() error {
	if t.rec == nil {
		return nil
	}
	return t.rec.fact(record.Fact{Cut: &record.Cut{MonoNS: t.app.world.monotonic()}})
}

// due is when things were done that are not done each second: CLOCK_MONOTONIC, ns.
type due struct{ losses, clock int64 }

// isDue says whether a time has passed, and begins another one.
func isDue(last *int64, at int64, every time.Duration) bool {
	if at-*last < every.Nanoseconds() {
		return false
	}
	*last = at
	return true
}

// stepped says whether the wall clock was set since it was written last.
func (t *trace) stepped(c record.Clock) bool {
	ahead := time.Duration(c.WallNS - c.MonoNS)
	return (ahead - t.ahead).Abs() > clockStep
}

// second is what is done each second.
func (t *trace) second(last *due) error {
	if t.rec == nil {
		return nil
	}
	if err := t.rec.kept(t.dir.Kept); err != nil {
		return err
	}
	c := t.clock()
	losses := isDue(&last.losses, c.MonoNS, lossesEvery)
	if losses {
		if err := t.writeLosses(); err != nil {
			return err
		}
	}
	if err := t.hooks.count(losses); err != nil {
		return err
	}
	if isDue(&last.clock, c.MonoNS, clockEvery) || t.stepped(c) {
		if err := t.rec.fact(record.Fact{Clock: &c}); err != nil {
			return err
		}
		t.ahead = time.Duration(c.WallNS - c.MonoNS)
	}
	l, _ := t.rec.live()
	t.monitor.second(l)
	t.status.show(time.Unix(0, c.MonoNS), l, t.monitor.dropped())
	return t.rec.broken()
}

func (t *trace) writeLosses() error {
	counts, err := t.tracer.Losses()
	if err != nil {
		t.log.Error("loss counters", "error", err)
	}
	return t.countLosses(slices.Concat(counts, t.gpu.lost(), t.cupti.lost()))
}

func (t *trace) countLosses(counts []record.Loss) error {
	return t.rec.fact(record.Fact{Losses: &record.Losses{MonoNS: t.app.world.monotonic(), Counts: counts}})
}

const (
	clockSure  = 20 * time.Microsecond // looks that take no longer are as good as any
	clockLooks = 20
)

// clock reads both clocks as of one moment. This thread may lose its CPU between two looks,
// for tens of ms on a busy machine: of several readings it takes the one that took the least.
func (t *trace) clock() record.Clock {
	w := t.app.world
	var best record.Clock
	least := int64(math.MaxInt64)
	for i := 0; i < clockLooks && least > int64(clockSure); i++ {
		before := w.monotonic()
		wall := w.now().UnixNano()
		if took := w.monotonic() - before; took < least {
			least, best = took, record.Clock{MonoNS: before + took/2, WallNS: wall}
		}
	}
	return best
}

// begin makes the session: when the first engine was found, so that a server
// that cannot be traced leaves nothing behind.
func (t *trace) begin(c record.Clock) error {
	w := t.app.world
	dir, err := w.create(t.opts.place, w.now(), t.app.env)
	if err != nil {
		return sessionFailure(err)
	}
	t.dir = dir
	if t.logFile, err = dir.Log(); err != nil {
		return sessionFailure(err)
	}
	t.keep.to(t.logFile)
	rec := &recorder{clock: t.clock}
	start := t.start(c)
	if rec.journal, err = dir.Journal(func() { rec.rotated = true }); err != nil {
		return sessionFailure(err)
	}
	if rec.pipe, err = dir.Tables(start, false, t.monitor.listeners(), t.log); err != nil {
		rec.journal.Close()
		return sessionFailure(err)
	}
	t.rec = rec
	t.ahead = time.Duration(c.WallNS - c.MonoNS)
	for _, f := range []record.Fact{{Start: &start}, {Clock: &c}} {
		if err := rec.fact(f); err != nil {
			return err
		}
	}
	fmt.Fprintln(t.app.stderr, "pmtrace: writing to", dir.Path())
	return nil
}

// drain hands events from the ring to the recorder, until stop.
func (t *trace) drain() {
	ctx, cancel := context.WithCancel(context.Background())
	t.stop, t.ended = cancel, make(chan error, 1)
	t.cupti.begin()
	go func(ended chan<- error, rec *recorder) { ended <- t.tracer.Run(ctx, rec.event, rec.idle) }(t.ended, t.rec)
}

func (t *trace) start(c record.Clock) record.Start {
	var u unix.Utsname
	_ = unix.Uname(&u)
	host, _ := os.Hostname()
	return record.Start{
		SchemaVersion: session.SchemaVersion, SessionID: t.dir.ID(), Version: version().Version,
		Mode: t.mode, Injected: t.opts.injected.dir != "", Command: t.root.Command, Host: host,
		Kernel: unix.ByteSliceToString(u.Release[:]), Arch: unix.ByteSliceToString(u.Machine[:]),
		MonoNS: c.MonoNS, WallNS: c.WallNS, Profilers: t.opts.tracing(), OutputDir: t.dir.Path(), NoCSV: t.opts.noCSV,
	}
}

// finish ends the trace in order, whatever ended it.
func (t *trace) finish(why error) result {
	t.status.done()
	defer t.closeDir()
	if t.rec == nil {
		t.closeTracer()
		return result{err: t.nothing(why)}
	}
	if t.stop != nil {
		t.stop()
	}
	if t.ended != nil {
		if err := <-t.ended; err != nil && !errors.Is(err, context.Canceled) {
			why = errors.Join(why, err)
		}
	}
	t.gpu.stop()
	t.hunt.rest()
	t.workers.rest()
	r := result{path: t.dir.Path()}
	if err := t.hooks.count(true); err != nil {
		t.log.Error("last counts of hooks", "error", err)
	}
	if err := t.writeLosses(); err != nil {
		t.log.Error("last losses", "error", err)
	}
	t.closeTracer() // now: what follows takes time, and watches cost the server
	t.cupti.rest()
	t.gpu.rest()
	if lost := slices.Concat(t.gpu.lost(), t.cupti.lost()); len(lost) > 0 {
		if err := t.countLosses(lost); err != nil {
			t.log.Error("last losses", "error", err)
		}
	}
	l, _ := t.rec.live()
	r.lost = l.lost
	end := t.end(why)
	if err := t.rec.fact(record.Fact{End: &end}); err != nil {
		t.log.Error("end", "error", err)
	}
	t.rec.close()
	l, _ = t.rec.live()
	t.monitor.second(l)
	r.err = t.close(why)
	t.monitor.rest()
	return r
}

func (t *trace) closeTracer() {
	costs, err := t.tracer.Cost()
	if err != nil {
		t.log.Debug("cost of the BPF programs", "error", err)
	}
	for _, c := range costs {
		if c.time > 0 {
			t.log.Info("BPF program", "name", c.name, "runs", c.runs, "mean", c.time/time.Duration(c.runs))
		}
	}
	if err := t.tracer.Close(); err != nil {
		t.log.Error("watches taken off", "error", err)
	}
}

// closeDir lets go of the session's directory, where there is one.
func (t *trace) closeDir() {
	if t.dir == nil {
		return
	}
	if t.logFile != nil {
		t.keep.to(nil)
		t.logFile.Close()
	}
	t.dir.Close()
}

// end is the last fact.
func (t *trace) end(why error) record.End {
	var use unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &use)
	c := t.clock()
	_, events := t.rec.live()
	return record.End{
		MonoNS: c.MonoNS, WallNS: c.WallNS, Reason: reason(why), Events: events,
		CPUSeconds: time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds(),
		MaxRSS:     use.Maxrss << 10,
	}
}

func reason(why error) string {
	switch {
	case errors.Is(why, syscall.ENOSPC), errors.Is(why, syscall.EDQUOT):
		return "disk_full"
	case errors.Is(why, errServerExited):
		return "server_exited"
	case errors.Is(why, errDuration):
		return "duration"
	case errors.Is(why, errInterrupted), errors.Is(why, context.Canceled):
		return "interrupted"
	}
	return "failed"
}

// close makes the files for people and says what was traced.
func (t *trace) close(why error) error {
	t.log.Info("ended", "reason", reason(why))
	again := "what was traced until then is kept: pmtrace decode " + t.dir.Path()
	if removed := new(session.RemovedError); errors.As(why, &removed) {
		t.log.Error("journal", "error", removed)
		return failed("tracing ended early, what was traced is lost", removed, "keep what cleans up there away from it, or choose another --output-dir")
	}
	if err := t.rec.journalErr; err != nil {
		t.log.Error("journal", "error", err)
		return failed("tracing ended early, the journal cannot be written", rootCause(err), again)
	}
	if err := t.rec.pipeErr; err != nil {
		t.log.Error("tables", "error", err)
		return failed("the tables could not be written", rootCause(err), "the journal is complete: pmtrace decode "+t.dir.Path())
	}
	summary, err := t.dir.Finish(!t.opts.noCSV)
	if err != nil {
		t.log.Error("files", "error", err)
		return failed("the summary could not be written", rootCause(err), "the journal is complete: pmtrace decode "+t.dir.Path())
	}
	fmt.Fprint(t.app.stderr, printableLines(summary))
	if reason(why) == "failed" {
		return failed("tracing ended early", rootCause(why), again)
	}
	return nil
}

// nothing says why there is no session.
func (t *trace) nothing(why error) error {
	var f *failure
	switch {
	case errors.As(why, &f):
		return f
	case t.hunt.refused != nil:
		return t.hunt.refused
	}
	f = &failure{
		code: exitFailed, what: "nothing was traced",
		why: t.hunt.waitedFor() + " until " + reasonWords(why),
	}
	if !check.ReadsAll(t.app.world.machine) {
		f.remedy = "without CAP_DAC_READ_SEARCH an interpreter that only its owner may read cannot be traced: pmtrace check"
	}
	return f
}

func reasonWords(why error) string {
	switch reason(why) {
	case "server_exited":
		return "the server exited"
	case "duration":
		return "the time was over"
	}
	return "the interrupt"
}

func sessionFailure(err error) error {
	var d *session.DirError
	if errors.As(err, &d) {
		return &failure{code: exitFailed, what: d.Error()}
	}
	return failed("cannot begin the session", rootCause(err), "")
}

// rootCause is the innermost error that still says something: chains of five
// prefixes help nobody. The log has the whole.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			if list := many.Unwrap(); len(list) > 0 {
				inner = list[len(list)-1]
			}
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}

func oneLine(err error) string { return printable(rootCause(err).Error()) }
