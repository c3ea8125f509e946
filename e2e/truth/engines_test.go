package main

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

// parallel is the small session twice, by two data-parallel engines under one server.
func parallel() *input {
	in, other := made(), made()
	s, o := &in.session, &other.session
	in.engines = 2
	o.facts.Engines[0].Engine = 1
	s.facts.Engines = append(s.facts.Engines, o.facts.Engines...)
	for i := range o.steps {
		o.steps[i].Engine = 1
	}
	for i := range o.rows {
		o.rows[i].Engine, o.rows[i].RequestUID = 1, o.rows[i].RequestUID+2
	}
	for i := range o.requests {
		r := &o.requests[i]
		r.Engine, r.RequestUID, r.ExternalID = 1, r.RequestUID+2, r.ExternalID+"1"
	}
	for i := range o.preemptions {
		o.preemptions[i].Engine, o.preemptions[i].RequestUID = 1, o.preemptions[i].RequestUID+2
	}
	for i := range o.usage {
		o.usage[i].Engine = 1
	}
	for i := range o.blocks {
		o.blocks[i].Engine = 1
	}
	for i := range o.evictions {
		o.evictions[i].Engine = 1
	}
	s.steps, s.rows, s.requests = append(s.steps, o.steps...), append(s.rows, o.rows...), append(s.requests, o.requests...)
	s.preemptions, s.usage = append(s.preemptions, o.preemptions...), append(s.usage, o.usage...)
	s.blocks, s.evictions = append(s.blocks, o.blocks...), append(s.evictions, o.evictions...)
	for _, it := range other.log {
		it.engine = 1
		in.log = append(in.log, it)
	}
	for _, c := range other.clients {
		c.ClientID, c.ExternalID = c.ClientID+"1", c.ExternalID+"1"
		in.clients = append(in.clients, c)
	}
	for name := range in.metrics {
		in.metrics[name] *= 2
	}
	return in
}

func TestParallelEngines(t *testing.T) {
	table := compare(parallel())
	var out strings.Builder
	table.print(&out)
	qt.Check(t, qt.Equals(table.mismatches(), 0), qt.Commentf("%s", out.String()))
	for _, plant := range []struct {
		check string
		do    func(*input)
	}{
		{"engines", func(in *input) { in.session.facts.Engines = in.session.facts.Engines[:1] }},
		{"engine 1: log: tokens a step", func(in *input) { in.log[5].genTokens++ }},
		{"engine 0: log: iterations = steps with tokens", func(in *input) { in.log[7].engine = 0 }},
		{"engine 1: steps: ids follow each other", func(in *input) { in.session.steps[6].StepID = 9 }},
		{"engine 1: kv: no block handed out twice or freed twice", func(in *input) { in.session.blocks[len(in.session.blocks)/2+1].BlockID = 1 }},
		{"engine 0: requests: some", func(in *input) { in.session.requests = in.session.requests[2:] }},
		{"/metrics: generation_tokens_total", func(in *input) { in.session.requests[3].OutputTokens = p(int32(1)) }},
		{"/metrics: iteration_tokens_total_count", func(in *input) { in.metrics["vllm:iteration_tokens_total_count"]-- }},
	} {
		in := parallel()
		plant.do(in)
		c := find(compare(in), plant.check)
		if qt.Check(t, qt.IsNotNil(c), qt.Commentf("%s", plant.check)) {
			qt.Check(t, qt.Not(qt.Equals(c.differ, 0)), qt.Commentf("%s: not seen", plant.check))
		}
	}
}

// TestPooling: what ends a pooling request is an output without tokens, of the step that
// computed the last of its prompt.
func TestPooling(t *testing.T) {
	pooled := func(scheduled int32) (*record.RequestRow, history) {
		r := &record.RequestRow{
			PromptTokens: p(int32(10)), CachedTokens: p(int32(0)), OutputTokens: p(int32(0)), Reason: p("stop"),
			Scheduled: 6 + int64(scheduled), FromStart: true,
		}
		return r, historyOf(r, []*record.StepRequestRow{
			{Kind: record.KindPrefill, Computed: p(int32(0)), Scheduled: 6, PromptTokens: p(int32(10))},
			{StepID: 1, Kind: record.KindPrefill, Computed: p(int32(6)), Scheduled: scheduled, OutputTokens: p(int32(0)), PromptTokens: p(int32(10))},
		})
	}
	r, h := pooled(4)
	qt.Check(t, qt.Equals(h.account(r, false), ""))
	r, h = pooled(3)
	qt.Check(t, qt.Not(qt.Equals(h.account(r, false), "")))

	var f frontend
	r, _ = pooled(4)
	f.add(r, &client{Prompt: 10, Reason: "stop"})
	qt.Check(t, qt.Equals(f.prompt, bounds{10, 10}))
	qt.Check(t, qt.Equals(f.output, bounds{0, 0}))
	qt.Check(t, qt.Equals(f.stop, bounds{1, 1}))
	f = frontend{}
	r.Reason = p("abort")
	f.add(r, &client{Prompt: 10, Reason: "abort"})
	qt.Check(t, qt.Equals(f.prompt, bounds{0, 0}))
}
