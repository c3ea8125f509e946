package journal

import "encoding/binary"

// A block is the inside of a frame before compression:
//
//	byte     number of classes
//	byte[]   for each class its records' kind byte
//	byte[]   for each record its class
//	uvarint  for each record the length of its payload
//	byte[]   for each class its payloads
//
// Payloads of events are written by columns: each is taken, in words of 32 bits
// (a rest bytewise), as the difference from the one before it in its class, and
// of these differences byte 0 of every record comes first, then byte 1 of every
// record that is as long, and so on. Steps of a steady server differ in
// counters only, so nearly all columns are constant. Before the columns stand
// the class's tail and, for each payload, the number of its shifts and these
// (see columns.go), as varints.
//
// Events of a class have the same bytes 12 to 15 (their kind and engine, see
// struct pm_hdr) and 20 to 23 (which part of a list they are, struct pm_rows).
// That is all this package knows of them, and only the size depends on it.
//
// Payloads of other kinds are written one after the other as they are.

const (
	maxClasses = 255
	classWord  = 12 // offsets of the bytes that tell events apart
	partWord   = 20
)

func byColumns(kind byte) bool { return kind == KindEvent }

// A span is a payload's place in a block's data.
type span struct{ at, size uint32 }

// blockWriter collects records and makes a block of them.
type blockWriter struct {
	data    []byte // payloads, one after the other
	spans   []span
	classOf []byte

	kinds   []byte // of the classes
	classes map[classKey]byte

	scratch columns
	shifts  []shift // of all payloads of a class
	counts  []int   // of each
}

func (b *blockWriter) reset() {
	b.data, b.spans, b.classOf, b.kinds = b.data[:0], b.spans[:0], b.classOf[:0], b.kinds[:0]
	clear(b.classes)
}

// classKey tells classes apart.
type classKey struct {
	kind        byte
	class, part uint32
}

func classOf(kind byte, payload []byte) classKey {
	key := classKey{kind: kind}
	if !byColumns(kind) {
		return key
	}
	if len(payload) >= classWord+4 {
		key.class = binary.LittleEndian.Uint32(payload[classWord:])
	}
	if len(payload) >= partWord+4 {
		key.part = binary.LittleEndian.Uint32(payload[partWord:])
	}
	return key
}

// add says false when the block has no room for another class.
func (b *blockWriter) add(kind byte, payload []byte) bool {
	key := classOf(kind, payload)
	class, ok := b.classes[key]
	if !ok {
		if len(b.kinds) == maxClasses {
			return false
		}
		if b.classes == nil {
			b.classes = make(map[classKey]byte)
		}
		class = byte(len(b.kinds))
		b.kinds = append(b.kinds, kind)
		b.classes[key] = class
	}
	b.spans = append(b.spans, span{uint32(len(b.data)), uint32(len(payload))})
	b.classOf = append(b.classOf, class)
	b.data = append(b.data, payload...)
	return true
}

// encode appends the block to dst. The collected payloads are used up.
func (b *blockWriter) encode(dst []byte) []byte {
	dst = append(dst, byte(len(b.kinds)))
	dst = append(dst, b.kinds...)
	dst = append(dst, b.classOf...)
	for _, s := range b.spans {
		dst = binary.AppendUvarint(dst, uint64(s.size))
	}
	for class, kind := range b.kinds {
		spans := b.scratch.pick(b.spans, b.classOf, byte(class))
		if !byColumns(kind) {
			for _, s := range spans {
				dst = append(dst, s.of(b.data)...)
			}
			continue
		}
		dst = b.subtract(dst, spans)
		dst = b.scratch.gather(dst, b.data, spans)
	}
	return dst
}

func (s span) of(data []byte) []byte { return data[s.at : s.at+s.size : s.at+s.size] }

// subtract replaces each payload by its difference from the one before it, and
// appends the shifts to dst.
func (b *blockWriter) subtract(dst []byte, spans []span) []byte {
	tail := tailOf(b.data, spans)
	dst = binary.AppendUvarint(dst, uint64(tail/4))
	b.shifts, b.counts = b.shifts[:0], b.counts[:0]
	for i := range spans {
		had := len(b.shifts)
		if i > 0 {
			b.shifts = appendShifts(b.shifts, head(spans[i].of(b.data), tail), head(spans[i-1].of(b.data), tail))
		}
		b.counts = append(b.counts, len(b.shifts)-had)
		dst = binary.AppendUvarint(dst, uint64(len(b.shifts)-had))
		for _, s := range b.shifts[had:] {
			dst = binary.AppendUvarint(dst, uint64(s.at/8))
			dst = binary.AppendVarint(dst, int64(s.by/8))
		}
	}
	// Backwards, so that every reference is still whole.
	shifts := b.shifts
	for i := len(spans) - 1; i >= 0; i-- {
		p := spans[i].of(b.data)
		if tail > 0 {
			subtractTail(p, tail)
		}
		if i > 0 {
			own := len(shifts) - b.counts[i]
			segments(head(p, tail), head(spans[i-1].of(b.data), tail), shifts[own:], subtract)
			shifts = shifts[:own]
		}
	}
	return dst
}

