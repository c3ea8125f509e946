package probes_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/probes"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

// startRenamed is startShape for a vLLM in which names are others.
func startRenamed(t *testing.T, version, names string, args ...string) *shape {
	t.Helper()
	s := &shape{truth: filepath.Join(t.TempDir(), "truth.jsonl")}
	argv := []string{interpreter(t, version), "../e2e/shape/renamed.py", names, "--truth", s.truth}
	s.program = startProgram(t, append(argv, args...))
	return s
}

// A version of vLLM that nobody has seen: what it calls otherwise is named, and all that
// does not depend on it is as exact as ever. Nothing that it does not have counts as lost.
func TestUnseenVersion(t *testing.T) {
	needRoot(t)
	for _, test := range []struct {
		names   string
		missing string // part of what is named
		watches int
		check   func(t *testing.T, got *rows, want *want)
	}{
		{"scheduler_output=made", "variable scheduler_output", 4, everything},
		{"engine_core_outputs=handed_out", "variable engine_core_outputs", 4, everything},
		{"scheduled_timestamp=begun_at", "variable scheduled_timestamp", 4, func(t *testing.T, got *rows, want *want) {
			for i := range got.steps {
				qt.Assert(t, qt.IsNil(got.steps[i].ScheduleDurNS), qt.Commentf("step %d", i))
			}
			theSteps(t, got, want)
		}},
		{"waiting=in_line", "Scheduler.waiting", 4, func(t *testing.T, got *rows, want *want) {
			for i := range got.steps {
				qt.Assert(t, qt.IsNil(got.steps[i].Waiting), qt.Commentf("step %d", i))
				qt.Assert(t, qt.IsNotNil(got.steps[i].Running))
			}
			theSteps(t, got, want)
		}},
		{"num_preemptions=times_preempted", "Request.num_preemptions", 4, everything},
		{"preempted_req_ids=thrown_out", "SchedulerOutput.preempted_req_ids", 4, func(t *testing.T, got *rows, want *want) {
			theSteps(t, got, want)
			qt.Assert(t, qt.HasLen(got.preempt, want.preempted))
		}},
		{"fake_free_list_head=front", "fake_free_list_head", 4, func(t *testing.T, got *rows, want *want) {
			qt.Assert(t, qt.HasLen(got.usage, len(want.kv)))
			theSteps(t, got, want)
		}},
		{"num_free_blocks=free_count", "num_free_blocks", 3, theSteps},
		{"update_from_output=take_output", "Scheduler.update_from_output", 2, theSteps},
	} {
		for _, version := range []string{"3.10", "3.13"} {
			t.Run(test.names+"/"+version, func(t *testing.T) {
				s := startRenamed(t, version, test.names, "--blocks", "60", "--requests", "150")
				engine, err := vllm.Find(s.pid, vllm.Options{})
				qt.Assert(t, qt.IsNil(err))
				named := engine.Fact().Missing
				qt.Assert(t, qt.IsTrue(slices.ContainsFunc(named, func(m string) bool { return strings.Contains(m, test.missing) })), qt.Commentf("%v", named))
				got, losses, unavailable := trace(t, s, probes.Options{})
				qt.Check(t, qt.Equals(lost(losses), 0), qt.Commentf("%v", losses))
				qt.Check(t, qt.HasLen(unavailable, 4-test.watches), qt.Commentf("%v", unavailable))
				want := s.want()
				test.check(t, got, &want)
			})
		}
	}
}

func everything(t *testing.T, got *rows, want *want) { check(t, got, *want) }

// theSteps compares what is read where schedule returns: the steps, their requests and tokens.
func theSteps(t *testing.T, got *rows, want *want) {
	t.Helper()
	qt.Assert(t, qt.HasLen(got.steps, len(want.steps)))
	for i := range got.steps {
		g, w := &got.steps[i], want.steps[i]
		at := qt.Commentf("step %d: %+v", i, g)
		qt.Assert(t, qt.Equals(int(g.Tokens), w.tokens), at)
		qt.Assert(t, qt.Equals(int(g.Requests), len(w.rows)), at)
		sum := 0
		for _, r := range got.stepReqs[g.StepID] {
			sum += int(r.Scheduled)
		}
		qt.Assert(t, qt.Equals(sum, w.tokens), at)
	}
}
