//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * vLLM's scheduler, seen through hardware breakpoints on the thread that runs
 * it: one program for each of the four watches. All events of an engine come
 * from that one thread, so what is kept in struct pm_engine needs no lock.
 */
#include "work.h"
#include "attributes.h"
#include "keys.h"
#include "requests.h"
#include "rows.h"
#include "outputs.h"
#include "blocks.h"
#include "routed.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Names that user space needs and no struct mentions. */
const enum pm_probe *use_probe __attribute__((unused));
const enum pm_reason *use_reason __attribute__((unused));
const enum pm_op_blocks *use_op_blocks __attribute__((unused));
const enum pm_kv_op *use_kv_op __attribute__((unused));
const enum pm_kind *use_kind __attribute__((unused));
const enum pm_values *use_values __attribute__((unused));
const enum pm_queue *use_queue __attribute__((unused));
const enum pm_routed_place *use_routed_place __attribute__((unused));

/* ---- Scheduler.schedule returns ---- */

static __always_inline __u32 queue_len(struct pm_engine *e, const struct holder *scheduler)
{
	__u32 sum = 0, n;
	__u64 queue;

	if (e->queue_kind[0] == PM_QUEUE_NONE)
		return PM_UNKNOWN;
	for (int q = 0; q < PM_MAX_QUEUES; q++) {
		if (e->queue_kind[q] == PM_QUEUE_NONE)
			continue;
		queue = held_value(&e->py, scheduler, &e->queues[q]);
		if (e->queue_kind[q] == PM_QUEUE_HEAP)
			queue = read_attr(e, queue, &e->heap);
		n = read_len(queue, OB_SIZE);
		if (n == PM_UNKNOWN)
			return PM_UNKNOWN;
		sum += n;
	}
	return sum;
}

/* What the scheduler itself says: queue lengths, free blocks, when it began. */
static __noinline void read_scheduler(struct pm_engine *e, struct scratch *s, struct self *self,
				      __u64 scheduler)
{
	struct pm_step *st = &s->step;
	struct holder *h = &s->holder;
	__u64 at;

	open_holder(&e->py, h, scheduler);
	st->began = 0;
	at = local(e, s->frame, e->l_began);
	if (e->l_began != PM_NO_LOCAL && (!at || read_ptr(at + e->py.float_value, &st->began)))
		note_bad(self, &st->bad, PM_BAD_TIME);
	st->running = read_len(held_value(&e->py, h, &e->running), OB_SIZE);
	st->waiting = queue_len(e, h);
	/* What this vLLM does not have was said as it was attached to, and is no loss. */
	if ((st->running == PM_UNKNOWN && e->running.storage != PM_STORED_NOT) ||
	    (st->waiting == PM_UNKNOWN && e->queue_kind[0] != PM_QUEUE_NONE))
		note_bad(self, &st->bad, PM_BAD_QUEUES);
	st->requests = dict_len(held_value(&e->py, h, &e->requests));
	st->free_blocks = read_counter(e);
	if (st->free_blocks == PM_UNKNOWN && e->counter)
		note_bad(self, &st->bad, PM_BAD_FREE);
	e->free_blocks = st->free_blocks;
	at = local(e, s->frame, e->l_victims);
	st->victims = e->l_victims == PM_NO_LOCAL ? PM_UNKNOWN : at ? read_len(at, OB_SIZE) : 0;
}

