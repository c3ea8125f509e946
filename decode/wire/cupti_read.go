package wire

import "math"

// Sizes of the structs in bpf/cupti.h.
const (
	CUPTICallSize   = 64
	CUPTIReplaySize = 56
	CUPTIKernelSize = 88
	CUPTICopySize   = 72
	CUPTINameSize   = 24
	CUPTIWindowSize = 40
	CUPTIMoESize    = 48
	CUPTIClockSize  = 40
)

// Read reads the event b, whose header is h.
func (c *CUPTICall) Read(h Header, b []byte) error {
	if len(b) != CUPTICallSize {
		return sizeError(h, b, CUPTICallSize)
	}
	*c = CUPTICall{
		Header:      h,
		Began:       le.Uint64(b[16:]),
		Ended:       le.Uint64(b[24:]),
		Exec:        le.Uint64(b[32:]),
		Stream:      le.Uint64(b[40:]),
		Thread:      le.Uint32(b[48:]),
		Correlation: le.Uint32(b[52:]),
		Runtime:     le.Uint32(b[56:]),
	}
	return nil
}

// Read reads the event b, whose header is h.
func (r *CUPTIReplay) Read(h Header, b []byte) error {
	if len(b) != CUPTIReplaySize {
		return sizeError(h, b, CUPTIReplaySize)
	}
	*r = CUPTIReplay{
		Header:      h,
		Start:       le.Uint64(b[16:]),
		End:         le.Uint64(b[24:]),
		Correlation: le.Uint32(b[32:]),
		Graph:       le.Uint32(b[36:]),
		Device:      le.Uint32(b[40:]),
		Context:     le.Uint32(b[44:]),
		Stream:      le.Uint32(b[48:]),
	}
	return spanError(h, r.Start, r.End)
}

// Read reads the event b, whose header is h.
func (k *CUPTIKernel) Read(h Header, b []byte) error {
	if len(b) != CUPTIKernelSize {
		return sizeError(h, b, CUPTIKernelSize)
	}
	*k = CUPTIKernel{
		Header:      h,
		Start:       le.Uint64(b[16:]),
		End:         le.Uint64(b[24:]),
		Node:        le.Uint64(b[32:]),
		Name:        le.Uint32(b[40:]),
		Correlation: le.Uint32(b[44:]),
		Graph:       le.Uint32(b[48:]),
		Device:      le.Uint32(b[52:]),
		Context:     le.Uint32(b[56:]),
		Stream:      le.Uint32(b[60:]),
		Grid:        [3]uint32{le.Uint32(b[64:]), le.Uint32(b[68:]), le.Uint32(b[72:])},
		Block:       [3]uint16{le.Uint16(b[76:]), le.Uint16(b[78:]), le.Uint16(b[80:])},
		Registers:   le.Uint16(b[82:]),
		Shared:      le.Uint32(b[84:]),
	}
	return spanError(h, k.Start, k.End)
}

// Read reads the event b, whose header is h.
func (c *CUPTICopy) Read(h Header, b []byte) error {
	if len(b) != CUPTICopySize {
		return sizeError(h, b, CUPTICopySize)
	}
	*c = CUPTICopy{
		Header:      h,
		Start:       le.Uint64(b[16:]),
		End:         le.Uint64(b[24:]),
		Node:        le.Uint64(b[32:]),
		Bytes:       le.Uint64(b[40:]),
		Correlation: le.Uint32(b[48:]),
		Graph:       le.Uint32(b[52:]),
		Device:      le.Uint32(b[56:]),
		Context:     le.Uint32(b[60:]),
		Stream:      le.Uint32(b[64:]),
		Kind:        le.Uint32(b[68:]),
	}
	return spanError(h, c.Start, c.End)
}

// Read reads the event b, whose header is h. The name stays in b.
func (n *CUPTIName) Read(h Header, b []byte) (err error) {
	if len(b) < CUPTINameSize {
		return sizeError(h, b, CUPTINameSize)
	}
	*n = CUPTIName{Header: h, ID: le.Uint32(b[16:]), Flags: le.Uint16(b[22:])}
	n.Name, err = list(h, b, CUPTINameSize, int(le.Uint16(b[20:])), 1)
	return err
}

