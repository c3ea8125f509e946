package cpython

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// codeTruth is what dis says about a code object.
type codeTruth struct {
	Name, Qualname, Filename string
	First                    int
	Ins                      []disInstruction
	Lines                    []int
	Names                    []string
	ArgCount                 int
	CoNames                  []uint64
}

type disInstruction struct {
	Index int
	Name  string
	Arg   int // -1: none
}

func (d *disInstruction) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&d.Index, &d.Name, &d.Arg})
}

func checkCode(t *testing.T, r *Runtime, f fact) {
	var want codeTruth
	f.into(t, &want)
	c, err := r.Code(f.Addr)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(c.Name, want.Name))
	qt.Check(t, qt.Equals(c.Qualname, want.Qualname))
	qt.Check(t, qt.Equals(c.Filename, want.Filename))
	qt.Check(t, qt.Equals(c.FirstLine, want.First))
	qt.Check(t, qt.Equals(c.ArgCount, want.ArgCount))
	qt.Check(t, qt.Equals(c.Units, len(want.Lines)))
	qt.Check(t, qt.DeepEquals(c.LocalNames, want.Names))

	names, err := r.CodeNames(c)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(slices.Equal(names, want.CoNames)))

	ins, err := r.Instructions(c)
	qt.Assert(t, qt.IsNil(err))
	checkInstructions(t, ins, want.Ins)
	table, err := r.Bytes(c.lineTable)
	qt.Assert(t, qt.IsNil(err))
	decode := decodeLines
	if r.Version().Minor == 10 {
		decode = decodeLines310
	}
	qt.Check(t, qt.IsTrue(slices.Equal(decode(table, c.FirstLine, c.Units), want.Lines)))

	p, err := r.Positions(c)
	qt.Assert(t, qt.IsNil(err))
	checkPositions(t, p, c, want, r.HasQualnames())
}

func checkInstructions(t *testing.T, got []Instruction, want []disInstruction) {
	t.Helper()
	qt.Assert(t, qt.HasLen(got, len(want)))
	for i, w := range want {
		g := disInstruction{got[i].Index, got[i].Name, got[i].Arg}
		// Without an argument the byte is anything; the JIT's and RESUME's extra
		// bits are not shown by every version.
		if w.Arg < 0 {
			g.Arg = -1
		}
		qt.Assert(t, qt.Equals(g, w), qt.Commentf("instruction %d", i))
	}
}

// checkPositions derives the same from what dis says.
func checkPositions(t *testing.T, p Positions, c Code, want codeTruth, hasResume bool) {
	t.Helper()
	var returns []int
	entry := -1
	if !hasResume { // 3.10: the first instruction, unless a loop begins there
		entry = 0
		for _, in := range want.Ins {
			if strings.Contains(in.Name, "JUMP_") && in.Name != "JUMP_FORWARD" && in.Arg == 0 {
				entry = -1
			}
		}
	}
	for _, in := range want.Ins {
		switch {
		case in.Name == "RETURN_VALUE" || in.Name == "RETURN_CONST":
			returns = append(returns, in.Index)
		case in.Name == "RESUME" && in.Arg&3 == 0 && entry < 0:
			entry = in.Index
		}
	}
	qt.Check(t, qt.Equals(p.HasEntry, entry >= 0))
	if p.HasEntry {
		qt.Check(t, qt.Equals(p.Entry.Index, entry))
		qt.Check(t, qt.Equals(p.Entry.Addr, c.Bytecode+2*uint64(entry)))
	}
	var got []int
	for _, ret := range p.Returns {
		got = append(got, ret.Index)
	}
	qt.Check(t, qt.DeepEquals(got, returns))
	for i, line := range want.Lines {
		if line == 0 || i > 0 && want.Lines[i-1] == line {
			continue
		}
		at := slices.ContainsFunc(p.LineStarts(line), func(p Position) bool { return p.Index == i })
		qt.Check(t, qt.IsTrue(at), qt.Commentf("line %d begins at unit %d", line, i))
	}
}

// TestReturnedLocals checks what the returns of known.py's functions give.
func TestReturnedLocals(t *testing.T) {
	forEachInterpreter(t, 10, func(t *testing.T, py interpreter) {
		_, r, tr := known(t, py)
		want := map[string][]string{
			"many":   {"const", "result"}, // the return in the handler has POP_EXCEPT between
			"many2":  {"i"},
			"shared": {"local"},
		}
		for _, f := range tr.Facts {
			name := strings.TrimPrefix(f.Label, "code ")
			if f.Kind != "code" || want[name] == nil || f.Label == name {
				continue
			}
			c, err := r.Code(f.Addr)
			qt.Assert(t, qt.IsNil(err))
			if c.Name != name {
				continue // lines_only has many's qualname
			}
			p, err := r.Positions(c)
			qt.Assert(t, qt.IsNil(err))
			var got []string
			for _, ret := range p.Returns {
				got = append(got, returned(ret))
			}
			for _, w := range want[name] {
				qt.Check(t, qt.SliceContains(got, w), qt.Commentf("%s returns %v", name, got))
			}
		}
	})
}

func returned(ret Return) string {
	if ret.HasLocal {
		return ret.Name
	}
	return "const"
}
