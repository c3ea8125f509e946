package decode_test

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// gpus are kinds of servers with a GPU.
func gpus() map[string]cudaConfig {
	return map[string]cudaConfig{
		"v1 sync":         {steps: 300, copyWait: true, captured: true},
		"v2 sync":         {steps: 300},
		"v2 async":        {steps: 300, async: true, captured: true},
		"output thread":   {steps: 300, async: true, thread: true},
		"bound by host":   {steps: 300, async: true, hostNS: 4_000_000},
		"empty steps":     {steps: 300, empty: true},
		"drafts":          {steps: 300, async: true, drafts: true, captured: true},
		"encoder":         {steps: 300, async: true, encoder: true},
		"two ranks":       {steps: 300, ranks: 2},
		"two ranks async": {steps: 300, ranks: 2, async: true, empty: true},
		"two ranks, same": {steps: 300, ranks: 2, async: true, same: true},
		"same steps":      {steps: 300, async: true, same: true},
		"named late":      {steps: 1500, async: true, namedAt: 1_000_000_000},
		"handles reused":  {steps: 300, async: true, captured: true, reuse: 40},
		"sampled":         {steps: 1500, async: true, sampler: true, hostNS: 4_000_000},
		"sampled, busy":   {steps: 1500, async: true, sampler: true},
	}
}

// TestGPUOfSteps: what is said of the GPU is what the simulated one did, times
// within the bounds that stand beside them.
func TestGPUOfSteps(t *testing.T) {
	for name, c := range gpus() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(2) {
				c.seed = seed
				s := newCudaSim(c)
				got, sum := replay(t, s.journal())
				qt.Assert(t, qt.HasLen(got.Losses, 0))
				qt.Assert(t, qt.Equals(sum.UnknownLaunches, 0))
				qt.Assert(t, qt.HasLen(got.Steps, c.steps))
				for i := range got.Steps {
					s.checkGraphs(t, &got.Steps[i], true)
					s.checkTimes(t, &got.Steps[i], true)
				}
				s.checkLaunches(t, got)
				s.checkOperations(t, got)
				s.checkSession(t, got, &sum)
			}
		})
	}
}

// TestCallWindows: where launches and copies are probed in windows alone, what they tell is
// told of steps that lie in one, as always, and of no other; the rest is of all steps.
func TestCallWindows(t *testing.T) {
	for name, c := range map[string]cudaConfig{
		"v1 sync": {steps: 300, copyWait: true}, "v2 async": {steps: 300, async: true}, "output thread": {steps: 300, async: true, thread: true},
		"drafts": {steps: 300, async: true, drafts: true}, "encoder": {steps: 300, async: true, encoder: true}, "two ranks": {steps: 300, ranks: 2, async: true},
		"recorded": {steps: 300, async: true, cupti: "calls"}, "recorded, few copies": {steps: 300, async: true, cupti: "calls", windows: true, fewer: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(2) {
				c.seed, c.probing = seed, true
				s := newCudaSim(c)
				got, sum := replay(t, s.journal())
				qt.Assert(t, qt.HasLen(got.Losses, 0))
				qt.Assert(t, qt.Equals(sum.UnknownLaunches, 0))
				qt.Assert(t, qt.HasLen(got.Steps, c.steps))
				counted := map[int64]bool{}
				for i := range got.Steps {
					st := &got.Steps[i]
					s.checkGraphs(t, st, false)
					s.checkTimes(t, st, false)
					qt.Assert(t, qt.IsNotNil(st.GraphLaunches))
					if st.KernelLaunches != nil {
						counted[st.StepID] = true
					}
				}
				for step := range int64(c.steps) - windowPeriod {
					switch place := step % windowPeriod; {
					case place < windowSteps-1:
						qt.Check(t, qt.IsTrue(counted[step]), qt.Commentf("step %d", step))
					case place >= windowSteps:
						qt.Check(t, qt.IsFalse(counted[step]), qt.Commentf("step %d", step))
					}
				}
				if s.cupti == "" {
					s.checkLaunches(t, got)
				} else {
					s.checkReplays(t, got)
				}
				s.checkOperations(t, got)
				for _, op := range got.CPU {
					if op.Thread != cudaOutputThread && op.Operation != "output_wait" && operationOfCalls(op.Operation) {
						qt.Assert(t, qt.IsTrue(counted[*op.StepID]), qt.Commentf("%s in step %d", op.Operation, *op.StepID))
					}
				}
			}
		})
	}
}

