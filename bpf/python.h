/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading the objects of a CPython process from BPF. Every pointer may be
 * stale and every length a lie: reads fail, loops are bounded, and a reader
 * says so by its return value. Field offsets that no supported version has
 * ever changed are written out here; all others come from struct pm_python.
 */
#ifndef PMTRACE_PYTHON_H
#define PMTRACE_PYTHON_H

#define OB_TYPE 8
#define OB_SIZE 16 /* PyVarObject */
#define DICT_USED 16
#define DICT_KEYS 32
#define DICT_VALUES 40
#define KEYS_HEAD 8 /* byte 1: log 2 of the index's bytes; 2: kind; then usable; entries */
#define KEYS_INDICES 32
#define KEYS_GENERAL 0 /* DictKeysKind: entries of hash, key, value */
#define BYTES_DATA 32

/* struct _dictkeysobject of 3.10, whose entries are all of hash, key, value. */
#define KEYS_310_SIZE 8
#define KEYS_310_ENTRIES 32
#define KEYS_310_INDICES 40

#define PM_MAX_LOCALS 128
#define PM_MAX_VALUES 40 /* SHARED_KEYS_MAX_SIZE is 30 */
#define PM_MAX_ENTRIES 128 /* searched of a class's or an instance's keys */
#define PM_BATCH 32 /* pointers read at once */

/* n, but max at most, and so that a verifier of before Linux 5.17 sees it: the compiler
 * neither drops the comparison nor does it in another register. */
static __always_inline __u64 at_most(__u64 n, __u64 max)
{
	asm volatile("" : "+r"(n));
	if (n > max)
		n = max;
	asm volatile("" : "+r"(n));
	return n;
}

static __always_inline int read_mem(void *to, __u32 size, __u64 from)
{
	return bpf_probe_read_user(to, size, (const void *)from);
}

static __always_inline int read_ptr(__u64 from, __u64 *to)
{
	return bpf_probe_read_user(to, sizeof(*to), (const void *)from);
}

/* len() of a list, tuple or deque: a ssize_t, as u32; PM_UNKNOWN on failure. */
static __always_inline __u32 read_len(__u64 object, __u32 at)
{
	__u64 n;

	if (!object || read_ptr(object + at, &n) || n > 0x7fffffff)
		return PM_UNKNOWN;
	return (__u32)n;
}

/*
 * A non-negative int below 2^32; PM_UNKNOWN for any other. tagged: the int has
 * a tag with its length (3.12 and later). A global function: the verifier looks
 * at it once.
 */
__noinline __u32 long_value(__u64 object, __u32 tagged)
{
	__u64 v[2], digits; /* there is room for two digits of 30 bits, whatever it has */

	if (!object || read_mem(v, sizeof(v), object + OB_SIZE))
		return PM_UNKNOWN;
	digits = v[0];
	if (tagged) {
		if ((digits & 3) == 2)
			return PM_UNKNOWN;
		digits >>= 3;
	}
	if (digits == 0)
		return 0;
	if (digits == 1)
		return (__u32)v[1];
	if (digits != 2 || v[1] >> 32 > 3)
		return PM_UNKNOWN;
	return (__u32)v[1] | (__u32)(v[1] >> 32) << 30;
}

static __always_inline __u32 read_long(const struct pm_python *py, __u64 object)
{
	return long_value(object, py->long_tagged);
}

/* The frame that a thread runs now, by its PyThreadState. */
static __always_inline __u64 thread_frame(const struct pm_python *py, __u64 state)
{
	__u64 at = state, frame = 0;

	if (py->cframe && read_ptr(at + py->cframe, &at))
		return 0;
	if (read_ptr(at + py->current_frame, &frame))
		return 0;
	return frame;
}

static __always_inline __u64 code_of(const struct pm_python *py, __u64 frame)
{
	__u64 code = 0;

	if (!frame || read_ptr(frame + py->frame_code, &code))
		return 0;
	return code & py->ref_mask;
}

/* Where the thread is in the code that a frame runs: the address of an instruction. */
static __always_inline int frame_at(const struct pm_python *py, __u64 frame, __u64 code, __u64 *at)
{
	__s32 index;

	if (!py->code_bytes)
		return read_ptr(frame + py->frame_instr, at);
	if (read_mem(&index, 4, frame + py->frame_instr) || read_ptr(code + py->code_bytes, at))
		return -1;
	*at += BYTES_DATA + 2 * (__s64)index;
	return 0;
}

static __always_inline __u64 current_frame(const struct pm_engine *e)
{
	return thread_frame(&e->py, e->thread_state);
}

/*
 * Where an instance keeps its attributes: *values is the first of its inline
 * values, or else *dict its own dict.
 */
