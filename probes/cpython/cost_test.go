package cpython

import (
	"testing"

	"github.com/go-quicktest/qt"
)

// countingMemory counts system calls: each ReadAt or ReadMulti is one.
type countingMemory struct {
	mem   *ProcMem
	calls int
}

func (c *countingMemory) ReadAt(addr uint64, buf []byte) error {
	c.calls++
	return c.mem.ReadAt(addr, buf)
}

func (c *countingMemory) ReadMulti(reqs []ReadRequest) {
	c.calls++
	c.mem.ReadMulti(reqs)
}

// TestCostOfAttach counts what an attach does: every frame with its code and
// positions, and every attribute of known.py's objects. At 1 to 2 µs a call it
// must stay far below the 300 ms that an attach may take.
func TestCostOfAttach(t *testing.T) {
	forEachInterpreter(t, 10, func(t *testing.T, py interpreter) {
		p, r, tr := known(t, py)
		mem := &countingMemory{mem: ProcessMemory(p.pid)}
		snap := r.WithMemory(mem).Snapshot(4096)
		attributes := 0
		for _, f := range tr.Facts {
			if f.Kind != "attrs" {
				continue
			}
			var want map[string]uint64
			f.into(t, &want)
			for name := range want {
				_, err := snap.ResolveAttr(f.Addr, name)
				qt.Assert(t, qt.IsNil(err))
				attributes++
			}
		}
		interp, err := snap.MainInterpreter()
		qt.Assert(t, qt.IsNil(err))
		threads, err := snap.Threads(interp)
		qt.Assert(t, qt.IsNil(err))
		for _, th := range threads {
			frames, err := th.Frames(0)
			qt.Assert(t, qt.IsNil(err))
			for _, f := range frames {
				c, err := snap.Code(f.Code)
				qt.Assert(t, qt.IsNil(err))
				_, err = snap.Positions(c)
				qt.Assert(t, qt.IsNil(err))
			}
		}
		t.Logf("%d attributes and all frames: %d calls", attributes, mem.calls)
		qt.Check(t, qt.IsTrue(mem.calls < 1000), qt.Commentf("%d calls", mem.calls))
	})
}

func BenchmarkOpen(b *testing.B) {
	s := loadSession(b, "3.14")
	for b.Loop() {
		if _, err := OpenMemory(s.rec, s.Image, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
