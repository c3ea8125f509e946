package cpython

import (
	"testing"

	"github.com/go-quicktest/qt"
)

// TestPredicted compares where the attributes of a dataclass without instances
// were predicted with where the first instance then has them.
func TestPredicted(t *testing.T) {
	forEachInterpreter(t, 11, func(t *testing.T, py interpreter) {
		p, r, tr := known(t, py)
		var typ uint64
		var names []string
		for _, f := range tr.Facts {
			if f.Kind == "unborn" {
				typ = f.Addr
				f.into(t, &names)
			}
		}
		predicted := make(map[string]Storage)
		for _, name := range names {
			s, err := r.ResolveByType(typ, name)
			qt.Assert(t, qt.IsNil(err))
			predicted[name] = s
		}
		for _, name := range []string{"counted", "seed", "skipped", "nowhere"} {
			_, err := r.ResolveByType(typ, name)
			qt.Check(t, qt.ErrorIs(err, NotFound), qt.Commentf("%s", name))
		}

		var born struct{ Addr uint64 }
		p.do(t, "born", &born)
		for _, name := range names {
			s, err := r.ResolveAttr(born.Addr, name)
			qt.Assert(t, qt.IsNil(err))
			was := predicted[name]
			qt.Check(t, qt.Equals(was.Kind, s.Kind))
			qt.Check(t, qt.Equals(was.Index, s.Index), qt.Commentf("%s", name))
			qt.Check(t, qt.Equals(was.Offset, s.Offset))
			qt.Check(t, qt.Equals(was.ValidOffset, s.ValidOffset))
			qt.Check(t, qt.Equals(was.KeyAddr, s.KeyAddr))
			byType, err := r.ResolveByType(typ, name)
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(byType, s))
		}
	})
}
