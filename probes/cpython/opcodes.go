package cpython

import "strings"

// opcodeTable is one minor version's instruction set.
type opcodeTable struct {
	name   [256]string
	caches map[uint8]uint8 // base opcode → CACHE units behind it
	deopt  map[uint8]uint8 // specialised opcode → base, where they differ
}

// opcodesOf gives nil for versions without a table.
func opcodesOf(minor int) *opcodeTable {
	var t *opcodeTable
	switch minor {
	case 10:
		t = opcodes310()
	case 11:
		t = opcodes311()
	case 12:
		t = opcodes312()
	case 13:
		t = opcodes313()
	case 14:
		t = opcodes314()
	default:
		return nil
	}
	t.foldInstrumented()
	return t
}

// foldInstrumented makes INSTRUMENTED_X a form of X, and ENTER_EXECUTOR one of
// the JUMP_BACKWARD that it replaces, so that their caches are skipped.
// INSTRUMENTED_LINE and INSTRUMENTED_INSTRUCTION stand for any opcode and stay.
func (t *opcodeTable) foldInstrumented() {
	byName := make(map[string]uint8)
	for op, name := range t.name {
		if name != "" {
			byName[name] = uint8(op)
		}
	}
	for op, name := range t.name {
		plain, ok := strings.CutPrefix(name, "INSTRUMENTED_")
		if name == "ENTER_EXECUTOR" {
			plain, ok = "JUMP_BACKWARD", true
		}
		if base, exists := byName[plain]; ok && exists {
			t.deopt[uint8(op)] = base
		}
	}
}

// base undoes specialisation and instrumentation.
func (t *opcodeTable) base(op uint8) uint8 {
	if b, ok := t.deopt[op]; ok {
		return b
	}
	return op
}
