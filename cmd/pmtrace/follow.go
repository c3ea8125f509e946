package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pmtrace/pmtrace/probes/target"
)

// attach --follow goes on when its server comes back: another process, but on the same port
// or by the same command.

const (
	followLook = 500 * time.Millisecond // for the server
	// A server that is there but cannot be traced is tried again, twice as long after each time.
	followAgain     = 2 * time.Second
	followAgainMost = 2 * time.Minute
)

// followed is a server that has ended and is waited for.
type followed struct {
	port    int // 0: it had none
	command []string
	ended   int64 // CLOCK_MONOTONIC, ns
}

// startSlack is how much earlier than it did a process may seem to have begun: the kernel
// tells it in ticks of 10 ms.
const startSlack = 50 * time.Millisecond

func newFollowed(s target.Server, ended int64) followed {
	f := followed{port: s.Port, ended: ended}
	if root := s.Process(s.Root); root != nil {
		f.command = root.Command
	}
	return f
}

// back is the server that came up in its place: after its end, on its port, rather with its
// command than with another; where no port is known, with its command. One that was there
// before, in a container with ports of its own, is another one.
func (f *followed) back(servers []target.Server) (target.Server, bool) {
	best, found := 0, target.Server{}
	for i := range servers {
		s := &servers[i]
		root := s.Process(s.Root)
		if root == nil || root.StartNS < f.ended-startSlack.Nanoseconds() {
			continue
		}
		likeness := 0
		if f.port != 0 && s.Port == f.port {
			likeness = 2
		}
		if slices.Equal(root.Command, f.command) && (likeness > 0 || f.port == 0) {
			likeness++
		}
		if likeness > best {
			best, found = likeness, *s
		}
	}
	return found, best > 0
}

// followServer traces a server and whoever comes in its place, a session each, until ctx ends.
func (a *app) followServer(ctx context.Context, o traceOptions, s target.Server, st *status) result {
	var last result
	for tries := 0; ; {
		began, before := time.Now(), last.path
		r := a.traceAndShip(ctx, o, modeAttach, s, st)
		if r.path != "" {
			last.path = r.path
		}
		last.lost += r.lost
		if ctx.Err() != nil {
			if r.path != "" || before == "" { // else the end came before another session began
				last.err = r.err
			}
			return last
		}
		alive := a.runs(s)
		if r.err != nil {
			if alive && last.path == "" {
				return r // it could not be traced from the beginning
			}
			a.sayOf(st.name, r.err)
		}
		if !alive {
			tries = 0
			st.done()
			f := newFollowed(s, r.endedNS)
			fmt.Fprintf(a.stderr, "pmtrace: %swaiting for the server to come back%s\n", named(st.name), f.where())
			if s = a.await(ctx, f); s.Root == 0 {
				return last
			}
			continue
		}
		if time.Since(began) >= everySteady {
			tries = 0
		}
		pause := min(followAgain<<min(tries, 16), followAgainMost)
		tries++
		if !sleep(ctx, pause) {
			return last
		}
	}
}

func named(name string) string {
	if name == "" {
		return ""
	}
	return name + ": "
}

func (f *followed) where() string {
	if f.port == 0 {
		return ""
	}
	return fmt.Sprintf(" on port %d", f.port)
}

// runs says whether a server's root has not ended.
func (a *app) runs(s target.Server) bool {
	root := s.Process(s.Root)
	if root == nil {
		return false
	}
	h, err := a.world.proc.Open(*root)
	if err != nil {
		return false
	}
	defer h.Close()
	return !h.Ended()
}

// await waits for a server that came back; none when ctx has ended.
func (a *app) await(ctx context.Context, f followed) target.Server {
	for {
		began := time.Now()
		servers, err := a.world.proc.List()
		if err == nil {
			if s, ok := f.back(servers); ok {
				return s
			}
		}
		if !sleep(ctx, max(followLook, 20*time.Since(began))) { // a machine may have very many processes
			return target.Server{}
		}
	}
}

// sleep returns false if ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
