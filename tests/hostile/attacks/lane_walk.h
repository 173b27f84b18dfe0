/* lane_walk.h - finds the lane's rings from a pointer into the inputs, as an attacker who has read lane.h would. In a sandbox. */
#ifndef ADVERB_TESTS_HOSTILE_LANE_WALK_H
#define ADVERB_TESTS_HOSTILE_LANE_WALK_H

#include "attack.h"
#include "lane/lane.h"

struct lane_found {
	struct adv_entry *requests, *completions;
	struct adv_progress_line *progress;
	uint8_t *req, *cpl, *inputs; /* first byte of each */
	size_t inputs_size;	     /* from there to the pointer that it was found by */
};

/* Down from a mapped address to the first page of its area: the page below is not there. */
static inline uint8_t *bottom(uintptr_t address)
{
	uintptr_t page = address / ADV_PAGE * ADV_PAGE;
	while (readable(page - ADV_PAGE))
		page -= ADV_PAGE;
	return (uint8_t *)page;
}

/* Rings lie below the inputs, a guard between each. `in` must lie in the inputs: more than ADV_INLINE_MAX bytes. */
static inline void find_lane(const void *in, struct lane_found *l)
{
	l->inputs = bottom((uintptr_t)in);
	l->inputs_size = (size_t)((const uint8_t *)in - l->inputs);
	l->cpl = bottom((uintptr_t)l->inputs - ADV_PAGE - 1);
	l->req = bottom((uintptr_t)l->cpl - ADV_PAGE - 1);
	l->requests = (struct adv_entry *)(l->req + ADV_LANE_RING_OFFSET);
	l->completions = (struct adv_entry *)(l->cpl + ADV_LANE_RING_OFFSET);
	l->progress = (struct adv_progress_line *)(l->cpl + ADV_LANE_PROGRESS_OFFSET);
}

/* The request of the call that is being run: progress tells its number, and a ring of the default slots has the least entries. */
static inline const struct adv_entry *own_request(const struct lane_found *l)
{
	uint32_t seq = (uint32_t)atomic_load(&l->progress->running);
	return &l->requests[seq & (ADV_RING_LEAST - 1)];
}

#endif
