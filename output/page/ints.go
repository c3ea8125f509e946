package page

import (
	"math"
	"strconv"
)

// none stands for what is not known.
const none = math.MinInt64

// ints is a column; what is not known is null in JSON.
type ints []int64

func (c ints) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 2+4*len(c))
	b = append(b, '[')
	for i, v := range c {
		if i > 0 {
			b = append(b, ',')
		}
		if v == none {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendInt(b, v, 10)
		}
	}
	return append(b, ']'), nil
}

// deltas is a column of which each value but the first is told by its distance from the
// one before: shorter.
type deltas []int64

func (c deltas) MarshalJSON() ([]byte, error) {
	d := make(ints, len(c))
	last := int64(0)
	for i, v := range c {
		d[i], last = v-last, v
	}
	return d.MarshalJSON()
}

// columns are named columns of one length.
type columns map[string]ints

// add adds a value, none where the pointer is nil.
func (c columns) add(name string, v *int64) {
	if v == nil {
		c[name] = append(c[name], none)
		return
	}
	c[name] = append(c[name], *v)
}

func (c columns) add32(name string, v *int32) {
	if v == nil {
		c[name] = append(c[name], none)
		return
	}
	c[name] = append(c[name], int64(*v))
}

// trim drops columns in which nothing is known, or in those named nothing but 0.
func (c columns) trim(zero func(name string) bool) {
	for name, list := range c {
		empty := true
		for _, v := range list {
			if v != none && (v != 0 || !zero(name)) {
				empty = false
				break
			}
		}
		if empty {
			delete(c, name)
		}
	}
}
