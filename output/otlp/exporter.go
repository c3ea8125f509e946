package otlp

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pmtrace/pmtrace/output/live"
	"github.com/pmtrace/pmtrace/output/session"
)

// Options of an Exporter.
type Options struct {
	Endpoint Endpoint
	Interval time.Duration // between rounds of metrics; 10 s
	Queue    int           // requests and steps that wait at most; 4096
	Steps    bool          // are sent as traces, too
	// Snapshot gives the metrics.
	Snapshot func() live.Snapshot
	Now      func() time.Time
	// Report is told when deliveries begin to fail, and nil when they work again.
	Report func(error)
}

// batch is how many traces are delivered at once.
const batch = 256

// pause is how long they wait for more.
const pause = time.Second

// Exporter sends what a trace shows while it goes on.
type Exporter struct {
	opts   Options
	sender *sender
	queue  chan item

	mu      sync.Mutex
	target  live.Target
	failing bool

	requests, steps, rounds counts
	preemptions             atomic.Int64 // dropped

	stop    chan struct{}      // send what is left
	cancel  context.CancelFunc // do not
	workers sync.WaitGroup
}

type counts struct{ sent, dropped atomic.Int64 }

// Start begins to send.
func Start(o Options) (*Exporter, error) {
	if o.Interval <= 0 {
		o.Interval = 10 * time.Second
	}
	if o.Queue <= 0 {
		o.Queue = 4096
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := newSender(ctx, o.Endpoint)
	if err != nil {
		cancel()
		return nil, err
	}
	x := &Exporter{opts: o, sender: s, queue: make(chan item, o.Queue), stop: make(chan struct{}), cancel: cancel}
	x.workers.Go(func() { x.sendTraces(ctx) })
	x.workers.Go(func() { x.sendMetrics(ctx) })
	return x, nil
}

// Listener is a record.Sink that takes a trace's rows, and what is known of the server.
type Listener struct {
	*feed
	exporter *Exporter
}

// Listener returns one. It never waits: what finds the queue full is dropped.
func (x *Exporter) Listener() *Listener {
	f := newFeed(func(i item) {
		select {
		case x.queue <- i:
		default:
			x.countsOf(i).dropped.Add(1)
		}
	}, maxPreempted, func() { x.preemptions.Add(1) })
	f.steps = x.opts.Steps
	return &Listener{f, x}
}

// Describe takes what is known of the server.
func (l *Listener) Describe(f *session.Facts) {
	t := live.TargetOf(f)
	l.exporter.mu.Lock()
	defer l.exporter.mu.Unlock()
	l.exporter.target = t
}

func (x *Exporter) countsOf(i item) *counts {
	if i.step != nil {
		return &x.steps
	}
	return &x.requests
}

// Stats counts requests, rounds of metrics, steps, and where there are any the preemptions
// that are missing in requests.
func (x *Exporter) Stats() []live.Export {
	list := []live.Export{
		{Exporter: "otlp", Signal: "requests", Sent: x.requests.sent.Load(), Dropped: x.requests.dropped.Load()},
		{Exporter: "otlp", Signal: "metrics", Sent: x.rounds.sent.Load(), Dropped: x.rounds.dropped.Load()},
	}
	if x.opts.Steps {
		list = append(list, live.Export{Exporter: "otlp", Signal: "steps", Sent: x.steps.sent.Load(), Dropped: x.steps.dropped.Load()})
	}
	if n := x.preemptions.Load(); n > 0 {
		list = append(list, live.Export{Exporter: "otlp", Signal: "preemptions", Dropped: n})
	}
	return list
}

// Close sends what is left, until ctx ends, and counts the rest as dropped. No row may
// come any more.
func (x *Exporter) Close(ctx context.Context) error {
	close(x.stop)
	done := make(chan struct{})
	go func() {
		defer close(done)
		x.workers.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		x.cancel()
		<-done
	}
	x.cancel()
	return x.sender.close(ctx)
}

// sendTraces delivers the queue.
func (x *Exporter) sendTraces(ctx context.Context) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var list []item
	for {
		select {
		case i := <-x.queue:
			if list = append(list, i); len(list) < batch {
				continue
			}
		case <-tick.C:
		case <-x.stop:
			x.sendRest(ctx, list)
			return
		}
		x.deliver(ctx, list)
		list = list[:0]
	}
}

func (x *Exporter) sendRest(ctx context.Context, list []item) {
	for {
		select {
		case i := <-x.queue:
			if list = append(list, i); len(list) < batch {
				continue
			}
		default:
			x.deliver(ctx, list)
			return
		}
		x.deliver(ctx, list)
		list = list[:0]
	}
}

func (x *Exporter) deliver(ctx context.Context, list []item) {
	if len(list) == 0 {
		return
	}
	x.mu.Lock()
	t := x.target
	x.mu.Unlock()
	err := ctx.Err()
	if err == nil {
		err = x.sender.sendTraces(ctx, t, list)
	}
	for _, i := range list {
		x.countsOf(i).add(1, err)
	}
	x.went(err)
}

// sendMetrics delivers a round each interval, and one at the end.
func (x *Exporter) sendMetrics(ctx context.Context) {
	tick := time.NewTicker(x.opts.Interval)
	defer tick.Stop()
	for last := false; !last; {
		select {
		case <-tick.C:
		case <-x.stop:
			last = true
		}
		s := x.opts.Snapshot()
		if s.Target.SessionID == "" {
			continue // nothing is traced yet
		}
		err := ctx.Err()
		if err == nil {
			err = x.sender.sendMetrics(ctx, &s, x.opts.Now())
		}
		x.rounds.add(1, err)
		x.went(err)
	}
}

// shorten takes what gRPC wraps around a cause away.
func shorten(err error) error {
	if err == nil {
		return nil
	}
	const before = "desc = "
	words := err.Error()
	i := strings.LastIndex(words, before)
	if i < 0 {
		return err
	}
	return errors.New(strings.TrimPrefix(strings.Trim(words[i+len(before):], `"`), "transport: "))
}

// add counts a delivery. What an endpoint has refused in part counts as dropped.
func (c *counts) add(n int64, err error) {
	if err == nil {
		c.sent.Add(n)
	} else {
		c.dropped.Add(n)
	}
}

// went takes note of how a delivery went, and says so where that has changed.
func (x *Exporter) went(err error) {
	x.mu.Lock()
	changed := x.failing != (err != nil)
	x.failing = err != nil
	x.mu.Unlock()
	if changed && x.opts.Report != nil {
		x.opts.Report(shorten(err))
	}
}
