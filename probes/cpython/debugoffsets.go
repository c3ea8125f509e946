package cpython

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// debugCookie begins _Py_DebugOffsets, and with it _PyRuntime, since 3.13.
const debugCookie = "xdebugpy"

// debugHead is the cookie, the version and the free-threaded flag.
const debugHead = 24

// debugField says where _Py_DebugOffsets holds the offset of a field.
type debugField struct {
	at   int
	name string
	dst  *int
}

// Mismatch is an offset that the process publishes and the table has
// otherwise. The process's own is used.
type Mismatch struct {
	Field            string
	Table, Published int
}

func (m Mismatch) String() string {
	return fmt.Sprintf("%s: table %d, process %d", m.Field, m.Table, m.Published)
}

func debugFields(o *Offsets) []debugField {
	switch o.Minor {
	case 13:
		return debugFields313(o)
	case 14:
		return debugFields314(o)
	}
	return nil
}

type debugHeader struct {
	version      uint64
	freeThreaded bool
}

// readDebugHeader gives ok = false before 3.13.
func readDebugHeader(mem Memory, runtimeAddr uint64) (h debugHeader, ok bool) {
	buf := make([]byte, debugHead)
	if mem.ReadAt(runtimeAddr, buf) != nil || !bytes.HasPrefix(buf, []byte(debugCookie)) {
		return h, false
	}
	h.version = binary.LittleEndian.Uint64(buf[8:])
	h.freeThreaded = binary.LittleEndian.Uint64(buf[16:]) != 0
	return h, true
}

// maxFieldOffset is beyond every field that is read: PyInterpreterState is
// about 220 KiB.
const maxFieldOffset = 1 << 20

// applyDebugOffsets puts the published offsets into o and gives those that
// differ. One that cannot be true is left out.
func applyDebugOffsets(mem Memory, runtimeAddr uint64, o *Offsets) ([]Mismatch, error) {
	fields := debugFields(o)
	size := 0
	for _, f := range fields {
		size = max(size, f.at+8)
	}
	buf := make([]byte, size)
	if err := mem.ReadAt(runtimeAddr, buf); err != nil {
		return nil, err
	}
	var diff []Mismatch
	for _, f := range fields {
		v := binary.LittleEndian.Uint64(buf[f.at:])
		if v == uint64(*f.dst) {
			continue
		}
		diff = append(diff, Mismatch{f.name, *f.dst, int(min(v, maxFieldOffset))})
		if v < maxFieldOffset {
			*f.dst = int(v)
		}
	}
	return diff, nil
}

// scanLimit bounds the bytes searched for the cookie.
const scanLimit = 64 << 20

// scanForRuntime looks for the cookie in writable data, for a 3.13+ binary
// without symbols.
func scanForRuntime(mem Memory, ranges []Range) (uint64, bool) {
	const chunk = 1 << 20
	left := uint64(scanLimit)
	for _, r := range ranges {
		for at := r.Start; at < r.End && left > 0; at += chunk {
			n := min(r.End-at, chunk, left)
			left -= n
			buf := make([]byte, n)
			if mem.ReadAt(at, buf) != nil {
				break
			}
			for i := 0; i+debugHead <= len(buf); i += 8 {
				if string(buf[i:i+8]) == debugCookie {
					return at + uint64(i), true
				}
			}
		}
	}
	return 0, false
}
