package cpython

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
)

// update makes the recordings in testdata again: go test -run
// TestRecordedMemory -update.
var update = flag.Bool("update", false, "record testdata again")

// session is a recorded process: what Open would have found, and where to
// start reading.
type session struct {
	Image Image
	Roots []uint64
	// Bases are what the fuzzer changes memory near to: roots, and the structures
	// on the way to them.
	Bases []uint64
	Names []string
	// Failures are those of the live process, which was asked much that makes no
	// sense: the recording must give the same.
	Failures map[string]uint64
	rec      *Recording
}

func (s *session) paths(minor string) (mem, meta string) {
	base := filepath.Join("testdata", "recorded-"+minor)
	return base + ".mem.zst", base + ".json"
}

func loadSession(tb testing.TB, minor string) *session {
	tb.Helper()
	s := new(session)
	mem, meta := s.paths(minor)
	b, err := os.ReadFile(meta)
	qt.Assert(tb, qt.IsNil(err))
	qt.Assert(tb, qt.IsNil(json.Unmarshal(b, s)))
	f, err := os.Open(mem)
	qt.Assert(tb, qt.IsNil(err))
	defer f.Close()
	s.rec, err = ReadRecording(f)
	qt.Assert(tb, qt.IsNil(err))
	return s
}

func (s *session) save(t *testing.T, minor string) {
	mem, meta := s.paths(minor)
	b, err := json.MarshalIndent(s, "", " ")
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(os.WriteFile(meta, append(b, '\n'), 0o644)))
	var buf bytes.Buffer
	_, err = s.rec.WriteTo(&buf)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(os.WriteFile(mem, buf.Bytes(), 0o644)))
}

// recordedKinds are the kinds of fact that are small enough to record.
func recordedKinds() []string {
	return []string{
		"str", "int", "list", "tuple", "deque", "set", "dict", "attrs", "attrorder", "enum", "weakref",
		"function", "unwrap", "closure", "code", "unborn", "dictget",
	}
}

// record runs known.py away from the source tree and with an empty
// environment, so that nothing of this machine gets into testdata.
func record(t *testing.T, py interpreter) *session {
	dir, err := os.MkdirTemp("", "known")
	qt.Assert(t, qt.IsNil(err))
	defer os.RemoveAll(dir)
	src, err := os.ReadFile(filepath.Join("testdata", "known.py"))
	qt.Assert(t, qt.IsNil(err))
	script := filepath.Join(dir, "known.py")
	qt.Assert(t, qt.IsNil(os.WriteFile(script, src, 0o644)))
	env, err := exec.LookPath("env")
	qt.Assert(t, qt.IsNil(err))
	p := start(t, env, "-i", "-C", dir, py.path, "-I", script)
	var tr truth
	p.answer(t, &tr)
	live, err := Open(p.pid, Options{})
	qt.Assert(t, qt.IsNil(err))

	s := &session{Image: live.Image(), Names: []string{"a", "alpha", "attr_07", "data"}}
	s.Image.Path = filepath.Base(s.Image.Path)
	seen := make(map[string]int)
	for _, f := range tr.Facts {
		for _, kind := range recordedKinds() {
			if f.Kind == kind && seen[kind] < 6 && len(f.Want) < 2000 {
				seen[kind]++
				s.Roots = append(s.Roots, f.Addr)
			}
		}
	}
	s.Bases = append(bases(t, live), s.Roots...)
	recorder := Record(ProcessMemory(p.pid))
	s.Failures = byName(exercise(recorder, s))
	s.rec = recorder.Recording()
	for _, page := range s.rec.Pages {
		cwd, err := os.Getwd()
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.IsFalse(bytes.Contains(page, []byte(cwd))))
	}
	return s
}

// bases gives the interpreter, threads, frames and code objects.
func bases(t *testing.T, r *Runtime) []uint64 {
	interp, err := r.MainInterpreter()
	qt.Assert(t, qt.IsNil(err))
	out := []uint64{interp}
	threads, err := r.Threads(interp)
	qt.Assert(t, qt.IsNil(err))
	for _, th := range threads {
		frames, err := th.Frames(6)
		qt.Assert(t, qt.IsNil(err))
		out = append(out, th.Addr)
		for _, f := range frames {
			out = append(out, f.Addr, f.Code, f.Func)
		}
	}
	return out
}

func byName(counts map[Reason]uint64) map[string]uint64 {
	out := make(map[string]uint64)
	for reason, n := range counts {
		out[reason.String()] = n
	}
	return out
}

// TestRecordedMemory reads the recordings without any process.
func TestRecordedMemory(t *testing.T) {
	if *update {
		forEachInterpreter(t, 10, func(t *testing.T, py interpreter) {
			if py.needed {
				record(t, py).save(t, py.name)
			}
		})
	}
	for _, minor := range []string{"3.10", "3.11", "3.12", "3.13", "3.14"} {
		t.Run(minor, func(t *testing.T) {
			s := loadSession(t, minor)
			r, err := OpenMemory(s.rec, s.Image, Options{})
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.IsTrue(r.Version().supported()))
			interp, err := r.MainInterpreter()
			qt.Assert(t, qt.IsNil(err))
			threads, err := r.Threads(interp)
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.HasLen(threads, 2))
			frames, err := threads[0].Frames(0)
			qt.Assert(t, qt.IsNil(err))
			c, err := r.Code(frames[0].Code)
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(c.Qualname, "waiting"))
			qt.Check(t, qt.DeepEquals(byName(exercise(s.rec, s)), s.Failures))
		})
	}
}

