package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Sizes of the structs in bpf/event.h.
const (
	HeaderSize    = 16
	StepSize      = 96
	RowsSize      = 32
	StepRowSize   = 24
	DraftRowSize  = 16
	OutputRowSize = 16
	KeySize       = 8
	RequestSize   = 80
	PrefixSize    = 40
	UpdateSize    = 40
	KVSize        = 48
	BlockSize     = 4
)

// blockHashed is PM_BLOCK_HASHED.
const blockHashed = 0x80000000

var le = binary.LittleEndian

// Reason says what is wrong with an event.
type Reason string

// The reasons.
const (
	ReasonShort   Reason = "short"   // not even a header
	ReasonVersion Reason = "version" // another wire's version
	ReasonKind    Reason = "kind"    // no such kind
	ReasonSize    Reason = "size"    // shorter or longer than its struct
	ReasonRows    Reason = "rows"    // more rows announced than there are bytes
	ReasonValue   Reason = "value"   // a field has a value that the wire does not know
)

// Error is an event that cannot be read. Got and Want are bytes, or the value
// found and the one known.
type Error struct {
	Kind      Kind
	Reason    Reason
	Got, Want int
}

func (e *Error) Error() string {
	return fmt.Sprintf("event %v: wrong %s: %d, want %d", e.Kind, e.Reason, e.Got, e.Want)
}

// Read reads a header.
func (h *Header) Read(b []byte) error {
	if len(b) < HeaderSize {
		return &Error{Reason: ReasonShort, Got: len(b), Want: HeaderSize}
	}
	*h = Header{
		Ktime:   le.Uint64(b),
		Seq:     le.Uint32(b[8:]),
		Kind:    Kind(le.Uint16(b[12:])),
		Engine:  b[14],
		Version: b[15],
	}
	return nil
}

// Read reads the event b, whose header is h.
func (s *Step) Read(h Header, b []byte) error {
	if len(b) != StepSize {
		return sizeError(h, b, StepSize)
	}
	*s = Step{
		Header:         h,
		Output:         le.Uint64(b[16:]),
		Began:          math.Float64frombits(le.Uint64(b[24:])),
		Step:           le.Uint32(b[32:]),
		Tokens:         le.Uint32(b[36:]),
		Rows:           le.Uint32(b[40:]),
		NewRequests:    le.Uint32(b[44:]),
		CachedRequests: le.Uint32(b[48:]),
		Finished:       le.Uint32(b[52:]),
		Preempted:      le.Uint32(b[56:]),
		Victims:        le.Uint32(b[60:]),
		Drafts:         le.Uint32(b[64:]),
		EncoderInputs:  le.Uint32(b[68:]),
		Running:        le.Uint32(b[72:]),
		Waiting:        le.Uint32(b[76:]),
		Requests:       le.Uint32(b[80:]),
		FreeBlocks:     le.Uint32(b[84:]),
		Bad:            Bad(le.Uint32(b[88:])),
	}
	return nil
}

// read reads the head of a list whose rows have size bytes, and returns them.
func (r *Rows) read(h Header, b []byte, size int) ([]byte, error) {
	if len(b) < RowsSize {
		return nil, sizeError(h, b, RowsSize)
	}
	*r = Rows{
		Header: h,
		Step:   le.Uint32(b[16:]),
		First:  le.Uint32(b[20:]),
		Rows:   le.Uint16(b[24:]),
		What:   List(le.Uint16(b[26:])),
		Bad:    Bad(le.Uint32(b[28:])),
	}
	return list(h, b, RowsSize, int(r.Rows), size)
}

// Read reads the event b, whose header is h. The rows stay in b.
func (r *StepRows) Read(h Header, b []byte) (err error) {
	r.list, err = r.read(h, b, StepRowSize)
	return err
}

// Len is the number of rows.
func (r *StepRows) Len() int { return len(r.list) / StepRowSize }

// At is row i.
func (r *StepRows) At(i int) StepRow {
	b := r.list[i*StepRowSize:][:StepRowSize]
	return StepRow{
		Key:       le.Uint64(b),
		Scheduled: le.Uint32(b[8:]),
		Computed:  le.Uint32(b[12:]),
		NewBlocks: le.Uint32(b[16:]),
		Bad:       Bad(le.Uint32(b[20:])),
	}
}

// Read reads the event b, whose header is h. The keys stay in b.
func (k *Keys) Read(h Header, b []byte) (err error) {
	if k.list, err = k.read(h, b, KeySize); err != nil {
		return err
	}
	if k.What < ListFinished || k.What > ListVictims {
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(k.What), Want: int(ListVictims)}
	}
	return nil
}

// Len is the number of keys.
func (k *Keys) Len() int { return len(k.list) / KeySize }

// At is key i.
func (k *Keys) At(i int) uint64 { return le.Uint64(k.list[i*KeySize:]) }

// Read reads the event b, whose header is h. The rows stay in b.
func (d *Drafts) Read(h Header, b []byte) (err error) {
	d.list, err = d.read(h, b, DraftRowSize)
	return err
}

// Len is the number of rows.
func (d *Drafts) Len() int { return len(d.list) / DraftRowSize }

