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
