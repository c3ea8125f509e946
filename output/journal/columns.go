package journal

import (
	"encoding/binary"
	"slices"
)

// columns turns the payloads of one class into columns of differences and back.
// It holds what both ways need again for each class.
type columns struct {
	spans []span
	alive []span
	last  []byte // the newest value at each offset
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

// newest returns the memory of the newest values, all 0.
func (c *columns) newest(spans []span) []byte {
	size := 0
	for _, s := range spans {
		size = max(size, int(s.size))
	}
	c.last = slices.Grow(c.last[:0], size)[:size]
	clear(c.last)
	return c.last
}

// subtract replaces each payload by its difference from the newest values.
func (c *columns) subtract(data []byte, spans []span) {
	last := c.newest(spans)
	for _, s := range spans {
		p := data[s.at : s.at+s.size]
		q := last[:len(p)]
		for len(p) >= 4 && len(q) >= 4 {
			v := binary.LittleEndian.Uint32(p)
			binary.LittleEndian.PutUint32(p, v-binary.LittleEndian.Uint32(q))
			binary.LittleEndian.PutUint32(q, v)
			p, q = p[4:], q[4:]
		}
		for i, v := range p {
			p[i], q[i] = v-q[i], v
		}
	}
}

// add is the inverse of subtract.
func (c *columns) add(data []byte, spans []span) {
	last := c.newest(spans)
	for _, s := range spans {
		p := data[s.at : s.at+s.size]
		q := last[:len(p)]
		for len(p) >= 4 && len(q) >= 4 {
			v := binary.LittleEndian.Uint32(p) + binary.LittleEndian.Uint32(q)
			binary.LittleEndian.PutUint32(p, v)
			binary.LittleEndian.PutUint32(q, v)
			p, q = p[4:], q[4:]
		}
		for i, v := range p {
			p[i] = v + q[i]
			q[i] = p[i]
		}
	}
}

// walk calls visit with each column and the payloads that reach it. Payloads
// are let go of as they end, so that the time is bounded by the bytes whatever
// the lengths.
func (c *columns) walk(spans []span, visit func(column uint32, alive []span)) {
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
		for ; column < end; column++ {
			visit(column, alive)
		}
	}
}

func (c *columns) gather(dst, data []byte, spans []span) []byte {
	c.walk(spans, func(column uint32, alive []span) {
		for _, s := range alive {
			dst = append(dst, data[s.at+column])
		}
	})
	return dst
}

// scatter is the inverse of gather; it returns what is left of src. src holds
// as many bytes as the payloads do.
func (c *columns) scatter(src, data []byte, spans []span) []byte {
	c.walk(spans, func(column uint32, alive []span) {
		for i, s := range alive {
			data[s.at+column] = src[i]
		}
		src = src[len(alive):]
	})
	return src
}
