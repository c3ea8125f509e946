package cpython

// noLine310 is the line delta of code units without a line.
const noLine310 = -128

// decodeLines310 is decodeLines for 3.10 (PEP 626): each entry has two bytes, for how
// many bytes of code it is, and how many lines it goes on.
func decodeLines310(table []byte, firstLine, units int) []int {
	lines := make([]int, units)
	line, unit := firstLine, 0
	for at := 0; at+1 < len(table) && unit < units; at += 2 {
		delta := int(int8(table[at+1]))
		if delta != noLine310 {
			line += delta
		}
		for n := int(table[at]) / 2; n > 0 && unit < units; n-- {
			if delta != noLine310 {
				lines[unit] = line
			}
			unit++
		}
	}
	return lines
}
