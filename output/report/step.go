package report

import (
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
)

// unset marks a time that is not known.
const unset = math.MinInt64

// step is what is kept of a step while somebody who was chosen lived.
type step struct {
	id               int64
	start, scheduled int64
	update, end      int64 // unset: not known
	exec             span  // on the GPU, or as the CPU saw it
	source           string
	requests, tokens int32
	decodes          int32 // requests
	pure             int32 // decodes of a step of nothing else
	prefill          int32 // tokens computed of prompts, or again
	fresh            bool  // none of its requests ran before
	joined           bool  // some did not run just before
	split            bool  // tokens by kind are all known
	running, waiting int32 // -1: not known
	free             int32 // KV blocks; -1: not known
	preempted        int32
	head             int32 // blocks that the first taken from waiting got; -1: none, or not known
	base             int64 // what it would have taken without prefills; -1: not known
	prefills         []Prefill
}

func stepOf(r *record.StepRow) step {
	s := step{
		id: r.StepID, start: r.StartNS, scheduled: r.ScheduledNS, update: timeOf(r.UpdateNS), end: timeOf(r.EndNS),
		requests: r.Requests, tokens: r.Tokens, decodes: r.DecodeRequests,
		prefill: r.PrefillTokens + r.RecomputeTokens, fresh: r.Requests > 0 && r.NewRequests == r.Requests,
		split:  r.PrefillTokens+r.RecomputeTokens+r.DecodeTokens == r.Tokens,
		joined: r.NewRequests+r.ResumedRequests > 0, running: numberOf(r.Running), waiting: numberOf(r.Waiting), free: -1, preempted: r.Preempted, head: -1, base: -1,
	}
	if r.DecodeRequests == r.Requests {
		s.pure = r.DecodeRequests
	}
	if r.KVTotal != nil && r.KVUsed != nil {
		s.free = *r.KVTotal - *r.KVUsed
	}
	s.time(r)
	return s
}

// time takes the best that is known of when the step ran.
func (s *step) time(r *record.StepRow) {
	switch {
	case r.GPUStartNS != nil && r.GPUEndNS != nil && r.GPUTimingSource != nil && *r.GPUStartNS <= *r.GPUEndNS:
		s.exec, s.source = span{*r.GPUStartNS, *r.GPUEndNS}, *r.GPUTimingSource
	case r.UpdateNS != nil && r.ForwardNS != nil && r.TimingSource != nil && *r.TimingSource == record.TimingCPUBound:
		s.exec, s.source = span{*r.UpdateNS - *r.ForwardNS, *r.UpdateNS}, *r.TimingSource
	}
}

// last is the newest time known of it.
func (s *step) last() int64 {
	if s.source == "" {
		return max(s.end, s.update, s.scheduled)
	}
	return max(s.end, s.update, s.scheduled, s.exec.to)
}

func timeOf(ns *int64) int64 {
	if ns == nil {
		return unset
	}
	return *ns
}

func numberOf(n *int32) int32 {
	if n == nil {
		return -1
	}
	return *n
}
