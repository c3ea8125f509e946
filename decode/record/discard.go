package record

// Discard is a Sink that counts rows and drops them. Others embed it for the rows
// that they do not want.
type Discard struct {
	Rows int64
}

var _ Sink = (*Discard)(nil)

func (d *Discard) drop() error { d.Rows++; return nil }

func (d *Discard) Process(*ProcessRow) error               { return d.drop() }
func (d *Discard) Step(*StepRow) error                     { return d.drop() }
func (d *Discard) StepRequest(*StepRequestRow) error       { return d.drop() }
func (d *Discard) Request(*RequestRow) error               { return d.drop() }
func (d *Discard) Preemption(*PreemptionRow) error         { return d.drop() }
func (d *Discard) KVUsage(*KVUsageRow) error               { return d.drop() }
func (d *Discard) KVBlock(*KVBlockRow) error               { return d.drop() }
func (d *Discard) KVEviction(*KVEvictionRow) error         { return d.drop() }
func (d *Discard) CPUOperation(*CPUOperationRow) error     { return d.drop() }
func (d *Discard) Graph(*GraphRow) error                   { return d.drop() }
func (d *Discard) GraphLaunch(*GraphLaunchRow) error       { return d.drop() }
func (d *Discard) EncoderDecoder(*EncoderDecoderRow) error { return d.drop() }
func (d *Discard) Launch(*LaunchRow) error                 { return d.drop() }
func (d *Discard) Copy(*CopyRow) error                     { return d.drop() }
func (d *Discard) Collective(*CollectiveRow) error         { return d.drop() }
func (d *Discard) GPUSample(*GPUSampleRow) error           { return d.drop() }
func (d *Discard) GPUCounter(*GPUCounterRow) error         { return d.drop() }
func (d *Discard) Kernel(*KernelRow) error                 { return d.drop() }
func (d *Discard) KernelWindow(*KernelWindowRow) error     { return d.drop() }
func (d *Discard) KernelClass(*KernelClassRow) error       { return d.drop() }
func (d *Discard) MoEActivation(*MoEActivationRow) error   { return d.drop() }
func (d *Discard) MoECoselection(*MoECoselectionRow) error { return d.drop() }
func (d *Discard) MoEWeight(*MoEWeightRow) error           { return d.drop() }
func (d *Discard) MoEImbalance(*MoEImbalanceRow) error     { return d.drop() }
func (d *Discard) Hook(*HookRow) error                     { return d.drop() }
func (d *Discard) Loss(*LossRow) error                     { return d.drop() }
