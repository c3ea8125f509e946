package page

import (
	"slices"

	"github.com/pmtrace/pmtrace/decode/record"
)

// moment is when something was at its worst: the page leads there.
type moment struct {
	Key    string `json:"key"`
	Title  string `json:"title"`
	Engine int32  `json:"engine"`
	FromNS int64  `json:"from_ns"`
	ToNS   int64  `json:"to_ns"`
}

// worst are the moments that are looked for, in the order of the page: value says how
// bad a step is, and since when it was so; 0: not at all.
var worst = [...]struct {
	key, title string
	value      func(r *record.StepRow) (value, since int64)
}{
	{"longest_prefill", "longest prefill step", longest(record.PhasePrefill)},
	{"longest_mixed", "longest mixed step", longest(record.PhaseMixed)},
	{"longest_decode", "longest decode step", longest(record.PhaseDecode)},
	{"gpu_idle", "longest time that the GPU was idle with requests in the batch", idleBefore},
	{"waiting", "most requests waiting", func(r *record.StepRow) (int64, int64) { return valueOf(r.Waiting), r.StartNS }},
	{"kv_full", "KV cache fullest", func(r *record.StepRow) (int64, int64) { return valueOf(r.KVUsed), r.StartNS }},
	{"preempted", "most preemptions in a step", func(r *record.StepRow) (int64, int64) { return int64(r.Preempted), r.StartNS }},
	{"eager_decode", "longest wait before a decode step without a graph", eagerDecode},
	{"padding", "most padding in a step", padding},
	{"most_tokens", "most tokens in a step", func(r *record.StepRow) (int64, int64) { return int64(r.Tokens), r.StartNS }},
}

// evidence says where each rule's finding is best seen.
var evidence = map[string]string{
	"kv_cache_too_small":           "preempted",
	"max_num_seqs_binds":           "waiting",
	"max_num_batched_tokens_binds": "most_tokens",
	"prefill_delays_decode":        "longest_mixed",
	"gpu_waits_for_host":           "gpu_idle",
	"steps_without_graphs":         "eager_decode",
	"padding":                      "padding",
	"low_bandwidth":                "longest_decode",
	"kv_cache_too_large":           "kv_full",
}

// instead of a moment that there is none of.
var instead = map[string]string{"preempted": "kv_full"}

func longest(phase string) func(r *record.StepRow) (int64, int64) {
	return func(r *record.StepRow) (int64, int64) {
		if r.Phase != phase || r.EndNS == nil {
			return 0, 0
		}
		return *r.EndNS - r.StartNS, r.StartNS
	}
}

func idleBefore(r *record.StepRow) (int64, int64) {
	if r.Tokens == 0 || r.GPUIdleNS == nil || r.GPUStartNS == nil || r.NewRequests == r.Requests {
		return 0, 0
	}
	return *r.GPUIdleNS, *r.GPUStartNS - *r.GPUIdleNS
}

func eagerDecode(r *record.StepRow) (int64, int64) {
	if r.Phase != record.PhaseDecode || r.GraphMode == nil || *r.GraphMode != modeEager {
		return 0, 0
	}
	return idleBefore(r)
}

func padding(r *record.StepRow) (int64, int64) {
	if r.GraphMode == nil || *r.GraphMode == modeEager || r.PaddedTokens == nil {
		return 0, 0
	}
	return int64(*r.PaddedTokens - r.Tokens), r.StartNS
}

func valueOf(v *int32) int64 {
	if v == nil {
		return 0
	}
	return int64(*v)
}

// moments keeps the worst step of each kind.
type moments [len(worst)]struct {
	value    int64
	engine   int32
	from, to int64
}

func (m *moments) step(r *record.StepRow) {
	for i := range worst {
		if v, since := worst[i].value(r); v > m[i].value {
			m[i].value, m[i].engine = v, r.Engine
			m[i].from, m[i].to = min(since, r.StartNS), lastOf(r)
		}
	}
}

// data are those that there were, each with some time around it.
func (m *moments) data(around int64) []moment {
	list := []moment{}
	for i, w := range worst {
		if m[i].value > 0 {
			list = append(list, moment{w.key, w.title, m[i].engine, m[i].from - around, m[i].to + around})
		}
	}
	return list
}

// momentOf is the key of the moment that shows a finding; "" if none does.
func momentOf(rule string, list []moment) string {
	key := evidence[rule]
	for key != "" && !slices.ContainsFunc(list, func(m moment) bool { return m.Key == key }) {
		key = instead[key]
	}
	return key
}
