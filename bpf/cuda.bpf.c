//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Calls into libcudart, libcuda and libnccl, seen through uprobes: one program at
 * the entry and one at the return serve all rows. What is kept of a thread is
 * changed by that thread alone, so it needs no lock.
 */
#include "workerstep.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Names that user space needs and no struct mentions. */
const enum pm_row *use_row __attribute__((unused));
const enum pm_phase *use_phase __attribute__((unused));
const enum pm_place *use_place __attribute__((unused));
const enum pm_reason *use_reason __attribute__((unused));
const enum pm_values *use_values __attribute__((unused));
const enum pm_machine *use_machine __attribute__((unused));
const enum pm_kind *use_kind __attribute__((unused));

#define BIT(row) (1u << (row))

/* Sent whatever the phase, also under a dummy run. */
#define GRAPH_ROWS                                                                        \
	(BIT(PM_ROW_GRAPH_LAUNCH) | BIT(PM_ROW_CAPTURE_BEGIN) | BIT(PM_ROW_CAPTURE_END) | \
	 BIT(PM_ROW_GRAPH_INSTANTIATE) | BIT(PM_ROW_GRAPH_UPLOAD) | BIT(PM_ROW_GRAPH_DESTROY))

/* Sent, but not under a dummy run. */
#define STEP_ROWS                                                                   \
	(BIT(PM_ROW_EVENT_SYNC) | BIT(PM_ROW_ALL_REDUCE) | BIT(PM_ROW_ALL_GATHER) | \
	 BIT(PM_ROW_REDUCE_SCATTER) | BIT(PM_ROW_BROADCAST) | BIT(PM_ROW_REDUCE) |  \
	 BIT(PM_ROW_SEND) | BIT(PM_ROW_RECV))

/* Sent only where they may end a step: while weights are loaded each copy has one, and
 * nobody reads the ring yet. Elsewhere they take their time of the phase. */
#define SYNC_ROWS (BIT(PM_ROW_STREAM_SYNC) | BIT(PM_ROW_DEVICE_SYNC))

/* Whether a call is sent one by one. */
static __always_inline int wanted(const struct pm_worker *w, const struct stack *s, __u32 row)
{
	__u32 bit = BIT(row);

	if (bit & GRAPH_ROWS)
		return 1;
	if (s->dummy)
		return 0;
	if (bit & (STEP_ROWS | w->record))
		return 1;
	if (bit & SYNC_ROWS)
		return s->phase == PM_PHASE_OUTPUT_COPY || s->phase == PM_PHASE_OUTPUT_WAIT;
	return row == PM_ROW_EVENT_RECORD && s->phase == PM_PHASE_OUTPUT_COPY;
}

/* Whether the return of a call that is not sent matters: it is when the phase's last
 * call ended. */
static __always_inline int timed(const struct stack *s, __u32 row)
{
	return BIT(row) & SYNC_ROWS && !s->dummy && s->phase > PM_PHASE_OTHER;
}

/* ---- the thread ---- */

/* Room for what is remembered of a new thread. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pm_thread);
} blank SEC(".maps");

static __always_inline struct pm_thread *find_thread(const struct pm_worker *w, __u32 process,
						     __u32 thread, __u32 row)
{
	struct pm_thread *th = bpf_map_lookup_elem(&threads, &thread);
	struct pm_thread *none;
	__u32 zero = 0;

	if (th && th->process == process)
		return th;
	none = bpf_map_lookup_elem(&blank, &zero);
	if (!none || bpf_map_update_elem(&threads, &thread, none, 0)) {
		lose_call(w->index, row, PM_LOST_LIMIT);
		return NULL;
	}
	th = bpf_map_lookup_elem(&threads, &thread);
	if (!th)
		return NULL;
	th->process = process;
	th->step = PM_UNKNOWN;
	th->states = w->states - 1;
	return th;
}

/* ---- phases ---- */

static __always_inline void send_phase(struct pm_worker *w, struct pm_thread *th,
				       const struct stack *s, __u32 thread, __u32 row, __u64 now)
{
	struct pm_phase_change *e = reserve(w, th, row, PM_EV_PHASE, now, sizeof(*e));

	if (!e)
		return;
	e->first = th->first;
	e->last = th->last;
	e->copied = th->copied;
	e->thread = thread;
	e->step = th->step;
	e->calls = th->calls;
	e->launches = th->launches;
	e->copies = th->copies;
	e->phase = s->phase;
	e->before = th->phase;
	e->row = row;
	e->flags = s->dummy ? PM_CALL_DUMMY : 0;
	submit(&e->hdr);
}

/* Under a dummy run phases come and go: it is one stay, and so is a capture's. */
static __always_inline void enter_phase(struct pm_worker *w, struct pm_thread *th,
					const struct stack *s, __u32 thread, __u32 row, __u64 now)
{
	__u8 dummy = s->dummy != 0;

	if (th->dummy == dummy && (dummy || th->phase == s->phase))
		return;
	send_phase(w, th, s, thread, row, now);
	th->phase = s->phase;
	th->dummy = dummy;
	th->first = 0;
	th->last = 0;
	th->copied = 0;
	th->calls = 0;
	th->launches = 0;
	th->copies = 0;
}

static __always_inline void count(struct pm_thread *th, __u32 row, __u64 bytes, __u64 now)
{
	if (!th->first)
		th->first = now;
	th->last = now;
	th->calls++;
	if (row == PM_ROW_LAUNCH)
		th->launches++;
	if (row == PM_ROW_COPY) {
		th->copies++;
		th->copied += bytes;
	}
}

/* ---- arguments ---- */

