package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/pmtrace/pmtrace/e2e/process"
	"github.com/pmtrace/pmtrace/e2e/soak/steady"
)

// TracerCost is what pmtrace attach takes at a fixed pace.
type TracerCost struct {
	Steps       float64 `json:"steps_per_s"`
	Requests    int     `json:"requests"`
	Seconds     float64 `json:"seconds"`
	CPU         float64 `json:"cpu_pct_of_a_core"`
	SystemShare float64 `json:"system_share"`
	Idle        float64 `json:"idle_cpu_pct_of_a_core"` // armed, no steps
	MiB         Memory  `json:"anonymous_mib"`
	RSS         float64 `json:"peak_rss_mib"`
	Size        Size    `json:"size"`
}

// Memory is anonymous memory that is in RAM, in MiB.
type Memory struct {
	Peak float64 `json:"peak"`
	End  float64 `json:"end"`
}

// Size is what a session takes of the disk.
type Size struct {
	Steps        int64   `json:"steps"`
	StepRequests int64   `json:"step_requests"`
	Journal      float64 `json:"journal_bytes_per_step_request"`
	Parquet      float64 `json:"parquet_bytes_per_step_request"`
	Both         float64 `json:"bytes_per_step_request"`
	JournalStep  float64 `json:"journal_bytes_per_step"`
	ParquetStep  float64 `json:"parquet_bytes_per_step"`
	// What a session without a step takes.
	EmptyJournal float64 `json:"empty_journal_bytes,omitempty"`
	EmptyParquet float64 `json:"empty_parquet_bytes,omitempty"`
}

// Long is memory over an hour's worth of steps, as fast as they go.
type Long struct {
	Steps    float64 `json:"steps"`
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"`
	MiB      Memory  `json:"anonymous_mib"`
	RSS      float64 `json:"peak_rss_mib"`
	// Slope after the first row groups are full, in the last three quarters.
	SlopeMiB float64  `json:"slope_mib_per_100k_steps"`
	CPUStep  float64  `json:"cpu_us_per_step"`
	Size     Size     `json:"size"`
	Samples  []Sample `json:"samples"`
}

// Sample is the memory after so many steps.
type Sample struct {
	Steps float64 `json:"steps"`
	MiB   float64 `json:"mib"`
}

const batch = 32 // requests in the steps of these measures

func measureTracer(ctx context.Context, b *bench, _ *server) error {
	s, err := startShape(ctx, b, batch, 200)
	if err != nil {
		return err
	}
	defer s.stop()
	emptyJournal, emptyParquet, err := emptySession(ctx, b, s.pid)
	if err != nil {
		return err
	}
	t, err := attach(ctx, b, s.pid)
	if err != nil {
		return err
	}
	r := &TracerCost{Requests: batch}
	idle := pick(b, 10*time.Second, 2*time.Second)
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	before, err := process.CPU(t.pid())
	if err != nil {
		return err
	}
	if err := sleep(ctx, idle); err != nil {
		return err
	}
	after, err := process.CPU(t.pid())
	if err != nil {
		return err
	}
	r.Idle = 100 * (after - before).Seconds() / idle.Seconds()
	if err := s.begin(); err != nil {
		return err
	}
	if err := sleep(ctx, 2*time.Second); err != nil {
		return err
	}
	w, err := watchTracer(ctx, s, t, func(w *watched) bool { return w.seconds >= pick(b, 60.0, 8.0) })
	if err != nil {
		return err
	}
	r.Steps, r.Seconds = w.steps/w.seconds, w.seconds
	r.CPU, r.SystemShare = 100*w.cpu.Seconds()/w.seconds, w.system
	r.RSS = w.rss / (1 << 20)
	r.MiB, r.Size, err = w.end(s, t)
	r.Size.EmptyJournal, r.Size.EmptyParquet = emptyJournal, emptyParquet
	b.results.Tracer = r
	return err
}

// emptySession attaches to a program that makes no step, and says what that session takes of the disk.
func emptySession(ctx context.Context, b *bench, pid int) (journal, tables float64, err error) {
	t, err := attach(ctx, b, pid)
	if err != nil {
		return 0, 0, err
	}
	if err := t.stop(); err != nil {
		return 0, 0, err
	}
	session, err := t.session()
	if err != nil {
		return 0, 0, err
	}
	return sessionBytes(session)
}

