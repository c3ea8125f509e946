//go:build cgo

package sampler

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/record"
)

const (
	clockEvery = 200 * time.Millisecond // the GPU's timer drifts by some µs/s
	flushEvery = 100 * time.Millisecond
	niceness   = -10 // of the thread that empties the record buffer
	maxBreaks  = 20  // in a row, with no sample between
)

// built says that there is a helper in this program.
const built = true

// Main is the helper process: it reads what to do from in and writes frames to
// out until ctx ends or in does, which is how the end of the tracer reaches it.
// The error is in the frames as well.
func Main(ctx context.Context, in io.Reader, out io.Writer) error {
	if err := shedCapabilities(); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("no request: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		cancel()
	}()
	h := &helper{out: writer{to: out}}
	if err := json.Unmarshal(line, &h.request); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if err := h.run(ctx); err != nil {
		return errors.Join(err, h.out.json(frameError, explain(err)))
	}
	return h.out.json(frameEnd, h.stats())
}

// helper holds one session. The thread that began empties the record buffer and
// tells the evaluator, which makes samples of what it found and hands them on: a
// slow reader of ours must not stop us from emptying the buffer.
type helper struct {
	request  request
	out      writer
	counters *counters
	found    chan finding
	eval     evaluator
	windows  uint64
	breaks   int // since the last sample
	clocked  time.Time
	gpuNS    uint64    // the GPU's timer then
	drained  time.Time // in this stretch of sampling
	gap      time.Duration
}

// finding is what the evaluator is told. One of its fields is set.
type finding struct {
	samples  *int    // in the ring up to there
	stretch  bool    // sampling begins
	brokeOff bool    // sampling begins again after it broke off
	endedAt  *uint64 // sampling that broke off was to end then, ns of the GPU's timer
	flush    bool
	log      string
	clock    *record.GPUClock
	// read is closed when all that was told before has been read.
	read chan struct{}
}

// maxFindings are on their way at most: 20 s of them.
const maxFindings = 1024

func (h *helper) run(ctx context.Context) error {
	raisePriority() // before the rights for it are given up
	if err := h.open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.found = make(chan finding, maxFindings)
	evaluated := make(chan error, 1)
	go func() {
		evaluated <- h.eval.run(h.found, cancel)
	}()
	err := h.clock()
	for err == nil && ctx.Err() == nil {
		err = h.window(ctx)
	}
	close(h.found)
	return errors.Join(<-evaluated, err, h.counters.end())
}

// raisePriority of this thread, where we may. Other work on the machine would
// keep us from the CPU until the record buffer is full.
func raisePriority() {
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), niceness)
}

// open takes the device's counters.
func (h *helper) open() error {
	if err := become(h.request.UID, h.request.GID); err != nil {
		return &Error{Broken, err.Error()}
	}
	lib, err := openLibrary(h.request.Library)
	if err != nil {
		return err
	}
	if h.request.Trace {
		lib.trace = func(call string, status int, took time.Duration) {
			_ = h.out.write(frameLog, fmt.Appendf(nil, "%s: %s, %v", call, statusName(status), took))
		}
	}
	if err := lib.initialize(); err != nil {
		return err
	}
	d, err := lib.findDevice(h.request.UUID, h.request.At)
	if err != nil {
		return err
	}
	if err := d.supported(); err != nil {
		return err
	}
	c, err := d.configure(h.request.Plan.Metrics)
	if err != nil {
		return err
	}
	for _, left := range c.left {
		if err := h.out.json(frameLeftOut, left); err != nil {
			return err
		}
	}
	if h.counters, err = d.begin(c, h.request.Plan.Interval); err != nil {
		return err
	}
	h.eval = evaluator{out: &h.out, counters: h.counters, gpu: uint8(h.request.Index), failed: make(chan struct{})}
	h.eval.track.intervalNS = uint64(h.request.Plan.Interval)
	h.eval.pending.values = make([][]float32, len(c.metrics))
	return h.announce(c)
}

func (h *helper) announce(c *config) error {
	s := record.Sampler{
		Index: h.request.Index, UUID: h.request.UUID, MonoNS: monotonic(),
		Mode: h.request.Plan.Mode, IntervalNS: int64(h.request.Plan.Interval), PeakDRAM: h.request.Peak,
	}
	for _, m := range c.metrics {
		s.Metrics = append(s.Metrics, m.name)
	}
	if err := h.out.json(frameFact, record.Fact{Sampler: &s}); err != nil {
		return errors.Join(err, h.counters.end())
	}
	return nil
}

