package wire

import "strconv"

// Version is PM_WIRE_VERSION.
const Version = 1

// Unknown is PM_UNKNOWN: a number that could not be read.
const Unknown = 0xffffffff

// Kind is enum pm_kind.
type Kind uint16

// The kinds of events.
const (
	KindNone Kind = iota
	KindStep
	KindStepRows
	KindRequest
	KindPrefix
	KindKeys
	KindDrafts
	KindUpdateBegin
	KindUpdateEnd
	KindOutputRows
	KindKV
	KindRouted

	KindCall       Kind = 32
	KindPhase      Kind = 33
	KindWorkerStep Kind = 34

	KindHook Kind = 40

	// From within a recorded process: bpf/cupti.h.
	KindCUPTICall   Kind = 48
	KindCUPTIReplay Kind = 49
	KindCUPTIKernel Kind = 50
	KindCUPTICopy   Kind = 51
	KindCUPTIName   Kind = 52
	KindCUPTIWindow Kind = 53
	KindCUPTIMoE    Kind = 54
	KindCUPTIClock  Kind = 55

	// KindLast is the highest of them.
	KindLast = KindCUPTIClock
)

// String names the kind as losses and error messages do.
func (k Kind) String() string {
	switch k {
	case KindStep:
		return "step"
	case KindStepRows:
		return "step_rows"
	case KindRequest:
		return "request"
	case KindPrefix:
		return "prefix"
	case KindKeys:
		return "keys"
	case KindDrafts:
		return "drafts"
	case KindUpdateBegin:
		return "update_begin"
	case KindUpdateEnd:
		return "update_end"
	case KindOutputRows:
		return "output_rows"
	case KindKV:
		return "kv"
	case KindRouted:
		return "routed_experts"
	case KindCall:
		return "call"
	case KindPhase:
		return "phase"
	case KindWorkerStep:
		return "worker_step"
	case KindHook:
		return "hook"
	case KindCUPTICall:
		return "cupti_call"
	case KindCUPTIReplay:
		return "cupti_replay"
	case KindCUPTIKernel:
		return "cupti_kernel"
	case KindCUPTICopy:
		return "cupti_copy"
	case KindCUPTIName:
		return "cupti_name"
	case KindCUPTIWindow:
		return "cupti_window"
	case KindCUPTIMoE:
		return "cupti_moe"
	case KindCUPTIClock:
		return "cupti_clock"
	case kindCounters:
		return "counters"
	}
	return "kind_" + strconv.Itoa(int(k))
}

// List says what a Keys event lists: enum pm_keys.
type List uint16

// The lists of keys.
const (
	ListFinished  List = 1
	ListPreempted List = 2
	ListVictims   List = 3
)

// Why says why a request was announced: enum pm_request_why.
type Why uint32

// The reasons of a Request event.
const (
	WhyNew     Why = 1
	WhyResumed Why = 2
	WhySync    Why = 3
)

// KVOp is an operation on the free block queue: enum pm_kv_op.
type KVOp uint8

// The operations.
const (
	OpAlloc     KVOp = 1
	OpReuse     KVOp = 2
	OpFree      KVOp = 3
	OpFreeFront KVOp = 4
	OpOther     KVOp = 5
)

// Bad is enum pm_bad: which parts of an event could not be read.
type Bad uint32

// The bits of Bad.
const (
	BadRows Bad = 1 << iota
	BadComputed
	BadBlocks
	BadRequests
	BadFinished
	BadPreempted
	BadQueues
	BadDrafts
	BadTotals
	BadCut
	BadFree
	BadTime
	BadID
)

// BadNames are the names of Bad's bits, lowest first.
var BadNames = [...]string{
	"rows", "computed", "blocks", "requests", "finished", "preempted", "queues",
	"drafts", "totals", "cut", "free", "time", "id",
}

// IDCut is PM_REQ_ID_CUT in Request.IDFlags: the id was longer than what is sent.
const IDCut = 1

// Header is struct pm_hdr, the beginning of every event.
type Header struct {
	Ktime   uint64
	Seq     uint32
	Kind    Kind
	Engine  uint8
	Version uint8
}

// Step is struct pm_step.
type Step struct {
	Header
	Output         uint64
	Began          float64
	Step           uint32
	Tokens         uint32
	Rows           uint32
	NewRequests    uint32
	CachedRequests uint32
	Finished       uint32
	Preempted      uint32
	Victims        uint32
	Drafts         uint32
	EncoderInputs  uint32
	Running        uint32
	Waiting        uint32
	Requests       uint32
	FreeBlocks     uint32
	Bad            Bad
}

// Rows is struct pm_rows, the head of the list events.
type Rows struct {
	Header
	Step  uint32
	First uint32
	Rows  uint16
	What  List
	Bad   Bad
}

// StepRows is a Rows event with struct pm_step_row.
type StepRows struct {
	Rows
	list []byte
}

// StepRow is struct pm_step_row.
type StepRow struct {
	Key       uint64
	Scheduled uint32
	Computed  uint32
	NewBlocks uint32
	Bad       Bad
}

// Keys is a Rows event with request keys.
type Keys struct {
	Rows
	list []byte
}

// Drafts is a Rows event with struct pm_draft_row.
type Drafts struct {
	Rows
	list []byte
}

// DraftRow is struct pm_draft_row.
type DraftRow struct {
	Key    uint64
	Drafts uint32
}

// OutputRows is a Rows event with struct pm_output_row.
type OutputRows struct {
	Rows
	list []byte
}

// OutputRow is struct pm_output_row.
type OutputRow struct {
	Key    uint64
	Tokens uint32
	Finish int16
	Client uint16
}

// Request is struct pm_request and the id's bytes.
type Request struct {
	Header
	Key          uint64
	Object       uint64
	Arrival      float64
	Step         uint32
	Why          Why
	PromptTokens uint32
	Tokens       uint32
	Computed     uint32
	Preemptions  uint32
	MaxTokens    uint32
	Priority     int32
	Bad          Bad
	IDKind       uint8
	IDFlags      uint8
	ID           []byte
}

// Prefix is struct pm_prefix and its block ids.
type Prefix struct {
	Header
	Key   uint64
	Step  uint32
	Group uint16
	First uint32
	Bad   Bad
	list  []byte
}

// Update is struct pm_update.
type Update struct {
	Header
	Output uint64
	Update uint32
	Rows   uint32
	Bad    Bad
}

// KV is struct pm_kv and its block ids.
type KV struct {
	Header
	Owner      uint64
	FreeBefore uint32
	FreeAfter  uint32
	First      uint32
	Op         KVOp
	More       bool
	Blocks     uint32
	Bad        Bad
	list       []byte
}
