package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pmtrace/pmtrace/cmd/pmtrace/top"
	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/session"
)

// watch is a pipeline that writes nothing: it keeps what top shows. One goroutine gives
// it records, another looks.
type watch struct {
	now  func() time.Time
	said func() string // what tracing said last; nil: another process traces

	mu      sync.Mutex
	decode  *decode.Pipeline
	recent  *live.Recent
	facts   session.Facts
	grown   time.Time // when the newest record came; zero: none has
	clock   int64     // of the newest event, or of a fact that has a time
	ticked  time.Time // when that came
	reading bool      // records come from before
	damaged int       // places in the journal that cannot be read
	over    string    // how it ended; "": it has not
}

// quiet is after which time without a record, of a tracer that writes one each five
// seconds at least, something is wrong with it.
const quiet = 15 * time.Second

// settling is for how long records may wait in the tracer: it writes twice a second.
const settling = time.Second

func newWatch(window time.Duration, now func() time.Time) *watch {
	w := &watch{now: now, recent: live.NewRecent(int64(window))}
	w.decode = decode.NewPipeline(w.recent, decode.Options{})
	return w
}

func (w *watch) Record(kind byte, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kind == journal.KindFact {
		var f record.Fact
		if json.Unmarshal(payload, &f) == nil { // else the pipeline counts it
			w.facts.Add(f)
		}
	}
	w.grown = w.now()
	err := w.decode.Record(kind, payload)
	if l := w.decode.Live(); l.ClockNS > w.clock {
		w.clock, w.ticked = l.ClockNS, w.grown
	}
	return err
}

func (w *watch) Live() progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.decode.Live()
	return progress{lost: uint64(max(l.Lost, 0))}
}

// Close hands on what waits for more, so that the last figures are whole.
func (w *watch) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.decode.Close()
	w.over = "the end was not recorded"
	if e := w.facts.End; e != nil {
		w.over = strings.ReplaceAll(e.Reason, "_", " ")
	}
	return err
}

// ended reports whether the last record has come.
func (w *watch) ended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.facts.End != nil
}

// unavailable is what was asked for and cannot be had, with the reason.
func (w *watch) unavailable() (list []string) {
	for _, u := range w.facts.Missing() {
		if !w.facts.On(u.Profiler) && u.Profiler != session.GPUSampling {
			continue
		}
		what := u.Profiler
		if len(u.Columns) > 0 {
			what += " (" + strings.Join(u.Columns, ", ") + ")"
		}
		list = append(list, printable(what+": "+u.Reason))
	}
	return list
}

// damage takes note of how many places of the journal cannot be read.
func (w *watch) damage(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.damaged = n
}

// catchUp says whether records from before are being read.
func (w *watch) catchUp(reading bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reading = reading
}

// frame is a top.Source.
func (w *watch) frame(n int, by live.Order) top.Frame {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := top.Frame{Title: w.title(), Unavailable: w.unavailable(), Damaged: w.damaged}
	l := w.decode.Live()
	m := live.Moment{
		NowNS: l.ClockNS, SettledNS: l.SettledNS, Lost: l.Lost,
		OutputsKnown: w.facts.OutputsKnown(), EvictionsKnown: w.facts.EvictionsKnown(),
	}
	m.Longest, m.Unended = w.decode.Running(n)
	since := w.now().Sub(w.grown)
	switch {
	case w.over != "":
		f.State, f.Note = top.Ended, w.over
	case w.grown.IsZero() || len(w.facts.Engines) == 0 && !w.reading && since <= quiet:
		f.State, f.Note = top.Waiting, w.word()
	case w.reading:
		f.State, f.Note = top.Reading, "what was recorded until now"
	case since > quiet:
		f.State, f.Note = top.Silent, fmt.Sprintf("nothing was recorded for %s; was the tracer killed?", since.Round(time.Second))
	default:
		f.State = top.Tracing
		w.advance(&m)
	}
	if e := w.facts.End; e != nil {
		m.NowNS = max(m.NowNS, w.facts.DurationNS())
		m.SettledNS = m.NowNS
	}
	f.View = w.recent.Look(&m, n, by)
	return f
}

// advance lets time pass while the server is idle.
func (w *watch) advance(m *live.Moment) {
	idle := w.now().Sub(w.ticked)
	if w.ticked.IsZero() || idle <= settling {
		return
	}
	if m.SettledNS == m.NowNS {
		m.SettledNS += int64(idle)
	}
	m.NowNS += int64(idle)
}

// word is what is waited for, as far as it is known.
func (w *watch) word() string {
	if w.said == nil {
		return "no engine yet"
	}
	return strings.TrimPrefix(printable(w.said()), "pmtrace: ")
}

func (w *watch) title() string {
	if len(w.facts.Engines) == 0 {
		return "pmtrace top"
	}
	e := w.facts.Engines[0]
	words := []string{"vLLM " + e.VLLM, e.Model}
	if n := len(w.facts.Engines); n > 1 {
		words = append(words, fmt.Sprintf("%d engines", n))
	} else {
		words = append(words, fmt.Sprintf("engine process %d", e.PID))
	}
	return printable(strings.Join(words, ", "))
}
