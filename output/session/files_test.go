package session

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

var allProfilers = []string{ProfilerKVCache, ProfilerForwardPass, ProfilerCPU, ProfilerBatch, ProfilerPreemption}

func factsOf(d *Dir) *Facts {
	f := &Facts{}
	for _, fact := range []record.Fact{
		{Start: &record.Start{SchemaVersion: 1, SessionID: d.Name(), Version: "0.1", Mode: "attach", Command: []string{"pmtrace", "attach"},
			Host: "box", Kernel: "6.8", Arch: "x86_64", MonoNS: 5e9, WallNS: 1_700_000_000_123456789, Profilers: allProfilers, OutputDir: d.Path()}},
		{Process: &record.Process{PID: 10, Role: "api_server", Torch: "2.13.0"}},
		{Engine: &record.Engine{Engine: 0, PID: 11, Python: "3.12.3", VLLM: "0.32.0", Model: "tiny", MaxSeqs: 64, MaxTokens: 2048, Blocks: 1001, BlockSize: 16}},
		{Losses: &record.Losses{Counts: []record.Loss{{Probe: "schedule_return", Reason: "ring_full", Lost: true}, {Probe: "schedule_return", Reason: "foreign_frame", Count: 4}}}},
		{Losses: &record.Losses{Counts: []record.Loss{{Probe: "schedule_return", Reason: "ring_full", Count: 3, Lost: true}}}},
		{End: &record.End{MonoNS: 65e9, WallNS: 1_700_000_060_123456789, Reason: "interrupted", Events: 1234}},
	} {
		f.Add(fact)
	}
	return f
}

// traced is a session with the rows of a server's steps.
func traced(t testing.TB, shape traffic.Shape, steps int, more func(*Tables)) (*Dir, *Facts) {
	d := newSession(t)
	facts := factsOf(d)
	tables, err := CreateTables(d, facts.About())
	qt.Assert(t, qt.IsNil(err))
	s := traffic.New(shape)
	s.Rows = tables
	for range steps {
		_, err := s.Step()
		qt.Assert(t, qt.IsNil(err))
	}
	if more != nil {
		more(tables)
	}
	qt.Assert(t, qt.IsNil(tables.Close()))
	return d, facts
}

func read(t testing.TB, d *Dir, name string) string {
	b, err := fs.ReadFile(d.FS(), name)
	qt.Assert(t, qt.IsNil(err))
	return string(b)
}

// SESSION's headers, word for word.
var sessionHeaders = map[string]string{
	"kv_cache_usage.csv":         "timestamp_sec,usage_pct,num_blocks,total_blocks",
	"kv_cache_evictions.csv":     "timestamp_sec,lifetime_sec,idle_sec",
	"forward_pass_timing.csv":    "timestamp_sec,phase,batch_size,num_tokens,forward_time_ms,throughput_tokens_per_sec",
	"cpu_operations_timing.csv":  "timestamp_sec,operation,duration_ms,context",
	"batch_utilization.csv":      "timestamp_sec,num_seqs,max_num_seqs,seq_utilization_pct,num_tokens,max_tokens,token_utilization_pct,phase,running_queue_len,waiting_queue_len",
	"preemption_events.csv":      "timestamp_sec,request_id,event,reason,running_time_sec,extra_info",
	"cuda_graph_captures.csv":    "runtime_mode,num_tokens,num_reqs,uniform,has_lora,capture_time_sec",
	"cuda_graph_usage.csv":       "runtime_mode,num_tokens,num_reqs,uniform,has_lora,replay_count",
	"cuda_graph_timeline.csv":    "timestamp_sec,descriptor,duration_ms",
	"encoder_decoder_timing.csv": "timestamp_sec,component,duration_ms,context",
	FileMoEActivations:           "layer_idx,expert_id,activation_count,percentage",
	FileMoECoselection:           "layer_idx,expert_id_1,expert_id_2,coselection_count",
	FileMoEWeights:               "layer_idx,token_idx,expert_id,weight",
	FileMoEImbalance:             "layer_idx,timestamp_sec,std_dev,max_min_ratio",
	"request_lifecycle.csv":      "request_id,started_sec,preempted_sec,resumed_sec,finished_sec,total_time_sec,preemption_delay_sec",
}

