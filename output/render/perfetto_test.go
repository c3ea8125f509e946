package render

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

var origin = session.Origin{MonoNS: 1_000_000, WallNS: 1_800_000_000_000_000_000}

// checked is what testdata/check.py finds in a trace.
type checked struct {
	Errors map[string]int
	Clocks map[string]int64
	Tree   map[string]struct{ Slices, Instants, Values, Tracks, Depth int }
	Rows   []event
}

type event struct {
	At, Name, Category string
	TS                 int64
	Dur                *int64 // nil: an instant or a value
	Value              *float64
	Args               map[string]any
}

// at returns what stands on a track, in order of time.
func (c checked) at(path string) (list []event) {
	for _, e := range c.Rows {
		if e.At == path {
			list = append(list, e)
		}
	}
	return list
}

func perfettoPython(t *testing.T) string {
	if os.Getenv("PMTRACE_TEST_SKIP_ANALYSIS") != "" {
		t.Skip("PMTRACE_TEST_SKIP_ANALYSIS")
	}
	out, err := exec.Command("../../e2e/setup/perfetto.sh").Output()
	qt.Assert(t, qt.IsNil(err))
	return strings.TrimSpace(string(out))
}

func newSession(t *testing.T, fill func(*session.Tables) error) *session.Dir {
	d, err := session.Create(t.TempDir(), time.Unix(0, origin.WallNS), session.Owner{UID: os.Geteuid(), GID: os.Getegid()})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { d.Close() })
	tables, err := session.CreateTables(d, session.About{})
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(fill(tables)))
	qt.Assert(t, qt.IsNil(tables.Close()))
	return d
}

func export(t *testing.T, d *session.Dir, o Options) (checked, Shown) {
	python := perfettoPython(t)
	file := filepath.Join(t.TempDir(), "trace.pftrace")
	f, err := os.Create(file)
	qt.Assert(t, qt.IsNil(err))
	defer f.Close()
	shown, err := Perfetto(f, d, origin, o)
	qt.Assert(t, qt.IsNil(err))
	out, err := exec.Command(python, "testdata/check.py", file, "all").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	qt.Assert(t, qt.IsNil(err))
	var c checked
	qt.Assert(t, qt.IsNil(json.Unmarshal(out, &c)))
	qt.Assert(t, qt.HasLen(c.Errors, 0), qt.Commentf("%v", c.Errors))
	return c, shown
}

func ptr[T any](v T) *T { return &v }

