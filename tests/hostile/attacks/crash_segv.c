/* crash_segv.c - writes where nothing is, jumps where nothing is; against the process of its own that a worker is. */
#include "attack.h"

ATTACK
{
	if (argument(in, in_size, 0) == 0)
		*(volatile int *)hidden(16) = 1;
	else
		((void (*)(void))hidden(16))();
	return 0;
}