// operationOfCalls says whether CUDA's calls tell an operation, and not the scheduler's.
func operationOfCalls(name string) bool {
	return name != "scheduling" && name != "model_execution" && name != "update_from_output"
}

// checkGraphs compares the counts of a step; complete: none may be null.
func (s *cudaSim) checkGraphs(t *testing.T, got *record.StepRow, complete bool) {
	t.Helper()
	want := s.truth[got.StepID]
	last := !slices.ContainsFunc(s.truth[got.StepID+1:], func(st *cudaStep) bool { return st.tokens > 0 }) // its last phase is still open
	at := qt.Commentf("seed %d, step %d: %+v", s.seed, got.StepID, want)
	if want.mode != "" && (complete || got.GraphMode != nil) {
		qt.Assert(t, qt.IsNotNil(got.GraphMode), at)
		qt.Assert(t, qt.Equals(*got.GraphMode, want.mode), at)
		qt.Assert(t, qt.Equals(*got.PaddedTokens, int32(want.padded)), at)
		if want.text != "" {
			qt.Assert(t, qt.Equals(*got.Descriptor, want.text), at)
		}
	}
	if complete && want.tokens > 0 || got.GraphLaunches != nil {
		qt.Assert(t, qt.Equals(*got.GraphLaunches, int32(want.launches)), at)
		qt.Assert(t, qt.Equals(*got.UnknownGraphs, 0), at)
	}
	if complete && want.tokens > 0 && !last || got.KernelLaunches != nil {
		qt.Assert(t, qt.Equals(*got.KernelLaunches, int32(want.kernels)), at)
		qt.Assert(t, qt.Equals(*got.Copies, int32(want.copies)), at)
		qt.Assert(t, qt.Equals(*got.CopiedBytes, want.copied), at)
	}
}

// checkTimes compares the times of a step with what bounds them.
func (s *cudaSim) checkTimes(t *testing.T, got *record.StepRow, complete bool) {
	t.Helper()
	want := s.truth[got.StepID]
	if want.tokens == 0 {
		qt.Assert(t, qt.IsNil(got.GPUEndNS))
		return
	}
	at := qt.Commentf("seed %d, step %d: %+v, end %d, start %d", s.seed, got.StepID, want, rel(want.end), rel(want.first))
	if complete || got.GPUEndNS != nil {
		qt.Assert(t, qt.Equals(*got.HostWaited, want.waited), at)
		// Where the host came late, the end is put at the earliest that it can be.
		qt.Assert(t, qt.IsTrue(*got.GPUEndNS >= rel(min(want.end, slices.Max(want.recorded)))-50_000 && *got.GPUEndNS <= rel(want.waits[0][1])), at)
	}
	if complete {
		qt.Assert(t, qt.IsNotNil(got.StepGPUNS), at)
	}
	if got.StepGPUNS == nil {
		return
	}
	miss := *got.StepGPUNS - int64(want.end-want.first)
	qt.Assert(t, qt.IsTrue(miss <= *got.GPUErrorNS && -miss <= *got.GPUErrorNS), qt.Commentf("off by %d, bound %d: %s", miss, *got.GPUErrorNS, at))
	if got.GPUIdleNS != nil {
		qt.Assert(t, qt.IsTrue(*got.GPUIdleNS >= 0))
	}
	if got.GPUBusyNS != nil {
		qt.Assert(t, qt.IsTrue(*got.GPUBusyNS <= *got.StepGPUNS))
	}
}

// checkLaunches compares the replays.
func (s *cudaSim) checkLaunches(t *testing.T, got *tables) {
	t.Helper()
	n := map[int64]int{}
	pieces := map[int64]int32{}
	for i := range got.GraphLaunches {
		l := &got.GraphLaunches[i]
		qt.Assert(t, qt.IsNotNil(l.StepID))
		if l.Worker != 0 {
			continue
		}
		want := s.truth[*l.StepID]
		n[*l.StepID]++
		if l.Phase == "draft" {
			qt.Assert(t, qt.IsNil(l.PaddedTokens))
			continue
		}
		qt.Assert(t, qt.Equals(*l.Descriptor, want.text))
		qt.Assert(t, qt.Equals(*l.Tokens, int32(want.tokens)))
		qt.Assert(t, qt.Equals(*l.PaddedTokens, int32(want.padded)))
		if want.mode == "PIECEWISE" {
			qt.Assert(t, qt.Equals(*l.Piece, pieces[*l.StepID]))
			pieces[*l.StepID]++
		}
		if l.DurNS != nil {
			miss := *l.DurNS - int64(want.replayed[1]-want.replayed[0])
			qt.Assert(t, qt.IsTrue(miss <= *l.ErrorNS && -miss <= *l.ErrorNS), qt.Commentf("off by %d", miss))
		}
	}
	for _, st := range s.truth {
		qt.Assert(t, qt.Equals(n[int64(st.num)], st.launches))
	}
}

