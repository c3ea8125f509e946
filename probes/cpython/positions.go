package cpython

import "slices"

// Position is a place in bytecode to watch: Addr is that of the opcode byte, of
// which exactly 1 byte is to be watched (3.12 reads opcode and argument apart).
type Position struct {
	Index int // in code units
	Addr  uint64
	Line  int // 0: none
}

// Return is a RETURN_VALUE or RETURN_CONST.
type Return struct {
	Position
	Const bool
	// Local is the slot whose object is returned, where the instruction before
	// loads one; Name is its name, else "".
	Local    int
	HasLocal bool
	Name     string
}

// Positions is where a function can be watched.
type Positions struct {
	// Entry is the RESUME that begins the function; HasEntry is false for code
	// without one. In 3.10, which has no RESUME, Entry and Body are both the first
	// instruction: the interpreter notes in the frame which one it fetches.
	Entry    Position
	HasEntry bool
	// Body is the instruction behind it, which is a better place to watch than RESUME
	// itself: compilers fetch that before they publish the new frame (seen on 3.14),
	// and specialisation rewrites it. A loop that begins the function may come back
	// to it.
	Body    Position
	HasBody bool
	// EntryLoops (3.10): a jump leads back to the first instruction, so that it cannot be
	// told from a call; HasEntry is false then.
	EntryLoops bool
	Returns    []Return

	lines map[int][]Position
}

// LineStarts gives the places where execution enters a line, in code order: a
// line may be compiled into several.
func (p Positions) LineStarts(line int) []Position { return p.lines[line] }

// LineStart gives the first of LineStarts.
func (p Positions) LineStart(line int) (Position, bool) {
	if len(p.lines[line]) == 0 {
		return Position{}, false
	}
	return p.lines[line][0], true
}

// Lines gives the lines that have code, sorted.
func (p Positions) Lines() []int {
	out := make([]int, 0, len(p.lines))
	for line := range p.lines {
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// Positions finds the places to watch in a code object.
func (r *Runtime) Positions(c Code) (Positions, error) {
	ins, err := r.Instructions(c)
	if err != nil {
		return Positions{}, err
	}
	table, err := r.Bytes(c.lineTable)
	if err != nil {
		return Positions{}, err
	}
	if r.off.Code.Bytes != Absent {
		return positions310(c, ins, decodeLines310(table, c.FirstLine, c.Units)), nil
	}
	return positionsOf(c, ins, decodeLines(table, c.FirstLine, c.Units)), nil
}

// positionsOf is pure: lines holds the line of each code unit.
func positionsOf(c Code, ins []Instruction, lines []int) Positions {
	p := Positions{lines: make(map[int][]Position)}
	at := func(index int) Position {
		return Position{Index: index, Addr: c.UnitAddr(index), Line: lineAt(lines, index)}
	}
	previousLine := 0
	for i, in := range ins {
		if line := lineAt(lines, in.Start); line != previousLine {
			if line != 0 {
				p.lines[line] = append(p.lines[line], at(in.Start))
			}
			previousLine = line
		}
		switch {
		case in.isEntry() && !p.HasEntry:
			p.Entry, p.HasEntry = at(in.Index), true
			if i+1 < len(ins) {
				p.Body, p.HasBody = at(ins[i+1].Start), true
			}
		case in.isReturn():
			ret := Return{Position: at(in.Index), Const: in.Name == "RETURN_CONST"}
			if i > 0 && !ret.Const {
				ret.Local, ret.HasLocal = ins[i-1].loads()
				if c.cellsAreLast && ins[i-1].Name == "LOAD_DEREF" {
					ret.Local += c.locals
				}
			}
			if ret.HasLocal && ret.Local < len(c.LocalNames) {
				ret.Name = c.LocalNames[ret.Local]
			}
			p.Returns = append(p.Returns, ret)
		}
	}
	return p
}

func lineAt(lines []int, index int) int {
	if index < 0 || index >= len(lines) {
		return 0
	}
	return lines[index]
}
