#include <stdatomic.h>

static atomic_ulong frobs;

/* A function of its own: no probe goes on a locked instruction. */
__attribute__((noinline)) static void one_more(void)
{
	atomic_fetch_add(&frobs, 1);
}

/* Counts its calls, and gives twice the first argument. */
__attribute__((noinline)) long frob(long a, unsigned b, void *c, int d)
{
	(void)b, (void)c, (void)d;
	one_more();
	return 2 * a;
}

unsigned long frobs_until_now(void)
{
	return atomic_load(&frobs);
}
