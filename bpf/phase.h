/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a thread is doing, by the functions on its Python stack. The stack is walked
 * to its outermost frame at each call: most frames lie together and are read together,
 * and what their code means is in a table that needs no lookup. Nothing is concluded from the addresses
 * of frames, since the next function called has its frame where the last one's was.
 */
#ifndef PMTRACE_PHASE_H
#define PMTRACE_PHASE_H

#include "calls.h"

#define PM_MAX_STACK PM_MAX_TURNS /* frames; compilers of models go some hundred deep */
#define PM_MAX_CLASSES (1 << 12)

/*
 * What a code object means: bits 0-8 as below, 9-13 generation, 14-19 worker, 20-63
 * its address without the low bits, which are 0: objects are aligned. One word, so that threads of several CPUs may write it. Other codes
 * fall on the same place: then it is looked up again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PM_MAX_CLASSES);
	__type(key, __u32);
	__type(value, __u64);
} classes SEC(".maps");

#define CLASS_PHASE 15u
#define CLASS_WEAK (1u << 4)
#define CLASS_DUMMY (1u << 5)
#define CLASS_THROWAWAY (1u << 6)
#define CLASS_KNOWN (1u << 7)
#define CLASS_OUTPUT (1u << 8)
#define CLASS_BITS 511u

#define PM_NEAR (1 << 16) /* bytes: in the same piece of the stack */
#define FRAME_WORDS 24 /* bytes of a frame with its code and previous */

static __always_inline struct pm_code *find_code(const struct stack *s, __u64 code)
{
	struct pm_code_key key = { .code = code, .process = s->process };

	return bpf_map_lookup_elem(&codes, &key);
}

static __always_inline __u32 class_of(const struct stack *s, __u64 code)
{
	__u32 place = (__u32)((code >> 4) * 0x9e3779b1u) >> 20;
	__u64 name = code >> 4 << 20 | (s->worker & (PM_MAX_WORKERS - 1)) << 14 |
		     (s->generation & (PM_GENERATIONS - 1)) << 9;
	struct pm_code *c;
	__u64 *class;
	__u32 bits = 0;

	if (!code || code & 15 || code >> 48)
		return 0;
	place &= PM_MAX_CLASSES - 1;
	class = bpf_map_lookup_elem(&classes, &place);
	if (class && (*class & ~(__u64)CLASS_BITS) == name)
		return *class & CLASS_BITS;
	c = find_code(s, code);
	if (c) {
		bits = CLASS_KNOWN | (c->phase & CLASS_PHASE);
		if (c->flags & PM_CODE_WEAK)
			bits |= CLASS_WEAK;
		if (c->flags & PM_CODE_DUMMY)
			bits |= CLASS_DUMMY;
		if (c->flags & PM_CODE_THROWAWAY)
			bits |= CLASS_THROWAWAY;
		if (c->output != PM_NO_LOCAL)
			bits |= CLASS_OUTPUT;
	}
	if (class)
		*class = name | bits;
	return bits;
}

/* The SchedulerOutput in a frame of execute_model. */
static __always_inline void read_output(struct stack *s, __u64 code)
{
	struct pm_code *c = find_code(s, code);
	__u64 v;

	if (!c || c->output == PM_NO_LOCAL)
		return;
	if (read_ptr(s->frame + s->frame_locals + 8ull * (c->output & 0x7fff), &v)) {
		s->failed = 1;
		return;
	}
	v &= s->ref_mask;
	if (c->output & PM_LOCAL_CELL && v && read_ptr(v + s->cell_ref, &v)) {
		s->failed = 1;
		return;
	}
	s->output = v;
	s->has_output = v != 0;
}

static __always_inline void consider(struct stack *s, __u32 class, __u64 code)
{
	__u8 phase = class & CLASS_PHASE;

	/* A capture runs dummy batches, and is part of a warm-up: it is a capture. */
	if (class & CLASS_DUMMY && s->dummy != PM_PHASE_CAPTURE)
		s->dummy = phase == PM_PHASE_CAPTURE ? phase : PM_PHASE_DUMMY;
	if (class & CLASS_THROWAWAY)
		s->throwaway = 1;
	if (class & CLASS_OUTPUT && s->want_output && !s->has_output)
		read_output(s, code);
	if (s->phase)
		return;
	if (class & CLASS_WEAK)
		s->weak = phase;
	else
		s->phase = phase == PM_PHASE_EXECUTE && s->weak ? s->weak : phase;
}

