package render

import (
	"math"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// requests shows up to limit of those in the window, a track each.
func (t *trace) requests(dir *session.Dir, limit int, shown *Shown) error {
	var chosen []record.RequestRow
	preempted := map[int64][]span{} // those of the chosen
	err := each(t, dir, func(r *record.RequestRow) {
		from, to := t.lifetime(r)
		switch {
		case !t.window.overlaps(from, to):
		case len(chosen) == limit:
			shown.LeftOut++
		default:
			chosen = append(chosen, *r)
			preempted[r.RequestUID] = nil
		}
	})
	if err != nil {
		return err
	}
	shown.Requests = len(chosen)
	err = each(t, dir, func(p *record.PreemptionRow) {
		if _, ok := preempted[p.RequestUID]; ok {
			preempted[p.RequestUID] = append(preempted[p.RequestUID], span{p.TimeNS, t.orEnd(p.ResumedNS), p.Reason})
		}
	})
	for i := range chosen {
		t.request(&chosen[i], i, preempted[chosen[i].RequestUID])
	}
	return err
}

// span is a part of a request's life.
type span struct {
	from, to int64
	name     string
}

// orEnd takes what has not come by then for the end of the session.
func (t *trace) orEnd(ns *int64) int64 {
	if ns == nil {
		return t.end
	}
	return *ns
}

func (t *trace) lifetime(r *record.RequestRow) (from, to int64) {
	for _, ns := range []*int64{r.ArrivalNS, r.ScheduledNS} {
		if ns != nil {
			from = *ns
			break
		}
	}
	return from, max(t.orEnd(r.FinishedNS), from)
}

// parts are what is known of a request's life, one behind the other.
func (t *trace) parts(r *record.RequestRow) []span {
	_, end := t.lifetime(r)
	var parts []span
	if r.ArrivalNS != nil && r.ScheduledNS != nil {
		parts = append(parts, span{*r.ArrivalNS, *r.ScheduledNS, "queue"})
	}
	switch {
	case r.ScheduledNS == nil && r.FirstTokNS == nil: // it ran before tracing began
		return append(parts, span{0, end, "running"})
	case r.ScheduledNS == nil:
		parts = append(parts, span{0, *r.FirstTokNS, "prefill"})
	case r.FirstTokNS == nil:
		return append(parts, span{*r.ScheduledNS, end, "prefill"})
	default:
		parts = append(parts, span{*r.ScheduledNS, *r.FirstTokNS, "prefill"})
	}
	return append(parts, span{*r.FirstTokNS, end, "decode"})
}

func (t *trace) request(r *record.RequestRow, rank int, preempted []span) {
	p := place{t.group(place{t.engine(r.Engine), rankRequests, "requests"}), rank, r.ExternalID}
	on := t.single(p)
	row := &lanes{trace: t, place: p, lanes: []lane{{track: on, begun: math.MinInt64}}}
	for _, part := range t.parts(r) {
		a := t.args().
			int("request_uid", r.RequestUID).
			text("request_id", r.RequestID).
			optInt32("prompt_tokens", r.PromptTokens).
			optInt32("cached_tokens", r.CachedTokens).
			optInt32("output_tokens", r.OutputTokens).
			int("preemptions", int64(r.Preemptions))
		row.slice(part.from, part.to, "request", part.name, a)
		for _, p := range preempted {
			if from, to := max(p.from, part.from), min(p.to, part.to); from < to {
				row.slice(from, to, "request", "preempted", t.args().text("reason", p.name))
			}
		}
	}
	if r.FirstTokNS != nil {
		t.instant(on, *r.FirstTokNS, "request", "first token", t.args())
	}
	if r.FinishedNS != nil {
		t.instant(on, *r.FinishedNS, "request", "finish", t.args().optText("reason", r.Reason))
	}
}
