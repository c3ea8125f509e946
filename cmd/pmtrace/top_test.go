package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/cmd/pmtrace/top"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/session"
)

// growing is a session whose journal is written record by record, as a tracer would.
type growing struct {
	dir     *session.Dir
	journal *journal.Writer
	kinds   []byte
	records [][]byte
	whole   top.Frame // what all of it gives
}

func newGrowing(t *testing.T, from string) *growing {
	recorded, err := session.Open(decoded(t, from))
	qt.Assert(t, qt.IsNil(err))
	defer recorded.Close()
	g := &growing{}
	w := newWatch(time.Hour, time.Now)
	records(t, recorded, func(kind byte, payload []byte) {
		g.kinds, g.records = append(g.kinds, kind), append(g.records, bytes.Clone(payload))
		qt.Assert(t, qt.IsNil(w.Record(kind, payload)))
	})
	qt.Assert(t, qt.IsNil(w.Close()))
	g.whole = w.frame(5, live.ByTotal)
	g.dir, err = session.Create(t.TempDir(), time.Now(), session.Owner{})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { g.dir.Close() })
	files, err := g.dir.Sub("journal")
	qt.Assert(t, qt.IsNil(err))
	g.journal, err = journal.Create(files, journal.Options{FileBytes: 64 << 10, SyncEvery: -1})
	qt.Assert(t, qt.IsNil(err))
	return g
}

// grow writes n more records, in frames of a few; 0: all, and the end.
func (g *growing) grow(t *testing.T, n int) {
	last := n == 0
	if last {
		n = len(g.records)
	}
	for i := range n {
		qt.Assert(t, qt.IsNil(g.journal.Append(g.kinds[i], g.records[i])))
		if i%500 == 0 {
			qt.Assert(t, qt.IsNil(g.journal.Flush()))
		}
	}
	qt.Assert(t, qt.IsNil(g.journal.Flush()))
	g.kinds, g.records = g.kinds[n:], g.records[n:]
	if last {
		qt.Assert(t, qt.IsNil(g.journal.Close()))
	}
}

// screen is pmtrace on a terminal.
type screen struct {
	t        *testing.T
	cmd      *exec.Cmd
	terminal *os.File   // our end
	mu       sync.Mutex // of emulator, but for reading its answers
	emulator *vt.Emulator
	ended    chan error
}

func startScreen(t *testing.T, width, height uint16, args ...string) *screen {
	pmtrace, err := exec.LookPath("pmtrace") // testscript.Main has put it there
	qt.Assert(t, qt.IsNil(err))
	s := &screen{t: t, cmd: exec.Command(pmtrace, args...), ended: make(chan error, 1)}
	s.cmd.Env = append(os.Environ(), "TERM=xterm-256color", "COLORTERM=")
	s.terminal, err = pty.StartWithSize(s.cmd, &pty.Winsize{Rows: height, Cols: width})
	qt.Assert(t, qt.IsNil(err))
	s.emulator = vt.NewEmulator(int(width), int(height))
	go func() { _, _ = io.Copy(s.terminal, s.emulator) }() // answers to what the program asks the terminal
	go func() {
		_, _ = io.Copy(s, s.terminal) // until the program ends
		s.ended <- s.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		s.terminal.Close()
		s.emulator.Close()
	})
	return s
}

// Write is what the program writes.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emulator.Write(b)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emulator.String()
}