// checkOperations: the phases of a step do not overlap, and the wait is the step's
// whose results it is for.
func (s *cudaSim) checkOperations(t *testing.T, got *tables) {
	t.Helper()
	waits := 0
	for _, op := range got.CPU {
		if op.Operation != "output_wait" || op.Thread != 5000 && s.ranks > 0 {
			continue
		}
		waits++
		want := s.truth[*op.StepID].waits[0]
		qt.Assert(t, qt.Equals(op.TimeNS, rel(want[0])))
		qt.Assert(t, qt.Equals(op.DurNS, int64(want[1]-want[0])))
	}
	model := 0
	for _, st := range s.truth {
		if st.tokens > 0 {
			model++
		}
	}
	qt.Assert(t, qt.Equals(waits, model))
	sum := map[int64]int64{}
	for _, op := range got.CPU {
		switch op.Operation {
		case "encoder", "forward_launch":
			sum[*op.StepID] += op.DurNS
		}
		qt.Assert(t, qt.IsTrue(op.DurNS >= 0))
	}
	qt.Assert(t, qt.Equals(len(got.Components) > 0, s.encoder))
	parts := map[int64]int64{}
	for _, c := range got.Components {
		if c.TimingSource == record.TimingCPUBound {
			parts[*c.StepID] += c.DurNS
		}
	}
	for step, ns := range parts {
		qt.Assert(t, qt.Equals(ns, sum[step]))
	}
}

func (s *cudaSim) checkSession(t *testing.T, got *tables, sum *decode.Summary) {
	t.Helper()
	graphs := s.graphN * max(s.ranks, 1)
	qt.Assert(t, qt.HasLen(got.Graphs, graphs))
	launches := int64(0)
	ids := map[int32]bool{}
	for _, g := range got.Graphs {
		launches += g.Launches
		qt.Assert(t, qt.IsFalse(ids[g.GraphID]))
		ids[g.GraphID] = true
		qt.Assert(t, qt.IsNotNil(g.Holder))
		qt.Assert(t, qt.Equals(g.CaptureNS != nil && g.CapturedNS != nil && g.InstantiatedNS != nil, s.captured))
		if s.captured {
			qt.Assert(t, qt.IsTrue(*g.CaptureNS < *g.CapturedNS && *g.CapturedNS < *g.InstantiatedNS))
		}
	}
	qt.Assert(t, qt.Equals(launches, int64(len(got.GraphLaunches))))
	qt.Assert(t, qt.Equals(sum.GraphLaunches, launches))
	if s.ranks > 1 {
		for _, c := range got.Collectives {
			want := s.truth[*c.StepID]
			qt.Assert(t, qt.Equals(c.Bytes, int64(want.tokens)*4096))
			qt.Assert(t, qt.Equals(c.Type, "bfloat16"))
		}
	}
	if s.sampler {
		// Where the host is late and the GPU has other work soon, the end is not to be told.
		qt.Assert(t, qt.IsTrue(sum.SampledSteps*5 > sum.TimedSteps), qt.Commentf("%+v", sum.Stats))
		sampled := 0
		for i := range got.Steps {
			if src := got.Steps[i].GPUTimingSource; src != nil && *src == record.TimingGPUSampled {
				sampled++
			}
		}
		qt.Assert(t, qt.Equals(sampled > 100, s.hostNS > 1_000_000), qt.Commentf("%d sampled", sampled))
	}
}

