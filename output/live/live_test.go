package live

import (
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

func step(engine int32, id, start, end int64) *record.StepRow {
	running := int32(4)
	return &record.StepRow{
		Engine: engine, StepID: id, StartNS: start, ScheduledNS: start + 1, EndNS: &end, Phase: record.PhaseDecode,
		Requests: 4, DecodeRequests: 4, Tokens: 4, DecodeTokens: 4, Running: &running,
	}
}

// The table's rows are whole, each with one source, and their names are good in both
// conventions.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, m := range Metrics() {
		sources := 0
		for _, has := range []bool{
			m.step != nil, m.request != nil, m.preemption != nil, m.eviction != nil, m.operation != nil, m.launch != nil,
			m.collective != nil, m.sample != nil, m.loss != nil, m.state != nil,
		} {
			if has {
				sources++
			}
		}
		at := qt.Commentf("%s", m.Name)
		qt.Check(t, qt.Equals(sources, 1), at)
		qt.Check(t, qt.IsFalse(names[m.Prometheus()]), at)
		names[m.Prometheus()] = true
		qt.Check(t, qt.IsTrue(regexp.MustCompile(`^pmtrace(\.[a-z][a-z_0-9]*)+$`).MatchString(m.Name)), at)
		qt.Check(t, qt.IsTrue(strings.HasSuffix(m.Help, ".")), at)
		qt.Check(t, qt.IsTrue(len(m.Labels) <= maxLabels), at)
		qt.Check(t, qt.Equals(m.Kind == Histogram, len(m.Bounds) > 0), at)
		for i := 1; i < len(m.Bounds); i++ {
			qt.Check(t, qt.IsTrue(m.Bounds[i] > m.Bounds[i-1]), at)
		}
	}
	qt.Check(t, qt.IsTrue(names["pmtrace_step_duration_seconds"] && names["pmtrace_kv_cache_usage_ratio"] && names["pmtrace_collective_bytes_total"]))
}

func TestBuckets(t *testing.T) {
	v := &vector{metric: &Metric{Kind: Histogram, Unit: "s", Bounds: []int64{10, 20}}, series: map[labels]*series{}}
	for _, n := range []int64{-5, 0, 10, 11, 20, 21, 1 << 40} {
		v.observe(n, labels{})
	}
	got := v.family().Series[0]
	qt.Check(t, qt.DeepEquals(got.Buckets, []uint64{3, 2, 2})) // upper bounds are inclusive
	qt.Check(t, qt.Equals(got.Count, 7))
	qt.Check(t, qt.DeepEquals(stepBounds()[:8], []int64{10_000, 15_000, 20_000, 30_000, 50_000, 70_000, 100_000, 150_000}))
	qt.Check(t, qt.Equals(stepBounds()[len(stepBounds())-1], 5_000_000_000))
}

// Labels that a hostile journal makes up do not make memory grow.
func TestSeriesAreBounded(t *testing.T) {
	totals := NewTotals()
	for i := range 10_000 {
		r := &record.LossRow{Probe: fmt.Sprint("probe", i), Reason: "x", Count: 1}
		qt.Assert(t, qt.IsNil(totals.Loss(r)))
	}
	s := totals.Snapshot()
	for _, f := range s.Families {
		if f.Name != "pmtrace.losses" {
			continue
		}
		qt.Check(t, qt.Equals(len(f.Series), maxSeries+1))
		sum := 0.0
		for _, one := range f.Series {
			sum += one.Value
		}
		qt.Check(t, qt.Equals(sum, 10_000))
		qt.Check(t, qt.Equals(f.Series[len(f.Series)-1].Labels[1], other))
	}
}

