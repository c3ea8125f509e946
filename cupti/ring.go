package cupti

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pmtrace/pmtrace/decode/wire"
)

var le = binary.LittleEndian

// maxRecord bounds a record: a kernel's name is the longest.
const maxRecord = 8192

// chunkBytes is how much is read of a ring at a time.
const chunkBytes = 256 << 10

// stuckFor is how long a record may be unfinished: its writer is between two stores of
// a few ns, or gone with its process.
const stuckFor = 5 * time.Second

const (
	offEngine = 14 // hdr.engine
	slackNS   = 1e9
)

// errNotYet: the file has no header yet.
var errNotYet = errors.New("no header yet")

// BadRing says that a file is no ring that could be read.
type BadRing struct {
	What      string
	Got, Want uint64
}

func (e *BadRing) Error() string {
	return fmt.Sprintf("ring: wrong %s: %d, want %d", e.What, e.Got, e.Want)
}

// ring is one process's. The file is read by system calls and never mapped: whoever
// shortens it must not end us, and what was checked must not change.
type ring struct {
	file   *os.File
	index  uint8
	name   string
	size   uint64
	tail   uint64
	status Status

	stuckAt    uint64
	stuckSince time.Time
	damaged    uint64 // records, or what may have been some, that were passed over
	foreign    uint64 // records that are no events of CUPTI's
	now        int64  // CLOCK_MONOTONIC, ns
	gone       bool   // nothing more can be read
	drained    bool   // once
	buf        []byte
	known      Status // as told last
	tellings   int
}

// Status is what a ring's header says.
type Status struct {
	PID       int
	Started   int64 // CLOCK_MONOTONIC, ns
	State     State
	CUPTI     uint32 // version
	Library   string
	Error     int    // CUPTI's; 0: none of its calls
	Why       string // it failed
	Note      string // what is done without
	Calls     bool   // launches are told by callbacks
	Windows   bool
	Always    bool
	NoWindows bool // asked for, and not to be had
	// CopiesInWindows: copies come with kernels alone.
	CopiesInWindows bool
	MoE             bool // choices of experts are told
	MoENote         string
	Lost            [losses]uint64
	Records         uint64
}

// openRing opens a file that a process of another user may have made: a regular one, in
// which nothing stands that we would trust.
func openRing(root *os.Root, name string, session uint64) (*ring, error) {
	f, err := root.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	r := &ring{file: f, name: name}
	if err := r.check(session); err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

func (r *ring) check(session uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(r.file.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return &BadRing{"kind of file", uint64(st.Mode & unix.S_IFMT), unix.S_IFREG}
	}
	if st.Nlink != 1 {
		return &BadRing{"number of links", uint64(st.Nlink), 1} //nolint:unconvert // 32 bits on arm64
	}
	var h [headerBytes]byte
	if _, err := r.file.ReadAt(h[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			return errNotYet
		}
		return err
	}
	if le.Uint64(h[offMagic:]) == 0 {
		return errNotYet
	}
	r.size = le.Uint64(h[offSize:])
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"magic", le.Uint64(h[offMagic:]), ringMagic},
		{"version", uint64(le.Uint32(h[offVersion:])), ringVersion},
		{"size of the header", uint64(le.Uint32(h[offHeader:])), headerBytes},
		{"session", le.Uint64(h[offSession:]), session},
	} {
		if c.got != c.want {
			return &BadRing{c.what, c.got, c.want}
		}
	}
	// Without a byte it is there to say why.
	if r.size != 0 && (r.size < minRing || r.size > maxRing || r.size&(r.size-1) != 0) {
		return &BadRing{"size", r.size, minRing}
	}
	if uint64(st.Size) != headerBytes+r.size {
		return &BadRing{"size of the file", uint64(st.Size), headerBytes + r.size}
	}
	r.read(h[:])
	return nil
}

// read takes the header's words.
func (r *ring) read(h []byte) {
	s := &r.status
	flags := le.Uint32(h[offFlags:])
	*s = Status{
		PID: int(le.Uint32(h[offPID:])), Started: int64(le.Uint64(h[offStarted:])), State: State(le.Uint32(h[offState:])),
		CUPTI: le.Uint32(h[offCUPTI:]), Library: text(h[offLibrary:], libraryBytes), Error: int(int32(le.Uint32(h[offError:]))),
		Why: text(h[offText:], textBytes), Note: text(h[offNote:], textBytes),
		Calls: flags&flagCalls != 0, Windows: flags&flagWindows != 0, Always: flags&flagAlways != 0, NoWindows: flags&flagNoWindows != 0,
		CopiesInWindows: flags&flagCopiesInWindows != 0,
		MoE:             flags&flagMoE != 0, MoENote: text(h[offMoENote:], textBytes),
		Records: le.Uint64(h[offRecords:]),
	}
	s.State = min(s.State, Failed)
	for i := range s.Lost {
		s.Lost[i] = le.Uint64(h[offLost+8*i:])
	}
}

