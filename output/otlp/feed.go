package otlp

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// maxPreempted bounds the requests whose preemptions wait for their end while tracing:
// ends that are lost never come.
const maxPreempted = 1 << 14

// item is what becomes a trace: one of these.
type item struct {
	request *request
	step    *record.StepRow
}

// feed is the record.Sink that puts requests together with their preemptions, whose rows
// come before.
type feed struct {
	record.Discard
	offer     func(item)
	steps     bool   // are traces, too
	limit     int    // of preempted
	lose      func() // beyond it
	preempted map[key][]record.PreemptionRow
}

type key struct {
	engine int32
	uid    int64
}

func newFeed(offer func(item), limit int, lose func()) *feed {
	return &feed{offer: offer, limit: limit, lose: lose, preempted: map[key][]record.PreemptionRow{}}
}

func (f *feed) Preemption(r *record.PreemptionRow) error {
	k := key{r.Engine, r.RequestUID}
	if f.preempted[k] == nil && len(f.preempted) >= f.limit {
		f.lose()
		return nil
	}
	f.preempted[k] = append(f.preempted[k], *r)
	return nil
}

func (f *feed) Request(r *record.RequestRow) error {
	k := key{r.Engine, r.RequestUID}
	out := &request{RequestRow: *r, preemptions: f.preempted[k]}
	delete(f.preempted, k)
	if out.ended() {
		slices.SortFunc(out.preemptions, func(a, b record.PreemptionRow) int { return int(a.TimeNS - b.TimeNS) })
		f.offer(item{request: out})
	}
	return nil
}

func (f *feed) Step(r *record.StepRow) error {
	if f.steps && r.EndNS != nil {
		step := *r
		f.offer(item{step: &step})
	}
	return nil
}