// TestLostCalls: what is said after losses is true, and each lost event counted.
func TestLostCalls(t *testing.T) {
	for name, c := range gpus() {
		t.Run(name, func(t *testing.T) {
			for _, drop := range []float64{0.0005, 0.01, 0.2} {
				c.drop, c.seed = drop, 11
				if c.reuse > 0 {
					continue // a lost launch may be the only sign of a new graph
				}
				s := newCudaSim(c)
				got, sum := replay(t, s.journal())
				for i := range got.Steps {
					s.checkGraphs(t, &got.Steps[i], false)
					s.checkTimes(t, &got.Steps[i], false)
				}
				lost := int64(0)
				for _, l := range got.Losses {
					if l.Reason == "sequence_gap" {
						lost += l.Count
					}
				}
				missing := int64(s.dropped) - lost
				qt.Assert(t, qt.IsTrue(missing >= 0 && missing <= 40), qt.Commentf("%d dropped, %d counted", s.dropped, lost))
				qt.Assert(t, qt.IsTrue(sum.Lost >= lost))
			}
		})
	}
}

// TestLostSchedules: where the engine's events are lost, calls are of the right step
// or of none.
func TestLostSchedules(t *testing.T) {
	for _, name := range []string{"v2 async", "v2 sync", "same steps", "two ranks", "two ranks async", "two ranks, same"} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				c := gpus()[name]
				c.dropAll, c.seed = 0.01, seed
				s := newCudaSim(c)
				got, _ := replay(t, s.journal())
				qt.Assert(t, qt.IsTrue(s.dropped > 0))
				s.onlyRight(t, got)
			}
		})
	}
}

// TestLateWorkers: workers are probed when the engine is traced already, and all
// steps look alike.
func TestLateWorkers(t *testing.T) {
	for _, name := range []string{"two ranks", "two ranks async", "two ranks, same", "same steps"} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				c := gpus()[name]
				c.probedAt, c.seed = 40, seed
				s := newCudaSim(c)
				got, _ := replay(t, s.journal())
				timed := s.onlyRight(t, got)
				qt.Assert(t, qt.IsTrue(timed > c.steps*3/4-40), qt.Commentf("%d steps have times", timed))
			}
		})
	}
}

// onlyRight checks what there is of steps, which lost events number anew: a step is
// known by when it was scheduled. It returns how many have GPU times.
func (s *cudaSim) onlyRight(t *testing.T, got *tables) (timed int) {
	t.Helper()
	at := map[int64]int64{}
	for _, st := range s.truth {
		at[rel(st.scheduled)] = int64(st.num)
	}
	for i := range got.Steps {
		st := got.Steps[i]
		num, ok := at[st.ScheduledNS]
		if !ok {
			continue // its schedule call was not seen
		}
		st.StepID = num
		if st.StepGPUNS != nil {
			timed++
		}
		s.checkGraphs(t, &st, false)
		s.checkTimes(t, &st, false)
	}
	return timed
}

// TestCutCalls: a journal of calls may end anywhere.
func TestCutCalls(t *testing.T) {
	s := newCudaSim(gpus()["two ranks async"])
	events := s.journal()
	for n := 0; n < len(events); n += 1 + n/20 {
		got, sum := replay(t, events[:n])
		qt.Assert(t, qt.Equals(sum.Steps, int64(len(got.Steps))))
		qt.Assert(t, qt.Equals(sum.GraphLaunches, int64(len(got.GraphLaunches))))
		for i := range got.Steps {
			s.checkGraphs(t, &got.Steps[i], false)
		}
	}
}

// TestSameCallsSameRows: rows do not depend on anything but the journal.
func TestSameCallsSameRows(t *testing.T) {
	c := gpus()["handles reused"]
	c.drop = 0.01
	events := newCudaSim(c).journal()
	a, sumA := replay(t, events)
	b, sumB := replay(t, events)
	qt.Assert(t, qt.DeepEquals(a, b))
	qt.Assert(t, qt.DeepEquals(sumA, sumB))
}

// withoutFacts leaves the facts out that keep says no to.
func withoutFacts(events []simRecord, keep func(*record.Fact) bool) []simRecord {
	return slices.DeleteFunc(slices.Clone(events), func(r simRecord) bool {
		var f record.Fact
		return r.kind == decode.RecordFact && json.Unmarshal(r.payload, &f) == nil && !keep(&f)
	})
}

