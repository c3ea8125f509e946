package wire

// Row is enum pm_row: which call was probed.
type Row uint8

// The rows. What A, B and C of a Call mean stands in bpf/event.h.
const (
	RowNone Row = iota
	RowGraphLaunch
	RowCaptureBegin
	RowCaptureEnd
	RowGraphInstantiate
	RowGraphUpload
	RowGraphDestroy
	RowEventCreate
	RowEventRecord
	RowEventSync
	RowEventQuery
	RowEventDestroy
	RowStreamSync
	RowDeviceSync
	RowStreamWait
	RowCopy
	RowMalloc
	RowFree
	RowMallocAsync
	RowFreeAsync
	RowLaunch
	RowAllReduce
	RowAllGather
	RowReduceScatter
	RowBroadcast
	RowReduce
	RowSend
	RowRecv
)

// Name is the row's name in tables, losses and facts.
func (r Row) Name() string {
	names := [...]string{
		RowNone:             "other",
		RowGraphLaunch:      "graph_launch",
		RowCaptureBegin:     "capture_begin",
		RowCaptureEnd:       "capture_end",
		RowGraphInstantiate: "graph_instantiate",
		RowGraphUpload:      "graph_upload",
		RowGraphDestroy:     "graph_destroy",
		RowEventCreate:      "event_create",
		RowEventRecord:      "event_record",
		RowEventSync:        "event_sync",
		RowEventQuery:       "event_query",
		RowEventDestroy:     "event_destroy",
		RowStreamSync:       "stream_sync",
		RowDeviceSync:       "device_sync",
		RowStreamWait:       "stream_wait",
		RowCopy:             "copy",
		RowMalloc:           "malloc",
		RowFree:             "free",
		RowMallocAsync:      "malloc_async",
		RowFreeAsync:        "free_async",
		RowLaunch:           "launch",
		RowAllReduce:        "all_reduce",
		RowAllGather:        "all_gather",
		RowReduceScatter:    "reduce_scatter",
		RowBroadcast:        "broadcast",
		RowReduce:           "reduce",
		RowSend:             "send",
		RowRecv:             "recv",
	}
	if int(r) >= len(names) {
		return names[RowNone]
	}
	return names[r]
}

// Phase is enum pm_phase: what a thread was doing, by its innermost known
// Python frame.
type Phase uint8

// The phases.
const (
	PhaseNone Phase = iota
	PhaseOther
	PhaseExecute
	PhasePrepare
	PhaseEncoder
	PhaseForward
	PhaseCrossAttention
	PhaseLogits
	PhaseSample
	PhaseDraft
	PhaseOutputCopy
	PhaseOutputWait
	PhasePostprocess
	PhaseSyncRanks
	PhaseCapture
	PhaseDummy
	Phases
)

// Bits of Call.Flags and PhaseChange.Flags.
const (
	CallFailed    = 1 // the result is not 0
	CallThrowaway = 2 // under profile_cudagraph_memory: not a graph to keep
	CallDummy     = 4 // under a dummy or profiling run, or a capture
)

// Call is struct pm_call. Header.Engine is the worker's index here, and
// Header.Seq counts the events of Thread.
type Call struct {
	Header
	A, B, C uint64
	Began   uint64
	Thread  uint32
	Step    uint32
	Result  int32
	Row     Row
	Phase   Phase
	Flags   uint8
}

// PhaseChange is struct pm_phase_change: a thread's first call in a phase, and
// what was counted in the phase before.
type PhaseChange struct {
	Header
	First, Last uint64
	Copied      uint64
	Thread      uint32
	Step        uint32
	Calls       uint32
	Launches    uint32
	Copies      uint32
	Phase       Phase
	Before      Phase
	Row         Row
	Flags       uint8
}

// WorkerStep is struct pm_worker_step.
type WorkerStep struct {
	Header
	Output   uint64
	Thread   uint32
	Step     uint32
	Tokens   uint32
	Requests uint32
	Bad      Bad
}