// lines are what is on the screen.
func (s *screen) lines() []string {
	lines := strings.Split(s.text(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \r")
	}
	return lines
}

// shows waits until the screen has all of some words.
func (s *screen) shows(words ...string) {
	s.t.Helper()
	var text string
	for range 200 {
		text = strings.Join(s.lines(), "\n")
		missing := false
		for _, w := range words {
			missing = missing || !strings.Contains(text, w)
		}
		if !missing {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("the screen does not show %q:\n%s", words, text)
}

func (s *screen) press(key string) {
	_, err := s.terminal.WriteString(key)
	qt.Assert(s.t, qt.IsNil(err))
}

func (s *screen) resize(width, height uint16) {
	s.mu.Lock()
	s.emulator.Resize(int(width), int(height))
	s.mu.Unlock()
	qt.Assert(s.t, qt.IsNil(pty.Setsize(s.terminal, &pty.Winsize{Rows: height, Cols: width})))
}

// A session is followed on a terminal while it grows, with keys and in any size, and at
// its end the screen has the figures of the whole, and stays.
func TestTopScreen(t *testing.T) {
	g := newGrowing(t, llama8b)
	g.grow(t, len(g.records)/2)
	s := startScreen(t, 120, 40, "top", "--window", "1h", "--interval", "100ms", g.dir.Path())
	s.shows("vLLM 0.33.0, /models/llama8b", "tracing", "steps/s", "to first token", "Lost events  0", "Slowest by total", "q quit")
	s.press("?")
	s.shows("Keys", "pause, and go on")
	s.press("?")
	s.press("s")
	s.shows("Slowest by ttft", "sort (ttft)")
	for range 3 {
		s.press("s")
	}
	s.shows("Slowest by total")

	s.resize(50, 12)
	s.shows("q quit  p pause")
	var lines []string
	for range 100 { // until it is drawn anew
		if lines = s.lines(); strings.HasPrefix(lines[11], "q quit") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	qt.Assert(t, qt.HasLen(lines, 12))
	qt.Check(t, qt.IsTrue(strings.HasPrefix(lines[11], "q quit")), qt.Commentf("%q", lines))
	qt.Check(t, qt.StringContains(lines[0], "vLLM 0.33.0"))
	qt.Check(t, qt.IsTrue(strings.HasSuffix(lines[0], "…")))
	s.resize(120, 40)
	s.shows("Slowest by total", "reason")

	s.press("p")
	s.shows("paused")
	before := strings.Join(s.lines(), "\n")
	g.grow(t, len(g.records)/2)
	time.Sleep(time.Second)
	qt.Check(t, qt.Equals(strings.Join(s.lines(), "\n"), before))
	s.press("p")
	g.grow(t, 0)
	s.shows("ended: interrupted")
	// All of it, to the last figure.
	shown := s.lines()
	for i, want := range strings.Split(top.Block(&g.whole, 120), "\n") {
		if i == len(shown)-1 {
			break // the bar
		}
		qt.Check(t, qt.Equals(shown[i], strings.TrimRight(want, " ")))
	}
	select {
	case err := <-s.ended:
		t.Fatalf("it has not stayed: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	s.press("q")
	qt.Check(t, qt.IsNil(<-s.ended))
	qt.Check(t, qt.Equals(strings.TrimSpace(s.text()), "")) // the terminal is as before
}

// Where stdout is no terminal there is a block, or a line of JSON, each interval; the last
// has the figures of the whole.
func TestTopLines(t *testing.T) {
	g := newGrowing(t, pressure)
	g.grow(t, len(g.records)/3)
	pmtrace, err := exec.LookPath("pmtrace")
	qt.Assert(t, qt.IsNil(err))
	outputs := make([]bytes.Buffer, 2)
	var running []*exec.Cmd
	for i, more := range [][]string{{"--json"}, nil} {
		c := exec.Command(pmtrace, append([]string{"top", g.dir.Path(), "--window", "1h", "--interval", "200ms"}, more...)...)
		c.Stdout, c.Stderr = &outputs[i], os.Stderr
		qt.Assert(t, qt.IsNil(c.Start()))
		running = append(running, c)
	}
	time.Sleep(2 * time.Second)
	g.grow(t, 0)
	for _, c := range running {
		qt.Check(t, qt.IsNil(c.Wait()))
	}
	lines := strings.Split(strings.TrimSpace(outputs[0].String()), "\n")
	qt.Check(t, qt.IsTrue(len(lines) > 2))
	var last top.Frame
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(lines[len(lines)-1]), &last)))
	middle := slices.ContainsFunc(lines, func(line string) bool {
		var f top.Frame
		return json.Unmarshal([]byte(line), &f) == nil && f.State == top.Tracing && len(f.Longest) == 5 &&
			f.Since.Steps > 0 && f.Since.Steps < last.Since.Steps
	})
	qt.Check(t, qt.DeepEquals(last, g.whole))
	qt.Check(t, qt.IsTrue(middle), qt.Commentf("%s", outputs[0].String()))
	qt.Check(t, qt.IsTrue(strings.HasSuffix(outputs[1].String(), top.Block(&g.whole, 0))))
}

// A tracer that was killed is not waited for in silence, and its last figures stay.
func TestTopSilent(t *testing.T) {
	g := newGrowing(t, pressure)
	now := time.Now()
	w := newWatch(time.Hour, func() time.Time { return now })
	qt.Check(t, qt.Equals(w.frame(1, live.ByTotal).State, top.Waiting))
	for i := range len(g.records) / 2 {
		qt.Assert(t, qt.IsNil(w.Record(g.kinds[i], g.records[i])))
	}
	before := w.frame(1, live.ByTotal)
	qt.Check(t, qt.Equals(before.State, top.Tracing))
	now = now.Add(5 * time.Second) // idle, or so
	idle := w.frame(1, live.ByTotal)
	qt.Check(t, qt.Equals(idle.State, top.Tracing))
	qt.Check(t, qt.Equals(idle.ToNS-before.ToNS, int64(5*time.Second)))
	qt.Check(t, qt.IsTrue(idle.StepsPerS < before.StepsPerS))
	now = now.Add(15 * time.Second)
	silent := w.frame(1, live.ByTotal)
	qt.Check(t, qt.Equals(silent.State, top.Silent))
	qt.Check(t, qt.StringContains(silent.Note, "nothing was recorded for 20s"))
	qt.Check(t, qt.Equals(silent.StepsPerS, before.StepsPerS))
}

// A server is watched without a session, and what is said meanwhile goes nowhere.
func TestTopProcess(t *testing.T) {
	pid, end := startServer(t)
	b := newBench(t)
	place := t.TempDir()
	b.env["PMTRACE_OUTPUT_DIR"] = place
	once(func() bool { return strings.Count(b.out.String(), "\n") > 3 }, end)
	qt.Assert(t, qt.Equals(b.run(t.Context(), []string{"top", "--json", "--interval", "200ms", "--pid", strconv.Itoa(pid)}), 0), qt.Commentf("%s", b.err))
	lines := strings.Split(strings.TrimSpace(b.out.String()), "\n")
	var last top.Frame
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(lines[len(lines)-1]), &last)))
	qt.Check(t, qt.Equals(last.State, top.Ended))
	qt.Check(t, qt.Equals(last.Note, "server exited"))
	qt.Check(t, qt.IsTrue(last.Lost > 0)) // the fake's events are none
	qt.Check(t, qt.HasLen(b.session.kinds, 0))
	left, err := filepath.Glob(filepath.Join(place, "*"))
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(left, 0))
	qt.Check(t, qt.Equals(b.err.String(), ""))
}

func TestTopRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"top", "/nowhere"}, exitFailed, "cannot open the session"},
		{[]string{"top", t.TempDir()}, exitFailed, "no journal in it"},
		{[]string{"top", "a", "b"}, exitUsage, "top shows one session"},
		{[]string{"top", "--pid", "1", "a"}, exitUsage, "not both"},
		{[]string{"top", "--interval", "1ms", "a"}, exitUsage, "at least 100ms"},
		{[]string{"top", "--interval", "20s", "a"}, exitUsage, "--window 10s is shorter than --interval 20s"},
	} {
		var out, errs bytes.Buffer
		qt.Check(t, qt.Equals(run(t.Context(), c.args, nil, &out, &errs, nil), c.code))
		qt.Check(t, qt.StringContains(errs.String(), c.says))
	}
}

// docs/live.md shows a real server's screen: halfway through a recorded session.
func TestDocTop(t *testing.T) {
	page, err := os.ReadFile("../../docs/live.md")
	qt.Assert(t, qt.IsNil(err))
	g := newGrowing(t, llama8b)
	now := time.Now()
	w := newWatch(10*time.Second, func() time.Time { return now })
	for i := range len(g.records) * 55 / 100 {
		qt.Assert(t, qt.IsNil(w.Record(g.kinds[i], g.records[i])))
	}
	f := w.frame(3, live.ByTotal)
	block := strings.TrimSpace(top.Block(&f, 0))
	qt.Check(t, qt.IsTrue(strings.Contains(string(page), "\n"+block+"\n")), qt.Commentf("it has not:\n%s", block))
}

// What the journal has lost is shown, and what nobody watched is not shown as none.
func TestTopMissing(t *testing.T) {
	place := decoded(t, pressure)
	file := filepath.Join(place, "journal", "00000.pmj")
	b, err := os.ReadFile(file)
	qt.Assert(t, qt.IsNil(err))
	b[len(b)/2] ^= 0xff
	qt.Assert(t, qt.IsNil(os.WriteFile(file, b, 0o600)))
	var out bytes.Buffer
	qt.Assert(t, qt.Equals(run(t.Context(), []string{"top", "--interval", "100ms", "--json", place}, nil, &out, io.Discard, nil), 0))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last top.Frame
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(lines[len(lines)-1]), &last)))
	qt.Check(t, qt.Equals(last.Damaged, 1))
	qt.Check(t, qt.StringContains(top.Block(&last, 0), "The journal is damaged in 1 places"))
	qt.Check(t, qt.IsTrue(last.Lost > 0))
	qt.Check(t, qt.StringContains(top.Block(&last, 0), " ring: sequence_gap"))

	w := newWatch(time.Minute, time.Now)
	for _, f := range []record.Fact{
		{Start: &record.Start{MonoNS: 1, Profilers: []string{session.ProfilerKVCache}}},
		{Engine: &record.Engine{VLLM: "0.33.0", Model: "m", Watches: []string{"schedule_return"}}},
		{Unavailable: &record.Unavailable{Profiler: session.ProfilerKVCache, Reason: "the slots are taken"}},
		{Unavailable: &record.Unavailable{Profiler: session.ProfilerCPU, Reason: "nobody asked for it"}},
	} {
		payload, err := json.Marshal(f)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.IsNil(w.Record(journal.KindFact, payload)))
	}
	f := w.frame(1, live.ByTotal)
	qt.Check(t, qt.IsNil(f.EvictionsPerS))
	qt.Check(t, qt.IsNil(f.TokensOutPerS))
	qt.Check(t, qt.DeepEquals(f.Unavailable, []string{"kv_cache: the slots are taken"}))
	qt.Check(t, qt.StringContains(top.Block(&f, 0), "– evictions/s"))
	qt.Check(t, qt.StringContains(top.Block(&f, 0), "Unavailable  kv_cache: the slots are taken"))
}
