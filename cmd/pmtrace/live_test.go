package main

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/session"
)

// recordedSessions are the journals of real servers, decoded.
func recordedSessions(t *testing.T, use func(t *testing.T, dir *session.Dir)) {
	for _, place := range []string{
		pressure, "testdata/recorded/h200-midload", "testdata/recorded/h200-record",
		"../../e2e/gpu/testdata/h200-llama1b", llama8b, "../../e2e/gpu/testdata/h200-qwen3moe-v1",
	} {
		t.Run(filepath.Base(place), func(t *testing.T) {
			dir, err := session.Open(decoded(t, place))
			qt.Assert(t, qt.IsNil(err))
			defer dir.Close()
			use(t, dir)
		})
	}
}

// records hands on a journal's records.
func records(t testing.TB, dir *session.Dir, use func(kind byte, payload []byte)) {
	r, err := journal.Open(os.DirFS(filepath.Join(dir.Path(), "journal")))
	qt.Assert(t, qt.IsNil(err))
	defer r.Close()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return
		}
		qt.Assert(t, qt.IsNil(err))
		use(rec.Kind, rec.Payload)
	}
}

// What was folded while a journal was written is what its tables give, metric by metric.
func TestTotalsLiveAndFromTables(t *testing.T) {
	recordedSessions(t, func(t *testing.T, dir *session.Dir) {
		totals := live.NewTotals()
		p := decode.NewPipeline(totals, decode.Options{})
		records(t, dir, func(kind byte, payload []byte) { qt.Assert(t, qt.IsNil(p.Record(kind, payload))) })
		_, err := p.Close()
		qt.Assert(t, qt.IsNil(err))
		facts, want, err := totalsOf(dir)
		qt.Assert(t, qt.IsNil(err))
		totals.Describe(facts)
		totals.SetState(&live.State{DurationNS: facts.DurationNS(), Lost: p.Live().Lost})
		got := totals.Snapshot()
		qt.Check(t, qt.Equals(got.Target, want.Target))
		qt.Check(t, qt.DeepEquals(figuresOf(&got), figuresOf(want)))
	})
}

// figures gives a snapshot's values by metric and labels.
type figures map[string]map[string]live.Series

func figuresOf(s *live.Snapshot) figures {
	all := figures{}
	for _, f := range s.Families {
		all[f.Name] = map[string]live.Series{}
		for _, one := range f.Series {
			all[f.Name][strings.Join(one.Labels, ",")] = one
		}
	}
	return all
}

// sum adds up the series whose labels a test accepts.
func (f figures) sum(name string, of func(live.Series) float64, accept func(labels string) bool) (x float64) {
	for l, s := range f[name] {
		if accept == nil || accept(l) {
			x += of(s)
		}
	}
	return x
}

func value(s live.Series) float64 { return s.Value }
func many(s live.Series) float64  { return float64(s.Count) }
func whole(s live.Series) float64 { return s.Sum }

