/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Arguments and results of a C function, out of the registers at its entry and
 * return. One object serves all machines: which one it is, user space says before
 * the verifier looks, so that only the one branch is ever loaded.
 */
#ifndef PMTRACE_REGISTERS_H
#define PMTRACE_REGISTERS_H

#include "python.h"

enum pm_machine {
	PM_AMD64 = 0, /* System V ABI: 6 arguments in registers */
	PM_ARM64 = 1, /* AAPCS64: 8 */
};

const volatile __u32 machine = PM_AMD64;

/* struct pt_regs of x86-64, struct user_pt_regs of arm64. */
struct amd64_regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	__u64 orig_ax, ip, cs, flags, sp, ss;
};

struct arm64_regs {
	__u64 regs[31], sp, pc, pstate;
};

/* One load with the offset in the instruction. The verifier wants it so, and the
 * compiler would join the branches' loads into one with a computed offset. */
#define REGISTER(ctx, type, field)                                              \
	({                                                                      \
		__u64 v;                                                        \
		asm volatile("%0 = *(u64 *)(%1 + %2)"                           \
			     : "=r"(v)                                          \
			     : "r"(ctx), "i"(__builtin_offsetof(type, field))); \
		v;                                                              \
	})
#define AMD64(ctx, field) REGISTER(ctx, struct amd64_regs, field)
#define ARM64(ctx, field) REGISTER(ctx, struct arm64_regs, field)

/* Tells one activation of a function from another. */
static __always_inline __u64 stack_pointer(void *ctx)
{
	if (machine == PM_ARM64)
		return ARM64(ctx, sp);
	return AMD64(ctx, sp);
}

/* The stack pointer that the entry had, as the function returns. */
static __always_inline __u64 entry_stack_pointer(void *ctx)
{
	if (machine == PM_ARM64)
		return ARM64(ctx, sp);
	return AMD64(ctx, sp) - 8; /* the return address is popped */
}

static __always_inline __u64 instruction_pointer(void *ctx)
{
	if (machine == PM_ARM64)
		return ARM64(ctx, pc);
	return AMD64(ctx, ip);
}

/* What a function returns, as its caller finds it in a register. */
static __always_inline __u64 returned_word(void *ctx)
{
	if (machine == PM_ARM64)
		return ARM64(ctx, regs[0]);
	return AMD64(ctx, ax);
}

static __always_inline __s32 returned(void *ctx)
{
	return (__s32)returned_word(ctx);
}

/* What a function was called with, none of it a floating-point number or a struct
 * passed by value. */
struct arguments {
	__u64 in[8]; /* in registers */
	__u64 pushed; /* address of the first that is not */
	__u32 registers;
	__u32 spare;
};

static __always_inline void read_arguments(void *ctx, struct arguments *a)
{
	if (machine == PM_ARM64) {
		a->in[0] = ARM64(ctx, regs[0]);
		a->in[1] = ARM64(ctx, regs[1]);
		a->in[2] = ARM64(ctx, regs[2]);
		a->in[3] = ARM64(ctx, regs[3]);
		a->in[4] = ARM64(ctx, regs[4]);
		a->in[5] = ARM64(ctx, regs[5]);
		a->in[6] = ARM64(ctx, regs[6]);
		a->in[7] = ARM64(ctx, regs[7]);
		a->pushed = ARM64(ctx, sp);
		a->registers = 8;
	} else {
		a->in[0] = AMD64(ctx, di);
		a->in[1] = AMD64(ctx, si);
		a->in[2] = AMD64(ctx, dx);
		a->in[3] = AMD64(ctx, cx);
		a->in[4] = AMD64(ctx, r8);
		a->in[5] = AMD64(ctx, r9);
		a->in[6] = 0;
		a->in[7] = 0;
		a->pushed = AMD64(ctx, sp) + 8; /* above the return address */
		a->registers = 6;
	}
}

/* Argument number n, from 0. */
static __always_inline __u64 argument(const struct arguments *a, __u32 n)
{
	__u64 v;

	if (n < a->registers)
		return a->in[n & 7];
	return read_ptr(a->pushed + 8ull * (n - a->registers), &v) ? 0 : v;
}

#endif
