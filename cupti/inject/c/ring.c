/* SPDX-License-Identifier: Apache-2.0 */
/* The writing side of the ring. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state.h"

static struct {
	struct pm_ring *header;
	uint8_t *data;
	uint64_t size;
	_Atomic uint64_t tail; /* as last read in one piece */
	_Atomic int open;
} ring;

static _Atomic uint64_t *atomic(uint64_t *p)
{
	return (_Atomic uint64_t *)p;
}

/* The blocks are taken now: a write to a mapped page for which the disk has none left
 * would end the server. */
struct pm_ring *ring_create(const char *dir, uint64_t size, uint64_t session)
{
	char path[4096];
	struct pm_ring *r;
	int fd, n;

	n = snprintf(path, sizeof(path), "%s/%d.ring", dir, (int)getpid());
	if (n < 0 || (size_t)n >= sizeof(path))
		return NULL;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return NULL;
	if (size && posix_fallocate(fd, 0, (off_t)(PM_RING_HEADER + size)))
		size = 0;
	if (!size && (ftruncate(fd, 0) || posix_fallocate(fd, 0, PM_RING_HEADER)))
		goto failed;
	r = mmap(NULL, PM_RING_HEADER + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (r == MAP_FAILED)
		goto failed;
	close(fd);
	r->version = PM_RING_VERSION;
	r->header = PM_RING_HEADER;
	r->size = size;
	r->session = session;
	r->started = r->heartbeat = monotonic();
	r->not_tail = ~0ull;
	r->pid = (uint32_t)getpid();
	ring.header = r;
	ring.data = (uint8_t *)r + PM_RING_HEADER;
	ring.size = size;
	atomic_store_explicit(atomic(&r->magic), PM_RING_MAGIC, memory_order_release);
	return r;
failed:
	unlink(path);
	close(fd);
	return NULL;
}

void ring_open(int open)
{
	atomic_store(&ring.open, open);
}

void ring_lost(enum pm_ring_loss why, uint64_t n)
{
	if (atomic_load_explicit(&ring.open, memory_order_relaxed))
		atomic_fetch_add_explicit(atomic(&ring.header->lost[why]), n, memory_order_relaxed);
}

/* How far pmtrace has read; older is safe, since it only rises. */
static uint64_t tail(void)
{
	struct pm_ring *r = ring.header;
	uint64_t t = atomic_load_explicit(atomic(&r->tail), memory_order_acquire);
	uint64_t known = atomic_load_explicit(&ring.tail, memory_order_relaxed);

	if (t != ~atomic_load_explicit(atomic(&r->not_tail), memory_order_acquire) || t <= known ||
	    t > atomic_load_explicit(atomic(&r->reserved), memory_order_relaxed))
		return known;
	/* Of two threads that bring it forward either may be last. */
	atomic_store_explicit(&ring.tail, t, memory_order_relaxed);
	return t;
}

static uint64_t copy_in(uint64_t at, const void *from, uint64_t n)
{
	uint64_t place = at & (ring.size - 1), first = ring.size - place;

	if (first > n)
		first = n;
	memcpy(ring.data + place, from, first);
	memcpy(ring.data, (const uint8_t *)from + first, n - first);
	return at + n;
}

int ring_put(int kind, void *record, uint32_t n, const void *more, uint32_t m)
{
	struct pm_ring *r = ring.header;
	struct pm_hdr *h = record;
	uint64_t need = 8 + (((uint64_t)n + m + 7) & ~7ull), at, end;

	if (!atomic_load_explicit(&ring.open, memory_order_relaxed))
		return -1;
	h->ktime = monotonic();
	h->seq = (uint32_t)atomic_fetch_add_explicit(atomic(&r->records), 1, memory_order_relaxed);
	h->kind = (uint16_t)kind;
	h->engine = 0;
	h->version = PM_WIRE_VERSION;
	at = atomic_load_explicit(atomic(&r->reserved), memory_order_relaxed);
	do {
		end = at + need;
		if (end - tail() > ring.size) {
			ring_lost(PM_LOST_FULL, 1);
			return -1;
		}
	} while (!atomic_compare_exchange_weak_explicit(
		atomic(&r->reserved), &at, end, memory_order_relaxed, memory_order_relaxed));
	copy_in(copy_in(at + 8, record, n), more, m);
	atomic_store_explicit(atomic((uint64_t *)(ring.data + (at & (ring.size - 1)))),
			      pm_ring_word(at, n + m), memory_order_release);
	return 0;
}
