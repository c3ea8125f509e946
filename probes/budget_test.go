package probes_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/probes"
	"github.com/pmtrace/pmtrace/probes/hook"
	"github.com/pmtrace/pmtrace/probes/vllm"
)

const schedulerModule = "py:vllm.v1.core.sched.scheduler:"

// attachHooked attaches to a program of vLLM's shape with hooks.
func attachHooked(t *testing.T, s *shape, opts probes.Options) (*probes.Tracer, []record.Unavailable, error) {
	t.Helper()
	tracer, err := probes.New(opts)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { tracer.Close() })
	engine, err := vllm.Find(s.pid, vllm.Options{})
	qt.Assert(t, qt.IsNil(err))
	_, missing, err := tracer.Attach(engine)
	return tracer, missing, err
}

// A Python hook takes a breakpoint that is free; forced, those of the watches from the
// last on, and what that costs is said.
func TestHookBudget(t *testing.T) {
	needRoot(t)
	three := []probes.Watch{probes.WatchScheduleReturn, probes.WatchFreeBlocks, probes.WatchUpdateReturn}
	two := three[:2]
	add, get, finish := schedulerModule+"Scheduler.add_request", schedulerModule+"Scheduler.schedule", schedulerModule+"Scheduler.finish_requests"
	for _, test := range []struct {
		name    string
		hooks   []string
		asked   []probes.Watch
		force   bool
		watches []probes.Watch
		timed   []bool   // by hook, of those in force
		lost    []string // columns
		refused string
	}{
		{"refused", []string{add}, nil, false, append(three, probes.WatchUpdateEntry), nil, nil,
			"its thread has 4 hardware breakpoints, and none is free (schedule_return, free_blocks, update_return, update_entry have them); --force-hooks gives update_entry up, and with it steps.update_start_ns, "},
		{"free", []string{add}, three, false, three, []bool{false}, []string{"steps.forward_ns"}, ""},
		{"free and timed", []string{add}, two, false, two, []bool{true}, []string{"steps.forward_ns", "steps.end_ns"}, ""},
		{"forced", []string{add}, nil, true, three, []bool{false}, []string{"steps.forward_ns"}, ""},
		{"two forced", []string{add, finish}, nil, true, two, []bool{false, false}, []string{"steps.forward_ns", "steps.end_ns"}, ""},
		{"three forced", []string{add, finish, get}, nil, true, three[:1], []bool{false, false, false}, []string{"steps.forward_ns", "steps.end_ns", "kv_usage"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startShape(t, nil, "3.13", "--blocks", "60")
			tracer, missing, err := attachHooked(t, s, probes.Options{Hooks: specs(t, test.hooks...), ForceHooks: test.force, Watches: test.asked})
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.DeepEquals(tracer.Watches(0), test.watches))
			var timed []bool
			for _, h := range tracer.HooksOf(s.pid) {
				timed = append(timed, h.Duration)
				qt.Check(t, qt.Equals(h.Duration, h.NoDuration == ""))
			}
			qt.Check(t, qt.DeepEquals(timed, test.timed))
			var said strings.Builder
			for _, u := range missing {
				said.WriteString(u.Reason + "|" + strings.Join(u.Columns, "|") + "\n")
			}
			for _, column := range test.lost {
				qt.Check(t, qt.StringContains(said.String(), column))
			}
			if test.force {
				qt.Check(t, qt.StringContains(said.String(), "a hook has its hardware breakpoint (--force-hooks)"))
			}
			qt.Check(t, qt.StringContains(said.String(), test.refused))
			s.run()
		})
	}
}

// Where hooks are needed there is no engine without them, and nothing is left behind.
func TestNeededHook(t *testing.T) {
	needRoot(t)
	s := startShape(t, nil, "3.12", "--blocks", "60")
	_, _, err := attachHooked(t, s, probes.Options{
		Hooks: specs(t, schedulerModule+"Scheduler.add_reqest"), ForceHooks: true, NeedHooks: true,
	})
	var failed *probes.HookError
	qt.Assert(t, qt.IsTrue(errors.As(err, &failed)))
	qt.Check(t, qt.Equals(failed.Error(), "hook "+schedulerModule+"Scheduler.add_reqest: Scheduler has no add_reqest; there is add_request"))
	got, losses, unavailable := trace(t, s, probes.Options{})
	qt.Assert(t, qt.Equals(lost(losses), 0), qt.Commentf("%v", losses))
	qt.Assert(t, qt.HasLen(unavailable, 0)) // all breakpoints are free again
	check(t, got, s.want())
}

// More hooks than breakpoints are refused before anything is started.
func TestOverBudget(t *testing.T) {
	add := specs(t, schedulerModule+"Scheduler.add_request")
	five := append(specs(t, "py:a:f", "py:a:g", "py:a:h"), add...)
	other := specs(t, "py:a:f", "c:libfoo.so:f")
	other[0].Process = hook.Worker
	for _, test := range []struct {
		hooks   []hook.Spec
		watches []probes.Watch
		force   bool
		want    string
	}{
		{add, nil, true, ""},
		{add, nil, false, ".* none is free .*--force-hooks gives update_entry up, and with it steps.update_start_ns, .*"},
		{add, []probes.Watch{probes.WatchScheduleReturn}, false, ""},
		{five, nil, true, ".*:Scheduler.add_request: .*; name fewer hooks, .*"},
		{other, nil, false, ""},
	} {
		err := probes.OverBudget(test.hooks, test.watches, test.force)
		if test.want == "" {
			qt.Check(t, qt.IsNil(err))
		} else {
			qt.Check(t, qt.ErrorMatches(err, test.want))
		}
	}
}

// Beside the scheduler's watches a hook counts the very requests that the engine gets, and
// its tables stay right.
func TestHookedEngine(t *testing.T) {
	needRoot(t)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			s := startShape(t, nil, version, "--blocks", "400", "--requests", "150")
			tracer, missing, err := attachHooked(t, s, probes.Options{
				Hooks: specs(t, schedulerModule+"Scheduler.add_request(request.num_prompt_tokens, len(self.waiting), self.running)"), ForceHooks: true,
			})
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.HasLen(missing, 1)) // update_entry
			sink := &hookRows{}
			pipe := decode.NewPipeline(sink, decode.Options{OnError: func(err error) { t.Error(err) }})
			for _, h := range tracer.HooksOf(s.pid) {
				b, err := json.Marshal(record.Fact{Hook: &h})
				qt.Assert(t, qt.IsNil(err))
				qt.Assert(t, qt.IsNil(pipe.Record(decode.RecordFact, b)))
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() {
				done <- tracer.Run(ctx, func(event []byte) error { return pipe.Record(decode.RecordEvent, event) }, func() error { return nil })
			}()
			s.run()
			cancel()
			qt.Assert(t, qt.IsNil(<-done))
			losses, err := tracer.Losses()
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.Equals(lost(losses), 0), qt.Commentf("%v", losses))
			qt.Assert(t, qt.HasLen(sink.rows, 150))
			for _, row := range sink.rows {
				qt.Assert(t, qt.Matches(row.Arguments, `\{"request.num_prompt_tokens":\d+,"len\(self.waiting\)":\d+,"self.running":\d+\}`))
			}
		})
	}
}
