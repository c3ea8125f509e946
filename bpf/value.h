/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Arguments of a Python function, as it is entered: numbers and lengths, along paths
 * of attributes. Where the instances of a type keep an attribute is found by its name
 * at the first call with one, and remembered. Of a str nothing but its length is read,
 * attributes' own names apart.
 */
#ifndef PMTRACE_VALUE_H
#define PMTRACE_VALUE_H

#include "hook.h"

#define PM_MAX_SEARCHED PM_MAX_TURNS /* entries of a dict */
#define PM_MAX_BASES 16
#define PM_MAX_CHAIN 8 /* base classes, to a type that has a length */

#define TYPE_LONG (1ull << 24)
#define TYPE_SIZED (1ull << 25 | 1ull << 26 | 1ull << 27 | 1ull << 28) /* list tuple bytes str */
#define TYPE_DICT (1ull << 29)

#define MEMBER_OBJECT 6
#define MEMBER_OBJECT_EX 16

/* What the body of a loop is given. */
struct of_hook {
	__u32 index;
	__u32 spare;
	__u64 frame;
};

/* One entry of the table that is searched. */
LOOP_BODY(search_one, struct of_hook)(__u32 i, struct of_hook *of)
{
	struct pm_hook_state *s = hook_state(of->index);
	struct pm_hook *h = hook(of->index);
	const struct pm_hook_step *want;
	__u64 entry[3] = {}, bytes;

	if (!s || !h || i >= s->count)
		return 1;
	want = &h->arg[s->arg & (PM_HOOK_VALUES - 1)].step[s->step & (PM_HOOK_STEPS - 1)];
	if (s->size == 24) {
		if (read_mem(entry, 24, s->entries + 24ull * i))
			return 1;
	} else {
		if (read_mem(&entry[1], 16, s->entries + 16ull * i))
			return 1;
	}
	if (!entry[1] || read_ptr(entry[1] + h->py.str_length, &bytes) || bytes != want->bytes ||
	    bytes > PM_HOOK_NAME)
		return 0;
	for (int w = 0; w < PM_HOOK_NAME / 8; w++)
		s->room[w] = 0;
	if (read_mem(s->room, bytes, entry[1] + h->py.str_data_ascii))
		return 0;
	for (int w = 0; w < PM_HOOK_NAME / 8; w++) {
		if (s->room[w] != want->name[w])
			return 0;
	}
	s->found = i;
	s->key = entry[1];
	s->value = entry[2];
	return 1;
}

/* Looks for a name in a table of keys. */
static __always_inline int search(struct of_hook *of, const struct pm_hook *h,
				  struct pm_hook_state *s, __u64 keys)
{
	struct keys k = {};

	s->found = PM_UNKNOWN;
	if (read_keys(&h->py, keys, &k))
		return -1;
	s->entries = k.entries;
	s->count = k.count;
	s->size = k.size;
	repeat(PM_MAX_SEARCHED, search_one, of);
	return s->found == PM_UNKNOWN ? -1 : 0;
}

/* Looks for the descriptor of a slot in the classes of an object's type. */
static __always_inline int search_slots(struct of_hook *of, const struct pm_hook *h,
					struct pm_hook_state *s, __u64 type)
{
	__u64 mro, base, at;
	__u32 n;

	if (read_ptr(type + h->type_mro, &mro))
		return -1;
	n = read_len(mro, OB_SIZE);
	for (__u32 i = 0; i < PM_MAX_BASES; i++) {
		if (i >= n)
			break;
		if (read_ptr(mro + h->py.tuple_items + 8ull * i, &base) ||
		    read_ptr(base + h->type_dict, &at))
			return -1;
		if (!at || read_ptr(at + DICT_KEYS, &at))
			continue;
		if (!search(of, h, s, at))
			return 0;
	}
	return -1;
}

