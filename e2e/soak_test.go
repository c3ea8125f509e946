//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/e2e/soak/steady"
	"github.com/pmtrace/pmtrace/output/session"
)

const (
	soakEvery = 10 * time.Second
	// soakDrift is by how much pmtrace's clock may run away from others within an hour. Both
	// ends are quantiles of times that a busy machine makes later.
	soakDrift = 10.0 // ms
)

// soakLoad thinks between requests, so that the server is idle at times and busy at others, when
// it preempts requests; blocks are handed out again always.
func soakLoad() []string {
	return args(prefixes(), []string{"-c", "8", "--pause", "4", "-o", "8:192", "--eos-fraction", "0.1", "--abort-fraction", "0.03", "--seed", "16"})
}

// TestSoak traces a server for as long as PMTRACE_E2E_SOAK says: e2e/soak runs it and writes the
// page of what it leaves in PMTRACE_SOAK_RESULTS. Other servers may run meanwhile: it
// would be in their way for an hour, and they are not in its.
func TestSoak(t *testing.T) {
	if os.Getenv("PMTRACE_E2E") != "soak" {
		t.Skip("not in this selection: PMTRACE_E2E=soak")
	}
	long, err := time.ParseDuration(os.Getenv("PMTRACE_E2E_SOAK"))
	if err != nil {
		t.Fatalf("PMTRACE_E2E_SOAK says how long: %v", err)
	}
	rotate := min(10*time.Minute, long/6)
	b := besideOthers(t)
	s := b.serve(t, "soak", "--max-model-len", "1024", "--num-gpu-blocks-override", "36", "--max-num-seqs", "16")
	before := s.scrape(t, "before")
	tr := s.attach(t, "--rotate", rotate.String())
	r := steady.Real{VLLM: b.version, Load: strings.Join(soakLoad(), " "), Rotate: rotate.String()}
	load := s.begin(t, "clients", append(soakLoad(), "-n", strconv.Itoa(int(long.Seconds())*20), "--seconds", strconv.Itoa(int(long.Seconds())))...)
	samples := s.watch(t, tr, long)
	path := load.wait(t)
	s.settle()
	after := s.scrape(t, "after")
	tr.stop(t, 0)

	r.Judge(samples)
	summary := filepath.Join(s.out, "truth.jsonl")
	t.Setenv("PMTRACE_E2E_SUMMARY", summary)
	s.truth(t, tr, "--load", path, "--before", before, "--after", after, "--fresh")
	soakCompared(t, summary, &r)
	tr.decodesTheSame(t)
	soakTables(t, tr.session(t), int(long/rotate), &r)
	r.Clocks = soakClocks(t, tr.session(t), path)
	for what, trend := range map[string]steady.Trend{
		"pmtrace's anonymous memory (MiB)": r.Anon, "pmtrace's memory of files (MiB)": r.File,
		"pmtrace's open files": r.Files, "pmtrace's threads": r.Threads, "pmtrace's share of a core (%)": r.CPU,
	} {
		if err := trend.Check(what); err != nil {
			t.Error(err)
		}
	}
	for _, c := range r.Clocks {
		if math.Abs(c.Late-c.Early) > c.Bound {
			t.Errorf("clocks drift: %+v", c)
		}
	}
	keepReal(t, &r)
}

// watch looks at the tracer and the server until it is time.
func (s *server) watch(t *testing.T, tr *tracer, long time.Duration) (samples []steady.Sample) {
	t.Helper()
	pid, began := tr.cmd.Process.Pid, time.Now()
	ticks := time.NewTicker(soakEvery)
	defer ticks.Stop()
	for {
		var one steady.Sample
		var err, serr, derr error
		one.Hours = time.Since(began).Hours()
		one.Tracer, err = steady.Look(pid)
		one.Server, serr = steady.Group(s.pid)
		one.Disk, one.Files, derr = steady.Disk(tr.session(t))
		if err := errors.Join(err, serr, derr); err != nil {
			t.Fatalf("after %v: %v: %s", time.Since(began), err, tr.stderr.String())
		}
		samples = append(samples, one)
		if time.Since(began) >= long {
			return samples
		}
		<-ticks.C
	}
}

// soakCompared takes what e2e/truth came to.
func soakCompared(t *testing.T, summary string, r *steady.Real) {
	t.Helper()
	data, err := os.ReadFile(summary)
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// soakTables counts rows and parts, and what was lost.
func soakTables(t *testing.T, path string, stretches int, r *steady.Real) {
	t.Helper()
	dir := openSession(t, path)
	parts, err := session.Parts(dir, func(string) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	for _, p := range parts {
		r.Rows += p.Rows
		if p.Table == session.TableSteps {
			steps++
		}
	}
	r.Parts = len(parts)
	collect(t, dir, func(l *record.LossRow) { r.Lost += l.Count })
	// A table that has rows in each stretch has a part for each.
	if steps < stretches {
		t.Errorf("%d parts of steps, want %d or more", steps, stretches)
	}
}

// soakClocks compares pmtrace's wall clock, which is the session's start and the time since,
// with the server's and the clients', at first and at last.
func soakClocks(t *testing.T, path, clients string) []steady.Drift {
	t.Helper()
	dir := openSession(t, path)
	origin, err := session.ReadOrigin(dir)
	if err != nil {
		t.Fatal(err)
	}
	wall := func(ns int64) float64 { return float64(origin.WallNS+ns) / 1e6 }
	heard := hearings(t, clients)
	server := steady.Drift{What: "arrival by the server's wall clock to scheduled by pmtrace's", Bound: soakDrift}
	client := steady.Drift{What: "end by pmtrace's wall clock to the answer by the client's", Bound: soakDrift}
	var serverMS, clientMS []float64
	collect(t, dir, func(q *record.RequestRow) {
		if q.ScheduledNS != nil && q.ArrivalUnix != nil {
			serverMS = append(serverMS, wall(*q.ScheduledNS)-*q.ArrivalUnix*1e3)
		}
		if at, ok := heard[q.ExternalID]; ok && q.FinishedNS != nil {
			clientMS = append(clientMS, at*1e3-wall(*q.FinishedNS))
		}
	})
	ends(&server, serverMS)
	ends(&client, clientMS)
	return []steady.Drift{server, client}
}

// quick is the quantile that is compared: what took longer did so for other reasons than a clock.
const quick = 0.02

// ends takes the quick ones of the first and the last tenth.
func ends(d *steady.Drift, ms []float64) {
	d.Pairs = len(ms) / 10
	d.Early, d.Late = steady.Quantile(ms[:d.Pairs], quick), steady.Quantile(ms[len(ms)-d.Pairs:], quick)
}

// hearings are when clients had their answers, by the engine's id of the request: UNIX time.
func hearings(t *testing.T, path string) map[string]float64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	heard := map[string]float64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var c struct {
			ID     string   `json:"external_id"`
			Last   *float64 `json:"w_last"`
			Reason string   `json:"finish_reason"`
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		if c.Last != nil && slices.Contains([]string{"stop", "length"}, c.Reason) {
			heard[c.ID] = *c.Last
		}
	}
	return heard
}

func keepReal(t *testing.T, r *steady.Real) {
	t.Helper()
	data, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		t.Logf("%s", data)
		err = os.WriteFile(os.Getenv("PMTRACE_SOAK_RESULTS"), data, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}
