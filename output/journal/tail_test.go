package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-quicktest/qt"
)

// numbered is the nth record of a journal, of 20 to 80 bytes.
func numbered(n int) []byte {
	return fmt.Appendf(nil, "record %8d %s", n, strings.Repeat("x", n*7%60))
}

// inOrder fails unless records are the first ones that were written, and counts them.
func inOrder(t *testing.T, records []rec) int {
	t.Helper()
	for i, r := range records {
		qt.Assert(t, qt.Equals(r.payload, string(numbered(i))))
	}
	return len(records)
}

// imageOf is what the files hold now: what a SIGKILL of the tracer leaves.
func imageOf(t *testing.T, dir string) fstest.MapFS {
	t.Helper()
	image := fstest.MapFS{}
	files, err := os.ReadDir(dir)
	qt.Assert(t, qt.IsNil(err))
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		qt.Assert(t, qt.IsNil(err))
		image[f.Name()] = &fstest.MapFile{Data: b}
	}
	return image
}

// At any moment what was saved or flushed is there: for who reads the journal then, and, once
// each, for who follows it. At the end no tail is left.
func TestSave(t *testing.T) {
	for name, opts := range map[string]Options{
		"never on disk": {SyncEvery: time.Hour}, "at once": {SyncEvery: time.Nanosecond}, "need not be": {SyncEvery: -1},
	} {
		t.Run(name, func(t *testing.T) {
			opts.FrameBytes, opts.FileBytes = 1500, 3000
			dir := t.TempDir()
			w, err := Create(dirOf(t, dir), opts)
			qt.Assert(t, qt.IsNil(err))
			r, err := Follow(os.DirFS(dir))
			qt.Assert(t, qt.IsNil(err))
			defer r.Close()
			rng := rand.New(rand.NewPCG(1, 2))
			written, saved, followed := 0, 0, 0
			follow := func() {
				for _, s := range drained(t, r) {
					qt.Assert(t, qt.Equals(s, string(numbered(followed))))
					followed++
				}
			}
			for range 1500 {
				for range rng.IntN(4) {
					before := w.seq
					qt.Assert(t, qt.IsNil(w.Append('X', numbered(written))))
					if written++; w.seq > before {
						saved = written
					}
				}
				switch n := rng.IntN(40); {
				case n == 0:
					qt.Assert(t, qt.IsNil(w.Flush()))
					saved = written
				case n < 15:
					qt.Assert(t, qt.IsNil(w.Save()))
					saved = written
				case n < 17:
					records, damage := readAll(t, imageOf(t, dir))
					qt.Assert(t, qt.HasLen(damage, 0))
					qt.Assert(t, qt.Equals(inOrder(t, records), saved))
				case n < 25:
					follow()
					qt.Assert(t, qt.Equals(followed, saved))
				}
			}
			qt.Assert(t, qt.IsTrue(w.seq > 40 && w.index > 2))
			qt.Assert(t, qt.IsNil(w.Close()))
			follow()
			qt.Check(t, qt.Equals(followed, written))
			list, _ := r.Damage()
			qt.Check(t, qt.HasLen(list, 0))
			records, damage := readAll(t, os.DirFS(dir))
			qt.Check(t, qt.HasLen(damage, 0))
			qt.Check(t, qt.Equals(inOrder(t, records), written))
			left, _ := filepath.Glob(filepath.Join(dir, "tail*"))
			qt.Check(t, qt.HasLen(left, 0))
		})
	}
}

// Saving often costs the finished journal nothing.
func TestSavedSize(t *testing.T) {
	size := func(save bool) int64 {
		w, err := Create(dirOf(t, t.TempDir()), Options{FrameBytes: 4000})
		qt.Assert(t, qt.IsNil(err))
		for i := range 1000 {
			qt.Assert(t, qt.IsNil(w.Append('E', numbered(i))))
			if save {
				qt.Assert(t, qt.IsNil(w.Save()))
			}
		}
		qt.Assert(t, qt.IsNil(w.Close()))
		return w.Size()
	}
	qt.Check(t, qt.Equals(size(true), size(false)))
}

// tailed is a journal with whole frames, and parts of the next one in its tail.
func tailed(t testing.TB) (image fstest.MapFS, records int) {
	dir := t.TempDir()
	w, err := Create(dirOf(t, dir), Options{SyncEvery: -1})
	qt.Assert(t, qt.IsNil(err))
	for i := range 30 {
		qt.Assert(t, qt.IsNil(w.Append('X', numbered(i))))
		switch {
		case i == 9 || i == 19:
			qt.Assert(t, qt.IsNil(w.Flush()))
		case i%2 == 1:
			qt.Assert(t, qt.IsNil(w.Save()))
		}
	}
	image = fstest.MapFS{}
	for _, name := range []string{fileName(0), tailNames[0], tailNames[1]} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		qt.Assert(t, qt.IsNil(err))
		image[name] = &fstest.MapFile{Data: b}
	}
	qt.Assert(t, qt.IsNil(w.Close()))
	return image, 30
}

