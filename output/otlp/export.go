package otlp

import (
	"context"
	"math"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/session"
)

// Exported counts what Export has delivered.
type Exported struct {
	Requests   int64 // as traces
	Unfinished int64 // that are no traces, since their end or their beginning is not known
	Metrics    int   // that have a series
}

// Export sends a finished session: its metrics as of its end, and its requests. It ends
// with the first delivery that fails.
func Export(ctx context.Context, e Endpoint, dir *session.Dir, s *live.Snapshot, end time.Time) (done Exported, err error) {
	out, err := newSender(ctx, e)
	if err != nil {
		return done, err
	}
	defer func() { _ = out.close(ctx) }()
	if err := out.sendMetrics(ctx, s, end); err != nil {
		return done, err
	}
	for i := range s.Families {
		if len(s.Families[i].Series) > 0 {
			done.Metrics++
		}
	}
	return done, done.requests(ctx, out, dir, s.Target)
}

func (done *Exported) requests(ctx context.Context, out *sender, dir *session.Dir, t live.Target) error {
	var list []request
	f := newFeed(func(r request) { list = append(list, r) }, math.MaxInt, nil)
	for p, err := range session.Rows[record.PreemptionRow](dir) {
		if err != nil {
			return err
		}
		_ = f.Preemption(p) // it keeps what it is given
	}
	flush := func() error {
		if len(list) == 0 {
			return nil
		}
		if err := out.sendRequests(ctx, t, list); err != nil {
			return err
		}
		done.Requests += int64(len(list))
		list = list[:0]
		return nil
	}
	rows := int64(0)
	for r, err := range session.Rows[record.RequestRow](dir) {
		if err != nil {
			return err
		}
		rows++
		_ = f.Request(r)
		if len(list) >= batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	err := flush()
	done.Unfinished = rows - done.Requests
	return err
}
