package main

import (
	"math"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// The wall clock is set back an hour and then forward two while a trace goes on: times go on,
// the trace takes as long as it should, and the journal says when the clock was which.
func TestClockIsSet(t *testing.T) {
	pid, _ := startServer(t)
	b := newBench(t)
	began := time.Now()
	b.world.now = func() time.Time {
		wall := time.Now().Round(0) // without the monotonic reading, which a step does not touch
		switch since := time.Since(began); {
		case since > 4*time.Second:
			return wall.Add(2 * time.Hour)
		case since > 2*time.Second:
			return wall.Add(-time.Hour)
		}
		return wall
	}
	qt.Assert(t, qt.Equals(b.attachTo(t, pid, "--duration", "6500ms"), 0), qt.Commentf("%s", b.err))
	var ahead []time.Duration
	losses := 0
	start, end := b.session.start, b.end(t)
	for _, f := range b.session.facts {
		if f.Clock != nil {
			ahead = append(ahead, time.Duration((f.Clock.WallNS-f.Clock.MonoNS)-(start.WallNS-start.MonoNS)).Round(time.Minute))
		}
		if f.Losses != nil {
			losses++
		}
	}
	qt.Check(t, qt.DeepEquals(ahead, []time.Duration{0, -time.Hour, 2 * time.Hour}))
	qt.Check(t, qt.Equals(losses, 2)) // after five seconds, and at the end
	took := time.Duration(end.MonoNS - start.MonoNS)
	qt.Check(t, qt.IsTrue(took > 5*time.Second && took < 30*time.Second), qt.Commentf("%v", took))
	qt.Check(t, qt.Equals(end.Reason, "duration"))
}

// The thread that looks at the clocks loses its CPU between them, three times.
func TestClocksTogether(t *testing.T) {
	looks := 0
	tr := &trace{app: &app{world: &world{monotonic: monotonic, now: func() time.Time {
		if looks++; looks <= 3 {
			time.Sleep(20 * time.Millisecond)
		}
		return time.Now()
	}}}}
	c := tr.clock()
	ahead := int64(math.MaxInt64)
	for range 20 { // what comes between the looks makes it more
		mono := monotonic()
		ahead = min(ahead, time.Now().UnixNano()-mono)
	}
	apart := time.Duration(c.WallNS - c.MonoNS - ahead)
	qt.Check(t, qt.IsTrue(apart.Abs() < 5*time.Millisecond), qt.Commentf("%v", apart))
}
