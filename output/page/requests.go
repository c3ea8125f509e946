package page

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
	"github.com/pmtrace/pmtrace/output/report"
	"github.com/pmtrace/pmtrace/output/session"
)

// topRequests is how many of the slowest requests are shown in each order.
const topRequests = 20

// requestData are the slowest requests, in parts.
type requestData struct {
	All    int              `json:"all"`
	Parts  []part           `json:"parts"` // the order of their times
	List   []request        `json:"list"`
	Orders map[string][]int `json:"orders"` // places in the list, the slowest first
}

// part names a part of a request's time.
type part struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}

// request is one of them. Times are ns; null is not known.
type request struct {
	UID         int64  `json:"uid"`
	ID          string `json:"id"`
	Engine      int32  `json:"engine"`
	FromNS      int64  `json:"from_ns"`
	ToNS        int64  `json:"to_ns"`
	TTFT        *int64 `json:"ttft_ns"`
	TPOT        *int64 `json:"tpot_ns"`
	Queue       *int64 `json:"queue_ns"`
	Prompt      *int32 `json:"prompt_tokens"`
	Cached      *int32 `json:"cached_tokens"`
	Output      *int32 `json:"output_tokens"`
	Preemptions int32  `json:"preemptions"`
	Reason      string `json:"finish_reason"`
	First       ints   `json:"first"` // parts until the first token; of all where that is not known
	After       ints   `json:"after"`
}

// explain says where the time of the slowest went; nil: there was no request.
func explain(dir *session.Dir, slow *report.Slow, engines []record.Engine) (*requestData, error) {
	limits := map[int32]report.Limits{}
	for _, e := range engines {
		limits[int32(e.Engine)] = report.Limits{MaxSeqs: e.MaxSeqs, MaxTokens: e.MaxTokens, BlockSize: e.BlockSize}
	}
	lists, err := slow.Explain(dir, limits)
	if err != nil || slow.All == 0 {
		return nil, err
	}
	d := &requestData{All: slow.All, Orders: map[string][]int{}}
	for p := report.Frontend; p <= report.Unknown; p++ {
		d.Parts = append(d.Parts, part{p.Column(), p.Text()})
	}
	places := map[int64]int{}
	for _, by := range report.Orders() {
		d.Orders[by] = []int{}
		for i := range lists[by] {
			r := &lists[by][i]
			place, ok := places[r.UID]
			if !ok {
				place = len(d.List)
				places[r.UID] = place
				d.List = append(d.List, requestOf(r))
			}
			d.Orders[by] = append(d.Orders[by], place)
		}
	}
	return d, nil
}

func requestOf(r *report.Request) request {
	out := request{
		UID: r.UID, ID: r.ExternalID, Engine: r.Engine, FromNS: r.FromNS, ToNS: r.ToNS, TTFT: r.TTFTNS, TPOT: r.TPOTNS,
		Queue: r.QueueNS, Prompt: r.PromptTokens, Cached: r.CachedTokens, Output: r.OutputTokens, Preemptions: r.Preemptions,
		First: slices.Clone(r.Total[:]), After: make(ints, len(r.Total)),
	}
	if r.Reason != nil {
		out.Reason = *r.Reason
	}
	if r.First != nil && r.After != nil {
		out.First, out.After = slices.Clone(r.First[:]), slices.Clone(r.After[:])
	}
	return out
}

// spans are when the first few of each order lived, with some time around.
func (d *requestData) spans(each int, around int64) []span {
	var list []span
	if d == nil {
		return nil
	}
	for _, by := range report.Orders() {
		for _, place := range d.Orders[by][:min(each, len(d.Orders[by]))] {
			r := &d.List[place]
			list = append(list, span{r.Engine, r.FromNS - around, r.ToNS + around})
		}
	}
	return list
}