/*
 * Finds where an object keeps the attribute arg.step, and remembers it for its type.
 * A global function: the verifier looks at it once.
 */
__noinline int find_attribute(__u32 index, __u32 arg, __u32 step, __u64 object)
{
	struct of_hook of = { .index = index };
	struct pm_hook_state *s = hook_state(index);
	struct pm_hook *h = hook(index);
	__u64 type, flags, values = 0, dict = 0, at, offset;
	struct pm_hook_known *known;
	__u32 kind;

	if (!s || !h || read_ptr(object + OB_TYPE, &type))
		return -1;
	arg &= PM_HOOK_VALUES - 1;
	step &= PM_HOOK_STEPS - 1;
	s->arg = arg;
	s->step = step;
	known = &s->known[arg][step][(type >> 5) & (PM_HOOK_KNOWN - 1)];
	known->type = type;
	known->attr.storage = PM_STORED_NOT;
	if (read_ptr(type + h->type_flags, &flags))
		return -1;
	if ((flags & h->managed || h->py.values == PM_VALUES_DICT) &&
	    !instance(&h->py, object, &values, &dict)) {
		if (!instance_keys(&h->py, object, values, dict, &at) && !search(&of, h, s, at))
			known->attr.storage = values ? PM_STORED_INLINE : PM_STORED_DICT;
		if (values && s->found >= PM_MAX_VALUES && h->py.values != PM_VALUES_DICT)
			known->attr.storage = PM_STORED_NOT;
		if (known->attr.storage != PM_STORED_NOT) {
			known->attr.key = s->key;
			known->attr.at = s->found;
			return 0;
		}
	}
	if (search_slots(&of, h, s, type))
		return -1;
	if (read_ptr(s->value + OB_TYPE, &at) || at != h->type_member)
		return -1;
	if (read_ptr(s->value + h->member_def, &at) || read_mem(&kind, 4, at + h->def_type) ||
	    read_ptr(at + h->def_offset, &offset))
		return -1;
	if ((kind != MEMBER_OBJECT && kind != MEMBER_OBJECT_EX) || offset > 4096)
		return -1;
	known->attr.storage = PM_STORED_SLOT;
	known->attr.key = s->key;
	known->attr.at = (__u32)offset;
	return 0;
}

/* An attribute of an object; 0: it has none of that name. */
static __always_inline __u64 attribute(__u32 index, const struct pm_hook *h,
				       struct pm_hook_state *s, __u32 arg, __u32 step, __u64 object)
{
	struct pm_hook_known *known;
	__u64 type, v;

	if (!object || object == h->none || read_ptr(object + OB_TYPE, &type))
		return 0;
	known = &s->known[arg & (PM_HOOK_VALUES - 1)][step & (PM_HOOK_STEPS - 1)]
			 [(type >> 5) & (PM_HOOK_KNOWN - 1)];
	if (known->type == type) {
		v = attr_value(&h->py, object, &known->attr);
		if (v)
			return v;
		/* It may have been set since, or lie elsewhere in this very object. */
		if (known->attr.storage == PM_STORED_NOT && s->calls & 63)
			return 0;
	}
	if (find_attribute(index, arg, step, object))
		return 0;
	return attr_value(&h->py, object, &known->attr);
}

/* A number that fits into 63 bits and a sign. */
static __always_inline __u8 read_int(const struct pm_hook *h, __u64 object, __u64 *value)
{
	struct {
		__u64 tag;
		__u32 digit[4];
	} v = {};
	__u64 digits, negative, n;

	if (read_mem(&v, 12, object + OB_SIZE))
		return PM_VALUE_NOT;
	if (h->py.long_tagged) {
		negative = (v.tag & 3) == 2;
		digits = v.tag >> 3;
	} else {
		negative = v.tag >> 63;
		digits = negative ? -v.tag : v.tag;
	}
	if (digits > 3)
		return PM_VALUE_BIG;
	if (digits > 1 && read_mem(&v.digit[1], 4, object + OB_SIZE + 12))
		return PM_VALUE_NOT;
	if (digits > 2 && read_mem(&v.digit[2], 4, object + OB_SIZE + 16))
		return PM_VALUE_NOT;
	if (v.digit[2] > 7)
		return PM_VALUE_BIG;
	n = digits ? v.digit[0] : 0;
	n |= (__u64)v.digit[1] << 30 | (__u64)v.digit[2] << 60;
	*value = negative ? -n : n;
	return PM_VALUE_INT;
}