func TestFilesOfNothingAreHeaders(t *testing.T) {
	d, facts := traced(t, traffic.Decode32, 0, nil)
	onGPU(facts)
	withExperts(facts)
	_, err := WriteFiles(d, facts, true)
	qt.Assert(t, qt.IsNil(err))
	for name, header := range sessionHeaders {
		qt.Check(t, qt.Equals(read(t, d, name), header+"\n"))
	}
	for _, name := range []string{FileBatchSummary, FilePreemptionSummary, FileCPUSummary, FileForwardSummary, FileEncoderSummary, FileMoESummary, FileMetadata} {
		qt.Check(t, qt.IsTrue(json.Valid([]byte(read(t, d, name)))), qt.Commentf(name))
	}
	qt.Check(t, qt.StringContains(read(t, d, FileKVSummary), "Total blocks available: 1000\n"))
}

func TestFilesOfProfilersThatCannotWorkAreAbsent(t *testing.T) {
	d, facts := traced(t, traffic.Decode32, 2, nil)
	facts.Start.Profilers = []string{ProfilerKVCache, ProfilerBatch, ProfilerCPU}
	facts.Add(record.Fact{Unavailable: &record.Unavailable{Profiler: ProfilerKVCache, Reason: "all slots taken", Remedy: "end the debugger"}})
	facts.Add(record.Fact{Unavailable: &record.Unavailable{Profiler: ProfilerBatch, Columns: []string{"steps.waiting"}, Reason: "no such attribute"}})
	facts.Add(record.Fact{Unavailable: &record.Unavailable{Profiler: ProfilerCPU, Engine: new(1), Reason: "one engine of two"}})
	_, err := WriteFiles(d, facts, true)
	qt.Assert(t, qt.IsNil(err))
	for _, name := range []string{FileKVUsage, FileKVEvictions, FileKVSummary, FileForward, FilePreemptions} {
		_, err := fs.Stat(d.FS(), name)
		qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist), qt.Commentf(name))
	}
	read(t, d, FileBatch)
	read(t, d, FileCPU)
	var meta map[string]any
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(read(t, d, FileMetadata)), &meta)))
	qt.Check(t, qt.Equals(meta["kv_cache_tracking"], any(false)))
	qt.Check(t, qt.Equals(meta["batch_utilization_tracking"], any(true)))
	qt.Check(t, qt.Equals(meta["preemption_tracking"], any(false)))
	qt.Check(t, qt.StringContains(read(t, d, FileMetadata), "all slots taken"))
}

func TestFilesOfAJournalWithoutItsBeginning(t *testing.T) {
	d, facts := traced(t, traffic.Decode32, 2, nil)
	facts.Start = record.Start{SessionID: d.Name()}
	facts.Damage = []string{"journal 00000.pmj: checksum does not match"}
	s, err := WriteFiles(d, facts, true)
	qt.Assert(t, qt.IsNil(err))
	read(t, d, FileBatch)
	var meta map[string]any
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(read(t, d, FileMetadata)), &meta)))
	qt.Check(t, qt.IsNil(meta["start_time"]))
	qt.Check(t, qt.IsNil(meta["duration_s"]))
	qt.Check(t, qt.HasLen(meta["journal_damage"].([]any), 1))
	var text bytes.Buffer
	qt.Assert(t, qt.IsNil(s.WriteText(&text)))
	qt.Check(t, qt.StringContains(text.String(), "damaged in 1 places"))
}

func TestFilesDoNotCountWhatNobodyWatched(t *testing.T) {
	d, facts := traced(t, traffic.Decode32, 2, nil)
	facts.Engines[0].Watches = []string{"schedule_return"}
	s, err := WriteFiles(d, facts, true)
	qt.Assert(t, qt.IsNil(err))
	for _, name := range []string{FileKVEvictions, FileForward, FileForwardSummary} {
		_, err := fs.Stat(d.FS(), name)
		qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist), qt.Commentf(name))
	}
	read(t, d, FileKVUsage)
	var text bytes.Buffer
	qt.Assert(t, qt.IsNil(s.WriteText(&text)))
	for _, said := range []string{read(t, d, FileKVSummary), text.String()} {
		qt.Check(t, qt.StringContains(strings.ToLower(said), "peak"))
		qt.Check(t, qt.Not(qt.StringContains(said, "victions")))
		qt.Check(t, qt.Not(qt.StringContains(said, "/s out")))
	}
}