func with(image fstest.MapFS, name string, b []byte) fstest.MapFS {
	image = maps.Clone(image)
	image[name] = &fstest.MapFile{Data: b}
	return image
}

// A tail that was cut at any byte gives all parts that are whole, and a torn frame of the
// journal is given by the tail.
func TestTornTail(t *testing.T) {
	image, all := tailed(t)
	records, damage := readAll(t, image)
	qt.Assert(t, qt.HasLen(damage, 0))
	qt.Assert(t, qt.Equals(inOrder(t, records), all))
	b := image[tailNames[0]].Data
	ends := map[int]bool{0: true, fileHeaderSize: true}
	header, frames := framesOf(t, b)
	at := len(header)
	for _, f := range frames {
		at += len(f)
		ends[at] = true
	}
	qt.Assert(t, qt.HasLen(frames, 5))
	last := 0
	for n := range len(b) + 1 {
		records, damage := readAll(t, with(image, tailNames[0], b[:n]))
		got := inOrder(t, records)
		qt.Assert(t, qt.IsTrue(got >= last && got >= 20 && (got-20)%2 == 0), qt.Commentf("%d records of %d bytes", got, n))
		qt.Assert(t, qt.Equals(len(damage) == 0, ends[n]), qt.Commentf("%d bytes: %v", n, damage))
		last = got
	}
	qt.Check(t, qt.Equals(last, all))

	// The tracer is killed in the midst of writing its second frame.
	dir := t.TempDir()
	w, err := Create(dirOf(t, dir), Options{SyncEvery: -1})
	qt.Assert(t, qt.IsNil(err))
	for i := range 20 {
		qt.Assert(t, qt.IsNil(w.Append('X', numbered(i))))
		if i == 9 {
			qt.Assert(t, qt.IsNil(w.Flush()))
		}
	}
	qt.Assert(t, qt.IsNil(w.Save()))
	start := int(w.Size())
	qt.Assert(t, qt.IsNil(w.Flush()))
	torn := imageOf(t, dir)
	qt.Assert(t, qt.IsNil(w.Close()))
	b = torn[fileName(0)].Data
	for n := start; n < len(b); n++ {
		records, damage := readAll(t, with(torn, fileName(0), b[:n]))
		qt.Assert(t, qt.Equals(inOrder(t, records), 20))
		if n > start {
			qt.Assert(t, qt.HasLen(damage, 1))
			qt.Assert(t, qt.Equals(damage[0].FramesSkipped, 0))
		}
	}
}

// Whatever happened to a tail's bytes: no record that was not written, none twice, none out of
// order, and what is missing is told.
func TestDamagedTail(t *testing.T) {
	image, all := tailed(t)
	b := image[tailNames[0]].Data
	for i := range b {
		flipped := bytes.Clone(b)
		flipped[i] ^= 0x40
		records, damage := readAll(t, with(image, tailNames[0], flipped))
		last := -1
		for _, r := range records {
			var n int
			_, err := fmt.Sscanf(r.payload, "record %d", &n)
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.IsTrue(n > last && r.payload == string(numbered(n))))
			last = n
		}
		qt.Assert(t, qt.IsTrue(len(records) >= all-2), qt.Commentf("byte %d: %d records", i, len(records)))
		qt.Assert(t, qt.IsTrue(len(damage) > 0), qt.Commentf("byte %d", i))
	}
	// Another version's is left alone.
	other := bytes.Clone(b)
	binary.LittleEndian.PutUint32(other[8:], Version+1)
	binary.LittleEndian.PutUint32(other[16:], sumOf(other[:16]))
	records, damage := readAll(t, with(image, tailNames[0], other))
	qt.Check(t, qt.Equals(inOrder(t, records), 20))
	qt.Assert(t, qt.HasLen(damage, 1))
	qt.Check(t, qt.Equals(damage[0].Reason, UnknownVersion))
	// The journal's frames are gone: what the tail has of them comes, and each gap is told.
	records, damage = readAll(t, with(image, fileName(0), image[fileName(0)].Data[:fileHeaderSize]))
	qt.Check(t, qt.HasLen(records, 18))
	qt.Assert(t, qt.HasLen(damage, 2))
	for _, d := range damage {
		qt.Check(t, qt.Equals(d.Reason, Missing))
		qt.Check(t, qt.Equals(d.FramesSkipped, 1))
	}
}

