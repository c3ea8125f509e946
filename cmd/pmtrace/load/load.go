package load

import (
	"context"
	"sync"
	"time"
)

// Request is one as its client saw it. Times are since the load began.
type Request struct {
	N      int           `json:"n"`
	ID     string        `json:"id,omitempty"` // the server's
	Sent   time.Duration `json:"sent_ns"`
	First  time.Duration `json:"first_ns,omitempty"` // event of its stream
	Last   time.Duration `json:"last_ns,omitempty"`
	Asked  int           `json:"asked_tokens"`
	Prompt int           `json:"prompt_tokens"` // as the server counts
	Output int           `json:"output_tokens"`
	Finish string        `json:"finish_reason,omitempty"`
	Error  string        `json:"error,omitempty"`
}

// Result is a load that was made.
type Result struct {
	Took     time.Duration
	Requests []Request // in the order of their ends
}

const (
	// failurePause is how long a client waits after a request that failed.
	failurePause = 100 * time.Millisecond
	// inFlight is how long requests may go on after the load's end.
	inFlight = 2 * time.Minute
)

// Run makes the load until the plan or ctx ends it; requests that run when ctx ends are
// errors. The server was looked at before.
func Run(ctx context.Context, s *Server, p Plan) (*Result, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	began := time.Now()
	now := func() time.Duration { return time.Since(began) }
	work := make(chan *ask)
	ended := make(chan Request)
	var clients sync.WaitGroup
	for range p.Concurrency {
		clients.Go(func() {
			for q := range work {
				r := s.complete(ctx, q, now)
				ended <- r
				if r.Error != "" { // a server that refuses all is not to be hammered
					time.Sleep(failurePause)
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		hand(ctx, newAsks(&p, s.tokens), work)
		close(work)
		defer time.AfterFunc(inFlight, cancel).Stop()
		clients.Wait()
		close(ended)
	}()
	r := &Result{}
	for q := range ended {
		r.Requests = append(r.Requests, q)
	}
	r.Took = now()
	return r, nil
}

// hand gives requests to the clients as the plan says.
func hand(ctx context.Context, a *asks, work chan<- *ask) {
	var over <-chan time.Time
	if a.plan.Time > 0 {
		over = time.After(a.plan.Time)
	}
	due := time.Now()
	for q := a.next(); q != nil; q = a.next() {
		due = due.Add(q.after)
		if wait := time.Until(due); q.after > 0 && wait > 0 {
			select {
			case <-time.After(wait):
			case <-over:
				return
			case <-ctx.Done():
				return
			}
		}
		select {
		case work <- q:
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}