// The window ends where rows are settled, and what is older or newer is not in it.
func TestWindow(t *testing.T) {
	const s = int64(1e9)
	r := NewRecent(10 * s)
	for i := range int64(300) { // 10 a second, for 30 s
		qt.Assert(t, qt.IsNil(r.Step(step(0, i, i*s/10, i*s/10+s/20))))
		if i%10 == 0 {
			qt.Assert(t, qt.IsNil(r.KVEviction(&record.KVEvictionRow{TimeNS: i * s / 10, HadHash: true})))
			qt.Assert(t, qt.IsNil(r.KVEviction(&record.KVEvictionRow{TimeNS: i * s / 10})))
		}
	}
	v := r.Look(&Moment{NowNS: 29 * s, SettledNS: 28 * s, EvictionsKnown: true}, 5, ByTotal)
	qt.Check(t, qt.Equals(v.FromNS, 18*s))
	qt.Check(t, qt.Equals(v.ToNS, 28*s))
	qt.Check(t, qt.Equals(v.DelayNS, s))
	qt.Check(t, qt.Equals(v.StepsPerS, 10))
	qt.Check(t, qt.Equals(*v.EvictionsPerS, 1.1)) // from 18 s and to 28 s, both included
	qt.Check(t, qt.IsNil(v.TokensOutPerS))        // not known
	qt.Check(t, qt.Equals(v.Phases[0].MeanRequests, 4))
	qt.Check(t, qt.Equals(v.Phases[0].Step.P99, float64(s/20)))
	qt.Check(t, qt.Equals(*v.Running, 4))
	qt.Check(t, qt.Equals(v.Since.Steps, 300))

	early := NewRecent(10 * s)
	qt.Assert(t, qt.IsNil(early.Step(step(0, 0, s, 2*s))))
	v = early.Look(&Moment{NowNS: 4 * s, SettledNS: 4 * s}, 5, ByTotal)
	qt.Check(t, qt.Equals(v.ToNS-v.FromNS, 4*s)) // no longer than there was
	qt.Check(t, qt.Equals(v.StepsPerS, 0.25))
}

// Hours of steps take no more memory than the window's, and a window with too many is cut
// short and says so.
func TestRecentIsBounded(t *testing.T) {
	const s = int64(1e9)
	r := NewRecent(10 * s)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	fill := func(from, seconds, perS int64) {
		for i := from * perS; i < (from+seconds)*perS; i++ {
			end := (i + 1) * s / perS
			_ = r.Step(step(int32(i%3), i/3, i*s/perS, end))
			_ = r.Request(&record.RequestRow{RequestUID: i, ExternalID: "id", FinishedNS: &end})
			_ = r.KVEviction(&record.KVEvictionRow{TimeNS: end, HadHash: true})
			_ = r.Preemption(&record.PreemptionRow{TimeNS: end})
		}
	}
	fill(0, 60, 300)
	before := heap()
	fill(60, 7200, 300)
	after := heap()
	qt.Check(t, qt.IsTrue(after < before+1<<20), qt.Commentf("%d, then %d bytes", before, after))
	v := r.Look(&Moment{NowNS: 7260 * s, SettledNS: 7260 * s}, 5, ByTotal)
	qt.Check(t, qt.Equals(v.ToNS-v.FromNS, 10*s))
	qt.Check(t, qt.IsTrue(v.StepsPerS >= 300 && v.StepsPerS < 300.2)) // the one that ended at FromNS, too

	fill(7260, 20, 20_000)
	v = r.Look(&Moment{NowNS: 7280 * s, SettledNS: 7280 * s}, 5, ByTotal)
	qt.Check(t, qt.IsTrue(v.ToNS-v.FromNS < 4*s && v.ToNS-v.FromNS > 3*s), qt.Commentf("%d", v.ToNS-v.FromNS))
	qt.Check(t, qt.IsTrue(v.StepsPerS > 19_999 && v.StepsPerS < 20_001))
	qt.Check(t, qt.IsTrue(heap() < before+64<<20))
}

