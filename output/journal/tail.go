package journal

import "io"

// The tail of a journal holds, in small frames, what is to survive the tracer's death and is
// not yet enough for a frame: a frame of half a mebibyte takes a third less than ten of its
// tenths. When the frame is written, what the tail has of it is of no more use.
//
// It is two files, tail0.pmt and tail1.pmt, for every other frame: what is in one was written
// as a frame at least one frame ago, and has reached the disk, before it is emptied. Both are
// removed when a journal is complete.
//
// A tail's file has the header of a journal's file, with its own number. Its frames' sequence
// numbers say of which frame of the journal they hold a part, and which part, from 0: parts
// that the journal has the whole frame of are passed over.
type tail struct {
	file file
	size int64  // of the complete frames
	last uint64 // frame that the last of them holds a part of
}

var tailNames = [2]string{"tail0.pmt", "tail1.pmt"}

const (
	partBits = 24
	maxParts = 1 << partBits
)

// tailSeq is the sequence number of a part of a frame.
func tailSeq(frame, part uint64) uint64 { return frame<<partBits | part }

// Save makes what was appended survive the tracer's death, as Flush does, and leaves it to be
// part of the next frame.
func (w *Writer) Save() error {
	if w.failed != nil {
		return w.failed
	}
	if w.saved == len(w.block.spans) {
		return nil
	}
	if w.part == maxParts {
		return w.Flush()
	}
	w.recent.reset()
	for i, s := range w.block.spans[w.saved:] {
		w.recent.add(w.block.kinds[w.block.classOf[w.saved+i]], s.of(w.block.data)) // has room: it holds no more than block
	}
	t, err := w.tail()
	if err == nil {
		err = t.write(w.frame(&w.recent, tailSeq(w.seq, w.part)))
	}
	if err != nil {
		return w.fail(err)
	}
	t.last = w.seq
	w.part++
	w.saved = len(w.block.spans)
	if err := w.syncer.wrote(w.seq, w.file, t.file); err != nil {
		return w.fail(err)
	}
	return nil
}

// tail is the one for the frame that is being collected.
func (w *Writer) tail() (*tail, error) {
	n := int(w.seq % 2)
	t := &w.tails[n]
	if t.file != nil {
		return t, nil
	}
	f, err := w.create(tailNames[n])
	if err != nil {
		return nil, err
	}
	t.file = f
	return t, t.write(appendFileHeader(nil, n))
}

func (t *tail) write(b []byte) error {
	n, err := t.file.Write(b)
	if err != nil {
		t.cut(t.size)
		return err
	}
	t.size += int64(n)
	return nil
}

// cut makes it shorter. Where that fails it goes on where it was: a reader passes over what is
// of before.
func (t *tail) cut(size int64) {
	if t.file.Truncate(size) == nil {
		t.size = size
	}
	_, _ = t.file.Seek(t.size, io.SeekStart)
}

// empty empties the tail for the frame that begins, if the frames that it has parts of are on
// the disk.
func (w *Writer) empty() {
	if t := &w.tails[w.seq%2]; t.size > fileHeaderSize && w.syncer.onDisk() > t.last {
		t.cut(fileHeaderSize)
	}
}

func (w *Writer) closeTails(remove bool) {
	for i := range w.tails {
		if t := &w.tails[i]; t.file != nil {
			_ = t.file.Close()
			if remove {
				_ = w.remove(tailNames[i])
			}
		}
	}
	w.tails = [2]tail{}
}
