package otlp

import (
	"context"
	"math"
	"time"

	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/session"
)

// Exported counts what Export has delivered.
type Exported struct {
	Requests   int64 // as traces
	Unfinished int64 // that are no traces, since their end or their beginning is not known
	Steps      int64 // as traces, where asked for
	Metrics    int   // that have a series
}

// Export sends a finished session: its metrics as of its end, its requests, and its steps
// where asked for. It ends with the first delivery that fails.
func Export(ctx context.Context, e Endpoint, dir *session.Dir, s *live.Snapshot, end time.Time, steps bool) (done Exported, err error) {
	out, err := newSender(ctx, e)
	if err != nil {
		return done, err
	}
	defer func() { _ = out.close(ctx) }()
	if err := out.sendMetrics(ctx, s, end); err != nil {
		return done, shorten(err)
	}
	for i := range s.Families {
		if len(s.Families[i].Series) > 0 {
			done.Metrics++
		}
	}
	var list []item
	f := newFeed(func(i item) { list = append(list, i) }, math.MaxInt, nil)
	f.steps = steps
	send := func(least int, sent *int64) error {
		if len(list) < least || len(list) == 0 {
			return nil
		}
		err := out.sendTraces(ctx, s.Target, list)
		if err == nil {
			*sent += int64(len(list))
		}
		list = list[:0]
		return shorten(err)
	}
	rows := int64(0)
	for _, table := range []func() error{
		func() error { return each(dir, f.Preemption, func() error { return nil }) },
		func() error { return each(dir, f.Request, func() error { rows++; return send(batch, &done.Requests) }) },
		func() error { return send(0, &done.Requests) },
		func() error { return each(dir, f.Step, func() error { return send(batch, &done.Steps) }) },
		func() error { return send(0, &done.Steps) },
	} {
		if err := table(); err != nil {
			return done, err
		}
	}
	done.Unfinished = rows - done.Requests
	return done, nil
}

// each hands on a table's rows, and goes on as long as then lets it.
func each[T any](dir *session.Dir, add func(*T) error, then func() error) error {
	for r, err := range session.Rows[T](dir) {
		if err == nil {
			err = add(r)
		}
		if err == nil {
			err = then()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
