package cpython

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Instruction is one instruction of a code object as it stands in memory.
type Instruction struct {
	Index int   // in code units, of the opcode itself: behind its EXTENDED_ARGs
	Start int   // in code units, with its EXTENDED_ARGs
	Op    uint8 // as found
	Base  uint8 // without specialisation and instrumentation
	Name  string
	Arg   int // with the EXTENDED_ARGs
}

// Bytecode reads the raw code units of a code object as they are now:
// specialised and perhaps instrumented.
func (r *Runtime) Bytecode(c Code) ([]byte, error) {
	return r.bytes("bytecode", c.Bytecode, 2*c.Units)
}

// Instructions decodes a code object. The opcodes are those of co_code, the
// interpreter's rewriting undone.
func (r *Runtime) Instructions(c Code) ([]Instruction, error) {
	raw, err := r.Bytecode(c)
	if err != nil {
		return nil, err
	}
	ins := r.ops.decode(raw, nil)
	if !slices.ContainsFunc(ins, func(in Instruction) bool { return r.ops.hides(in.Op) }) {
		return ins, nil
	}
	return r.monitored(c, raw)
}

// hides is true for the opcodes that stand for any other: sys.monitoring,
// settrace and coverage tools put them there, from 3.12 on.
func (t *opcodeTable) hides(op uint8) bool {
	return t.name[op] == "INSTRUMENTED_LINE" || t.name[op] == "INSTRUMENTED_INSTRUCTION"
}

// monitored decodes with the opcodes that _PyCoMonitoringData keeps. Its form
// changed within 3.13, so both are tried, and the result must fit together.
func (r *Runtime) monitored(c Code, raw []byte) ([]Instruction, error) {
	if c.monitoring == 0 {
		return nil, r.fail(NullPointer, "monitoring", c.Addr, "instrumented, but without the opcodes behind")
	}
	o := &r.off.Monitoring
	v, err := r.fields("monitoring", c.monitoring, o.Lines, o.PerInstruction)
	if err != nil {
		return nil, err
	}
	var per []byte
	if at := v.u64(o.PerInstruction); at != 0 {
		if per, err = r.bytes("monitoring", at, c.Units); err != nil {
			return nil, err
		}
	}
	for _, width := range []bool{o.LinesHaveWidth, !o.LinesHaveWidth} {
		lines, err := r.lineOpcodes(v.u64(o.Lines), c.Units, width)
		if err != nil {
			continue
		}
		ins := r.ops.decode(raw, func(op uint8, i int) uint8 { return r.ops.original(op, i, lines, per) })
		if r.ops.fits(ins, c.Units) {
			return ins, nil
		}
	}
	return nil, r.fail(Unsupported, "monitoring", c.monitoring, "the opcodes behind INSTRUMENTED_LINE make no sense")
}

// original looks up what op at unit i replaced; a line event may hide an
// instruction event.
func (t *opcodeTable) original(op uint8, i int, lines, per []byte) uint8 {
	if t.name[op] == "INSTRUMENTED_LINE" && i < len(lines) {
		op = lines[i]
	}
	if t.name[op] == "INSTRUMENTED_INSTRUCTION" && i < len(per) {
		op = per[i]
	}
	return op
}

// lineOpcodes reads the opcode of each code unit's line entry; nil where the
// code has no line events.
func (r *Runtime) lineOpcodes(at uint64, units int, haveWidth bool) ([]byte, error) {
	if at == 0 {
		return nil, nil
	}
	width := 2
	if haveWidth {
		b, err := r.bytes("monitoring", at, 1)
		if err != nil {
			return nil, err
		}
		if width = int(b[0]); width < 1 || width > 8 {
			return nil, r.fail(BadLength, "monitoring", at, "width of a line entry")
		}
		at++
	}
	wide, err := r.bytes("monitoring", at, units*width)
	if err != nil {
		return nil, err
	}
	lines := make([]byte, units)
	for i := range lines {
		lines[i] = wide[i*width]
	}
	return lines, nil
}

// fits reports whether the instructions are real ones that fill the code
// exactly: with a wrong opcode the inline caches fall out of step.
func (t *opcodeTable) fits(ins []Instruction, units int) bool {
	end := 0
	for _, in := range ins {
		if in.Name == "" || in.Name == "CACHE" || t.hides(in.Op) {
			return false
		}
		end = in.Index + 1 + int(t.caches[in.Base])
	}
	return end == units
}

// decode walks the code units, jumping over inline caches, whose bytes may look
// like anything. original, if not nil, gives the opcode behind one.
func (t *opcodeTable) decode(raw []byte, original func(op uint8, unit int) uint8) []Instruction {
	out := make([]Instruction, 0, len(raw)/4)
	start, arg := 0, 0
	for i := 0; 2*i+1 < len(raw); {
		op := raw[2*i]
		if original != nil {
			op = original(op, i)
		}
		base := t.base(op)
		arg = arg<<8 | int(raw[2*i+1])
		name := t.name[base]
		if name == "EXTENDED_ARG" {
			arg &= 1<<24 - 1
			i++
			continue
		}
		out = append(out, Instruction{Index: i, Start: start, Op: op, Base: base, Name: name, Arg: arg})
		i += 1 + int(t.caches[base])
		start, arg = i, 0
	}
	return out
}

// loads gives the local that the instruction leaves on top of the stack.
// 3.13+ has instructions for two locals at once, with 4 bits for each.
func (in Instruction) loads() (index int, ok bool) {
	switch in.Name {
	case "LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_DEREF", "LOAD_CLOSURE":
		return in.Arg, in.Name != "LOAD_CLOSURE"
	case "LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "STORE_FAST_LOAD_FAST":
		return in.Arg & 15, true
	}
	return 0, false
}

func (in Instruction) isReturn() bool {
	return strings.HasPrefix(in.Name, "RETURN_") && in.Name != "RETURN_GENERATOR"
}

// isEntry: a RESUME with 0 in its low bits begins the function; the others
// follow a yield or an await.
func (in Instruction) isEntry() bool { return in.Name == "RESUME" && in.Arg&3 == 0 }

// Peek reads the code unit at index now: opcode and argument bytes.
func (r *Runtime) Peek(c Code, index int) (op, arg uint8, err error) {
	if index < 0 || index >= c.Units {
		return 0, 0, r.fail(NotFound, "code unit", c.Addr, "")
	}
	b, err := r.bytes("code unit", c.UnitAddr(index), 2)
	if err != nil {
		return 0, 0, err
	}
	u := binary.LittleEndian.Uint16(b)
	return uint8(u), uint8(u >> 8), nil
}
