package cpython

import (
	"encoding/binary"
	"math"
	"unicode/utf16"
	"unicode/utf8"
)

// inlineStr is how many bytes of a str's characters are read with its head.
const inlineStr = 64

// Str reads a str or an instance of a subclass, as UTF-8. Lone surrogates
// become U+FFFD.
func (r *Runtime) Str(obj uint64) (string, error) {
	if _, err := r.want("str", obj, flagStr); err != nil {
		return "", err
	}
	return r.str(obj)
}

// str is Str where the type is known.
func (r *Runtime) str(obj uint64) (string, error) {
	o := &r.off.Str
	head := make([]byte, o.CompactData+8+inlineStr)
	if err := r.mem.ReadAt(obj, head); err != nil {
		head = head[:o.ASCIIData+8] // the end of a mapping is near
		if err := r.mem.ReadAt(obj, head); err != nil {
			return "", r.failErr("str", obj, err)
		}
	}
	h, err := r.strHead(obj, head)
	if err != nil {
		return "", err
	}
	if h.inObject && h.dataOff+h.bytes() <= len(head) {
		return h.decode(head[h.dataOff : h.dataOff+h.bytes()]), nil
	}
	data := obj + uint64(h.dataOff)
	if !h.inObject {
		if data, err = r.u64("str", data); err != nil {
			return "", err
		}
	}
	b, err := r.bytes("str", data, h.bytes())
	if err != nil {
		return "", err
	}
	return h.decode(b), nil
}

type strHead struct {
	chars, width int
	ascii        bool
	inObject     bool
	// dataOff is where the characters are, or the pointer to them.
	dataOff int
}

func (h strHead) bytes() int { return h.chars * h.width }

// strHead understands a str's first bytes.
func (r *Runtime) strHead(obj uint64, head []byte) (strHead, error) {
	o := &r.off.Str
	v := view{0, head}
	state := v.u32(o.State)
	h := strHead{
		width: int(state>>o.KindShift) & o.KindMask,
		ascii: int(state>>o.ASCIIShift)&o.ASCIIMask != 0,
	}
	if h.width != 1 && h.width != 2 && h.width != 4 {
		return h, r.fail(Unsupported, "str", obj, "kind is not 1, 2 or 4 bytes")
	}
	n := v.i64(o.Length)
	if n < 0 {
		return h, r.fail(BadLength, "str", obj, "negative")
	}
	if n > int64(r.limits.StrBytes/h.width) {
		return h, r.fail(Limit, "str", obj, "too long")
	}
	h.chars = int(n)
	compact := int(state>>o.CompactShift)&o.CompactMask != 0
	switch {
	case compact && h.ascii:
		h.inObject, h.dataOff = true, o.ASCIIData
	case compact:
		h.inObject, h.dataOff = true, o.CompactData
	default:
		h.dataOff = o.LegacyData
	}
	return h, nil
}

func (h strHead) decode(b []byte) string {
	if h.ascii && h.width == 1 {
		return string(b)
	}
	out := make([]byte, 0, len(b)+8)
	for i := 0; i+h.width <= len(b); i += h.width {
		var c rune
		switch h.width {
		case 1:
			c = rune(b[i])
		case 2:
			c = rune(binary.LittleEndian.Uint16(b[i:]))
		default:
			c = rune(binary.LittleEndian.Uint32(b[i:]))
		}
		if utf16.IsSurrogate(c) || !utf8.ValidRune(c) {
			c = utf8.RuneError
		}
		out = utf8.AppendRune(out, c)
	}
	return string(out)
}

