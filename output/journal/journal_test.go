package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/output/internal/traffic"
)

type rec struct {
	kind    byte
	payload string
}

func write(t testing.TB, opts Options, frames ...[]rec) (dir string) {
	dir = t.TempDir()
	w, err := Create(dirOf(t, dir), opts)
	qt.Assert(t, qt.IsNil(err))
	for _, records := range frames {
		for _, r := range records {
			qt.Assert(t, qt.IsNil(w.Append(r.kind, []byte(r.payload))))
		}
		qt.Assert(t, qt.IsNil(w.Flush()))
	}
	qt.Assert(t, qt.IsNil(w.Close()))
	return dir
}

func readAll(t testing.TB, dir fs.FS) ([]rec, []Damage) {
	r, err := Open(dir)
	qt.Assert(t, qt.IsNil(err))
	defer r.Close()
	var records []rec
	for {
		record, err := r.Next()
		if err == io.EOF {
			break
		}
		qt.Assert(t, qt.IsNil(err))
		records = append(records, rec{record.Kind, string(record.Payload)})
	}
	damages, _ := r.Damage()

	again, err := Open(dir)
	qt.Assert(t, qt.IsNil(err))
	defer again.Close()
	var ahead []rec
	qt.Assert(t, qt.IsNil(again.Each(func(record Record) error {
		ahead = append(ahead, rec{record.Kind, string(record.Payload)})
		return nil
	})))
	qt.Assert(t, qt.IsTrue(slices.Equal(ahead, records)))
	same, _ := again.Damage()
	qt.Assert(t, qt.Equals(fmt.Sprint(same), fmt.Sprint(damages)))
	return records, damages
}

func TestEachEndsWithItsFunction(t *testing.T) {
	frames := small()
	dir := write(t, Options{}, frames...)
	for n := range len(flat(frames)) {
		r, err := Open(os.DirFS(dir))
		qt.Assert(t, qt.IsNil(err))
		enough, seen := errors.New("enough"), 0
		err = r.Each(func(Record) error {
			if seen == n {
				return enough
			}
			seen++
			return nil
		})
		qt.Assert(t, qt.Equals(err, enough))
		qt.Assert(t, qt.Equals(seen, n))
		qt.Assert(t, qt.IsNil(r.Close()))
	}
}

func flat(frames [][]rec) (all []rec) {
	for _, f := range frames {
		all = append(all, f...)
	}
	return all
}

// small is a journal with a few frames of events and facts of odd lengths.
func small() [][]rec {
	var frames [][]rec
	var frame []rec
	s := traffic.New(traffic.Shape{Seed: 3, Requests: 3, Output: 4, Prompt: 30, BlockSize: 16, StepNS: 1e6})
	s.Event = func(p []byte) { frame = append(frame, rec{KindEvent, string(p)}) }
	for i := range 6 {
		frame = append(frame, rec{KindFact, fmt.Sprintf(`{"start":{"mono_ns":%d}}`, i)})
		s.Step()
		frame = append(frame, rec{KindEvent, "short"[:i%6]}, rec{'x', ""})
		frames = append(frames, frame)
		frame = nil
	}
	return frames
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	many := []rec{}
	for range 3000 { // more classes than a frame can have
		p := make([]byte, rng.IntN(60))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		many = append(many, rec{"EFx"[rng.IntN(3)], string(p)})
	}
	var kinds []rec
	for i := range 256 {
		kinds = append(kinds, rec{byte(i), "payload"})
	}
	for name, frames := range map[string][][]rec{
		"nothing": {}, "empty": {{{KindEvent, ""}}}, "small": small(), "many": {many}, "kinds": {kinds},
		"big": {{{KindEvent, string(make([]byte, MaxRecord))}, {KindFact, "after"}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, Options{}, frames...)
			records, damages := readAll(t, os.DirFS(dir))
			qt.Check(t, qt.HasLen(damages, 0))
			qt.Assert(t, qt.HasLen(records, len(flat(frames))))
			for i, want := range flat(frames) {
				if records[i] != want {
					t.Fatalf("record %d: got %q, want %q", i, records[i], want)
				}
			}
		})
	}
}

