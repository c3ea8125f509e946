package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
)

// recorder gives every record to the journal and to the pipeline, the same
// bytes in the same order, so that decoding the journal makes the same tables.
//
// Events come from the tracer's goroutine, facts from another: the lock makes
// their order one. An event waits for the journal alone, since a full ring
// would cost more than a wait.
type recorder struct {
	mu      sync.Mutex
	journal journalWriter
	pipe    pipeline
	clock   func() record.Clock
	events  uint64
	rotated bool
	flushed int64 // when
	closed  bool

	journalErr error // ends tracing
	pipeErr    error // the journal goes on; decode makes the tables again
}

// event takes an event of the tracer.
func (r *recorder) event(kind byte, payload []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events++
	return r.add(kind, payload)
}

// fact takes a fact.
func (r *recorder) fact(f record.Fact) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addFact(f)
}

func (r *recorder) addFact(f record.Fact) error {
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("fact: %w", err)
	}
	return r.add(journal.KindFact, b)
}

// errClosed meets what did not end in time with the trace.
var errClosed = errors.New("the session has ended")

func (r *recorder) add(kind byte, payload []byte) error {
	if r.closed {
		return errClosed
	}
	if r.journalErr != nil {
		return r.journalErr
	}
	if err := r.journal.Append(kind, payload); err != nil {
		r.journalErr = err
		return err
	}
	if r.pipeErr == nil {
		r.pipeErr = r.pipe.Record(kind, payload)
	}
	return r.newFile()
}

// newFile writes the clock where the journal went on in a new file: wall time
// is known at the start of each.
func (r *recorder) newFile() error {
	if !r.rotated {
		return nil
	}
	r.rotated = false
	c := r.clock()
	return r.addFact(record.Fact{Clock: &c})
}

// attach keeps events of an engine, or later ones of a worker, from being written before the
// facts about it: arm arms the watches and returns the facts, none if it failed.
func (r *recorder) attach(arm func() ([]record.Fact, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	facts, err := arm()
	if err != nil {
		return
	}
	for _, f := range facts {
		if r.addFact(f) != nil {
			return // broken says it
		}
	}
}

// broken is why the journal takes no more.
func (r *recorder) broken() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.journalErr
}

// kept looks whether what is written to is still there.
func (r *recorder) kept(look func() error) error {
	r.mu.Lock() // the journal may go on in a new file just now
	defer r.mu.Unlock()
	return look()
}

// flushEvery is how much time's events may be lost with us, on a machine with a
// core to spare: a little less than two polls of the ring take, since idle comes
// after each.
const flushEvery = 450 * time.Millisecond

// idle is called when all events there are have been taken. Twice a second it
// makes what was recorded survive our death: just then nothing newer waits.
func (r *recorder) idle() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.journalErr != nil {
		return r.journalErr
	}
	now := r.clock().MonoNS
	if now-r.flushed < flushEvery.Nanoseconds() {
		return nil
	}
	r.flushed = now
	if r.journalErr = r.journal.Save(); r.journalErr != nil {
		return r.journalErr
	}
	return r.newFile()
}

func (r *recorder) live() (progress, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pipe.Live(), r.events
}

// close completes journal and tables.
func (r *recorder) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if err := r.journal.Close(); r.journalErr == nil {
		r.journalErr = err
	}
	if err := r.pipe.Close(); r.pipeErr == nil {
		r.pipeErr = err
	}
}
