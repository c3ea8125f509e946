package compare

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
)

// rows are a session's that are compared.
type rows struct {
	record.Discard
	steps      []record.StepRow
	requests   []record.RequestRow
	operations []record.CPUOperationRow
	evictions  []record.KVEvictionRow
}

func (r *rows) Step(row *record.StepRow) error { r.steps = append(r.steps, *row); return nil }
func (r *rows) Request(row *record.RequestRow) error {
	r.requests = append(r.requests, *row)
	return nil
}
func (r *rows) CPUOperation(row *record.CPUOperationRow) error {
	r.operations = append(r.operations, *row)
	return nil
}
func (r *rows) KVEviction(row *record.KVEvictionRow) error {
	r.evictions = append(r.evictions, *row)
	return nil
}

// recorded decodes a journal of a real server.
func recorded(t testing.TB, path ...string) *rows {
	t.Helper()
	j, err := journal.Open(os.DirFS(filepath.Join(filepath.Join(path...), "journal")))
	qt.Assert(t, qt.IsNil(err))
	defer j.Close()
	r := &rows{}
	p := decode.NewPipeline(r, decode.Options{OnError: func(err error) { t.Error(err) }})
	for {
		rec, err := j.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.IsNil(p.Record(rec.Kind, rec.Payload)))
	}
	_, err = p.Close()
	qt.Assert(t, qt.IsNil(err))
	return r
}

// run makes a Run of the rows with blocks of so many nanoseconds, all times longer by
// the factor.
func (r *rows) run(slower float64, ns int64) *Run {
	c := newCollector(Setup{evictions: true, preemptions: true})
	c.ns = ns
	times := func(list ...*int64) {
		for _, t := range list {
			if t != nil {
				*t = int64(float64(*t) * slower)
			}
		}
	}
	own := func(list ...**int64) {
		for _, t := range list {
			if *t != nil {
				*t = new(**t)
				times(*t)
			}
		}
	}
	for _, s := range r.steps {
		times(&s.StartNS, &s.ScheduledNS)
		own(&s.EndNS, &s.StepGPUNS, &s.GPUIdleNS)
		if s.MBU != nil {
			s.MBU = new(*s.MBU / slower)
		}
		c.step(&s)
	}
	for _, q := range r.requests {
		own(&q.ArrivalNS, &q.FirstTokNS, &q.FinishedNS, &q.QueueNS, &q.DecodeNS)
		c.request(&q)
	}
	for _, o := range r.operations {
		times(&o.TimeNS, &o.DurNS)
		c.cpuOperation(&o)
	}
	for _, e := range r.evictions {
		times(&e.TimeNS)
		c.eviction(&e)
	}
	return c.run()
}
