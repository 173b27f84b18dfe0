/* memory_malloc.c - takes and fills memory by malloc() until there is none; against RLIMIT_DATA and the cgroup. Megabytes. */
#include "attack.h"

static char *volatile kept;

ATTACK
{
	long megabytes = 0;
	while ((kept = malloc(1 << 20)) != NULL) {
		memset(kept, 1, 1 << 20);
		megabytes++;
	}
	/* Form 1 goes on with what malloc() said. */
	if (argument(in, in_size, 0) == 1)
		memset(kept, 1, 1);
	return saw(out, 0, megabytes);
}
