package findings

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// made is a session that a test makes up: 500 steps of 16 requests, which decode, and
// 100 requests. As it stands nothing is wrong with it.
type made struct {
	facts       session.Facts
	steps       []record.StepRow
	requests    []record.RequestRow
	samples     []record.GPUSampleRow
	operations  []record.CPUOperationRow
	activations []record.MoEActivationRow
	evictions   int
	lost        int64
}

const stepNS = 10_000_000

func healthy() *made {
	m := &made{}
	m.facts.Engines = []record.Engine{{MaxSeqs: 64, MaxTokens: 2048, MaxModelLen: 4096, Caching: true, AsyncSched: true}}
	for i := range int64(500) {
		at := i * stepNS
		m.steps = append(m.steps, record.StepRow{
			StepID: i, StartNS: at, ScheduledNS: at + 300_000, EndNS: new(at + 9_500_000), Phase: record.PhaseDecode,
			Requests: 16, DecodeRequests: 16, Tokens: 16, DecodeTokens: 16, OutputTokens: new(int32(16)),
			Running: new(int32(16)), Waiting: new(int32(0)), KVUsed: new(int32(600)), KVTotal: new(int32(1000)),
			StepGPUNS: new(int64(8_000_000)), GPUIdleNS: new(int64(100_000)), HostWaited: new(true), MBU: new(0.7),
			GraphMode: new("FULL"), PaddedTokens: new(int32(16)),
		})
	}
	for i := range int64(100) {
		m.requests = append(m.requests, record.RequestRow{
			RequestUID: i, ArrivalNS: new(i * 40 * stepNS / 8), FinishedNS: new(i*40*stepNS/8 + 80*stepNS),
			PromptTokens: new(int32(1200)), CachedTokens: new(int32(300)), OutputTokens: new(int32(80)), PreemptedNS: new(int64(0)),
		})
	}
	for range 40 {
		m.samples = append(m.samples, record.GPUSampleRow{SMPct: new(90.0), OthersSMPct: new(0.0), Throttle: new("")})
	}
	for i := range int64(500) {
		m.operations = append(m.operations, record.CPUOperationRow{Operation: "prepare_inputs", DurNS: 900_000, TimeNS: i * stepNS})
	}
	for layer := range int32(4) {
		for expert := range int32(8) {
			m.activations = append(m.activations, record.MoEActivationRow{Layer: layer, Expert: expert, Activations: 5000 + int64(expert)})
		}
	}
	return m
}

// find writes the session and looks through it.
func (m *made) find(t *testing.T) []Finding {
	t.Helper()
	place, err := session.OpenPlace(t.TempDir(), session.Owner{UID: -1, GID: -1})
	qt.Assert(t, qt.IsNil(err))
	defer place.Close()
	tables, err := session.CreateTables(place, session.About{SessionID: "made"})
	qt.Assert(t, qt.IsNil(err))
	for i := range m.steps {
		qt.Assert(t, qt.IsNil(tables.Step(&m.steps[i])))
	}
	for i := range m.requests {
		qt.Assert(t, qt.IsNil(tables.Request(&m.requests[i])))
	}
	for i := range m.samples {
		qt.Assert(t, qt.IsNil(tables.GPUSample(&m.samples[i])))
	}
	for i := range m.operations {
		qt.Assert(t, qt.IsNil(tables.CPUOperation(&m.operations[i])))
	}
	for i := range m.activations {
		qt.Assert(t, qt.IsNil(tables.MoEActivation(&m.activations[i])))
	}
	for range m.evictions {
		qt.Assert(t, qt.IsNil(tables.KVEviction(&record.KVEvictionRow{HadHash: true})))
	}
	// These are no finding: a time of a replay as kernels were switched on, and choices of a drafter.
	for probe, reason := range map[string]string{"cupti/7": "not_timed", "moe": "draft_model"} {
		qt.Assert(t, qt.IsNil(tables.Loss(&record.LossRow{Probe: probe, Reason: reason, Count: 3})))
	}
	if m.lost > 0 {
		qt.Assert(t, qt.IsNil(tables.Loss(&record.LossRow{Probe: "ring", Reason: "full", Count: m.lost})))
	}
	qt.Assert(t, qt.IsNil(tables.Close()))
	search := NewSearch(&m.facts)
	qt.Assert(t, qt.IsNil(session.Visit(place, search.Visitor())))
	return search.Findings()
}

