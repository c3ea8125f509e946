package decode_test

import (
	"testing"
	"time"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
)

// null is a sink that counts.
type null struct{ rows int64 }

func (n *null) Process(*record.ProcessRow) error               { n.rows++; return nil }
func (n *null) Step(*record.StepRow) error                     { n.rows++; return nil }
func (n *null) StepRequest(*record.StepRequestRow) error       { n.rows++; return nil }
func (n *null) Request(*record.RequestRow) error               { n.rows++; return nil }
func (n *null) Preemption(*record.PreemptionRow) error         { n.rows++; return nil }
func (n *null) KVUsage(*record.KVUsageRow) error               { n.rows++; return nil }
func (n *null) KVBlock(*record.KVBlockRow) error               { n.rows++; return nil }
func (n *null) KVEviction(*record.KVEvictionRow) error         { n.rows++; return nil }
func (n *null) CPUOperation(*record.CPUOperationRow) error     { n.rows++; return nil }
func (n *null) Graph(*record.GraphRow) error                   { n.rows++; return nil }
func (n *null) GraphLaunch(*record.GraphLaunchRow) error       { n.rows++; return nil }
func (n *null) EncoderDecoder(*record.EncoderDecoderRow) error { n.rows++; return nil }
func (n *null) Launch(*record.LaunchRow) error                 { n.rows++; return nil }
func (n *null) Copy(*record.CopyRow) error                     { n.rows++; return nil }
func (n *null) Collective(*record.CollectiveRow) error         { n.rows++; return nil }
func (n *null) GPUSample(*record.GPUSampleRow) error           { n.rows++; return nil }
func (n *null) GPUCounter(*record.GPUCounterRow) error         { n.rows++; return nil }
func (n *null) Kernel(*record.KernelRow) error                 { n.rows++; return nil }
func (n *null) KernelWindow(*record.KernelWindowRow) error     { n.rows++; return nil }
func (n *null) KernelClass(*record.KernelClassRow) error       { n.rows++; return nil }
func (n *null) MoEActivation(*record.MoEActivationRow) error   { n.rows++; return nil }
func (n *null) MoECoselection(*record.MoECoselectionRow) error { n.rows++; return nil }
func (n *null) MoEWeight(*record.MoEWeightRow) error           { n.rows++; return nil }
func (n *null) MoEImbalance(*record.MoEImbalanceRow) error     { n.rows++; return nil }
func (n *null) Hook(*record.HookRow) error                     { n.rows++; return nil }
func (n *null) Loss(*record.LossRow) error                     { n.rows++; return nil }

// BenchmarkPipeline decodes and joins a load of 64 requests at a time; the
// records of the metric are rows of step_requests, all rows come with them.
func BenchmarkPipeline(b *testing.B) {
	s := newSim(simConfig{
		caching: true, async: true, front: true, v2: true, setOfReset: true,
		blocks: 2000, blockSize: 16, maxSeqs: 64, maxTokens: 2048,
		requests: 600, prompt: 400, outputs: 300, sharing: 10,
	})
	s.run()
	bytes := 0
	for _, r := range s.events {
		bytes += len(r.payload)
	}
	requests := len(s.truth.StepRequests)
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	b.ResetTimer()
	var sink null
	start := time.Now()
	for b.Loop() {
		p := decode.NewPipeline(&sink, decode.Options{})
		for _, r := range s.events {
			if err := p.Record(r.kind, r.payload); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
	seconds := time.Since(start).Seconds()
	b.ReportMetric(float64(b.N)*float64(requests)/seconds, "step-requests/s")
	b.ReportMetric(float64(sink.rows)/seconds, "rows/s")
}

// BenchmarkChoices decodes and joins steps of a model with 48 layers of 128 experts, of
// which each token chooses 8.
func BenchmarkChoices(b *testing.B) {
	layers := make([]int32, 48)
	for i := range layers {
		layers[i] = int32(i)
	}
	s := newCudaSim(cudaConfig{steps: 60, async: true, captured: true, cupti: "calls", moe: moeConfig{layers: layers, experts: 128, topK: 8, told: 128}})
	journal := s.journal()
	tokens := 0
	for _, st := range s.truth {
		tokens += st.tokens
	}
	b.ReportAllocs()
	start := time.Now()
	for b.Loop() {
		p := decode.NewPipeline(&null{}, decode.Options{})
		for _, r := range journal {
			if err := p.Record(r.kind, r.payload); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(tokens)/time.Since(start).Seconds(), "tokens/s")
}