func text(b []byte, n int) string {
	b = b[:n]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(bytes.ToValidUTF8(b, []byte("?")))
}

// header reads the header anew, and gives how far records were given room.
func (r *ring) header() (reserved uint64, err error) {
	var h, again [headerBytes]byte
	if _, err := r.file.ReadAt(h[:], 0); err != nil {
		return 0, err
	}
	// A number that changes may be seen half done.
	for range 16 {
		if _, err := r.file.ReadAt(again[:], 0); err != nil {
			return 0, err
		}
		if le.Uint64(h[offReserved:]) == le.Uint64(again[offReserved:]) {
			break
		}
		h = again
	}
	r.read(h[:])
	return le.Uint64(h[offReserved:]), nil
}

// drain hands on all records that are there, and tells the process how far we are.
func (r *ring) drain(now time.Time, mono int64, stop bool, sink func([]byte) error) error {
	if r.gone {
		return nil
	}
	r.now = mono
	reserved, err := r.header()
	if err != nil {
		r.lose() // shortened, or the disk's
		return nil
	}
	for r.size > 0 && r.tail < reserved {
		if reserved-r.tail > r.size || reserved&7 != 0 {
			r.lose() // no such ring
			return nil
		}
		done, err := r.some(min(reserved-r.tail, chunkBytes), sink)
		if err != nil {
			return err
		}
		if r.gone || done == 0 {
			break
		}
	}
	r.drained = true
	r.unfinished(now, reserved)
	return r.beat(mono, stop)
}

// lose gives a ring up.
func (r *ring) lose() {
	r.gone = true
	r.damaged++
}

// some hands on the finished records of the next n bytes. They are read again behind
// the words that say so: in one piece, either may be older than the other.
func (r *ring) some(n uint64, sink func([]byte) error) (done uint64, err error) {
	if r.buf == nil {
		r.buf = make([]byte, chunkBytes)
	}
	b := r.buf[:n]
	if !r.load(b) {
		return 0, nil
	}
	if done = r.finished(b); done == 0 {
		return 0, nil
	}
	b = b[:done]
	if !r.load(b) {
		return 0, nil
	}
	if r.finished(b) != done {
		r.lose() // it was finished a moment ago
		return 0, nil
	}
	for len(b) > 0 { // ours by now: what was checked is what is taken
		length := uint64(uint32(le.Uint64(b)))
		if r.admit(b[8 : 8+length]) {
			if err := sink(b[8 : 8+length]); err != nil {
				return 0, err
			}
		} else {
			r.foreign++
		}
		step := 8 + (length+7)&^7
		b, r.tail = b[step:], r.tail+step
	}
	return done, nil
}

// admit lets pass what the library may say, and gives it the ring's index: the process
// must not speak for the scheduler, nor move our clock.
func (r *ring) admit(event []byte) bool {
	var h wire.Header
	if h.Read(event) != nil || h.Kind < wire.KindCUPTICall || h.Kind > wire.KindCUPTIClock || h.Ktime > uint64(r.now)+slackNS {
		return false
	}
	event[offEngine] = r.index
	return true
}

// finished is how many bytes of b are finished records.
func (r *ring) finished(b []byte) (done uint64) {
	for uint64(len(b)) >= done+8 {
		w := le.Uint64(b[done:])
		length := uint64(uint32(w))
		if w != word(r.tail+done, uint32(length)) || length > maxRecord || length < 16 {
			break
		}
		end := done + 8 + (length+7)&^7
		if end > uint64(len(b)) {
			break
		}
		done = end
	}
	return done
}

// load reads the ring from the tail on.
func (r *ring) load(b []byte) bool {
	at := r.tail & (r.size - 1)
	first := min(uint64(len(b)), r.size-at)
	_, err := r.file.ReadAt(b[:first], int64(headerBytes+at))
	if err == nil && first < uint64(len(b)) {
		_, err = r.file.ReadAt(b[first:], headerBytes)
	}
	if err != nil {
		r.lose()
	}
	return err == nil
}

// unfinished passes over what stays unfinished: of a process that was killed within a
// record, or a file that somebody else writes.
func (r *ring) unfinished(now time.Time, reserved uint64) {
	switch {
	case r.gone || r.size == 0 || r.tail == reserved:
		r.stuckSince = time.Time{}
	case r.stuckSince.IsZero() || r.stuckAt != r.tail:
		r.stuckAt, r.stuckSince = r.tail, now
	case now.Sub(r.stuckSince) > stuckFor:
		r.damaged++
		r.tail = reserved
		r.stuckSince = time.Time{}
	}
}

// beat tells the process how far we have read, and that we live.
func (r *ring) beat(mono int64, stop bool) error {
	if r.gone {
		return nil
	}
	var b [32]byte
	le.PutUint64(b[:], r.tail)
	le.PutUint64(b[8:], ^r.tail)
	le.PutUint64(b[16:], uint64(mono))
	if stop {
		b[24] = 1
	}
	if _, err := r.file.WriteAt(b[:], offTail); err != nil {
		r.lose()
	}
	return nil
}
