/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* libnccl.so.2 of the stub: each collective is one kernel. Ranks do not wait for
 * each other. */
#include <stdlib.h>

#include "gpu.h"

typedef struct comm *ncclComm_t;
typedef struct {
	char internal[128];
} ncclUniqueId;

struct comm {
	int ranks, rank;
};

API int ncclGetVersion(int *version);
int ncclGetVersion(int *version)
{
	CALLED();
	*version = 22809;
	return 0;
}

API int ncclGetUniqueId(ncclUniqueId *id);
int ncclGetUniqueId(ncclUniqueId *id)
{
	CALLED();
	*id = (ncclUniqueId){ "stub" };
	return 0;
}

API int ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank);
int ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
	(void)id;
	CALLED();
	*comm = malloc(sizeof(**comm));
	if (!*comm)
		return 2; /* ncclSystemError */
	**comm = (struct comm){ ranks, rank };
	return 0;
}

API int ncclCommDestroy(ncclComm_t comm);
int ncclCommDestroy(ncclComm_t comm)
{
	CALLED();
	free(comm);
	return 0;
}

API int ncclGroupStart(void);
int ncclGroupStart(void)
{
	CALLED();
	return 0;
}

API int ncclGroupEnd(void);
int ncclGroupEnd(void)
{
	CALLED();
	return 0;
}

static int run(const char *name, size_t count, int type, ncclComm_t comm, CUstream stream)
{
	if (!comm)
		return 4; /* ncclInvalidArgument */
	stub_collective(name, count, type, stream);
	return 0;
}

API int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, ncclComm_t comm,
		      CUstream stream);
int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, ncclComm_t comm,
		  CUstream stream)
{
	(void)from, (void)to, (void)op;
	CALLED();
	return run("all_reduce", count, type, comm, stream);
}

API int ncclAllGather(const void *from, void *to, size_t count, int type, ncclComm_t comm,
		      CUstream stream);
int ncclAllGather(const void *from, void *to, size_t count, int type, ncclComm_t comm,
		  CUstream stream)
{
	(void)from, (void)to;
	CALLED();
	return run("all_gather", count, type, comm, stream);
}

API int ncclReduceScatter(const void *from, void *to, size_t count, int type, int op,
			  ncclComm_t comm, CUstream stream);
int ncclReduceScatter(const void *from, void *to, size_t count, int type, int op, ncclComm_t comm,
		      CUstream stream)
{
	(void)from, (void)to, (void)op;
	CALLED();
	return run("reduce_scatter", count, type, comm, stream);
}

API int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, ncclComm_t comm,
		      CUstream stream);
int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, ncclComm_t comm,
		  CUstream stream)
{
	(void)from, (void)to, (void)root;
	CALLED();
	return run("broadcast", count, type, comm, stream);
}

API int ncclReduce(const void *from, void *to, size_t count, int type, int op, int root,
		   ncclComm_t comm, CUstream stream);
int ncclReduce(const void *from, void *to, size_t count, int type, int op, int root,
	       ncclComm_t comm, CUstream stream)
{
	(void)from, (void)to, (void)op, (void)root;
	CALLED();
	return run("reduce", count, type, comm, stream);
}

API int ncclSend(const void *from, size_t count, int type, int peer, ncclComm_t comm,
		 CUstream stream);
int ncclSend(const void *from, size_t count, int type, int peer, ncclComm_t comm, CUstream stream)
{
	(void)from, (void)peer;
	CALLED();
	return run("send", count, type, comm, stream);
}

API int ncclRecv(void *to, size_t count, int type, int peer, ncclComm_t comm, CUstream stream);
int ncclRecv(void *to, size_t count, int type, int peer, ncclComm_t comm, CUstream stream)
{
	(void)to, (void)peer;
	CALLED();
	return run("recv", count, type, comm, stream);
}
