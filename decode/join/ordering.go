package join

import (
	"slices"
)

// ordering pairs replays with launches where CUPTI's callbacks are another tool's: both
// come in the order of the calls. It begins with the first of both where they have been
// seen from the start; else, and after a loss, with a replay that can be one launch's
// alone. Each graph must keep its number.
type ordering struct {
	in     *injected
	queue  []replaySpan // by number
	graphs map[*graph]uint32
	synced bool
	last   int64 // end of the latest replay; unset: none
	seq    uint32
	whole  bool // no event is missing
}

// follow checks the events' numbers: what is missing may have been a replay.
func (o *ordering) follow(seq uint32) {
	if seq != o.seq {
		o.synced, o.whole = false, false
	}
	o.seq = seq + 1
}

func (o *ordering) push(s replaySpan) {
	at := len(o.queue)
	for at > 0 && before(s.number, o.queue[at-1].number) {
		at--
	}
	o.queue = slices.Insert(o.queue, at, s)
	if len(o.queue) > maxEarly {
		o.queue = slices.Delete(o.queue, 0, 1)
		o.synced = false
	}
}

// settle pairs what can be paired.
func (o *ordering) settle(end bool) {
	w := o.in.w
	if w == nil || o.in.fact.Calls || len(o.queue) == 0 {
		return
	}
	if o.whole && w.fact.FromStart && !w.missed {
		o.synced = true // each launch has been seen, and each replay
	}
	o.whole = false
	for len(o.queue) > 0 && len(w.unpaired) > 0 {
		s := o.queue[0]
		n := 0
		if !o.synced {
			var ok bool
			if n, ok = o.sure(s, end); !ok {
				if n < 0 {
					return // the launch behind it has not come yet
				}
				o.drop(s)
				continue
			}
			o.synced = true
		}
		r := w.unpaired[n]
		if s.start < r.at || !o.same(r.graph, s.graph) {
			o.synced = false
			if s.start < r.at {
				o.drop(s)
				continue
			}
			o.forget(n + 1)
			continue
		}
		o.forget(n)
		w.unpaired = w.unpaired[1:]
		o.graphs[r.graph] = s.graph
		o.queue = o.queue[1:]
		o.last = max(o.last, s.end)
		r.began, r.ended = r.at, r.at
		o.in.number(r, s.number)
		o.in.time(r, s)
	}
	if len(o.graphs) > maxGraphs {
		clear(o.graphs)
	}
}

func (o *ordering) drop(s replaySpan) {
	o.queue = o.queue[1:]
	o.last = max(o.last, s.end)
}

// forget takes note of launches that have no replay.
func (o *ordering) forget(n int) {
	for _, r := range o.in.w.unpaired[:n] {
		r.given = true
	}
	o.in.w.unpaired = o.in.w.unpaired[n:]
}

// sure finds the launch that a replay must be of: the GPU had no replay to run when it
// was called, nor one in its queue, and the next one was called when the replay ran.
// n < 0: not known yet.
func (o *ordering) sure(s replaySpan, end bool) (n int, ok bool) {
	list := o.in.w.unpaired
	i := len(list)
	for i > 0 && list[i-1].at > s.start {
		i--
	}
	if i == 0 {
		return 0, false
	}
	if i == len(list) && o.in.j.clock-s.end < holdNS/2 {
		if end {
			return 0, false
		}
		return -1, false
	}
	r := list[i-1]
	alone := i == 1 || list[i-2].at < r.at-aloneNS
	return i - 1, alone && (o.last == unset || o.last < r.at) && o.same(r.graph, s.graph)
}

func (o *ordering) same(g *graph, number uint32) bool {
	known, ok := o.graphs[g]
	return !ok || known == number
}
