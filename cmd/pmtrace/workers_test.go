package main

import (
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

// countedLooks is a tracer whose looks at the workers take long.
type countedLooks struct {
	fakeTracer
	looks int
}

func (c *countedLooks) Look() []record.Fact {
	c.looks++
	time.Sleep(30 * time.Millisecond)
	return nil
}

// TestLookAtOnce: looks that take long are rare, but as an engine is armed there is one at once:
// the names of its graphs and its layers are wanted.
func TestLookAtOnce(t *testing.T) {
	tracer := &countedLooks{}
	w := newWorkers(&trace{tracer: tracer, hunt: &hunt{}})
	for range 3 {
		qt.Assert(t, qt.IsNil(w.follow()))
	}
	qt.Assert(t, qt.Equals(tracer.looks, 1))
	w.t.hunt.armed = map[int]int{7: 0}
	for range 3 {
		qt.Assert(t, qt.IsNil(w.follow()))
	}
	qt.Assert(t, qt.Equals(tracer.looks, 2))
}