// TestUnnamedGraphs: a step whose graphs have no names has no mode.
func TestUnnamedGraphs(t *testing.T) {
	s := newCudaSim(gpus()["v2 async"])
	events := withoutFacts(s.journal(), func(f *record.Fact) bool { return f.Graphs == nil })
	got, sum := replay(t, events)
	qt.Assert(t, qt.Equals(sum.UnknownLaunches, sum.GraphLaunches))
	for i, st := range got.Steps {
		want := s.truth[i]
		qt.Assert(t, qt.Equals(*st.GraphLaunches, int32(want.launches)))
		qt.Assert(t, qt.Equals(*st.UnknownGraphs, int32(want.launches)))
		qt.Assert(t, qt.Equals(st.GraphMode == nil, want.launches > 0))
		qt.Assert(t, qt.IsNil(st.Descriptor))
		qt.Assert(t, qt.IsNotNil(st.StepGPUNS))
	}
	for _, g := range got.Graphs {
		qt.Assert(t, qt.IsNil(g.Holder))
	}
}

// TestUnknownWorker: calls of a process of which no fact tells are of no step.
func TestUnknownWorker(t *testing.T) {
	s := newCudaSim(gpus()["two ranks"])
	events := withoutFacts(s.journal(), func(f *record.Fact) bool { return f.Worker == nil })
	got, sum := replay(t, events)
	qt.Assert(t, qt.HasLen(got.Steps, len(s.truth)))
	qt.Assert(t, qt.Equals(int64(len(got.GraphLaunches)), sum.GraphLaunches))
	for _, l := range got.GraphLaunches {
		qt.Assert(t, qt.IsNil(l.StepID))
		qt.Assert(t, qt.IsNotNil(l.Descriptor))
	}
	for _, st := range got.Steps {
		qt.Assert(t, qt.IsNil(st.GraphLaunches))
	}
}

// TestSingleCalls: what is recorded one by one.
func TestSingleCalls(t *testing.T) {
	s := newCudaSim(cudaConfig{})
	s.attach()
	w := s.workers[0]
	th := w.thread(9)
	w.send(th, 9, wire.PhaseSample, wire.RowLaunch, [3]uint64{77, 3 | 4<<32, 5}, 0, 0)
	w.send(th, 9, wire.PhasePrepare, wire.RowCopy, [3]uint64{1 << 20, 1, 6}, 0, 0)
	w.send(th, 9, wire.PhaseForward, wire.RowAllGather, [3]uint64{10, 11, 7}, 0, 0)
	w.send(th, 9, wire.PhaseForward, wire.RowSend, [3]uint64{10, 99, 7}, 0, 0)
	util := 12.5
	s.fact(s.now, record.Fact{GPUSample: &record.GPUSample{Index: 1, MonoNS: simStart + 50, UtilPct: &util, ThrottleKnown: true, Throttle: []string{"a", "b"}}})
	var events []simRecord
	for _, r := range s.records {
		events = append(events, r.simRecord)
	}
	got, _ := replay(t, events)
	at := rel(s.now)
	qt.Assert(t, qt.DeepEquals(got.Launches, []record.LaunchRow{
		{Engine: i32(0), TimeNS: at, Function: 77, GridX: 3, GridY: 4, Stream: 5, Phase: "sample", Thread: 9},
	}))
	qt.Assert(t, qt.DeepEquals(got.Copies, []record.CopyRow{
		{Engine: i32(0), TimeNS: at, Bytes: 1 << 20, Kind: "host_to_device", Stream: 6, Phase: "prepare", Thread: 9},
	}))
	zero := i32(0)
	qt.Assert(t, qt.DeepEquals(got.Collectives, []record.CollectiveRow{
		{Engine: zero, Rank: zero, TimeNS: at, Collective: "all_gather", Count: 10, Type: "float8_e5m2", Bytes: 10, Stream: 7, Phase: "forward", Thread: 9},
		{Engine: zero, Rank: zero, TimeNS: at, Collective: "send", Count: 10, Type: "unknown", Stream: 7, Phase: "forward", Thread: 9},
	}))
	qt.Assert(t, qt.HasLen(got.GPUSamples, 1))
	qt.Assert(t, qt.Equals(*got.GPUSamples[0].Throttle, "a|b"))
	qt.Assert(t, qt.Equals(got.GPUSamples[0].TimeNS, 50))
}

