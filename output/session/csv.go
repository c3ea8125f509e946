package session

import (
	"bufio"
	"io"
	"strconv"
	"strings"
)

// csvFile writes one CSV file. A line is built field by field.
type csvFile struct {
	w    *bufio.Writer
	line []byte
	err  error
}

func newCSV(w io.Writer, header string) *csvFile {
	c := &csvFile{w: bufio.NewWriter(w)}
	c.line = append(c.line, header...)
	c.line = append(c.line, ',') // end takes the last comma away
	c.end()
	return c
}

func (c *csvFile) end() {
	c.line[len(c.line)-1] = '\n'
	if c.err == nil {
		_, c.err = c.w.Write(c.line)
	}
	c.line = c.line[:0]
}

func (c *csvFile) flush() error {
	if c.err == nil {
		c.err = c.w.Flush()
	}
	return c.err
}

func (c *csvFile) comma() *csvFile {
	c.line = append(c.line, ',')
	return c
}

func (c *csvFile) float(v float64, decimals int) *csvFile {
	c.line = strconv.AppendFloat(c.line, v, 'f', decimals, 64)
	return c.comma()
}

// sec writes nanoseconds as seconds.
func (c *csvFile) sec(ns int64) *csvFile { return c.float(float64(ns)/1e9, 3) }

// optSec leaves a missing time empty.
func (c *csvFile) optSec(ns *int64) *csvFile {
	if ns == nil {
		return c.comma()
	}
	return c.sec(*ns)
}

// ms writes nanoseconds as milliseconds.
func (c *csvFile) ms(ns int64) *csvFile { return c.float(float64(ns)/1e6, 3) }

// pct writes the percentage that part is of whole; empty if that is unknown.
func (c *csvFile) pct(part, whole int64) *csvFile {
	if whole <= 0 {
		return c.comma()
	}
	return c.float(100*float64(part)/float64(whole), 2)
}

func (c *csvFile) int(v int64) *csvFile {
	c.line = strconv.AppendInt(c.line, v, 10)
	return c.comma()
}

// optInt leaves an unknown number empty.
func (c *csvFile) optInt(v *int32) *csvFile {
	if v == nil {
		return c.comma()
	}
	return c.int(int64(*v))
}

// optMS leaves an unknown duration empty.
func (c *csvFile) optMS(ns *int64) *csvFile {
	if ns == nil {
		return c.comma()
	}
	return c.ms(*ns)
}

// none writes Python's None, as a missing field of a descriptor has it.
func (c *csvFile) none() *csvFile { return c.text("None") }

func (c *csvFile) intOrNone(v *int32) *csvFile {
	if v == nil {
		return c.none()
	}
	return c.int(int64(*v))
}

func (c *csvFile) boolOrNone(v *bool) *csvFile {
	switch {
	case v == nil:
		return c.none()
	case *v:
		return c.text("True")
	}
	return c.text("False")
}

// known leaves a 0, which stands for not known, empty.
func (c *csvFile) known(v int) *csvFile {
	if v == 0 {
		return c.comma()
	}
	return c.int(int64(v))
}

// text quotes as RFC 4180 says, where needed.
func (c *csvFile) text(s string) *csvFile {
	if !strings.ContainsAny(s, ",\"\r\n") {
		c.line = append(c.line, s...)
		return c.comma()
	}
	c.line = append(c.line, '"')
	c.line = append(c.line, strings.ReplaceAll(s, `"`, `""`)...)
	c.line = append(c.line, '"')
	return c.comma()
}
