package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A Directory is where a journal is. Create fails where the name exists already.
type Directory interface {
	Create(name string) (*os.File, error)
	Remove(name string) error
}

// Options of a Writer. The zero value is good.
type Options struct {
	FrameBytes int           // payload bytes at which a frame is written; 512 KiB
	FileBytes  int64         // size at which the next file is begun; 256 MiB
	SyncEvery  time.Duration // how often written frames are forced to disk; 10 s, negative: at Close only
	// Rotated is called in a new file, the first one excepted, before anything
	// else is written to it. It may append records.
	Rotated func(*Writer) error
}

func (o Options) withDefaults() Options {
	if o.FrameBytes <= 0 {
		o.FrameBytes = 512 << 10
	}
	o.FrameBytes = min(o.FrameBytes, MaxBlock/4)
	if o.FileBytes <= 0 {
		o.FileBytes = 256 << 20
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = 10 * time.Second
	}
	return o
}

// WriteError says that the journal could not be written on. Everything up to
// Offset in File is complete and readable, and so is what was saved since; Lost
// records are gone.
type WriteError struct {
	File   string
	Offset int64
	Lost   int
	Err    error
}

func (e *WriteError) Error() string {
	return fmt.Sprintf("journal %s: write at byte %d: %v (%d records lost)", e.File, e.Offset, e.Err, e.Lost)
}

func (e *WriteError) Unwrap() error { return e.Err }

// ErrRecordTooLarge: a record is larger than MaxRecord.
var ErrRecordTooLarge = errors.New("journal: record larger than 16 MiB")

// file is what a Writer needs of an os.File; tests bring one that fails.
type file interface {
	io.Writer
	io.Seeker
	Truncate(size int64) error
	Sync() error
	Close() error
}

// A Writer appends records to a journal. It is not safe for concurrent use.
type Writer struct {
	create func(name string) (file, error)
	remove func(name string) error
	opts   Options

	file  file
	index int
	size  int64 // of the complete frames
	total int64 // of all files
	seq   uint64

	block   blockWriter
	saved   int         // records of block that the tail has
	part    uint64      // in so many frames
	recent  blockWriter // the next one of them
	tails   [2]tail
	plain   []byte
	out     []byte
	encoder *zstd.Encoder
	syncer  *syncer
	failed  error
}

// Create begins a journal in dir.
func Create(dir Directory, opts Options) (*Writer, error) {
	return create(func(name string) (file, error) { return dir.Create(name) }, dir.Remove, opts)
}

func create(newFile func(name string) (file, error), remove func(name string) error, opts Options) (*Writer, error) {
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(512<<10),
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	w := &Writer{create: newFile, remove: remove, opts: opts.withDefaults(), encoder: encoder, index: -1}
	if err := w.next(); err != nil {
		if w.file != nil {
			w.file.Close()
		}
		return nil, err
	}
	w.syncer = startSyncer(w.opts.SyncEvery)
	return w, nil
}

// Append adds a record. It is on its way to the disk after Save or Flush, or when
// the frame is full. payload is copied.
func (w *Writer) Append(kind byte, payload []byte) error {
	if w.failed != nil {
		return w.failed
	}
	if len(payload) > MaxRecord {
		return ErrRecordTooLarge
	}
	if !w.block.add(kind, payload) {
		if err := w.Flush(); err != nil {
			return err
		}
		w.block.add(kind, payload)
	}
	// Records of no bytes take room in the block as well.
	if len(w.block.data)+4*len(w.block.spans) >= w.opts.FrameBytes {
		return w.Flush()
	}
	return nil
}

// Flush writes what was appended as a frame: from then on it survives the
// tracer's death. After a failure the file ends with its last complete frame,
// and the same *WriteError comes back from every call.
//
// The larger a frame, the less a record takes; Save is for what is to survive
// before there is enough for one.
func (w *Writer) Flush() error {
	if w.failed != nil {
		return w.failed
	}
	if len(w.block.spans) == 0 {
		return nil
	}
	if err := w.write(w.frame(&w.block, w.seq)); err != nil {
		return err
	}
	w.seq++
	w.block.reset()
	w.saved, w.part = 0, 0
	w.empty()
	if err := w.syncer.wrote(w.seq, w.file); err != nil {
		return w.fail(err)
	}
	if w.size >= w.opts.FileBytes {
		return w.rotate()
	}
	return nil
}

// frame makes a frame of what was collected. It is good until the next one is made.
func (w *Writer) frame(b *blockWriter, seq uint64) []byte {
	h := frameHeader{bytes: uint32(len(b.data)), records: uint32(len(b.spans)), seq: seq}
	w.plain = b.encode(w.plain[:0])
	w.out = append(w.out[:0], make([]byte, frameHeaderSize)...)
	w.out = w.encoder.EncodeAll(w.plain, w.out)
	stored := w.out[frameHeaderSize:]
	h.stored, h.block, h.sum = uint32(len(stored)), uint32(len(w.plain)), sumOf(stored)
	h.append(w.out[:0])
	return w.out
}

func (w *Writer) write(b []byte) error {
	n, err := w.file.Write(b)
	if err == nil {
		w.size += int64(n)
		w.total += int64(n)
		return nil
	}
	// Cut the part of a frame that may be there. If that fails as well, a
	// reader finds a torn frame at the end, and nothing else is harmed.
	if terr := w.file.Truncate(w.size); terr == nil {
		_, _ = w.file.Seek(w.size, io.SeekStart)
	}
	return w.fail(err)
}

func (w *Writer) fail(err error) error {
	w.failed = &WriteError{File: fileName(w.index), Offset: w.size, Lost: len(w.block.spans) - w.saved, Err: err}
	return w.failed
}

func (w *Writer) rotate() error {
	old := w.file
	if err := w.next(); err != nil {
		return err
	}
	w.syncer.retire(w.seq, old)
	if w.opts.Rotated != nil {
		return w.opts.Rotated(w)
	}
	return nil
}

// next begins the next file.
func (w *Writer) next() error {
	name := fileName(w.index + 1)
	f, err := w.create(name)
	if err != nil {
		if w.file == nil {
			return fmt.Errorf("journal: %w", err)
		}
		return w.fail(err)
	}
	w.file, w.size = f, 0
	w.index++
	return w.write(appendFileHeader(nil, w.index))
}

// Name is that of the file that is written.
func (w *Writer) Name() string { return fileName(w.index) }

// Size returns the bytes written to all files.
func (w *Writer) Size() int64 { return w.total }

// Close writes what is left, forces it to disk and closes the file, also after
// a failure, which it returns again. Then the tail stays: it may hold what nothing
// else does.
func (w *Writer) Close() error {
	if w.file == nil {
		return os.ErrClosed
	}
	err := w.Flush()
	if serr := w.syncer.stop(); err == nil && serr != nil {
		err = w.fail(serr)
	}
	serr := w.file.Sync()
	if cerr := w.file.Close(); serr == nil {
		serr = cerr
	}
	if err == nil && serr != nil {
		err = w.fail(serr)
	}
	w.closeTails(err == nil)
	w.file = nil
	w.failed = os.ErrClosed
	w.encoder.Close()
	return err
}
