//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Functions that the user named: of Python by hardware breakpoints on one thread, of
 * C by uprobes in one process. A call is told of as it ends, where that is watched,
 * else as it begins.
 */
#include "value.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Names that user space needs and no struct mentions. */
const enum pm_value *use_value __attribute__((unused));

/* ---- Python ---- */

/* Takes the innermost open call, which was left without returning. */
static __always_inline void raised(__u32 index, const struct pm_hook *h, struct pm_hook_state *s)
{
	s->depth--;
	send_hook(index, s, h->args, 0, &s->open[s->depth & (PM_HOOK_DEPTH - 1)], 0, 0,
		  PM_HOOK_RAISED);
}

/* Which open calls' frames are on the stack. */
LOOP_BODY(seen_one, struct of_hook)(__u32 i, struct of_hook *of)
{
	struct pm_hook_state *s = hook_state(of->index);
	struct pm_hook *h = hook(of->index);
	__u64 frame;

	if (!s || !h || read_ptr(s->walk + h->py.frame_previous, &frame) || !frame)
		return 1;
	s->walk = frame;
	for (int d = 0; d < PM_HOOK_DEPTH; d++) {
		if (s->open[d].at == frame)
			s->seen |= 1u << d;
	}
	if (i == PM_HOOK_FRAMES - 1)
		s->seen = ~0u; /* the rest of the stack may have them */
	return 0;
}

static __always_inline void settle_open(__u32 index, const struct pm_hook *h,
					struct pm_hook_state *s, __u64 frame)
{
	struct of_hook of = { .index = index };

	s->seen = 0;
	s->walk = frame;
	repeat(PM_HOOK_FRAMES, seen_one, &of);
	for (int i = 0; i < PM_HOOK_DEPTH; i++) {
		__u32 top = s->depth - 1;

		if (!s->depth || s->depth > PM_HOOK_DEPTH)
			break;
		/* A new call in a frame's place: the one before has ended. */
		if (s->seen & 1u << (top & 31) && s->open[top & (PM_HOOK_DEPTH - 1)].at != frame)
			break;
		raised(index, h, s);
	}
}

/*
 * CPython 3.11 reads and rewrites the code of a function once, within the RESUME of a
 * call. The interpreter fetches the watched instruction only then, and from where it
 * did so before. Where that is not known the first hit counts, and none of the same
 * frame for so many ns.
 */
#define PM_QUICKENING 500000ull

static __always_inline int quickens(void *ctx, const struct pm_hook *h, struct pm_hook_state *s,
				    __u64 frame, __u64 now)
{
	__u64 at = instruction_pointer(ctx);
	__s16 warmup;

	if (s->quickened == frame && now - s->quickened_at < PM_QUICKENING)
		return 1;
	s->quickened = 0;
	if (!s->cold)
		return 0;
	if (!read_mem(&warmup, sizeof(warmup), h->warmup) && !warmup) {
		if (s->fetch && s->fetch != at)
			return 1;
		if (!s->fetch) {
			s->quickened = frame;
			s->quickened_at = now;
		}
		s->cold = 0;
	}
	s->fetch = at;
	return 0;
}

/*
 * CPython 3.10 looks at a function's first instruction as it is called, and again, from
 * elsewhere, where the thread had to give up the GIL before it began (or it looks from
 * elsewhere first). So of two places the one that is seen more often is that of all calls.
 */
static __always_inline int looks_again(void *ctx, struct pm_hook_state *s)
{
	__u64 at = instruction_pointer(ctx);

	if (!s->place[0] || s->place[0] == at) {
		s->place[0] = at;
		s->fetches[0]++;
		return s->fetches[0] < s->fetches[1];
	}
	if (!s->place[1] || s->place[1] == at) {
		s->place[1] = at;
		s->fetches[1]++;
		return s->fetches[1] <= s->fetches[0];
	}
	return 1;
}

/* Whether this hit is the interpreter's entering the function. */
static __always_inline int enters(void *ctx, const struct pm_hook *h, struct pm_hook_state *s,
				  __u64 frame, __u64 now)
{
	__u64 at;

	/* What comes to the watched instruction from elsewhere, as the end of a loop
	 * does, and what specialises it, has gone on beyond RESUME. */
	if (frame_at(&h->py, frame, h->code, &at) || at > h->resume || at + 2 < h->first ||
	    (h->warmup && quickens(ctx, h, s, frame, now)) ||
	    (h->py.code_bytes && looks_again(ctx, s))) {
		hook_lost(s, PM_SEEN_REPEATED);
		return 0;
	}
	return 1;
}

