package decode_test

import (
	"reflect"
	"testing"

	"github.com/go-quicktest/qt"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pmtrace/pmtrace/decode/record"
)

// TestLosses: events are dropped at random. What is handed on must still be
// true, with nulls for what is not known, and each lost event is counted.
func TestLosses(t *testing.T) {
	for name, c := range servers() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				for _, drop := range []float64{0.0005, 0.005, 0.05, 0.3} {
					c.seed, c.drop = seed, drop
					s := newSim(c)
					s.run()
					got, sum := replay(t, s.events)
					s.checkLossy(t, got)
					lost := int64(0)
					for _, l := range got.Losses {
						if l.Reason == "sequence_gap" {
							lost += l.Count
						}
						qt.Assert(t, qt.IsTrue(l.FromNS <= l.ToNS))
					}
					// Losses at the very end leave no gap.
					missing := int64(s.dropped) - lost
					qt.Assert(t, qt.IsTrue(missing >= 0 && missing <= 40),
						qt.Commentf("seed %d drop %v: %d dropped, %d counted", seed, drop, s.dropped, lost))
					qt.Assert(t, qt.IsTrue(sum.Lost >= lost))
				}
			}
		})
	}
}

// TestKernelCounters: a reading of the kernel's counters explains the gaps, so
// that nothing is counted twice.
func TestKernelCounters(t *testing.T) {
	c := servers()["async"]
	c.drop = 0.01
	s := newSim(c)
	s.run()
	s.fact(record.Fact{Losses: &record.Losses{MonoNS: int64(s.now), Counts: []record.Loss{
		{Engine: 0, Probe: "schedule_return", Reason: "ring_full", Count: uint64(s.dropped), Lost: true},
		{Engine: 0, Probe: "schedule_return", Reason: "foreign", Count: 1000},
	}}})
	got, sum := replay(t, s.events)
	total := int64(0)
	for _, l := range got.Losses {
		if l.Reason == "sequence_gap" || l.Reason == "ring_full" {
			total += l.Count
		}
		qt.Check(t, qt.Not(qt.Equals(l.Reason, "foreign")))
	}
	qt.Assert(t, qt.Equals(total, int64(s.dropped)))
	qt.Assert(t, qt.IsTrue(sum.Lost >= total))
}

func (s *sim) checkLossy(t *testing.T, got *tables) {
	t.Helper()
	s.fillOwners()
	steps := map[int64]*record.StepRow{}
	for i := range s.truth.Steps {
		steps[s.truth.Steps[i].StepID] = &s.truth.Steps[i]
	}
	requests := map[string]*record.RequestRow{}
	for i := range s.truth.Requests {
		requests[s.truth.Requests[i].RequestID] = &s.truth.Requests[i]
	}
	ids := map[int64]string{}
	for i := range got.Requests {
		r := &got.Requests[i]
		want := requests[r.RequestID]
		qt.Assert(t, qt.IsNotNil(want))
		ids[r.RequestUID] = r.RequestID
		s.checkRequest(t, want, r)
	}
	last := int64(-1)
	complete := map[int64]bool{}
	for i := range got.Steps {
		st := &got.Steps[i]
		qt.Assert(t, qt.IsTrue(st.StepID > last))
		last = st.StepID
		s.checkStep(t, steps[st.StepID], st)
		complete[st.StepID] = true
	}
	s.checkStepRequests(t, got, complete, ids, requests)
	s.checkBlocks(t, got)
	s.checkPreemptions(t, got)
}

// known compares what is not null, and what is not excepted.
func known[T any](t *testing.T, s *sim, what string, want, got *T, except ...string) {
	t.Helper()
	w, g := *want, *got
	wv, gv := reflect.ValueOf(&w).Elem(), reflect.ValueOf(&g).Elem()
	for _, name := range except {
		wv.FieldByName(name).Set(gv.FieldByName(name))
	}
	for i := range gv.NumField() {
		if f := gv.Field(i); f.Kind() == reflect.Pointer && f.IsNil() {
			wv.Field(i).SetZero()
		}
	}
	if !reflect.DeepEqual(w, g) {
		t.Fatalf("seed %d drop %v: %s (-want +got):\n%s", s.seed, s.drop, what, gocmp.Diff(w, g))
	}
}

func (s *sim) checkRequest(t *testing.T, want, got *record.RequestRow) {
	t.Helper()
	except := []string{"RequestUID", "Steps", "Scheduled", "FromStart", "Preemptions"}
	qt.Assert(t, qt.IsTrue(got.Steps <= want.Steps && got.Scheduled <= want.Scheduled && got.Preemptions <= want.Preemptions))
	if got.FinishedNS != nil && got.Reason == nil {
		except = append(except, "FinishedNS", "DecodeNS") // the nearest time known
	} else if got.FinishedNS != nil && want.FinishedNS != nil {
		// An update whose end is lost is dated by its rows.
		d := *want.FinishedNS - *got.FinishedNS
		qt.Assert(t, qt.IsTrue(d >= -100 && d < 25_000), qt.Commentf("finished %d early", d))
		except = append(except, "FinishedNS", "DecodeNS")
	}
	if got.FinishedNS == nil { // its end was lost
		except = append(except, "OutputTokens")
		if got.OutputTokens != nil {
			qt.Assert(t, qt.IsTrue(*got.OutputTokens <= *want.OutputTokens))
		}
		except = append(except, "PreemptedNS")
	}
	known(t, s, "request", want, got, except...)
}