func measureLong(ctx context.Context, b *bench, _ *server) error {
	s, err := startShape(ctx, b, batch, 0)
	if err != nil {
		return err
	}
	defer s.stop()
	t, err := attach(ctx, b, s.pid)
	if err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	w, err := watchTracer(ctx, s, t, func(w *watched) bool { return w.steps >= b.longSteps })
	if err != nil {
		return err
	}
	r := &Long{Requests: batch, RSS: w.rss / (1 << 20), Steps: w.steps, Seconds: w.seconds, CPUStep: w.cpu.Seconds() * 1e6 / w.steps}
	var x, y []float64
	for i, p := range w.samples {
		if i%max(1, len(w.samples)/40) == 0 {
			r.Samples = append(r.Samples, p)
		}
		if p.Steps >= w.steps/4 {
			x, y = append(x, p.Steps/100e3), append(y, p.MiB)
		}
	}
	r.SlopeMiB = steady.Slope(x, y)
	if r.MiB, r.Size, err = w.end(s, t); err != nil {
		return err
	}
	b.results.Long = r
	session, err := t.session()
	if err != nil {
		return err
	}
	return os.Rename(session, filepath.Join(b.work, "recorded"))
}

// watched is what a tracer did in a time.
type watched struct {
	seconds, steps float64
	cpu            time.Duration
	system         float64 // share of cpu
	rss            float64 // the most, in bytes
	samples        []Sample
}

// watchTracer looks at a tracer each half second until enough.
func watchTracer(ctx context.Context, s *shape, t *tracer, enough func(*watched) bool) (*watched, error) {
	began, steps := time.Now(), s.steps()
	cpu, err := process.CPU(t.pid())
	if err != nil {
		return nil, err
	}
	user, system, err := ticks(t.pid())
	if err != nil {
		return nil, err
	}
	w := &watched{}
	for !enough(w) {
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
		bytes, err := anonymous(t.pid())
		if err != nil {
			return nil, err
		}
		if w.rss, err = peakRSS(t.pid()); err != nil {
			return nil, err
		}
		now, err := process.CPU(t.pid())
		if err != nil {
			return nil, err
		}
		w.seconds, w.steps, w.cpu = time.Since(began).Seconds(), s.steps()-steps, now-cpu
		w.samples = append(w.samples, Sample{Steps: w.steps, MiB: bytes / (1 << 20)})
	}
	u, sys, err := ticks(t.pid())
	if n := u - user + sys - system; n > 0 {
		w.system = (sys - system) / n
	}
	return w, err
}

// end ends both and sums up memory and session.
func (w *watched) end(s *shape, t *tracer) (m Memory, size Size, err error) {
	s.stop()
	if err := <-t.ended; err != nil {
		return m, size, err
	}
	if err := t.noneLost(); err != nil {
		return m, size, err
	}
	for _, p := range w.samples {
		m.Peak = max(m.Peak, p.MiB)
	}
	m.End = w.samples[len(w.samples)-1].MiB
	session, err := t.session()
	if err != nil {
		return m, size, err
	}
	size, err = sizeOf(session)
	return m, size, err
}

func sessionBytes(session string) (journal, tables float64, err error) {
	if journal, err = bytesIn(filepath.Join(session, "journal")); err != nil {
		return 0, 0, err
	}
	tables, err = bytesIn(filepath.Join(session, "parquet"))
	return journal, tables, err
}

func sizeOf(session string) (Size, error) {
	journal, tables, err := sessionBytes(session)
	if err != nil {
		return Size{}, err
	}
	var s Size
	if s.Steps, err = rowsIn(filepath.Join(session, "parquet", "steps")); err != nil {
		return s, err
	}
	if s.StepRequests, err = rowsIn(filepath.Join(session, "parquet", "step_requests")); err != nil {
		return s, err
	}
	s.Journal, s.Parquet = journal/float64(s.StepRequests), tables/float64(s.StepRequests)
	s.JournalStep, s.ParquetStep = journal/float64(s.Steps), tables/float64(s.Steps)
	s.Both = s.Journal + s.Parquet
	return s, nil
}

func bytesIn(dir string) (total float64, err error) {
	err = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			total += float64(info.Size())
		}
		return err
	})
	return total, err
}

// rowsIn counts the rows of a table.
func rowsIn(table string) (rows int64, err error) {
	parts, err := os.ReadDir(table)
	if err != nil {
		return 0, err
	}
	for _, p := range parts {
		if !strings.HasSuffix(p.Name(), ".parquet") {
			continue
		}
		n, err := rowsOf(filepath.Join(table, p.Name()))
		if err != nil {
			return 0, err
		}
		rows += n
	}
	return rows, nil
}

func rowsOf(part string) (int64, error) {
	f, err := os.Open(part)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	p, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return 0, err
	}
	return p.NumRows(), nil
}