/* The lists of CachedRequestData, opened for row_one. */
static __always_inline int open_cached(struct pm_engine *e, struct scratch *s, struct self *self,
				       __u64 cached)
{
	__u32 n;

	s->walk.cached = 0;
	s->walk.next = 0;
	s->walk.ids = 0;
	s->walk.computed = 0;
	s->walk.blocks = 0;
	if (learn(self, cached, e->crd_keys, e->crd_at, &e->crd_known) ||
	    read_values(e, self, cached, e->crd_keys, s->other, e->crd_known))
		return -1;
	n = list_items(e, value(s->other, e->crd_at, PM_CRD_IDS), &s->walk.ids);
	s->step.cached_requests = n;
	if (n == PM_UNKNOWN ||
	    list_items(e, value(s->other, e->crd_at, PM_CRD_COMPUTED), &s->walk.computed) != n ||
	    list_items(e, value(s->other, e->crd_at, PM_CRD_BLOCKS), &s->walk.blocks) != n)
		return -1;
	s->walk.cached = n;
	return 0;
}

/* The totals of the SchedulerOutput; its attributes are in s->so then. */
static __noinline int read_output(struct pm_engine *e, struct scratch *s, struct self *self)
{
	struct pm_step *st = &s->step;
	__u64 preempted;

	st->tokens = PM_UNKNOWN;
	st->rows = PM_UNKNOWN;
	st->new_requests = PM_UNKNOWN;
	st->cached_requests = PM_UNKNOWN;
	st->finished = PM_UNKNOWN;
	st->preempted = PM_UNKNOWN;
	st->drafts = PM_UNKNOWN;
	st->encoder_inputs = PM_UNKNOWN;
	if (learn(self, st->output, e->so_keys, e->so_at, &e->so_known) ||
	    read_values(e, self, st->output, e->so_keys, s->so, e->so_known)) {
		note_bad(self, &st->bad, PM_BAD_ROWS | PM_BAD_TOTALS);
		return -1;
	}
	st->tokens = read_long(&e->py, value(s->so, e->so_at, PM_SO_TOTAL));
	if (st->tokens == PM_UNKNOWN)
		note_bad(self, &st->bad, PM_BAD_TOTALS);
	st->rows = dict_len(value(s->so, e->so_at, PM_SO_SCHEDULED));
	st->new_requests = read_len(value(s->so, e->so_at, PM_SO_NEW), OB_SIZE);
	st->drafts = dict_len(value(s->so, e->so_at, PM_SO_DRAFTS));
	st->encoder_inputs = dict_len(value(s->so, e->so_at, PM_SO_ENCODER));
	st->finished = read_len(value(s->so, e->so_at, PM_SO_FINISHED), e->py.set_used);
	preempted = value(s->so, e->so_at, PM_SO_PREEMPTED);
	st->preempted = !preempted || preempted == e->none ? 0 :
							     read_len(preempted, e->py.set_used);
	if (open_cached(e, s, self, value(s->so, e->so_at, PM_SO_CACHED)))
		note_bad(self, &st->bad, PM_BAD_COMPUTED);
	return 0;
}

/* Requests that finished or were preempted since the last call. */
static __noinline void send_ended(struct pm_engine *e, struct scratch *s, struct self *self)
{
	__u32 n;

	if (s->step.finished &&
	    send_set(self, value(s->so, e->so_at, PM_SO_FINISHED), PM_KEYS_FINISHED) == PM_UNKNOWN)
		lose(self->engine, self->probe, PM_LOST_FAULT);
	if (s->step.preempted && send_set(self, value(s->so, e->so_at, PM_SO_PREEMPTED),
					  PM_KEYS_PREEMPTED) == PM_UNKNOWN)
		lose(self->engine, self->probe, PM_LOST_FAULT);
	n = list_items(e, local(e, s->frame, e->l_victims), &self->a);
	if (!n)
		return;
	begin_rows(s, PM_KEYS_VICTIMS);
	repeat(bounded(self, n), victim_one, self);
	flush_rows(e, s, self, PM_EV_KEYS, 8);
}

