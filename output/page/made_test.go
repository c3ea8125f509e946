package page

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// hostile is what a session may say of itself.
const hostile = `</script><script>document.title="owned"</script><img src=x onerror=alert(1)>"'` + "\u2028&lt;{{.}}\\"

// made is a server that a test makes up, with everything that there may be: prompts of
// many lengths, steps with and without graphs, preemptions, GPUs, kernels, experts.
type made struct {
	t      testing.TB
	tables *session.Tables
	rng    *rand.Rand
	engine int32
	now    int64
	step   int64
	gpuEnd int64
	uid    int64
	live   []*record.RequestRow
	kv     int32
}

const (
	kvBlocks  = 2000
	blockSize = 16
)

func (s *made) check(err error) {
	s.t.Helper()
	qt.Assert(s.t, qt.IsNil(err))
}

func (s *made) round() {
	if s.rng.IntN(400) == 0 {
		s.now += 30_000_000 + s.rng.Int64N(400_000_000) // nothing to do
	}
	joined := []*record.RequestRow{}
	for len(s.live)+len(joined) < 48 && s.rng.IntN(5) == 0 {
		s.uid++
		r := &record.RequestRow{
			RequestUID: s.uid*2 + int64(s.engine), Engine: s.engine, RequestID: fmt.Sprintf("cmpl-%08x-0", s.rng.Uint32()), FromStart: true,
			ArrivalNS: new(s.now - s.rng.Int64N(20_000_000)), PromptTokens: new(8 + s.rng.Int32N(1200)), CachedTokens: new(int32(0)),
			MaxTokens: new(1 + s.rng.Int32N(260)), OutputTokens: new(int32(0)), PreemptedNS: new(int64(0)),
		}
		r.ExternalID = r.RequestID
		if s.uid == 3 {
			r.RequestID, r.ExternalID = hostile+"-0", hostile
		}
		joined = append(joined, r)
	}
	if len(joined)+len(s.live) == 0 {
		s.now += 2_000_000
		return
	}
	s.run(joined)
}

// run makes a step.
func (s *made) run(joined []*record.RequestRow) {
	start := s.now
	scheduled := start + 200_000 + s.rng.Int64N(300_000)
	row := record.StepRow{
		Engine: s.engine, StepID: s.step, StartNS: start, ScheduledNS: scheduled, ScheduleDurNS: new(scheduled - start), Phase: record.PhaseDecode,
		Requests: int32(len(s.live) + len(joined)), NewRequests: int32(len(joined)), DecodeRequests: int32(len(s.live)), DecodeTokens: int32(len(s.live)),
		PrefillRequests: int32(len(joined)), Running: new(int32(len(s.live) + len(joined))), Waiting: new(s.rng.Int32N(6)), KVTotal: new(int32(kvBlocks)),
	}
	for _, r := range joined {
		row.PrefillTokens += *r.PromptTokens
		r.ScheduledNS, r.QueueNS = new(scheduled), new(scheduled-*r.ArrivalNS)
	}
	switch {
	case len(joined) > 0 && len(s.live) > 0:
		row.Phase = record.PhaseMixed
	case len(joined) > 0:
		row.Phase = record.PhasePrefill
	}
	row.Tokens = row.DecodeTokens + row.PrefillTokens
	end := s.gpu(&row)
	s.live = append(s.live, joined...)
	s.preempt(&row)
	s.rows(&row, joined)
	s.kv = min(int32(len(s.live))*40+s.rng.Int32N(50), kvBlocks)
	row.KVUsed, row.OutputTokens = new(s.kv), new(int32(len(s.live)))
	row.UpdateNS, row.EndNS = new(end+40_000), new(end+40_000+s.rng.Int64N(200_000))
	row.FinishedRequests = new(s.outputs(*row.EndNS))
	s.check(s.tables.Step(&row))
	for i, name := range []string{"scheduling", "model_execution", "update_from_output"} {
		s.check(s.tables.CPUOperation(&record.CPUOperationRow{Engine: s.engine, StepID: new(s.step), TimeNS: start + int64(i), DurNS: 100_000 + s.rng.Int64N(900_000), Operation: name}))
	}
	s.step++
	s.now = *row.EndNS + s.rng.Int64N(300_000)
}