func (s *sim) checkStep(t *testing.T, want, got *record.StepRow) {
	t.Helper()
	var except []string
	if sum := got.PrefillRequests + got.DecodeRequests + got.RecomputeRequests; sum < got.Requests {
		except = append(except, "PrefillRequests", "DecodeRequests", "RecomputeRequests",
			"PrefillTokens", "DecodeTokens", "RecomputeTokens", "DraftTokens", "NewRequests", "ResumedRequests")
		qt.Assert(t, qt.IsTrue(got.PrefillTokens <= want.PrefillTokens && got.DecodeTokens <= want.DecodeTokens &&
			got.RecomputeTokens <= want.RecomputeTokens))
		if got.Phase == record.PhaseUnknown {
			except = append(except, "Phase")
		}
	}
	if s.drafts > 0 {
		except = append(except, "DraftTokens") // a lost list of drafts
	}
	if got.ResumedRequests < want.ResumedRequests {
		except = append(except, "ResumedRequests")
	}
	known(t, s, "step", want, got, except...)
}

func (s *sim) checkStepRequests(t *testing.T, got *tables, complete map[int64]bool, ids map[int64]string, requests map[string]*record.RequestRow) {
	t.Helper()
	type key struct {
		step int64
		id   string
	}
	names := map[int64]string{}
	for _, r := range requests {
		names[r.RequestUID] = r.RequestID
	}
	want := map[key]*record.StepRequestRow{}
	for i := range s.truth.StepRequests {
		r := &s.truth.StepRequests[i]
		want[key{r.StepID, names[r.RequestUID]}] = r
	}
	for i := range got.StepRequests {
		r := &got.StepRequests[i]
		qt.Assert(t, qt.IsTrue(complete[r.StepID]))
		w := want[key{r.StepID, ids[r.RequestUID]}]
		qt.Assert(t, qt.IsNotNil(w), qt.Commentf("step %d has no request %q", r.StepID, ids[r.RequestUID]))
		except := []string{"RequestUID"}
		if r.Kind == record.KindUnknown {
			except = append(except, "Kind")
		}
		if s.drafts > 0 {
			except = append(except, "DraftTokens")
		}
		known(t, s, "step_request", w, r, except...)
	}
}

func (s *sim) checkBlocks(t *testing.T, got *tables) {
	t.Helper()
	type key struct {
		at int64
		id int32
	}
	evictions := map[key]*record.KVEvictionRow{}
	for i := range s.truth.Evictions {
		e := &s.truth.Evictions[i]
		evictions[key{e.TimeNS, e.BlockID}] = e
	}
	for i := range got.Evictions {
		e := &got.Evictions[i]
		w := evictions[key{e.TimeNS, e.BlockID}]
		qt.Assert(t, qt.IsNotNil(w))
		except := []string{"OpID", "RequestUID", "TakenByUID", "IdleNS"}
		if !e.BirthKnown {
			except = append(except, "BirthKnown", "LifetimeNS", "Hits")
			if w.BirthKnown {
				qt.Assert(t, qt.IsTrue(e.LifetimeNS <= w.LifetimeNS && e.IdleNS <= w.IdleNS+20_000))
			}
		}
		known(t, s, "eviction", w, e, except...)
		if e.BirthKnown {
			d := w.IdleNS - e.IdleNS
			qt.Assert(t, qt.IsTrue(d > -20_000 && d < 20_000))
		}
	}
	usage := map[int64]*record.KVUsageRow{}
	for i := range s.truth.Usage {
		usage[s.truth.Usage[i].TimeNS] = &s.truth.Usage[i]
	}
	for i := range got.Usage {
		known(t, s, "kv_usage", usage[got.Usage[i].TimeNS], &got.Usage[i], "OpID", "RequestUID")
	}
}

func (s *sim) checkPreemptions(t *testing.T, got *tables) {
	t.Helper()
	type key struct {
		step int64
		id   string
	}
	want := map[key]*record.PreemptionRow{}
	for i := range s.truth.Preemptions {
		p := &s.truth.Preemptions[i]
		want[key{p.StepID, p.RequestID}] = p
	}
	for i := range got.Preemptions {
		p := &got.Preemptions[i]
		w := want[key{p.StepID, p.RequestID}]
		if w == nil {
			t.Fatalf("seed %d drop %v: preemption %+v", s.seed, s.drop, p)
		}
		except := []string{"RequestUID"}
		if p.BlocksFreed == nil { // the time is the call's
			except = append(except, "TimeNS", "RunningNS")
		}
		if p.Reason == "unknown" {
			except = append(except, "Reason")
		}
		known(t, s, "preemption", w, p, except...)
	}
}
