package session

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

// onGPU makes the session one of a server on a GPU, with all profilers on.
func onGPU(facts *Facts) {
	facts.Start.Profilers = append(facts.Start.Profilers[:len(facts.Start.Profilers):len(facts.Start.Profilers)],
		ProfilerCUDAGraph, ProfilerEncoderDecoder, ProfilerGPU)
	worker := record.Worker{Worker: 0, PID: 11, Probes: []string{"graph_launch", "event_record"}, Libraries: []record.Library{
		{Path: "/venv/nvidia/cuda_runtime/lib/libcudart.so.12", Kind: "cudart"},
		{Path: "/venv/torchvision.libs/libcudart.so.12", Kind: "cudart", Skipped: "torch does not link it"},
	}}
	for _, fact := range []record.Fact{
		{Worker: &record.Worker{Worker: 0, PID: 11}},
		{Worker: &worker},
		{Graphs: &record.Graphs{Worker: 0, MonoNS: 1, Offset: -1}},
		{Graphs: &record.Graphs{Worker: 0, MonoNS: 2, Offset: 16, Graphs: []record.Graph{{Holder: "model"}, {Holder: "model"}, {Holder: "encoder"}}}},
		{GPU: &record.GPU{Index: 0, UUID: "GPU-1", Name: "NVIDIA H200"}},
		{GPUSample: &record.GPUSample{Index: 0}},
		{Sampler: &record.Sampler{Index: 0, Mode: "20us", IntervalNS: 20000}},
	} {
		facts.Add(fact)
	}
}

const (
	full8  = "FULL:BatchDescriptor(num_tokens=8, num_reqs=8, uniform=True, has_lora=False)"
	piece8 = "PIECEWISE:BatchDescriptor(num_tokens=8, num_reqs=None, uniform=False, has_lora=False)"
)

// graphRows are a FULL graph, a PIECEWISE one of two pieces, one that is never
// used, a throwaway, and one that nothing names.
func graphRows() []record.GraphRow {
	full := record.GraphRow{GraphID: 0, Holder: new("model"), Mode: new("FULL"), Descriptor: new(full8), NumTokens: new(int32(8)), NumReqs: new(int32(8)),
		Uniform: new(true), HasLora: new(false), CaptureNS: new(int64(2_500_000_000)), Launches: 2}
	piece := record.GraphRow{GraphID: 1, Holder: new("piecewise"), Mode: new("PIECEWISE"), Descriptor: new(piece8), NumTokens: new(int32(8)),
		Uniform: new(false), HasLora: new(false), Piece: new(int32(0)), Pieces: new(int32(2)), CaptureNS: new(int64(1_500_000_000)), Launches: 1}
	second := piece
	second.GraphID, second.Piece, second.CaptureNS = 2, new(int32(1)), new(int64(1_600_000_000))
	before := record.GraphRow{GraphID: 3, Holder: new("model"), Mode: new("FULL"), NumTokens: new(int32(16)), NumReqs: new(int32(16)), Uniform: new(true)}
	throwaway := full
	throwaway.GraphID, throwaway.Throwaway, throwaway.Launches = 4, true, 9
	encoder := record.GraphRow{GraphID: 5, Holder: new("encoder"), Key: new("4096"), Launches: 1}
	unknown := record.GraphRow{GraphID: 6, Launches: 3}
	return []record.GraphRow{full, piece, second, before, throwaway, encoder, unknown}
}

