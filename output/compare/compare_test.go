package compare

import (
	"math"
	"runtime"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct{ degrees, want float64 }{
		{1, 12.706}, {2, 4.303}, {4, 2.776}, {8, 2.306}, {12, 2.179}, {1000, 1.962},
	} {
		qt.Check(t, qt.IsTrue(math.Abs(quantile975(c.degrees)-c.want) < 0.001), qt.Commentf("%v", c))
	}
}

// A value lies in its bucket, buckets have no gaps, and none is wider than 0.2 %.
func TestBuckets(t *testing.T) {
	for _, v := range []int64{0, 1, 511, 512, 1023, 1024, 1025, 2047, 2048, 1e6, 123456789, 1e12, 1<<50 + 1} {
		low, width := boundsOf(bucketOf(v))
		qt.Check(t, qt.IsTrue(low <= float64(v) && float64(v) < low+width), qt.Commentf("%d: %f, %f", v, low, width))
		qt.Check(t, qt.IsTrue(v < 1024 || width/low <= 1.0/512))
		next, _ := boundsOf(bucketOf(v) + 1)
		qt.Check(t, qt.Equals(next, low+width))
	}
	qt.Check(t, qt.Equals(bucketOf(-5), 0))
}

func TestPercentile(t *testing.T) {
	b := &block{}
	for v := range int64(1000) {
		b.add(distTTFT, 1e6+v*1e3)
	}
	r := &Run{blocks: []*block{b, b}}
	r.index()
	for _, p := range []float64{0.5, 0.99} {
		got, want := r.whole().percentile(distTTFT, p), 1e6+p*1e6
		qt.Check(t, qt.IsTrue(math.Abs(got/want-1) < 0.002), qt.Commentf("%f, want %f", got, want))
	}
	few := &block{}
	for range 99 {
		few.add(distTTFT, 5)
	}
	r = &Run{blocks: []*block{few}}
	r.index()
	qt.Check(t, qt.IsFalse(math.IsNaN(r.whole().percentile(distTTFT, 0.5))))
	qt.Check(t, qt.IsTrue(math.IsNaN(r.whole().percentile(distTTFT, 0.99))))
}

// Four runs a side can show something, three cannot.
func TestLeastRuns(t *testing.T) {
	for _, c := range []struct {
		a, b int
		p    float64
	}{{3, 3, 0.1}, {4, 4, 2.0 / 70}, {5, 5, 2.0 / 252}, {3, 5, 1.0 / 56}, {1, 5, 1.0 / 6}} {
		va, vb := [][]float64{}, [][]float64{}
		for i := range c.a {
			va = append(va, []float64{1 + float64(i)/1000, 7})
		}
		for i := range c.b {
			vb = append(vb, []float64{2 + float64(i)/1000, 7})
		}
		p := betweenRuns(va, vb)
		qt.Check(t, qt.IsTrue(math.Abs(p[0]-c.p) < 1e-9), qt.Commentf("%v: %v", c, p))
		qt.Check(t, qt.IsTrue(math.Abs(leastP(c.a, c.b)-c.p) < 1e-9))
		qt.Check(t, qt.Equals(p[1], 1))
	}
}

// A metric that a run lacks is not tested, and takes nothing from the others.
func TestMissing(t *testing.T) {
	nan := math.NaN()
	p := betweenRuns(
		[][]float64{{1, nan}, {1.01, 2}, {1.02, 2}, {1.03, 2}},
		[][]float64{{2, 9}, {2.01, 9}, {2.02, 9}, {2.03, 9}})
	qt.Check(t, qt.IsTrue(p[0] < Level))
	qt.Check(t, qt.IsTrue(math.IsNaN(p[1])))
}

func TestParseGate(t *testing.T) {
	g, err := ParseGate("tpot_p99>+3%")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(g, Gate{"tpot_p99>+3%", "tpot_p99", true, 0.03}))
	g, err = ParseGate("tokens_per_s < -2.5%")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(g, Gate{"tokens_per_s < -2.5%", "tokens_per_s", false, -0.025}))
	_, err = ParseGate("cpu_scheduling_mean>0%")
	qt.Check(t, qt.IsNil(err))
	for _, bad := range []string{"", "tpot_p99", "tpot_p99>3", "tpot_p99>-3%", "tokens_per_s<3%", "tpot>3%", "tpot_p99=3%", "cpu__mean>3%", "tpot_p99>%"} {
		_, err := ParseGate(bad)
		qt.Check(t, qt.IsNotNil(err), qt.Commentf("%s", bad))
	}
}

func TestGates(t *testing.T) {
	row := func(name string, change *float64, p *float64, runs int) Row {
		return Row{Metric: Metric{Name: name}, A: Value{new(1.0), nil, runs}, B: Value{new(2.0), nil, 4}, Change: change, P: p, Shown: p != nil && *p <= Level}
	}
	r := &Result{Metrics: []Row{
		row("ttft_p50", new(0.05), new(0.01), 4), row("ttft_p99", new(0.05), new(0.2), 4),
		row("tokens_per_s", new(-0.05), new(0.01), 4), row("mbu", nil, nil, 0), row("preemptions_per_s", nil, new(0.01), 4),
	}}
	for text, want := range map[string]Verdict{
		"ttft_p50>3%":          {Fails: true, Shown: true},
		"ttft_p50>5%":          {Shown: true},
		"ttft_p50<-3%":         {Shown: true},
		"ttft_p99>3%":          {},
		"tokens_per_s<-3%":     {Fails: true, Shown: true},
		"mbu<-3%":              {NoData: true},
		"preemptions_per_s>3%": {Fails: true, Shown: true}, // from 0
		"queue_p50>3%":         {NoData: true},
	} {
		g, err := ParseGate(text)
		qt.Assert(t, qt.IsNil(err))
		got := r.Check(g)
		qt.Check(t, qt.DeepEquals([]bool{got.Fails, got.NoData, got.Shown}, []bool{want.Fails, want.NoData, want.Shown}), qt.Commentf("%s", text))
	}
}

