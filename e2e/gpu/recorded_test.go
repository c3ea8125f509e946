package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
	"github.com/pmtrace/pmtrace/output/journal"
)

// journalRecord is one of a journal.
type journalRecord struct {
	kind    byte
	payload []byte
}

// asRecorded puts CUPTI's records of a run into its journal, as pmtrace's own library
// would have told them: with the next flush. calls: each launch tells its number.
func asRecorded(t *testing.T, dir string, truth *truth, calls bool) []journalRecord {
	t.Helper()
	type at struct {
		ns int64
		journalRecord
	}
	var records []at
	r, err := journal.Open(os.DirFS(filepath.Join(dir, "journal")))
	qt.Assert(t, qt.IsNil(err))
	defer r.Close()
	now, pid := int64(0), 0
	var launches []wire.Call
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		qt.Assert(t, qt.IsNil(err))
		payload := slices.Clone(rec.Payload)
		switch rec.Kind {
		case decode.RecordFact:
			var f record.Fact
			qt.Assert(t, qt.IsNil(json.Unmarshal(payload, &f)))
			if f.Start != nil {
				f.Start.Mode, f.Start.Injected = "record", true
				payload, err = json.Marshal(f)
				qt.Assert(t, qt.IsNil(err))
				now = f.Start.MonoNS
			}
			if f.Worker != nil {
				pid = f.Worker.PID
			}
			if f.End != nil {
				now = f.End.MonoNS
			}
		case decode.RecordEvent:
			var h wire.Header
			qt.Assert(t, qt.IsNil(h.Read(payload)))
			now = max(now, int64(h.Ktime))
			var c wire.Call
			if h.Kind == wire.KindCall && c.Read(h, payload) == nil && c.Row == wire.RowGraphLaunch && c.Flags&wire.CallFailed == 0 {
				launches = append(launches, c)
			}
		}
		records = append(records, at{now, journalRecord{rec.Kind, payload}})
	}
	fact := func(ns int64, state string) {
		b, err := json.Marshal(record.Fact{Injected: &record.Injected{Ring: 3, PID: pid, State: state, Calls: calls}})
		qt.Assert(t, qt.IsNil(err))
		records = append(records, at{ns, journalRecord{decode.RecordFact, b}})
	}
	fact(records[0].ns+1, record.InjectedRunning)
	const flush = 200e6
	event := func(ns int64, kind wire.Kind, words []uint64, rest ...uint32) {
		b := make([]byte, wire.HeaderSize)
		binary.LittleEndian.PutUint64(b, uint64(ns))
		binary.LittleEndian.PutUint16(b[12:], uint16(kind))
		b[14], b[15] = 3, wire.Version
		for _, w := range words {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		for _, w := range rest {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
		records = append(records, at{ns, journalRecord{decode.RecordEvent, b}})
	}
	s := &traced{}
	for _, l := range launches {
		s.launches = append(s.launches, record.GraphLaunchRow{LaunchNS: int64(l.Ktime)})
	}
	slices.SortFunc(s.launches, func(a, b record.GraphLaunchRow) int { return int(a.LaunchNS - b.LaunchNS) })
	slices.SortFunc(launches, func(a, b wire.Call) int { return int(int64(a.Ktime) - int64(b.Ktime)) })
	pairs := (&result{}).pair(s, truth)
	if calls {
		for i, l := range launches {
			event(int64(l.Ktime)+9000, wire.KindCUPTICall, []uint64{l.Ktime + 2000, l.Ktime + 8000, l.A, l.B}, l.Thread, uint32(pairs[i].value), 0, 0)
		}
	}
	next := func(end int64) int64 { return (end/flush+1)*flush + 5000 }
	for _, g := range truth.replays {
		event(next(g.end), wire.KindCUPTIReplay, []uint64{uint64(g.start), uint64(g.end)}, uint32(g.value), g.id, 0, 1, 13, 0)
	}
	// The witness did not write down the numbers of copies: they lie right behind that
	// of the replay they follow.
	i := 0
	for _, c := range truth.toHost {
		for i < len(truth.replays) && truth.replays[i].end <= c.start {
			i++
		}
		if i > 0 {
			event(next(c.end), wire.KindCUPTICopy, []uint64{uint64(c.start), uint64(c.end), 0, uint64(c.value)}, uint32(truth.replays[i-1].value)+1, 0, 0, 1, 14, deviceToHost)
		}
	}
	fact(next(now)+1, record.InjectedEnded)
	slices.SortStableFunc(records, func(a, b at) int { return int(a.ns - b.ns) })
	out := make([]journalRecord, len(records))
	seq := uint32(0)
	for i, r := range records {
		out[i] = r.journalRecord
		if r.kind == decode.RecordEvent && binary.LittleEndian.Uint16(r.payload[12:]) >= uint16(wire.KindCUPTICall) {
			binary.LittleEndian.PutUint32(r.payload[8:], seq)
			seq++
		}
	}
	return out
}

// TestRecorded: with CUPTI's records in the journal each replay has its own times, by
// number and by order alike, and steps have CUPTI's, from real calls.
func TestRecorded(t *testing.T) {
	for _, name := range []string{"h200-llama8b", "h200-llama1b", "h200-qwen3moe-v1"} {
		for _, calls := range []bool{true, false} {
			t.Run(name+map[bool]string{true: "/by number", false: "/by order"}[calls], func(t *testing.T) {
				dir := filepath.Join("testdata", name)
				truth := unpackTruth(t, filepath.Join(dir, "cupti.gz"))
				s := decoded(t, func(take func(kind byte, payload []byte)) {
					for _, r := range asRecorded(t, dir, truth, calls) {
						take(r.kind, r.payload)
					}
				})
				r := &result{}
				pairs := r.pair(s, truth)
				qt.Assert(t, qt.Equals(r.Replays.Extra+r.Replays.BeforeLaunch, 0))
				exact := 0
				for i, l := range s.launches {
					if l.TimingSource == nil || *l.TimingSource != record.TimingCUPTI {
						continue
					}
					exact++
					qt.Assert(t, qt.Equals(*l.StartNS+s.zero, pairs[i].start))
					qt.Assert(t, qt.Equals(*l.EndNS+s.zero, pairs[i].end))
				}
				qt.Check(t, qt.IsTrue(exact >= len(s.launches)-3), qt.Commentf("%d of %d", exact, len(s.launches)))
				steps, forward := 0, 0
				for _, st := range s.steps {
					if st.GPUTimingSource != nil && *st.GPUTimingSource == record.TimingCUPTI {
						steps++
					}
					if st.TimingSource != nil && *st.TimingSource == record.TimingCUPTI {
						forward++
					}
				}
				c := compare(s, truth)
				all := c.Waited.Steps + c.NotWaited.Steps
				within := c.Waited.WithinBound*float64(c.Waited.Steps) + c.NotWaited.WithinBound*float64(c.NotWaited.Steps)
				ran := c.Modes["FULL"] + c.Modes["PIECEWISE"]
				qt.Check(t, qt.IsTrue(steps >= ran-3 && forward >= ran-3), qt.Commentf("%d and %d of %d", steps, forward, ran))
				qt.Check(t, qt.Equals(within, float64(all)))
				qt.Check(t, qt.IsTrue(c.Waited.Step.Median == 0 && c.Waited.Step.Max < 10e3), qt.Commentf("%+v", c.Waited.Step))
				// A GPU that waits for the host may be done before the event is recorded.
				qt.Check(t, qt.IsTrue(c.NotWaited.Step.P1 >= 0 && c.NotWaited.Step.Median < 10e3 && c.NotWaited.Step.P99 < 40e3), qt.Commentf("%+v", c.NotWaited.Step))
			})
		}
	}
}
