package probes

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/decode/wire"
)

func callEvent(row wire.Row, a uint64, flags uint8, at time.Duration) []byte {
	b := make([]byte, wire.CallSize)
	binary.LittleEndian.PutUint64(b, uint64(at))
	binary.LittleEndian.PutUint16(b[12:], uint16(wire.KindCall))
	binary.LittleEndian.PutUint64(b[16:], a)
	b[60], b[62] = byte(row), flags
	return b
}

// When graphs are read.
func TestDue(t *testing.T) {
	h := newHandles()
	at := func(s float64) int64 { return int64(1000*time.Second) + int64(s*float64(time.Second)) }
	see := func(row wire.Row, a uint64, flags uint8, s float64) {
		h.see(callEvent(row, a, flags, time.Duration(at(s))))
	}
	named := func(execs ...uint64) {
		var g []record.Graph
		for _, e := range execs {
			g = append(g, record.Graph{Exec: e})
		}
		h.name(g)
	}
	due := func(s float64, want bool) {
		t.Helper()
		got, _ := h.due(at(s))
		qt.Assert(t, qt.Equals(got, want), qt.Commentf("at %v s", s))
	}
	due(0, false) // nothing was seen

	// A server that was there before us: as soon as there is a handle.
	see(wire.RowGraphLaunch, 1, 0, 0)
	due(0.1, true)
	named(1)
	due(2, false)
	qt.Assert(t, qt.IsTrue(h.seen(1)))

	// Captures: when they are over.
	see(wire.RowCaptureBegin, 0, 0, 3)
	see(wire.RowGraphInstantiate, 2, 0, 3.5)
	due(3.6, false)
	see(wire.RowGraphInstantiate, 3, wire.CallFailed, 4)
	qt.Assert(t, qt.IsFalse(h.seen(3)))
	due(4.9, false)
	due(5.1, true)
	named(1, 2)
	due(7, false)

	// Launched right after its capture: no later than a launch.
	see(wire.RowGraphInstantiate, 4, 0, 8)
	see(wire.RowGraphLaunch, 4, 0, 8.1)
	due(8.2, true)
	named(1, 2) // the dict has no entry for it yet
	due(8.5, false)
	due(9.3, true) // and the capture is over
	named(1, 2, 4)
	due(20, false)

	// Destroyed, and another one at the same address.
	see(wire.RowGraphDestroy, 4, 0, 21)
	qt.Assert(t, qt.IsFalse(h.seen(4)))
	see(wire.RowGraphLaunch, 4, 0, 22)
	due(22, true)
	named(1, 2, 4)
	due(40, false)

	// One that nobody holds: less and less often.
	see(wire.RowGraphLaunch, 5, 0, 41)
	reads := 0
	for s := 41.0; s < 41+600; s++ {
		if is, _ := h.due(at(s)); is {
			reads++
			named(1, 2, 4)
		}
	}
	qt.Assert(t, qt.Equals(reads, 14)) // after 0, 2, 6, 14, 30, 62, then each minute
	// A new one is looked for at once all the same.
	see(wire.RowGraphLaunch, 6, 0, 700)
	due(700, true)

	// What a profiling capture made is not looked for.
	h = newHandles()
	see(wire.RowGraphInstantiate, 7, wire.CallThrowaway|wire.CallDummy, 0)
	due(2, true)
	named()
	see(wire.RowGraphLaunch, 7, wire.CallDummy, 3)
	due(3, true)
	named()
	due(100, false)
}

func TestHandlesAreBounded(t *testing.T) {
	h := newHandles()
	for i := range uint64(maxHandles + 5) {
		h.see(callEvent(wire.RowGraphLaunch, i+1, 0, 0))
	}
	h.see(callEvent(wire.RowGraphLaunch, 0, 0, 0))
	qt.Assert(t, qt.HasLen(h.live, maxHandles))
	qt.Assert(t, qt.Equals(h.dropped, 6))
}

// A reading that says what the one before said is news all the same where a handle
// was destroyed or made since: it means another graph.
func TestChanged(t *testing.T) {
	h := newHandles()
	at := func(s int) int64 { return int64(1000+s) * int64(time.Second) }
	see := func(row wire.Row, s int) { h.see(callEvent(row, 1, 0, time.Duration(at(s)))) }
	due := func(s int, wantChanged bool) {
		t.Helper()
		is, changed := h.due(at(s))
		qt.Assert(t, qt.IsTrue(is), qt.Commentf("at %d s", s))
		qt.Assert(t, qt.Equals(changed, wantChanged), qt.Commentf("at %d s", s))
	}
	graph := func() []record.Graph { return []record.Graph{{Exec: 1}} }
	see(wire.RowGraphInstantiate, 0)
	due(2, true)
	see(wire.RowGraphLaunch, 3)
	due(3, false) // nobody holds it yet
	h.name(graph())
	see(wire.RowGraphInstantiate, 5) // at the same address
	due(7, true)
	h.retell(true) // it could not be read
	see(wire.RowGraphLaunch, 8)
	due(8, true)
	qt.Assert(t, qt.HasLen(h.living(graph()), 1))
	see(wire.RowGraphDestroy, 9)
	qt.Assert(t, qt.HasLen(h.living(graph()), 0))
	see(wire.RowGraphInstantiate, 10)
	qt.Assert(t, qt.HasLen(h.living(graph()), 1))
	due(12, true)
}