// Int reads an int (or bool, or the number in an IntEnum). Overflow: it does
// not fit in 64 bits.
func (r *Runtime) Int(obj uint64) (int64, error) {
	if _, err := r.want("int", obj, flagInt); err != nil {
		return 0, err
	}
	o := &r.off.Int
	// Small ints have one digit and may be the last thing in their page.
	v, err := r.fields("int", obj, o.Tag, o.Digits)
	if err != nil {
		return 0, err
	}
	digits, negative := r.intSize(v.u64(o.Tag))
	switch {
	case digits == 0:
		return 0, nil
	case digits == 1:
		return signed(uint64(v.u32(o.Digits)), negative), nil
	case digits == 2:
		return signed(uint64(v.u32(o.Digits))|uint64(v.u32(o.Digits+4))<<30, negative), nil
	case digits > 3:
		return 0, r.fail(Overflow, "int", obj, "")
	}
	v3, err := r.fields("int", obj, o.Digits, o.Digits+4)
	if err != nil {
		return 0, err
	}
	top := uint64(v3.u32(o.Digits + 8))
	if top >= 1<<4 {
		return 0, r.fail(Overflow, "int", obj, "")
	}
	u := uint64(v3.u32(o.Digits)) | uint64(v3.u32(o.Digits+4))<<30 | top<<60
	if u > math.MaxInt64 && !(negative && u == 1<<63) {
		return 0, r.fail(Overflow, "int", obj, "")
	}
	return signed(u, negative), nil
}

// intSize gives the number of 30-bit digits and the sign.
func (r *Runtime) intSize(tag uint64) (digits uint64, negative bool) {
	if r.off.Int.TagIsSize {
		if size := int64(tag); size < 0 {
			return uint64(-size), true
		}
		return tag, false
	}
	return tag >> 3, tag&3 == 2
}

func signed(u uint64, negative bool) int64 {
	if negative {
		return -int64(u)
	}
	return int64(u)
}

// Bool reads True or False.
func (r *Runtime) Bool(obj uint64) (bool, error) {
	if _, err := r.wantNamed("bool", obj, "bool"); err != nil {
		return false, err
	}
	n, err := r.Int(obj)
	return n != 0, err
}

// Float reads a float or an instance of a subclass of known name; subclasses
// keep the value in the same place.
func (r *Runtime) Float(obj uint64) (float64, error) {
	t, err := r.Type(obj)
	if err != nil {
		return 0, err
	}
	for depth := 0; t.Name != "float"; depth++ {
		if t.Base == 0 || depth >= r.limits.MRO {
			return 0, r.fail(WrongType, "float", obj, "")
		}
		if t, err = r.TypeAt(t.Base); err != nil {
			return 0, err
		}
	}
	bits, err := r.u64("float", obj+uint64(r.off.Float.Value))
	return math.Float64frombits(bits), err
}

// IsNone reports whether obj is None. A null pointer is not.
func (r *Runtime) IsNone(obj uint64) bool {
	if r.img.NoneAddr != 0 {
		return obj == r.img.NoneAddr
	}
	t, err := r.Type(obj)
	return err == nil && t.Name == "NoneType"
}

// NoneAddr gives the address of None: the symbol, or what the builtins module
// of the main interpreter has.
func (r *Runtime) NoneAddr() (uint64, error) {
	if r.img.NoneAddr != 0 {
		return r.img.NoneAddr, nil
	}
	interp, err := r.MainInterpreter()
	if err != nil {
		return 0, err
	}
	dict, err := r.Module(interp, "builtins")
	if err != nil {
		return 0, err
	}
	return r.DictGet(dict, "None")
}

// Bytes reads a bytes object.
func (r *Runtime) Bytes(obj uint64) ([]byte, error) {
	if _, err := r.want("bytes", obj, flagBytes); err != nil {
		return nil, err
	}
	size, err := r.u64("bytes", obj+uint64(r.off.Bytes.Size))
	if err != nil {
		return nil, err
	}
	n, err := r.length("bytes", obj, int64(size), r.limits.StrBytes)
	if err != nil || n == 0 {
		return nil, err
	}
	return r.bytes("bytes", obj+uint64(r.off.Bytes.Data), n)
}

// BytesLen gives a bytes object's length without reading it.
func (r *Runtime) BytesLen(obj uint64) (int, error) {
	if _, err := r.want("bytes", obj, flagBytes); err != nil {
		return 0, err
	}
	size, err := r.u64("bytes", obj+uint64(r.off.Bytes.Size))
	if err != nil {
		return 0, err
	}
	return r.length("bytes", obj, int64(size), math.MaxInt)
}

// Raw reads n bytes of any object from its start, for objects of C++ bindings
// whose layout only the caller knows. n is bounded by Limits.StrBytes.
func (r *Runtime) Raw(obj uint64, n int) ([]byte, error) {
	n, err := r.length("raw", obj, int64(n), r.limits.StrBytes)
	if err != nil {
		return nil, err
	}
	return r.bytes("raw", obj, n)
}
