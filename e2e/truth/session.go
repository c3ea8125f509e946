package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/pmtrace/pmtrace/decode"
	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/journal"
	out "github.com/pmtrace/pmtrace/output/session"
)

// session is the tables of a session and the facts of its journal.
type session struct {
	facts       out.Facts
	steps       []record.StepRow
	rows        []record.StepRequestRow
	requests    []record.RequestRow
	preemptions []record.PreemptionRow
	usage       []record.KVUsageRow
	blocks      []record.KVBlockRow
	evictions   []record.KVEvictionRow
	losses      []record.LossRow
}

func readSession(path string) (session, error) {
	var s session
	dir, err := out.Open(path)
	if err != nil {
		return s, err
	}
	defer dir.Close()
	if s.facts, err = readFacts(dir.FS()); err != nil {
		return s, err
	}
	if len(s.facts.Engines) == 0 {
		return s, errors.New("the session has no engine")
	}
	return s, errors.Join(
		load(dir, &s.steps), load(dir, &s.rows), load(dir, &s.requests), load(dir, &s.preemptions),
		load(dir, &s.usage), load(dir, &s.blocks), load(dir, &s.evictions), load(dir, &s.losses),
	)
}

func load[T any](dir *out.Dir, rows *[]T) error {
	for row, err := range out.Rows[T](dir) {
		if err != nil {
			return err
		}
		*rows = append(*rows, *row)
	}
	return nil
}

// readFacts reads the facts of the journal, which know the session's zero.
func readFacts(dir fs.FS) (out.Facts, error) {
	var facts out.Facts
	sub, err := fs.Sub(dir, "journal")
	if err != nil {
		return facts, err
	}
	r, err := journal.Open(sub)
	if err != nil {
		return facts, err
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return facts, nil
		}
		if err != nil {
			return facts, err
		}
		if rec.Kind != decode.RecordFact {
			continue
		}
		var f record.Fact
		if err := json.Unmarshal(rec.Payload, &f); err != nil {
			return facts, fmt.Errorf("journal: fact: %w", err)
		}
		facts.Add(f)
	}
}

// engine is the one engine of the session, or the first of several, which are alike.
func (s *session) engine() *record.Engine { return &s.facts.Engines[0] }

// watched says whether a watch was in force: what it gives must be there.
func (s *session) watched(name string) bool {
	return !slices.ContainsFunc(s.facts.Engines, func(e record.Engine) bool { return !slices.Contains(e.Watches, name) })
}

// outputs says whether the outputs of updates were read.
func (s *session) outputs() bool { return s.watched("update_return") }

// queue says whether the free block queue was watched.
func (s *session) queue() bool { return s.watched("free_blocks") }

// monotonic is a time of the session as seconds of CLOCK_MONOTONIC.
func (s *session) monotonic(ns int64) float64 {
	return float64(s.facts.Start.MonoNS+ns) / 1e9
}

// armed is when tracing began, on the session's clock.
func (s *session) armed() int64 { return s.engine().MonoNS - s.facts.Start.MonoNS }

// last is the newest time of any step.
func (s *session) last() int64 {
	if len(s.steps) == 0 {
		return 0
	}
	st := &s.steps[len(s.steps)-1]
	if st.EndNS != nil {
		return *st.EndNS
	}
	return st.ScheduledNS
}

// stepKey names a step.
type stepKey struct {
	engine int32
	step   int64
}

// index finds rows.
type index struct {
	stepAt  map[stepKey]*record.StepRow
	rowsOf  map[stepKey][]*record.StepRequestRow // by step
	rowsFor map[int64][]*record.StepRequestRow   // by request, in the order of the steps
	byUID   map[int64]*record.RequestRow
	byID    map[string][]*record.RequestRow // by the client's id
}

func newIndex(s *session) *index {
	ix := &index{
		stepAt: map[stepKey]*record.StepRow{}, rowsOf: map[stepKey][]*record.StepRequestRow{},
		rowsFor: map[int64][]*record.StepRequestRow{}, byUID: map[int64]*record.RequestRow{},
		byID: map[string][]*record.RequestRow{},
	}
	for i := range s.steps {
		ix.stepAt[keyOf(&s.steps[i])] = &s.steps[i]
	}
	for i := range s.rows {
		r := &s.rows[i]
		key := stepKey{r.Engine, r.StepID}
		ix.rowsOf[key] = append(ix.rowsOf[key], r)
		ix.rowsFor[r.RequestUID] = append(ix.rowsFor[r.RequestUID], r)
	}
	for i := range s.requests {
		r := &s.requests[i]
		ix.byUID[r.RequestUID] = r
		ix.byID[r.ExternalID] = append(ix.byID[r.ExternalID], r)
	}
	return ix
}

func keyOf(st *record.StepRow) stepKey { return stepKey{st.Engine, st.StepID} }

// num is the number behind a pointer, or -1.
func num[T int32 | int64](p *T) int64 {
	if p == nil {
		return -1
	}
	return int64(*p)
}

// show is the value behind a pointer, or null.
func show[T any](p *T) string {
	if p == nil {
		return "null"
	}
	return fmt.Sprint(*p)
}
