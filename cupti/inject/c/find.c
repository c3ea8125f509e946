/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the process's own libcupti: of the CUDA that it uses, not another's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "state.h"

struct cupti cupti;

static const char *const sonames[] = { "libcupti.so.13", "libcupti.so.12" };
enum { MAJORS = 2 };

/* Where it lies as seen from libcudart: wheels of CUDA 13, of CUDA 12, a toolkit. */
static const char *const places[] = {
	"",
	"../../cuda_cupti/lib/",
	"../extras/CUPTI/lib64/",
	"../../extras/CUPTI/lib64/",
};

struct cudart {
	char dir[3072]; /* ends in '/'; empty: none is mapped */
	int major; /* index in sonames; -1: not known */
};

static int is_cudart(struct dl_phdr_info *info, size_t size, void *data)
{
	struct cudart *found = data;
	const char *name = info->dlpi_name, *base = name ? strrchr(name, '/') : NULL, *version;
	size_t n;

	(void)size;
	if (!base || strncmp(base, "/libcudart", strlen("/libcudart")))
		return 0;
	n = (size_t)(base + 1 - name);
	if (n >= sizeof(found->dir))
		return 0;
	memcpy(found->dir, name, n);
	found->dir[n] = 0;
	version = strstr(base, ".so.");
	found->major = !version			      ? -1 :
		       !strncmp(version, ".so.13", 6) ? 0 :
		       !strncmp(version, ".so.12", 6) ? 1 :
							-1;
	/* torchvision and others bring copies, whose names have a hash. */
	return !strncmp(base, "/libcudart.so.", strlen("/libcudart.so."));
}

static void *open_one(const char *name, int flags)
{
	return dlopen(name, RTLD_NOW | RTLD_LOCAL | flags);
}

static void *beside(const struct cudart *c, int major)
{
	char path[4096];
	void *h;

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		int n = snprintf(path, sizeof(path), "%s%s%s", c->dir, places[i], sonames[major]);

		if (n > 0 && (size_t)n < sizeof(path) && (h = open_one(path, 0)))
			return h;
	}
	return NULL;
}

/* What is mapped already is the process's own. Else it is what lies beside the libcudart
 * that is mapped, before what the system has under the name: that may be another CUDA's. */
static void *open_any(const char *wish)
{
	struct cudart c = { .major = -1 };
	void *h;

	if (wish && *wish)
		return open_one(wish, 0);
	for (int i = 0; i < MAJORS; i++)
		if ((h = open_one(sonames[i], RTLD_NOLOAD)))
			return h;
	dl_iterate_phdr(is_cudart, &c);
	for (int i = 0; *c.dir && i < MAJORS; i++)
		if ((c.major < 0 || c.major == i) && (h = beside(&c, i)))
			return h;
	for (int i = 0; i < MAJORS; i++)
		if ((c.major < 0 || c.major == i) && (h = open_one(sonames[i], 0)))
			return h;
	return NULL;
}

const char *cupti_find(const char *wish, char *path, size_t room)
{
	void *h = open_any(wish);
	Dl_info info;

	if (!h)
		return "no libcupti.so.13 or libcupti.so.12 beside the process's libcudart or on "
		       "its library path";
#define FIND(name, parameters)                                       \
	if (!(cupti.name = (__typeof__(cupti.name))dlsym(h, #name))) \
		return "this libcupti has no " #name;
	CUPTI_FUNCTIONS(FIND)
	if (dladdr((void *)cupti.cuptiGetVersion, &info) && info.dli_fname)
		snprintf(path, room, "%s", info.dli_fname);
	return NULL;
}
