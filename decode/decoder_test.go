package decode_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/join"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// event is an event of a kind with a body of n bytes, and what edit makes of it.
func event(kind wire.Kind, n int, edit func(b []byte)) []byte {
	b := make([]byte, wire.HeaderSize+n)
	binary.LittleEndian.PutUint16(b[12:], uint16(kind))
	b[15] = wire.Version
	if edit != nil {
		edit(b)
	}
	return b
}

func TestMalformed(t *testing.T) {
	put16 := func(at int, v uint16) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint16(b[at:], v) }
	}
	tests := []struct {
		name   string
		raw    []byte
		kind   wire.Kind
		reason wire.Reason
	}{
		{"empty", nil, wire.KindNone, wire.ReasonShort},
		{"half a header", make([]byte, 15), wire.KindNone, wire.ReasonShort},
		{"another version", event(wire.KindStep, 80, func(b []byte) { b[15] = 9 }), wire.KindStep, wire.ReasonVersion},
		{"no kind", event(wire.KindNone, 0, nil), wire.KindNone, wire.ReasonKind},
		{"unknown kind", event(77, 80, nil), 77, wire.ReasonKind},
		{"step too short", event(wire.KindStep, 79, nil), wire.KindStep, wire.ReasonSize},
		{"step too long", event(wire.KindStep, 81, nil), wire.KindStep, wire.ReasonSize},
		{"rows without a head", event(wire.KindStepRows, 4, nil), wire.KindStepRows, wire.ReasonSize},
		{"more rows than bytes", event(wire.KindStepRows, 16+24, put16(24, 2)), wire.KindStepRows, wire.ReasonRows},
		{"all the rows there can be", event(wire.KindOutputRows, 16, put16(24, 0xffff)), wire.KindOutputRows, wire.ReasonRows},
		{"no such list", event(wire.KindKeys, 16, put16(26, 9)), wire.KindKeys, wire.ReasonValue},
		{"id longer than the event", event(wire.KindRequest, 64, func(b []byte) {
			binary.LittleEndian.PutUint32(b[44:], 1)
			binary.LittleEndian.PutUint16(b[76:], 10)
		}), wire.KindRequest, wire.ReasonRows},
		{"no reason to announce", event(wire.KindRequest, 64, nil), wire.KindRequest, wire.ReasonValue},
		{"prefix blocks missing", event(wire.KindPrefix, 24, put16(30, 1)), wire.KindPrefix, wire.ReasonRows},
		{"update too short", event(wire.KindUpdateEnd, 23, nil), wire.KindUpdateEnd, wire.ReasonSize},
		{"no such operation", event(wire.KindKV, 32, nil), wire.KindKV, wire.ReasonValue},
		{"call too short", event(wire.KindCall, 47, nil), wire.KindCall, wire.ReasonSize},
		{"no such call", event(wire.KindCall, 48, nil), wire.KindCall, wire.ReasonValue},
		{"no such phase", event(wire.KindPhase, 48, func(b []byte) { b[60] = 16 }), wire.KindPhase, wire.ReasonValue},
		{"phase change too long", event(wire.KindPhase, 49, nil), wire.KindPhase, wire.ReasonSize},
		{"worker step too short", event(wire.KindWorkerStep, 31, nil), wire.KindWorkerStep, wire.ReasonSize},
		{"drafts missing", event(wire.KindDrafts, 16, put16(24, 1)), wire.KindDrafts, wire.ReasonRows},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := decode.New(join.New(&tables{}))
			err := d.Event(test.raw)
			var malformed *wire.Error
			qt.Assert(t, qt.IsTrue(errors.As(err, &malformed)))
			qt.Assert(t, qt.Equals(malformed.Kind, test.kind))
			qt.Assert(t, qt.Equals(malformed.Reason, test.reason))
			counts := d.Errors()
			qt.Assert(t, qt.HasLen(counts, 1))
			qt.Assert(t, qt.Equals(counts[0].Count, 1))
			qt.Assert(t, qt.Equals(counts[0].Reason, test.reason))
		})
	}
}

// TestMalformedIsCounted: a bad record is a row of losses, and the next is read.
func TestMalformedIsCounted(t *testing.T) {
	s := newSim(servers()["sync"])
	s.run()
	records := append([]simRecord{}, s.events[:50]...)
	records = append(records, simRecord{'E', []byte{1, 2, 3}}, simRecord{'F', []byte("{")}, simRecord{'X', nil})
	records = append(records, s.events[50:]...)
	got, sum := replay(t, records)
	qt.Assert(t, qt.HasLen(got.Steps, len(s.truth.Steps)))
	qt.Assert(t, qt.Equals(sum.BadFacts, 1))
	qt.Assert(t, qt.Equals(sum.Lost, 3))
	reasons := map[string]int64{}
	for _, l := range got.Losses {
		qt.Assert(t, qt.Equals(l.Probe, "decode"))
		reasons[l.Reason] = l.Count
	}
	qt.Assert(t, qt.DeepEquals(reasons, map[string]int64{"kind_0_short": 1, "fact": 1, "record_kind": 1}))
}

// TestSinkErrors: an error of the sink comes back, one of the bytes does not.
func TestSinkErrors(t *testing.T) {
	full := errors.New("disk full")
	p := decode.NewPipeline(failing{&tables{}, full}, decode.Options{})
	s := newSim(servers()["sync"])
	s.run()
	var err error
	for _, r := range s.events {
		if err = p.Record(r.kind, r.payload); err != nil {
			break
		}
	}
	qt.Assert(t, qt.ErrorIs(err, full))
}

type failing struct {
	*tables
	err error
}

func (f failing) Step(*record.StepRow) error { return f.err }