/* Requests that this call took from waiting; and, where asked for, all others that it knew. */
static __noinline void send_requests(struct pm_engine *e, struct scratch *s, struct self *self,
				     __u64 scheduler)
{
	__u32 n;

	n = list_items(e, local(e, s->frame, e->l_new), &self->a);
	if (n) {
		if (list_items(e, value(s->so, e->so_at, PM_SO_NEW), &self->b) != n)
			self->b = 0;
		repeat(bounded(self, n), new_one, self);
	}
	n = list_items(e, local(e, s->frame, e->l_resumed), &self->a);
	if (n) {
		self->b = s->walk.cached - n;
		repeat(bounded(self, n), resumed_one, self);
	}
	/* Only once the ring is being read again: else each step would do this. */
	if (e->sync && ring_has_room()) {
		e->sync = 0;
		n = list_items(e, read_attr(e, scheduler, &e->running), &self->a);
		repeat(bounded(self, n), sync_one, self);
		/* What this very call preempted runs no more. */
		n = list_items(e, local(e, s->frame, e->l_victims), &self->a);
		repeat(bounded(self, n), sync_one, self);
	}
}

static __noinline void send_rows(struct pm_engine *e, struct scratch *s, struct self *self)
{
	begin_rows(s, 0);
	s->walk.base = 0;
	s->walk.last_int = 0;
	if (open_dict(e, s, value(s->so, e->so_at, PM_SO_SCHEDULED)) == PM_UNKNOWN)
		note_bad(self, &s->walk.bad, PM_BAD_ROWS);
	else
		repeat(bounded(self, s->walk.count), row_one, self);
	if (s->walk.rows || s->walk.bad)
		flush_rows(e, s, self, PM_EV_STEP_ROWS, sizeof(struct pm_step_row));
}

static __noinline void send_drafts(struct pm_engine *e, struct scratch *s, struct self *self)
{
	begin_rows(s, 0);
	if (open_dict(e, s, value(s->so, e->so_at, PM_SO_DRAFTS)) == PM_UNKNOWN)
		note_bad(self, &s->walk.bad, PM_BAD_DRAFTS);
	else
		repeat(bounded(self, s->walk.count), draft_one, self);
	if (s->walk.rows || s->walk.bad)
		flush_rows(e, s, self, PM_EV_DRAFTS, sizeof(struct pm_draft_row));
}

