/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Attributes of objects that no one resolved beforehand, found by the addresses of
 * their names; and where a class keeps them, learned from its first instance.
 */
#ifndef PMTRACE_ATTRIBUTES_H
#define PMTRACE_ATTRIBUTES_H

#include "work.h"

static __always_inline void copy_keys(struct scratch *s, const __u64 *keys)
{
	for (int j = 0; j < PM_MAX_KEYS; j++)
		s->want[j] = keys[j] ? keys[j] : ~0ull;
}

static __always_inline long find_failed(struct scratch *s)
{
	s->find.count = 0;
	return 1;
}

LOOP_BODY(find_one, struct turns)(__u32 i, struct turns *unused)
{
	struct scratch *s = scratch();
	__u64 key, value;
	__u32 at, left;

	if (!s || i >= s->find.count)
		return 1;
	at = i & (PM_BATCH - 1);
	if (at == 0) {
		left = s->find.count - i;
		if (left > PM_BATCH)
			left = PM_BATCH;
		if (s->find.size == 24) {
			if (read_mem(s->entries, left * 24, s->find.entries + 24ull * i))
				return find_failed(s);
		} else if (read_mem(s->entries, left * 16, s->find.entries + 16ull * i)) {
			return find_failed(s);
		}
	}
	if (s->find.size == 24) {
		key = s->entries[at * 3 + 1];
		value = s->entries[at * 3 + 2];
	} else {
		key = s->entries[at * 2];
		value = s->entries[at * 2 + 1];
	}
	if (!key)
		return 0;
	for (int j = 0; j < PM_MAX_KEYS; j++) {
		if (s->want[j] == key) {
			s->found[j] = value;
			s->found_at[j] = i;
		}
	}
	return 0;
}

/*
 * Looks for the wanted names among the attributes of an instance: found[] gets
 * the values and found_at[] where they are stored. The slow way, for objects
 * that are seen once or for the first time. Returns 1 for inline values, 0 for a
 * dict, -1 where the names could not be read.
 */
__noinline int find_values(struct self *self, __u64 object)
{
	struct scratch *s = scratch();
	struct turns ctx = {};
	__u64 values, dict, at;
	struct pm_engine *e;
	__u32 most, n;

	if (!self)
		return -1;
	e = engine(self->engine);
	if (!e || !s)
		return -1;
	for (int j = 0; j < PM_MAX_KEYS; j++) {
		s->found[j] = 0;
		s->found_at[j] = PM_UNKNOWN;
	}
	if (!object || instance(&e->py, object, &values, &dict))
		return -1;
	if (instance_keys(&e->py, object, values, dict, &at) || read_keys(&e->py, at, &s->find) ||
	    s->find.count > PM_MAX_ENTRIES)
		return -1;
	n = s->find.count;
	most = e->py.values == PM_VALUES_DICT ? PM_MAX_ENTRIES : PM_MAX_VALUES;
	repeat(PM_MAX_ENTRIES, find_one, &ctx);
	if (n && !s->find.count)
		return -1;
	if (values) {
		for (int j = 0; j < PM_MAX_KEYS; j++) {
			if (s->found_at[j] < most &&
			    read_ptr(values + 8ull * s->found_at[j], &s->found[j]))
				s->found[j] = 0;
		}
	}
	return values ? 1 : 0;
}

/* Numbers of the inline values of a class's instances, remembered. Where instances have
 * dicts (3.10), one may have another order than the next: then the numbers are those of
 * the names, which are looked up in each. */
static __always_inline int learn(struct self *self, __u64 object, const __u64 *keys, __u8 *at,
				 __u32 *known)
{
	struct pm_engine *e = engine(self->engine);
	struct scratch *s = scratch();

	if (*known)
		return 0;
	if (!s || !e)
		return -1;
	if (e->py.values == PM_VALUES_DICT) {
		for (int j = 0; j < PM_MAX_KEYS; j++)
			at[j] = j;
		*known = PM_MAX_KEYS;
		return 0;
	}
	copy_keys(s, keys);
	if (find_values(self, object) != 1) {
		lose(self->engine, self->probe, PM_LOST_LAYOUT);
		return -1;
	}
	for (int j = 0; j < PM_MAX_KEYS; j++)
		at[j] = s->found_at[j] < PM_MAX_VALUES ? s->found_at[j] : 255;
	*known = s->find.count;
	return 0;
}

/* All n inline values of an instance at once, and not a byte more: the next
 * page may never have been touched. */
static __always_inline int read_values(struct pm_engine *e, struct self *self, __u64 object,
				       const __u64 *keys, __u64 *to, __u32 n)
{
	struct scratch *s = scratch();
	__u64 values, dict;

	if (s && e->py.values == PM_VALUES_DICT) {
		copy_keys(s, keys);
		if (find_values(self, object) < 0)
			return -1;
		for (int j = 0; j < PM_MAX_KEYS; j++)
			to[j] = s->found[j];
		return 0;
	}
	if (!object || instance(&e->py, object, &values, &dict) || !values)
		return -1;
	if (n > PM_MAX_VALUES)
		n = PM_MAX_VALUES;
	return read_mem(to, n * 8, values);
}

static __always_inline __u64 value(const __u64 *values, const __u8 *at, int which)
{
	__u32 i = at[which];

	return i < PM_MAX_VALUES ? values[i] : 0;
}

#endif
