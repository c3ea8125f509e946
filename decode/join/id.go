package join

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pmtrace/pmtrace/decode/wire"
)

// decodeID makes UTF-8 of the characters of a Python str, which are 1, 2 or 4
// bytes wide. A cut id ends in an ellipsis.
func decodeID(raw []byte, kind uint8, cut bool) string {
	b := make([]byte, 0, len(raw)+3)
	switch kind {
	case 2:
		for ; len(raw) >= 2; raw = raw[2:] {
			b = utf8.AppendRune(b, rune(binary.LittleEndian.Uint16(raw)))
		}
	case 4:
		for ; len(raw) >= 4; raw = raw[4:] {
			b = utf8.AppendRune(b, rune(binary.LittleEndian.Uint32(raw)))
		}
	default:
		for _, c := range raw {
			b = utf8.AppendRune(b, rune(c))
		}
	}
	if cut {
		b = append(b, "…"...)
	}
	return string(b)
}

func requestID(r *wire.Request) string {
	return decodeID(r.ID, r.IDKind, r.IDFlags&wire.IDCut != 0)
}

// suffixed reports whether this vLLM's front end appends "-" and 8 random hex
// digits to the client's request id (InputProcessor.assign_request_id: in
// 0.15.1 and later, not in 0.12; 0.14 brought it). An unknown version is taken
// for a new one.
func suffixed(version string) bool { return minor(version) >= 14 }

// minor is N of version 0.N; large for a later or an unknown one.
func minor(version string) int {
	const late = 1 << 20
	rest, ok := strings.CutPrefix(version, "0.")
	if !ok {
		return late
	}
	digits, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return late
	}
	return n
}

// externalID is the client's id: id without a random suffix.
func externalID(id string) string {
	const n = len("-01234567")
	if len(id) <= n || id[len(id)-n] != '-' {
		return id
	}
	for _, c := range []byte(id[len(id)-n+1:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return id
		}
	}
	return id[:len(id)-n]
}
