package join

import "github.com/pmtrace/pmtrace/decode/wire"

// update collects the rows and the end of one update_from_output.
type update struct {
	open   bool
	num    uint32
	hasEnd bool
	end    wire.Update
	at     int64 // time of its newest event
	rows   []wire.OutputRow
	bad    wire.Bad
}

// offset is the distance of a step's number to its update's. It stays the same
// while every schedule call has its update, and tells after a loss whether an
// address still means the step that we know by it.
type offset struct {
	known bool
	d     uint32
}

func (o *offset) fits(st *step, num uint32) bool {
	d := st.num - num
	if st.gap && (!o.known || o.d != d) {
		return false
	}
	o.known, o.d = true, d
	return true
}

// inFlight is the index of the step that an update with this number is of; -1:
// none that is known.
func (e *engine) inFlight(output uint64, num uint32, o *offset) int {
	for i, st := range e.flight {
		if st.output == output {
			if !o.fits(st, num) {
				return -1
			}
			return i
		}
	}
	return -1
}

// UpdateBegin takes the entry of update_from_output.
func (j *Joiner) UpdateBegin(ev *wire.Update) error {
	e, t := j.enter(&ev.Header)
	e.closeCall()
	e.closeUpdate()
	e.flushOps(t, nil)
	e.turn(t)
	j.unreadable("update_entry", ev.Bad)
	i := e.inFlight(ev.Output, ev.Update, &e.beginOffset)
	if i < 0 {
		e.buffered.open = false
		return j.err
	}
	st := e.flight[i]
	st.updateBegan = t
	e.chose(st, ev)
	if e.updated && e.updateEpoch == e.epoch {
		st.before = e.lastUpdate
	}
	if !e.watch.updateReturn {
		e.retire(i)
	}
	return j.err
}

// OutputRows takes rows of update_from_output.
func (j *Joiner) OutputRows(ev *wire.OutputRows) error {
	e := j.updatePart(&ev.Header, ev.Step)
	j.unreadable("update_return", ev.Bad)
	e.update.bad |= ev.Bad
	for i := range ev.Len() {
		e.update.rows = append(e.update.rows, ev.At(i))
	}
	e.completeUpdate()
	return j.err
}

// UpdateEnd takes the return of update_from_output.
func (j *Joiner) UpdateEnd(ev *wire.Update) error {
	e := j.updatePart(&ev.Header, ev.Update)
	j.unreadable("update_return", ev.Bad)
	e.update.end, e.update.hasEnd = *ev, true
	e.update.bad |= ev.Bad
	e.completeUpdate()
	return j.err
}

// updatePart enters an event of an update.
func (j *Joiner) updatePart(h *wire.Header, num uint32) *engine {
	e, t := j.enter(h)
	e.closeCall()
	if e.update.open && e.update.num != num {
		e.closeUpdate()
	}
	if !e.update.open {
		e.flushOps(t, nil)
		e.turn(t)
		e.update.open, e.update.num = true, num
	}
	e.update.at = t
	return e
}

func (e *engine) completeUpdate() {
	if u := &e.update; u.hasEnd && uint32(len(u.rows)) >= u.end.Rows {
		e.closeUpdate()
	}
}

// closeUpdate interprets the update that is open: its rows are tokens handed
// out and requests that finished.
func (e *engine) closeUpdate() {
	u := &e.update
	if !u.open {
		return
	}
	at, i := -1, -1
	t := u.at
	if u.hasEnd {
		i = e.inFlight(u.end.Output, u.num, &e.endOffset)
	}
	complete := u.hasEnd && u.bad&(wire.BadRows|wire.BadCut) == 0 && uint32(len(u.rows)) == u.end.Rows
	if !complete {
		e.badOutputs = e.window + 1
	}
	var st *step
	if i >= 0 {
		st = e.flight[i]
		st.updateDone = t
		if complete {
			st.outputs = 0
		}
		at = 0
	}
	for k := range u.rows {
		e.outputRow(&u.rows[k], u.num, st, &at, t, complete)
	}
	if u.hasEnd {
		e.lastUpdate, e.updated, e.updateEpoch = t, true, e.epoch
	} else {
		e.updated = false
	}
	if st != nil {
		e.retire(i)
	}
	*u = update{rows: u.rows[:0]}
}

// outputRow takes what an update handed out for one request.
func (e *engine) outputRow(out *wire.OutputRow, num uint32, st *step, at *int, t int64, complete bool) {
	n := count(out.Tokens)
	if st != nil && n > 0 && complete {
		st.outputs = sum(st.outputs, n)
	}
	if st != nil && out.Finish >= 0 {
		st.finished++
	}
	if n > 0 {
		e.j.stats.Output += int64(n)
	}
	r := e.byKey[out.Key]
	if r == nil || r.done {
		// Before the first step that was seen, the requests are not known.
		if r == nil && st != nil && st.complete {
			e.j.losses.add(lossKey{e.id, "update_return", "unknown_request"}, t, t, 1)
		}
		return
	}
	sure := e.trusted(r)
	if st != nil {
		if row := st.find(r, at); row != nil {
			sure = true
			row.outputs = n
			if row.drafts > 0 && n > 0 && r.computed >= 0 && !r.preempted {
				r.computed -= max(row.drafts-(n-1), 0) // rejected
			}
		}
	}
	if !sure {
		e.j.losses.add(lossKey{e.id, "update_return", "unknown_request"}, t, t, 1)
		return
	}
	switch {
	case r.skipUpdate == num+1:
	case n < 0:
		r.outputs = -1
	case r.outputs >= 0:
		if n > 0 && r.outputs == 0 && e.exact(r) && st != nil {
			r.firstToken = t
		}
		r.outputs = sum(r.outputs, n)
	}
	if out.Finish >= 0 {
		e.finish(r, t, e.reason(out.Finish))
	}
}
