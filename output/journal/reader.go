package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Reason says what is wrong with a piece of a journal.
type Reason string

const (
	BadFileHeader  Reason = "bad file header"
	UnknownVersion Reason = "unknown version"
	BadFrameHeader Reason = "bad frame header"
	TooLarge       Reason = "lengths out of bounds"
	BadChecksum    Reason = "checksum does not match"
	BadBlock       Reason = "block does not decode"
	Truncated      Reason = "truncated"
	Missing        Reason = "frames missing"
	OutOfOrder     Reason = "a frame of before, or once more"
	Unreadable     Reason = "read error"
)

// Damage is a piece of a journal that could not be read.
type Damage struct {
	File   string
	Offset int64 // where it begins
	Bytes  int64 // how many were passed over
	Reason Reason
	// FramesSkipped counts the frames that are gone, as told by the sequence
	// number of the next good one; 0 at the end of a journal, where nobody
	// knows.
	FramesSkipped uint64
	Err           error // of Unreadable
}

func (d Damage) Error() string {
	s := fmt.Sprintf("journal %s: %s at byte %d (%d bytes passed over, %d frames lost)",
		d.File, d.Reason, d.Offset, d.Bytes, d.FramesSkipped)
	if d.Err != nil {
		s += ": " + d.Err.Error()
	}
	return s
}

// Record is a record of a journal.
type Record struct {
	Kind    byte
	Payload []byte // valid until the next call of Next, or until f of Each returns
}

// maxDamage bounds the list of damages of a hostile journal; further ones are
// counted.
const maxDamage = 1000

// A Reader reads a journal from the beginning. It is not safe for concurrent
// use.
type Reader struct {
	dir     fs.FS
	names   []string
	in      input
	block   blockReader
	decoder *zstd.Decoder
	at      int // next record of the block

	parts    []part // of the tail, still to be read
	tailRead bool
	part     uint64 // of the tail, the next of frame seq
	had      int    // records that the parts before it had

	follow bool   // the journal may grow
	last   string // file that was begun last

	seq     uint64 // of the next frame
	frames  uint64
	damages []Damage
	more    int
	open    bool // the last damage waits for the next good frame
}

// Open opens the journal in dir (os.Root.FS or os.DirFS).
func Open(dir fs.FS) (*Reader, error) {
	names, err := fileNames(dir)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("journal: no files (*.pmj): %w", fs.ErrNotExist)
	}
	r := &Reader{dir: dir, names: names}
	r.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(MaxBlock), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return r, nil
}

// fileNames lists a journal's files in their order.
func fileNames(dir fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if isFileName(e.Name()) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, byNumber)
	return names, nil
}

