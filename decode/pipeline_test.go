package decode_test

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
)

// TestSameBytesSameRows: twice the same journal gives the same rows in the same
// order.
func TestSameBytesSameRows(t *testing.T) {
	c := servers()["aborts"]
	c.drop = 0.02
	s := newSim(c)
	s.run()
	a, sumA := replay(t, s.events)
	b, sumB := replay(t, s.events)
	qt.Assert(t, qt.DeepEquals(a, b))
	qt.Assert(t, qt.DeepEquals(sumA, sumB))
}

// TestCutJournal: a journal may end anywhere. The steps that it has are told,
// and what is not finished says so by nulls.
func TestCutJournal(t *testing.T) {
	s := newSim(servers()["async"])
	s.run()
	for n := 0; n < len(s.events); n += 1 + n/20 {
		got, sum := replay(t, s.events[:n])
		qt.Assert(t, qt.Equals(sum.Steps, int64(len(got.Steps))))
		qt.Assert(t, qt.Equals(sum.Lost, 0))
		for i := range got.Steps {
			if got.Steps[i].EndNS != nil {
				qt.Assert(t, qt.DeepEquals(got.Steps[i], s.truth.Steps[i]))
			}
		}
		finished := 0
		for i := range got.Requests {
			if got.Requests[i].FinishedNS != nil {
				finished++
			}
		}
		qt.Assert(t, qt.Equals(int64(finished), sum.Finished))
		qt.Assert(t, qt.Equals(int64(len(got.Requests)), sum.Requests))
	}
}

// TestJournalWithoutStart: events alone are enough for steps.
func TestJournalWithoutStart(t *testing.T) {
	s := newSim(servers()["sync"])
	s.run()
	var events []simRecord
	for _, r := range s.events {
		if r.kind == decode.RecordEvent {
			events = append(events, r)
		}
	}
	got, _ := replay(t, events)
	qt.Assert(t, qt.HasLen(got.Steps, len(s.truth.Steps)))
	for i := range got.Steps {
		qt.Assert(t, qt.Equals(got.Steps[i].Tokens, s.truth.Steps[i].Tokens))
		qt.Assert(t, qt.IsNil(got.Steps[i].KVTotal))
		qt.Assert(t, qt.IsNil(got.Steps[i].Iteration))
	}
}

// TestTwoEngines: engines do not see each other's events.
func TestTwoEngines(t *testing.T) {
	a := newSim(servers()["async"])
	a.run()
	c := servers()["sync"]
	c.seed = 9
	b := newSim(c)
	b.engine = 1
	b.run()
	mixed := []simRecord{a.events[0]}
	first, second := a.events[1:], b.events[2:]
	mixed = append(mixed, simRecord{'F', []byte(`{"engine":{"engine":1,"vllm":"0.32.0","num_gpu_blocks":60,"block_size":8,"prefix_caching":true,"data_parallel":1,"thread":77,"iteration":0,"watches":["schedule_return","free_blocks","update_return","update_entry"]}}`)})
	for i := 0; i < max(len(first), len(second)); i++ {
		if i < len(first) {
			mixed = append(mixed, first[i])
		}
		if i < len(second) {
			mixed = append(mixed, second[i])
		}
	}
	got, sum := replay(t, mixed)
	qt.Assert(t, qt.Equals(sum.Lost, 0))
	var steps [2][]record.StepRow
	for _, st := range got.Steps {
		e := st.Engine
		st.Engine = 0
		steps[e] = append(steps[e], st)
	}
	qt.Assert(t, qt.DeepEquals(steps[0], a.truth.Steps))
	qt.Assert(t, qt.DeepEquals(steps[1], b.truth.Steps))
	qt.Assert(t, qt.Equals(sum.Requests, int64(len(a.truth.Requests)+len(b.truth.Requests))))
}