SEC("perf_event")
int python_entry(void *ctx)
{
	__u32 index = (__u32)bpf_get_attach_cookie(ctx);
	struct pm_hook_state *s = hook_state(index);
	struct pm_hook *h = hook(index);
	struct pm_hook_open *o;
	struct of_hook of = { .index = index };
	__u64 now, call;

	if (!s || !h)
		return 0;
	of.frame = thread_frame(&h->py, h->thread_state);
	if (!h->code || code_of(&h->py, of.frame) != h->code) {
		hook_lost(s, h->code ? PM_SEEN_FOREIGN : PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	now = bpf_ktime_get_ns();
	if (!enters(ctx, h, s, of.frame, now))
		return 0;
	call = s->calls++;
	if (s->depth)
		settle_open(index, h, s, of.frame);
	if (!told(h, s, now))
		return 0;
	/* Behind the last place is one for a call that is told of at once. */
	o = &s->open[s->depth & (PM_HOOK_DEPTH - 1)];
	o->at = of.frame;
	o->began = now;
	o->call = (__u32)call;
	repeat(PM_HOOK_VALUES, argument_one, &of);
	if (!h->returns) {
		send_hook(index, s, h->args, 0, o, 0, 0, 0);
		return 0;
	}
	if (s->depth >= PM_HOOK_DEPTH - 1) {
		hook_lost(s, PM_LOST_LIMIT); /* its duration */
		send_hook(index, s, h->args, 0, o, 0, 0, 0);
		o->at = 0;
		return 0;
	}
	s->depth++;
	return 0;
}

/* CPython 3.10 reads all of a function's code once, as it is called for the 1024th time
 * or so: then the frame has fetched no instruction yet. */
static __always_inline int has_begun(const struct pm_hook *h, __u64 frame)
{
	__u64 at;

	return !h->py.code_bytes || frame_at(&h->py, frame, h->code, &at) || at >= h->first;
}

SEC("perf_event")
int python_return(void *ctx)
{
	__u32 index = (__u32)bpf_get_attach_cookie(ctx), d = PM_HOOK_DEPTH;
	struct pm_hook_state *s = hook_state(index);
	struct pm_hook *h = hook(index);
	__u64 frame, now;

	if (!s || !h)
		return 0;
	frame = thread_frame(&h->py, h->thread_state);
	if (!h->code || code_of(&h->py, frame) != h->code || !has_begun(h, frame)) {
		hook_lost(s, h->code ? PM_SEEN_FOREIGN : PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	now = bpf_ktime_get_ns();
	for (__u32 i = 0; i < PM_HOOK_DEPTH; i++) {
		if (i < s->depth && s->open[i].at == frame)
			d = i;
	}
	if (d >= PM_HOOK_DEPTH)
		return 0; /* not told of, or entered before it was watched */
	for (int i = 0; i < PM_HOOK_DEPTH; i++) {
		if (s->depth <= d + 1 || s->depth > PM_HOOK_DEPTH)
			break;
		raised(index, h, s);
	}
	s->depth = d;
	send_hook(index, s, h->args, 0, &s->open[d], now - s->open[d].began, 0, PM_HOOK_RETURNED);
	return 0;
}

/* ---- C ---- */

static __always_inline struct pm_hook_calls *calls_of(__u32 index, __u32 thread)
{
	struct pm_hook_thread key = { .thread = thread, .hook = index };
	struct pm_hook_calls *c = bpf_map_lookup_elem(&open_calls, &key);
	__u32 zero = 0;

	if (c)
		return c;
	c = bpf_map_lookup_elem(&no_calls, &zero);
	if (!c || bpf_map_update_elem(&open_calls, &key, c, 0))
		return NULL;
	return bpf_map_lookup_elem(&open_calls, &key);
}

SEC("uprobe.multi")
int function_entry(void *ctx)
{
	__u32 index = (__u32)bpf_get_attach_cookie(ctx);
	struct pm_hook_state *s = hook_state(index);
	struct pm_hook *h = hook(index);
	struct pm_hook_open call = {};
	struct arguments args = {};
	struct pm_hook_calls *c;
	__u64 id = current_ids();
	__u32 free = PM_HOOK_DEPTH;

	if (!s || !h || !h->process || id >> 32 != h->process)
		return 0; /* a plain uprobe sees all processes */
	call.began = bpf_ktime_get_ns();
	call.call = (__u32)__sync_fetch_and_add(&s->calls, 1);
	if (!told(h, s, call.began))
		return 0;
	call.at = stack_pointer(ctx);
	read_arguments(ctx, &args);
	for (__u32 i = 0; i < PM_HOOK_VALUES; i++) {
		if (i < h->args) {
			call.kinds[i] = PM_VALUE_RAW;
			call.value[i] = argument(&args, h->arg[i].local & 15);
		}
	}
	if (!h->returns) {
		send_hook(index, s, h->args, (__u32)id, &call, 0, 0, 0);
		return 0;
	}
	c = calls_of(index, (__u32)id);
	for (int i = 0; c && i < PM_HOOK_DEPTH; i++) {
		struct pm_hook_open *o = &c->open[i];

		/* Deeper in the stack than this call: it has ended, by a C++ exception or
		 * longjmp. */
		if (o->at && o->at <= call.at) {
			send_hook(index, s, h->args, (__u32)id, o, 0, 0, PM_HOOK_RAISED);
			o->at = 0;
		}
		if (!o->at && free == PM_HOOK_DEPTH)
			free = i;
	}
	if (c && free < PM_HOOK_DEPTH) {
		c->open[free] = call;
		return 0;
	}
	hook_lost(s, PM_LOST_LIMIT); /* its duration */
	send_hook(index, s, h->args, (__u32)id, &call, 0, 0, 0);
	return 0;
}

SEC("uprobe.multi")
int function_return(void *ctx)
{
	__u32 index = (__u32)bpf_get_attach_cookie(ctx);
	struct pm_hook_state *s = hook_state(index);
	struct pm_hook *h = hook(index);
	struct pm_hook_thread key = { .hook = index };
	struct pm_hook_calls *c;
	__u64 id = current_ids(), now, at;

	if (!s || !h || !h->process || id >> 32 != h->process)
		return 0;
	now = bpf_ktime_get_ns();
	key.thread = (__u32)id;
	c = bpf_map_lookup_elem(&open_calls, &key);
	if (!c)
		return 0;
	at = entry_stack_pointer(ctx);
	for (int i = 0; i < PM_HOOK_DEPTH; i++) {
		struct pm_hook_open *o = &c->open[i];

		if (o->at != at)
			continue;
		send_hook(index, s, h->args, (__u32)id, o, now - o->began, returned_word(ctx),
			  PM_HOOK_RETURNED);
		o->at = 0;
		return 0;
	}
	return 0; /* not told of, or entered before it was probed */
}
