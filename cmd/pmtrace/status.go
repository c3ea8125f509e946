package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// status prints how tracing goes: on a terminal one line again and again, else
// a line each so many steps.
type status struct {
	mu       sync.Mutex // a GPU's sampling ends the line, too
	w        io.Writer
	name     string // of the server, where several are traced
	terminal bool
	interval int64 // steps between lines; 0: none

	last      progress
	lastTime  time.Time
	nextSteps int64
	shown     bool
}

func newStatus(w io.Writer, name string, terminal bool, interval uint) *status {
	return &status{w: w, name: name, terminal: terminal, interval: int64(interval), nextSteps: int64(interval)}
}

// isTerminal says whether a stream is one that a line can be rewritten on.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// show is called each second. dropped says what was not exported.
func (s *status) show(now time.Time, l progress, dropped string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal && (s.interval == 0 || l.steps < s.nextSteps) {
		return
	}
	rate := 0.0
	if d := now.Sub(s.lastTime); !s.lastTime.IsZero() && d > 0 {
		rate = float64(l.tokens-s.last.tokens) / d.Seconds()
	}
	first := s.lastTime.IsZero()
	s.last, s.lastTime = l, now
	line := statusLine(l, rate, first)
	if dropped != "" {
		line += ", " + dropped
	}
	if s.name != "" {
		line = s.name + ": " + line
	}
	if s.terminal {
		fmt.Fprint(s.w, "\r\x1b[K"+line)
		s.shown = true
		return
	}
	fmt.Fprintln(s.w, "pmtrace:", line)
	s.nextSteps = (l.steps/s.interval + 1) * s.interval
}

func statusLine(l progress, rate float64, first bool) string {
	tokens := "-"
	if !first {
		tokens = fmt.Sprintf("%.0f", rate)
	}
	kv := "-"
	if l.kvTotal > 0 {
		kv = fmt.Sprintf("%.1f %%", 100*float64(l.kvUsed)/float64(l.kvTotal))
	}
	return fmt.Sprintf("%d steps, %s tokens/s, %d running, %d waiting, KV %s, %d events lost",
		l.steps, tokens, l.running, l.waiting, kv, l.lost)
}

// done ends the line on a terminal.
func (s *status) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.shown = false
	}
}
