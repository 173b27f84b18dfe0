/* crash_bus.c - touches its lane's memory beyond the file's end; against the process of its own that a worker is. */
#include <sys/mman.h>

#include "attack.h"

#define FAR ((size_t)1 << 30)

ATTACK
{
	char *more = mremap(out, 4096, FAR, MREMAP_MAYMOVE);
	if (more == MAP_FAILED)
		return saw(out, 0, -errno);
	*(volatile char *)(more + FAR - 1) = 1;
	return 0;
}
