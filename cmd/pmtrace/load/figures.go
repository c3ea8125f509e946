package load

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Figures are a load's in short, as the clients saw it.
type Figures struct {
	Requests     int           `json:"requests"`
	Failed       int           `json:"failed"`
	FirstError   string        `json:"first_error,omitempty"`
	Took         time.Duration `json:"took_ns"`
	PromptTokens int           `json:"prompt_tokens"`
	OutputTokens int           `json:"output_tokens"`
	RequestRate  float64       `json:"requests_per_s"`
	TokenRate    float64       `json:"output_tokens_per_s"`
	FirstToken   Percentiles   `json:"ttft"` // from sending to the first event
	PerToken     Percentiles   `json:"tpot"` // of the tokens after the first
	Whole        Percentiles   `json:"e2e"`
}

// Percentiles are times in ns, of the requests that did not fail.
type Percentiles struct {
	Mean time.Duration `json:"mean_ns"`
	P50  time.Duration `json:"p50_ns"`
	P90  time.Duration `json:"p90_ns"`
	P99  time.Duration `json:"p99_ns"`
}

// Figures adds up.
func (r *Result) Figures() Figures {
	f := Figures{Requests: len(r.Requests), Took: r.Took}
	var first, each, whole []time.Duration
	for i := range r.Requests {
		q := &r.Requests[i]
		if q.Error != "" {
			f.Failed++
			f.FirstError = cmp.Or(f.FirstError, q.Error)
			continue
		}
		f.PromptTokens += q.Prompt
		f.OutputTokens += q.Output
		first = append(first, q.First-q.Sent)
		whole = append(whole, q.Last-q.Sent)
		if q.Output > 1 {
			each = append(each, (q.Last-q.First)/time.Duration(q.Output-1))
		}
	}
	if s := r.Took.Seconds(); s > 0 {
		f.RequestRate = float64(f.Requests-f.Failed) / s
		f.TokenRate = float64(f.OutputTokens) / s
	}
	f.FirstToken, f.PerToken, f.Whole = percentiles(first), percentiles(each), percentiles(whole)
	return f
}

func percentiles(v []time.Duration) Percentiles {
	if len(v) == 0 {
		return Percentiles{}
	}
	slices.Sort(v)
	sum := time.Duration(0)
	for _, d := range v {
		sum += d
	}
	at := func(p float64) time.Duration { return v[max(int(math.Ceil(p*float64(len(v))))-1, 0)] }
	return Percentiles{sum / time.Duration(len(v)), at(0.5), at(0.9), at(0.99)}
}