func TestFilesRotate(t *testing.T) {
	dir := t.TempDir()
	rotations := 0
	w, err := Create(dirOf(t, dir), Options{FileBytes: 200, SyncEvery: time.Nanosecond, Rotated: func(w *Writer) error {
		rotations++
		return w.Append(KindFact, []byte("clock"))
	}})
	qt.Assert(t, qt.IsNil(err))
	for range 100 {
		qt.Assert(t, qt.IsNil(w.Append(KindEvent, binary.LittleEndian.AppendUint64(nil, rand.Uint64()))))
		qt.Assert(t, qt.IsNil(w.Flush()))
	}
	qt.Assert(t, qt.IsNil(w.Close()))
	files, _ := filepath.Glob(dir + "/*.pmj")
	qt.Check(t, qt.HasLen(files, rotations+1))
	qt.Check(t, qt.IsTrue(rotations > 10))
	records, damages := readAll(t, os.DirFS(dir))
	qt.Check(t, qt.HasLen(damages, 0))
	qt.Check(t, qt.HasLen(records, 100+rotations))

	// A file that is gone is noticed.
	qt.Assert(t, qt.IsNil(os.Remove(files[3])))
	rest, damages := readAll(t, os.DirFS(dir))
	qt.Assert(t, qt.HasLen(damages, 1))
	qt.Check(t, qt.Equals(damages[0].Reason, Missing))
	qt.Check(t, qt.IsTrue(damages[0].FramesSkipped >= 1))
	qt.Check(t, qt.IsTrue(len(rest) < len(records)))
}