// The totals are those of the summary, which counts by itself.
func TestTotalsAndSummary(t *testing.T) {
	recordedSessions(t, func(t *testing.T, dir *session.Dir) {
		facts, snapshot, err := totalsOf(dir)
		qt.Assert(t, qt.IsNil(err))
		sum := session.NewSummary(dir, facts)
		qt.Assert(t, qt.IsNil(session.Visit(dir, sum.Visitor())))
		f := figuresOf(snapshot)
		equal := func(what string, got, want float64) {
			qt.Check(t, qt.IsTrue(got == want || got-want < 1e-9*want && want-got < 1e-9*want), qt.Commentf("%s: got %v, want %v", what, got, want))
		}
		tokens := func(l string) bool { return !strings.HasSuffix(l, ",empty") }
		equal("steps", f.sum("pmtrace.steps", value, tokens), float64(sum.Steps))
		equal("empty steps", f["pmtrace.steps"]["0,empty"].Value, float64(sum.EmptySteps))
		for phase, p := range sum.Phases {
			of := func(l string) bool { return strings.Split(l, ",")[1] == phase }
			equal(phase+" steps", f["pmtrace.steps"]["0,"+phase].Value, float64(p.Steps))
			equal(phase+" tokens", f.sum("pmtrace.step.batch_tokens", whole, of), float64(p.Tokens))
			equal(phase+" timed", f.sum("pmtrace.step.duration", many, of), float64(p.Step.Count()))
			equal(phase+" time", f.sum("pmtrace.step.duration", whole, of), p.Step.Total()/1e9)
			equal(phase+" GPU", f.sum("pmtrace.step.gpu_duration", many, of), float64(p.GPU.Count()))
			equal(phase+" GPU time", f.sum("pmtrace.step.gpu_duration", whole, of), p.GPU.Total()/1e9)
		}
		equal("tokens in", f["pmtrace.scheduled_tokens"]["0,prefill"].Value, float64(sum.InputTokens))
		equal("again", f["pmtrace.scheduled_tokens"]["0,recompute"].Value, float64(sum.AgainTokens))
		equal("tokens out", f["pmtrace.output_tokens"]["0"].Value, float64(sum.OutputTokens))
		equal("cached", f["pmtrace.prefix_cache.hit_tokens"]["0"].Value, float64(sum.CachedTokens))
		equal("finished", f.sum("pmtrace.requests.finished", value, nil), float64(sum.Requests-sum.Unfinished))
		equal("unfinished", f.sum("pmtrace.requests.unfinished", value, nil), float64(sum.Unfinished))
		for reason, n := range sum.Finished {
			equal(reason, f["pmtrace.requests.finished"]["0,"+reason].Value, float64(n))
		}
		for name, stat := range map[string]*session.Stat{
			"time_to_first_token": &sum.FirstToken, "queue_duration": &sum.Queue, "prefill_duration": &sum.Prefill,
			"decode_duration": &sum.Decode, "time_per_output_token": &sum.PerToken,
		} {
			equal(name, f["pmtrace.request."+name]["0"].Sum, stat.Total()/1e9)
			equal(name+" count", many(f["pmtrace.request."+name]["0"]), float64(stat.Count()))
		}
		preemptions := int64(0)
		for reason, n := range sum.Preemptions {
			equal(reason, f["pmtrace.preemptions"]["0,"+reason].Value, float64(n))
			preemptions += n
		}
		equal("preemptions", f.sum("pmtrace.preemptions", value, nil), float64(preemptions))
		equal("evictions", f["pmtrace.kv_cache.evictions"]["0"].Value, float64(sum.KV.Evictions))
		equal("blocks", f["pmtrace.kv_cache.blocks"]["0"].Value, float64(sum.KV.Blocks))
		equal("drained", f["pmtrace.gpu.idle"]["0,drained"].Value, float64(sum.GPU.DrainedNS)/1e9)
		equal("idle", f.sum("pmtrace.gpu.idle", value, nil), float64(sum.GPU.IdleNS)/1e9)
		for mode, n := range sum.Graphs.Steps {
			equal(mode, f["pmtrace.graph.steps"]["0,"+mode].Value, float64(n))
		}
		equal("computed", f.sum("pmtrace.graph.computed_tokens", value, nil), float64(sum.Graphs.PaddedTokens))
		equal("padding", f.sum("pmtrace.graph.padding_tokens", value, nil), float64(sum.Graphs.Padding))
		equal("launches", f.sum("pmtrace.graph.launches", value, nil), float64(sum.Graphs.Launches))
		for operation, stat := range sum.Operations {
			equal(operation, f["pmtrace.cpu_operation.duration"]["0,"+operation].Sum, stat.Total()/1e9)
		}
		for _, g := range sum.Samples {
			equal("samples", f.sum("pmtrace.gpu.samples", value, nil), float64(g.Count))
			for reason, n := range g.Throttle {
				equal(reason, f["pmtrace.gpu.throttled_samples"]["0,"+reason].Value, float64(n))
			}
		}
		lost := uint64(0)
		for _, l := range sum.Lost {
			lost += l.Count
		}
		equal("lost", f["pmtrace.lost_events"][""].Value, float64(lost))
		equal("losses", f.sum("pmtrace.losses", value, nil), float64(lost))
	})
}

