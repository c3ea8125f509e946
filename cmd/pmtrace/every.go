package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pmtrace/pmtrace/probes/target"
)

// attach --all goes on for as long as the machine runs: servers come and go.
const (
	everyLook = 2 * time.Second // for servers that have come up
	// How long to wait before a server is tried again that could not be traced; twice as
	// long after each time.
	everyAgain     = 10 * time.Second
	everyAgainMost = 10 * time.Minute
	// A trace that went well for so long had no trouble before.
	everySteady = 10 * time.Minute
)

// serverKey tells a server from another one that got its root's PID later.
type serverKey struct {
	pid   int
	start uint64
}

// watched is a server that is or was traced.
type watched struct {
	tracing  bool
	began    time.Time
	failures int
	next     time.Time // not before
}

// ended is what a trace's goroutine says when it lets go of the server.
type ended struct {
	key serverKey
	err error
}

// every traces all servers of a machine. One goroutine owns it.
type every struct {
	app     *app
	opts    *traceOptions
	backlog *backlog
	servers map[serverKey]*watched
	ended   chan ended
	traces  sync.WaitGroup // and what is shipped after them
}

// attachAll traces each server that runs here or comes up, a session each, until ctx ends.
func (a *app) attachAll(ctx context.Context, o *attachOptions) error {
	if err := a.preflight(&o.traceOptions); err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(o.duration), errDuration)
		defer cancel()
	}
	each := o.traceOptions
	each.duration = o.sessionTime
	e := &every{app: a, opts: &each, servers: map[serverKey]*watched{}, ended: make(chan ended)}
	fmt.Fprintln(a.stderr, "pmtrace: waiting for vLLM servers to trace")
	e.backlog = a.beginBacklog(&each)
	defer e.backlog.end()
	e.run(ctx)
	return nil
}

func (e *every) run(ctx context.Context) {
	defer e.wait()
	for look := time.NewTimer(0); ; {
		select {
		case <-ctx.Done():
			look.Stop()
			return
		case end := <-e.ended:
			e.over(end)
			look.Reset(0) // its next session begins at once
		case <-look.C:
			look.Reset(e.look(ctx))
		}
	}
}

// wait waits for the traces, which end with the context, and lets them speak.
func (e *every) wait() {
	done := make(chan struct{})
	go func() {
		e.traces.Wait()
		close(done)
	}()
	for {
		select {
		case <-e.ended:
		case <-done:
			return
		}
	}
}

// look begins to trace what is not traced, and returns when to look again.
func (e *every) look(ctx context.Context) time.Duration {
	began := time.Now()
	servers, err := e.app.world.proc.List()
	if err != nil {
		fmt.Fprintln(e.app.stderr, "pmtrace:", failed("cannot look for servers", rootCause(err), "").Error())
	}
	pause := max(everyLook, 50*time.Since(began)) // a machine may have very many processes
	if err != nil {
		return pause
	}
	there := map[serverKey]bool{}
	for i := range servers {
		s := &servers[i]
		root := s.Process(s.Root)
		if root == nil {
			continue
		}
		key := serverKey{s.Root, root.Start}
		there[key] = true
		w := e.servers[key]
		if w == nil {
			w = &watched{}
			e.servers[key] = w
		}
		if !w.tracing && !time.Now().Before(w.next) && !e.traced(s, key) {
			e.trace(ctx, key, w, *s)
		}
	}
	for key, w := range e.servers {
		if !there[key] && !w.tracing {
			delete(e.servers, key)
		}
	}
	return pause
}

// traced says whether a part of a tree is traced already: as a server comes up, its root
// may turn out to be a process above.
func (e *every) traced(s *target.Server, but serverKey) bool {
	for key, w := range e.servers {
		if p := s.Process(key.pid); key != but && w.tracing && p != nil && p.Start == key.start {
			return true
		}
	}
	return false
}

func (e *every) trace(ctx context.Context, key serverKey, w *watched, s target.Server) {
	w.tracing, w.began = true, time.Now()
	st := newStatus(e.app.stderr, fmt.Sprintf("server %d", s.Root), false, e.opts.logInterval)
	o := *e.opts
	o.begun = e.backlog.leave // its own shipping is for it
	ship := e.app.shipping(&o, st)
	e.traces.Go(func() {
		r := e.app.trace(ctx, &o, modeAttach, s, st)
		e.ended <- ended{key, r.err} // now: shipping takes its time
		shipped := ship.end(r)
		if shipped.err != nil {
			e.app.sayOf(st.name, shipped.err)
		}
		e.backlog.take(r.path)
	})
}

// over is the end of a trace: of its server as well, or of a session's time, or trouble.
func (e *every) over(end ended) {
	w := e.servers[end.key]
	w.tracing = false
	if time.Since(w.began) >= everySteady {
		w.failures = 0
	}
	if end.err == nil {
		w.failures, w.next = 0, time.Time{}
		return
	}
	w.next = time.Now().Add(min(everyAgain<<min(w.failures, 16), everyAgainMost))
	w.failures++
}

// sayOf tells of what concerns one of several servers.
func (a *app) sayOf(name string, err error) {
	var said exitCode
	if !errors.As(err, &said) {
		fmt.Fprintf(a.stderr, "pmtrace: %s: %s\n", name, err.Error())
	}
}
