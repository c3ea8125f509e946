package compare

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-quicktest/qt"
)

const (
	pressure = "../../cmd/pmtrace/testdata/recorded/h200-pressure"
	gpu      = "../../e2e/gpu/testdata"
)

type source struct {
	name string
	*rows
}

// sources are real servers: one out of KV blocks, one bound by the GPU, two by the host;
// and the sessions that PMTRACE_SESSIONS names (a pattern).
func sources(t testing.TB) []source {
	s := []source{
		{"pressure", recorded(t, pressure)},
		{"llama8b", recorded(t, gpu, "h200-llama8b")},
		{"llama1b", recorded(t, gpu, "h200-llama1b")},
		{"qwen3-moe", recorded(t, gpu, "h200-qwen3moe-v1")},
	}
	more, _ := filepath.Glob(os.Getenv("PMTRACE_SESSIONS"))
	for _, path := range more {
		s = append(s, source{filepath.Base(path), recorded(t, path)})
	}
	return s
}

// drawRuns makes runs of one set-up of the blocks of a real run.
func drawRuns(metrics []Metric, r *Run, n int, stream int) [][]float64 {
	random := newRandom(uint64(stream))
	var v [][]float64
	for range n {
		v = append(v, values(metrics, r.draw(random)))
	}
	return v
}

// again makes a run of a run's blocks.
func again(r *Run, stream int) *Run {
	b := &Run{seconds: r.seconds, peak: r.peak}
	for i, n := range r.picks(newRandom(uint64(stream))) {
		for range n {
			b.blocks = append(b.blocks, r.blocks[i])
		}
	}
	b.index()
	return b
}

func anyShown(p []float64) bool {
	return slices.ContainsFunc(p, func(p float64) bool { return p <= Level })
}

// mostOf bounds a count of n things that happen with a chance of 5 %: mean and two
// standard deviations.
func mostOf(n int) int {
	return int(math.Ceil(Level*float64(n) + 2*math.Sqrt(Level*(1-Level)*float64(n))))
}

// Of runs of one set-up, five a side, no more pairs differ in any metric than may.
func TestFalseAlarms(t *testing.T) {
	alarms, pairs := 0, 0
	for _, s := range sources(t) {
		r := s.run(1, 5e8)
		metrics := metricsOf([]*Run{r})
		here := 0
		for i := range 100 {
			if anyShown(betweenRuns(drawRuns(metrics, r, 5, 2*i), drawRuns(metrics, r, 5, 2*i+1))) {
				here++
			}
		}
		t.Logf("%s (%d blocks): %d of 100 pairs", s.name, len(r.blocks), here)
		qt.Check(t, qt.IsTrue(here <= mostOf(100)))
		alarms, pairs = alarms+here, pairs+100
	}
	t.Logf("%d of %d pairs", alarms, pairs)
	qt.Check(t, qt.IsTrue(alarms <= mostOf(pairs)))
}

// The same with one run a side.
func TestFalseAlarmsWithin(t *testing.T) {
	const pairs = 20
	r := recorded(t, pressure).run(1, 1e9)
	metrics := metricsOf([]*Run{r})
	alarms := 0
	for i := range pairs {
		if anyShown(withinRuns(metrics, again(r, 2*i), again(r, 2*i+1))) {
			alarms++
		}
	}
	t.Logf("%d of %d pairs", alarms, pairs)
	qt.Check(t, qt.IsTrue(alarms <= mostOf(pairs)))
}

// A server that takes 3 % longer for everything is found out, five runs a side.
func TestPower(t *testing.T) {
	for _, s := range sources(t) {
		r, slow := s.run(1, 5e8), s.run(1.03, 5e8*103/100)
		metrics := metricsOf([]*Run{r})
		found, wrong := 0, 0
		for i := range 100 {
			a, b := drawRuns(metrics, r, 5, 2*i), drawRuns(metrics, slow, 5, 2*i+1)
			p := betweenRuns(a, b)
			if anyShown(p) {
				found++
			}
			for m := range p {
				ma, mb := column(a, m), column(b, m)
				if p[m] <= Level && metrics[m].Unit == UnitTime && mb.mean < ma.mean {
					wrong++
				}
			}
		}
		t.Logf("%s (%d blocks): found in %d of 100 pairs", s.name, len(r.blocks), found)
		// The others lasted 4 to 25 s, under loads from 1 to 128 clients: no two draws are alike.
		if s.name == "llama8b" || len(r.blocks) > 100 {
			qt.Check(t, qt.IsTrue(found >= 95))
		}
		qt.Check(t, qt.IsTrue(wrong <= mostOf(100)), qt.Commentf("%s: %d", s.name, wrong))
	}
}

