package main

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/probes/target"
)

// A process that has the number of one that was traced is a new one; of the others nothing is
// forgotten.
func TestNumberUsedAgain(t *testing.T) {
	h := newHunt(&trace{app: newBench(t).app})
	look := func(start uint64) {
		h.last = target.Server{Processes: []target.Process{{PID: 7, Start: start}, {PID: 8, Start: 1}}}
		h.forget()
	}
	look(1)
	for _, pid := range []int{7, 8} {
		h.armed[pid], h.threads[pid], h.told[pid] = pid, pid, "engine"
	}
	look(1)
	qt.Check(t, qt.HasLen(h.armed, 2))
	look(2)
	qt.Check(t, qt.DeepEquals(h.armed, map[int]int{8: 8}))
	qt.Check(t, qt.DeepEquals(h.threads, map[int]int{8: 8}))
	qt.Check(t, qt.DeepEquals(h.told, map[int]string{8: "engine"}))
}