// gpu gives a step its GPU's side, and returns when that was over.
func (s *made) gpu(r *record.StepRow) int64 {
	took := 2_500_000 + int64(r.Tokens)*9_000 + s.rng.Int64N(400_000)
	start := max(r.ScheduledNS+500_000, s.gpuEnd)
	end := start + took
	r.LaunchNS, r.GPUStartNS, r.GPUEndNS, r.StepGPUNS = new(start-50_000), new(start), new(end), new(took)
	r.GPUTimingSource, r.GPUErrorNS, r.HostWaited = new(record.TimingCUPTI), new(int64(900)), new(s.rng.IntN(2) == 0)
	if s.gpuEnd > 0 {
		r.GPUIdleNS = new(start - s.gpuEnd)
	}
	s.gpuEnd = end
	size := int32(1)
	for size < r.Tokens {
		size *= 2
	}
	switch {
	case r.Tokens > 256:
		r.GraphMode, r.PaddedTokens = new(modeEager), new(r.Tokens)
	case r.Phase == record.PhaseDecode:
		r.GraphMode, r.PaddedTokens = new(modeFull), new(size)
	default:
		r.GraphMode, r.PaddedTokens = new(modePiecewise), new(size)
	}
	bytes, flops := 2.5e9+float64(r.Tokens)*4e5, float64(r.Tokens)*2.6e9
	seconds := float64(took) / 1e9
	r.ModelBytes, r.ModelFLOPs, r.ModelEstimated = new(int64(bytes)), new(flops), new(true)
	r.MBU, r.MFU = new(float64(int64(bytes))/seconds/4.8e12), new(flops/seconds/989.4e12)
	return end
}

func (s *made) preempt(r *record.StepRow) {
	if len(s.live) < 30 || s.rng.IntN(10) > 0 {
		return
	}
	r.Preempted = 1
	victim := s.live[s.rng.IntN(len(s.live))]
	victim.Preemptions++
	s.check(s.tables.Preemption(&record.PreemptionRow{Engine: s.engine, StepID: s.step, RequestUID: victim.RequestUID, RequestID: victim.RequestID, TimeNS: r.ScheduledNS, Reason: "kv_blocks"}))
	for i := range 3 {
		s.check(s.tables.KVEviction(&record.KVEvictionRow{Engine: s.engine, TimeNS: r.ScheduledNS, OpID: s.step, BlockID: int32(i), HadHash: i > 0}))
	}
}

func (s *made) rows(r *record.StepRow, joined []*record.RequestRow) {
	for i, q := range s.live {
		row := record.StepRequestRow{Engine: s.engine, StepID: s.step, RequestUID: q.RequestUID, Kind: record.KindDecode, Scheduled: 1, OutputTokens: new(int32(1)), NewBlocks: new(int32(0))}
		if i >= len(s.live)-len(joined) {
			row.Kind, row.Scheduled, row.NewBlocks = record.KindPrefill, *q.PromptTokens, new((*q.PromptTokens+blockSize-1)/blockSize)
		}
		s.check(s.tables.StepRequest(&row))
	}
}

// outputs hands each request a token.
func (s *made) outputs(at int64) (finished int32) {
	kept := s.live[:0]
	for _, r := range s.live {
		*r.OutputTokens++
		r.Steps++
		if r.FirstTokNS == nil {
			r.FirstTokNS, r.PrefillNS = new(at), new(at-*r.ScheduledNS)
		}
		if *r.OutputTokens < *r.MaxTokens {
			kept = append(kept, r)
			continue
		}
		finished++
		r.FinishedNS, r.DecodeNS, r.Reason = new(at), new(at-*r.FirstTokNS), new("length")
		s.check(s.tables.Request(r))
	}
	s.live = kept
	return finished
}

// makeServer writes the session of so many steps on each of two engines, and opens it.
func makeServer(t testing.TB, steps int) (*session.Dir, *session.Facts) {
	dir, err := session.Create(t.TempDir(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), session.Owner{UID: -1, GID: -1})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { dir.Close() })
	tables, err := session.CreateTables(dir, session.About{SessionID: dir.Name()})
	qt.Assert(t, qt.IsNil(err))
	var engines []*made
	for i := range int32(2) {
		engines = append(engines, &made{t: t, tables: tables, rng: rand.New(rand.NewPCG(5, uint64(i))), engine: i, now: 1_500_000_000 + int64(i)*7_000_000})
	}
	for done := 0; done < 2*steps; { // rows come in the order of time
		s := engines[0]
		if engines[1].now < s.now {
			s = engines[1]
		}
		before := s.step
		s.round()
		done += int(s.step - before)
	}
	last := max(engines[0].now, engines[1].now)
	for _, s := range engines {
		for _, r := range s.live { // still running
			r.DecodeNS = nil
			s.check(tables.Request(r))
		}
	}
	makeDevices(t, tables, last)
	makeKernels(t, tables)
	makeExperts(t, tables)
	facts := &session.Facts{
		Start: record.Start{
			SessionID: dir.Name(), WallNS: 1_767_323_045_000_000_000, MonoNS: 1, Mode: "record", Version: "test",
			Command: []string{"vllm", "serve", hostile}, Profilers: []string{"batch", "cpu", "gpu", "cuda_graph", "forward_pass", "kv_cache", "preemption", "moe", "kernels"},
		},
		Engines: []record.Engine{
			{Engine: 0, Model: hostile, VLLM: "0.33.0", MaxSeqs: 48, MaxTokens: 8192, BlockSize: blockSize, DP: 2},
			{Engine: 1, Model: hostile, VLLM: "0.33.0", MaxSeqs: 48, MaxTokens: 8192, BlockSize: blockSize, DP: 2},
		},
		GPUs:        []record.GPU{{Index: 0, Name: "NVIDIA H200", PowerLimitW: 700}, {Index: 1, Name: "NVIDIA H200", PowerLimitW: 700}},
		Unavailable: []record.Unavailable{{Profiler: "encoder_decoder", Reason: hostile, Remedy: "another model"}},
		End:         &record.End{MonoNS: last + 1, Reason: "interrupted"},
	}
	s := tables.Close()
	qt.Assert(t, qt.IsNil(s))
	_, err = session.WriteFiles(dir, facts, false)
	qt.Assert(t, qt.IsNil(err))
	return dir, facts
}

