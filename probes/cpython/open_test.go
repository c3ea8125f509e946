package cpython

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
)

// overlay is a Memory with some words changed.
type overlay struct {
	mem   Memory
	words map[uint64][]byte
}

func (o *overlay) ReadAt(addr uint64, buf []byte) error {
	if err := o.mem.ReadAt(addr, buf); err != nil {
		return err
	}
	for at, b := range o.words {
		for i := range b {
			if j := at + uint64(i) - addr; j < uint64(len(buf)) {
				buf[j] = b[i]
			}
		}
	}
	return nil
}

func word(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// unsupported asserts that err refuses the feature.
func unsupported(t *testing.T, err error, feature string) {
	t.Helper()
	var u *UnsupportedError
	qt.Assert(t, qt.IsTrue(errors.As(err, &u)), qt.Commentf("%v", err))
	qt.Check(t, qt.Equals(u.Feature, feature))
	qt.Check(t, qt.ErrorIs(err, Unsupported))
	qt.Check(t, qt.Not(qt.Equals(u.Found, "")))
	qt.Check(t, qt.Not(qt.Equals(u.Need, "")))
}

func TestRefusedVersions(t *testing.T) {
	for name, hex := range map[string]uint64{"3.9": 0x030912f0, "3.15": 0x030f00f0, "2.7": 0x02071200} {
		t.Run(name, func(t *testing.T) {
			s := loadSession(t, "3.11")
			mem := &overlay{s.rec, map[uint64][]byte{s.Image.VersionAddr: word(hex)}}
			_, err := OpenMemory(mem, s.Image, Options{})
			unsupported(t, err, "version")
			r, err := OpenMemory(mem, s.Image, Options{AllowUnknown: true})
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.IsFalse(r.Version().supported()))
		})
	}
}

func TestVersionWithoutSymbol(t *testing.T) {
	s := loadSession(t, "3.12")
	s.Image.VersionAddr = 0
	r, err := OpenMemory(s.rec, s.Image, Options{})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(r.Version(), Version{3, 12, -1})) // from the path
	s.Image.Path = "/usr/bin/server"
	_, err = OpenMemory(s.rec, s.Image, Options{})
	unsupported(t, err, "version")
}

func TestRefusedFreeThreaded(t *testing.T) {
	for _, minor := range []string{"3.13", "3.14"} {
		s := loadSession(t, minor)
		mem := &overlay{s.rec, map[uint64][]byte{s.Image.RuntimeAddr + 16: word(1)}}
		_, err := OpenMemory(mem, s.Image, Options{})
		unsupported(t, err, "free-threaded build")
		s.Image.Path = "/opt/lib/libpython" + minor + "t.so.1.0"
		_, err = OpenMemory(s.rec, s.Image, Options{})
		unsupported(t, err, "free-threaded build")
	}
}

func TestRefusedJIT(t *testing.T) {
	s := loadSession(t, "3.14")
	r, err := OpenMemory(s.rec, s.Image, Options{})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsFalse(r.JITEnabled()))
	interp, err := r.MainInterpreter()
	qt.Assert(t, qt.IsNil(err))
	mem := &overlay{s.rec, map[uint64][]byte{interp + uint64(r.Offsets().Interp.JIT): {1}}}
	_, err = OpenMemory(mem, s.Image, Options{})
	unsupported(t, err, "jit")
	r, err = OpenMemory(mem, s.Image, Options{AllowJIT: true})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(r.JITEnabled()))
}

// TestJITOfUnknownLayout: where the interpreter's size is not the table's, the
// flag is not looked for where it may not be.
func TestJITOfUnknownLayout(t *testing.T) {
	s := loadSession(t, "3.14")
	var size debugField
	off, _ := LayoutOf(14)
	for _, f := range debugFields(&off) {
		if f.name == "Interp.Size" {
			size = f
		}
	}
	mem := &overlay{s.rec, map[uint64][]byte{s.Image.RuntimeAddr + uint64(size.at): word(uint64(off.Interp.Size + 8))}}
	r, err := OpenMemory(mem, s.Image, Options{})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(r.Mismatches(), []Mismatch{{"Interp.Size", off.Interp.Size, off.Interp.Size + 8}}))
	qt.Check(t, qt.IsFalse(r.exact))
}

