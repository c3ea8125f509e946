package record

// Tee is a Sink that hands each row to several in their order, up to the first error.
type Tee []Sink

var _ Sink = Tee(nil)

func tee[T any](sinks []Sink, row *T, add func(Sink, *T) error) error {
	for _, s := range sinks {
		if err := add(s, row); err != nil {
			return err
		}
	}
	return nil
}

func (t Tee) Process(r *ProcessRow) error               { return tee(t, r, Sink.Process) }
func (t Tee) Step(r *StepRow) error                     { return tee(t, r, Sink.Step) }
func (t Tee) StepRequest(r *StepRequestRow) error       { return tee(t, r, Sink.StepRequest) }
func (t Tee) Request(r *RequestRow) error               { return tee(t, r, Sink.Request) }
func (t Tee) Preemption(r *PreemptionRow) error         { return tee(t, r, Sink.Preemption) }
func (t Tee) KVUsage(r *KVUsageRow) error               { return tee(t, r, Sink.KVUsage) }
func (t Tee) KVBlock(r *KVBlockRow) error               { return tee(t, r, Sink.KVBlock) }
func (t Tee) KVEviction(r *KVEvictionRow) error         { return tee(t, r, Sink.KVEviction) }
func (t Tee) CPUOperation(r *CPUOperationRow) error     { return tee(t, r, Sink.CPUOperation) }
func (t Tee) Graph(r *GraphRow) error                   { return tee(t, r, Sink.Graph) }
func (t Tee) GraphLaunch(r *GraphLaunchRow) error       { return tee(t, r, Sink.GraphLaunch) }
func (t Tee) EncoderDecoder(r *EncoderDecoderRow) error { return tee(t, r, Sink.EncoderDecoder) }
func (t Tee) Launch(r *LaunchRow) error                 { return tee(t, r, Sink.Launch) }
func (t Tee) Copy(r *CopyRow) error                     { return tee(t, r, Sink.Copy) }
func (t Tee) Collective(r *CollectiveRow) error         { return tee(t, r, Sink.Collective) }
func (t Tee) GPUSample(r *GPUSampleRow) error           { return tee(t, r, Sink.GPUSample) }
func (t Tee) GPUCounter(r *GPUCounterRow) error         { return tee(t, r, Sink.GPUCounter) }
func (t Tee) Kernel(r *KernelRow) error                 { return tee(t, r, Sink.Kernel) }
func (t Tee) KernelWindow(r *KernelWindowRow) error     { return tee(t, r, Sink.KernelWindow) }
func (t Tee) KernelClass(r *KernelClassRow) error       { return tee(t, r, Sink.KernelClass) }
func (t Tee) MoEActivation(r *MoEActivationRow) error   { return tee(t, r, Sink.MoEActivation) }
func (t Tee) MoECoselection(r *MoECoselectionRow) error { return tee(t, r, Sink.MoECoselection) }
func (t Tee) MoEWeight(r *MoEWeightRow) error           { return tee(t, r, Sink.MoEWeight) }
func (t Tee) MoEImbalance(r *MoEImbalanceRow) error     { return tee(t, r, Sink.MoEImbalance) }
func (t Tee) Hook(r *HookRow) error                     { return tee(t, r, Sink.Hook) }
func (t Tee) Loss(r *LossRow) error                     { return tee(t, r, Sink.Loss) }
