package render

import (
	"github.com/pmtrace/pmtrace/decode/kernel"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// replays shows those of CUDA graphs whose times on the GPU are known.
func (t *trace) replays(dir *session.Dir) error {
	return each(t, dir, func(r *record.GraphLaunchRow) {
		if r.StartNS == nil || r.EndNS == nil || !t.window.overlaps(*r.StartNS, *r.EndNS) {
			return
		}
		name := number("graph", r.GraphID)
		if r.Descriptor != nil {
			name = *r.Descriptor
		}
		a := t.args().
			optInt("step_id", r.StepID).
			int("graph_id", int64(r.GraphID)).
			optText("timing_source", r.TimingSource).
			optInt("error_bound_ns", r.ErrorNS).
			optInt32("piece", r.Piece).
			optInt32("tokens", r.Tokens).
			optInt32("padded_tokens", r.PaddedTokens).
			text("phase", r.Phase)
		t.lanes(t.ofWorker(r.Engine, r.Worker, rankReplays, "graph replays")).slice(*r.StartNS, *r.EndNS, "graph", name, a)
	})
}

// windows shows when kernels were told one by one.
func (t *trace) windows(dir *session.Dir) error {
	return each(t, dir, func(r *record.KernelWindowRow) {
		off := t.orEnd(r.OffNS)
		if !t.window.overlaps(r.OnNS, off) {
			return
		}
		a := t.args().int("kernels", r.Kernels).int("replays", r.Replays)
		t.lanes(t.ofWorker(r.Engine, r.Worker, rankWindows, "windows of kernels")).slice(r.OnNS, off, "kernel", number("window", r.Window), a)
	})
}

// kernels shows those of windows by stream, and NCCL's by themselves.
func (t *trace) kernels(dir *session.Dir) error {
	known := map[string]kernel.Kernel{} // by name; a model has a few hundred
	return each(t, dir, func(r *record.KernelRow) {
		end := r.TimeNS + r.DurNS
		if !t.window.overlaps(r.TimeNS, end) {
			return
		}
		k, ok := known[r.Name]
		if !ok {
			k = kernel.Classify(r.Name)
			known[r.Name] = k
		}
		name, category := k.Function, string(k.Class)
		if name == "" || r.Bytes != nil { // a copy has no function
			name = r.Name
		}
		if r.Class != nil {
			category = *r.Class
		}
		a := t.args().
			optInt("step_id", r.StepID).
			optInt32("graph_id", r.GraphID).
			text("class", category).
			text("library", string(k.Library)).
			text("name", r.Name).
			optInt("bytes", r.Bytes).
			int("grid_x", int64(r.GridX)).
			int("block_x", int64(r.BlockX))
		rank, kind := rankKernels, "kernels"
		if k.Library == kernel.NCCL {
			rank, kind = rankNCCL, "NCCL kernels"
		}
		p := t.ofWorker(r.Engine, r.Worker, rank, number(kind+", device", r.Device)+", "+number("stream", r.Stream))
		t.lanes(p).slice(r.TimeNS, end, category, name, a)
	})
}

// samples shows what NVML and GPM say of the devices.
func (t *trace) samples(dir *session.Dir) error {
	return each(t, dir, func(r *record.GPUSampleRow) {
		device := t.group(place{0, rankDevices + int(r.GPU), number("device", r.GPU)})
		for i, c := range []struct {
			name, unit string
			value      *float64
		}{
			{"SM", "%", r.SMPct},
			{"utilisation", "%", r.UtilPct},
			{"DRAM", "%", r.DRAMPct},
			{"power", "W", r.PowerW},
		} {
			if c.value != nil {
				t.line(place{device, i, c.name}, c.unit).set(r.TimeNS, *c.value)
			}
		}
	})
}
