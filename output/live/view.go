package live

import "github.com/pmtrace/pmtrace/decode/record"

// View is what a server does now. Times are nanoseconds, of the session where they are no
// durations; what is not known is null.
type View struct {
	// The figures are of what ended from FromNS to ToNS, which is DelayNS behind the
	// newest that is known to have happened.
	FromNS  int64 `json:"from_ns"`
	ToNS    int64 `json:"to_ns"`
	DelayNS int64 `json:"delay_ns"`

	StepsPerS    float64 `json:"steps_per_s"` // with tokens
	RequestsPerS float64 `json:"requests_finished_per_s"`
	TokensInPerS float64 `json:"tokens_in_per_s"` // prompt tokens computed
	// Null where nobody watched what steps hand out.
	TokensOutPerS *float64 `json:"tokens_out_per_s"`

	Phases []Phase `json:"phases"` // that there were

	// Of the requests that finished.
	Finished  int         `json:"finished"`
	TTFT      Percentiles `json:"ttft"`
	TPOT      Percentiles `json:"tpot"`
	Queue     Percentiles `json:"queue"`
	Total     Percentiles `json:"request"`
	Slowest   []Finished  `json:"slowest"`
	SlowestBy Order       `json:"slowest_by"`

	// Now, all engines together.
	Running       *int64   `json:"running"`
	Waiting       *int64   `json:"waiting"`
	KVUsed        *int64   `json:"kv_used_blocks"`
	KVBlocks      *int64   `json:"kv_blocks"`
	Unended       int      `json:"requests_unended"` // scheduled, and not seen to end
	Longest       []Age    `json:"longest_running"`
	EvictionsPerS *float64 `json:"kv_evictions_per_s"` // null: nobody watched
	PreemptedPerS float64  `json:"preemptions_per_s"`

	GPU     *GPUShare `json:"gpu,omitempty"`    // null: no step's GPU time is known
	Graphs  *Graphs   `json:"graphs,omitempty"` // null: no step's graphs are known
	Devices []Device  `json:"devices,omitempty"`

	Since  Counts        `json:"since_start"`
	Losses []record.Loss `json:"losses"`
	Lost   int64         `json:"lost_events"` // those that no row tells of yet as well
}

// Counts are sums since tracing began.
type Counts struct {
	Steps       int64 `json:"steps"` // with tokens
	EmptySteps  int64 `json:"empty_steps"`
	TokensIn    int64 `json:"tokens_in"`
	TokensOut   int64 `json:"tokens_out"`
	Finished    int64 `json:"finished"`
	Unfinished  int64 `json:"unfinished"` // their end was not seen
	Preemptions int64 `json:"preemptions"`
	Evictions   int64 `json:"kv_evictions"`
}

// Phase describes the steps of one phase.
type Phase struct {
	Phase        string      `json:"phase"`
	Steps        int64       `json:"steps"`
	MeanRequests float64     `json:"mean_requests"`
	MeanTokens   float64     `json:"mean_tokens"`
	Step         Percentiles `json:"step"`
	GPU          Percentiles `json:"gpu"`
}

// Percentiles describe durations, as the summary of a session does.
type Percentiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ns"`
	P99   float64 `json:"p99_ns"`
	Max   int64   `json:"max_ns"`
}

// GPUShare says what part of the time the GPU ran steps, in percent.
type GPUShare struct {
	BusyPct    float64 `json:"busy_pct"`
	WaitingPct float64 `json:"idle_with_requests_pct"`
	OtherPct   float64 `json:"idle_or_unknown_pct"`
	Source     string  `json:"timing_source"` // of most steps
}

// Graphs says how steps used CUDA graphs, in percent of those whose graphs are known.
type Graphs struct {
	FullPct      float64  `json:"full_pct"`
	PiecewisePct float64  `json:"piecewise_pct"`
	EagerPct     float64  `json:"eager_pct"`
	PaddingPct   *float64 `json:"padding_pct"` // of the tokens computed
}

// Device is a GPU as it was sampled last.
type Device struct {
	GPU          int32    `json:"gpu"`
	TimeNS       int64    `json:"time_ns"`
	SMPct        *float64 `json:"sm_pct"`
	UtilPct      *float64 `json:"util_pct"`
	DRAMPct      *float64 `json:"dram_pct"`
	PowerW       *float64 `json:"power_w"`
	SMClockMHz   *float64 `json:"sm_clock_mhz"`
	TemperatureC *float64 `json:"temperature_c"`
	MemoryUsed   *int64   `json:"memory_used_bytes"`
	Throttled    []string `json:"throttle_reasons"`
}

// Finished is a request that has ended.
type Finished struct {
	ID           string `json:"id"` // the client's
	Engine       int32  `json:"engine"`
	Reason       string `json:"finish_reason"`
	PromptTokens *int32 `json:"prompt_tokens"`
	OutputTokens *int32 `json:"output_tokens"`
	Preemptions  int32  `json:"preemptions"`
	QueueNS      *int64 `json:"queue_ns"`
	TTFTNS       *int64 `json:"ttft_ns"`
	TPOTNS       *int64 `json:"tpot_ns"`
	TotalNS      *int64 `json:"total_ns"`
}

// Age is a request that has not ended.
type Age struct {
	ID           string `json:"id"`
	Engine       int32  `json:"engine"`
	State        string `json:"state"`  // prefill, decode, preempted
	AgeNS        *int64 `json:"age_ns"` // since its arrival
	TTFTNS       *int64 `json:"ttft_ns"`
	PromptTokens *int32 `json:"prompt_tokens"`
	OutputTokens *int32 `json:"output_tokens"`
}

// Order is what requests are slowest by.
type Order string

const (
	ByTotal Order = "total"
	ByTTFT  Order = "ttft"
	ByTPOT  Order = "tpot"
	ByQueue Order = "queue"
)

// Orders are all of them.
func Orders() []Order { return []Order{ByTotal, ByTTFT, ByTPOT, ByQueue} }

// of is what a request is sorted by.
func (o Order) of(f *Finished) *int64 {
	switch o {
	case ByTTFT:
		return f.TTFTNS
	case ByTPOT:
		return f.TPOTNS
	case ByQueue:
		return f.QueueNS
	case ByTotal:
	}
	return f.TotalNS
}
