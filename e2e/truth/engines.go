package main

import (
	"fmt"

	"github.com/pmtrace/pmtrace/decode/record"
)

// of is what there is of one engine: data-parallel ones share clients and counters, and nothing else.
func (in *input) of(e *record.Engine) *input {
	n := int32(e.Engine)
	part, all := *in, &in.session
	part.log = only(in.log, func(it *iteration) bool { return it.engine == n })
	part.session = session{
		facts:       all.facts,
		steps:       only(all.steps, func(r *record.StepRow) bool { return r.Engine == n }),
		rows:        only(all.rows, func(r *record.StepRequestRow) bool { return r.Engine == n }),
		requests:    only(all.requests, func(r *record.RequestRow) bool { return r.Engine == n }),
		preemptions: only(all.preemptions, func(r *record.PreemptionRow) bool { return r.Engine == n }),
		usage:       only(all.usage, func(r *record.KVUsageRow) bool { return r.Engine == n }),
		blocks:      only(all.blocks, func(r *record.KVBlockRow) bool { return r.Engine == n }),
		evictions:   only(all.evictions, func(r *record.KVEvictionRow) bool { return r.Engine == n }),
	}
	part.session.facts.Engines = []record.Engine{*e}
	return &part
}

func only[T any](rows []T, keep func(*T) bool) []T {
	var list []T
	for i := range rows {
		if keep(&rows[i]) {
			list = append(list, rows[i])
		}
	}
	return list
}

// compareEngines makes the comparisons of what each engine does for itself.
func compareEngines(t *table, in *input, ix *index) {
	engines := in.session.facts.Engines
	t.same("engines", max(in.engines, 1), len(engines))
	for i := range engines {
		part := in
		if len(engines) > 1 {
			part = in.of(&engines[i])
			t.prefix = fmt.Sprintf("engine %d: ", engines[i].Engine)
			t.within("requests: some", 1, float64(len(in.session.requests)-1), float64(len(part.session.requests)))
		}
		compareEngine(t, part, ix)
	}
	t.prefix = ""
}

func compareEngine(t *table, in *input, ix *index) {
	if in.hasLog {
		checkLog(t, in)
	}
	if in.async {
		t.same("asynchronous scheduling", true, in.session.engine().AsyncSched)
	}
	checkSteps(t, in, ix)
	checkRequests(t, in, ix)
	checkPreemptions(t, in, ix)
	checkBlocks(t, in)
}