// window samples once: all the time, or for as long as a window is.
func (h *helper) window(ctx context.Context) error {
	h.windows++
	h.found <- finding{stretch: true}
	if err := h.counters.start(); err != nil {
		return err
	}
	h.drained = time.Now()
	sampling := ctx
	if h.request.Plan.On > 0 {
		var cancel context.CancelFunc
		sampling, cancel = context.WithTimeout(ctx, h.request.Plan.On)
		defer cancel()
	}
	every := pollEvery(h.request.Plan.Interval)
	for sampling.Err() == nil {
		rest(sampling, every-time.Since(h.drained))
		if err := h.drain(sampling, true); err != nil {
			return err
		}
	}
	if err := h.counters.stop(); err != nil {
		return err
	}
	if err := h.clock(); err != nil { // until when there are samples to be had
		return err
	}
	if err := h.drain(ctx, false); err != nil {
		return err
	}
	h.found <- finding{flush: true}
	return h.between(ctx)
}

// between is the time without sampling; the timers are read all the same.
func (h *helper) between(ctx context.Context) error {
	end := time.Now().Add(h.request.Plan.Off)
	for ctx.Err() == nil && time.Now().Before(end) {
		rest(ctx, min(clockEvery, time.Until(end)))
		if err := h.clockIfDue(); err != nil {
			return err
		}
	}
	return nil
}

// pollEvery is how often what the GPU wrote is taken: small against what it has
// room for.
func pollEvery(interval time.Duration) time.Duration {
	return min(max(1000*interval, 5*time.Millisecond), 40*time.Millisecond)
}

func rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// drain takes what there is. on: sampling is to go on where it broke off.
func (h *helper) drain(ctx context.Context, on bool) error {
	before := h.drained
	h.drained = time.Now()
	gap := h.drained.Sub(before)
	h.gap = max(h.gap, gap)
	for most := 0; ; {
		d, err := h.counters.decode()
		if err != nil {
			return err
		}
		most = max(most, d.unread)
		if d.samples > 0 {
			h.found <- finding{samples: &d.upTo}
		}
		if d.samples > 1 { // the first of a stretch is none
			h.breaks = 0
		}
		if err := h.clockIfDue(); err != nil {
			return err
		}
		if d.broken() {
			return h.broke(d, most, gap, on)
		}
		if d.done() || on && ctx.Err() != nil {
			return nil
		}
		if d.noRoom && !h.caughtUp() {
			return nil
		}
	}
}

// caughtUp gives the evaluator time. False: it has failed.
func (h *helper) caughtUp() bool {
	select {
	case <-h.eval.failed:
		return false
	case <-time.After(time.Millisecond):
		return true
	}
}

// broke makes ready to sample again after sampling broke off, and says why it did. on: it goes
// on at once.
func (h *helper) broke(d drained, unread int, gap time.Duration, on bool) error {
	if h.breaks++; h.breaks > maxBreaks {
		return &Error{Broken, fmt.Sprintf("sampling every %v broke off %d times in a row", h.request.Plan.Interval, h.breaks)}
	}
	c, found := h.counters, h.drained
	if err := c.reset(); err != nil {
		return err
	}
	read := make(chan struct{})
	h.found <- finding{read: read}
	<-read
	if err := c.emptyImage(); err != nil {
		return err
	}
	then := "it was to end then"
	if on {
		h.found <- finding{brokeOff: true}
		if err := c.start(); err != nil {
			return err
		}
		h.drained = time.Now()
		then = fmt.Sprintf("it goes on %v later", h.drained.Sub(found))
	} else {
		at := h.gpuNS
		h.found <- finding{endedAt: &at}
	}
	h.found <- finding{log: fmt.Sprintf("sampling broke off: %s; found %d unread of %d bytes, %d left, %v after the look before; %s",
		d.cause(), unread, c.records, d.left, gap, then)}
	return nil
}

func (h *helper) clockIfDue() error {
	if time.Since(h.clocked) < clockEvery {
		return nil
	}
	return h.clock()
}

func (h *helper) clock() error {
	h.clocked = time.Now()
	before, gpu, after, err := h.counters.clock()
	if err != nil {
		return err
	}
	h.gpuNS = gpu
	h.found <- finding{clock: &record.GPUClock{
		Index: h.request.Index, GPUNS: int64(gpu), BeforeNS: before, AfterNS: after,
	}}
	return nil
}

// stats are those of a session that has ended.
func (h *helper) stats() Stats {
	c, t := h.counters, h.eval.track
	return Stats{
		Samples: h.eval.samples, Lost: t.lost, Merged: c.merged, Stale: t.stale, Breaks: c.breaks, Windows: h.windows,
		RecordBytes: c.records, SampleBytes: c.sample, MostUnread: c.unread,
		LongestGap: h.gap, Decoding: c.decoding, Evaluating: c.evaluating,
	}
}

func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}
