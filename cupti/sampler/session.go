package sampler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

const (
	// startWithin is how long the helper may take until it samples: the library
	// takes 0.3 s, a slow disk some more.
	startWithin = 30 * time.Second
	// stopWithin is how long it may take to give the counters back.
	stopWithin = 10 * time.Second
	// waitDelay is how long its output may stay open after its end.
	waitDelay = time.Second
)

// Options of Start.
type Options struct {
	// Command starts a program that calls Main: our own with a hidden subcommand.
	Command []string
	// PID is of a traced process: the library is found by it.
	PID int
	// Library is one that the user names instead; empty: Find.
	Library string
	Device  record.GPU
	// PeakDRAM is the device's memory bandwidth, bytes/s; 0: not known.
	PeakDRAM float64
	Mode     string // Mode20us, …
	Log      *slog.Logger
	// Trace logs each call of the library, at level debug.
	Trace bool

	driver  string        // driverGPUs, unless a test says so
	metrics []string      // the mode's, unless a test says so
	within  time.Duration // startWithin, unless a test says so
}

// Session is a helper that samples.
type Session struct {
	// Sampler describes it.
	Sampler record.Sampler
	// LeftOut are the metrics of the mode that it does not sample.
	LeftOut []LeftOut

	metrics []string // that it was asked for
	log     *slog.Logger
	helper  *exec.Cmd
	in      io.Closer
	frames  *reader
	stderr  *words
	stopped sync.Once
	stats   Stats
}

