package record

// Hook is a function that the user named, as it is watched in one process.
type Hook struct {
	Hook   int    `json:"hook"` // index in the events
	Name   string `json:"name"`
	Spec   string `json:"spec"` // as the user wrote it, without arguments
	PID    int    `json:"pid"`
	Thread int    `json:"thread,omitempty"` // of a Python function: the one thread that it is watched on
	Engine *int   `json:"engine,omitempty"`
	MonoNS int64  `json:"mono_ns"`        // armed
	File   string `json:"file,omitempty"` // of a C function
	// Arguments that are captured, in the order of the events.
	Arguments []HookArgument `json:"arguments"`
	Result    string         `json:"result,omitempty"` // type; "": not captured
	// Duration: the returns are watched. NoDuration says why they are not.
	Duration    bool   `json:"duration"`
	NoDuration  string `json:"no_duration,omitempty"`
	Breakpoints int    `json:"breakpoints"` // that it takes of a thread's four
	Rate        int    `json:"rate"`        // calls a second that are told of one by one
	// Ended says why it is not watched any more, while the session goes on.
	Ended   string `json:"ended,omitempty"`
	EndedNS int64  `json:"ended_ns,omitempty"`
}

// HookArgument is a value that is captured.
type HookArgument struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"` // of a C function's
}

// HookCounts are the kernel's counters of hooks: they only rise.
type HookCounts struct {
	MonoNS int64       `json:"mono_ns"`
	Counts []HookCount `json:"counts"`
}

// HookCount counts the calls of a hook in one process, exactly.
type HookCount struct {
	Hook  int    `json:"hook"`
	Calls uint64 `json:"calls"` // that began
	// NotTold are those that are no row: too many a second, or no room in the ring.
	NotTold uint64 `json:"not_told"`
	// NoValues are captured values that are null, since an object had no such attribute or
	// was of a kind that is not read.
	NoValues uint64 `json:"no_values"`
}

// HookProbe begins the name of a hook among the probes of losses.
const HookProbe = "hook "

// How a call ended.
const (
	HookReturned = "returned"
	HookRaised   = "raised"
)

// HookRow is a row of the table hooks: a call of a function that the user named.
type HookRow struct {
	Engine    *int32  `parquet:"engine,optional"`
	Hook      string  `parquet:"hook,dict"`
	PID       int32   `parquet:"pid"`
	Thread    int32   `parquet:"thread"`
	Call      int64   `parquet:"call"` // counts the hook's calls in the process from 0; missing ones are in losses
	TimeNS    int64   `parquet:"time_ns,delta"`
	DurNS     *int64  `parquet:"duration_ns,optional"`
	Outcome   *string `parquet:"outcome,optional,dict"` // returned, raised; null: the end was not seen
	Result    *int64  `parquet:"result,optional"`
	Arguments string  `parquet:"arguments,dict"` // a JSON object: captured values by what was written for them
}