// Where the disk gets full, at any byte, what was saved is there.
func TestDiskFullAtTail(t *testing.T) {
	for room := fileHeaderSize; room < 3000; room += 5 {
		dir := t.TempDir()
		left := room
		w, err := create(func(name string) (file, error) {
			f, err := os.Create(filepath.Join(dir, name))
			return &fullDisk{f, &left}, err
		}, dirOf(t, dir).Remove, Options{FrameBytes: 400})
		qt.Assert(t, qt.IsNil(err))
		written := 0
		for ; err == nil && written < 100; written++ {
			if err = w.Append('X', numbered(written)); err == nil && written%3 == 0 {
				err = w.Save()
			}
		}
		if err == nil {
			err = w.Close()
			qt.Assert(t, qt.IsNil(err))
			continue
		}
		var failed *WriteError
		qt.Assert(t, qt.ErrorAs(err, &failed))
		qt.Check(t, qt.ErrorIs(err, error(syscall.ENOSPC)))
		qt.Check(t, qt.Equals(w.Close(), err))
		records, damage := readAll(t, os.DirFS(dir))
		qt.Assert(t, qt.HasLen(damage, 0))
		qt.Assert(t, qt.Equals(inOrder(t, records)+failed.Lost, written), qt.Commentf("room for %d bytes", room))
	}
}

// crashFile has on the disk what its last sync left; a file is cut there at once.
type crashFile struct {
	*os.File
	name   string
	onDisk *crashDisk
}

type crashDisk struct{ image fstest.MapFS }

func (f *crashFile) Sync() error {
	b, err := os.ReadFile(f.Name())
	f.onDisk.image = with(f.onDisk.image, f.name, b)
	return err
}

func (f *crashFile) Truncate(size int64) error {
	if old := f.onDisk.image[f.name]; old != nil && int64(len(old.Data)) > size {
		f.onDisk.image = with(f.onDisk.image, f.name, old.Data[:size])
	}
	return f.File.Truncate(size)
}

// What has reached the disk stays there: a power cut at any moment loses what was written since
// the last sync, and no more.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	disk := &crashDisk{fstest.MapFS{}}
	w, err := create(func(name string) (file, error) {
		f, err := os.Create(filepath.Join(dir, name))
		return &crashFile{f, name, disk}, err
	}, dirOf(t, dir).Remove, Options{FrameBytes: 1500, FileBytes: 8000, SyncEvery: time.Hour})
	qt.Assert(t, qt.IsNil(err))
	// Syncs happen when we say so, here and now.
	s := w.syncer
	qt.Assert(t, qt.IsNil(s.stop()))
	s.jobs = make(chan syncJob, 1)
	sync := func() {
		for len(s.jobs) > 0 {
			job := <-s.jobs
			qt.Assert(t, qt.IsNil(job.do()))
			s.synced = job.upTo
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	written, safe, emptied := 0, 0, 0
	for n := range 1200 {
		before := w.tails[0].size + w.tails[1].size
		qt.Assert(t, qt.IsNil(w.Append('X', numbered(n))))
		written++
		if rng.IntN(30) == 0 {
			s.last = time.Time{} // a sync is due
		}
		if rng.IntN(4) == 0 {
			qt.Assert(t, qt.IsNil(w.Save()))
		}
		if w.tails[0].size+w.tails[1].size < before {
			emptied++
		}
		sync()
		records, _ := readAll(t, withFile(disk.image))
		got := inOrder(t, records)
		qt.Assert(t, qt.IsTrue(got >= safe), qt.Commentf("%d records of %d that were on the disk", got, safe))
		safe = got
	}
	qt.Check(t, qt.IsTrue(emptied > 3), qt.Commentf("%d times", emptied))
	qt.Check(t, qt.IsTrue(safe > written*9/10), qt.Commentf("%d of %d", safe, written))
	s.jobs = make(chan syncJob, 1)
	s.done.Go(s.run)
	qt.Assert(t, qt.IsNil(w.Close()))
}

// withFile is an image that has a journal's first file at least.
func withFile(image fstest.MapFS) fs.FS {
	if image[fileName(0)] == nil {
		return with(image, fileName(0), nil)
	}
	return image
}

// Reader and writer side by side, over many files and tails.
func TestFollowSaves(t *testing.T) {
	followed(t, Options{FrameBytes: 1000, FileBytes: 9000, SyncEvery: time.Millisecond}, 20000, (*Writer).Save)
}

func FuzzTail(f *testing.F) {
	image, _ := tailed(f)
	f.Add(image[tailNames[0]].Data, uint64(0))
	f.Add(image[tailNames[1]].Data, tailSeq(2, 7))
	f.Fuzz(func(t *testing.T, b []byte, seq uint64) {
		readAll(t, with(image, tailNames[0], b))
		// Behind good checksums as well.
		h := frameHeader{stored: uint32(len(b)), block: uint32(4*len(b)) & 0xfffff, bytes: uint32(len(b)), records: uint32(len(b) % 64), seq: seq, sum: sumOf(b)}
		readAll(t, with(image, tailNames[1], append(h.append(appendFileHeader(nil, 1)), b...)))
	})
}
