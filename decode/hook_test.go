package decode_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

// hookEvent is struct pm_hook_call with its values.
func hookEvent(index uint8, began uint64, call uint32, flags uint8, duration, result uint64, values ...wire.HookValue) []byte {
	b := binary.LittleEndian.AppendUint64(nil, began)
	b = binary.LittleEndian.AppendUint32(b, call)
	b = binary.LittleEndian.AppendUint16(b, uint16(wire.KindHook))
	b = append(b, index, wire.Version)
	b = binary.LittleEndian.AppendUint64(b, duration)
	b = binary.LittleEndian.AppendUint64(b, result)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, call)
	var kinds [8]byte
	for i, v := range values {
		kinds[i] = byte(v.Kind)
	}
	b = append(b, kinds[:]...)
	b = append(b, byte(len(values)), flags, 0, 0, 0, 0, 0, 0)
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v.Bits)
	}
	return b
}

func hookFact(t *testing.T, f record.Fact) simRecord {
	t.Helper()
	b, err := json.Marshal(f)
	qt.Assert(t, qt.IsNil(err))
	return simRecord{decode.RecordFact, b}
}

// Calls become rows with all that was captured, each value as what it is.
func TestHooks(t *testing.T) {
	minus := func(n int64) uint64 { return uint64(-n) }
	py := record.Hook{Hook: 0, Name: "Scheduler.add_request", PID: 7, Thread: 8, Engine: new(int), Duration: true, Arguments: []record.HookArgument{
		{Name: "request.n"}, {Name: "len(self.waiting)"}, {Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "e"}, {Name: "f"},
	}}
	c := record.Hook{Hook: 1, Name: "frob", PID: 7, Result: "i32", Duration: true, Arguments: []record.HookArgument{
		{Name: "0", Type: "i64"}, {Name: "1", Type: "u64"}, {Name: "2", Type: "i32"}, {Name: "3", Type: "u32"}, {Name: "4", Type: "ptr"},
	}}
	event := func(b []byte) simRecord { return simRecord{decode.RecordEvent, b} }
	raw := func(bits uint64) wire.HookValue { return wire.HookValue{Kind: wire.ValueRaw, Bits: bits} }
	ended := py
	ended.Ended = "called too often"
	got, sum := replay(t, []simRecord{
		hookFact(t, record.Fact{Start: &record.Start{MonoNS: 1000}}),
		hookFact(t, record.Fact{Hook: &py}),
		hookFact(t, record.Fact{Hook: &c}),
		event(hookEvent(0, 1100, 0, wire.HookReturned, 50, 0,
			wire.HookValue{Kind: wire.ValueInt, Bits: minus(5)}, wire.HookValue{Kind: wire.ValueLength, Bits: 3},
			wire.HookValue{Kind: wire.ValueBool, Bits: 1}, wire.HookValue{Kind: wire.ValueFloat, Bits: math.Float64bits(0.1)},
			wire.HookValue{Kind: wire.ValueFloat, Bits: math.Float64bits(math.NaN())}, wire.HookValue{Kind: wire.ValueNone},
			wire.HookValue{Kind: wire.ValueBig}, wire.HookValue{Kind: wire.ValueOther})),
		event(hookEvent(0, 1200, 2, wire.HookRaised, 0, 0)), // call 1 was not told of
		hookFact(t, record.Fact{Hook: &ended}),
		event(hookEvent(0, 1300, 3, 0, 0, 0)),
		event(hookEvent(1, 1400, 0, wire.HookReturned, 9, minus(1)&math.MaxUint32, raw(minus(1)), raw(minus(1)), raw(minus(1)), raw(minus(1)), raw(4096))),
		event(hookEvent(9, 1500, 0, 0, 0, 0)), // of a hook that no fact tells of
		hookFact(t, record.Fact{Losses: &record.Losses{MonoNS: 1600, Counts: []record.Loss{
			{Engine: 0, Probe: record.HookProbe + py.Name, Reason: "ring_full", Count: 1, Lost: true},
		}}}),
	})
	zero := new(int32)
	returned, raised := record.HookReturned, record.HookRaised
	qt.Check(t, qt.DeepEquals(got.Hooks, []record.HookRow{
		{Engine: zero, Hook: py.Name, PID: 7, Thread: 8, Call: 0, TimeNS: 100, DurNS: new(int64(50)), Outcome: &returned,
			Arguments: `{"request.n":-5,"len(self.waiting)":3,"a":true,"b":0.1,"c":null,"d":null,"e":null,"f":null}`},
		{Engine: zero, Hook: py.Name, PID: 7, Thread: 8, Call: 2, TimeNS: 200, Outcome: &raised, Arguments: "{}"},
		{Engine: zero, Hook: py.Name, PID: 7, Thread: 8, Call: 3, TimeNS: 300, Arguments: "{}"},
		{Hook: c.Name, PID: 7, Call: 0, TimeNS: 400, DurNS: new(int64(9)), Outcome: &returned, Result: new(int64(-1)),
			Arguments: `{"0":-1,"1":18446744073709551615,"2":-1,"3":4294967295,"4":4096}`},
	}))
	// An event that found no room is counted by its hook, and explains no other's gap.
	qt.Check(t, qt.DeepEquals(got.Losses, []record.LossRow{
		{FromNS: 0, ToNS: 0, Probe: "decode", Reason: "hook_unknown", Count: 1},
		{Engine: zero, FromNS: 0, ToNS: 600, Probe: "hook " + py.Name, Reason: "ring_full", Count: 1},
	}))
	qt.Check(t, qt.Equals(sum.Lost, 2))
	qt.Check(t, qt.HasLen(sum.Malformed, 0))
}

// Events that are not as their struct is are counted and left out.
func TestMalformedHooks(t *testing.T) {
	good := hookEvent(0, 1, 0, 0, 0, 0, wire.HookValue{Kind: wire.ValueInt, Bits: 1})
	short := good[:len(good)-1]
	many := append([]byte(nil), good...)
	many[48] = 9
	kind := append([]byte(nil), good...)
	kind[40] = 200
	var list []simRecord
	list = append(list, hookFact(t, record.Fact{Hook: &record.Hook{Hook: 0, Name: "f", Arguments: []record.HookArgument{{Name: "n"}}}}),
		hookFact(t, record.Fact{Hook: &record.Hook{Hook: 300}}))
	for _, b := range [][]byte{short, many, kind, good[:20]} {
		list = append(list, simRecord{decode.RecordEvent, b})
	}
	got, sum := replay(t, list)
	qt.Check(t, qt.HasLen(got.Hooks, 0))
	qt.Check(t, qt.DeepEquals(sum.Malformed, []decode.ErrorCount{
		{ErrorKey: decode.ErrorKey{Kind: wire.KindHook, Reason: wire.ReasonRows}, Count: 1},
		{ErrorKey: decode.ErrorKey{Kind: wire.KindHook, Reason: wire.ReasonSize}, Count: 2},
		{ErrorKey: decode.ErrorKey{Kind: wire.KindHook, Reason: wire.ReasonValue}, Count: 1},
	}))
}
