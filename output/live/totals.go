package live

import (
	"sync"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// Totals folds rows into metrics. It is a record.Sink; its methods may be called by
// several goroutines.
type Totals struct {
	record.Discard

	mu      sync.Mutex
	target  Target
	vectors []*vector // of all metrics, in the table's order

	// The same by what they are taken from.
	steps, requests, preemptions, evictions, operations []*vector
	launches, collectives, samples, losses, states      []*vector
}

var _ record.Sink = (*Totals)(nil)

// NewTotals returns Totals of nothing.
func NewTotals() *Totals {
	t := &Totals{}
	list := Metrics()
	for i := range list {
		m := &list[i]
		v := &vector{metric: m, series: map[labels]*series{}}
		t.vectors = append(t.vectors, v)
		from := t.source(m)
		*from = append(*from, v)
	}
	return t
}

// source is the list of the vectors that are taken from the same rows.
func (t *Totals) source(m *Metric) *[]*vector {
	switch {
	case m.step != nil:
		return &t.steps
	case m.request != nil:
		return &t.requests
	case m.preemption != nil:
		return &t.preemptions
	case m.eviction != nil:
		return &t.evictions
	case m.operation != nil:
		return &t.operations
	case m.launch != nil:
		return &t.launches
	case m.collective != nil:
		return &t.collectives
	case m.sample != nil:
		return &t.samples
	case m.loss != nil:
		return &t.losses
	}
	return &t.states
}

// Describe takes what is known of the server.
func (t *Totals) Describe(f *session.Facts) {
	target := TargetOf(f)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.target = target
}

// State is what no row tells.
type State struct {
	DurationNS int64 // how long the session is
	DelayNS    int64 // by which rows are behind the newest event
	Lost       int64 // events
	Exports    []Export
}

// Export counts what an exporter did.
type Export struct {
	Exporter string // otlp
	Signal   string // requests, metrics
	Sent     int64
	Dropped  int64 // because the other side was too slow, or not there
}

// SetState takes what no row tells.
func (t *Totals) SetState(s *State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.states {
		v.metric.state(v, s)
	}
}

// Snapshot is what is known at one moment.
type Snapshot struct {
	Target   Target
	Families []Family // in the table's order; those without series too
}

// Snapshot copies all metrics.
func (t *Totals) Snapshot() Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Snapshot{Target: t.target}
	for _, v := range t.vectors {
		s.Families = append(s.Families, v.family())
	}
	return s
}

func (t *Totals) Step(r *record.StepRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.steps {
		v.metric.step(v, r)
	}
	return nil
}

func (t *Totals) Request(r *record.RequestRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.requests {
		v.metric.request(v, r)
	}
	return nil
}

func (t *Totals) Preemption(r *record.PreemptionRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.preemptions {
		v.metric.preemption(v, r)
	}
	return nil
}

func (t *Totals) KVEviction(r *record.KVEvictionRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.evictions {
		v.metric.eviction(v, r)
	}
	return nil
}

func (t *Totals) CPUOperation(r *record.CPUOperationRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.operations {
		v.metric.operation(v, r)
	}
	return nil
}

func (t *Totals) GraphLaunch(r *record.GraphLaunchRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.launches {
		v.metric.launch(v, r)
	}
	return nil
}

func (t *Totals) Collective(r *record.CollectiveRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.collectives {
		v.metric.collective(v, r)
	}
	return nil
}

func (t *Totals) GPUSample(r *record.GPUSampleRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.samples {
		v.metric.sample(v, r)
	}
	return nil
}

func (t *Totals) Loss(r *record.LossRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.losses {
		v.metric.loss(v, r)
	}
	return nil
}
