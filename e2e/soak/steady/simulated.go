package steady

// Simulated is what came of days of simulated time (TestSoak of decode).
type Simulated struct {
	Hours    float64 `json:"hours"`
	StepMS   float64 `json:"step_ms"`
	DriftPPM float64 `json:"clock_drift_ppm"`
	StepS    float64 `json:"clock_step_s"`
	TookS    float64 `json:"took_s"`

	Records      int64   `json:"journal_records"`
	JournalFiles int     `json:"journal_files"`
	JournalMiB   float64 `json:"journal_mib"`
	Rows         int64   `json:"rows"`
	Parts        int     `json:"parts"`
	ParquetMiB   float64 `json:"parquet_mib"`

	Totals  Totals `json:"totals"` // as the tables have them, of the engine of which nothing is lost
	Lost    int64  `json:"lost"`   // as the losses have it
	Dropped int64  `json:"dropped"`

	ArrivalOffMS float64 `json:"arrival_off_ms"` // the most, between two readings of a clock that drifts
	AroundStep   int64   `json:"around_step"`    // requests that are off by the clock's step

	Anon     Trend   `json:"rss_anon_mib"`
	Heap     Trend   `json:"heap_in_use_mib"`
	Objects  Trend   `json:"objects_in_use"`
	Looks    []Usage `json:"looks"` // a dozen
	AtEndMiB float64 `json:"rss_anon_after_end_mib"`
	Note     string  `json:"note,omitempty"` // put there by hand
}

// Totals are sums over all that an engine did.
type Totals struct {
	Steps, Tokens, OutputTokens, Preempted, StepRequests, Scheduled int64
	Requests, RequestOutputs, Preemptions                           int64
	Usage, Blocks, Evictions                                        int64
	Replays, Launches                                               int64 // of graphs, of kernels outside of them
}

// Usage is the memory at a simulated time.
type Usage struct {
	Hours   float64 `json:"h"`
	Anon    float64 `json:"rss_anon_mib"`
	Heap    float64 `json:"heap_in_use_mib"`
	Objects float64 `json:"objects_in_use"`
}