/* Reads the Python stack from the frame outwards, that is to lower addresses, as far
 * as its page goes: what is below need not be there. */
static __always_inline int fill_room(struct pm_thread *th, __u64 at)
{
	struct stack *s = &th->stack;
	__u64 end = at + FRAME_WORDS, base = at & ~4095ull, size;

	if (end - base > PM_WINDOW)
		base = end - PM_WINDOW;
	size = end - base;
	if (size > PM_WINDOW)
		return -1;
	s->base = base;
	s->held = 0;
	if (read_mem(th->room, size, base))
		return -1;
	s->held = size;
	return 0;
}

/* The words of a frame. Frames of functions lie one on the other; those of
 * generators and of calls from C lie elsewhere, and are read alone. */
static __always_inline int read_frame(struct pm_thread *th, __u64 *words)
{
	struct stack *s = &th->stack;
	__u64 at = s->frame + s->frame_words, offset = at - s->base;

	if (offset > PM_WINDOW - FRAME_WORDS || offset + FRAME_WORDS > s->held) {
		if (s->base - at > PM_NEAR && !s->missed) {
			s->missed = 1;
			return read_mem(words, FRAME_WORDS, at);
		}
		if (fill_room(th, at))
			return -1;
		offset = at - s->base;
	}
	if (offset > PM_WINDOW - FRAME_WORDS)
		return -1;
	s->missed = 0;
	for (int i = 0; i < 3; i++)
		words[i] = *(__u64 *)((void *)th->room + offset + 8 * i);
	return 0;
}

/* What the body of a loop is given. */
struct walker {
	struct pm_thread *th;
};

LOOP_BODY(walk_one, struct walker)(__u32 i, struct walker *walker)
{
	struct pm_thread *th = walker->th;
	struct stack *s = &th->stack;
	__u64 words[3], code;
	__u32 class;

	if (read_frame(th, words)) {
		s->failed = 1;
		return 1;
	}
	code = words[s->code_word & 1] & s->ref_mask;
	class = class_of(s, code);
	if (class & CLASS_KNOWN)
		consider(s, class, code);
	s->frame = s->previous_word == 2 ? words[2] : words[s->previous_word & 1];
	return !s->frame;
}

/* The innermost frame of a thread; 0: none. */
static __always_inline __u64 top_frame(const struct pm_worker *w, struct pm_thread *th,
				       struct stack *s, __u32 thread)
{
	__u64 at, frame;

	if (th->states != w->states) {
		struct pm_state *st = bpf_map_lookup_elem(&states, &thread);

		th->state = st && st->process == s->process ? st->state : 0;
		th->states = w->states;
	}
	if (!th->state)
		return 0;
	at = th->state;
	if ((w->py.cframe && read_ptr(at + w->py.cframe, &at)) ||
	    read_ptr(at + w->py.current_frame, &frame)) {
		s->failed = 1;
		return 0;
	}
	return frame;
}

/*
 * Finds the phase of the current thread, and whether it is under a dummy run. Where
 * the stack could not be read to its end there is no phase, and it is counted.
 */
static __always_inline void find_phase(struct pm_worker *w, struct pm_thread *th, __u32 process,
				       __u32 thread, __u32 row)
{
	struct walker walker = { .th = th };
	struct stack *s = &th->stack;

	*s = (struct stack){ .process = process, .missed = 1 };
	s->ref_mask = w->py.ref_mask;
	s->worker = w->index;
	s->generation = w->generation;
	s->frame_locals = w->py.frame_locals;
	s->cell_ref = w->py.cell_ref;
	/* The code first, and previous 1 or 2 words behind; in 3.10 it is the word before. */
	s->frame_words = w->py.frame_code;
	if (w->py.frame_previous < w->py.frame_code) {
		s->frame_words = w->py.frame_previous;
		s->code_word = 1;
	} else {
		s->previous_word = w->py.frame_previous - w->py.frame_code == 16 ? 2 : 1;
	}
	s->want_output = w->flags & PM_WORKER_OTHER_PROCESS;
	s->frame = top_frame(w, th, s, thread);
	if (s->frame) {
		repeat(PM_MAX_STACK, walk_one, &walker);
		if (!s->phase)
			s->phase = PM_PHASE_OTHER;
		if (s->dummy)
			s->phase = s->dummy;
	}
	if (s->failed || s->frame) {
		lose_call(s->worker, row, s->failed ? PM_LOST_FAULT : PM_LOST_LIMIT);
		s->phase = PM_PHASE_NONE;
		s->dummy = 0;
		s->has_output = 0;
	}
}

#endif
