package decode_test

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
)

// tables is a sink that keeps everything.
type tables struct {
	Processes     []record.ProcessRow
	Steps         []record.StepRow
	StepRequests  []record.StepRequestRow
	Requests      []record.RequestRow
	Preemptions   []record.PreemptionRow
	Usage         []record.KVUsageRow
	KVBlocks      []record.KVBlockRow
	Evictions     []record.KVEvictionRow
	CPU           []record.CPUOperationRow
	Graphs        []record.GraphRow
	GraphLaunches []record.GraphLaunchRow
	Components    []record.EncoderDecoderRow
	Launches      []record.LaunchRow
	Copies        []record.CopyRow
	Collectives   []record.CollectiveRow
	GPUSamples    []record.GPUSampleRow
	GPUCounters   []record.GPUCounterRow
	Kernels       []record.KernelRow
	Windows       []record.KernelWindowRow
	Classes       []record.KernelClassRow
	Activations   []record.MoEActivationRow
	Coselections  []record.MoECoselectionRow
	Weights       []record.MoEWeightRow
	Imbalances    []record.MoEImbalanceRow
	Hooks         []record.HookRow
	Losses        []record.LossRow
}

func keep[T any](to *[]T, row *T) error {
	*to = append(*to, *row)
	return nil
}

func (t *tables) Process(r *record.ProcessRow) error         { return keep(&t.Processes, r) }
func (t *tables) Step(r *record.StepRow) error               { return keep(&t.Steps, r) }
func (t *tables) StepRequest(r *record.StepRequestRow) error { return keep(&t.StepRequests, r) }
func (t *tables) Request(r *record.RequestRow) error         { return keep(&t.Requests, r) }
func (t *tables) Preemption(r *record.PreemptionRow) error   { return keep(&t.Preemptions, r) }
func (t *tables) KVUsage(r *record.KVUsageRow) error         { return keep(&t.Usage, r) }
func (t *tables) KVBlock(r *record.KVBlockRow) error         { return keep(&t.KVBlocks, r) }
func (t *tables) KVEviction(r *record.KVEvictionRow) error   { return keep(&t.Evictions, r) }
func (t *tables) CPUOperation(r *record.CPUOperationRow) error {
	return keep(&t.CPU, r)
}
func (t *tables) Graph(r *record.GraphRow) error                   { return keep(&t.Graphs, r) }
func (t *tables) GraphLaunch(r *record.GraphLaunchRow) error       { return keep(&t.GraphLaunches, r) }
func (t *tables) EncoderDecoder(r *record.EncoderDecoderRow) error { return keep(&t.Components, r) }
func (t *tables) Launch(r *record.LaunchRow) error                 { return keep(&t.Launches, r) }
func (t *tables) Copy(r *record.CopyRow) error                     { return keep(&t.Copies, r) }
func (t *tables) Collective(r *record.CollectiveRow) error         { return keep(&t.Collectives, r) }
func (t *tables) GPUSample(r *record.GPUSampleRow) error           { return keep(&t.GPUSamples, r) }
func (t *tables) GPUCounter(r *record.GPUCounterRow) error         { return keep(&t.GPUCounters, r) }
func (t *tables) Kernel(r *record.KernelRow) error                 { return keep(&t.Kernels, r) }
func (t *tables) KernelWindow(r *record.KernelWindowRow) error     { return keep(&t.Windows, r) }
func (t *tables) KernelClass(r *record.KernelClassRow) error       { return keep(&t.Classes, r) }
func (t *tables) MoEActivation(r *record.MoEActivationRow) error   { return keep(&t.Activations, r) }
func (t *tables) MoECoselection(r *record.MoECoselectionRow) error { return keep(&t.Coselections, r) }
func (t *tables) MoEWeight(r *record.MoEWeightRow) error           { return keep(&t.Weights, r) }
func (t *tables) MoEImbalance(r *record.MoEImbalanceRow) error     { return keep(&t.Imbalances, r) }
func (t *tables) Hook(r *record.HookRow) error                     { return keep(&t.Hooks, r) }
func (t *tables) Loss(r *record.LossRow) error                     { return keep(&t.Losses, r) }

// replay runs records through a Pipeline.
func replay(t testing.TB, records []simRecord) (*tables, decode.Summary) {
	t.Helper()
	got := &tables{}
	p := decode.NewPipeline(got, decode.Options{})
	for _, r := range records {
		qt.Assert(t, qt.IsNil(p.Record(r.kind, r.payload)))
	}
	sum, err := p.Close()
	qt.Assert(t, qt.IsNil(err))
	return got, sum
}
