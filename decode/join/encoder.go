package join

import (
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// emitEncoder hands on the rows of encoder_decoder for a step of a model that has
// an encoder: from the first step on in which it was seen at work.
//
// In a step with encoder work all rows are cpu_bound, and encoder, decoder and
// cross_attention add up to the CPU time of the phases encoder and forward in
// which the decoder's cross-attention is nested: operations encoder,
// forward_launch and cross_attention of cpu_operations, which do not overlap. In a
// step without, the decoder is all the GPU does, and where the step has a GPU time
// its one row is that.
func (e *engine) emitEncoder(r *run, row *record.StepRow) {
	w := r.w
	w.encodes = w.encodes || row.EncoderInputs > 0
	if !w.encodes || r.gap || !r.allCalls() {
		return
	}
	at, dur, encoded := r.spentIn(wire.PhaseEncoder)
	if encoded {
		e.component(r, record.ComponentEncoder, at, dur, &e.j.cpuBound, nil)
	}
	cross, crossDur, crossed := r.spentIn(wire.PhaseCrossAttention)
	if crossed {
		e.component(r, record.ComponentCrossAttention, cross, crossDur, &e.j.cpuBound, nil)
	}
	at, dur, decoded := r.spentIn(wire.PhaseForward)
	switch {
	case !decoded:
	case !encoded && !crossed && row.EncoderInputs == 0 && row.StepGPUNS != nil:
		e.component(r, record.ComponentDecoder, *row.GPUStartNS, *row.StepGPUNS, row.GPUTimingSource, row.GPUErrorNS)
	default:
		e.component(r, record.ComponentDecoder, at, dur, &e.j.cpuBound, nil)
	}
}

func (e *engine) component(r *run, name string, at, dur int64, source *string, err *int64) {
	row := &e.j.rows.encoder
	*row = record.EncoderDecoderRow{
		Engine: e.id, Worker: r.w.id, StepID: r.stepPtr(), TimeNS: at, DurNS: dur, Component: name,
		TimingSource: *source, ErrorNS: err, Context: phaseContext(r.phaseName),
	}
	e.j.check(e.j.sink.EncoderDecoder(row))
}