// Read reads the event b, whose header is h.
func (w *CUPTIWindow) Read(h Header, b []byte) error {
	if len(b) != CUPTIWindowSize {
		return sizeError(h, b, CUPTIWindowSize)
	}
	*w = CUPTIWindow{
		Header: h,
		Began:  le.Uint64(b[16:]),
		Ended:  le.Uint64(b[24:]),
		Number: le.Uint32(b[32:]),
		On:     le.Uint32(b[36:]) != 0,
	}
	return spanError(h, w.Began, w.Ended)
}

// Read reads the event b, whose header is h. The ids and weights stay in b.
func (m *CUPTIMoE) Read(h Header, b []byte) error {
	if len(b) < CUPTIMoESize {
		return sizeError(h, b, CUPTIMoESize)
	}
	*m = CUPTIMoE{
		Header:  h,
		Time:    le.Uint64(b[16:]),
		Ordinal: le.Uint32(b[24:]),
		Run:     le.Uint32(b[28:]),
		Rows:    le.Uint32(b[32:]),
		First:   le.Uint32(b[36:]),
		Count:   le.Uint16(b[40:]),
		TopK:    b[42],
		Bytes:   b[43],
		Experts: le.Uint16(b[44:]),
		Flags:   le.Uint16(b[46:]),
	}
	switch {
	case m.TopK == 0 || m.TopK > MaxTopK:
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(m.TopK), Want: MaxTopK}
	case m.Bytes != 1 && m.Bytes != 2:
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(m.Bytes), Want: 2}
	case m.Flags&^CUPTIMoEWeights != 0:
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(m.Flags), Want: CUPTIMoEWeights}
	case m.Count == 0 || uint64(m.First)+uint64(m.Count) > uint64(m.Rows):
		return &Error{Kind: h.Kind, Reason: ReasonRows, Got: int(m.First) + int(m.Count), Want: int(m.Rows)}
	}
	n := int(m.Count) * int(m.TopK)
	end := CUPTIMoESize + n*int(m.Bytes)
	want := end
	if m.Flags&CUPTIMoEWeights != 0 {
		want += 2 * n
	}
	if len(b) != want {
		return sizeError(h, b, want)
	}
	m.IDs = b[CUPTIMoESize:end:end]
	if want > end {
		m.Weights = b[end:want:want]
	}
	return nil
}

// ID is the k-th expert that a row of this event chose.
func (m *CUPTIMoE) ID(row, k int) uint16 {
	at := row*int(m.TopK) + k
	if m.Bytes == 1 {
		return uint16(m.IDs[at])
	}
	return le.Uint16(m.IDs[2*at:])
}

// Weight is what that expert's output is multiplied by.
func (m *CUPTIMoE) Weight(row, k int) float32 {
	return Half(le.Uint16(m.Weights[2*(row*int(m.TopK)+k):]))
}

// Half is the value of a binary16.
func Half(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0: // subnormal: a multiple of 2^-24
		v := float32(fraction) / (1 << 24)
		return math.Float32frombits(sign | math.Float32bits(v))
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// Read reads the event b, whose header is h.
func (c *CUPTIClock) Read(h Header, b []byte) error {
	if len(b) != CUPTIClockSize {
		return sizeError(h, b, CUPTIClockSize)
	}
	*c = CUPTIClock{Header: h, Before: le.Uint64(b[16:]), GPU: le.Uint64(b[24:]), After: le.Uint64(b[32:])}
	return spanError(h, c.Before, c.After)
}

// maxSpanNS is longer than anything on a GPU takes.
const maxSpanNS = 3600e9

func spanError(h Header, start, end uint64) error {
	if end < start || end-start > maxSpanNS {
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(end - start), Want: maxSpanNS}
	}
	return nil
}
