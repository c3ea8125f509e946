package wire

// Bits of CUPTIName.Flags.
const CUPTINameCut = 1 // PM_CUPTI_NAME_CUT

// CUPTICall is struct pm_cupti_call of bpf/cupti.h: a graph launch returned. In the
// events of CUPTI Header.Engine is the index of the process's ring.
type CUPTICall struct {
	Header
	Began, Ended uint64
	Exec, Stream uint64
	Thread       uint32
	Correlation  uint32
	Runtime      uint32
}

// CUPTIReplay is struct pm_cupti_replay.
type CUPTIReplay struct {
	Header
	Start, End  uint64
	Correlation uint32
	Graph       uint32
	Device      uint32
	Context     uint32
	Stream      uint32
}

// CUPTIKernel is struct pm_cupti_kernel.
type CUPTIKernel struct {
	Header
	Start, End  uint64
	Node        uint64
	Name        uint32
	Correlation uint32
	Graph       uint32
	Device      uint32
	Context     uint32
	Stream      uint32
	Grid        [3]uint32
	Block       [3]uint16
	Registers   uint16
	Shared      uint32
}

// CUPTICopy is struct pm_cupti_copy.
type CUPTICopy struct {
	Header
	Start, End  uint64
	Node        uint64
	Bytes       uint64
	Correlation uint32
	Graph       uint32
	Device      uint32
	Context     uint32
	Stream      uint32
	Kind        uint32
}

// CUPTIName is struct pm_cupti_name and the name's bytes.
type CUPTIName struct {
	Header
	ID    uint32
	Flags uint16
	Name  []byte
}

// CUPTIWindow is struct pm_cupti_window.
type CUPTIWindow struct {
	Header
	Began, Ended uint64
	Number       uint32
	On           bool
}

// CUPTIMoEWeights is PM_CUPTI_MOE_WEIGHTS in CUPTIMoE.Flags.
const CUPTIMoEWeights = 1

// MaxTopK is the most experts that a token may choose.
const MaxTopK = 64

// CUPTIMoE is struct pm_cupti_moe with the ids and weights of its rows.
type CUPTIMoE struct {
	Header
	Time    uint64 // by the GPU's clock
	Ordinal uint32
	Run     uint32
	Rows    uint32
	First   uint32
	Count   uint16
	TopK    uint8
	Bytes   uint8 // of an id
	Experts uint16
	Flags   uint16

	IDs     []byte // Count rows of TopK
	Weights []byte // the same, binary16; nil: none
}

// CUPTIClock is struct pm_cupti_clock.
type CUPTIClock struct {
	Header
	Before, After uint64 // CLOCK_MONOTONIC
	GPU           uint64
}
