package cpython

// The kinds of entry in co_linetable (Objects/locations.md), bits 3 to 6 of
// an entry's first byte. 0 to 9 are short forms on the same line.
const (
	locOneLine0 = 10
	locOneLine2 = 12
	locNoColumn = 13
	locLong     = 14
	locNone     = 15
)

// decodeLines gives the line of each of the code units, 0 for none. A table
// that is cut short leaves the rest at 0.
func decodeLines(table []byte, firstLine, units int) []int {
	lines := make([]int, units)
	line, unit := firstLine, 0
	for at := 0; at < len(table) && unit < units; {
		head := table[at]
		if head&0x80 == 0 {
			break // every entry begins with that bit set
		}
		kind := head >> 3 & 15
		delta := entryDelta(kind, table[at+1:])
		// The bytes of an entry, unlike its first, have the top bit clear.
		for at++; at < len(table) && table[at]&0x80 == 0; at++ {
		}
		line += delta
		for n := int(head&7) + 1; n > 0 && unit < units; n-- {
			if kind != locNone {
				lines[unit] = line
			}
			unit++
		}
	}
	return lines
}

// entryDelta gives how many lines an entry goes on.
func entryDelta(kind byte, rest []byte) int {
	switch {
	case kind >= locOneLine0 && kind <= locOneLine2:
		return int(kind - locOneLine0)
	case kind == locNoColumn || kind == locLong:
		return signedVarint(rest)
	}
	return 0
}

// signedVarint reads 6 bits a byte, least first, with bit 6 for "goes on"; the
// lowest bit of the whole is the sign.
func signedVarint(b []byte) int {
	var u uint
	for i, c := range b {
		u |= uint(c&63) << (6 * i)
		if c&64 == 0 || i == 5 {
			break
		}
	}
	if u&1 != 0 {
		return -int(u >> 1)
	}
	return int(u >> 1)
}
