package cpython

import (
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// op finds an opcode by name.
func (t *opcodeTable) op(name string) byte {
	for op, n := range t.name {
		if n == name {
			return byte(op)
		}
	}
	panic("no opcode " + name)
}

// unit is one code unit by name.
type unit struct {
	name string
	arg  byte
}

func assemble(ops *opcodeTable, units []unit) []byte {
	var raw []byte
	for _, u := range units {
		raw = append(raw, ops.op(u.name), u.arg)
	}
	return raw
}

func TestDecode(t *testing.T) {
	for _, test := range []struct {
		about string
		minor int
		units []unit
		want  []Instruction
	}{{
		about: "specialised RESUME and an inline cache that looks like an opcode",
		minor: 11,
		units: []unit{{"RESUME_QUICK", 0}, {"BINARY_OP_ADD_INT", 0}, {"RETURN_VALUE", 9}, {"RETURN_VALUE", 0}},
		want: []Instruction{
			{Index: 0, Start: 0, Name: "RESUME"},
			{Index: 1, Start: 1, Name: "BINARY_OP"},
			{Index: 3, Start: 3, Name: "RETURN_VALUE"},
		},
	}, {
		about: "EXTENDED_ARG before a super-instruction",
		minor: 11,
		units: []unit{{"EXTENDED_ARG_QUICK", 1}, {"LOAD_FAST__LOAD_FAST", 2}, {"LOAD_FAST", 3}},
		want: []Instruction{
			{Index: 1, Start: 0, Name: "LOAD_FAST", Arg: 258},
			{Index: 2, Start: 2, Name: "LOAD_FAST", Arg: 3},
		},
	}, {
		about: "instrumented",
		minor: 12,
		units: []unit{{"INSTRUMENTED_RESUME", 0}, {"INSTRUMENTED_CALL", 1}, {"CACHE", 0}, {"CACHE", 0}, {"CACHE", 0}, {"INSTRUMENTED_RETURN_CONST", 2}},
		want: []Instruction{
			{Index: 0, Start: 0, Name: "RESUME"},
			{Index: 1, Start: 1, Name: "CALL", Arg: 1},
			{Index: 5, Start: 5, Name: "RETURN_CONST", Arg: 2},
		},
	}, {
		about: "three EXTENDED_ARGs",
		minor: 13,
		units: []unit{{"EXTENDED_ARG", 1}, {"EXTENDED_ARG", 2}, {"EXTENDED_ARG", 3}, {"LOAD_CONST", 4}, {"RESUME_CHECK", 0}},
		want: []Instruction{
			{Index: 3, Start: 0, Name: "LOAD_CONST", Arg: 0x01020304},
			{Index: 4, Start: 4, Name: "RESUME"},
		},
	}, {
		about: "an executor in the place of a jump has the jump's cache",
		minor: 14,
		units: []unit{{"ENTER_EXECUTOR", 0}, {"CACHE", 0}, {"LOAD_FAST_BORROW", 1}, {"RETURN_VALUE", 0}},
		want: []Instruction{
			{Index: 0, Start: 0, Name: "JUMP_BACKWARD"},
			{Index: 2, Start: 2, Name: "LOAD_FAST_BORROW", Arg: 1},
			{Index: 3, Start: 3, Name: "RETURN_VALUE"},
		},
	}, {
		about: "cut short",
		minor: 14,
		units: []unit{{"EXTENDED_ARG", 1}},
		want:  []Instruction{},
	}} {
		t.Run(test.about, func(t *testing.T) {
			ops := opcodesOf(test.minor)
			got := ops.decode(assemble(ops, test.units), nil)
			qt.Check(t, qt.CmpEquals(got, test.want, cmpopts.IgnoreFields(Instruction{}, "Op", "Base")))
		})
	}
}

func TestDecodeOddLength(t *testing.T) {
	ops := opcodesOf(12)
	qt.Check(t, qt.HasLen(ops.decode([]byte{ops.op("NOP"), 0, ops.op("NOP")}, nil), 1))
}

func TestPositionsOf(t *testing.T) {
	for _, test := range []struct {
		about  string
		minor  int
		units  []unit
		lines  []int
		entry  int // -1: none
		want   []Return
		starts map[int][]int // line → units
	}{{
		about: "a local returned, MAKE_CELL before RESUME",
		minor: 11,
		units: []unit{{"MAKE_CELL", 0}, {"RESUME", 0}, {"LOAD_FAST", 1}, {"RETURN_VALUE", 0}},
		lines: []int{0, 1, 2, 2}, entry: 1,
		want:   []Return{{Position: Position{Index: 3, Addr: 1006, Line: 2}, Local: 1, HasLocal: true, Name: "b"}},
		starts: map[int][]int{1: {1}, 2: {2}},
	}, {
		about: "a generator's later RESUMEs are no entries",
		minor: 12,
		units: []unit{{"RETURN_GENERATOR", 0}, {"POP_TOP", 0}, {"RESUME", 0}, {"YIELD_VALUE", 1}, {"RESUME", 1}, {"RETURN_CONST", 0}},
		lines: []int{1, 1, 1, 2, 2, 2}, entry: 2,
		want:   []Return{{Position: Position{Index: 5, Addr: 1010, Line: 2}, Const: true}},
		starts: map[int][]int{1: {0}, 2: {3}},
	}, {
		about: "two locals at once: the second is on top",
		minor: 13,
		units: []unit{{"LOAD_FAST_LOAD_FAST", 0x01}, {"RETURN_VALUE", 0}},
		lines: []int{7, 7}, entry: -1,
		want:   []Return{{Position: Position{Index: 1, Addr: 1002, Line: 7}, Local: 1, HasLocal: true, Name: "b"}},
		starts: map[int][]int{7: {0}},
	}, {
		about: "a borrowed local, a cell, a slot without a name",
		minor: 14,
		units: []unit{{"LOAD_FAST_BORROW", 0}, {"RETURN_VALUE", 0}, {"LOAD_DEREF", 2}, {"RETURN_VALUE", 0}, {"LOAD_FAST", 9}, {"RETURN_VALUE", 0}},
		lines: []int{3, 3, 4, 4, 3, 3}, entry: -1,
		want: []Return{
			{Position: Position{Index: 1, Addr: 1002, Line: 3}, Local: 0, HasLocal: true, Name: "a"},
			{Position: Position{Index: 3, Addr: 1006, Line: 4}, Local: 2, HasLocal: true, Name: "c"},
			{Position: Position{Index: 5, Addr: 1010, Line: 3}, Local: 9, HasLocal: true},
		},
		starts: map[int][]int{3: {0, 4}, 4: {2}},
	}} {
		t.Run(test.about, func(t *testing.T) {
			ops := opcodesOf(test.minor)
			c := Code{Bytecode: 1000, LocalNames: []string{"a", "b", "c"}}
			p := positionsOf(c, ops.decode(assemble(ops, test.units), nil), test.lines)
			qt.Check(t, qt.DeepEquals(p.Returns, test.want))
			qt.Check(t, qt.Equals(p.HasEntry, test.entry >= 0))
			if p.HasEntry {
				qt.Check(t, qt.Equals(p.Entry.Index, test.entry))
			}
			got := make(map[int][]int)
			for _, line := range p.Lines() {
				for _, at := range p.LineStarts(line) {
					got[line] = append(got[line], at.Index)
				}
			}
			qt.Check(t, qt.DeepEquals(got, test.starts))
		})
	}
}

func TestDecodeLines(t *testing.T) {
	for _, test := range []struct {
		about string
		table []byte
		units int
		want  []int
	}{
		{"short form, same line", []byte{0x80 | 0<<3 | 1, 0x00}, 2, []int{10, 10}},
		{"one-line forms", []byte{0x80 | 11<<3 | 0, 1, 2, 0x80 | 12<<3 | 0, 1, 2}, 2, []int{11, 13}},
		{"no column, back", []byte{0x80 | 13<<3 | 0, 3<<1 | 1}, 1, []int{7}},
		{"long form, far", []byte{0x80 | 14<<3 | 0, 0x40 | 2, 2, 0, 1, 1}, 1, []int{10 + 65}},
		{"none, then on", []byte{0x80 | 15<<3 | 1, 0x80 | 10<<3 | 0, 0, 0}, 3, []int{0, 0, 10}},
		{"cut short", []byte{0x80 | 13<<3 | 7}, 9, []int{10, 10, 10, 10, 10, 10, 10, 10, 0}},
		{"not a table", []byte{0x01, 0x80}, 1, []int{0}},
		{"empty", nil, 2, []int{0, 0}},
		{"endless varint", []byte{0x80 | 13<<3, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f}, 1, []int{10 - (1<<36-1)>>1}},
	} {
		t.Run(test.about, func(t *testing.T) {
			qt.Check(t, qt.DeepEquals(decodeLines(test.table, 10, test.units), test.want))
		})
	}
}
