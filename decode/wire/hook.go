package wire

// HookSize is that of struct pm_hook_call, without its values.
const HookSize = 56

// MaxHookValues is PM_HOOK_VALUES.
const MaxHookValues = 8

// ValueKind is enum pm_value: what a captured value is.
type ValueKind uint8

// The kinds.
const (
	ValueNot   ValueKind = iota // not to be had
	ValueInt                    // signed
	ValueFloat                  // bits of a double
	ValueBool
	ValueLength
	ValueNone  // Python's None
	ValueBig   // an int that 64 bits do not hold
	ValueOther // an object of another kind
	ValueRaw   // 64 bits, of the type that the hook's fact says
	valueKinds
)

// Bits of Hook.Flags.
const (
	HookReturned = 1 // Duration and Result are known
	HookRaised   = 2 // left by an exception
)

// Hook is struct pm_hook_call. Header.Engine is the hook's index here.
type Hook struct {
	Header
	Duration uint64
	Result   uint64
	Thread   uint32 // 0: the hook's one
	Call     uint32
	Flags    uint8
	Values   []HookValue
}

// HookValue is a captured value.
type HookValue struct {
	Kind ValueKind
	Bits uint64
}

// Read reads the event b, whose header is h.
func (k *Hook) Read(h Header, b []byte) error {
	if len(b) < HookSize {
		return sizeError(h, b, HookSize)
	}
	n := int(b[48])
	if n > MaxHookValues {
		return &Error{Kind: h.Kind, Reason: ReasonRows, Got: n, Want: MaxHookValues}
	}
	if want := HookSize + 8*n; len(b) != want {
		return sizeError(h, b, want)
	}
	values := k.Values[:0]
	for i := range n {
		kind := ValueKind(b[40+i])
		if kind >= valueKinds {
			return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(kind), Want: int(valueKinds) - 1}
		}
		values = append(values, HookValue{kind, le.Uint64(b[HookSize+8*i:])})
	}
	*k = Hook{
		Header:   h,
		Duration: le.Uint64(b[16:]),
		Result:   le.Uint64(b[24:]),
		Thread:   le.Uint32(b[32:]),
		Call:     le.Uint32(b[36:]),
		Flags:    b[49],
		Values:   values,
	}
	return nil
}