// Sessions of any length have at most 256 blocks, of the same length in both.
func TestBlocks(t *testing.T) {
	collect := func(steps int) *Run {
		c := newCollector(Setup{})
		for i := range int64(steps) {
			c.step(&record.StepRow{StartNS: i * 1e9, ScheduledNS: i*1e9 + 1e6, EndNS: new(i*1e9 + 1e7), Tokens: 1, Requests: 1, Phase: record.PhaseDecode})
		}
		return c.run()
	}
	short, long := collect(100), collect(3000)
	qt.Check(t, qt.Equals(len(short.blocks), 50))
	qt.Check(t, qt.Equals(long.seconds, 16))
	qt.Check(t, qt.Equals(len(long.blocks), 188))
	alike(short, long)
	qt.Check(t, qt.Equals(short.seconds, 16))
	qt.Check(t, qt.Equals(len(short.blocks), 7))
	qt.Check(t, qt.Equals(short.whole().sums[sumSteps], 100))
	qt.Check(t, qt.Equals(long.whole().sums[sumSteps], 3000))
}

// What is missing on one side is a difference, too.
func TestSetup(t *testing.T) {
	read := func(metadata string) Setup {
		s, err := readSetup(fstest.MapFS{"metadata.json": {Data: []byte(metadata)}})
		qt.Assert(t, qt.IsNil(err))
		return s
	}
	a := read(`{"versions": {"vllm": "0.32.0"}, "command": ["vllm", "serve", "m"], "preemption_tracking": true, "events_lost": 3,
		"engines": [{"max_num_seqs": 128, "watches": ["free_blocks"]}, {"max_num_seqs": 128}],
		"gpus": [{"name": "H100", "power_limit_w": 700}, {"name": "H100", "power_limit_w": 700}], "forward_timing_source": "cupti"}`)
	b := read(`{"versions": {"vllm": "0.33.0"}, "command": ["vllm", "serve", "m", "--enforce-eager"], "forward_timing_source": null,
		"engines": [{"max_num_seqs": 256}, {"max_num_seqs": 128}]}`)
	qt.Check(t, qt.IsTrue(a.evictions && a.preemptions && a.lost == 3))
	qt.Check(t, qt.IsFalse(b.evictions || b.preemptions))
	qt.Check(t, qt.DeepEquals(differences([]*Run{{Setup: a}}, []*Run{{Setup: b}}), []Difference{
		{"vllm", []string{"0.32.0"}, []string{"0.33.0"}},
		{"gpu", []string{"2 × H100"}, []string{""}},
		{"power limit W", []string{"700"}, []string{""}},
		{"max_num_seqs", []string{"128"}, []string{"128, 256"}},
		{"command", []string{""}, []string{"--enforce-eager"}},
		{"gpu times by", []string{"cupti"}, []string{""}},
	}))
	qt.Check(t, qt.HasLen(differences([]*Run{{Setup: a}, {Setup: a}}, []*Run{{Setup: a}}), 0))
	// Within a side, too.
	qt.Check(t, qt.HasLen(differences([]*Run{{Setup: a}, {Setup: b}}, []*Run{{Setup: a}, {Setup: b}}), 6))
	_, err := readSetup(fstest.MapFS{"metadata.json": {Data: []byte("{")}})
	qt.Check(t, qt.ErrorMatches(err, "metadata.json: .*"))
}

func TestUnlike(t *testing.T) {
	a, b := unlike([]string{"serve\n--port\n1"}, []string{"serve\n--port\n2\n--eager"})
	qt.Check(t, qt.DeepEquals(a, []string{"1"}))
	qt.Check(t, qt.DeepEquals(b, []string{"--eager 2"}))
}

// An hour of a busy server stays small.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("an hour's worth of steps")
	}
	c := newCollector(Setup{evictions: true, preemptions: true})
	s := traffic.New(traffic.Chat32)
	s.Rows = &hour{collector: c}
	for range 180_000 { // of 20 ms
		_, err := s.Step()
		qt.Assert(t, qt.IsNil(err))
	}
	s = nil
	r := c.run()
	var before, after runtime.MemStats
	c = nil
	runtime.GC()
	runtime.ReadMemStats(&before)
	blocks := len(r.blocks)
	r = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	mib := float64(before.HeapAlloc-min(after.HeapAlloc, before.HeapAlloc)) / (1 << 20)
	t.Logf("%d blocks, %.1f MiB", blocks, mib)
	qt.Check(t, qt.IsTrue(blocks <= maxBlocks && mib < 32))
}

// hour hands rows on as they come; the steps are enough to know where they belong.
type hour struct {
	record.Discard
	collector *collector
}

func (h *hour) Step(r *record.StepRow) error       { h.collector.step(r); return nil }
func (h *hour) Request(r *record.RequestRow) error { h.collector.request(r); return nil }
func (h *hour) CPUOperation(r *record.CPUOperationRow) error {
	h.collector.cpuOperation(r)
	return nil
}
func (h *hour) KVUsage(r *record.KVUsageRow) error { h.collector.kvUsage(r); return nil }

// Every metric has its own name, and is one that a gate may name.
func TestNames(t *testing.T) {
	var names []string
	for _, m := range Metrics() {
		names = append(names, m.Name)
		qt.Check(t, qt.IsTrue(IsMetric(m.Name) && m.About != ""))
	}
	slices.Sort(names)
	qt.Check(t, qt.HasLen(slices.Compact(names), len(Metrics())))
}
