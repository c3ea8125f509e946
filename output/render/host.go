package render

import (
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// operations shows what the threads of the engines did.
func (t *trace) operations(dir *session.Dir) error {
	return each(t, dir, func(r *record.CPUOperationRow) {
		end := r.TimeNS + r.DurNS
		if !t.window.overlaps(r.TimeNS, end) {
			return
		}
		cpu := t.group(place{t.engine(r.Engine), rankCPU, "CPU"})
		a := t.args().optInt("step_id", r.StepID).text("context", r.Context)
		t.lanes(place{cpu, 0, number("thread", r.Thread)}).slice(r.TimeNS, end, "cpu", r.Operation, a)
	})
}

// components shows runs of encoders and decoders.
func (t *trace) components(dir *session.Dir) error {
	return each(t, dir, func(r *record.EncoderDecoderRow) {
		end := r.TimeNS + r.DurNS
		if !t.window.overlaps(r.TimeNS, end) {
			return
		}
		a := t.args().
			optInt("step_id", r.StepID).
			text("timing_source", r.TimingSource).
			optInt("error_bound_ns", r.ErrorNS).
			text("context", r.Context)
		p := place{t.engine(r.Engine), rankComponents, "encoder/decoder, " + number("worker", r.Worker)}
		t.lanes(p).slice(r.TimeNS, end, "encoder_decoder", r.Component, a)
	})
}

// collectives shows the calls of NCCL, which return before the GPU has begun.
func (t *trace) collectives(dir *session.Dir) error {
	return each(t, dir, func(r *record.CollectiveRow) {
		if !t.window.overlaps(r.TimeNS, r.TimeNS) {
			return
		}
		a := t.args().
			optInt("step_id", r.StepID).
			int("bytes", r.Bytes).
			int("count", r.Count).
			text("type", r.Type).
			text("phase", r.Phase)
		p := place{t.engineOf(r.Engine), rankCollectives, "collectives, " + number("worker", r.Worker)}
		t.instant(t.group(p), r.TimeNS, "collective", r.Collective, a)
	})
}

// hooks shows calls of the functions that the user named; those whose end was not seen
// as instants.
func (t *trace) hooks(dir *session.Dir) error {
	return each(t, dir, func(r *record.HookRow) {
		end := r.TimeNS
		if r.DurNS != nil {
			end += *r.DurNS
		}
		if !t.window.overlaps(r.TimeNS, end) {
			return
		}
		group := t.group(place{t.engineOf(r.Engine), rankHooks, "hooks"})
		a := t.args().
			int("call", r.Call).
			text("arguments", r.Arguments).
			optInt("result", r.Result).
			optText("outcome", r.Outcome)
		thread := number("thread", r.Thread)
		if r.DurNS == nil {
			t.instant(t.group(place{group, 1, thread + ", no end seen"}), r.TimeNS, "hook", r.Hook, a)
			return
		}
		t.lanes(place{group, 0, thread}).slice(r.TimeNS, end, "hook", r.Hook, a)
	})
}
