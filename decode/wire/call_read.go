package wire

// Sizes of the structs of CUDA calls in bpf/event.h.
const (
	CallSize        = 64
	PhaseChangeSize = 64
	WorkerStepSize  = 48
)

// Read reads the event b, whose header is h.
func (c *Call) Read(h Header, b []byte) error {
	if len(b) != CallSize {
		return sizeError(h, b, CallSize)
	}
	*c = Call{
		Header: h,
		A:      le.Uint64(b[16:]),
		B:      le.Uint64(b[24:]),
		C:      le.Uint64(b[32:]),
		Began:  le.Uint64(b[40:]),
		Thread: le.Uint32(b[48:]),
		Step:   le.Uint32(b[52:]),
		Result: int32(le.Uint32(b[56:])),
		Row:    Row(b[60]),
		Phase:  Phase(b[61]),
		Flags:  b[62],
	}
	if c.Row == RowNone || c.Row > RowRecv {
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(c.Row), Want: int(RowRecv)}
	}
	return phaseError(h, c.Phase)
}

// Read reads the event b, whose header is h.
func (p *PhaseChange) Read(h Header, b []byte) error {
	if len(b) != PhaseChangeSize {
		return sizeError(h, b, PhaseChangeSize)
	}
	*p = PhaseChange{
		Header:   h,
		First:    le.Uint64(b[16:]),
		Last:     le.Uint64(b[24:]),
		Copied:   le.Uint64(b[32:]),
		Thread:   le.Uint32(b[40:]),
		Step:     le.Uint32(b[44:]),
		Calls:    le.Uint32(b[48:]),
		Launches: le.Uint32(b[52:]),
		Copies:   le.Uint32(b[56:]),
		Phase:    Phase(b[60]),
		Before:   Phase(b[61]),
		Row:      Row(b[62]),
		Flags:    b[63],
	}
	return phaseError(h, max(p.Phase, p.Before))
}

// Read reads the event b, whose header is h.
func (s *WorkerStep) Read(h Header, b []byte) error {
	if len(b) != WorkerStepSize {
		return sizeError(h, b, WorkerStepSize)
	}
	*s = WorkerStep{
		Header:   h,
		Output:   le.Uint64(b[16:]),
		Thread:   le.Uint32(b[24:]),
		Step:     le.Uint32(b[28:]),
		Tokens:   le.Uint32(b[32:]),
		Requests: le.Uint32(b[36:]),
		Bad:      Bad(le.Uint32(b[40:])),
	}
	return nil
}

func phaseError(h Header, p Phase) error {
	if p >= Phases {
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(p), Want: int(Phases) - 1}
	}
	return nil
}