// fuzzLimits keep one walk over corrupt memory short.
func fuzzLimits() Limits {
	return Limits{StrBytes: 1 << 14, Items: 1 << 12, Names: 1 << 9, CodeUnits: 1 << 12, Frames: 32, Threads: 16, MRO: 16, Depth: 4}
}

// exercise calls every reader on everything that the session names, whatever
// it is, and gives the failures.
func exercise(mem Memory, s *session) map[Reason]uint64 {
	r, err := OpenMemory(mem, s.Image, Options{AllowJIT: true, AllowUnknown: true, Limits: fuzzLimits()})
	if err != nil {
		return nil
	}
	interps, _ := r.Interpreters()
	for _, interp := range interps {
		threads, _ := r.Threads(interp)
		for _, th := range threads {
			frames, _ := th.Frames(0)
			for _, f := range frames {
				exerciseFrame(r, f)
			}
		}
	}
	for _, root := range s.Roots {
		exerciseObject(r, root)
		for _, name := range s.Names {
			exerciseName(r, root, name)
		}
	}
	return r.Failures()
}

func exerciseFrame(r *Runtime, f Frame) {
	c, err := r.Code(f.Code)
	if err != nil {
		return
	}
	r.Positions(c)
	for i := range c.Nlocalsplus {
		r.Local(f, c, i)
	}
	r.Globals(f)
	r.Function(f.Func)
}

func exerciseObject(r *Runtime, obj uint64) {
	r.Str(obj)
	r.Int(obj)
	r.Float(obj)
	r.Bool(obj)
	r.Bytes(obj)
	r.List(obj)
	r.Tuple(obj)
	r.Deque(obj)
	r.Set(obj)
	r.Dict(obj)
	r.Attrs(obj)
	r.Enum(obj)
	r.Weakref(obj)
	r.Unwrap(obj)
	r.ModuleDict(obj)
	if f, err := r.Function(obj); err == nil {
		r.ClosureFunctions(f)
	}
	if c, err := r.Code(obj); err == nil {
		r.Positions(c)
	}
}

func exerciseName(r *Runtime, obj uint64, name string) {
	r.DictGet(obj, name)
	if s, err := r.ResolveAttr(obj, name); err == nil {
		r.Load(obj, s)
	}
	r.ResolveByType(obj, name)
}

// corrupt is a recording with some words changed. It counts what a walk asks
// for.
type corrupt struct {
	rec     *Recording
	reads   int
	largest int
}

// corrupted shares the pages of rec that are not changed.
func corrupted(rec *Recording) *corrupt {
	return &corrupt{rec: &Recording{Pages: maps.Clone(rec.Pages)}}
}

func (c *corrupt) patch(addr uint64, b byte) {
	if page, ok := c.rec.Pages[addr/pageSize]; ok {
		page = bytes.Clone(page)
		page[addr%pageSize] = b
		c.rec.Pages[addr/pageSize] = page
	}
}

// maxFuzzReads bounds the reads of one walk; past it nothing is readable.
const maxFuzzReads = 200_000

var errTooManyReads = errors.New("too many reads")

func (c *corrupt) ReadAt(addr uint64, buf []byte) error {
	c.reads++
	c.largest = max(c.largest, len(buf))
	if c.reads > maxFuzzReads {
		return errTooManyReads
	}
	return c.rec.ReadAt(addr, buf)
}

// apply reads patches of 12 bytes: kind, object, offset (2), value (8). The
// offset is from a base, so that what is changed is what is read; the value is
// a word, or the address of a base, which makes cycles and wrong
// types.
func (c *corrupt) apply(data []byte, s *session) {
	for n := 0; len(data) >= 12 && n < 32; n++ {
		kind, base, off := data[0], s.Bases[int(data[1])%len(s.Bases)], int16(binary.LittleEndian.Uint16(data[2:]))
		value := binary.LittleEndian.Uint64(data[4:])
		for range kind >> 4 & 3 { // follow the type, its type …
			var b [8]byte
			if c.rec.ReadAt(base+8, b[:]) == nil {
				base = binary.LittleEndian.Uint64(b[:])
			}
		}
		if kind&1 != 0 {
			value = s.Bases[value%uint64(len(s.Bases))] + uint64(int8(value>>32))
		}
		if kind&2 != 0 {
			base = s.Image.RuntimeAddr
		}
		width := 8
		if kind&4 != 0 {
			width = 1
		}
		for i := range width {
			c.patch(base+uint64(off)+uint64(i), byte(value>>(8*i)))
		}
		data = data[12:]
	}
}

// FuzzCorruptMemory walks recorded processes with words changed: it must not
// panic, must end, and must not ask for more memory than the limits allow.
func FuzzCorruptMemory(f *testing.F) {
	sessions := make([]*session, 5)
	for i, minor := range []string{"3.10", "3.11", "3.12", "3.13", "3.14"} {
		sessions[i] = loadSession(f, minor)
	}
	for minor := range byte(5) {
		f.Add(minor, []byte{})
		for off := byte(0); off < 80; off += 8 {
			f.Add(minor, []byte{0, off, off, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
			f.Add(minor, []byte{1, off, off, 0, off, 0, 0, 0, 0, 0, 0, 0})
			f.Add(minor, []byte{0x10, off, off, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
		}
	}
	f.Fuzz(func(t *testing.T, minor byte, data []byte) {
		s := sessions[minor%5]
		c := corrupted(s.rec)
		c.apply(data, s)
		exercise(c, s)
		if c.reads > maxFuzzReads {
			t.Errorf("%d reads", c.reads)
		}
		if c.largest > 1<<18 {
			t.Errorf("a read of %d bytes", c.largest)
		}
	})
}
