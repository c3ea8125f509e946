package join

import (
	"encoding/binary"
	"testing"
	"unicode/utf16"

	"github.com/go-quicktest/qt"

	"github.com/pmtrace/pmtrace/decode/record"
)

func TestClassify(t *testing.T) {
	tests := []struct {
		name                             string
		pre, prompt, tokens, preemptions int32
		want                             kind
	}{
		{"first chunk", 0, 100, 100, 0, kindPrefill},
		{"last chunk", 64, 100, 100, 0, kindPrefill},
		{"full prefix hit", 99, 100, 100, 0, kindPrefill},
		{"first decode", 100, 100, 101, 0, kindDecode},
		{"decode before the first token is back", 100, 100, 100, 0, kindDecode},
		{"prompt again", 0, 100, 120, 1, kindRecompute},
		{"output again", 110, 100, 120, 1, kindRecompute},
		{"caught up", 119, 100, 120, 1, kindDecode},
		{"rest of a prompt cut short", 64, 100, 100, 1, kindRecompute},
		{"last token of such a prompt", 99, 100, 100, 1, kindPrefill},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			qt.Assert(t, qt.Equals(classify(test.pre, test.prompt, test.tokens, test.preemptions), test.want))
		})
	}
}

func TestPhase(t *testing.T) {
	tests := []struct {
		requests [4]int32 // unknown, prefill, decode, recompute
		tokens   int32
		complete bool
		want     string
	}{
		{[4]int32{}, 0, true, record.PhaseEmpty},
		{[4]int32{0, 1, 0, 0}, 9, true, record.PhasePrefill},
		{[4]int32{0, 0, 0, 1}, 9, true, record.PhasePrefill},
		{[4]int32{0, 0, 4, 0}, 4, true, record.PhaseDecode},
		{[4]int32{0, 0, 4, 1}, 9, true, record.PhaseMixed},
		{[4]int32{0, 1, 4, 0}, 9, false, record.PhaseMixed},
		{[4]int32{0, 0, 4, 0}, 9, false, record.PhaseUnknown},
		{[4]int32{1, 0, 4, 0}, 9, true, record.PhaseUnknown},
	}
	for _, test := range tests {
		qt.Check(t, qt.Equals(phase(&test.requests, test.tokens, test.complete), test.want))
	}
}

func TestDecodeID(t *testing.T) {
	ucs4 := binary.LittleEndian.AppendUint32(nil, '😀')
	var ucs2 []byte
	for _, u := range utf16.Encode([]rune("ид")) {
		ucs2 = binary.LittleEndian.AppendUint16(ucs2, u)
	}
	qt.Check(t, qt.Equals(decodeID([]byte("cmpl-1"), 1, false), "cmpl-1"))
	qt.Check(t, qt.Equals(decodeID([]byte{'a', 0xe9}, 1, false), "aé"))
	qt.Check(t, qt.Equals(decodeID(ucs2, 2, false), "ид"))
	qt.Check(t, qt.Equals(decodeID(ucs4, 4, true), "😀…"))
	qt.Check(t, qt.Equals(decodeID([]byte{1, 2, 3}, 4, false), ""))
	qt.Check(t, qt.Equals(decodeID([]byte{0, 0xd8}, 2, false), "\uFFFD")) // half a surrogate pair
}

func TestExternalID(t *testing.T) {
	tests := []struct{ id, want string }{
		{"cmpl-5f3a-0-0a1b2c3d", "cmpl-5f3a-0"},
		{"0_chat-0a1b2c3d", "0_chat"},
		{"chat-0A1B2C3D", "chat-0A1B2C3D"},
		{"123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"},
		{"-0a1b2c3d", "-0a1b2c3d"},
		{"", ""},
	}
	for _, test := range tests {
		qt.Check(t, qt.Equals(externalID(test.id), test.want))
	}
	for version, want := range map[string]bool{
		"0.12.0": false, "0.13.0": false, "0.14.1": true, "0.32.0+cpu": true, "1.0.0": true, "": true, "dev": true,
	} {
		qt.Check(t, qt.Equals(suffixed(version), want), qt.Commentf("%q", version))
	}
}