// TestPublishedOffsetsWin: what the process says beats the table, unless it
// cannot be.
func TestPublishedOffsetsWin(t *testing.T) {
	s := loadSession(t, "3.13")
	off, _ := LayoutOf(13)
	words := make(map[uint64][]byte)
	for _, f := range debugFields(&off) {
		switch f.name {
		case "Set.Used", "Float.Value":
			words[s.Image.RuntimeAddr+uint64(f.at)] = word(40)
		case "Bytes.Data":
			words[s.Image.RuntimeAddr+uint64(f.at)] = word(1 << 40)
		}
	}
	r, err := OpenMemory(&overlay{s.rec, words}, s.Image, Options{})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(r.Offsets().Float.Value, 40))
	qt.Check(t, qt.Equals(r.Offsets().Bytes.Data, off.Bytes.Data))
	qt.Check(t, qt.HasLen(r.Mismatches(), 2))
}

// TestCookieScan opens binaries whose symbols are not seen.
func TestCookieScan(t *testing.T) {
	forEachInterpreter(t, 13, func(t *testing.T, py interpreter) {
		p, r, tr := known(t, py)
		img := r.Image()
		want := img.RuntimeAddr
		img.RuntimeAddr, img.VersionAddr, img.NoneAddr = 0, 0, 0
		stripped, err := OpenMemory(ProcessMemory(p.pid), img, Options{})
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(stripped.Image().RuntimeAddr, want))
		qt.Check(t, qt.Equals(stripped.Version().String(), tr.Version))
	})
}

// TestDeletedExecutable runs a copy of the interpreter that is then deleted,
// as a package upgrade does.
func TestDeletedExecutable(t *testing.T) {
	const static = "/usr/bin/python3.11"
	src, err := os.ReadFile(static)
	if err != nil {
		t.Skip("no static python here")
	}
	if os.Geteuid() != 0 {
		t.Skip("map_files needs root")
	}
	exe := filepath.Join(t.TempDir(), "server")
	qt.Assert(t, qt.IsNil(os.WriteFile(exe, src, 0o755)))
	t.Setenv("PYTHONHOME", "/usr")
	p := start(t, exe, "-c", "import os; print(id(None), flush=True); os.read(0, 1)")
	var none uint64
	p.answer(t, &none)
	qt.Assert(t, qt.IsNil(os.Remove(exe)))
	r, err := Open(p.pid, Options{})
	qt.Assert(t, qt.IsNil(err))
	got, err := r.NoneAddr()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(got, none))
}

func TestNotPython(t *testing.T) {
	p := start(t, "/bin/cat")
	_, err := Open(p.pid, Options{})
	qt.Check(t, qt.ErrorIs(err, NotFound))
}

func TestNoSuchProcess(t *testing.T) {
	_, err := Open(1<<30, Options{})
	qt.Check(t, qt.ErrorIs(err, os.ErrNotExist))
}

// TestProcessEnds: reads after the end fail with a reason, and say so.
func TestProcessEnds(t *testing.T) {
	forEachInterpreter(t, 10, func(t *testing.T, py interpreter) {
		p, r, tr := known(t, py)
		_, err := p.stdin.WriteString("exit\n")
		qt.Assert(t, qt.IsNil(err))
		_, err = p.out.ReadByte() // EOF: it is gone
		qt.Assert(t, qt.IsNotNil(err))
		proc, err := os.FindProcess(p.pid)
		qt.Assert(t, qt.IsNil(err))
		_, err = proc.Wait()
		qt.Assert(t, qt.IsNil(err))
		_, err = r.Type(tr.None)
		qt.Check(t, qt.ErrorIs(err, Unreadable))
		qt.Check(t, qt.Equals(r.Failures()[Unreadable], 1))
	})
}

// TestRefusedOptimizer is the JIT of 3.13, which shows in the type of an object.
func TestRefusedOptimizer(t *testing.T) {
	s := loadSession(t, "3.13")
	r, err := OpenMemory(s.rec, s.Image, Options{})
	qt.Assert(t, qt.IsNil(err))
	interp, err := r.MainInterpreter()
	qt.Assert(t, qt.IsNil(err))
	typ, err := r.Type(s.Roots[0])
	qt.Assert(t, qt.IsNil(err))
	name, err := r.u64("type", typ.Addr+uint64(r.off.Type.Name))
	qt.Assert(t, qt.IsNil(err))
	mem := &overlay{s.rec, map[uint64][]byte{
		interp + uint64(r.off.Interp.Optimizer): word(s.Roots[0]),
		name:                                    []byte("uop_optimizer\x00"),
	}}
	_, err = OpenMemory(mem, s.Image, Options{})
	unsupported(t, err, "jit")
}