func TestFilesSayWhatTheTablesSay(t *testing.T) {
	d, facts := traced(t, traffic.Chat32, 0, func(tables *Tables) {
		step := record.StepRow{StepID: 0, StartNS: -5e6, ScheduledNS: 1_234_567_890, EndNS: new(int64(1_300_000_000)), ForwardNS: new(int64(50_000_000)),
			TimingSource: new(record.TimingCPUBound), Phase: record.PhaseMixed, Requests: 16, Tokens: 1024, PrefillTokens: 1010, DecodeTokens: 14,
			Running: new(int32(16)), KVUsed: new(int32(123)), KVTotal: new(int32(1000)), OutputTokens: new(int32(15))}
		empty := record.StepRow{StepID: 1, StartNS: 2e9, ScheduledNS: 2e9, Phase: record.PhaseEmpty, Running: new(int32(0)), Waiting: new(int32(0)), KVUsed: new(int32(0)), KVTotal: new(int32(1000))}
		other := record.StepRow{Engine: 1, StepID: 0, StartNS: 3e9, ScheduledNS: 3e9, Phase: record.PhaseDecode, Requests: 1, Tokens: 1, Running: new(int32(1)), Waiting: new(int32(7))}
		for _, r := range []*record.StepRow{&step, &empty, &other} {
			qt.Assert(t, qt.IsNil(tables.Step(r)))
		}
		for _, r := range []record.KVUsageRow{{Op: record.KVAlloc, Blocks: 200, FreeAfter: new(int32(800))}, {OpID: 1, Op: record.KVFree, Blocks: 77, FreeAfter: new(int32(877))}, {OpID: 2, Op: record.KVReuse, Blocks: 3}} {
			qt.Assert(t, qt.IsNil(tables.KVUsage(&r)))
		}
		for _, r := range []record.KVEvictionRow{{TimeNS: 1e9, HadHash: true, BirthKnown: true, LifetimeNS: 3e9, IdleNS: 1e9}, {TimeNS: 2e9, LifetimeNS: 1e9, IdleNS: 1e9}} {
			qt.Assert(t, qt.IsNil(tables.KVEviction(&r)))
		}
		for _, r := range []record.CPUOperationRow{{TimeNS: 1e9, DurNS: 1_500_000, Operation: "scheduling"}, {TimeNS: 2e9, DurNS: 500_000, Operation: "scheduling"}, {TimeNS: 2e9, DurNS: 50_000_000, Operation: "model_execution", Context: "phase=decode"}} {
			qt.Assert(t, qt.IsNil(tables.CPUOperation(&r)))
		}
		for _, r := range []record.PreemptionRow{
			{RequestUID: 1, RequestID: `a,"b"`, TimeNS: 3e9, Reason: "kv_blocks", RunningNS: new(int64(2e9)), BlocksFreed: new(int32(9)), ResumedNS: new(int64(3_500_000_000))},
			{RequestUID: 1, RequestID: `a,"b"`, TimeNS: 5e9, Reason: "unknown", ResumedNS: new(int64(6e9))},
			{RequestUID: 2, RequestID: "c", TimeNS: 7e9, Reason: "kv_blocks"},
		} {
			qt.Assert(t, qt.IsNil(tables.Preemption(&r)))
		}
		for _, r := range []record.LossRow{
			{Engine: new(int32(0)), Probe: "schedule_return", Reason: "ring_full", Count: 1},
			{Probe: "decode", Reason: "step_size", Count: 1},
			{Engine: new(int32(0)), Probe: "schedule_return", Reason: "ring_full", Count: 2},
		} {
			qt.Assert(t, qt.IsNil(tables.Loss(&r)))
		}
		for _, r := range []record.RequestRow{
			{RequestUID: 1, RequestID: `a,"b"`, ScheduledNS: new(int64(1e9)), FinishedNS: new(int64(9e9)), Reason: new("stop"), ArrivalNS: new(int64(0)), FirstTokNS: new(int64(2e9)), DecodeNS: new(int64(7e9)), OutputTokens: new(int32(8))},
			{RequestUID: 2, RequestID: "c"},
		} {
			qt.Assert(t, qt.IsNil(tables.Request(&r)))
		}
	})
	facts.NeverScheduled = 2
	summary, err := WriteFiles(d, facts, true)
	qt.Assert(t, qt.IsNil(err))

	want := map[string]string{
		FileBatch: sessionHeaders[FileBatch] + "\n" +
			"1.235,16,64,25.00,1024,2048,50.00,mixed,16,\n" +
			"3.000,1,,,1,,,decode,1,7\n",
		FileBatchSummary: `{
  "total_samples": 2,
  "mean_seq_utilization_pct": 25.00,
  "mean_token_utilization_pct": 50.00,
  "underutilization_events": 0,
  "prefill_avg_utilization": 0.00,
  "decode_avg_utilization": 0.00,
  "max_num_seqs": 64,
  "max_tokens": 2048
}
`,
		FileKVUsage:     sessionHeaders[FileKVUsage] + "\n1.235,12.30,123,1000\n2.000,0.00,0,1000\n",
		FileKVEvictions: sessionHeaders[FileKVEvictions] + "\n1.000,3.000,1.000\n",
		FileKVSummary: `KV Cache Statistics
==================================================

Total blocks available: 1000
Total allocations: 200
Total deallocations: 77
Peak blocks used: 200
Peak usage: 20.00%
Total evictions: 1
Avg block lifetime: 3.00s
Avg idle before eviction: 1.00s

Counted in blocks. Evictions are cached blocks (with a hash) handed out again.
Cached blocks taken back into use: 3
Evictions as vLLM counts them: 2 (with hash: 1, without: 1)
Avg lifetime of those: 2.00s
Avg idle of those: 1.00s
Evictions of blocks from before tracing began (times are lower bounds): 1
`,
		FileCPU: sessionHeaders[FileCPU] + "\n1.000,scheduling,1.500,\n2.000,scheduling,0.500,\n2.000,model_execution,50.000,phase=decode\n",
		FileCPUSummary: `{
  "model_execution": {
    "count": 1,
    "mean_ms": 50.000,
    "std_ms": 0.000,
    "min_ms": 50.000,
    "max_ms": 50.000,
    "p95_ms": 50.000
  },
  "scheduling": {
    "count": 2,
    "mean_ms": 1.000,
    "std_ms": 0.500,
    "min_ms": 0.500,
    "max_ms": 1.500,
    "p95_ms": 1.450
  }
}
`,
		FileForward: sessionHeaders[FileForward] + "\n1.235,mixed,16,1024,50.000,20480.0\n",
		FilePreemptions: sessionHeaders[FilePreemptions] + `
1.000,"a,""b""",started,,,
3.000,"a,""b""",preempted,kv_blocks,2.000,blocks_freed=9
3.500,"a,""b""",resumed,,,
5.000,"a,""b""",preempted,unknown,,
6.000,"a,""b""",resumed,,,
7.000,c,preempted,kv_blocks,,
9.000,"a,""b""",finished,,8.000,finish_reason=stop
`,
		FileLifecycle: sessionHeaders[FileLifecycle] + `
"a,""b""",1.000,5.000,6.000,9.000,8.000,1.000
c,,7.000,,,,
`,
		FilePreemptionSummary: `{
  "total_preemptions": 3,
  "total_requests": 2,
  "preemption_reasons": {
    "kv_blocks": 2,
    "unknown": 1
  },
  "mean_running_time_before_preempt": 2.000000,
  "mean_resume_delay": 0.750000,
  "max_resume_delay": 1.000000
}
`,
	}
	for name, text := range want {
		qt.Check(t, qt.Equals(read(t, d, name), text), qt.Commentf(name))
	}
	for name := range want {
		if !strings.HasSuffix(name, ".csv") {
			continue
		}
		_, err := csv.NewReader(strings.NewReader(read(t, d, name))).ReadAll()
		qt.Check(t, qt.IsNil(err), qt.Commentf(name))
	}

	var meta map[string]any
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(read(t, d, FileMetadata)), &meta)))
	for _, key := range strings.Fields("session_id start_time output_dir cuda_graph_tracking kv_cache_tracking moe_expert_tracking forward_pass_timing cpu_timing batch_utilization_tracking preemption_tracking encoder_decoder_timing cuda_events_enabled end versions host command engines processes forward_timing_source requests_never_scheduled unavailable unreadable events_seen events_lost losses") {
		_, ok := meta[key]
		qt.Check(t, qt.IsTrue(ok), qt.Commentf(key))
	}
	qt.Check(t, qt.Equals(meta["events_lost"], any(4.0)))
	qt.Check(t, qt.HasLen(meta["losses"].([]any), 3))
	qt.Check(t, qt.Equals(meta["requests_never_scheduled"], any(2.0)))
	qt.Check(t, qt.Equals(meta["forward_timing_source"], any("cpu_bound")))

	qt.Check(t, qt.Equals(summary.Steps, 2))
	qt.Check(t, qt.Equals(summary.EmptySteps, 1))
	qt.Check(t, qt.Equals(summary.KV.PeakBlocks, 200))
	qt.Check(t, qt.Equals(summary.FirstToken.Mean(), 2e9))
	qt.Check(t, qt.Equals(summary.PerToken.Mean(), 1e9))
	var text bytes.Buffer
	qt.Assert(t, qt.IsNil(summary.WriteText(&text)))
	t.Log(text.String())
	qt.Check(t, qt.StringContains(text.String(), "Lost events  1 decode: step_size\n             3 schedule_return: ring_full\n"))
	qt.Check(t, qt.StringContains(text.String(), d.Path()))

	// Nothing hidden is left, and writing it all again changes nothing.
	before := read(t, d, FilePreemptions)
	_, err = WriteFiles(d, facts, true)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(read(t, d, FilePreemptions), before))
	entries, err := fs.ReadDir(d.FS(), ".")
	qt.Assert(t, qt.IsNil(err))
	for _, e := range entries {
		qt.Check(t, qt.IsFalse(strings.HasPrefix(e.Name(), ".")), qt.Commentf(e.Name()))
	}
}