func makeDevices(t testing.TB, tables *session.Tables, last int64) {
	for at := int64(0); at < last; at += 100_000_000 {
		for gpu := range int32(2) {
			wave := math.Sin(float64(at)/3e9 + float64(gpu))
			row := record.GPUSampleRow{
				GPU: gpu, TimeNS: at, SMPct: new(60 + 30*wave), DRAMPct: new(40 + 20*wave), PowerW: new(450 + 150*wave),
				SMClockMHz: new(1900 - 60*math.Abs(wave)), Throttle: new(""),
			}
			if at%700_000_000 == 0 {
				row.DRAMPct, row.PowerW = nil, nil
			}
			qt.Assert(t, qt.IsNil(tables.GPUSample(&row)))
		}
	}
}

func makeKernels(t testing.TB, tables *session.Tables) {
	rng := rand.New(rand.NewPCG(1, 9))
	names := []struct{ name, class string }{
		{"_ZN5flash18flash_fwd_kernelILi1EEEvv", "attention"}, {"nvjet_tst_128x64_64x8_4x1_v_bz_TNT", "ffn/gemm"},
		{"void vllm::moe::topkGating<8, 128>(float*)", "moe"}, {"triton_red_fused_add_mean_mul_pow_rsqrt_0", "norm/activation"},
		{"copy device_to_host", "copy"}, {hostile, "other"}, {"", ""},
	}
	classes, named := map[string]*record.KernelClassRow{}, map[string]*record.KernelClassRow{}
	for i := range int64(6000) {
		n := names[rng.IntN(len(names))]
		row := record.KernelRow{TimeNS: 2_000_000_000 + i*20_000, DurNS: 1_000 + rng.Int64N(30_000), Name: n.name}
		if n.class != "" {
			row.Class = &n.class
		}
		qt.Assert(t, qt.IsNil(tables.Kernel(&row)))
		class := n.class
		if class == "" {
			class = "other"
		}
		for key, of := range map[string]map[string]*record.KernelClassRow{class: classes, n.name: named} {
			if of[key] == nil {
				of[key] = &record.KernelClassRow{Class: class}
			}
			of[key].Kernels++
			of[key].DurNS += row.DurNS
		}
	}
	for i, class := range slices.Sorted(maps.Keys(classes)) {
		c := classes[class]
		if i > 0 {
			c.Method, c.Samples = new("regression"), 1000
			c.DRAMReadBps, c.DRAMWriteBps, c.DRAMErrorBps, c.BandwidthShare = new(float64(i)*4e11), new(float64(i)*1e10), new(2e10), new(float64(i)*.122)
		}
		qt.Assert(t, qt.IsNil(tables.KernelClass(c)))
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if name != "" {
			named[name].Name = &name
			qt.Assert(t, qt.IsNil(tables.KernelClass(named[name])))
		}
	}
	for i := range int64(3) {
		w := record.KernelWindowRow{Window: int32(i + 1), OnNS: i * 60e9, Kernels: 2000}
		if i < 2 {
			w.OffNS = new(w.OnNS + 1e9)
		}
		qt.Assert(t, qt.IsNil(tables.KernelWindow(&w)))
	}
}

func makeExperts(t testing.TB, tables *session.Tables) {
	rng := rand.New(rand.NewPCG(3, 3))
	for window := range int64(3) {
		for layer := range int32(24) {
			for expert := range int32(64) {
				n := int64(200 * math.Exp(rng.NormFloat64()*.6))
				if expert == 7 || n < 60 {
					continue
				}
				qt.Assert(t, qt.IsNil(tables.MoEActivation(&record.MoEActivationRow{Layer: layer, FromNS: window * 1e10, ToNS: (window + 1) * 1e10, Expert: expert, Activations: n})))
			}
			qt.Assert(t, qt.IsNil(tables.MoEImbalance(&record.MoEImbalanceRow{Layer: layer, FromNS: window * 1e10, Experts: new(int32(64)), TopK: 8})))
		}
	}
}

// build reads a session whole.
func build(t testing.TB, dir *session.Dir, facts *session.Facts) *Page {
	p, err := Build(dir, facts)
	qt.Assert(t, qt.IsNil(err))
	return p
}
