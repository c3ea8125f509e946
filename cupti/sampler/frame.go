package sampler

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// The helper speaks in frames: u8 kind, u32 length (little endian), payload.
const (
	frameFact     = 'F' // a record.Fact as JSON
	frameCounters = 'C' // wire.Counters
	frameError    = 'X' // an Error as JSON: the last frame
	frameLog      = 'L' // a line of text
	frameLeftOut  = 'M' // a LeftOut as JSON: before the first fact
	frameEnd      = 'E' // Stats as JSON: the last frame
)

const (
	frameHead = 5
	maxFrame  = 16 << 20
)

// LeftOut is a metric of the mode that is not sampled.
type LeftOut struct {
	Metric string `json:"metric"` // of record.Sampler.Metrics
	Why    string `json:"why"`
}

// Stats are what a session did.
type Stats struct {
	Samples uint64 `json:"samples"` // handed on
	Lost    uint64 `json:"lost"`
	Merged  uint64 `json:"merged"` // became part of the next one
	Stale   uint64 `json:"stale"`  // read a second time, and left out
	Breaks  uint64 `json:"breaks"` // times that sampling broke off and was begun again
	Windows uint64 `json:"windows"`

	RecordBytes int `json:"record_bytes"` // the record buffer holds
	SampleBytes int `json:"sample_bytes"` // of it a sample takes, at most
	MostUnread  int `json:"most_unread"`  // bytes that were found in it
	// LongestGap is the longest time between two looks into it while sampling.
	LongestGap time.Duration `json:"longest_gap_ns"`
	Decoding   time.Duration `json:"decoding_ns"`   // records, all together
	Evaluating time.Duration `json:"evaluating_ns"` // samples, all together
}

// request is what the helper is to do: one line of JSON.
type request struct {
	Library string  `json:"library"` // path
	Index   int     `json:"index"`   // of the device, NVML's
	UUID    string  `json:"uuid"`
	At      *busID  `json:"at"`
	Peak    float64 `json:"peak_dram_bytes_per_s"`
	Plan    plan    `json:"plan"`
	Trace   bool    `json:"trace"` // log each call
	// UID and GID are whom to become before the library is loaded; 0: stay.
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// writer writes frames. Several goroutines may.
type writer struct {
	mu  sync.Mutex
	to  io.Writer
	buf []byte
}

func (w *writer) write(kind byte, payload []byte) error {
	if len(payload) > maxFrame {
		return fmt.Errorf("frame %c: %d bytes", kind, len(payload))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf[:0], kind)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(len(payload)))
	w.buf = append(w.buf, payload...)
	_, err := w.to.Write(w.buf)
	return err
}

func (w *writer) json(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.write(kind, b)
}

// reader reads frames. A payload is valid until the next one.
type reader struct {
	from *bufio.Reader
	buf  []byte
}

func newReader(from io.Reader) *reader {
	return &reader{from: bufio.NewReaderSize(from, 1<<16)}
}

// next returns io.EOF where the frames end between two.
func (r *reader) next() (kind byte, payload []byte, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r.from, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame %q of %d bytes", head[0], n)
	}
	if int(n) > cap(r.buf) {
		r.buf = make([]byte, n)
	}
	r.buf = r.buf[:n]
	if _, err := io.ReadFull(r.from, r.buf); err != nil {
		return 0, nil, fmt.Errorf("frame %q cut short: %w", head[0], err)
	}
	return head[0], r.buf, nil
}