func gpuRows(t *testing.T, tables *Tables) {
	var errs []error
	for _, r := range graphRows() {
		errs = append(errs, tables.Graph(&r))
	}
	for _, r := range []record.GraphLaunchRow{
		{GraphID: 0, LaunchNS: 3_000_400_000, DurNS: new(int64(5_123_456)), Descriptor: new(full8), Phase: "forward"},
		{GraphID: 1, LaunchNS: 4e9, Descriptor: new(piece8), Phase: "forward"},
		{GraphID: 6, LaunchNS: 5e9, Phase: "other"},
	} {
		errs = append(errs, tables.GraphLaunch(&r))
	}
	prefill := record.StepRow{StepID: 0, StartNS: 1e9, ScheduledNS: 1e9, EndNS: new(int64(1_100_000_000)), Phase: record.PhasePrefill, Requests: 2, NewRequests: 2, Tokens: 1000,
		PrefillTokens: 1000, ForwardNS: new(int64(90e6)), TimingSource: new(record.TimingCPUBound), StepGPUNS: new(int64(80e6)), GPUTimingSource: new(record.TimingEventBound),
		GPUErrorNS: new(int64(10e3)), GPUStartNS: new(int64(1_010_000_000)), GPUEndNS: new(int64(1_090_000_000)), HostWaited: new(true),
		GraphMode: new("NONE"), PaddedTokens: new(int32(1000))}
	decode := record.StepRow{StepID: 1, StartNS: 1_100_000_000, ScheduledNS: 1_100_000_000, EndNS: new(int64(1_115_000_000)), Phase: record.PhaseDecode, Requests: 6, Tokens: 6,
		DecodeTokens: 6, ForwardNS: new(int64(9e6)), TimingSource: new(record.TimingGPUSampled), StepGPUNS: new(int64(10e6)), GPUTimingSource: new(record.TimingGPUSampled),
		GPUErrorNS: new(int64(20e3)), GPUStartNS: new(int64(1_100_000_000)), GPUEndNS: new(int64(1_110_000_000)), GPUIdleNS: new(int64(10e6)), HostWaited: new(false),
		GraphMode: new("FULL"), Descriptor: new(full8), GraphLaunches: new(int32(1)), PaddedTokens: new(int32(8)),
		GPUBusyNS: new(int64(8e6)), DRAMReadBytes: new(int64(20e9)), DRAMWriteBytes: new(int64(5e9)),
		MBU: new(0.605), MFU: new(0.0312), ModelEstimated: new(true)}
	drained := record.StepRow{StepID: 2, StartNS: 2_000_000_000, ScheduledNS: 2_000_000_000, EndNS: new(int64(2_010_000_000)), Phase: record.PhasePrefill, Requests: 1, NewRequests: 1,
		Tokens: 6, PrefillTokens: 6, StepGPUNS: new(int64(8e6)), GPUTimingSource: new(record.TimingEventBound), GPUStartNS: new(int64(2_002_000_000)),
		GPUEndNS: new(int64(2_010_000_000)), GPUIdleNS: new(int64(892e6)), GraphMode: new("PIECEWISE"), Descriptor: new(piece8), PaddedTokens: new(int32(8))}
	cpu := record.StepRow{StepID: 3, StartNS: 3e9, ScheduledNS: 3e9, Phase: record.PhaseDecode, Requests: 1, Tokens: 1, DecodeTokens: 1,
		ForwardNS: new(int64(1e6)), TimingSource: new(record.TimingCPUBound)}
	for _, r := range []*record.StepRow{&prefill, &decode, &drained, &cpu} {
		errs = append(errs, tables.Step(r))
	}
	for _, r := range []record.CPUOperationRow{
		{DurNS: 1e6, Operation: "scheduling"}, {DurNS: 30e6, Operation: "output_wait"}, {DurNS: 2e6, Operation: "forward"}, {DurNS: 3e6, Operation: "prepare_inputs"},
	} {
		errs = append(errs, tables.CPUOperation(&r))
	}
	for _, r := range []record.EncoderDecoderRow{
		{TimeNS: 1e9, DurNS: 3e6, Component: record.ComponentEncoder, TimingSource: record.TimingCPUBound, Context: "encoder,eager"},
		{TimeNS: 1_010_000_000, DurNS: 9e6, Component: record.ComponentDecoder, TimingSource: record.TimingCPUBound},
		{TimeNS: 1_030_000_000, DurNS: 15e6, Component: record.ComponentDecoder, TimingSource: record.TimingEventBound}, // counts in no share
	} {
		errs = append(errs, tables.EncoderDecoder(&r))
	}
	for _, r := range []record.GPUSampleRow{
		{TimeNS: 1e9, SMPct: new(50.0), DRAMPct: new(30.0), PowerW: new(400.0), SMClockMHz: new(1980.0), MemoryUsed: new(int64(64 << 30)), Throttle: new("")},
		{TimeNS: 2e9, SMPct: new(70.0), DRAMPct: new(50.0), PowerW: new(700.0), SMClockMHz: new(1410.0), MemoryUsed: new(int64(65 << 30)), Throttle: new("sw_power_cap|hw_slowdown")},
		{GPU: 1, TimeNS: 2e9, UtilPct: new(10.0)},
	} {
		errs = append(errs, tables.GPUSample(&r))
	}
	qt.Assert(t, qt.IsNil(errors.Join(errs...)))
}

