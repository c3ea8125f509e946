package cpython

import "strings"

// positions310 is positionsOf for 3.10, which has no RESUME.
func positions310(c Code, ins []Instruction, lines []int) Positions {
	p := positionsOf(c, ins, lines)
	if len(ins) == 0 {
		return p
	}
	for _, in := range ins {
		p.EntryLoops = p.EntryLoops || in.jumpsTo() && in.Arg == 0
	}
	if !p.EntryLoops {
		p.Entry = Position{Index: 0, Addr: c.UnitAddr(0), Line: lineAt(lines, 0)}
		p.Body = p.Entry
		p.HasEntry, p.HasBody = true, true
	}
	return p
}

// jumpsTo is true for the jumps of 3.10 whose argument is the place, in code units; the
// others go forward only.
func (in Instruction) jumpsTo() bool {
	return in.Name == "JUMP_ABSOLUTE" || in.Name == "JUMP_IF_NOT_EXC_MATCH" ||
		strings.HasPrefix(in.Name, "POP_JUMP_IF_") || strings.HasPrefix(in.Name, "JUMP_IF_") && strings.HasSuffix(in.Name, "_OR_POP")
}
