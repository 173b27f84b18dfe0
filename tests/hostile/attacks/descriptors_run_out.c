/* descriptors_run_out.c - takes every descriptor number there is; against RLIMIT_NOFILE. How many it has then, and why no more. */
#include "attack.h"

ATTACK
{
	long n = 0;
	while (dup(0) >= 0)
		n++;
	return saw(out, saw(out, 0, n), -errno);
}
