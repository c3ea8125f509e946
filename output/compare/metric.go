package compare

import "strings"

// Direction says which way a metric is better.
type Direction string

const (
	Lower   Direction = "lower"
	Higher  Direction = "higher"
	Neutral Direction = "neutral" // of the load, or a matter of taste
)

// Units of metrics.
const (
	UnitTime  = "ns"
	UnitRate  = "1/s"
	UnitShare = "share" // 1 is all
	UnitCount = "count"
)

// Metric is a number that a session has.
type Metric struct {
	Name   string    `json:"metric"`
	Unit   string    `json:"unit"`
	Better Direction `json:"better"`
	About  string    `json:"-"`

	value func(*total) float64 // NaN: no data
	// extreme: blocks say nothing of how much it varies.
	extreme bool
}

// Metrics returns what every comparison tries; the mean times of CPU operations come
// on top, by the names that the sessions have.
func Metrics() []Metric {
	const busy = "a second in which requests ran"
	metrics := []Metric{
		{Name: "tokens_per_s", Unit: UnitRate, Better: Higher, About: "tokens handed out " + busy, value: rate(sumOutput)},
		{Name: "requests_per_s", Unit: UnitRate, Better: Higher, About: "requests finished " + busy, value: rate(sumFinished)},
	}
	metrics = append(metrics, percentiles("ttft", "arrival to first token", distTTFT)...)
	metrics = append(metrics, percentiles("tpot", "decode time by output token after the first", distTPOT)...)
	metrics = append(metrics, percentiles("total", "arrival to finish", distTotal)...)
	metrics = append(metrics, percentiles("queue", "arrival to first scheduled", distQueue)...)
	metrics = append(metrics, percentiles("step_decode", "a decode step, scheduler's entry to the update's return", distDecode)...)
	metrics = append(metrics, percentiles("step_prefill", "… a prefill step", distPrefill)...)
	metrics = append(metrics, percentiles("step_mixed", "… a mixed step", distMixed)...)
	metrics = append(metrics, percentiles("step_gpu", "GPU time of a step", distGPU)...)
	metrics = append(metrics, Metric{Name: "gpu_idle_mean", Unit: UnitTime, Better: Lower,
		About: "GPU idle before a step although requests were running", value: ratio(sumIdle, sumIdleSteps)})
	metrics = append(metrics, percentiles("gpu_idle", "… its percentile", distIdle)...)
	return append(metrics,
		Metric{Name: "graph_coverage", Unit: UnitShare, Better: Higher, About: "steps that ran in CUDA graphs", value: ratio(sumInGraphs, sumGraphKnown)},
		Metric{Name: "padding", Unit: UnitShare, Better: Lower, About: "padding among the tokens that steps computed", value: ratio(sumPadding, sumPadded)},
		Metric{Name: "mbu", Unit: UnitShare, Better: Higher, About: "memory bandwidth that the model needs, of the GPU's, in decode steps", value: ratio(sumMBU, sumMBUTime)},
		Metric{Name: "kv_peak", Unit: UnitShare, Better: Neutral, About: "KV blocks in use, at most", value: func(t *total) float64 { return t.peak }, extreme: true},
		Metric{Name: "evictions_per_s", Unit: UnitRate, Better: Lower, About: "cached KV blocks evicted " + busy, value: rate(sumEvictions)},
		Metric{Name: "preemptions_per_s", Unit: UnitRate, Better: Lower, About: "preemptions " + busy, value: rate(sumPreemptions)},
		Metric{Name: "batch_mean", Unit: UnitCount, Better: Neutral, About: "requests in a step", value: ratio(sumRequests, sumSteps)},
		Metric{Name: "step_tokens_mean", Unit: UnitCount, Better: Neutral, About: "tokens scheduled in a step", value: ratio(sumTokens, sumSteps)},
	)
}

func percentiles(name, about string, d dist) []Metric {
	of := func(p float64) func(*total) float64 { return func(t *total) float64 { return t.percentile(d, p) } }
	return []Metric{
		{Name: name + "_p50", Unit: UnitTime, Better: Lower, About: about, value: of(0.50)},
		{Name: name + "_p99", Unit: UnitTime, Better: Lower, About: about, value: of(0.99)},
	}
}

func rate(s sum) func(*total) float64 { return ratio(s, sumBusy) }

func ratio(of, by sum) func(*total) float64 {
	return func(t *total) float64 { return t.sums[of] / t.sums[by] }
}

const operationPrefix, operationSuffix = "cpu_", "_mean"

func operationMetric(operation string) Metric {
	return Metric{Name: operationPrefix + operation + operationSuffix, Unit: UnitTime, Better: Lower, About: "the CPU operation " + operation,
		value: func(t *total) float64 {
			o := t.operations[operation]
			return o.ns / o.count
		}}
}

// IsMetric reports whether a session may have a metric of the name.
func IsMetric(name string) bool {
	for _, m := range Metrics() {
		if m.Name == name {
			return true
		}
	}
	return strings.HasPrefix(name, operationPrefix) && strings.HasSuffix(name, operationSuffix) && len(name) > len(operationPrefix+operationSuffix)
}
