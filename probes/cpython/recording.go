package cpython

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Recording is memory that was read once, what a walk touched. It is a Memory
// that holds just that, for tests and bug reports.
type Recording struct {
	Pages map[uint64][]byte // page number → 4 KiB
}

// ReadAt fills buf from the recorded pages.
func (m *Recording) ReadAt(addr uint64, buf []byte) error {
	for len(buf) > 0 {
		page, ok := m.Pages[addr/pageSize]
		if !ok {
			return fmt.Errorf("page %#x is not in the recording", addr&^(pageSize-1))
		}
		n := copy(buf, page[addr%pageSize:])
		buf, addr = buf[n:], addr+uint64(n)
	}
	return nil
}

// Recorder reads through to a Memory and keeps what was read.
type Recorder struct {
	mem Memory

	mu      sync.Mutex
	rec     Recording
	touched map[uint64]uint64 // page → bit set of its 64 lines
}

// lineSize is what is kept around each read: the rest of a page is recorded as
// zero, to keep recordings small and to leave out what nobody asked for.
const lineSize = pageSize / 64

// Record gives a Recorder over mem.
func Record(mem Memory) *Recorder {
	return &Recorder{mem: mem, rec: Recording{Pages: make(map[uint64][]byte)}, touched: make(map[uint64]uint64)}
}

// ReadAt fills buf and keeps its pages.
func (r *Recorder) ReadAt(addr uint64, buf []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := addr / pageSize; len(buf) > 0 && p <= (addr+uint64(len(buf))-1)/pageSize; p++ {
		if r.rec.Pages[p] != nil {
			continue
		}
		page := make([]byte, pageSize)
		if err := r.mem.ReadAt(p*pageSize, page); err != nil {
			return err
		}
		r.rec.Pages[p] = page
	}
	for line := addr / lineSize; line*lineSize < addr+uint64(len(buf)); line++ {
		r.touched[line/64] |= 1 << (line % 64)
	}
	return r.rec.ReadAt(addr, buf)
}

// Recording gives what was kept so far.
func (r *Recorder) Recording() *Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &Recording{Pages: make(map[uint64][]byte, len(r.rec.Pages))}
	for p, page := range r.rec.Pages {
		kept := make([]byte, pageSize)
		for line := range uint64(64) {
			if r.touched[p]>>line&1 != 0 {
				copy(kept[line*lineSize:(line+1)*lineSize], page[line*lineSize:])
			}
		}
		out.Pages[p] = kept
	}
	return out
}

// recordingMagic begins a written recording: 8 bytes, the last is the version.
const recordingMagic = "pmtmem\x00\x01"

// maxRecordedPages bounds what ReadRecording takes: 256 MiB.
const maxRecordedPages = 1 << 16

// WriteTo writes the recording, compressed, with the pages in order.
func (m *Recording) WriteTo(w io.Writer) (int64, error) {
	counted := &countingWriter{w: w}
	z, err := zstd.NewWriter(counted, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return 0, err
	}
	buf := append([]byte(recordingMagic), binary.LittleEndian.AppendUint64(nil, uint64(len(m.Pages)))...)
	for _, p := range slices.Sorted(maps.Keys(m.Pages)) {
		buf = binary.LittleEndian.AppendUint64(buf, p)
		buf = append(buf, m.Pages[p]...)
	}
	_, err = z.Write(buf)
	return counted.n, errors.Join(err, z.Close())
}

// ReadRecording reads what WriteTo wrote.
func ReadRecording(rd io.Reader) (*Recording, error) {
	z, err := zstd.NewReader(rd)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	head := make([]byte, 16)
	if _, err := io.ReadFull(z, head); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(head[8:])
	if string(head[:8]) != recordingMagic || n > maxRecordedPages {
		return nil, errors.New("cpython: not a memory recording")
	}
	m := &Recording{Pages: make(map[uint64][]byte)}
	for range n {
		entry := make([]byte, 8+pageSize)
		if _, err := io.ReadFull(z, entry); err != nil {
			return nil, err
		}
		m.Pages[binary.LittleEndian.Uint64(entry)] = entry[8:]
	}
	return m, nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
