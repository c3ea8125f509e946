package cpython

import (
	"encoding/binary"
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
	original, err := r.originals(c, raw)
	if err != nil {
		return nil, err
	}
	return r.ops.decode(raw, original), nil
}

// originals gives the opcodes behind INSTRUMENTED_LINE and _INSTRUCTION, as
// they are (again perhaps instrumented), by code unit; nil if there is none.
func (r *Runtime) originals(c Code, raw []byte) (map[int]uint8, error) {
	var hidden []int
	for i := 0; i+1 < len(raw); i += 2 {
		if n := r.ops.name[raw[i]]; n == "INSTRUMENTED_LINE" || n == "INSTRUMENTED_INSTRUCTION" {
			hidden = append(hidden, i/2)
		}
	}
	if len(hidden) == 0 || c.monitoring == 0 {
		return nil, nil
	}
	lines, per, err := r.monitoring(c)
	if err != nil {
		return nil, err
	}
	out := make(map[int]uint8, len(hidden))
	for _, i := range hidden {
		op := raw[2*i]
		if r.ops.name[op] == "INSTRUMENTED_LINE" && i < len(lines) {
			op = lines[i]
		}
		if r.ops.name[op] == "INSTRUMENTED_INSTRUCTION" && i < len(per) {
			op = per[i]
		}
		out[i] = op
	}
	return out, nil
}

// monitoring reads the two tables of replaced opcodes, one byte a code unit;
// nil where the code has none.
func (r *Runtime) monitoring(c Code) (lines, per []byte, err error) {
	o := &r.off.Monitoring
	v, err := r.fields("monitoring", c.monitoring, o.Lines, o.PerInstruction)
	if err != nil {
		return nil, nil, err
	}
	if at := v.u64(o.PerInstruction); at != 0 {
		if per, err = r.bytes("monitoring", at, c.Units); err != nil {
			return nil, nil, err
		}
	}
	at := v.u64(o.Lines)
	if at == 0 {
		return nil, per, nil
	}
	width := 2
	if o.LinesHaveWidth {
		b, err := r.bytes("monitoring", at, 1)
		if err != nil {
			return nil, nil, err
		}
		if width = int(b[0]); width < 1 || width > 8 {
			return nil, nil, r.fail(BadLength, "monitoring", at, "width of a line entry")
		}
		at++
	}
	wide, err := r.bytes("monitoring", at, c.Units*width)
	if err != nil {
		return nil, nil, err
	}
	lines = make([]byte, c.Units)
	for i := range lines {
		lines[i] = wide[i*width]
	}
	return lines, per, nil
}

// decode walks the code units, jumping over inline caches.
func (t *opcodeTable) decode(raw []byte, original map[int]uint8) []Instruction {
	out := make([]Instruction, 0, len(raw)/4)
	start, arg := 0, 0
	for i := 0; 2*i+1 < len(raw); {
		op := raw[2*i]
		if o, ok := original[i]; ok {
			op = o
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