// TestHealthy: nothing is found where nothing is.
func TestHealthy(t *testing.T) {
	qt.Assert(t, qt.HasLen(healthy().find(t), 0))
	var b bytes.Buffer
	qt.Assert(t, qt.IsNil(WriteText(&b, nil)))
	qt.Assert(t, qt.Equals(b.String(), "\nFindings     none\n"))
	qt.Assert(t, qt.HasLen((&made{}).find(t), 0)) // and nothing in nothing
}

// TestSick: in a session that was made to have it each rule's finding is the first one,
// with the figures that were put in.
func TestSick(t *testing.T) {
	every := func(m *made, n int, f func(i int, r *record.StepRow)) {
		for i := range m.steps {
			if i%n == 0 {
				f(i, &m.steps[i])
			}
		}
	}
	for _, c := range []struct {
		name string
		make func(m *made)
		says []string // in title, evidence and change
	}{
		{"kv_cache_too_small", func(m *made) {
			every(m, 2, func(_ int, r *record.StepRow) {
				r.KVUsed, r.Waiting, r.Preempted, r.RecomputeTokens = new(int32(990)), new(int32(16)), 1, 1
			})
			m.requests[0].PreemptedNS = new(int64(3_000_000_000))
		}, []string{"in 250 of 500 steps the cache was full (99.0 % of it", "16 requests waited beside 16", "about 2.0 times its size", "--max-num-seqs 16", "250 preemptions: requests were out for 3s"}},
		{"max_num_seqs_binds", func(m *made) {
			m.facts.Engines[0].MaxSeqs = 16
			every(m, 1, func(_ int, r *record.StepRow) { r.Waiting = new(int32(8)) })
		}, []string{"--max-num-seqs is 16", "never more than 60.0 % in use", "--max-num-seqs 32"}},
		{"max_num_batched_tokens_binds", func(m *made) {
			every(m, 2, func(_ int, r *record.StepRow) {
				r.Phase, r.Tokens, r.Waiting, r.DecodeRequests = record.PhasePrefill, 2048, new(int32(8)), 0
			})
		}, []string{"--max-num-batched-tokens is 2048", "--max-num-batched-tokens 4096"}},
		{"prefill_delays_decode", func(m *made) {
			every(m, 4, func(_ int, r *record.StepRow) {
				r.Phase, r.PrefillTokens, r.Tokens, r.StepGPUNS = record.PhaseMixed, 1984, 2000, new(int64(48_000_000))
			})
		}, []string{"25.0 % of the output tokens", "40.00 ms longer", "each of which adds 20.2 µs", "--max-num-batched-tokens 512", "up to about 18.32 ms (a decode step: 8.00 ms)"}},
		{"gpu_waits_for_host", func(m *made) {
			m.facts.Engines[0].AsyncSched = false
			every(m, 1, func(_ int, r *record.StepRow) { r.GPUIdleNS = new(int64(6_000_000)) })
		}, []string{"idle for 42.9 % of the time, 6.00 ms before a step", "prepare inputs 0.90 ms", "--async-scheduling"}},
		{"steps_without_graphs", func(m *made) {
			every(m, 5, func(_ int, r *record.StepRow) {
				r.GraphMode, r.Tokens, r.GPUIdleNS = new("NONE"), 40, new(int64(700_000))
			})
		}, []string{"100 of 500 (20.0 %)", "40 tokens (100 steps); the largest graph that was used is of 16", "\"max_cudagraph_capture_size\": 40"}},
		{"steps_without_graphs", func(m *made) {
			every(m, 1, func(_ int, r *record.StepRow) { r.GraphMode = new("NONE") })
		}, []string{"500 of 500 (100.0 %)", "--enforce-eager"}},
		{"padding", func(m *made) {
			every(m, 1, func(i int, r *record.StepRow) {
				r.Tokens = []int32{9, 17}[i%2]
				r.PaddedTokens = new([]int32{16, 32}[i%2])
			})
		}, []string{"45.8 % of the tokens computed in graphs (5500 of 12000), with 2 sizes", "\"cudagraph_capture_sizes\": [9, 17]}': 0.0 % padding"}},
		{"low_bandwidth", func(m *made) {
			every(m, 1, func(_ int, r *record.StepRow) { r.MBU = new(0.2) })
		}, []string{"20.0 % of it in 500 decode steps"}},
		{"gpu_throttled", func(m *made) {
			for i := range m.samples[:10] {
				m.samples[i].Throttle = new("hw_thermal_slowdown|gpu_idle")
			}
		}, []string{"hw thermal slowdown 25.0 %"}},
		{"gpu_shared", func(m *made) {
			for i := range m.samples[:10] {
				m.samples[i].OthersSMPct = new(12.0)
			}
		}, []string{"in 25.0 % of the samples"}},
		{"experts_uneven", func(m *made) {
			m.activations[9].Activations, m.activations[10].Activations = 60_000, 0
		}, []string{"in layer 1 the most chosen one has 5.3 times the mean", "1 experts of all layers were never chosen"}},
		{"prefix_cache_useless", func(m *made) {
			for i := range m.requests {
				m.requests[i].CachedTokens = new(int32(0))
			}
			m.evictions = 40
		}, []string{"0.0 % of 120000 prompt tokens", "40 cached blocks"}},
		{"kv_cache_too_large", func(m *made) {
			every(m, 1, func(_ int, r *record.StepRow) { r.KVUsed = new(int32(100)) })
		}, []string{"at most 10.0 %"}},
		{"max_model_len_unused", func(m *made) { m.facts.Engines[0].MaxModelLen = 131072 }, []string{"--max-model-len 131072", "the longest had 1280 tokens"}},
		{eventsLost, func(m *made) {
			m.lost = 7
			every(m, 1, func(_ int, r *record.StepRow) { r.GPUIdleNS = new(int64(6_000_000)) })
		}, []string{"7 events were lost"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := healthy()
			c.make(m)
			list := m.find(t)
			qt.Assert(t, qt.IsTrue(len(list) > 0))
			qt.Assert(t, qt.Equals(list[0].Name, c.name), qt.Commentf("%+v", list))
			if list[0].Cost != nil {
				qt.Check(t, qt.IsTrue(*list[0].Cost > 0 && *list[0].Cost <= 1))
			}
			text := strings.Join(append([]string{list[0].Title, list[0].Change}, list[0].Evidence...), "\n")
			for _, s := range c.says {
				qt.Check(t, qt.StringContains(text, s))
			}
		})
	}
}

// TestText: as a person sees it.
func TestText(t *testing.T) {
	cost := 0.496
	var b bytes.Buffer
	qt.Assert(t, qt.IsNil(WriteText(&b, []Finding{
		{Title: "The GPU waits", Cost: &cost, Evidence: []string{strings.Repeat("some words ", 12)}, Change: "--this"},
		{Title: "Another", Evidence: []string{"it is so"}, Change: "nothing"},
	})))
	qt.Assert(t, qt.Equals(b.String(), `
Findings     the costliest first; of the time of all requests

 1 49.6%  The GPU waits
          some words some words some words some words some words some words some words some
          words some words some words some words some words
        → --this

 2     –  Another
          it is so
        → nothing
`))
}