// At a session's end top's figures, over all of it, are the summary's.
func TestTopAndSummary(t *testing.T) {
	recordedSessions(t, func(t *testing.T, dir *session.Dir) {
		w := newWatch(time.Hour, time.Now)
		records(t, dir, func(kind byte, payload []byte) { qt.Assert(t, qt.IsNil(w.Record(kind, payload))) })
		qt.Assert(t, qt.IsNil(w.Close()))
		v := w.frame(5, live.ByTotal).View
		facts, err := session.ReadFacts(dir)
		qt.Assert(t, qt.IsNil(err))
		sum := session.NewSummary(dir, facts)
		qt.Assert(t, qt.IsNil(session.Visit(dir, sum.Visitor())))

		finished := sum.Requests - sum.Unfinished
		preemptions := int64(0)
		for _, n := range sum.Preemptions {
			preemptions += n
		}
		qt.Check(t, qt.Equals(v.Since, live.Counts{
			Steps: sum.Steps, EmptySteps: sum.EmptySteps, TokensIn: sum.InputTokens, TokensOut: sum.OutputTokens,
			Finished: finished, Unfinished: sum.Unfinished, Preemptions: preemptions, Evictions: sum.KV.Evictions,
		}))
		seconds := float64(sum.TracedNS()) / 1e9
		near := func(what string, got, want float64) {
			qt.Check(t, qt.IsTrue(got-want <= 1e-9*want && want-got <= 1e-9*want), qt.Commentf("%s: got %v, want %v", what, got, want))
		}
		near("window", float64(v.ToNS-v.FromNS)/1e9, seconds)
		near("steps/s", v.StepsPerS, float64(sum.Steps)/seconds)
		near("tokens in/s", v.TokensInPerS, float64(sum.InputTokens)/seconds)
		near("tokens out/s", *v.TokensOutPerS, float64(sum.OutputTokens)/seconds)
		near("requests/s", v.RequestsPerS, float64(finished)/seconds)
		near("evictions/s", *v.EvictionsPerS, float64(sum.KV.Evictions)/seconds)
		near("preemptions/s", v.PreemptedPerS, float64(preemptions)/seconds)
		qt.Check(t, qt.Equals(len(v.Phases), len(sum.Phases)))
		for _, p := range v.Phases {
			want := sum.Phases[p.Phase]
			qt.Check(t, qt.Equals(p.Steps, want.Steps))
			near(p.Phase+" tokens", p.MeanTokens*float64(p.Steps), float64(want.Tokens))
			same(t, p.Phase, p.Step, &want.Step)
			same(t, p.Phase+" GPU", p.GPU, &want.GPU)
		}
		same(t, "ttft", v.TTFT, &sum.FirstToken)
		same(t, "tpot", v.TPOT, &sum.PerToken)
		same(t, "queue", v.Queue, &sum.Queue)
		qt.Check(t, qt.Equals(v.Graphs != nil, sum.Graphs.Known > 0))
		if g := v.Graphs; g != nil {
			near("FULL", g.FullPct, 100*float64(sum.Graphs.Steps["FULL"])/float64(sum.Graphs.Known))
			near("padding", *g.PaddingPct, sum.Graphs.PaddingPct())
		}
		qt.Check(t, qt.Equals(v.GPU != nil, sum.GPU.Steps > 0))
		if g := v.GPU; g != nil {
			busy := 0.0
			for _, p := range sum.Phases {
				busy += p.GPU.Total()
			}
			near("busy", g.BusyPct, 100*busy/1e9/seconds)
			near("idle with requests", g.WaitingPct, 100*float64(sum.GPU.IdleNS-sum.GPU.DrainedNS)/1e9/seconds)
			qt.Check(t, qt.Equals(g.Source, sum.GPU.Source()))
		}
		qt.Check(t, qt.DeepEquals(v.Losses, sum.Lost))
		slowest := map[string]int64{}
		for r, err := range session.Rows[record.RequestRow](dir) {
			qt.Assert(t, qt.IsNil(err))
			if r.ArrivalNS != nil && r.FinishedNS != nil {
				slowest[r.ExternalID] = *r.FinishedNS - *r.ArrivalNS
			}
		}
		longest := int64(0)
		for ns := range maps.Values(slowest) {
			longest = max(longest, ns)
		}
		qt.Check(t, qt.Equals(*v.Slowest[0].TotalNS, longest))
		for _, r := range v.Slowest {
			qt.Check(t, qt.Equals(*r.TotalNS, slowest[r.ID]))
		}
	})
}

func same(t *testing.T, what string, got live.Percentiles, want *session.Stat) {
	qt.Check(t, qt.Equals(got, live.Percentiles{Count: want.Count(), P50: want.Percentile(50), P99: want.Percentile(99), Max: want.Max()}), qt.Commentf("%s", what))
}