static __always_inline __u8 length(__u64 object, __u32 at, __u64 *value)
{
	__u32 n = read_len(object, at);

	*value = n;
	return n == PM_UNKNOWN ? PM_VALUE_NOT : PM_VALUE_LENGTH;
}

/* What an object is worth, and what that is. */
static __always_inline __u8 evaluate(const struct pm_hook *h, __u64 object, __u64 *value)
{
	__u64 type, flags, t;

	*value = 0;
	if (object == h->none)
		return PM_VALUE_NONE;
	if (!object || read_ptr(object + OB_TYPE, &type) || read_ptr(type + h->type_flags, &flags))
		return PM_VALUE_NOT;
	if (flags & TYPE_LONG) {
		__u8 kind = read_int(h, object, value);

		return kind == PM_VALUE_INT && type == h->type_bool ? PM_VALUE_BOOL : kind;
	}
	if (flags & TYPE_SIZED)
		return length(object, OB_SIZE, value);
	if (flags & TYPE_DICT)
		return length(object, DICT_USED, value);
	t = type;
	for (int i = 0; i < PM_MAX_CHAIN; i++) {
		if (t == h->type_float)
			return read_ptr(object + h->py.float_value, value) ? PM_VALUE_NOT :
									     PM_VALUE_FLOAT;
		if (t == h->type_set || t == h->type_frozenset)
			return length(object, h->py.set_used, value);
		if (t == h->type_deque || t == h->type_bytearray)
			return length(object, OB_SIZE, value);
		if (read_ptr(t + h->type_base, &t) || !t)
			break;
	}
	return PM_VALUE_OTHER;
}

/* One argument, into the call behind the open ones. */
LOOP_BODY(argument_one, struct of_hook)(__u32 i, struct of_hook *of)
{
	struct pm_hook_state *s = hook_state(of->index);
	struct pm_hook *h = hook(of->index);
	const struct pm_hook_arg *a;
	struct pm_hook_open *o;
	__u64 object = 0;
	__u8 kind;

	if (!s || !h || i >= PM_HOOK_VALUES || i >= h->args)
		return 1;
	o = &s->open[s->depth & (PM_HOOK_DEPTH - 1)];
	a = &h->arg[i & (PM_HOOK_VALUES - 1)];
	o->kinds[i] = PM_VALUE_NOT;
	o->value[i] = 0;
	if (read_ptr(of->frame + h->py.frame_locals + 8ull * (a->local & 0x7fff), &object)) {
		hook_lost(s, PM_LOST_FAULT);
		return 0;
	}
	object &= h->py.ref_mask;
	if (a->local & PM_LOCAL_CELL && (!object || read_ptr(object + h->py.cell_ref, &object)))
		object = 0;
	for (__u32 j = 0; j < PM_HOOK_STEPS; j++) {
		if (j < a->steps)
			object = attribute(of->index, h, s, i, j, object);
	}
	kind = evaluate(h, object, &o->value[i]);
	if (a->length && kind != PM_VALUE_LENGTH && kind != PM_VALUE_NONE && kind != PM_VALUE_NOT)
		kind = PM_VALUE_OTHER;
	o->kinds[i] = kind;
	if (kind == PM_VALUE_NOT || kind == PM_VALUE_OTHER)
		hook_lost(s, PM_LOST_LAYOUT);
	return 0;
}

#endif
