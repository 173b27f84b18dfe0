/*
 * ring_unlock.c - makes the request ring writable: by mprotect(), by mapping it a second time, by moving it, by growing it; against the
 * read-only descriptor that it was mapped by. Errnos, the last number: whether a byte of it has changed.
 */
#include <sys/mman.h>

#include "lane_walk.h"

#define RW (PROT_READ | PROT_WRITE)

ATTACK
{
	struct lane_found l;
	uint32_t size = 0;
	find_lane(in, &l);
	uint64_t before = l.requests[0].call_id;
	size = saw(out, size, outcome(mprotect(l.req, ADV_PAGE, RW)));
	uint8_t *second = mremap(l.req, 0, ADV_PAGE, MREMAP_MAYMOVE);
	size = saw(out, size, second == MAP_FAILED ? -errno : 0);
	if (second != MAP_FAILED)
		size = saw(out, size, outcome(mprotect(second, ADV_PAGE, RW)));
	uint8_t *grown = mremap(l.req, ADV_PAGE, 4 * ADV_PAGE, MREMAP_MAYMOVE);
	if (grown == MAP_FAILED)
		return saw(out, saw(out, size, -errno), 0);
	size = saw(out, size, outcome(mprotect(grown, ADV_PAGE, RW)));
	/* Where the worker looks for it. */
	mremap(grown, 4 * ADV_PAGE, ADV_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, l.req);
	return saw(out, size, l.requests[0].call_id != before);
}