// TestSharedGPU: while other processes run on the worker's GPU, nothing bounds its times.
func TestSharedGPU(t *testing.T) {
	s := newCudaSim(cudaConfig{steps: 300, async: true})
	share := func(gpu int, at uint64, pct float64) {
		s.fact(at, record.Fact{GPUSample: &record.GPUSample{Index: gpu, MonoNS: int64(at), OthersSMPct: &pct}})
	}
	const from, to = simStart + 10_000_000, simStart + 200_000_000
	s.fact(5, record.Fact{GPU: &record.GPU{Index: 1, PIDs: []int{4000}}})
	s.fact(5, record.Fact{GPU: &record.GPU{Index: 2, PIDs: []int{4001}}})
	share(1, from, 40)
	share(1, to, 0)
	share(2, to, 40) // another's
	got, _ := replay(t, s.journal())
	var bounded, unbounded int
	for i := range got.Steps {
		st := &got.Steps[i]
		if st.StepGPUNS == nil || *st.GPUEndNS <= rel(from) { // it was told before
			continue
		}
		if *st.GPUEndNS <= rel(to) {
			qt.Assert(t, qt.IsNil(st.GPUErrorNS), qt.Commentf("step %d", st.StepID))
			unbounded++
		} else {
			qt.Assert(t, qt.IsNotNil(st.GPUErrorNS), qt.Commentf("step %d", st.StepID))
			bounded++
		}
	}
	for i := range got.GraphLaunches {
		l := &got.GraphLaunches[i]
		if l.StartNS != nil {
			qt.Assert(t, qt.Equals(l.ErrorNS == nil, got.Steps[*l.StepID].GPUErrorNS == nil))
		}
	}
	qt.Check(t, qt.IsTrue(bounded > 10 && unbounded > 10), qt.Commentf("%d with a bound, %d without", bounded, unbounded))
}

// TestCounterRows: samples stand on the session's clock, whatever the GPU's does.
func TestCounterRows(t *testing.T) {
	s := newCudaSim(gpus()["sampled"])
	got, sum := replay(t, s.journal())
	qt.Assert(t, qt.Equals(int64(len(got.GPUCounters)), sum.CounterSamples))
	for i, c := range got.GPUCounters {
		want := int64(i+1) * 20_000
		qt.Assert(t, qt.IsTrue(c.TimeNS-want < 4000 && want-c.TimeNS < 4000), qt.Commentf("sample %d at %d", i, c.TimeNS))
		qt.Assert(t, qt.IsNotNil(c.SMActivePct))
		qt.Assert(t, qt.IsNil(c.TensorPct))
	}
	// A byte a nanosecond of work: the steps' own is that of their GPU time.
	for i := range got.Steps {
		if st := &got.Steps[i]; st.DRAMReadBytes != nil {
			qt.Assert(t, qt.IsTrue(*st.DRAMReadBytes <= *st.StepGPUNS+50_000))
		}
	}
}

// TestBadCounters: samples that mean nothing are counted.
func TestBadCounters(t *testing.T) {
	batch := wire.AppendCounters(nil, 3, 5, []uint64{100, 200}, []uint32{100, 100}, [][]float32{{1, 2}})
	p := decode.NewPipeline(&tables{}, decode.Options{})
	for _, b := range [][]byte{nil, batch[:15], batch[:20], append([]byte{9}, batch[1:]...), batch} {
		qt.Assert(t, qt.IsNil(p.Record(decode.RecordCounters, b)))
	}
	sum, err := p.Close()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.Equals(sum.Lost, 4+5+2)) // records, lost by the sampler, of unknown metrics
}

// TestSequenceOfThreads: each thread numbers its events from 0, and a new thread may
// have an old one's id.
func TestSequenceOfThreads(t *testing.T) {
	s := newCudaSim(cudaConfig{})
	s.attach()
	w := s.workers[0]
	for range 2 {
		w.threads = map[int]*cudaThread{}
		for id := range 5 {
			w.send(w.thread(id), id, wire.PhaseOther, wire.RowStreamSync, [3]uint64{}, s.now, 0)
		}
	}
	var events []simRecord
	for _, r := range s.records {
		events = append(events, r.simRecord)
	}
	_, sum := replay(t, events)
	qt.Assert(t, qt.Equals(sum.Lost, 0))
	last := slices.Clone(events[len(events)-1].payload)
	binary.LittleEndian.PutUint32(last[8:], 4)
	_, sum = replay(t, append(events, simRecord{'E', last}))
	qt.Assert(t, qt.Equals(sum.Lost, 3))
}