// One server twice as slow as another, one run a side.
func TestPowerWithin(t *testing.T) {
	rows := recorded(t, pressure)
	a, b := rows.run(1, blockNS), rows.run(2, blockNS)
	a.Setup.facts, b.Setup.facts = []fact{{"vllm", "0.32.0"}}, []fact{{"vllm", "0.33.0"}}
	r := Compare([]*Run{a}, []*Run{b})
	qt.Check(t, qt.Equals(r.Unit, UnitBlock))
	qt.Check(t, qt.DeepEquals(r.Setup, []Difference{{"vllm", []string{"0.32.0"}, []string{"0.33.0"}}}))
	for _, row := range r.Metrics {
		if row.Name == "step_decode_p50" {
			qt.Check(t, qt.IsTrue(row.Shown && row.Worse))
			qt.Check(t, qt.IsTrue(math.Abs(*row.Change-1) < 0.01))
			qt.Check(t, qt.IsTrue(*row.Low < 1 && 1 < *row.High))
		}
		if row.Name == "kv_peak" {
			qt.Check(t, qt.IsNil(row.P))
		}
	}
	again := Compare([]*Run{rows.run(1, blockNS)}, []*Run{rows.run(2, blockNS)})
	qt.Check(t, qt.HasLen(again.Metrics, len(r.Metrics)))
	for i := range r.Metrics {
		qt.Check(t, qt.DeepEquals(again.Metrics[i].P, r.Metrics[i].P))
	}
}

// Five runs a side of a server that takes half as long again for everything: what is shown comes
// first, is worse where more time is, and fails its gate.
func TestCompareRuns(t *testing.T) {
	rows := recorded(t, gpu, "h200-llama8b")
	r, slow := rows.run(1, 5e8), rows.run(1.5, 75e7)
	var a, b []*Run
	for i := range 5 {
		a, b = append(a, again(r, 2*i)), append(b, again(slow, 2*i+1))
	}
	got := Compare(a, b)
	qt.Check(t, qt.Equals(got.Unit, UnitRun))
	qt.Check(t, qt.HasLen(got.Notes, 0))
	shown := 0
	for i, row := range got.Metrics {
		if !row.Shown {
			continue
		}
		qt.Check(t, qt.Equals(i, shown))
		shown++
		if row.Unit == UnitTime {
			qt.Check(t, qt.IsTrue(row.Worse && *row.Low <= *row.Change && *row.Change <= *row.High), qt.Commentf("%s", row.Name))
		}
	}
	qt.Check(t, qt.IsTrue(shown >= 3))
	for text, fails := range map[string]bool{"step_gpu_p50>+3%": true, "step_gpu_p50>+80%": false} {
		g, err := ParseGate(text)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(got.Check(g).Fails, fails), qt.Commentf("%s", text))
	}
	qt.Check(t, qt.DeepEquals(Compare(a, b).Metrics[0].P, got.Metrics[0].P))
}

// The 95 % interval of a ratio holds it in 95 of 100 cases.
func TestInterval(t *testing.T) {
	random := newRandom(7)
	const tries = 4000
	within := 0
	for range tries {
		var a, b moments
		for range 5 {
			a.add(100 + 3*random.NormFloat64())
			b.add(110 + 5*random.NormFloat64())
		}
		if low, high := interval(a, b); low <= 1.1 && 1.1 <= high {
			within++
		}
	}
	share := float64(within) / tries
	qt.Check(t, qt.IsTrue(share > 0.94 && share < 0.97), qt.Commentf("%f", share))
}
