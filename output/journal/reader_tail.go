package journal

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
)

// maxTail bounds what is read of a tail's file: a writer keeps it to what is written in the time
// that a disk takes for a sync.
const maxTail = MaxBlock

// part is a frame of the tail that is still to be read.
type part struct {
	name        string
	offset      int64
	h           frameHeader
	frame, part uint64
	stored      []byte
}

// nextPart reads the next frame of the tail: what a tracer has saved and not yet written as a
// frame of the journal, all of whose frames are read.
func (r *Reader) nextPart() bool {
	if !r.tailRead {
		r.tailRead = !r.follow
		r.parts = r.readTail()
	}
	for len(r.parts) > 0 {
		p := r.parts[0]
		r.parts = r.parts[1:]
		if p.frame < r.seq || p.frame == r.seq && p.part < r.part {
			continue
		}
		if r.follow && (p.frame > r.seq || p.part > r.part) {
			break // the journal has the frame by now
		}
		reason := r.load(p.h, p.stored)
		if reason != "" {
			r.damageOf(p.name, p.offset, int64(frameHeaderSize+len(p.stored)), reason, nil)
			continue
		}
		r.partInOrder(p)
		return true
	}
	r.parts = nil
	return false
}

// partInOrder notes what is missing before a part that was just read.
func (r *Reader) partInOrder(p part) {
	gap := p.frame - r.seq
	if p.frame > r.seq {
		r.seq, r.part, r.had = p.frame, 0, 0
	}
	gap += p.part - r.part
	r.skipped(p.name, p.offset, gap)
	r.part = p.part + 1
	r.had += len(r.block.spans)
}

// readTail finds the frames of both files, in their order. That of a tracer that is at work may
// be emptied or written to meanwhile: what is not whole is left for the next look.
func (r *Reader) readTail() []part {
	var of [2][]part
	for i, name := range tailNames {
		of[i] = r.partsOf(name)
	}
	// Of two files each frame is in one, and those of one come in their order.
	list := make([]part, 0, len(of[0])+len(of[1]))
	for len(of[0])+len(of[1]) > 0 {
		i := 0
		if len(of[0]) == 0 || len(of[1]) > 0 && of[1][0].frame < of[0][0].frame {
			i = 1
		}
		list = append(list, of[i][0])
		of[i] = of[i][1:]
	}
	return list
}

// partsOf finds the frames of a file that the journal does not have.
func (r *Reader) partsOf(name string) (list []part) {
	b, err := readAtMost(r.dir, name, maxTail)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return nil
	}
	note := func(at int, n int, reason Reason, err error) {
		if !r.follow {
			r.damageOf(name, int64(at), int64(n), reason, err)
		}
	}
	if err != nil {
		note(0, 0, Unreadable, err)
		return nil
	}
	if len(b) < fileHeaderSize {
		note(0, len(b), Truncated, nil)
		return nil
	}
	if _, reason := checkFileHeader(b[:fileHeaderSize]); reason == UnknownVersion {
		note(0, 0, reason, nil)
		return nil
	} else if reason != "" {
		note(0, fileHeaderSize, reason, nil)
	}
	for at := fileHeaderSize; at < len(b); {
		h, n, reason := frameAt(b[at:])
		if reason != "" {
			// On at what looks like a frame.
			skip := len(b) - at
			if i := bytes.Index(b[at+1:], []byte(frameMagic)); i >= 0 {
				skip = 1 + i
			}
			note(at, skip, reason, nil)
			if r.follow {
				return list
			}
			at += skip
			continue
		}
		p := part{name: name, offset: int64(at), h: h, frame: h.seq >> partBits, part: h.seq % maxParts, stored: b[at+frameHeaderSize : at+n]}
		if p.frame >= r.seq {
			list = append(list, p)
		}
		at += n
	}
	return list
}

// frameAt is the frame at the beginning of b, and how long it is.
func frameAt(b []byte) (h frameHeader, n int, reason Reason) {
	if len(b) < frameHeaderSize {
		return h, 0, Truncated
	}
	if h, reason = parseFrameHeader(b[:frameHeaderSize]); reason != "" {
		return h, 0, reason
	}
	if n = frameHeaderSize + int(h.stored); n > len(b) {
		return h, 0, Truncated
	}
	return h, n, ""
}

func readAtMost(dir fs.FS, name string, most int64) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}