func TestFilesOfAGPU(t *testing.T) {
	d, facts := traced(t, traffic.Decode32, 0, func(tables *Tables) { gpuRows(t, tables) })
	onGPU(facts)
	summary, err := WriteFiles(d, facts, true)
	qt.Assert(t, qt.IsNil(err))
	for name, text := range map[string]string{
		FileGraphCaptures: sessionHeaders[FileGraphCaptures] + `
PIECEWISE,8,None,False,False,1.500
FULL,8,8,True,False,2.500
None,None,None,None,None,None
FULL,16,16,True,None,None
`,
		FileGraphUsage: sessionHeaders[FileGraphUsage] + `
None,None,None,None,None,3
FULL,8,8,True,False,2
PIECEWISE,8,None,False,False,2
None,None,None,None,None,1
`,
		FileGraphTimeline: sessionHeaders[FileGraphTimeline] + `
3.000,"` + full8 + `",5.123
4.000,"` + piece8 + `",
5.000,None,
`,
		// The GPU's forward time, then the step's GPU time, then what the CPU saw.
		FileForward: sessionHeaders[FileForward] + `
1.000,prefill,2,1000,80.000,12500.0
1.100,decode,6,6,9.000,666.7
2.000,prefill,1,6,8.000,750.0
3.000,decode,1,1,1.000,1000.0
`,
		FileEncoder: sessionHeaders[FileEncoder] + `
1.000,encoder,3.000,"encoder,eager"
1.010,decoder,9.000,
1.030,decoder,15.000,
`,
		FileEncoderSummary: `{
  "model_type": "encoder_decoder",
  "encoder": {
    "count": 1,
    "total_ms": 3.000,
    "mean_ms": 3.000,
    "std_ms": 0.000,
    "timing_sources": {
      "cpu_bound": 1
    }
  },
  "decoder": {
    "count": 2,
    "total_ms": 24.000,
    "mean_ms": 12.000,
    "std_ms": 3.000,
    "timing_sources": {
      "cpu_bound": 1,
      "event_bound": 1
    }
  },
  "encoder_pct": 25.00,
  "decoder_pct": 75.00,
  "cross_attention_pct": 0.00
}
`,
	} {
		qt.Check(t, qt.Equals(read(t, d, name), text), qt.Commentf(name))
		if strings.HasSuffix(name, ".csv") {
			_, err := csv.NewReader(strings.NewReader(text)).ReadAll()
			qt.Check(t, qt.IsNil(err), qt.Commentf(name))
		}
	}

	var meta struct {
		CUDAGraph      bool             `json:"cuda_graph_tracking"`
		EncoderDecoder bool             `json:"encoder_decoder_timing"`
		GPU            bool             `json:"gpu_tracking"`
		Source         string           `json:"forward_timing_source"`
		Sources        map[string]int64 `json:"forward_timings"`
		Columns        map[string]int64 `json:"forward_timing_columns"`
		Sampling       string           `json:"gpu_sampling"`
		GPUs           []record.GPU     `json:"gpus"`
		Workers        []record.Worker  `json:"workers"`
		Readings       []GraphReading   `json:"graph_readings"`
		Coverage       graphCoverage    `json:"graph_coverage"`
		Unavailable    []any            `json:"unavailable"`
	}
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(read(t, d, FileMetadata)), &meta)))
	qt.Check(t, qt.IsTrue(meta.CUDAGraph && meta.EncoderDecoder && meta.GPU))
	qt.Check(t, qt.Equals(meta.Source, record.TimingEventBound))
	qt.Check(t, qt.DeepEquals(meta.Sources, map[string]int64{record.TimingEventBound: 2, record.TimingGPUSampled: 1, record.TimingCPUBound: 1}))
	qt.Check(t, qt.DeepEquals(meta.Columns, map[string]int64{"step_gpu_ns": 2, "forward_ns": 2}))
	qt.Check(t, qt.Equals(meta.Sampling, "20us"))
	qt.Check(t, qt.Equals(meta.GPUs[0].Name, "NVIDIA H200"))
	qt.Assert(t, qt.HasLen(meta.Workers, 1))
	qt.Check(t, qt.Equals(meta.Workers[0].Libraries[1].Skipped, "torch does not link it"))
	qt.Check(t, qt.DeepEquals(meta.Readings, []GraphReading{{Readings: 2, MonoNS: 2, Graphs: 3, Offset: 16, Holders: map[string]int{"model": 2, "encoder": 1}}}))
	qt.Check(t, qt.DeepEquals(meta.Coverage, graphCoverage{
		Steps: map[string]int64{"FULL": 1, "PIECEWISE": 1, "NONE": 1}, Tokens: map[string]int64{"FULL": 6, "PIECEWISE": 6, "NONE": 1000},
		PaddedTokens: 1016, PaddingPct: 0.39, Launches: 8, UnknownLaunches: 3,
	}))
	qt.Check(t, qt.HasLen(meta.Unavailable, 0))

	var text bytes.Buffer
	qt.Assert(t, qt.IsNil(summary.WriteText(&text)))
	t.Log(text.String())
	for _, line := range []string{
		"\nSteps      count  mean      p50       p99       max        GPU p50   p99 (event_bound)  tokens\n",
		"\n  prefill  2      55.00 ms  55.00 ms  99.10 ms  100.00 ms  44.00 ms  79.28 ms           1006\n",
		"\nTop CPU operations  count  mean      p50       p99       max       total\n  output wait       1      30.00 ms",
		"GPU            idle 90.2% of 1.00 s: 89.2% without requests, 1.0% with (longest 10.00 ms, before step 1)\n" +
			"               the host waited for it in 50.0% of steps; SMs active 80.0% of its steps' time; DRAM 2500 GB/s in steps; the model needs 60.5% of its bandwidth and 3.1% of its arithmetic in decode steps (MBU, MFU; estimated); times ± 19.9 µs (p99); other processes ran on it in 33.3% of steps, whose times have no bound\n",
		"Graphs         FULL 33.3% of steps (0.6% of tokens), PIECEWISE 33.3% (0.6%), eager 33.3% (98.8%); padding 0.4% of 1016 tokens, 25.0% of those in graphs\n" +
			"               4 captured (5 executable), 1 never launched; 8 launches, 3 of unknown graphs\n",
		"GPU 0 samples  SM 60.0%, DRAM 40.0%, 550 W (max 700), SM clock 1695 MHz (min 1410), memory 65.0 GiB, throttled: hw_slowdown 50.0%, sw_power_cap 50.0% of the time\n",
		"GPU 1 samples  busy 10.0%\n",
		"Encoder        encoder 25.0% (1 × 3.00 ms), decoder 75.0% (2 × 12.00 ms); shares by CPU time of the launches\n",
	} {
		qt.Check(t, qt.StringContains(text.String(), line))
	}
}

