package main

import (
	"fmt"

	"github.com/pmtrace/pmtrace/decode/record"
)

// history is what a request did, told by its steps.
type history struct {
	rows      []*record.StepRequestRow
	end       int // the row that handed out its last token; -1: none did
	outputs   int64
	rejected  int64  // drafts that were computed for nothing
	broken    string // where a step did not go on where the one before ended
	wrongKind string
}

func historyOf(r *record.RequestRow, rows []*record.StepRequestRow) history {
	h := history{rows: rows, end: -1}
	next := int64(-1) // tokens computed before the next step; -1: not known
	for i, row := range rows {
		at := num(row.Computed)
		switch {
		case at < 0:
			h.breaks("step %d: computed_before is null", row.StepID)
		case i == 0 && r.FromStart && r.CachedTokens != nil && at != int64(*r.CachedTokens):
			h.breaks("step %d begins at %d, %d tokens were cached", row.StepID, at, *r.CachedTokens)
		case next >= 0 && at != next && (r.Preemptions == 0 || at > next):
			// After a preemption it begins anew, with what is cached.
			h.breaks("step %d begins at %d, the one before ended at %d", row.StepID, at, next)
		}
		next = at + int64(row.Scheduled) - rejected(row)
		h.rejected += rejected(row)
		h.kind(r, row)
		if out := num(row.OutputTokens); out > 0 {
			h.outputs += out
			h.end = i
		}
	}
	return h
}

// rejected are the drafts of a row that gave no token: the next step computes from before them.
func rejected(row *record.StepRequestRow) int64 {
	if out := num(row.OutputTokens); out > 0 {
		return max(int64(row.DraftTokens)-(out-1), 0)
	}
	return 0
}

func (h *history) breaks(format string, args ...any) {
	if h.broken == "" {
		h.broken = fmt.Sprintf(format, args...)
	}
}

// kind checks a row by the rule without preemptions: prefill is what begins
// inside the prompt. Requests that were preempted may recompute as well.
func (h *history) kind(r *record.RequestRow, row *record.StepRequestRow) {
	want := record.KindDecode
	if num(row.Computed) < num(r.PromptTokens) {
		want = record.KindPrefill
	}
	if row.Kind != want && (r.Preemptions == 0 || row.Kind != record.KindRecompute) && h.wrongKind == "" {
		h.wrongKind = fmt.Sprintf("step %d computes from %s of %s prompt tokens: want %s, got %s", row.StepID,
			show(row.Computed), show(r.PromptTokens), want, row.Kind)
	}
}

// account compares the work that was scheduled for a finished request with the
// work that it took: prompt - cached to get to its first token, and one token
// for each further one. It returns what does not add up.
//
// With asynchronous scheduling the next step is scheduled before the output of
// the last is known. AsyncScheduler leaves it out where max_tokens tells that
// there is none; a request that stops by itself is scheduled once more, for one
// token (max_concurrent_batches is 2).
func (h *history) account(r *record.RequestRow, async bool) string {
	needed := int64(*r.PromptTokens) - int64(*r.CachedTokens) + max(int64(*r.OutputTokens)-1, 0)
	if h.outputs != int64(*r.OutputTokens) {
		return fmt.Sprintf("its steps handed out %d tokens, not %d", h.outputs, *r.OutputTokens)
	}
	if *r.Reason == reasonAbort {
		return h.accountAborted(r, needed, async)
	}
	if h.end < 0 && h.outputs == 0 && *r.Reason == reasonStop {
		h.end = len(h.rows) - 1 // pooling: its output has no tokens, and ends it
	}
	if h.end < 0 {
		return "no step handed out a token"
	}
	extra := int64(0)
	for _, row := range h.rows[h.end+1:] {
		extra += int64(row.Scheduled)
	}
	allowed := int64(0)
	if async && *r.Reason == reasonStop {
		allowed = 1
	}
	if extra > allowed {
		return fmt.Sprintf("%d tokens scheduled after its end", extra)
	}
	if r.Preemptions == 0 {
		if got := r.Scheduled - extra - h.rejected; got != needed {
			return fmt.Sprintf("want %d - %d + %d - 1 = %d, got %d", *r.PromptTokens, *r.CachedTokens, *r.OutputTokens, needed, got)
		}
		return ""
	}
	// Whatever was recomputed: the last step ends one token before the end.
	// With asynchronous scheduling a token may come of a step from before the
	// preemption.
	last := h.rows[h.end]
	want := int64(*r.PromptTokens) + int64(*r.OutputTokens) - 1
	if got := num(last.Computed) + int64(last.Scheduled) - rejected(last); !async && got != want {
		return fmt.Sprintf("preempted %d times: the last step ends at %d tokens, not %d", r.Preemptions, got, want)
	}
	return ""
}

// accountAborted: the output of the step in flight at the abort is dropped.
func (h *history) accountAborted(r *record.RequestRow, needed int64, async bool) string {
	if r.Preemptions > 0 {
		return ""
	}
	inFlight := int64(1)
	if async {
		inFlight = 2
	}
	low := needed
	if *r.OutputTokens == 0 {
		low = 0 // aborted in its prompt
	}
	if r.Scheduled < low || r.Scheduled > needed+inFlight {
		return fmt.Sprintf("aborted after %d tokens: want %d to %d scheduled, got %d", *r.OutputTokens, low, needed+inFlight, r.Scheduled)
	}
	return ""
}
