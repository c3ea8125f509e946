package wire

// RoutedSize is the size of struct pm_routed of bpf/event.h.
const RoutedSize = 48

// RoutedState says why a Routed event has no ids: enum pm_routed_state.
type RoutedState uint8

// The states.
const (
	RoutedSent   RoutedState = iota // it has
	RoutedNone                      // the step has none
	RoutedLayout                    // not laid out as expected
	RoutedLimit                     // too many
	RoutedRing                      // no room
	RoutedFault                     // unreadable
)

// Routed is struct pm_routed and the ids: the experts that the tokens of a step chose, or a
// part of them.
type Routed struct {
	Header
	Output uint64
	Update uint32
	Rows   uint32
	Layers uint16
	TopK   uint8
	Bytes  uint8 // of an id
	State  RoutedState
	First  uint32 // byte of all ids at which IDs begin

	IDs []byte
}

// Read reads the event b, whose header is h. The ids stay in b.
func (r *Routed) Read(h Header, b []byte) (err error) {
	if len(b) < RoutedSize {
		return sizeError(h, b, RoutedSize)
	}
	*r = Routed{
		Header: h,
		Output: le.Uint64(b[16:]),
		Update: le.Uint32(b[24:]),
		Rows:   le.Uint32(b[28:]),
		Layers: le.Uint16(b[32:]),
		TopK:   b[34],
		Bytes:  b[35],
		State:  RoutedState(b[36]),
		First:  le.Uint32(b[40:]),
	}
	if r.State > RoutedFault {
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(r.State), Want: int(RoutedFault)}
	}
	if r.State == RoutedSent && (r.TopK == 0 || r.TopK > MaxTopK || r.Layers == 0 || !idSize(r.Bytes)) {
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(r.TopK), Want: MaxTopK}
	}
	r.IDs, err = list(h, b, RoutedSize, int(le.Uint32(b[44:])), 1)
	return err
}

func idSize(n uint8) bool { return n == 1 || n == 2 || n == 4 || n == 8 }

// Size is the number of bytes of all ids of the step.
func (r *Routed) Size() int64 {
	return int64(r.Rows) * int64(r.Layers) * int64(r.TopK) * int64(r.Bytes)
}
