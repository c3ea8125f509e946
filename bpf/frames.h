/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The frames of the thread that is looked at. They lie together, except in CPython 3.10,
 * and a read takes as long for 500 bytes as for 8: they are read once a hit.
 */
#ifndef PMTRACE_FRAMES_H
#define PMTRACE_FRAMES_H

#include "config.h"
#include "python.h"

#define PM_FRAME 512 /* bytes of a frame before its locals, at most */
#define PM_CALLERS 1024 /* bytes of the stack in which callers are expected */

struct frames {
	__u64 from;
	__u64 bytes;
	__u8 byte[PM_FRAME + 8 * PM_MAX_LOCALS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct frames);
} stacks SEC(".maps");

static __always_inline struct frames *frames(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&stacks, &zero);
}

static __always_inline void read_frames(__u64 from, __u64 bytes)
{
	struct frames *f = frames();

	if (!f)
		return;
	bytes = at_most(bytes, sizeof(f->byte));
	f->from = from;
	f->bytes = read_mem(f->byte, bytes, from) ? 0 : bytes;
}

/* Reads a frame up to the last of its locals. */
static __always_inline void read_frame(const struct pm_python *py, __u64 frame, __u32 locals)
{
	read_frames(frame, py->frame_locals + 8ull * locals);
}

/* Reads a frame up to its local 1, and its callers' as far as they are in the same page: what
 * is before it need not be there. */
static __always_inline void read_callers(const struct pm_python *py, __u64 frame)
{
	__u64 bytes = py->frame_locals + 16, before = frame & 4095;

	if (py->code_bytes)
		before = 0;
	if (before > PM_CALLERS)
		before = PM_CALLERS;
	read_frames(frame - before, before + bytes);
}

/* A global function: the verifier looks at it once. */
__noinline int frames_word(__u64 at, __u64 *to)
{
	struct frames *f = frames();
	__u64 i;

	if (!f || !to)
		return -1;
	i = at - f->from;
	if (i > sizeof(f->byte) - 8 || i + 8 > f->bytes)
		return bpf_probe_read_user(to, 8, (const void *)at);
	*to = *(__u64 *)(f->byte + at_most(i, sizeof(f->byte) - 8));
	return 0;
}

/* A word of a frame: of those that were read, or from the server. */
static __always_inline int frame_word(__u64 at, __u64 *to)
{
	__u64 v = 0;
	int failed = frames_word(at, &v);

	*to = v;
	return failed;
}

static __always_inline __u64 frame_code(const struct pm_engine *e, __u64 frame)
{
	__u64 code;

	if (!frame || frame_word(frame + e->py.frame_code, &code))
		return 0;
	return code & e->py.ref_mask;
}

/* A local variable, by its index; 0: it is not bound. */
static __always_inline __u64 local(const struct pm_engine *e, __u64 frame, __u16 which)
{
	__u64 v, at = frame + e->py.frame_locals;

	if (which == PM_NO_LOCAL || frame_word(at + 8ull * (which & (PM_MAX_LOCALS - 1)), &v))
		return 0;
	v &= e->py.ref_mask;
	if (which & PM_LOCAL_CELL && (!v || read_ptr(v + e->py.cell_ref, &v)))
		return 0;
	return v;
}

/* Where the thread is in the code of the frame: the address of an instruction. */
static __always_inline int frame_instruction(const struct pm_engine *e, __u64 frame, __u64 code,
					     __u64 *at)
{
	__u64 instr;

	if (frame_word(frame + e->py.frame_instr, &instr))
		return -1;
	if (!e->py.code_bytes) {
		*at = instr;
		return 0;
	}
	if (read_ptr(code + e->py.code_bytes, at))
		return -1;
	*at += BYTES_DATA + 2 * (__s64)(__s32)instr;
	return 0;
}

#endif