// Where nothing could be probed, that is said, even if the journal does not.
func TestFilesWithoutAGPU(t *testing.T) {
	d, facts := traced(t, traffic.Decode32, 2, nil)
	facts.Start.Profilers = append(allProfilers[:len(allProfilers):len(allProfilers)], ProfilerCUDAGraph, ProfilerEncoderDecoder, ProfilerGPU)
	facts.Add(record.Fact{Worker: &record.Worker{Probes: []string{"event_record"}}})
	facts.Add(record.Fact{Unavailable: &record.Unavailable{Profiler: ProfilerGPU, Reason: "no driver"}})
	facts.Add(record.Fact{Unavailable: &record.Unavailable{Profiler: GPUSampling, Reason: "the session is taken", Remedy: "end ncu"}})
	summary, err := WriteFiles(d, facts, true)
	qt.Assert(t, qt.IsNil(err))
	for _, name := range []string{FileGraphCaptures, FileGraphUsage, FileGraphTimeline} {
		_, err := fs.Stat(d.FS(), name)
		qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist), qt.Commentf(name))
	}
	read(t, d, FileEncoder)
	var meta struct {
		CUDAGraph   bool                 `json:"cuda_graph_tracking"`
		Coverage    *graphCoverage       `json:"graph_coverage"`
		Unavailable []record.Unavailable `json:"unavailable"`
	}
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(read(t, d, FileMetadata)), &meta)))
	qt.Check(t, qt.IsFalse(meta.CUDAGraph))
	qt.Check(t, qt.IsNil(meta.Coverage))
	qt.Check(t, qt.DeepEquals(meta.Unavailable, []record.Unavailable{
		{Profiler: ProfilerGPU, Reason: "no driver"},
		{Profiler: GPUSampling, Reason: "the session is taken", Remedy: "end ncu"},
		{Profiler: ProfilerCUDAGraph, Reason: "no process was found whose CUDA graphs could be probed"},
	}))
	var text bytes.Buffer
	qt.Assert(t, qt.IsNil(summary.WriteText(&text)))
	qt.Check(t, qt.StringContains(text.String(), "forward p50 (cpu_bound)"))
	qt.Check(t, qt.StringContains(text.String(), "Unavailable  cuda_graph: no process was found"))
	qt.Check(t, qt.StringContains(text.String(), "Unavailable  gpu_sampling: the session is taken"))
	for _, absent := range []string{"\nGPU ", "\nGraphs ", "\nEncoder ", "Top CPU"} {
		qt.Check(t, qt.Not(qt.StringContains(text.String(), absent)))
	}
}