func server(tables *session.Tables) error {
	step := record.StepRow{
		StepID: 1, StartNS: 100, ScheduledNS: 110, UpdateNS: ptr(int64(190)), EndNS: ptr(int64(200)),
		Phase: record.PhaseMixed, Requests: 3, Tokens: 70, PrefillTokens: 64, NewRequests: 1, Preempted: 1,
		Running: ptr(int32(3)), Waiting: ptr(int32(0)), KVUsed: ptr(int32(9)),
		GPUStartNS: ptr(int64(120)), GPUEndNS: ptr(int64(180)), StepGPUNS: ptr(int64(60)),
		GPUTimingSource: ptr(record.TimingCUPTI), GPUErrorNS: ptr(int64(2)), HostWaited: ptr(false),
		Descriptor: ptr("FULL:BatchDescriptor(num_tokens=72)"), PaddedTokens: ptr(int32(72)), MBU: ptr(0.5),
	}
	next := record.StepRow{ // begins before the other ends, and its end is lost
		StepID: 2, StartNS: 150, ScheduledNS: 220, Phase: record.PhaseDecode, Requests: 3, Tokens: 3, Running: ptr(int32(3)),
	}
	bare := record.StepRow{Engine: 1, StartNS: 130, ScheduledNS: 140, Phase: record.PhaseEmpty}
	return errors.Join(
		tables.Step(&step), tables.Step(&next), tables.Step(&bare),
		tables.GraphLaunch(&record.GraphLaunchRow{
			GraphID: 7, StepID: ptr(int64(1)), LaunchNS: 115, StartNS: ptr(int64(120)), EndNS: ptr(int64(170)), TimingSource: ptr(record.TimingCUPTI), Phase: "forward"}),
		tables.GraphLaunch(&record.GraphLaunchRow{GraphID: 8, LaunchNS: 116}), // not timed
		tables.KernelWindow(&record.KernelWindowRow{Engine: ptr(int32(0)), Window: 1, OnNS: 50, Kernels: 2}),
		tables.Kernel(&record.KernelRow{Engine: ptr(int32(0)), StepID: ptr(int64(1)), TimeNS: 120, DurNS: 5, Name: "_ZN4vllm15rms_norm_kernelIfEEvPT_", Class: ptr("norm/activation"), Stream: 7}),
		tables.Kernel(&record.KernelRow{Engine: ptr(int32(0)), TimeNS: 126, DurNS: 4, Name: "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(x)", Stream: 9}),
		tables.Kernel(&record.KernelRow{Worker: -1, TimeNS: 131, DurNS: 4, Name: "copy device_to_host", Bytes: ptr(int64(64))}),
		tables.CPUOperation(&record.CPUOperationRow{StepID: ptr(int64(1)), TimeNS: 100, DurNS: 10, Operation: "scheduling", Thread: 42}),
		tables.CPUOperation(&record.CPUOperationRow{StepID: ptr(int64(1)), TimeNS: 110, DurNS: 80, Operation: "model_execution", Thread: 42, Context: "phase=mixed"}),
		tables.CPUOperation(&record.CPUOperationRow{StepID: ptr(int64(1)), TimeNS: 112, DurNS: 5, Operation: "prepare_inputs", Thread: 42}),
		tables.EncoderDecoder(&record.EncoderDecoderRow{TimeNS: 118, DurNS: 9, Component: record.ComponentEncoder, TimingSource: record.TimingEventBound}),
		tables.Hook(&record.HookRow{Engine: ptr(int32(0)), Hook: "Scheduler.add_request", TimeNS: 104, DurNS: ptr(int64(3)), Thread: 42, Arguments: `{"n":1}`}),
		tables.Hook(&record.HookRow{Engine: ptr(int32(0)), Hook: "Scheduler.add_request", TimeNS: 109, Thread: 42, Arguments: "{}"}),
		tables.Collective(&record.CollectiveRow{Engine: ptr(int32(0)), TimeNS: 125, Collective: "all_reduce", Bytes: 128, Count: 64, Type: "bfloat16"}),
		tables.GPUSample(&record.GPUSampleRow{TimeNS: 100, SMPct: ptr(50.0), PowerW: ptr(300.5)}),
		tables.GPUSample(&record.GPUSampleRow{TimeNS: 200, SMPct: ptr(50.0), PowerW: ptr(310.0)}),
		tables.Request(&record.RequestRow{ // preempted before its first token came, and after
			RequestUID: 1, RequestID: "a-0", ExternalID: "a", ArrivalNS: ptr(int64(-50)), ScheduledNS: ptr(int64(110)), FirstTokNS: ptr(int64(150)),
			FinishedNS: ptr(int64(200)), Reason: ptr("stop"), PromptTokens: ptr(int32(64)), Preemptions: 1, FromStart: true}),
		tables.Request(&record.RequestRow{RequestUID: 2, RequestID: "b-0", ExternalID: "b", FinishedNS: ptr(int64(130))}), // ran before
		tables.Request(&record.RequestRow{RequestUID: 3, RequestID: "c-0", ExternalID: "c", ArrivalNS: ptr(int64(140)), ScheduledNS: ptr(int64(150)), FromStart: true}),
		tables.Preemption(&record.PreemptionRow{RequestUID: 1, TimeNS: 140, ResumedNS: ptr(int64(160)), Reason: "kv_blocks"}),
		tables.Preemption(&record.PreemptionRow{RequestUID: 3, TimeNS: 210, Reason: "kv_blocks"}), // never resumed
	)
}

