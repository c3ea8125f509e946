package decode_test

import (
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// rewatched gives an Engine fact other watches.
func rewatched(r simRecord, watches []string) simRecord {
	var f record.Fact
	if err := json.Unmarshal(r.payload, &f); err != nil {
		panic(err)
	}
	if f.Engine != nil {
		f.Engine.Watches = watches
	}
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return simRecord{'F', b}
}

// FuzzEvents: no bytes make the pipeline panic, or hand on a row that
// contradicts itself.
func FuzzEvents(f *testing.F) {
	for name, c := range servers() {
		c.requests = 4
		c.seed = uint64(len(name))
		s := newSim(c)
		s.run()
		f.Add(packed(s.events))
	}
	for name, c := range gpus() {
		c.steps, c.seed = 4, uint64(len(name))
		f.Add(packed(newCudaSim(c).journal()))
	}
	for name, c := range recorded() {
		c.steps, c.seed = 4, uint64(len(name))
		f.Add(packed(newCudaSim(c).journal()))
	}
	for name, c := range routed() {
		c.steps, c.seed, c.moe.topK = 4, uint64(len(name)), 2
		f.Add(packed(newCudaSim(c).journal()))
	}
	for kind := wire.KindStep; kind <= wire.KindRouted; kind++ {
		raw := event(kind, 80, nil)
		f.Add(append([]byte{'E', byte(len(raw)), 0}, raw...))
	}
	f.Fuzz(func(t *testing.T, journal []byte) {
		sink := &sane{t: t, step: map[int32]int64{}}
		p := decode.NewPipeline(sink, decode.Options{})
		for len(journal) >= 3 {
			kind, n := journal[0], int(binary.LittleEndian.Uint16(journal[1:]))
			n = min(n, len(journal)-3)
			if err := p.Record(kind, journal[3:3+n]); err != nil {
				t.Fatal(err)
			}
			journal = journal[3+n:]
		}
		p.Live()
		if _, err := p.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// packed is a journal as the fuzz target takes it.
func packed(events []simRecord) []byte {
	var journal []byte
	for _, r := range events[:min(len(events), 200)] {
		n := min(len(r.payload), 1<<16-1)
		journal = append(journal, r.kind)
		journal = binary.LittleEndian.AppendUint16(journal, uint16(n))
		journal = append(journal, r.payload[:n]...)
	}
	return journal
}

// sane is a sink that checks what holds for every row.
type sane struct {
	tables
	t    *testing.T
	step map[int32]int64
}

func (s *sane) Step(r *record.StepRow) error {
	if r.Requests < 0 || r.Tokens < 0 || r.PrefillRequests+r.DecodeRequests+r.RecomputeRequests > r.Requests {
		s.t.Fatalf("%+v", r)
	}
	if r.PrefillTokens < 0 || r.DecodeTokens < 0 || r.RecomputeTokens < 0 || r.DraftTokens < 0 ||
		negative(r.OutputTokens) || negative(r.ContextTokens) || negative(r.GenerationTokens) ||
		r.ForwardNS != nil && *r.ForwardNS < 0 || r.ScheduleDurNS != nil && *r.ScheduleDurNS < 0 || r.UpdateDurNS != nil && *r.UpdateDurNS < 0 {
		s.t.Fatalf("%+v", r)
	}
	if r.KVUsed != nil && (*r.KVUsed < 0 || *r.KVUsed > *r.KVTotal) {
		s.t.Fatalf("%d of %d blocks used", *r.KVUsed, *r.KVTotal)
	}
	if negative(r.GraphLaunches) || negative(r.PaddedTokens) || negative(r.KernelLaunches) || before(r.GPUEndNS, r.GPUStartNS) ||
		below(r.GPUErrorNS) || below(r.GPUIdleNS) || below(r.GPUBusyNS) || below(r.CopiedBytes) {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) CPUOperation(r *record.CPUOperationRow) error {
	if r.DurNS < 0 {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) GraphLaunch(r *record.GraphLaunchRow) error {
	if before(r.EndNS, r.StartNS) || below(r.DurNS) || below(r.ErrorNS) || negative(r.Tokens) || negative(r.PaddedTokens) {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) Kernel(r *record.KernelRow) error {
	if r.DurNS < 0 || below(r.Bytes) {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) KernelWindow(r *record.KernelWindowRow) error {
	if r.OnSwitchNS < 0 || below(r.OffSwitchNS) || r.Kernels < 0 || r.Replays < 0 {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) KernelClass(r *record.KernelClassRow) error {
	bad := func(v *float64) bool { return v != nil && !(*v >= 0) }
	if r.Kernels < 0 || r.DurNS < 0 || r.Samples < 0 || (r.Method == nil) != (r.DRAMReadBps == nil) ||
		bad(r.DRAMReadBps) || bad(r.DRAMWriteBps) || bad(r.DRAMErrorBps) || bad(r.TensorActivePct) {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) MoEActivation(r *record.MoEActivationRow) error {
	if r.Activations <= 0 || r.Tokens <= 0 || r.Expert < 0 || r.FirstStep > r.LastStep || r.FromNS >= r.ToNS {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) MoECoselection(r *record.MoECoselectionRow) error {
	if r.Count <= 0 || r.Expert1 < 0 || r.Expert1 >= r.Expert2 {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) MoEImbalance(r *record.MoEImbalanceRow) error {
	if r.StdDev < 0 || r.Tokens <= 0 || r.Used < 0 || r.Experts != nil && r.Used > *r.Experts {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) Collective(r *record.CollectiveRow) error {
	if r.Count < 0 || r.Bytes < 0 {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func below(n *int64) bool { return n != nil && *n < 0 }

func before(end, start *int64) bool { return end != nil && start != nil && *end < *start }

func negative(n *int32) bool { return n != nil && *n < 0 }

func (s *sane) Request(r *record.RequestRow) error {
	if negative(r.PromptTokens) || negative(r.CachedTokens) || negative(r.OutputTokens) || negative(r.MaxTokens) || r.Scheduled < 0 ||
		r.PreemptedNS != nil && *r.PreemptedNS < 0 || r.DecodeNS != nil && *r.DecodeNS < 0 || r.PrefillNS != nil && *r.PrefillNS < 0 {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) Preemption(r *record.PreemptionRow) error {
	if negative(r.BlocksFreed) || negative(r.Computed) || r.RunningNS != nil && *r.RunningNS < 0 ||
		r.ResumedNS != nil && *r.ResumedNS < r.TimeNS {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) KVUsage(r *record.KVUsageRow) error {
	if r.Blocks < 0 || negative(r.FreeAfter) {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) KVEviction(r *record.KVEvictionRow) error {
	if r.LifetimeNS < 0 || r.IdleNS < 0 || r.UnusedNS != nil && *r.UnusedNS < 0 || r.Hits < 0 {
		s.t.Fatalf("%+v", r)
	}
	return nil
}

func (s *sane) Loss(r *record.LossRow) error {
	if r.Count <= 0 || r.FromNS > r.ToNS {
		s.t.Fatalf("%+v", r)
	}
	return nil
}
