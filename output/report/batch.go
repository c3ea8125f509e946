package report

import "github.com/pmtrace/pmtrace/decode/record"

// batch tells who of an engine's step was not in the step before it.
type batch struct {
	before, now map[int64]bool
	head        int32 // blocks of the first of them; -1: there is none, or it is not known
	found       bool
}

func (b *batch) add(r *record.StepRequestRow) {
	if b.now == nil {
		b.turn()
	}
	b.now[r.RequestUID] = true
	if !b.found && !b.before[r.RequestUID] {
		b.found, b.head = true, numberOf(r.NewBlocks)
	}
}

// turn ends a step. One without requests changes nothing.
func (b *batch) turn() {
	if len(b.now) > 0 || b.now == nil {
		b.before, b.now = b.now, make(map[int64]bool, len(b.now))
	}
	b.found, b.head = false, -1
}
