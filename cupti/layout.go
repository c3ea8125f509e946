package cupti

// The ring's header: struct pm_ring in inject/c/ring.h. A test compares these with what
// a C compiler says.
const (
	ringMagic   = 0x474e49524d50f501
	ringVersion = 1
	headerBytes = 4096
	minRing     = 64 << 10
	maxRing     = 1 << 30

	offMagic     = 0
	offVersion   = 8
	offHeader    = 12
	offSize      = 16
	offSession   = 24
	offStarted   = 32
	offPID       = 40
	offState     = 44
	offFlags     = 48
	offCUPTI     = 52
	offError     = 56
	offText      = 64
	offNote      = 224
	offLibrary   = 384
	offLost      = 896
	offReserved  = 960
	offRecords   = 968
	offTail      = 1024
	offHeartbeat = 1040
	offStop      = 1048
	offMoENote   = 1088

	textBytes    = 160
	libraryBytes = 512
	losses       = 8
)

// State is enum pm_ring_state.
type State uint32

// The states.
const (
	Starting State = iota
	Running
	Ended  // all is handed on
	Quiet  // it has taken us for dead
	Failed // Status.Why says why
)

// flags of a ring
const (
	flagCalls     = 1
	flagWindows   = 2
	flagAlways    = 4
	flagNoWindows = 8
	flagMoE       = 16

	flagCopiesInWindows = 32
)

// lossNames are the reasons by which the library counts what it dropped: enum
// pm_ring_loss.
var lossNames = [losses]string{"full", "cupti_dropped", "no_buffer", "names_full", "not_timed", "invalid_record", lostMoE: "overwritten"}

// lostMoE is the reason that is counted in runs of routing kernels, by a probe of its
// own: their numbers show the same loss to who decodes them.
const lostMoE = 6

// word is pm_ring_word: what stands before a record of n bytes that lies at byte at of
// all that were ever written.
func word(at uint64, n uint32) uint64 {
	return (at/8+1)*0x9e3779b97f4a7c15&^0xffffffff | uint64(n)
}
