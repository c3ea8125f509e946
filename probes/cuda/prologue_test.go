package cuda

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// The prologues are as compilers make them; the bytes were assembled.
func TestCheapPlace(t *testing.T) {
	for _, c := range []struct {
		name, code string
		want       int
	}{
		{"push %rbp", "55 4889e5", 0},
		{"push %r15", "4157 4156", 0},
		{"endbr64; push", "f30f1efa 55", 4},
		{"endbr64; jmp", "f30f1efa e900000000", 4},
		{"mov %rdi,%rax; push %rbx", "4889f8 53", 3},
		{"mov %rdi,%r14 ; mov %fs:0x28,%rax; push", "4989fe 64488b042528000000 55", 12},
		{"load of a global; cmp; jne", "8b0500000000 3d00ba2132 7510", 11},
		{"nop of 5 bytes", "0f1f440000 c3", 0},
		{"nop of 5 bytes behind endbr64", "f30f1efa 0f1f440000 c3", 4},
		{"nop of 5 bytes; push", "0f1f440000 55", 5},
		{"sub $8,%rsp first", "4883ec08 55", 0},
		{"an argument is changed", "31ff 55", 0},
		{"the third argument's low half is changed", "31d2 55", 0},
		{"a store before it", "48893c2500000000 55", 0},
		{"ret", "c3 55", 0},
		{"indirect jump", "ffe0 55", 0},
		{"push of memory", "ff35000000 00 55", 0},
		{"undecodable", "06", 0},
		{"cut", "48", 0},
		{"nothing", "", 0},
	} {
		code, err := hex.DecodeString(strings.ReplaceAll(c.code, " ", ""))
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(cheapPlace(code), c.want), qt.Commentf("%s", c.name))
	}
}
