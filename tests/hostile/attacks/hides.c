/* hides.c - says that it runs nothing, and loops; against the watchdog, which must not believe it. */
#include "lane_walk.h"

ATTACK
{
	struct lane_found l;
	find_lane(in, &l);
	for (;;)
		atomic_store(&l.progress->running, argument(in, in_size, 0) == 0 ? 0 : UINT64_MAX);
}