// byNumber: more than 99999 files have longer names.
func byNumber(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func isFileName(name string) bool {
	number, ok := strings.CutSuffix(name, ".pmj")
	return ok && len(number) >= 5 && strings.Trim(number, "0123456789") == "" && path.Base(name) == name
}

// Next returns the next record, io.EOF after the last. What cannot be read is
// passed over: Damage tells.
func (r *Reader) Next() (Record, error) {
	for r.at >= len(r.block.spans) {
		if !r.nextFrame() {
			return Record{}, io.EOF
		}
	}
	record := r.block.record(r.at)
	r.at++
	return record, nil
}

// Damage returns what could not be read so far, and how many damages are not in
// the list because it is bounded.
func (r *Reader) Damage() (list []Damage, more int) { return r.damages, r.more }

// Frames returns the number of complete frames read so far.
func (r *Reader) Frames() uint64 { return r.frames }

// Close lets go of the file that is open.
func (r *Reader) Close() error {
	if r.decoder != nil {
		r.decoder.Close()
		r.decoder = nil
	}
	r.names, r.at, r.block.spans = nil, 0, nil
	return r.in.close()
}

// nextFrame reads the next complete frame into r.block.
func (r *Reader) nextFrame() bool {
	for {
		if !r.in.isOpen() {
			if len(r.names) == 0 && !r.newer() {
				return r.nextPart()
			}
			name := r.names[0]
			r.names = r.names[1:]
			if !r.openFile(name) {
				return false
			}
			continue
		}
		head, err := r.in.peek(frameHeaderSize)
		if r.grows(err) {
			if r.newer() {
				continue
			}
			return r.nextPart()
		}
		if err != nil {
			if len(head) > 0 || !errors.Is(err, io.EOF) {
				r.damage(reasonOf(err), int64(len(head)), err)
			}
			r.in.close()
			continue
		}
		h, reason := parseFrameHeader(head)
		if reason != "" {
			r.resync(reason)
			continue
		}
		whole, err := r.in.peek(frameHeaderSize + int(h.stored))
		if r.grows(err) {
			if r.newer() {
				continue
			}
			return r.nextPart()
		}
		if err != nil {
			// The header is intact, so the file was cut here, unless what
			// follows holds frames: then it was the middle that went missing.
			r.resync(reasonOf(err))
			continue
		}
		reason = r.load(h, whole[frameHeaderSize:])
		if reason == "" && h.seq < r.seq {
			reason = OutOfOrder // its records would come twice, or behind later ones
			r.block.spans = r.block.spans[:0]
		}
		if reason != "" {
			r.damage(reason, int64(len(whole)), nil)
			r.in.skip(len(whole))
			continue
		}
		r.inOrder(h.seq)
		r.in.skip(len(whole))
		if r.at == len(r.block.spans) {
			continue // all of it was in the tail
		}
		return true
	}
}

func (r *Reader) load(h frameHeader, stored []byte) Reason {
	r.block.spans, r.at = r.block.spans[:0], 0
	if sumOf(stored) != h.sum {
		return BadChecksum
	}
	if cap(r.block.plain) < int(h.block) {
		r.block.plain = make([]byte, h.block)
	}
	plain, err := r.decoder.DecodeAll(stored, r.block.plain[:0:h.block])
	if err != nil || len(plain) != int(h.block) || !r.block.decode(plain, h) {
		r.block.spans = r.block.spans[:0]
		return BadBlock
	}
	return ""
}

// inOrder notes which frames are missing before the one that was just read.
func (r *Reader) inOrder(seq uint64) {
	if seq == r.seq { // what the tail had of it is read
		r.at = min(r.had, len(r.block.spans))
	}
	r.skipped(r.in.name, r.in.offset, seq-r.seq)
	r.seq, r.part, r.had = seq+1, 0, 0
	r.frames++
}

// skipped notes how many frames are missing before one that is at a place.
func (r *Reader) skipped(name string, offset int64, gap uint64) {
	if !r.open && gap > 0 {
		r.damageOf(name, offset, 0, Missing, nil)
	}
	if r.open {
		r.damages[len(r.damages)-1].FramesSkipped = gap
		r.open = false
	}
}

// resync passes over bytes up to the next thing that looks like a frame.
func (r *Reader) resync(reason Reason) {
	at := r.in.offset
	err := r.in.find(frameMagic)
	n := r.in.offset - at
	r.in.offset = at // for the report
	r.damage(reason, n, err)
	r.in.offset = at + n
}

// damage notes that n bytes from here on cannot be read. Damages that follow
// one another without a good frame between them are one.
func (r *Reader) damage(reason Reason, n int64, err error) {
	r.damageOf(r.in.name, r.in.offset, n, reason, err)
}

func (r *Reader) damageOf(name string, offset, n int64, reason Reason, err error) {
	if reason != Unreadable {
		err = nil
	}
	if r.open {
		last := &r.damages[len(r.damages)-1]
		if last.File == name {
			last.Bytes = offset + n - last.Offset
			return
		}
	}
	if len(r.damages) == maxDamage {
		r.more++
		r.open = false
		return
	}
	r.damages = append(r.damages, Damage{File: name, Offset: offset, Bytes: n, Reason: reason, Err: err})
	r.open = true
}

func reasonOf(err error) Reason {
	if errors.Is(err, io.EOF) {
		return Truncated
	}
	return Unreadable
}

// openFile begins a file; false: its header is not there yet.
func (r *Reader) openFile(name string) bool {
	if err := r.in.open(r.dir, name); err != nil {
		r.last = name
		r.damage(Unreadable, 0, err)
		return true
	}
	head, err := r.in.peek(fileHeaderSize)
	if r.grows(err) {
		r.in.close()
		r.names = append([]string{name}, r.names...)
		return false
	}
	r.last = name
	if err != nil {
		// A file of no bytes was made when the disk was full: nothing is lost.
		if len(head) > 0 || !errors.Is(err, io.EOF) {
			r.damage(reasonOf(err), int64(len(head)), err)
		}
		r.in.close()
		return true
	}
	_, reason := checkFileHeader(head)
	switch reason {
	case "":
		r.in.skip(fileHeaderSize)
	case UnknownVersion:
		// Intact, and made by a newer pmtrace: its frames would be misread.
		r.damage(reason, 0, nil)
		r.in.close()
	default:
		r.resync(reason)
	}
	return true
}