// Start begins to sample a device. Where ctx ends meanwhile the helper is asked to
// end, as by Run. An error is an *Error.
func Start(ctx context.Context, o Options) (*Session, error) {
	if !built {
		return nil, &Error{NotBuilt, "built without cgo"}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p, err := planOf(o.Mode)
	if err != nil {
		return nil, &Error{Broken, err.Error()}
	}
	if o.metrics != nil {
		p.Metrics = o.metrics
	}
	if o.Device.MIG {
		return nil, &Error{MIG, fmt.Sprintf("GPU %d", o.Device.Index)}
	}
	if ctx.Err() != nil {
		return nil, &Error{Broken, "interrupted"}
	}
	lib, err := o.library()
	if err != nil {
		return nil, err
	}
	defer lib.File.Close()
	o.Log.Debug("GPU counters", "library", lib.Path, "trusted", lib.Trusted)
	s, err := o.spawn(lib, p)
	if err != nil {
		return nil, &Error{Broken, "the helper process: " + err.Error()}
	}
	if err := s.opened(ctx, cmp.Or(o.within, startWithin)); err != nil {
		return nil, explain(err)
	}
	return s, nil
}

func (o Options) library() (*Library, error) {
	if o.Library != "" {
		return OpenLibrary(o.Library)
	}
	return Find(o.PID)
}

// spawn starts the helper and tells it what to do. It has its own process group:
// the terminal's interrupt is for us, who end it in order.
func (o Options) spawn(lib *Library, p plan) (*Session, error) {
	cmd := exec.Command(o.Command[0], o.Command[1:]...)
	cmd.ExtraFiles = []*os.File{lib.File}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = waitDelay
	cmd.Env = os.Environ()
	if !lib.Trusted && os.Geteuid() != 0 {
		cmd.Env = append(cmd.Env, shedVariable+"=1")
	}
	s := &Session{
		Sampler: record.Sampler{Index: o.Device.Index, UUID: o.Device.UUID, Mode: p.Mode, IntervalNS: int64(p.Interval), PeakDRAM: o.PeakDRAM},
		metrics: p.Metrics, log: o.Log, helper: cmd, stderr: &words{},
	}
	cmd.Stderr = s.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.in, s.frames = in, newReader(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := json.Marshal(request{
		Library: "/proc/self/fd/3", Index: o.Device.Index, UUID: o.Device.UUID, At: busIDOf(cmp.Or(o.driver, driverGPUs), o.Device.UUID),
		Peak: o.PeakDRAM, Plan: p, Trace: o.Trace, UID: lib.UID, GID: lib.GID,
	})
	if err == nil {
		_, err = in.Write(append(line, '\n'))
	}
	if err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return s, nil
}

// opened waits until the helper samples.
func (s *Session) opened(ctx context.Context, within time.Duration) error {
	over := context.AfterFunc(ctx, s.stop)
	defer over()
	late := time.AfterFunc(within, func() { _ = s.helper.Process.Kill() })
	defer late.Stop()
	for {
		kind, payload, err := s.frames.next()
		if err != nil {
			killed := !late.Stop()
			err = s.died(err)
			if killed {
				err = &Error{NoAnswer, fmt.Sprintf("the helper process did not sample within %v%s", within, s.stderr.text())}
			}
			return err
		}
		switch kind {
		case frameFact:
			err = s.announced(payload)
			if err == nil {
				return nil
			}
		case frameLeftOut:
			err = s.leftOut(payload)
		default:
			err = s.other(kind, payload)
		}
		if err != nil {
			return errors.Join(err, s.kill())
		}
	}
}

// The helper may be run by a library that can be anybody's: it is asked for what it alone
// knows, and believed no more than that.

// announced takes when sampling began, and which of the metrics are sampled.
func (s *Session) announced(payload []byte) error {
	var f record.Fact
	if err := json.Unmarshal(payload, &f); err != nil || f.Sampler == nil {
		return notIts("fact", payload)
	}
	got := f.Sampler.Metrics
	for i, m := range got {
		if !slices.Contains(s.metrics, m) || slices.Contains(got[:i], m) {
			return notIts("metric", []byte(m))
		}
	}
	s.Sampler.MonoNS, s.Sampler.Metrics = f.Sampler.MonoNS, got
	return nil
}

func (s *Session) leftOut(payload []byte) error {
	var l LeftOut
	if err := json.Unmarshal(payload, &l); err != nil || !slices.Contains(s.metrics, l.Metric) || len(s.LeftOut) == len(s.metrics) {
		return notIts("left out metric", payload)
	}
	l.Why = l.Why[:min(len(l.Why), maxWords)]
	s.LeftOut = append(s.LeftOut, l)
	return nil
}

// reading takes a reading of the device's clock, and no other fact.
func (s *Session) reading(payload []byte) (record.Fact, error) {
	var f record.Fact
	if err := json.Unmarshal(payload, &f); err != nil || f.GPUClock == nil || f.GPUClock.Index != s.Sampler.Index {
		return record.Fact{}, notIts("fact", payload)
	}
	if f != (record.Fact{GPUClock: f.GPUClock}) {
		return record.Fact{}, notIts("fact", payload)
	}
	return f, nil
}

// samples are the device's own, of the metrics that were announced.
func (s *Session) samples(payload []byte) error {
	c, err := wire.ReadCounters(payload)
	if err != nil || c.GPU != uint8(s.Sampler.Index) || c.Metrics != len(s.Sampler.Metrics) {
		return notIts("samples", payload)
	}
	return nil
}

// notIts is what the helper has no business to say.
func notIts(what string, payload []byte) error {
	return &Error{Broken, fmt.Sprintf("the helper's %s: not to be expected: %.100q", what, payload)}
}

// Run hands on what the helper found until ctx ends: facts (the Sampler, readings
// of the clocks) and batches of samples (wire.Counters, valid during the call).
// Then it ends the session; a Session runs once. An error of the helper or the
// library is an *Error.
func (s *Session) Run(ctx context.Context, fact func(record.Fact) error, counters func([]byte) error) error {
	err := fact(record.Fact{Sampler: &s.Sampler})
	over := context.AfterFunc(ctx, s.stop)
	defer over()
	for err == nil {
		var more bool
		if more, err = s.step(fact, counters); !more && err == nil {
			return nil
		}
	}
	if kerr := s.kill(); kerr != nil {
		s.log.Debug("GPU counters", "error", kerr)
	}
	return plain(err)
}

// plain takes an *Error out of what is around it.
func plain(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return err
}

// Stats are the helper's own, once Run has returned.
func (s *Session) Stats() Stats { return s.stats }

// step hands on one frame; no more where the helper has ended in order.
func (s *Session) step(fact func(record.Fact) error, counters func([]byte) error) (more bool, err error) {
	kind, payload, err := s.frames.next()
	if err != nil {
		return false, s.died(err)
	}
	switch kind {
	case frameCounters:
		if err := s.samples(payload); err != nil {
			return false, err
		}
		return true, counters(payload)
	case frameFact:
		f, err := s.reading(payload)
		if err != nil {
			return false, err
		}
		return true, fact(f)
	case frameEnd:
		if err := json.Unmarshal(payload, &s.stats); err != nil {
			return false, &Error{Broken, "the helper's end: " + err.Error()}
		}
		s.log.Debug("GPU counters", "stats", s.stats)
		s.stop()
		return false, s.wait()
	}
	return true, s.other(kind, payload)
}

// other handles the frames that may come at any time.
func (s *Session) other(kind byte, payload []byte) error {
	switch kind {
	case frameLog:
		s.log.Debug("GPU counters", "helper", string(payload))
		return nil
	case frameError:
		var e Error
		if err := json.Unmarshal(payload, &e); err != nil {
			return &Error{Broken, "the helper's error: " + err.Error()}
		}
		return &e
	}
	return &Error{Broken, fmt.Sprintf("the helper's frame %q", kind)}
}

// stop asks the helper to end, which it does when its input does. It may be
// called again, and while Run is in another goroutine.
func (s *Session) stop() {
	s.stopped.Do(func() {
		_ = s.in.Close()
		time.AfterFunc(stopWithin, func() { _ = s.helper.Process.Kill() })
	})
}

func (s *Session) wait() error {
	if err := s.helper.Wait(); err != nil {
		return &Error{Broken, "the helper process: " + err.Error() + s.stderr.text()}
	}
	return nil
}

// died says how the helper ended that stopped in the middle.
func (s *Session) died(err error) error {
	s.stop()
	if werr := s.kill(); werr != nil {
		err = werr
	}
	return &Error{Broken, "the helper process ended: " + err.Error() + s.stderr.text()}
}

// kill ends the helper at once; the driver takes the counters back.
func (s *Session) kill() error {
	s.stop()
	if s.helper.ProcessState != nil {
		return nil // waited for already
	}
	time.AfterFunc(time.Second, func() { _ = s.helper.Process.Kill() })
	return s.helper.Wait()
}

// words keeps the beginning of what the helper writes to stderr: a crash says
// there what it was.
type words struct {
	mu  sync.Mutex
	buf []byte
}

const maxWords = 2000

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, b[:min(len(b), maxWords-len(w.buf))]...)
	return len(b), nil
}

func (w *words) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) == 0 {
		return ""
	}
	return ": " + strings.TrimSpace(string(w.buf))
}

// driverGPUs is where the driver lists its devices by their place on the bus.
const driverGPUs = "/proc/driver/nvidia/gpus"

// busIDOf looks a device's place up in that folder, for a library that does not know UUIDs; nil
// where the driver does not say.
func busIDOf(dir, uuid string) *busID {
	places, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, p := range places {
		b, err := os.ReadFile(filepath.Join(dir, p.Name(), "information"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			if strings.TrimSpace(key) != "GPU UUID" || !sameUUID(strings.TrimSpace(value), uuid) {
				continue
			}
			var id busID
			if n, _ := fmt.Sscanf(p.Name(), "%x:%x:%x", &id.Domain, &id.Bus, &id.Device); n == 3 {
				return &id
			}
		}
	}
	return nil
}
