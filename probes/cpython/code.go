package cpython

import "slices"

// Code is a code object.
type Code struct {
	Addr      uint64
	Name      string
	Qualname  string
	Filename  string
	FirstLine int
	// Units is the number of 2-byte code units; Bytecode is the address of the
	// first.
	Units       int
	Bytecode    uint64
	ArgCount    int // positional ones
	KeywordOnly int
	Flags       uint32
	Nlocalsplus int
	// LocalNames are the names of the slots of Frame.Localsplus: arguments,
	// locals, cells, free variables.
	LocalNames []string

	kinds      []byte
	lineTable  uint64
	monitoring uint64
	// 3.10: locals is how many slots are before the cells. An argument that is a cell
	// has its first slot empty and its value in the cell.
	locals       int
	cellsAreLast bool
}

// maxLocals is above what any function has.
const maxLocals = 1 << 14

// localIsCell are the bits CO_FAST_CELL and CO_FAST_FREE of a local's kind.
const localIsCell = 0x40 | 0x80

// Code reads the code object at addr, without its bytecode.
func (r *Runtime) Code(addr uint64) (Code, error) {
	if _, err := r.wantNamed("code", addr, "code"); err != nil {
		return Code{}, err
	}
	o := &r.off.Code
	if o.Bytes != Absent {
		return r.code310(addr)
	}
	offs := []int{
		o.Units, o.Flags, o.ArgCount, o.KeywordOnly, o.FirstLine, o.Nlocalsplus, o.LocalNames, o.LocalKinds,
		o.Filename, o.Name, o.Qualname, o.LineTable,
	}
	if o.Monitoring != Absent {
		offs = append(offs, o.Monitoring)
	}
	v, err := r.fields("code", addr, offs...)
	if err != nil {
		return Code{}, err
	}
	c := Code{
		Addr: addr, Bytecode: addr + uint64(o.Adaptive), FirstLine: v.i32(o.FirstLine), ArgCount: v.i32(o.ArgCount), KeywordOnly: v.i32(o.KeywordOnly),
		Flags: v.u32(o.Flags), lineTable: v.u64(o.LineTable),
	}
	if o.Monitoring != Absent {
		c.monitoring = v.u64(o.Monitoring)
	}
	if c.Units, err = r.length("code", addr, v.i64(o.Units), r.limits.CodeUnits); err != nil {
		return Code{}, err
	}
	if c.Nlocalsplus, err = r.length("code", addr, int64(v.i32(o.Nlocalsplus)), maxLocals); err != nil {
		return Code{}, err
	}
	for _, s := range []struct {
		dst *string
		off int
	}{{&c.Name, o.Name}, {&c.Qualname, o.Qualname}, {&c.Filename, o.Filename}} {
		if *s.dst, err = r.Str(v.u64(s.off)); err != nil {
			return Code{}, err
		}
	}
	return c, r.readLocals(&c, v.u64(o.LocalNames), v.u64(o.LocalKinds))
}

func (r *Runtime) readLocals(c *Code, names, kinds uint64) error {
	objs, err := r.tupleItems("local names", names, maxLocals)
	if err != nil {
		return err
	}
	if c.kinds, err = r.Bytes(kinds); err != nil {
		return err
	}
	if len(objs) != c.Nlocalsplus || len(c.kinds) != c.Nlocalsplus {
		return r.fail(BadLength, "local names", c.Addr, "not as many as locals")
	}
	c.LocalNames = make([]string, len(objs))
	for i, obj := range objs {
		if c.LocalNames[i], err = r.Str(obj); err != nil {
			return err
		}
	}
	return nil
}

const (
	hasVarArgs     = 0x4
	hasVarKeywords = 0x8
)

// Parameters are the names of the function's arguments.
func (c Code) Parameters() []string {
	n := c.ArgCount + c.KeywordOnly
	for _, flag := range []uint32{hasVarArgs, hasVarKeywords} {
		if c.Flags&flag != 0 {
			n++
		}
	}
	if n < 0 || n > len(c.LocalNames) {
		return nil
	}
	return c.LocalNames[:n]
}

// WarmupAddr is where 3.11 counts a function's calls until it quickens its code, in the
// RESUME of the one that makes it 0; 0: this version does not. Cold: it has not yet.
func (r *Runtime) WarmupAddr(c Code) (addr uint64, cold bool, err error) {
	if r.off.Code.Warmup == Absent {
		return 0, false, nil
	}
	addr = c.Addr + uint64(r.off.Code.Warmup)
	b, err := r.bytes("code", addr, 2)
	return addr, err == nil && (b[0] != 0 || b[1] != 0), err
}

// LocalIndex gives the slot of a local, argument, cell or free variable.
func (c Code) LocalIndex(name string) (int, bool) {
	i := slices.Index(c.LocalNames, name)
	if c.cellsAreLast && i >= 0 {
		if cell := slices.Index(c.LocalNames[c.locals:], name); cell >= 0 {
			i = c.locals + cell
		}
	}
	return i, i >= 0
}

// IsCell reports whether the slot holds a cell with the value in it.
func (c Code) IsCell(index int) bool {
	return index >= 0 && index < len(c.kinds) && c.kinds[index]&localIsCell != 0
}

// UnitAddr is the address of the opcode byte of code unit index.
func (c Code) UnitAddr(index int) uint64 { return c.Bytecode + 2*uint64(index) }

// CodeName reads a code object's qualified name alone, to find a frame by it; its plain
// name where HasQualnames is false.
func (r *Runtime) CodeName(addr uint64) (string, error) {
	at := r.off.Code.Qualname
	if at == Absent {
		at = r.off.Code.Name
	}
	obj, err := r.u64("code", addr+uint64(at))
	if err != nil {
		return "", err
	}
	return r.Str(obj)
}

// CodeFilename reads a code object's file name alone.
func (r *Runtime) CodeFilename(addr uint64) (string, error) {
	obj, err := r.u64("code", addr+uint64(r.off.Code.Filename))
	if err != nil {
		return "", err
	}
	return r.Str(obj)
}
