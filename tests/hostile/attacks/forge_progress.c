/* forge_progress.c - claims calls, time and bytes without measure; against the node's books, which others are billed by. */
#include "lane_walk.h"

ATTACK
{
	struct lane_found l;
	find_lane(in, &l);
	struct adv_progress_line *p = l.progress;
	atomic_store(&p->calls, UINT64_MAX / 2);
	atomic_store(&p->failures, UINT64_MAX / 2);
	atomic_store(&p->executed_ns, UINT64_MAX / 2);
	atomic_store(&p->polled_ns, UINT64_MAX / 2);
	atomic_store(&p->in_bytes, UINT64_MAX / 2);
	atomic_store(&p->out_bytes, UINT64_MAX / 2);
	atomic_store(&p->memory_hint, UINT64_MAX);
	return saw(out, 0, 1);
}
