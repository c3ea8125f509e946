package cuda

import (
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

// prologueBytes is how far into a function a probe may be put.
const prologueBytes = 64

// cheapPlace is where in the code of a function, which is given from its first
// byte, a probe costs least: an offset at which all arguments, the stack and so the
// return address are as they were at the entry.
//
// The kernel emulates a few kinds of instructions under a uprobe (push, nop, jumps
// and calls: arch/x86/kernel/uprobes.c); any other is run out of line in single
// step, and the second trap of that is an exit to the hypervisor in a virtual
// machine: 12 µs against 0.8 µs a hit. Compilers begin most functions with a push,
// but some with an instruction that only copies an argument aside or loads
// something, and the first cheap one behind it does as well.
func cheapPlace(code []byte) int {
	nop := 0 // a long one is emulated by newer kernels only
	for at := 0; at < min(len(code), prologueBytes); {
		if endbr := []byte{0xf3, 0x0f, 0x1e, 0xfa}; len(code)-at >= 4 && slices.Equal(code[at:at+4], endbr) {
			at += 4 // marks a target of indirect jumps
			continue
		}
		in, err := x86asm.Decode(code[at:], 64)
		switch {
		case err != nil:
			return nop
		case emulated(in):
			return at
		case in.Op == x86asm.NOP:
			nop = at
		case !leavesArguments(in):
			return nop
		}
		at += in.Len
	}
	return nop
}

func emulated(in x86asm.Inst) bool {
	switch in.Op {
	case x86asm.PUSH:
		_, register := in.Args[0].(x86asm.Reg)
		return register
	case x86asm.NOP:
		return in.Len == 1
	case x86asm.CALL, x86asm.JMP, x86asm.JE, x86asm.JNE, x86asm.JA, x86asm.JAE, x86asm.JB, x86asm.JBE,
		x86asm.JG, x86asm.JGE, x86asm.JL, x86asm.JLE, x86asm.JS, x86asm.JNS:
		_, relative := in.Args[0].(x86asm.Rel)
		return relative
	}
	return false
}

// leavesArguments reports whether an instruction goes on to the next one and
// changes neither an argument's register nor the stack pointer, nor memory.
func leavesArguments(in x86asm.Inst) bool {
	switch in.Op {
	case x86asm.CMP, x86asm.TEST:
		return true
	case x86asm.MOV, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.LEA, x86asm.XOR, x86asm.AND, x86asm.OR,
		x86asm.ADD, x86asm.SUB:
		r, ok := in.Args[0].(x86asm.Reg)
		return ok && !isArgument(r)
	}
	return false
}

// isArgument says whether a register holds an argument, the stack pointer, or
// something that is not known here.
func isArgument(r x86asm.Reg) bool {
	free := []x86asm.Reg{
		x86asm.AL, x86asm.AX, x86asm.EAX, x86asm.RAX, x86asm.BL, x86asm.BX, x86asm.EBX, x86asm.RBX,
		x86asm.EBP, x86asm.RBP, x86asm.R10B, x86asm.R10L, x86asm.R10, x86asm.R11B, x86asm.R11L, x86asm.R11,
		x86asm.R12B, x86asm.R12L, x86asm.R12, x86asm.R13B, x86asm.R13L, x86asm.R13,
		x86asm.R14B, x86asm.R14L, x86asm.R14, x86asm.R15B, x86asm.R15L, x86asm.R15,
	}
	return !slices.Contains(free, r)
}
