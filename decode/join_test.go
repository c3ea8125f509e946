package decode_test

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/go-quicktest/qt"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pmtrace/pmtrace/decode/record"
)

// servers are kinds of servers: what differs between versions and settings.
func servers() map[string]simConfig {
	base := simConfig{
		caching: true, blocks: 60, blockSize: 8, maxSeqs: 8, maxTokens: 64,
		requests: 120, prompt: 120, outputs: 40, sharing: 3,
	}
	with := func(f func(*simConfig)) simConfig {
		c := base
		f(&c)
		return c
	}
	return map[string]simConfig{
		"sync":     base,
		"roomy":    with(func(c *simConfig) { c.blocks = 4000 }),
		"async":    with(func(c *simConfig) { c.async = true }),
		"async v2": with(func(c *simConfig) { c.async, c.v2, c.front, c.setOfReset = true, true, true, true }),
		"v2":       with(func(c *simConfig) { c.v2, c.front = true, true }),
		"no cache": with(func(c *simConfig) { c.caching = false }),
		"aborts":   with(func(c *simConfig) { c.abort = 0.05; c.async = true }),
		"reset": with(func(c *simConfig) {
			c.reset, c.setOfReset, c.async, c.v2 = 0.02, true, true, true
		}),
		"reset unlisted": with(func(c *simConfig) { c.reset = 0.02 }),
		"drafts":         with(func(c *simConfig) { c.drafts = 3 }),
		"small events":   with(func(c *simConfig) { c.rowsInEvent = 3; c.async = true; c.abort = 0.02 }),
		"one at a time":  with(func(c *simConfig) { c.maxSeqs = 1 }),
	}
}

// TestRowsAreTheTruth: without losses, every row is what the simulated server did.
func TestRowsAreTheTruth(t *testing.T) {
	for name, c := range servers() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(6) {
				c.seed = seed
				s := newSim(c)
				s.run()
				got, sum := replay(t, s.events)
				compare(t, s, got)
				qt.Assert(t, qt.HasLen(got.Losses, 0), qt.Commentf("seed %d", seed))
				qt.Assert(t, qt.Equals(sum.Lost, 0))
				qt.Assert(t, qt.Equals(sum.Steps, int64(len(got.Steps))))
			}
		})
	}
}

// TestAttachInTheMiddle: everything from the first seen step on is exact, and
// what began before is marked.
func TestAttachInTheMiddle(t *testing.T) {
	for name, c := range servers() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(6) {
				c.seed, c.attachAt = seed, 20+int(seed)*7
				s := newSim(c)
				s.run()
				got, _ := replay(t, s.events)
				compare(t, s, got)
			}
		})
	}
}

func compare(t *testing.T, s *sim, got *tables) {
	t.Helper()
	want := &s.truth
	s.fillOwners()
	byUID := func(a, b record.RequestRow) int { return cmp.Compare(a.RequestUID, b.RequestUID) }
	slices.SortFunc(want.Requests, byUID)
	slices.SortFunc(got.Requests, byUID)
	byStep := func(a, b record.PreemptionRow) int {
		return cmp.Or(cmp.Compare(a.StepID, b.StepID), cmp.Compare(a.RequestUID, b.RequestUID))
	}
	slices.SortFunc(want.Preemptions, byStep)
	slices.SortFunc(got.Preemptions, byStep)
	byName := func(a, b record.CPUOperationRow) int {
		return cmp.Or(cmp.Compare(*a.StepID, *b.StepID), cmp.Compare(a.Operation, b.Operation))
	}
	slices.SortFunc(want.CPU, byName)
	slices.SortFunc(got.CPU, byName)
	check(t, s, "steps", want.Steps, got.Steps)
	check(t, s, "step_requests", want.StepRequests, got.StepRequests)
	check(t, s, "kv_usage", want.Usage, got.Usage)
	check(t, s, "kv_blocks", want.KVBlocks, got.KVBlocks)
	check(t, s, "preemptions", want.Preemptions, got.Preemptions)
	check(t, s, "requests", want.Requests, got.Requests)
	check(t, s, "cpu_operations", want.CPU, got.CPU)
	for i := range got.Evictions {
		if i < len(want.Evictions) {
			checkIdle(t, s, &want.Evictions[i], &got.Evictions[i])
		}
	}
	check(t, s, "kv_evictions", want.Evictions, got.Evictions)
}

func check[T any](t *testing.T, s *sim, table string, want, got []T) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		if !reflect.DeepEqual(want[i], got[i]) {
			t.Fatalf("seed %d: %s, row %d (-want +got):\n%s", s.seed, table, i, gocmp.Diff(want[i], got[i]))
		}
	}
	if len(want) != len(got) {
		t.Fatalf("seed %d: %s: %d rows, want %d", s.seed, table, len(got), len(want))
	}
}

// checkIdle allows for the time between a touch and the call's first operation.
func checkIdle(t *testing.T, s *sim, want, got *record.KVEvictionRow) {
	t.Helper()
	if !want.BirthKnown { // lower bounds
		if got.LifetimeNS < 0 || got.IdleNS < 0 || got.IdleNS > got.LifetimeNS {
			t.Fatalf("seed %d: lifetime %d, idle %d", s.seed, got.LifetimeNS, got.IdleNS)
		}
		want.LifetimeNS, want.IdleNS = got.LifetimeNS, got.IdleNS
	}
	if want.BirthKnown && got.BirthKnown {
		if d := want.IdleNS - got.IdleNS; d < -20_000 || d > 20_000 {
			t.Fatalf("seed %d: block %d: idle %d, want %d", s.seed, got.BlockID, got.IdleNS, want.IdleNS)
		}
		got.IdleNS = want.IdleNS
	}
}

// fillOwners completes the truth: the trace knows an operation's owner also
// where the request was announced only after it, by the same schedule call.
func (s *sim) fillOwners() {
	for i, r := range s.owners {
		u := &s.truth.Usage[i]
		u.RequestUID = s.ownerAt(r, u)
	}
	for i := range s.truth.KVBlocks {
		b := &s.truth.KVBlocks[i]
		b.RequestUID = s.truth.Usage[b.OpID].RequestUID
	}
	uids := map[int64]*int64{}
	for i := range s.truth.Usage {
		u := &s.truth.Usage[i]
		uids[u.OpID] = u.RequestUID
	}
	births := map[string]*int64{}
	for i := range s.truth.KVBlocks {
		b := &s.truth.KVBlocks[i]
		if b.Op == "alloc" {
			births[fmt.Sprint(b.BlockID, b.TimeNS)] = b.RequestUID
		}
	}
	for i := range s.truth.Evictions {
		e := &s.truth.Evictions[i]
		e.TakenByUID = uids[e.OpID]
		if e.BirthNS != nil {
			e.RequestUID = births[fmt.Sprint(e.BlockID, *e.BirthNS)]
		}
	}
}

func (s *sim) ownerAt(r *simRequest, u *record.KVUsageRow) *int64 {
	if !r.known {
		return nil
	}
	if u.TimeNS >= r.knownFrom {
		return i64(r.uid)
	}
	return nil
}
