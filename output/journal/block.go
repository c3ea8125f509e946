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
// (a rest bytewise), as the difference from the last one of its class, and of
// these differences byte 0 of every record comes first, then byte 1 of every
// record that is as long, and so on. Steps of a steady server differ in
// counters only, so nearly all columns are constant. Events of a class are of
// one kind and one engine: they have the same bytes 12 to 15 (struct pm_hdr).
// That is all this package knows of them, and only the size depends on it.
//
// Payloads of other kinds are written one after the other as they are.

const (
	maxClasses = 255
	classWord  = 12 // offset of the four bytes that tell events apart
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
	classes map[uint64]byte

	scratch columns
}

func (b *blockWriter) reset() {
	b.data, b.spans, b.classOf, b.kinds = b.data[:0], b.spans[:0], b.classOf[:0], b.kinds[:0]
	clear(b.classes)
}

// add says false when the block has no room for another class.
func (b *blockWriter) add(kind byte, payload []byte) bool {
	key := uint64(kind)
	if byColumns(kind) && len(payload) >= classWord+4 {
		key |= uint64(binary.LittleEndian.Uint32(payload[classWord:]))<<8 | 1<<40
	}
	class, ok := b.classes[key]
	if !ok {
		if len(b.kinds) == maxClasses {
			return false
		}
		if b.classes == nil {
			b.classes = make(map[uint64]byte)
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
				dst = append(dst, b.data[s.at:s.at+s.size]...)
			}
			continue
		}
		b.scratch.subtract(b.data, spans)
		dst = b.scratch.gather(dst, b.data, spans)
	}
	return dst
}

// blockReader is the other way round.
type blockReader struct {
	data    []byte
	spans   []span
	kinds   []byte
	classOf []byte

	scratch columns
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
	at := uint64(0)
	for _, class := range b.classOf {
		size, n := binary.Uvarint(rest)
		if int(class) >= classes || n <= 0 || size > MaxRecord || at+size > uint64(h.bytes) {
			return false
		}
		b.spans = append(b.spans, span{uint32(at), uint32(size)})
		at += size
		rest = rest[n:]
	}
	if at != uint64(h.bytes) || uint64(len(rest)) != at {
		return false
	}
	if cap(b.data) < int(at) {
		b.data = make([]byte, at)
	}
	b.data = b.data[:at]
	for class, kind := range b.kinds {
		spans := b.scratch.pick(b.spans, b.classOf, byte(class))
		if !byColumns(kind) {
			for _, s := range spans {
				rest = rest[copy(b.data[s.at:s.at+s.size], rest):]
			}
			continue
		}
		rest = b.scratch.scatter(rest, b.data, spans)
		b.scratch.add(b.data, spans)
	}
	return true
}
