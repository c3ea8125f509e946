package journal

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// columns turns the payloads of one class into columns of differences and back.
// It holds what is needed again for each class.
type columns struct {
	spans []span
	alive []span
}

// pick returns the places of the payloads of one class, in order.
func (c *columns) pick(spans []span, classOf []byte, class byte) []span {
	c.spans = c.spans[:0]
	for i, of := range classOf {
		if of == class {
			c.spans = append(c.spans, spans[i])
		}
	}
	return c.spans
}

// A payload is taken as the difference from the one before it in its class.
// Where rows were taken out or put in (a request ended, another began), the
// rows behind them would be compared with their neighbours. So a payload has
// shifts: from byte `at` on, the reference lies `by` bytes further on than
// before. They are found by the addresses that rows begin with; any are right,
// and good ones make the differences small.
type shift struct {
	at int // multiple of 8
	by int // multiple of 8, may be negative
}

// shiftReach bounds the search for a row, in bytes each way.
const shiftReach = 1024

// addressLike says whether v may be the address of a Python object. The point
// is to take no counter for one.
func addressLike(v uint64) bool { return v>>40 != 0 && v>>47 == 0 && v&7 == 0 }

// appendShifts appends the shifts of p over its reference q.
func appendShifts(shifts []shift, p, q []byte) []shift {
	by := 0
	for at := 0; at+8 <= len(p); at += 8 {
		v := binary.LittleEndian.Uint64(p[at:])
		if from := at + by; from >= 0 && from+8 <= len(q) && binary.LittleEndian.Uint64(q[from:]) == v {
			continue
		}
		if !addressLike(v) {
			continue
		}
		if d, ok := search(q, at+by, v); ok {
			shifts = append(shifts, shift{at, d})
			by += d
		}
	}
	return shifts
}

// search finds v in q at a multiple of 8 from at, the nearest first.
func search(q []byte, at int, v uint64) (int, bool) {
	for d := 8; d <= shiftReach; d += 8 {
		if i := at + d; i >= 0 && i+8 <= len(q) && binary.LittleEndian.Uint64(q[i:]) == v {
			return d, true
		}
		if i := at - d; i >= 0 && i+8 <= len(q) && binary.LittleEndian.Uint64(q[i:]) == v {
			return -d, true
		}
	}
	return 0, false
}

// segments calls f with the pieces of p and of its reference q that lie over
// one another. What of p has nothing in q under it stays as it is.
func segments(p, q []byte, shifts []shift, f func(p, q []byte)) {
	by, begin := 0, 0
	for i := 0; ; i++ {
		end := len(p)
		if i < len(shifts) {
			end = shifts[i].at
		}
		from, to := max(begin, -by), min(end, len(q)-by)
		if from < to {
			f(p[from:to], q[from+by:to+by])
		}
		if i == len(shifts) {
			return
		}
		begin = end
		by += shifts[i].by
	}
}

func subtract(p, q []byte) {
	for len(p) >= 4 && len(q) >= 4 {
		binary.LittleEndian.PutUint32(p, binary.LittleEndian.Uint32(p)-binary.LittleEndian.Uint32(q))
		p, q = p[4:], q[4:]
	}
	for i := range p {
		p[i] -= q[i]
	}
}

func add(p, q []byte) {
	for len(p) >= 4 && len(q) >= 4 {
		binary.LittleEndian.PutUint32(p, binary.LittleEndian.Uint32(p)+binary.LittleEndian.Uint32(q))
		p, q = p[4:], q[4:]
	}
	for i := range p {
		p[i] += q[i]
	}
}

// Lists of ids, such as blocks, have little to do with the list of the event
// before, and much with themselves: ids often follow one another. So a class may
// have a tail: from that offset on, each word is taken as the difference from
// the word before it in its payload.

