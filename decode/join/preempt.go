package join

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// Reasons of a preemption.
const (
	reasonBlocks  = "kv_blocks"
	reasonReset   = "reset_prefix_cache"
	reasonUnknown = "unknown"
	// reasonUnlisted is reasonReset at some time since the request's last row.
	reasonUnlisted = "reset_prefix_cache unlisted"
)

// preempt takes note that r was put back to waiting in, or before, the schedule
// call st.
func (e *engine) preempt(r *request, st *step, reason string) {
	if r.preempted || r.done {
		return
	}
	ptr := e.j.ptr
	t := st.scheduled
	freed := r.freeWindow == e.window+1
	switch reason {
	case reasonUnlisted:
		reason = reasonReset
		freed = r.freeWindow > r.rowWindow+1
		t = st.start()
	case reasonReset:
		t = st.start()
	}
	row := record.PreemptionRow{
		Engine: e.id, StepID: int64(st.num), RequestUID: r.uid, RequestID: r.id, Reason: reason,
	}
	gap := e.gapInWindow() || r.metWindow == e.window+1
	if gap {
		r.preemptedOff = true // the time is the call's, not the moment's
	}
	if freed {
		t = r.freedAt
		if !gap {
			row.BlocksFreed = ptr.int32(r.freed)
		}
	} else if e.watch.blocks && !gap {
		row.BlocksFreed = ptr.int32(0) // all shared
	}
	row.TimeNS = t
	if r.runSince != unset && r.runEpoch == e.epoch && !gap && t >= r.runSince {
		row.RunningNS = ptr.int64(t - r.runSince)
	}
	if e.followed(r) {
		row.Computed = ptr.count(r.computed)
	}
	r.preemption = row
	r.preempted, r.preemptEpoch, r.preemptWindow = true, e.epoch, e.window+1
	r.preemptions++
	r.computed = -1
	r.runSince = unset
	e.j.stats.Preemptions++
}

// resume takes note that r was scheduled again.
func (e *engine) resume(r *request, st *step) {
	if !r.preempted {
		return
	}
	t := st.start()
	if st.headless || t < r.preemption.TimeNS || r.preemptEpoch != e.epoch {
		r.preemptedOff = true // when it was resumed first, or how often, is not known
		e.emitPreemption(r)
		return
	}
	r.preemptedNS += t - r.preemption.TimeNS
	r.preemption.ResumedNS = e.j.ptr.int64(t)
	r.preemption.ResumedStep = e.j.ptr.int64(int64(st.num))
	e.emitPreemption(r)
}

func (e *engine) emitPreemption(r *request) {
	if !r.preempted {
		return
	}
	r.preempted = false
	e.j.rows.preemption = r.preemption
	e.j.check(e.j.sink.Preemption(&e.j.rows.preemption))
}

func byUID(list []*request) []*request {
	slices.SortFunc(list, func(a, b *request) int { return cmp.Compare(a.uid, b.uid) })
	return list
}