static __noinline int instance(const struct pm_python *py, __u64 object, __u64 *values, __u64 *dict)
{
	__u64 type, size = 0, word[2];

	*values = 0;
	*dict = 0;
	if (py->values == PM_VALUES_POINTER) {
		if (read_mem(word, 16, object - 32))
			return -1;
		if (word[0])
			*values = word[0] + py->values_first;
		*dict = word[1];
	} else if (py->values == PM_VALUES_TAGGED) {
		if (read_ptr(object - 24, &word[0]))
			return -1;
		if (word[0] & 1)
			*values = word[0] + 1 + py->values_first;
		else
			*dict = word[0];
	} else if (py->values == PM_VALUES_DICT) {
		if (read_ptr(object + OB_TYPE, &type) ||
		    read_ptr(type + py->type_dictoffset, &size) || !size || size > 4096 ||
		    read_ptr(object + size, dict))
			return -1;
	} else {
		if (read_ptr(object - 24, dict))
			return -1;
		if (read_ptr(object + OB_TYPE, &type) || read_ptr(type + py->type_basicsize, &size))
			return -1;
		if (size > 4096 || read_ptr(object + size, &word[0]))
			return -1;
		/* Byte 3: the values are valid, whether there is a dict or not. */
		if ((word[0] >> 24 & 0xff) == 1)
			*values = object + size + py->values_first;
	}
	if (!*values && *dict && !read_ptr(*dict + DICT_VALUES, &word[0]) && word[0])
		*values = word[0] + py->values_first; /* a dict that shares its class's keys */
	return *values || *dict ? 0 : -1;
}

/* The table of a dict's (or a class's) keys. */
struct keys {
	__u64 entries;
	__u32 count;
	__u32 size; /* of an entry: 16, or 24 with the hash first */
};

static __noinline int read_keys(const struct pm_python *py, __u64 at, struct keys *k)
{
	__u64 head[3], index = 0; /* bytes of the table before the entries, log 2 */

	if (!at)
		return -1;
	if (py->values == PM_VALUES_DICT) {
		if (read_ptr(at + KEYS_310_SIZE, &head[0]) ||
		    read_ptr(at + KEYS_310_ENTRIES, &head[2]) || head[0] > 1ull << 32)
			return -1;
		if (head[0] > 0xff)
			index = head[0] > 0xffff ? head[0] > 0xffffffff ? 3 : 2 : 1;
		k->size = 24;
		k->entries = at + KEYS_310_INDICES + (head[0] << index);
	} else {
		if (read_mem(head, sizeof(head), at + KEYS_HEAD))
			return -1;
		index = head[0] >> 8 & 0xff;
		if (index > 40)
			return -1;
		k->size = (head[0] >> 16 & 0xff) == KEYS_GENERAL ? 24 : 16;
		k->entries = at + KEYS_INDICES + (1ull << index);
	}
	if (head[2] > 0x7fffffff)
		return -1;
	k->count = (__u32)head[2];
	return 0;
}

/* The keys of an instance's attributes: its class's, or those of its dict. */
static __always_inline int instance_keys(const struct pm_python *py, __u64 object, __u64 values,
					 __u64 dict, __u64 *keys)
{
	__u64 type;

	if (!values || py->values == PM_VALUES_DICT)
		return read_ptr(dict + DICT_KEYS, keys);
	return read_ptr(object + OB_TYPE, &type) || read_ptr(type + py->type_cached_keys, keys) ?
		       -1 :
		       0;
}

/* Where an object keeps its attributes. */
struct holder {
	__u64 object;
	__u64 values; /* 0: not apart from a dict */
	__u64 entries; /* of its dict's keys; 0: none */
	__u64 size; /* of an entry */
};

static __always_inline void open_holder(const struct pm_python *py, struct holder *h, __u64 object)
{
	struct keys k = {};
	__u64 dict, at;

	*h = (struct holder){ .object = object };
	if (!object || instance(py, object, &h->values, &dict))
		return;
	if (dict && !read_ptr(dict + DICT_KEYS, &at) && !read_keys(py, at, &k)) {
		h->entries = k.entries;
		h->size = k.size;
	}
}

/* One attribute of an object whose storage is known. */
static __always_inline __u64 held_value(const struct pm_python *py, const struct holder *h,
					const struct pm_attr *a)
{
	__u64 at, entry[2];

	if (!h->object || a->storage == PM_STORED_NOT)
		return 0;
	if (a->storage == PM_STORED_SLOT)
		return read_ptr(h->object + a->at, &at) ? 0 : at;
	if (a->storage == PM_STORED_INLINE && h->values && py->values != PM_VALUES_DICT)
		return read_ptr(h->values + 8ull * a->at, &at) ? 0 : at;
	if (!h->entries)
		return 0;
	at = h->entries + h->size * a->at + (h->size == 24 ? 8 : 0);
	if (read_mem(entry, 16, at) || entry[0] != a->key)
		return 0;
	/* 3.10: not all instances need have their class's keys in the same order. */
	if (h->values && py->values == PM_VALUES_DICT)
		return read_ptr(h->values + 8ull * a->at, &at) ? 0 : at;
	return entry[1];
}

static __always_inline __u64 attr_value(const struct pm_python *py, __u64 object,
					const struct pm_attr *a)
{
	struct holder h = { .object = object };

	if (a->storage == PM_STORED_DICT || a->storage == PM_STORED_INLINE)
		open_holder(py, &h, object);
	return held_value(py, &h, a);
}

static __always_inline __u64 read_attr(const struct pm_engine *e, __u64 object,
				       const struct pm_attr *a)
{
	return attr_value(&e->py, object, a);
}

#endif
