/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ids of processes and threads, as user space has them.
 */
#ifndef PMTRACE_IDS_H
#define PMTRACE_IDS_H

#include "kernel.h"

/* The PID namespace of user space, of which all ids are; inode 0: the first one. */
const volatile __u64 namespace_device;
const volatile __u64 namespace_inode;

/* Process and thread, as bpf_get_current_pid_tgid has them; 0: of another namespace. */
static __always_inline __u64 current_ids(void)
{
	struct {
		__u32 thread, process;
	} ids;

	if (!namespace_inode)
		return bpf_get_current_pid_tgid();
	if (bpf_get_ns_current_pid_tgid(namespace_device, namespace_inode, &ids, sizeof(ids)))
		return 0;
	return (__u64)ids.process << 32 | ids.thread;
}

#endif
