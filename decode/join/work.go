package join

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/model"
	"github.com/pmtrace/pmtrace/decode/record"
)

// work computes what a step of an engine's model must do at least. nil: not known.
type work struct {
	config   *model.Config
	setup    model.Setup
	requests []model.Request
}

// newWork takes the config that the engine was found with.
func newWork(f *record.Engine) *work {
	config, setup, err := model.Serve(f.ModelConfig, model.Serving{
		TensorParallel: f.TP, PipelineParallel: f.PP, DataParallel: f.DP, KVCache: f.KVCacheType,
	})
	if err != nil {
		return nil
	}
	return &work{config: config, setup: setup}
}

// fillWork says what the step had to move and to compute at least on each GPU, and
// which share of what the GPU can do in the step's GPU time that is.
func (e *engine) fillWork(st *step, row *record.StepRow) {
	w := e.work
	if w == nil || !st.complete || st.tokens <= 0 {
		return
	}
	w.requests = w.requests[:0]
	for i := range st.rows {
		r := &st.rows[i]
		if r.computed < 0 {
			return
		}
		w.requests = append(w.requests, model.Request{Computed: int(r.computed), Scheduled: int(r.scheduled)})
	}
	// vLLM computes logits of each request's last token and of each draft's.
	sampled := min(len(st.rows)+int(st.draftTokens), int(st.tokens))
	needs, err := w.config.Work(w.setup, model.Step{Requests: w.requests, Sampled: sampled})
	if err != nil {
		return
	}
	ptr := e.j.ptr
	row.ModelBytes, row.ModelFLOPs = ptr.int64(int64(needs.Bytes())), &needs.FLOPs
	row.ModelEstimated = &e.j.no
	if len(needs.Estimates) > 0 {
		row.ModelEstimated = &e.j.yes
	}
	gpu := e.gpu()
	if gpu == nil || row.StepGPUNS == nil {
		return
	}
	seconds := float64(*row.StepGPUNS) / 1e9
	if v, ok := needs.MBU(gpu, seconds); ok {
		row.MBU = &v
	}
	if v, ok := needs.MFU(gpu, seconds); ok {
		row.MFU = &v
	}
}

// gpu is what the device that the step's times are of can do; nil: not known.
func (e *engine) gpu() *model.GPU {
	if e.primary == nil {
		return nil
	}
	for _, d := range e.j.devices {
		if d != nil && slices.Contains(d.pids, e.primary.fact.PID) {
			return d.model
		}
	}
	return nil
}