// TestReusedID: a client may use an id again; that is another request, also
// where the new objects lie where the old ones were.
func TestReusedID(t *testing.T) {
	c := servers()["one at a time"]
	c.requests = 20
	s := newSim(c)
	for _, r := range s.todo {
		r.id = "again-01234567"
	}
	s.run()
	got, _ := replay(t, s.events)
	qt.Assert(t, qt.HasLen(got.Requests, 20))
	for i, r := range got.Requests {
		qt.Assert(t, qt.Equals(r.RequestUID, int64(i)))
		qt.Assert(t, qt.Equals(r.ExternalID, "again"))
		qt.Assert(t, qt.IsNotNil(r.FinishedNS))
	}
}

// TestFewerWatches: what a missing watch would have told is null.
func TestFewerWatches(t *testing.T) {
	s := newSim(servers()["sync"])
	s.run()
	events := withWatches(s.events, []string{"schedule_return"}, 1, 2, 3, 4, 5, 6)
	got, sum := replay(t, events)
	qt.Assert(t, qt.HasLen(got.Steps, len(s.truth.Steps)))
	qt.Assert(t, qt.Equals(sum.Lost, 0))
	for i, st := range got.Steps {
		want := s.truth.Steps[i]
		qt.Assert(t, qt.IsNil(st.EndNS))
		qt.Assert(t, qt.IsNil(st.ForwardNS))
		qt.Assert(t, qt.IsNil(st.OutputTokens))
		qt.Assert(t, qt.Equals(st.Tokens, want.Tokens))
		qt.Assert(t, qt.DeepEquals(st.KVUsed, want.KVUsed))
	}
	for _, r := range got.Requests {
		qt.Assert(t, qt.IsNil(r.OutputTokens))
		qt.Assert(t, qt.IsNil(r.Reason))
	}

	entry := withWatches(s.events, []string{"schedule_return", "update_entry"}, 1, 2, 3, 4, 5, 6, 7)
	got, _ = replay(t, entry)
	for i, st := range got.Steps {
		qt.Assert(t, qt.DeepEquals(st.UpdateNS, s.truth.Steps[i].UpdateNS))
		qt.Assert(t, qt.IsNil(st.EndNS))
	}
}

// withWatches takes the events of other kinds out and numbers the rest anew.
func withWatches(events []simRecord, watches []string, kinds ...byte) []simRecord {
	var out []simRecord
	seq := uint32(0)
	for _, r := range events {
		if r.kind == decode.RecordFact {
			out = append(out, rewatched(r, watches))
			continue
		}
		for _, k := range kinds {
			if r.payload[12] != k {
				continue
			}
			b := append([]byte{}, r.payload...)
			b[8], b[9], b[10], b[11] = byte(seq), byte(seq>>8), byte(seq>>16), byte(seq>>24)
			seq++
			out = append(out, simRecord{'E', b})
		}
	}
	return out
}

// TestLive: the status line's numbers.
func TestLive(t *testing.T) {
	s := newSim(servers()["async"])
	s.run()
	p := decode.NewPipeline(&tables{}, decode.Options{})
	for _, r := range s.events {
		qt.Assert(t, qt.IsNil(p.Record(r.kind, r.payload)))
	}
	_, err := p.Close()
	qt.Assert(t, qt.IsNil(err))
	live := p.Live()
	tokens, outputs := int64(0), int64(0)
	for _, st := range s.truth.Steps {
		tokens += int64(st.Tokens)
		outputs += int64(*st.OutputTokens)
	}
	qt.Assert(t, qt.Equals(live.Steps, int64(len(s.truth.Steps))))
	qt.Assert(t, qt.Equals(live.ScheduledTokens, tokens))
	qt.Assert(t, qt.Equals(live.OutputTokens, outputs))
	qt.Assert(t, qt.Equals(live.KVTotal, int64(s.blocks-1)))
	qt.Assert(t, qt.Equals(live.KVUsed, 0))
	qt.Assert(t, qt.Equals(live.Running, 0))
	qt.Assert(t, qt.Equals(live.Lost, 0))
}