func TestFileModes(t *testing.T) {
	dir := write(t, Options{}, small()...)
	info, err := os.Stat(filepath.Join(dir, "00000.pmj"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(info.Mode().Perm(), 0o600))
	_, err = Create(dirOf(t, dir), Options{})
	qt.Check(t, qt.ErrorIs(err, fs.ErrExist))
	_, err = Open(os.DirFS(t.TempDir()))
	qt.Check(t, qt.ErrorIs(err, fs.ErrNotExist))
}

// frameStarts returns where the frames of a file begin, and its size.
func frameStarts(t testing.TB, b []byte) (starts []int) {
	for at := fileHeaderSize; at < len(b); {
		starts = append(starts, at)
		h, reason := parseFrameHeader(b[at:])
		qt.Assert(t, qt.Equals(reason, ""))
		at += frameHeaderSize + int(h.stored)
	}
	return starts
}

func journalOf(b []byte) fs.FS { return fstest.MapFS{"00000.pmj": {Data: b}} }

func TestTruncatedAtEveryByte(t *testing.T) {
	frames := small()
	b, err := os.ReadFile(filepath.Join(write(t, Options{}, frames...), "00000.pmj"))
	qt.Assert(t, qt.IsNil(err))
	starts := append(frameStarts(t, b), len(b))
	for n := range len(b) {
		complete := 0
		for complete+1 < len(starts) && starts[complete+1] <= n {
			complete++
		}
		want := flat(frames[:complete])
		records, damages := readAll(t, journalOf(b[:n]))
		if len(records) != len(want) {
			t.Fatalf("cut at %d: %d records, want %d", n, len(records), len(want))
		}
		if clean := n == starts[complete] || n == 0; clean != (len(damages) == 0) {
			t.Fatalf("cut at %d: damage %v", n, damages)
		}
		for _, d := range damages {
			if d.Reason != Truncated {
				t.Fatalf("cut at %d: %v", n, d)
			}
		}
	}
}

func TestEveryFlippedBit(t *testing.T) {
	frames := small()
	b, err := os.ReadFile(filepath.Join(write(t, Options{}, frames...), "00000.pmj"))
	qt.Assert(t, qt.IsNil(err))
	starts := append(frameStarts(t, b), len(b))
	for i := 0; i < len(b)*8; i += 5 { // one or two bits of every byte
		b[i/8] ^= 1 << (i % 8)
		records, damages := readAll(t, journalOf(b))
		b[i/8] ^= 1 << (i % 8)
		hit := -1
		for f := range frames {
			if i/8 >= starts[f] && i/8 < starts[f+1] {
				hit = f
			}
		}
		var want []rec
		for f := range frames {
			if f != hit {
				want = append(want, frames[f]...)
			}
		}
		if len(records) != len(want) || len(damages) != 1 {
			t.Fatalf("bit %d: %d records, want %d; %v", i, len(records), len(want), damages)
		}
		d := damages[0]
		if hit >= 0 && (d.Offset != int64(starts[hit]) || d.Bytes != int64(starts[hit+1]-starts[hit])) {
			t.Fatalf("bit %d: frame %d at %d: %+v", i, hit, starts[hit], d)
		}
		if last := hit == len(frames)-1; hit >= 0 && !last && d.FramesSkipped != 1 || last && d.FramesSkipped != 0 {
			t.Fatalf("bit %d: frame %d: %+v", i, hit, d)
		}
		for k := range want {
			if records[k] != want[k] {
				t.Fatalf("bit %d: record %d differs", i, k)
			}
		}
	}
}

func TestGarbageBetweenFrames(t *testing.T) {
	frames := small()
	b, err := os.ReadFile(filepath.Join(write(t, Options{}, frames...), "00000.pmj"))
	qt.Assert(t, qt.IsNil(err))
	starts := frameStarts(t, b)
	garbage := bytes.Repeat([]byte(frameMagic+"garbage"), 100_000) // over the read size
	broken := append(append(bytes.Clone(b[:starts[2]]), garbage...), b[starts[3]:]...)
	records, damages := readAll(t, journalOf(broken))
	qt.Check(t, qt.HasLen(records, len(flat(frames))-len(frames[2])))
	qt.Check(t, qt.DeepEquals(damages, []Damage{{File: "00000.pmj", Offset: int64(starts[2]), Bytes: int64(len(garbage)), Reason: BadFrameHeader, FramesSkipped: 1}}))
}

func TestNewerVersionIsLeftAlone(t *testing.T) {
	b := appendFileHeader(nil, 0)
	b[8]++
	// A header with its own checksum right.
	fixed := appendFileHeader(nil, 0)[:16]
	fixed[8]++
	fixed = binary.LittleEndian.AppendUint32(fixed, sumOf(fixed))
	_, damages := readAll(t, journalOf(fixed))
	qt.Assert(t, qt.HasLen(damages, 1))
	qt.Check(t, qt.Equals(damages[0].Reason, UnknownVersion))
}

func TestHostileLengths(t *testing.T) {
	for _, h := range []frameHeader{
		{stored: MaxBlock + 1}, {block: MaxBlock + 1}, {bytes: 1 << 31, block: 10}, {records: 1 << 31, block: 10},
		{stored: MaxBlock, block: MaxBlock, bytes: MaxBlock - 100, records: 10},
	} {
		_, damages := readAll(t, journalOf(h.append(appendFileHeader(nil, 0))))
		qt.Check(t, qt.HasLen(damages, 1))
	}
}

// fullDisk is a file on a disk with room for so many bytes, of all files.
type fullDisk struct {
	*os.File
	room *int
}

func (d *fullDisk) Write(b []byte) (int, error) {
	n := min(len(b), *d.room)
	*d.room -= n
	if n < len(b) {
		n, _ = d.File.Write(b[:n])
		return n, syscall.ENOSPC
	}
	return d.File.Write(b)
}

func TestDiskFull(t *testing.T) {
	frames := small()
	whole, err := os.Stat(filepath.Join(write(t, Options{}, frames...), "00000.pmj"))
	qt.Assert(t, qt.IsNil(err))
	for room := 0; room < int(whole.Size()); room += 3 {
		dir, left := t.TempDir(), room
		w, err := create(func(name string) (file, error) {
			f, err := os.Create(filepath.Join(dir, name))
			return &fullDisk{f, &left}, err
		}, nil, Options{})
		if room < fileHeaderSize {
			qt.Assert(t, qt.ErrorIs(err, error(syscall.ENOSPC)))
			continue
		}
		qt.Assert(t, qt.IsNil(err))
		complete, lost := 0, 0
		for _, f := range frames {
			for _, r := range f {
				qt.Assert(t, qt.IsNil(w.Append(r.kind, []byte(r.payload))))
			}
			if err = w.Flush(); err != nil {
				lost = len(f)
				break
			}
			complete++
		}
		var werr *WriteError
		qt.Assert(t, qt.ErrorAs(err, &werr))
		qt.Check(t, qt.ErrorIs(err, error(syscall.ENOSPC)))
		qt.Check(t, qt.Equals(werr.Lost, lost))
		qt.Check(t, qt.Equals(w.Append('F', nil), err))
		qt.Check(t, qt.Equals(w.Close(), err))
		records, damages := readAll(t, os.DirFS(dir))
		qt.Check(t, qt.HasLen(damages, 0))
		qt.Check(t, qt.HasLen(records, len(flat(frames[:complete]))))
	}
}

// Steady decode takes less than 3 bytes by request and step, and requests that
// come and go less than 5; a writer holds a few MiB.
func TestSize(t *testing.T) {
	for _, c := range []struct {
		shape traffic.Shape
		most  float64
	}{{traffic.Decode32, 3}, {traffic.Chat32, 5}} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		w, err := Create(dirOf(t, t.TempDir()), Options{})
		qt.Assert(t, qt.IsNil(err))
		s := traffic.New(c.shape)
		s.Event = func(p []byte) { qt.Assert(t, qt.IsNil(w.Append(KindEvent, p))) }
		requests := 0
		for step := range 3000 {
			n, err := s.Step()
			qt.Assert(t, qt.IsNil(err))
			requests += n
			if step%50 == 49 { // each second
				qt.Assert(t, qt.IsNil(w.Flush()))
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		size, live := float64(w.Size())/float64(requests), float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1e6
		t.Logf("%.2f bytes a step-request, %.1f MB live", size, live)
		qt.Check(t, qt.IsTrue(size < c.most))
		qt.Check(t, qt.IsTrue(live < 8))
		qt.Assert(t, qt.IsNil(w.Close()))
	}
}

func TestTooLarge(t *testing.T) {
	w, err := Create(dirOf(t, t.TempDir()), Options{})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.ErrorIs(w.Append('E', make([]byte, MaxRecord+1)), ErrRecordTooLarge))
	qt.Check(t, qt.IsNil(w.Close()))
	qt.Check(t, qt.IsTrue(errors.Is(w.Close(), os.ErrClosed)))
}

func FuzzReader(f *testing.F) {
	b, err := os.ReadFile(filepath.Join(write(f, Options{}, small()...), "00000.pmj"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add(appendFileHeader(nil, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		readAll(t, journalOf(b))
		// Behind good checksums as well.
		h := frameHeader{stored: uint32(len(b)), block: uint32(4*len(b)) & 0xfffff, bytes: uint32(len(b)), records: uint32(len(b) % 64), sum: sumOf(b)}
		readAll(t, journalOf(append(h.append(appendFileHeader(nil, 0)), b...)))
	})
}

// FuzzBlock gives the inside of a frame to the decoder, past compression.
func FuzzBlock(f *testing.F) {
	var w blockWriter
	for _, r := range flat(small()) {
		w.add(r.kind, []byte(r.payload))
	}
	f.Add(w.encode(nil), uint32(len(w.data)), uint32(len(w.spans)))
	f.Fuzz(func(t *testing.T, block []byte, bytes, records uint32) {
		if bytes > MaxBlock || records > MaxBlock {
			return
		}
		var r blockReader
		if !r.decode(block, frameHeader{bytes: bytes, records: records}) {
			return
		}
		var again blockWriter
		for i, s := range r.spans {
			again.add(r.kinds[r.classOf[i]], r.data[s.at:s.at+s.size])
		}
		var back blockReader
		data := append([]byte(nil), again.data...)
		if !back.decode(again.encode(nil), frameHeader{bytes: bytes, records: records}) || string(back.data) != string(data) {
			t.Fatal("does not survive another round")
		}
	})
}
