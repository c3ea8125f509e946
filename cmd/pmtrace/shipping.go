package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pmtrace/pmtrace/output/fleet"
	"github.com/pmtrace/pmtrace/output/session"
)

// How a session is shipped while it is traced.
const (
	shipEvery = 5 * time.Second // looks for complete parts
	shipFirst = time.Second     // after the first failure; twice as long after each
	shipMost  = 5 * time.Minute
	// shipPatience is how long the end of a session waits for a store that takes nothing.
	shipPatience = time.Minute
	// Trouble that lasts is said again after this time.
	shipRemind = 10 * time.Minute
)

// shipping brings a session to a store beside its trace. The session's directory is the
// queue: what is not shipped stays there, whatever the store does, and tracing neither
// waits nor knows.
type shipping struct {
	app    *app
	opts   shipOptions
	status *status // of the trace, whose line ours must not end; may be nil

	dir      *session.Dir // nil before the session begins
	unopened error        // why it is nil afterwards
	shipment *fleet.Shipment
	cancel   context.CancelFunc
	done     chan struct{} // closed when the loop has ended

	failures int // in a row
	failed   int // in all
	said     time.Time
}

// shipping prepares what --ship-to asks for; its end belongs behind the trace. The
// options' begun leads it to the session.
func (a *app) shipping(o *traceOptions, st *status) *shipping {
	s := &shipping{app: a, opts: o.ship, status: st}
	if o.ship.store == nil {
		return s
	}
	next := o.begun
	o.begun = func(path string) {
		s.begin(path)
		if next != nil {
			next(path)
		}
	}
	return s
}

func (s *shipping) begin(path string) {
	dir, err := session.Open(path)
	if err != nil {
		s.unopened = err
		return
	}
	s.dir = dir
	s.shipment = fleet.New(s.opts.store, dir, s.opts.fleet())
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan struct{})
	go func() {
		defer close(s.done)
		s.loop(ctx)
	}()
}

// loop ships parts as they become complete, until ctx ends.
func (s *shipping) loop(ctx context.Context) {
	for pause := shipEvery; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		err := s.shipment.Sync(ctx)
		if ctx.Err() != nil {
			return
		}
		if pause = shipEvery; err != nil {
			pause = s.trouble(err)
		} else if s.failures > 0 {
			s.say("ships to %s again, after %d failures", s.opts.store, s.failures)
			s.failures = 0
		}
	}
}

// trouble counts a failure, says it now and then, and returns how long to wait.
func (s *shipping) trouble(err error) time.Duration {
	pause := min(shipFirst<<min(s.failures, 16), shipMost)
	s.failures++
	s.failed++
	if now := s.app.world.now(); s.failures == 1 || now.Sub(s.said) >= shipRemind {
		s.said = now
		waiting, werr := s.shipment.Waiting()
		if werr != nil {
			waiting = 0
		}
		s.say("cannot ship to %s: %s; %d parts wait in the session, and it is tried again (failure %d)", s.opts.store, oneLine(err), waiting, s.failures)
	}
	return pause
}

func (s *shipping) say(format string, args ...any) {
	name := ""
	if s.status != nil {
		s.status.done()
		if s.status.name != "" {
			name = s.status.name + ": "
		}
	}
	fmt.Fprintln(s.app.stderr, "pmtrace: "+name+fmt.Sprintf(format, args...))
}

// end ships the rest of a session that has ended.
func (s *shipping) end(r result) result {
	if s.dir == nil {
		if s.unopened != nil && r.err == nil {
			r.err = failed("the session is not shipped", rootCause(s.unopened), "pmtrace ship "+r.path+" "+s.opts.store.String()+" does it")
		}
		return r
	}
	defer s.dir.Close()
	s.cancel()
	<-s.done
	err := s.rest()
	if err == nil {
		return r
	}
	var f *failure
	switch {
	case r.err != nil && errors.Is(err, fleet.ErrUnfinished): // that says more
	case r.err != nil:
		s.say("not shipped to %s: %s", s.opts.store, oneLine(err))
	case errors.As(err, &f):
		r.err = f
	default:
		r.err = failed("the session is not shipped to "+s.opts.store.String(), rootCause(err), "it is complete here: pmtrace ship "+s.dir.Path()+" "+s.opts.store.String())
	}
	return r
}

// rest tries as long as there is progress, and shipPatience without.
func (s *shipping) rest() error {
	s.failures = 0
	last, progress := s.app.world.now(), s.shipment.Tally
	for {
		err := s.shipment.Finish(context.Background())
		if err == nil {
			break
		}
		var other *fleet.OtherError
		if errors.As(err, &other) || errors.Is(err, fleet.ErrUnfinished) || errors.Is(err, fleet.ErrNothing) {
			return err // time does not help
		}
		now := s.app.world.now()
		if s.shipment.Tally != progress {
			last, progress = now, s.shipment.Tally
		}
		if now.Sub(last) > shipPatience {
			return err
		}
		time.Sleep(min(s.trouble(err), shipPatience/4))
	}
	text := tallied(&s.shipment.Tally)
	if s.failed > 0 {
		text += fmt.Sprintf("; %d attempts failed before", s.failed)
	}
	s.say("shipped to %s: %s", s.opts.store, text)
	return s.app.isThere(context.Background(), s.shipment, s.dir, &s.opts)
}