// tailOf chooses the tail of a class, or none (0): behind the shortest payload,
// if that leaves fewer bytes that are not 0.
func tailOf(data []byte, spans []span) int {
	shortest, longest := spans[0].size, uint32(0)
	for _, s := range spans {
		shortest, longest = min(shortest, s.size), max(longest, s.size)
	}
	tail := int(shortest &^ 3)
	if shortest == longest || tail < 4 {
		return 0
	}
	across, along := 0, 0
	for i, s := range spans {
		p := s.of(data)
		var q []byte
		if i > 0 {
			q = spans[i-1].of(data)
		}
		for at := tail; at+4 <= len(p); at += 4 {
			v := binary.LittleEndian.Uint32(p[at:])
			along += size(v - binary.LittleEndian.Uint32(p[at-4:]))
			if at+4 <= len(q) {
				v -= binary.LittleEndian.Uint32(q[at:])
			}
			across += size(v)
		}
	}
	if along < across {
		return tail
	}
	return 0
}

// size is about what a difference costs.
func size(v uint32) int {
	if int32(v) < 0 {
		v = -v
	}
	return (bits.Len32(v) + 7) / 8
}

func subtractTail(p []byte, tail int) {
	for at := (len(p) &^ 3) - 4; at >= tail; at -= 4 {
		subtract(p[at:at+4], p[at-4:at])
	}
}

func addTail(p []byte, tail int) {
	for at := tail; at+4 <= len(p); at += 4 {
		add(p[at:at+4], p[at-4:at])
	}
}

// head is the part of a payload before its tail.
func head(p []byte, tail int) []byte {
	if tail == 0 || tail > len(p) {
		return p
	}
	return p[:tail]
}

// walk calls visit with ranges of columns and the payloads that reach all of
// the range. Payloads are let go of as they end, so that the time is bounded by
// the bytes whatever the lengths.
func (c *columns) walk(spans []span, visit func(column, end int, alive []span)) {
	c.alive = append(c.alive[:0], spans...)
	alive := c.alive
	for column := uint32(0); ; {
		alive = slices.DeleteFunc(alive, func(s span) bool { return s.size <= column })
		if len(alive) == 0 {
			return
		}
		end := alive[0].size
		for _, s := range alive {
			end = min(end, s.size)
		}
		visit(int(column), int(end), alive)
		column = end
	}
}

// Eight columns at a time, so that a payload is touched once for all of them.
const atOnce = 8

func (c *columns) gather(dst, data []byte, spans []span) []byte {
	c.walk(spans, func(column, end int, alive []span) {
		n := len(alive)
		at := len(dst)
		dst = slices.Grow(dst, n*(end-column))[:at+n*(end-column)]
		for out := dst[at:]; column < end; {
			if end-column < atOnce {
				for i, s := range alive {
					out[i] = data[int(s.at)+column]
				}
				out = out[n:]
				column++
				continue
			}
			o0, o1, o2, o3 := out[:n], out[n:][:n], out[2*n:][:n], out[3*n:][:n]
			o4, o5, o6, o7 := out[4*n:][:n], out[5*n:][:n], out[6*n:][:n], out[7*n:][:n]
			for i, s := range alive {
				v := binary.LittleEndian.Uint64(data[int(s.at)+column:])
				o0[i], o1[i], o2[i], o3[i] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
				o4[i], o5[i], o6[i], o7[i] = byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56)
			}
			out = out[atOnce*n:]
			column += atOnce
		}
	})
	return dst
}

// scatter is the inverse of gather; it returns what is left of src. src holds
// as many bytes as the payloads do.
func (c *columns) scatter(src, data []byte, spans []span) []byte {
	c.walk(spans, func(column, end int, alive []span) {
		n := len(alive)
		for column < end {
			if end-column < atOnce {
				for i, s := range alive {
					data[int(s.at)+column] = src[i]
				}
				src = src[n:]
				column++
				continue
			}
			s0, s1, s2, s3 := src[:n], src[n:][:n], src[2*n:][:n], src[3*n:][:n]
			s4, s5, s6, s7 := src[4*n:][:n], src[5*n:][:n], src[6*n:][:n], src[7*n:][:n]
			for i, s := range alive {
				v := uint64(s0[i]) | uint64(s1[i])<<8 | uint64(s2[i])<<16 | uint64(s3[i])<<24 |
					uint64(s4[i])<<32 | uint64(s5[i])<<40 | uint64(s6[i])<<48 | uint64(s7[i])<<56
				binary.LittleEndian.PutUint64(data[int(s.at)+column:], v)
			}
			src = src[atOnce*n:]
			column += atOnce
		}
	})
	return src
}