static __always_inline __u32 place(__u64 cookie, __u32 which)
{
	return cookie >> (8 + 16 * which) & 0xffff;
}

static __always_inline __u64 value(const struct arguments *args, __u32 place)
{
	__u32 n = place >> 4 & 15;
	__u64 v;

	switch (place & 15) {
	case PM_ARGUMENT:
	case PM_RESULT:
		return argument(args, n);
	case PM_ARGUMENT_32:
		return (__u32)argument(args, n);
	case PM_CONSTANT:
		return place >> 8;
	case PM_MEMORY:
		return read_ptr(argument(args, n) + (place >> 8), &v) ? 0 : v;
	case PM_PAIR_32:
		return (__u32)argument(args, n) | argument(args, n + 1) << 32;
	case PM_PRODUCT:
		return argument(args, n) * argument(args, n + 1);
	}
	return 0;
}

static __always_inline __u64 result(__u64 v, __u32 place)
{
	if ((place & 15) != PM_RESULT)
		return v;
	return !v || read_ptr(v, &v) ? 0 : v;
}

/* ---- the programs ---- */

static __always_inline void send_call(struct pm_worker *w, struct pm_thread *th, __u32 thread,
				      const struct pm_pending *call, __u64 now, __u64 began,
				      __s32 result)
{
	struct pm_call *e = reserve(w, th, call->row, PM_EV_CALL, now, sizeof(*e));

	if (!e)
		return;
	e->a = call->a;
	e->b = call->b;
	e->c = call->c;
	e->began = began;
	e->thread = thread;
	e->step = call->step;
	e->result = result;
	e->row = call->row;
	e->phase = call->phase;
	e->flags = call->flags | (result ? PM_CALL_FAILED : 0);
	e->spare = 0;
	submit(&e->hdr);
}

/* Keeps a call until it returns. Calls deeper in the stack than this one have
 * ended, whether we saw it or not: a C++ exception leaves no return. */
static __always_inline void await(struct pm_worker *w, struct pm_thread *th,
				  const struct pm_pending *call)
{
	struct pm_pending *free = NULL;

	for (int i = 0; i < PM_MAX_PENDING; i++) {
		struct pm_pending *p = &th->pending[i];

		if (p->stack <= call->stack)
			p->stack = 0;
		if (!p->stack && !free)
			free = p;
	}
	if (free)
		*free = *call;
	else
		lose_call(w->index, call->row, PM_LOST_LIMIT);
}

SEC("uprobe.multi")
int call_entry(void *ctx)
{
	__u64 id = current_ids(), cookie = bpf_get_attach_cookie(ctx), now;
	__u32 process = id >> 32, thread = (__u32)id, row = cookie & (PM_ROWS - 1), step;
	struct pm_worker *w = bpf_map_lookup_elem(&workers, &process);
	struct pm_pending call = {};
	struct arguments args = {};
	struct pm_thread *th;
	struct stack *s;

	if (!w) /* a plain uprobe sees all processes */
		return 0;
	now = bpf_ktime_get_ns();
	th = find_thread(w, process, thread, row);
	if (!th)
		return 0;
	find_phase(w, th, process, thread, row);
	s = &th->stack;
	step = find_step(w, th, s, thread, row, now);
	enter_phase(w, th, s, thread, row, now);
	th->step = step;
	if (!wanted(w, s, row) && row != PM_ROW_COPY) {
		count(th, row, 0, now);
		if (!timed(s, row) || !(cookie & PM_COOKIE_RETURNS))
			return 0;
		call.row = row;
		call.silent = 1;
		call.stack = stack_pointer(ctx);
		await(w, th, &call);
		return 0;
	}
	read_arguments(ctx, &args);
	call.a = value(&args, place(cookie, 0));
	count(th, row, call.a, now);
	if (!wanted(w, s, row))
		return 0;
	call.b = value(&args, place(cookie, 1));
	call.c = value(&args, place(cookie, 2));
	call.row = row;
	call.step = step;
	call.phase = s->phase;
	call.flags = (s->dummy ? PM_CALL_DUMMY : 0) | (s->throwaway ? PM_CALL_THROWAWAY : 0);
	if (!(cookie & PM_COOKIE_RETURNS)) {
		send_call(w, th, thread, &call, now, 0, 0);
		return 0;
	}
	call.stack = stack_pointer(ctx);
	call.began = now;
	await(w, th, &call);
	return 0;
}

SEC("uprobe.multi")
int call_return(void *ctx)
{
	__u64 id = current_ids(), cookie = bpf_get_attach_cookie(ctx), now;
	__u32 process = id >> 32, thread = (__u32)id;
	struct pm_worker *w = bpf_map_lookup_elem(&workers, &process);
	struct pm_thread *th;
	__u64 stack;

	if (!w)
		return 0;
	now = bpf_ktime_get_ns();
	th = bpf_map_lookup_elem(&threads, &thread);
	if (!th || th->process != process)
		return 0;
	stack = entry_stack_pointer(ctx);
	for (int i = 0; i < PM_MAX_PENDING; i++) {
		struct pm_pending *p = &th->pending[i];

		if (!p->stack || p->stack != stack)
			continue;
		p->stack = 0;
		if (p->row != (cookie & (PM_ROWS - 1)))
			continue;
		if (p->silent) {
			th->last = now;
			return 0;
		}
		p->a = result(p->a, place(cookie, 0));
		p->b = result(p->b, place(cookie, 1));
		th->last = now;
		send_call(w, th, thread, p, now, p->began, returned(ctx));
		return 0;
	}
	return 0; /* not wanted at its entry, or entered before it was probed */
}
