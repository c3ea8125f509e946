package main

import (
	"github.com/pmtrace/pmtrace/decode/record"
)

// clockSlack is by how much Request.arrival_time, which is wall time, may
// differ from the clock of everything else: the wall clock is being slewed.
const clockSlack = 0.005

// Reasons that a request ends with.
const (
	reasonStop   = "stop"
	reasonLength = "length"
	reasonAbort  = "abort"
)

// checkClients compares the requests with what the clients got.
func checkClients(t *table, in *input, ix *index) {
	s := &in.session
	there, once := t.count("client: request ids in requests"), t.count("client: request ids used once")
	known := map[string]bool{}
	var both []answered
	for i := range in.clients {
		c := &in.clients[i]
		id := c.id()
		known[id] = true
		rows := ix.byID[id]
		once.one(len(rows) <= 1, "%s: %d requests", id, len(rows))
		switch {
		case len(rows) > 0:
			there.one(true, "")
			both = append(both, answered{c, rows[0]})
		case mustBeThere(in, c):
			there.one(false, "%s is missing", id)
		}
	}
	foreign := t.count("client: requests are a client's")
	for i := range s.requests {
		foreign.one(known[s.requests[i].ExternalID], "%s", s.requests[i].ExternalID)
	}
	checkAnswers(t, in, both)
	checkClientTimes(t, in, both)
}

// answered is a request as its client and as the session know it.
type answered struct {
	client *client
	row    *record.RequestRow
}

// mustBeThere says whether the session must have a client's request that it
// lacks. A request that was never answered may never have been scheduled: its
// client hung up too early.
func mustBeThere(in *input, c *client) bool {
	s := &in.session
	switch {
	case c.ExternalID == "" || c.Last == nil:
		return false
	case in.midload && c.Sent <= s.monotonic(s.armed()):
		return false // it may have ended before
	case in.cut && *c.Last > s.monotonic(s.last()):
		return false // it may have begun after
	}
	return true
}

// whole says whether a request's end must be in the session.
func (a answered) whole(in *input) bool {
	if !in.cut {
		return true
	}
	if a.client.Error != "" {
		return false // its server was killed
	}
	return a.client.Last != nil && *a.client.Last <= in.session.monotonic(in.session.last())
}

func checkAnswers(t *table, in *input, both []answered) {
	finished, reason := t.count("client: requests finished"), t.count("client: finish reason")
	prompt, output := t.count("client: prompt tokens"), t.count("client: output tokens")
	cached := t.count("client: cached tokens")
	for _, a := range both {
		c, r := a.client, a.row
		prompt.one(num(r.PromptTokens) == int64(c.Prompt), "%s: want %d, got %s", r.RequestID, c.Prompt, show(r.PromptTokens))
		if c.Cached != nil && (r.CachedTokens != nil || r.FromStart) {
			cached.one(num(r.CachedTokens) == int64(*c.Cached), "%s: want %d, got %s", r.RequestID, *c.Cached, show(r.CachedTokens))
		}
		if !a.whole(in) {
			continue
		}
		finished.one(r.FinishedNS != nil, "%s has no end", r.RequestID)
		if !in.session.outputs() {
			continue
		}
		reason.one(reasonFits(c, r), "%s: want %s, got %s", r.RequestID, c.Reason, show(r.Reason))
		output.one(outputFits(c, r), "%s: want %d, got %s", r.RequestID, c.Completion, show(r.OutputTokens))
	}
}

// reasonFits: a client that hung up does not know how the request ended; the
// engine may have been faster.
func reasonFits(c *client, r *record.RequestRow) bool {
	if r.Reason == nil {
		return false
	}
	if !c.gone() {
		return *r.Reason == c.Reason
	}
	switch *r.Reason {
	case reasonAbort:
		return true
	case reasonLength:
		return num(r.OutputTokens) == int64(c.MaxTokens)
	}
	return *r.Reason == reasonStop && c.Kind == "eos"
}

func outputFits(c *client, r *record.RequestRow) bool {
	got := num(r.OutputTokens)
	if !c.gone() {
		return got == int64(c.Completion)
	}
	return got >= int64(c.Completion) && got <= int64(c.MaxTokens)
}

// checkClientTimes: what happened in the engine happened between the client's
// request and its answer. Both clocks are CLOCK_MONOTONIC.
func checkClientTimes(t *table, in *input, both []answered) {
	s := &in.session
	arrival, first, last := t.count("client: sent before arrival"), t.count("client: first token before it got there"),
		t.count("client: finished before the last token got there")
	for _, a := range both {
		c, r := a.client, a.row
		if r.ArrivalNS != nil {
			at := s.monotonic(*r.ArrivalNS)
			arrival.one(c.Sent <= at+clockSlack, "%s: sent %.6f s after", r.RequestID, c.Sent-at)
		}
		if r.FirstTokNS != nil && c.First != nil {
			at := s.monotonic(*r.FirstTokNS)
			first.one(at <= *c.First, "%s: %.6f s later", r.RequestID, at-*c.First)
		}
		if r.FinishedNS != nil && c.Last != nil && !c.gone() {
			at := s.monotonic(*r.FinishedNS)
			last.one(at <= *c.Last, "%s: %.6f s later", r.RequestID, at-*c.Last)
		}
	}
}