SEC("perf_event")
int schedule_return(void *ctx)
{
	struct self self = { .probe = PM_PROBE_SCHEDULE_RETURN };
	struct scratch *s = scratch();
	__u64 frame, scheduler, output, type;
	struct pm_engine *e;

	self.engine = (__u32)bpf_get_attach_cookie(ctx);
	e = engine(self.engine);
	if (!e || !s || !e->schedule_code) {
		lose(self.engine & (PM_MAX_ENGINES - 1), self.probe, PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	frame = enter(e, &self, e->schedule_code, e->schedule_return, e->schedule_locals);
	if (!frame)
		return 0;
	s->frame = frame;
	output = local(e, frame, e->l_output);
	if (!output || read_ptr(output + OB_TYPE, &type) ||
	    (e->output_type && type != e->output_type)) {
		lose(self.engine, self.probe, PM_SEEN_FOREIGN);
		return 0;
	}
	scheduler = local(e, frame, e->l_self);
	s->walk.step = e->step;
	s->step.step = e->step;
	s->step.output = output;
	s->step.bad = 0;
	read_scheduler(e, s, &self, scheduler);
	if (read_output(e, s, &self)) {
		send(e, &self, &s->step.hdr, PM_EV_STEP, sizeof(s->step));
	} else {
		send(e, &self, &s->step.hdr, PM_EV_STEP, sizeof(s->step));
		send_ended(e, s, &self);
		send_requests(e, s, &self, scheduler);
		if (s->step.rows && s->step.rows != PM_UNKNOWN)
			send_rows(e, s, &self);
		if (s->step.drafts && s->step.drafts != PM_UNKNOWN)
			send_drafts(e, s, &self);
	}
	e->begun = 0;
	e->step++;
	return 0;
}

/* ---- Scheduler.update_from_output ---- */

SEC("perf_event")
int update_entry(void *ctx)
{
	struct self self = { .probe = PM_PROBE_UPDATE_ENTRY };
	struct scratch *s = scratch();
	struct pm_engine *e;
	__u64 output, frame, now = bpf_ktime_get_ns();

	self.engine = (__u32)bpf_get_attach_cookie(ctx);
	e = engine(self.engine);
	if (!e || !s || !e->update_code) {
		lose(self.engine & (PM_MAX_ENGINES - 1), self.probe, PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	frame = enter(e, &self, e->update_code, e->update_resume, 4);
	if (!frame)
		return 0;
	output = local(e, frame, e->l_update_output);
	if (!output || output == e->begun) {
		lose(self.engine, self.probe, PM_SEEN_REPEATED);
		return 0;
	}
	e->begun = output;
	if (e->routed)
		send_routed(&self, frame, output, now);
	s->update.output = output;
	s->update.update = e->update;
	s->update.rows = 0;
	s->update.bad = 0;
	send_at(e, &self, &s->update.hdr, PM_EV_UPDATE_BEGIN, sizeof(s->update), now);
	return 0;
}

/* ---- AuxOutputWorkerConnector.process_output, in a worker's process ---- */

/* Hits of the same object so soon after one another are of one call (see quickens). */
#define PM_SAME_CALL 500000ull

SEC("perf_event")
int worker_output(void *ctx)
{
	struct self self = { .probe = PM_PROBE_ROUTED };
	struct scratch *s = scratch();
	struct pm_engine *e;
	__u64 frame, pending, now = bpf_ktime_get_ns();

	self.engine = (__u32)bpf_get_attach_cookie(ctx);
	e = engine(self.engine);
	if (!e || !s || !e->update_code) {
		lose(self.engine & (PM_MAX_SLOTS - 1), self.probe, PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	frame = enter(e, &self, e->update_code, e->update_resume, 4);
	if (!frame)
		return 0;
	pending = local(e, frame, e->l_result);
	if (!pending || (pending == e->begun && now - e->last < PM_SAME_CALL)) {
		lose(self.engine, self.probe, PM_SEEN_REPEATED);
		return 0;
	}
	e->begun = pending;
	e->last = now;
	send_pending(&self, pending, now);
	return 0;
}

SEC("perf_event")
int update_return(void *ctx)
{
	struct self self = { .probe = PM_PROBE_UPDATE_RETURN };
	struct scratch *s = scratch();
	struct pm_engine *e;
	struct keys k = {};
	__u64 frame, output, outputs, at, used;

	self.engine = (__u32)bpf_get_attach_cookie(ctx);
	e = engine(self.engine);
	if (!e || !s || !e->update_code) {
		lose(self.engine & (PM_MAX_ENGINES - 1), self.probe, PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	frame = enter(e, &self, e->update_code, e->update_return, e->update_locals);
	if (!frame)
		return 0;
	output = local(e, frame, e->l_update_output);
	outputs = local(e, frame, e->l_outputs);
	if (!output || !outputs || read_ptr(outputs + DICT_USED, &used)) {
		lose(self.engine, self.probe, PM_SEEN_FOREIGN);
		return 0;
	}
	begin_rows(s, 0);
	s->walk.step = e->update;
	s->update.output = output;
	s->update.update = e->update;
	s->update.rows = 0;
	s->update.bad = 0;
	if (used && (read_ptr(outputs + DICT_KEYS, &at) || read_keys(&e->py, at, &k)))
		note_bad(&self, &s->update.bad, PM_BAD_ROWS);
	if (k.count > PM_MAX_CLIENTS) {
		k.count = PM_MAX_CLIENTS;
		note_bad(&self, &s->update.bad, PM_BAD_CUT);
	}
	self.a = k.entries;
	self.b = k.size;
	repeat(k.count, client_one, &self);
	if (s->walk.rows || s->walk.bad)
		flush_rows(e, s, &self, PM_EV_OUTPUT_ROWS, sizeof(struct pm_output_row));
	send(e, &self, &s->update.hdr, PM_EV_UPDATE_END, sizeof(s->update));
	e->update++;
	e->begun = 0;
	return 0;
}

/* ---- FreeKVCacheBlockQueue.num_free_blocks is written ---- */

SEC("perf_event")
int free_blocks(void *ctx)
{
	struct self self = { .probe = PM_PROBE_FREE_BLOCKS };
	struct scratch *s = scratch();
	struct pm_engine *e;
	__u64 frame, code, argument = 0;
	__u32 n = 0, op = PM_KV_OTHER, blocks = PM_OP_NONE;
	struct pm_kv *kv;

	self.engine = (__u32)bpf_get_attach_cookie(ctx);
	e = engine(self.engine);
	if (!e || !s || !e->counter) {
		lose(self.engine & (PM_MAX_ENGINES - 1), self.probe, PM_LOST_NOT_CONFIGURED);
		return 0;
	}
	if (is_foreign(e, &self))
		return 0;
	kv = &s->kv.head;
	frame = current_frame(e);
	if (frame)
		read_callers(&e->py, frame);
	code = frame_code(e, frame);
	for (int i = 0; i < PM_MAX_OPS; i++) {
		if (code && e->ops[i].code == code) {
			op = e->ops[i].op;
			blocks = e->ops[i].blocks;
		}
	}
	s->walk.rows = 0;
	s->walk.first = 0;
	s->walk.bad = 0;
	kv->owner = frame ? owner(e, frame) : 0;
	kv->op = op;
	kv->free_before = e->free_blocks;
	kv->free_after = read_counter(e);
	if (kv->free_after == PM_UNKNOWN)
		note_bad(&self, &s->walk.bad, PM_BAD_FREE);
	/* A few hits in ten thousand (seen in a virtual machine) come some 10 µs after a real
	 * one, while another function runs, and the number is what it was: no operation. */
	if (op == PM_KV_OTHER && kv->free_after != PM_UNKNOWN &&
	    kv->free_after == kv->free_before) {
		lose(self.engine, self.probe, PM_SEEN_REPEATED);
		return 0;
	}
	e->free_blocks = kv->free_after;
	if (blocks != PM_OP_NONE) {
		if (frame_word(frame + e->py.frame_locals + 8, &argument)) {
			note_bad(&self, &s->walk.bad, PM_BAD_BLOCKS);
			argument = 0;
		}
		argument &= e->py.ref_mask;
	}
	switch (blocks) {
	case PM_OP_COUNT:
		n = read_long(&e->py, argument);
		break;
	case PM_OP_LIST:
		n = list_items(e, argument, &s->walk.entries);
		break;
	case PM_OP_ONE:
		n = 1;
		break;
	default:
		if (kv->free_before != PM_UNKNOWN && kv->free_after != PM_UNKNOWN)
			n = kv->free_before > kv->free_after ? kv->free_before - kv->free_after :
							       kv->free_after - kv->free_before;
	}
	kv->blocks = n;
	if (n == PM_UNKNOWN || n > PM_MAX_BLOCKS) {
		note_bad(&self, &s->walk.bad, n == PM_UNKNOWN ? PM_BAD_BLOCKS : PM_BAD_CUT);
		n = n == PM_UNKNOWN ? 0 : PM_MAX_BLOCKS;
	}
	if (blocks == PM_OP_COUNT) {
		s->walk.cursor = read_attr(e, e->head, &e->head_next);
		repeat(n, chain_one, &self);
	} else if (blocks == PM_OP_LIST) {
		s->walk.count = n;
		repeat(n, listed_one, &self);
	} else if (blocks == PM_OP_ONE && argument) {
		add_block(e, s, &self, argument);
	}
	flush_kv(e, s, &self, 0);
	return 0;
}