// blockReader is the other way round.
type blockReader struct {
	plain   []byte // room for blocks
	data    []byte
	spans   []span
	kinds   []byte
	classOf []byte

	scratch columns
	shifts  []shift
	counts  []int
}

// decode takes a block apart. The records are valid until the next call; what
// they say refers to block, too. It says false if block is not one.
func (b *blockReader) decode(block []byte, h frameHeader) bool {
	if len(block) < 1 || len(block) < 1+int(block[0])+int(h.records) {
		return false
	}
	classes := int(block[0])
	b.kinds = block[1 : 1+classes]
	b.classOf = block[1+classes : 1+classes+int(h.records)]
	rest := block[1+classes+int(h.records):]

	b.spans = b.spans[:0]
	at, ok := uint64(0), false
	for _, class := range b.classOf {
		var size uint64
		size, rest, ok = uvarint(rest)
		if !ok || int(class) >= classes || size > MaxRecord || at+size > uint64(h.bytes) {
			return false
		}
		b.spans = append(b.spans, span{uint32(at), uint32(size)})
		at += size
	}
	if at != uint64(h.bytes) || at > uint64(len(rest)) {
		return false
	}
	if cap(b.data) < int(at) {
		b.data = make([]byte, at)
	}
	b.data = b.data[:at]
	for class, kind := range b.kinds {
		spans := b.scratch.pick(b.spans, b.classOf, byte(class))
		if byColumns(kind) {
			rest, ok = b.columns(rest, spans)
		} else {
			rest, ok = b.asTheyAre(rest, spans)
		}
		if !ok {
			return false
		}
	}
	return len(rest) == 0
}

// record is one of the block that was decoded.
func (b *blockReader) record(i int) Record {
	return Record{b.kinds[b.classOf[i]], b.spans[i].of(b.data)}
}

func (b *blockReader) asTheyAre(rest []byte, spans []span) ([]byte, bool) {
	for _, s := range spans {
		if len(rest) < int(s.size) {
			return nil, false
		}
		rest = rest[copy(s.of(b.data), rest):]
	}
	return rest, true
}

func (b *blockReader) columns(rest []byte, spans []span) ([]byte, bool) {
	b.shifts, b.counts = b.shifts[:0], b.counts[:0]
	words, rest, ok := uvarint(rest)
	if !ok || words > MaxRecord {
		return nil, false
	}
	tail, size := 4*int(words), 0
	for _, s := range spans {
		size += int(s.size)
		had := len(b.shifts)
		if rest, ok = b.readShifts(rest, int(s.size)); !ok {
			return nil, false
		}
		b.counts = append(b.counts, len(b.shifts)-had)
	}
	if len(rest) < size {
		return nil, false
	}
	rest = b.scratch.scatter(rest, b.data, spans)
	shifts := b.shifts
	for i, n := range b.counts {
		p := spans[i].of(b.data)
		if i > 0 {
			segments(head(p, tail), head(spans[i-1].of(b.data), tail), shifts[:n], add)
		}
		if tail > 0 {
			addTail(p, tail)
		}
		shifts = shifts[n:]
	}
	return rest, true
}

// readShifts appends the shifts of a payload to b.shifts. They rise, so that
// putting a payload together takes time by its size alone.
func (b *blockReader) readShifts(rest []byte, size int) ([]byte, bool) {
	n, rest, ok := uvarint(rest)
	if !ok {
		return nil, false
	}
	for last := -1; n > 0; n-- {
		var at uint64
		if at, rest, ok = uvarint(rest); !ok || at > uint64(size/8) || int(at) <= last {
			return nil, false
		}
		by, used := binary.Varint(rest)
		if used <= 0 || by > MaxRecord || by < -MaxRecord {
			return nil, false
		}
		rest = rest[used:]
		last = int(at)
		b.shifts = append(b.shifts, shift{8 * int(at), 8 * int(by)})
	}
	return rest, true
}

func uvarint(b []byte) (uint64, []byte, bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}