func TestSummaryOfAServer(t *testing.T) {
	d, facts := traced(t, traffic.Chat32, 3000, nil)
	s := NewSummary(d, facts)
	qt.Assert(t, qt.IsNil(Visit(d, s.Visitor())))
	var text bytes.Buffer
	qt.Assert(t, qt.IsNil(s.WriteText(&text)))
	t.Log(text.String())
	qt.Check(t, qt.Equals(s.Steps, 3000))
	_, err := fs.Stat(d.FS(), FileMetadata)
	qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
}

func TestLineSorterSpills(t *testing.T) {
	d := newSession(t)
	s := newLineSorter(d, ".sort")
	text := bytes.Repeat([]byte("x"), 1000)
	const n = 20000
	for i := range n {
		at := int64(i * 7919 % n)
		copy(text, string([]byte{byte(at >> 8), byte(at)}))
		qt.Assert(t, qt.IsNil(s.add(at, text)))
	}
	qt.Assert(t, qt.IsTrue(len(s.runs) > 2))
	next := 0
	qt.Assert(t, qt.IsNil(s.each(func(text []byte) error {
		if got := int(text[0])<<8 | int(text[1]); got != next {
			return errors.New("out of order")
		}
		next++
		return nil
	})))
	qt.Check(t, qt.Equals(next, n))
}

func TestStat(t *testing.T) {
	var s Stat
	qt.Check(t, qt.Equals(s.Percentile(50), 0))
	for i := range int64(101) {
		s.Add(i * 1000)
	}
	qt.Check(t, qt.Equals(s.Percentile(95), 95_000))
	qt.Check(t, qt.Equals(s.Percentile(12.5), 12_500))
	s = Stat{}
	for i := range int64(1_000_000) {
		s.Add(i * 1000)
	}
	qt.Check(t, qt.IsNil(s.values))
	for _, p := range []float64{1, 50, 95, 99} {
		want := p / 100 * 1e9
		qt.Check(t, qt.IsTrue(math.Abs(s.Percentile(p)-want)/want < 0.001), qt.Commentf("p%v: %v", p, s.Percentile(p)))
	}
	qt.Check(t, qt.Equals(s.Percentile(100), 999_999_000))
	qt.Check(t, qt.Equals(s.Percentile(0), 0))
}
