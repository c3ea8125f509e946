package page

import "github.com/pmtrace/pmtrace/decode/record"

// buckets of all engines together.
const (
	mostBuckets  = 4096
	leastBuckets = 128
)

// engine collects what one engine did over time.
type engine struct {
	grid     *grid[bucket]
	kvTotal  int64
	steps    int64
	from, to int64 // of its steps
}

func newEngine(origin int64, most int) *engine {
	return &engine{grid: newGrid(origin, most, mergeBuckets)}
}

func (e *engine) step(r *record.StepRow) {
	if e.steps == 0 {
		e.from = r.StartNS
	}
	e.steps++
	e.from, e.to = min(e.from, r.StartNS), max(e.to, lastOf(r))
	if r.KVTotal != nil {
		e.kvTotal = max(e.kvTotal, int64(*r.KVTotal))
	}
	e.grid.at(r.StartNS).step(r)
	e.gpu(r)
}

// lastOf is the newest time known of a step.
func lastOf(r *record.StepRow) int64 {
	last := r.ScheduledNS
	for _, ns := range [...]*int64{r.UpdateNS, r.EndNS, r.GPUEndNS} {
		if ns != nil {
			last = max(last, *ns)
		}
	}
	return last
}

// gpu adds the GPU's time in the step and before it.
func (e *engine) gpu(r *record.StepRow) {
	if r.Tokens == 0 || r.GPUStartNS == nil {
		return
	}
	if r.GPUEndNS != nil {
		e.grid.spread(*r.GPUStartNS, *r.GPUEndNS, func(b *bucket, ns int64) { b.busy += ns })
	}
	if r.GPUIdleNS == nil {
		return
	}
	from := *r.GPUStartNS - max(*r.GPUIdleNS, 0)
	if r.NewRequests == r.Requests { // there was nothing to do
		e.grid.spread(from, *r.GPUStartNS, func(b *bucket, ns int64) { b.drained += ns })
	} else {
		e.grid.spread(from, *r.GPUStartNS, func(b *bucket, ns int64) { b.idle += ns })
	}
}

// timeline is an engine's grid as the page has it.
type timeline struct {
	OriginNS int64   `json:"origin_ns"`
	WidthNS  int64   `json:"width_ns"`
	Buckets  int     `json:"buckets"`
	Columns  columns `json:"columns"`
}

func (e *engine) timeline() timeline {
	return timeline{e.grid.origin, e.grid.width, len(e.grid.buckets), columnsOf(e.grid.buckets)}
}