// The GPU's time is split at the window's edges, engine by engine.
func TestGPUShare(t *testing.T) {
	const s = int64(1e9)
	r := NewRecent(10 * s)
	source := record.TimingCUPTI
	timed := func(engine int32, id, idle, start, gpu int64, fresh int32) {
		row := step(engine, id, start, start+gpu)
		row.GPUStartNS, row.StepGPUNS, row.GPUIdleNS, row.GPUTimingSource, row.NewRequests = &start, &gpu, &idle, &source, fresh
		qt.Assert(t, qt.IsNil(r.Step(row)))
	}
	timed(0, 0, 0, 9*s, 2*s, 0)  // half of it before the window
	timed(0, 1, 1*s, 12*s, s, 0) // the GPU waited
	timed(0, 2, 2*s, 15*s, s, 4) // there was nothing to do
	timed(1, 0, 0, 10*s, 6*s, 0)
	v := r.Look(&Moment{NowNS: 20 * s, SettledNS: 20 * s}, 5, ByTotal)
	// Both run: to the end of their newest step, at 16 s.
	qt.Check(t, qt.Equals(v.GPU.BusyPct, 75))
	qt.Check(t, qt.Equals(v.GPU.WaitingPct, 100*1.0/12))
	qt.Check(t, qt.Equals(v.GPU.Source, record.TimingCUPTI))
	qt.Check(t, qt.IsNil(v.Graphs))
}

func TestSlowest(t *testing.T) {
	const s = int64(1e9)
	r := NewRecent(10 * s)
	zero, tokens := int64(0), int32(11)
	for i := range int64(5) {
		first, end, decode := 2*s-i, (3+i)*s, 1*s
		qt.Assert(t, qt.IsNil(r.Request(&record.RequestRow{
			ExternalID: fmt.Sprint(i), ArrivalNS: &zero, FirstTokNS: &first, FinishedNS: &end, DecodeNS: &decode, OutputTokens: &tokens,
		})))
	}
	qt.Assert(t, qt.IsNil(r.Request(&record.RequestRow{ExternalID: "unfinished"})))
	ids := func(by Order) (list []string) {
		v := r.Look(&Moment{NowNS: 9 * s, SettledNS: 9 * s}, 3, by)
		qt.Check(t, qt.Equals(v.Finished, 5))
		for _, f := range v.Slowest {
			list = append(list, f.ID)
		}
		return list
	}
	qt.Check(t, qt.DeepEquals(ids(ByTotal), []string{"4", "3", "2"}))
	qt.Check(t, qt.DeepEquals(ids(ByTTFT), []string{"0", "1", "2"}))
	qt.Check(t, qt.DeepEquals(ids(ByTPOT), []string{"0", "1", "2"}))
	qt.Check(t, qt.HasLen(ids(ByQueue), 0)) // not known
	v := r.Look(&Moment{NowNS: 9 * s, SettledNS: 9 * s}, 3, ByTotal)
	qt.Check(t, qt.Equals(v.TPOT.P50, 1e8))
	qt.Check(t, qt.Equals(v.Since.Unfinished, 1))
}

// What live totals and a window cost a step of 32 requests.
func BenchmarkStep(b *testing.B) {
	totals, recent := NewTotals(), NewRecent(10e9)
	source, mode, n := record.TimingEventBound, "FULL", int32(32)
	gpu, idle := int64(3e6), int64(1e6)
	for _, c := range []struct {
		name string
		to   record.Sink
	}{{"totals", totals}, {"recent", recent}} {
		b.Run(c.name, func(b *testing.B) {
			i := int64(0)
			for b.Loop() {
				end := (i + 1) * 5e6
				row := step(0, i, i*5e6, end)
				row.GPUStartNS, row.StepGPUNS, row.GPUIdleNS, row.GPUTimingSource = &row.StartNS, &gpu, &idle, &source
				row.ForwardNS, row.TimingSource, row.GraphMode, row.PaddedTokens, row.OutputTokens = &gpu, &source, &mode, &n, &n
				row.KVUsed, row.KVTotal, row.Waiting = &n, &n, &n
				_ = c.to.Step(row)
				for _, operation := range []string{"scheduling", "model_execution", "prepare_inputs", "forward_launch", "logits", "sampling", "output_copy", "output_wait", "postprocess", "update_from_output"} {
					_ = c.to.CPUOperation(&record.CPUOperationRow{Operation: operation, DurNS: 1e5})
				}
				_ = c.to.GraphLaunch(&record.GraphLaunchRow{Mode: &mode})
				i++
			}
		})
	}
}
