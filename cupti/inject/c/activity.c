/* SPDX-License-Identifier: Apache-2.0 */
/* CUPTI's records, and what becomes of them. */
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "state.h"

/* Buffers for CUPTI: one is in use a thread that makes calls, and some are on their way
 * back. A flush brings none in which a record is incomplete, which on a busy GPU the
 * newest always is: so they are small, to be full soon, but where kernels are told. Pages
 * are touched as they are used. */
enum { BUFFERS = 64, BUFFER_BYTES = 128 << 10, SMALL_BYTES = 4 << 10 };

static uint8_t *buffers;
static _Atomic uint64_t unused = ~0ull; /* a bit each */
static _Atomic size_t room = SMALL_BYTES;

void activity_kernels(int on)
{
	atomic_store(&room, on ? BUFFER_BYTES : SMALL_BYTES);
}

int activity_buffers(void)
{
	void *p = mmap(NULL, (size_t)BUFFERS * BUFFER_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -1;
	buffers = p;
	return 0;
}

void activity_requested(uint8_t **buffer, size_t *size, size_t *records)
{
	uint64_t have = atomic_load(&unused);

	*records = 0; /* as many as fit */
	while (have) {
		int i = __builtin_ctzll(have);

		if (!atomic_compare_exchange_weak(&unused, &have, have & ~(1ull << i)))
			continue;
		*buffer = buffers + (size_t)i * BUFFER_BYTES;
		*size = atomic_load(&room);
		return;
	}
	*buffer = NULL; /* CUPTI drops records then, and says how many */
	*size = 0;
	ring_lost(PM_LOST_BUFFER, 1);
}

static void give_back(uint8_t *buffer)
{
	if (buffer >= buffers && buffer < buffers + (size_t)BUFFERS * BUFFER_BYTES)
		atomic_fetch_or(&unused, 1ull << ((size_t)(buffer - buffers) / BUFFER_BYTES));
}

/* Names of kernels that were sent, by their text: CUPTI's strings live as long as their
 * module, and another may come to lie where one was. */
enum { NAMES = 1 << 14 };

static struct {
	uint64_t hash; /* 0: free */
	uint32_t id;
} names[NAMES];
static uint32_t named;

static uint64_t hash(const char *s, size_t *n)
{
	uint64_t h = 0xcbf29ce484222325ull;
	const char *c = s;

	for (; *c; c++)
		h = (h ^ (uint8_t)*c) * 0x100000001b3ull;
	*n = (size_t)(c - s);
	return h ? h : 1;
}

static uint32_t name_of(const char *s)
{
	struct pm_cupti_name record = { 0 };
	uint64_t h;
	size_t n, at;

	if (!s)
		return 0;
	h = hash(s, &n);
	for (at = h % NAMES; names[at].hash; at = (at + 1) % NAMES)
		if (names[at].hash == h)
			return names[at].id;
	if (named >= NAMES / 2) {
		ring_lost(PM_LOST_NAME, 1);
		return 0;
	}
	record.id = named + 1;
	if (n > PM_CUPTI_MAX_NAME) {
		n = PM_CUPTI_MAX_NAME;
		record.flags = PM_CUPTI_NAME_CUT;
	}
	record.bytes = (uint16_t)n;
	if (ring_put(PM_EV_CUPTI_NAME, &record, sizeof(record), s, (uint32_t)n))
		return 0; /* the next kernel of the name tries again */
	names[at].hash = h;
	names[at].id = ++named;
	return named;
}

static int timed(uint64_t start, uint64_t end)
{
	if (start && end >= start)
		return 1;
	ring_lost(PM_LOST_TIME, 1);
	return 0;
}

static void replay(const struct cupti_graph *g)
{
	struct pm_cupti_replay r = {
		.start = g->start,
		.end = g->end,
		.correlation = g->correlation,
		.graph = g->graph,
		.device = g->device,
		.context = g->context,
		.stream = g->stream,
	};

	if (timed(g->start, g->end))
		ring_put(PM_EV_CUPTI_REPLAY, &r, sizeof(r), NULL, 0);
}

static void copy(const struct cupti_memcpy *m)
{
	struct pm_cupti_copy r = {
		.start = m->start,
		.end = m->end,
		.node = m->node,
		.bytes = m->bytes,
		.correlation = m->correlation,
		.graph = m->graph,
		.device = m->device,
		.context = m->context,
		.stream = m->stream,
		.kind = m->copy_kind,
	};

	if (timed(m->start, m->end))
		ring_put(PM_EV_CUPTI_COPY, &r, sizeof(r), NULL, 0);
}

static void kernel(const struct cupti_kernel *k)
{
	struct pm_cupti_kernel r = {
		.start = k->start,
		.end = k->end,
		.node = k->node,
		.correlation = k->correlation,
		.graph = k->graph,
		.device = k->device,
		.context = k->context,
		.stream = k->stream,
		.registers = k->registers,
		.shared = (uint32_t)k->static_shared + (uint32_t)k->dynamic_shared,
	};

	if (!timed(k->start, k->end))
		return;
	for (int i = 0; i < 3; i++) {
		r.grid[i] = (uint32_t)k->grid[i];
		r.block[i] = (uint16_t)k->block[i];
	}
	r.name = name_of(k->name);
	ring_put(PM_EV_CUPTI_KERNEL, &r, sizeof(r), NULL, 0);
}

/* One buffer at a time: CUPTI's own thread and ours may both bring some. */
static pthread_mutex_t reading = PTHREAD_MUTEX_INITIALIZER;

void activity_completed(void *context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid)
{
	void *record = NULL;
	size_t dropped = 0;
	int result;

	(void)size;
	if (!buffer)
		return;
	pthread_mutex_lock(&reading);
	while (valid && !(result = cupti.cuptiActivityGetNextRecord(buffer, valid, &record))) {
		switch (*(const uint32_t *)record) {
		case KIND_GRAPH_TRACE:
			replay(record);
			break;
		case KIND_MEMCPY:
			copy(record);
			break;
		case KIND_CONCURRENT_KERNEL:
			kernel(record);
			break;
		}
	}
	if (valid && result != CUPTI_MAX_LIMIT_REACHED)
		ring_lost(PM_LOST_RECORD, 1);
	if (!cupti.cuptiActivityGetNumDroppedRecords(context, stream, &dropped) && dropped)
		ring_lost(PM_LOST_CUPTI, dropped);
	pthread_mutex_unlock(&reading);
	give_back(buffer);
}