func TestPerfetto(t *testing.T) {
	c, shown := export(t, newSession(t, server), Options{Window: Always, Requests: 10})
	qt.Check(t, qt.Equals(shown, Shown{Requests: 3}))
	qt.Check(t, qt.DeepEquals(c.Clocks, map[string]int64{"BUILTIN_CLOCK_MONOTONIC": origin.MonoNS, "BUILTIN_CLOCK_REALTIME": origin.WallNS}))

	qt.Check(t, qt.DeepEquals(c.at("engine 0/scheduler"), []event{
		{At: "engine 0/scheduler", Name: "mixed", Category: "scheduler", TS: origin.MonoNS + 100, Dur: ptr(int64(100)), Args: map[string]any{
			"step_id": 1.0, "tokens": 70.0, "requests": 3.0, "prefill_tokens": 64.0, "new": 1.0, "preempted": 1.0,
			"graph": "FULL:BatchDescriptor(num_tokens=72)", "padding": 2.0, "mbu": 0.5}},
		{At: "engine 0/scheduler", Name: "decode", Category: "scheduler", TS: origin.MonoNS + 150, Dur: ptr(int64(70)), Args: map[string]any{
			"step_id": 2.0, "tokens": 3.0, "requests": 3.0, "prefill_tokens": 0.0, "new": 0.0, "preempted": 0.0}},
	}))
	qt.Check(t, qt.Equals(c.Tree["engine 0/scheduler"].Tracks, 2))
	qt.Check(t, qt.DeepEquals(c.at("engine 0/GPU/steps"), []event{
		{At: "engine 0/GPU/steps", Name: "mixed", Category: "gpu", TS: origin.MonoNS + 120, Dur: ptr(int64(60)), Args: map[string]any{
			"step_id": 1.0, "timing_source": "cupti", "error_bound_ns": 2.0, "host_waited": false}},
	}))

	for path, want := range map[string]string{
		"engine 1/scheduler":                                      "empty 130+10",
		"no engine/GPU/graph replays, worker 0":                   "graph 7 120+50",
		"engine 0/GPU/windows of kernels, worker 0":               "window 1 50+170", // to the end
		"engine 0/GPU/kernels, device 0, stream 7, worker 0":      "vllm::rms_norm_kernel 120+5",
		"engine 0/GPU/NCCL kernels, device 0, stream 9, worker 0": "ncclDevKernel_AllReduce_Sum_bf16_RING_LL 126+4",
		"no engine/GPU/kernels, device 0, stream 0, worker -1":    "copy device_to_host 131+4",
		"engine 0/CPU/thread 42":                                  "scheduling 100+10, model_execution 110+80, prepare_inputs 112+5",
		"engine 0/encoder/decoder, worker 0":                      "encoder 118+9",
		"engine 0/hooks/thread 42":                                "Scheduler.add_request 104+3",
		"engine 0/hooks/thread 42, no end seen":                   "Scheduler.add_request 109",
		"engine 0/collectives, worker 0":                          "all_reduce 125",
		"engine 0/counters/running":                               "=3 110", // it does not change
		"engine 0/counters/KV used":                               "=9 110",
		"engine 0/counters/tokens a step":                         "=70 110, =3 220",
		"device 0/SM":                                             "=50 100",
		"device 0/power":                                          "=300.5 100, =310 200",
		"engine 0/requests/a":                                     "queue -50+160, prefill 110+40, preempted 140+10, decode 150+50, preempted 150+10, first token 150, finish 200",
		"engine 0/requests/b":                                     "running 0+130, finish 130",
		"engine 0/requests/c":                                     "queue 140+10, prefill 150+70, preempted 210+10",
	} {
		qt.Check(t, qt.Equals(written(c.at(path)), want), qt.Commentf("%s", path))
	}
	qt.Check(t, qt.Equals(c.Tree["engine 0/CPU/thread 42"].Depth, 2))
	qt.Check(t, qt.HasLen(c.Tree, 21+2)) // and waiting of engine 0, tokens of engine 1
}

// The window has what lies in it in part, the limit leaves requests out.
func TestWindow(t *testing.T) {
	d := newSession(t, server)
	c, shown := export(t, d, Options{Window: Window{From: 201, To: 215}, Requests: 10})
	qt.Check(t, qt.Equals(shown, Shown{Requests: 1}))
	qt.Check(t, qt.Equals(written(c.at("engine 0/scheduler")), "decode 150+70"))
	qt.Check(t, qt.Equals(written(c.at("engine 0/requests/c")), "queue 140+10, prefill 150+70, preempted 210+10"))
	qt.Check(t, qt.HasLen(c.at("engine 0/counters/tokens a step"), 0))
	qt.Check(t, qt.HasLen(c.at("engine 0/CPU/thread 42"), 0))

	c, shown = export(t, d, Options{Window: Always, Requests: 1})
	qt.Check(t, qt.Equals(shown, Shown{Requests: 1, LeftOut: 2}))
	qt.Check(t, qt.HasLen(c.at("engine 0/requests/b"), 0))
}

func TestEmpty(t *testing.T) {
	c, _ := export(t, newSession(t, func(*session.Tables) error { return nil }), Options{Window: Always, Requests: 10})
	qt.Check(t, qt.HasLen(c.Rows, 0))
}

// What cannot be written is said once.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	qt.Assert(t, qt.IsNil(err))
	defer full.Close()
	_, err = Perfetto(full, newSession(t, server), origin, Options{Window: Always, Requests: 10})
	qt.Check(t, qt.ErrorMatches(err, "write /dev/full: no space left on device"))
}
