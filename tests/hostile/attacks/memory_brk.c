/* memory_brk.c - takes and fills memory by brk(); against RLIMIT_DATA and the cgroup. Megabytes. */
#include <unistd.h>

#include "attack.h"

#define MIB  (1 << 20)
#define MOST 4096

ATTACK
{
	long n = 0;
	for (; n < MOST; n++) {
		void *p = sbrk(MIB);
		if (p == (void *)-1)
			break;
		memset(p, 1, MIB);
	}
	return saw(out, 0, n);
}
