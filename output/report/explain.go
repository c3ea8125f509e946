package report

import (
	"cmp"
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/session"
)

// Request says where a request's time went. Times are nanoseconds; null is not known.
type Request struct {
	UID          int64   `json:"request_uid"`
	Engine       int32   `json:"engine"`
	RequestID    string  `json:"request_id"`
	ExternalID   string  `json:"external_id"`
	ArrivalNS    *int64  `json:"arrival_ns"`
	ScheduledNS  *int64  `json:"first_scheduled_ns"`
	FirstTokNS   *int64  `json:"first_token_ns"`
	FinishedNS   *int64  `json:"finished_ns"`
	Reason       *string `json:"finish_reason"`
	FromStart    bool    `json:"seen_from_start"`
	PromptTokens *int32  `json:"prompt_tokens"`
	CachedTokens *int32  `json:"cached_tokens"`
	OutputTokens *int32  `json:"output_tokens"`
	MaxTokens    *int32  `json:"max_tokens"`
	Preemptions  int32   `json:"preemptions"`
	Steps        int     `json:"steps"`
	TTFTNS       *int64  `json:"ttft_ns"`
	TPOTNS       *int64  `json:"tpot_ns"`
	QueueNS      *int64  `json:"queue_ns"`
	// FromNS and ToNS bound what is divided into Total: arrival to finish, or what is
	// known of it.
	FromNS int64  `json:"from_ns"`
	ToNS   int64  `json:"to_ns"`
	Total  Parts  `json:"total"`
	First  *Parts `json:"to_first_token"` // null: when that was is not known
	After  *Parts `json:"after_first_token"`
	// Timings say how the times of its steps were got, in ns of its life.
	Timings map[string]int64 `json:"step_times_ns_by_timing_source"`
}

// Detail is all of one request.
type Detail struct {
	Request
	Events []Event `json:"events"`
	// Compared and Shared count the steps whose prefill of others is attributed by
	// the steps before, and by the share of tokens.
	Compared int        `json:"steps_attributed_by_decode_steps"`
	Shared   int        `json:"steps_attributed_by_tokens"`
	Usual    Gap        `json:"median_gap"` // the median of each part by itself
	Gaps     int        `json:"gaps"`
	Slowest  []TokenGap `json:"slowest_gaps"`
}

// Explain finds one request by its id, and the slowest of its tokens.
func Explain(dir *session.Dir, id string, tokens int, limits map[int32]Limits) (*Detail, error) {
	row, err := find(session.Rows[record.RequestRow](dir), id)
	if err != nil {
		return nil, err
	}
	l := newLife(row)
	if err := read(dir, []*life{l}); err != nil {
		return nil, err
	}
	if err := readOperations(dir, l); err != nil {
		return nil, err
	}
	d := l.detail(tokens, limits[row.Engine])
	return d, d.name(dir)
}

func (l *life) request(pieces []piece) Request {
	r := &l.row
	out := Request{
		UID: r.RequestUID, Engine: r.Engine, RequestID: r.RequestID, ExternalID: r.ExternalID,
		ArrivalNS: r.ArrivalNS, ScheduledNS: r.ScheduledNS, FirstTokNS: r.FirstTokNS, FinishedNS: r.FinishedNS,
		Reason: r.Reason, FromStart: r.FromStart, PromptTokens: r.PromptTokens, CachedTokens: r.CachedTokens,
		OutputTokens: r.OutputTokens, MaxTokens: r.MaxTokens, Preemptions: r.Preemptions, Steps: len(l.turns),
		TTFTNS: ttft(r), TPOTNS: tpot(r), QueueNS: r.QueueNS, FromNS: l.from, ToNS: l.to, Timings: map[string]int64{},
	}
	if out.TTFTNS != nil {
		out.First, out.After = &Parts{}, &Parts{}
	}
	for i := range pieces {
		p := pieces[i].parts()
		out.Total.add(&p)
		if pieces[i].own != nil {
			out.Timings[pieces[i].step.source] += pieces[i].to - pieces[i].from
		}
		switch {
		case out.First == nil:
		case pieces[i].from < *r.FirstTokNS:
			out.First.add(&p)
		default:
			out.After.add(&p)
		}
	}
	return out
}

func (l *life) detail(tokens int, limits Limits) *Detail {
	pieces := l.cut(limits)
	d := &Detail{Request: l.request(pieces), Events: l.events()}
	for _, t := range l.turns {
		if t.step.source == "" || !t.step.split || t.step.prefill == t.prefilled() {
			continue
		}
		if _, compared := othersShare(t, 0); compared {
			d.Compared++
		} else {
			d.Shared++
		}
	}
	gaps := l.gaps(pieces)
	d.Gaps, d.Usual = len(gaps), usual(gaps)
	slices.SortStableFunc(gaps, func(a, b TokenGap) int { return cmp.Compare(b.NS, a.NS) })
	d.Slowest = append([]TokenGap{}, gaps[:min(tokens, len(gaps))]...)
	return d
}

// name fills in what the requests are called that shared its steps.
func (d *Detail) name(dir *session.Dir) error {
	uids := map[int64]string{}
	visit := func(list []Prefill, f func(*Prefill)) {
		for i := range list {
			f(&list[i])
		}
	}
	all := func(f func(*Prefill)) {
		for _, e := range d.Events {
			visit(e.With, f)
		}
		for _, g := range d.Slowest {
			for _, s := range g.Steps {
				visit(s.Prefills, f)
			}
		}
	}
	all(func(p *Prefill) { uids[p.UID] = "" })
	if len(uids) == 0 {
		return nil
	}
	if err := names(dir, uids); err != nil {
		return err
	}
	all(func(p *Prefill) { p.ExternalID = uids[p.UID] })
	return nil
}