// At is row i.
func (d *Drafts) At(i int) DraftRow {
	b := d.list[i*DraftRowSize:][:DraftRowSize]
	return DraftRow{Key: le.Uint64(b), Drafts: le.Uint32(b[8:])}
}

// Read reads the event b, whose header is h. The rows stay in b.
func (o *OutputRows) Read(h Header, b []byte) (err error) {
	o.list, err = o.read(h, b, OutputRowSize)
	return err
}

// Len is the number of rows.
func (o *OutputRows) Len() int { return len(o.list) / OutputRowSize }

// At is row i.
func (o *OutputRows) At(i int) OutputRow {
	b := o.list[i*OutputRowSize:][:OutputRowSize]
	return OutputRow{
		Key:    le.Uint64(b),
		Tokens: le.Uint32(b[8:]),
		Finish: int16(le.Uint16(b[12:])),
		Client: le.Uint16(b[14:]),
	}
}

// Read reads the event b, whose header is h. The id stays in b.
func (r *Request) Read(h Header, b []byte) (err error) {
	if len(b) < RequestSize {
		return sizeError(h, b, RequestSize)
	}
	*r = Request{
		Header:       h,
		Key:          le.Uint64(b[16:]),
		Object:       le.Uint64(b[24:]),
		Arrival:      math.Float64frombits(le.Uint64(b[32:])),
		Step:         le.Uint32(b[40:]),
		Why:          Why(le.Uint32(b[44:])),
		PromptTokens: le.Uint32(b[48:]),
		Tokens:       le.Uint32(b[52:]),
		Computed:     le.Uint32(b[56:]),
		Preemptions:  le.Uint32(b[60:]),
		MaxTokens:    le.Uint32(b[64:]),
		Priority:     int32(le.Uint32(b[68:])),
		Bad:          Bad(le.Uint32(b[72:])),
		IDKind:       b[78],
		IDFlags:      b[79],
	}
	if r.Why < WhyNew || r.Why > WhySync {
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(r.Why), Want: int(WhySync)}
	}
	r.ID, err = list(h, b, RequestSize, int(le.Uint16(b[76:])), 1)
	return err
}

// Read reads the event b, whose header is h. The blocks stay in b.
func (p *Prefix) Read(h Header, b []byte) (err error) {
	if len(b) < PrefixSize {
		return sizeError(h, b, PrefixSize)
	}
	*p = Prefix{
		Header: h,
		Key:    le.Uint64(b[16:]),
		Step:   le.Uint32(b[24:]),
		Group:  le.Uint16(b[28:]),
		First:  le.Uint32(b[32:]),
		Bad:    Bad(le.Uint32(b[36:])),
	}
	p.list, err = list(h, b, PrefixSize, int(le.Uint16(b[30:])), BlockSize)
	return err
}

// Len is the number of blocks.
func (p *Prefix) Len() int { return len(p.list) / BlockSize }

// At is block i's id.
func (p *Prefix) At(i int) uint32 { return le.Uint32(p.list[i*BlockSize:]) &^ blockHashed }

// Read reads the event b, whose header is h.
func (u *Update) Read(h Header, b []byte) error {
	if len(b) != UpdateSize {
		return sizeError(h, b, UpdateSize)
	}
	*u = Update{
		Header: h,
		Output: le.Uint64(b[16:]),
		Update: le.Uint32(b[24:]),
		Rows:   le.Uint32(b[28:]),
		Bad:    Bad(le.Uint32(b[32:])),
	}
	return nil
}

// Read reads the event b, whose header is h. The blocks stay in b.
func (k *KV) Read(h Header, b []byte) (err error) {
	if len(b) < KVSize {
		return sizeError(h, b, KVSize)
	}
	*k = KV{
		Header:     h,
		Owner:      le.Uint64(b[16:]),
		FreeBefore: le.Uint32(b[24:]),
		FreeAfter:  le.Uint32(b[28:]),
		First:      le.Uint32(b[32:]),
		Op:         KVOp(b[38]),
		More:       b[39] != 0,
		Blocks:     le.Uint32(b[40:]),
		Bad:        Bad(le.Uint32(b[44:])),
	}
	if k.Op < OpAlloc || k.Op > OpOther {
		return &Error{Kind: h.Kind, Reason: ReasonValue, Got: int(k.Op), Want: int(OpOther)}
	}
	k.list, err = list(h, b, KVSize, int(le.Uint16(b[36:])), BlockSize)
	return err
}

// Len is the number of blocks in this event.
func (k *KV) Len() int { return len(k.list) / BlockSize }

// At is block i's id, and whether the block carried a prefix-cache hash.
func (k *KV) At(i int) (id uint32, hashed bool) {
	v := le.Uint32(k.list[i*BlockSize:])
	return v &^ blockHashed, v&blockHashed != 0
}

func sizeError(h Header, b []byte, want int) error {
	return &Error{Kind: h.Kind, Reason: ReasonSize, Got: len(b), Want: want}
}

// list is the rows behind a head. A ring record may be longer than what its
// rows fill; what lies behind them says nothing.
func list(h Header, b []byte, head, rows, size int) ([]byte, error) {
	end := head + rows*size
	if len(b) < end {
		return nil, &Error{Kind: h.Kind, Reason: ReasonRows, Got: len(b), Want: end}
	}
	return b[head:end:end], nil
}
