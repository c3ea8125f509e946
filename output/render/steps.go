package render

import (
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// steps shows the scheduler's steps, their times on the GPU, and the queues.
func (t *trace) steps(dir *session.Dir) error {
	return each(t, dir, func(s *record.StepRow) {
		engine := t.engine(s.Engine)
		t.scheduled(engine, s)
		t.onGPU(engine, s)
		t.queues(engine, s)
	})
}

func (t *trace) scheduled(engine track, s *record.StepRow) {
	end := s.ScheduledNS
	if s.UpdateNS != nil {
		end = *s.UpdateNS
	}
	if s.EndNS != nil {
		end = *s.EndNS
	}
	t.end = max(t.end, end)
	if !t.window.overlaps(s.StartNS, end) {
		return
	}
	a := t.args().
		int("step_id", s.StepID).
		int("tokens", int64(s.Tokens)).
		int("requests", int64(s.Requests)).
		int("prefill_tokens", int64(s.PrefillTokens)).
		int("new", int64(s.NewRequests)).
		int("preempted", int64(s.Preempted)).
		optText("graph", s.Descriptor)
	if s.PaddedTokens != nil {
		a.int("padding", int64(*s.PaddedTokens-s.Tokens))
	}
	a.optFloat("mbu", s.MBU).optFloat("mfu", s.MFU)
	t.lanes(place{engine, rankScheduler, "scheduler"}).slice(s.StartNS, end, "scheduler", s.Phase, a)
}

func (t *trace) onGPU(engine track, s *record.StepRow) {
	if s.GPUStartNS == nil || s.GPUEndNS == nil || !t.window.overlaps(*s.GPUStartNS, *s.GPUEndNS) {
		return
	}
	a := t.args().
		int("step_id", s.StepID).
		optText("timing_source", s.GPUTimingSource).
		optInt("error_bound_ns", s.GPUErrorNS).
		optInt("idle_before_ns", s.GPUIdleNS).
		optBool("host_waited", s.HostWaited).
		optInt32("kernel_launches", s.KernelLaunches).
		optInt32("graph_launches", s.GraphLaunches)
	t.lanes(place{t.gpu(engine), rankGPUSteps, "steps"}).slice(*s.GPUStartNS, *s.GPUEndNS, "gpu", s.Phase, a)
}

func (t *trace) queues(engine track, s *record.StepRow) {
	counters := t.group(place{engine, rankCounters, "counters"})
	for i, c := range []struct {
		name, unit string
		value      *int32
	}{
		{"running", "requests", s.Running},
		{"waiting", "requests", s.Waiting},
		{"KV used", "blocks", s.KVUsed},
		{"tokens a step", "tokens", &s.Tokens},
	} {
		if c.value != nil {
			t.line(place{counters, i, c.name}, c.unit).set(s.ScheduledNS, float64(*c.value))
		}
	}
}
