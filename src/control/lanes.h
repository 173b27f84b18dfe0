/*
 * lanes.h - the shared memory of a lease's lanes, made ahead of time for the shapes that were leased lately.
 * Control thread only. Making it takes a dozen system calls and the kernel's zeroing; a lease of a known shape waits for none.
 * What is made ahead was never anyone's: memory of a lease that is over is never used again.
 */
#ifndef ADVERB_CONTROL_LANES_H
#define ADVERB_CONTROL_LANES_H

#include "allocator/arena.h"
#include "control/loop.h"
#include "lane/lane.h"

/* Owned by a lease: three memfds, formatted, and its eventfd. */
struct adv_lane_memory {
	struct adv_shared shared[ADV_LANE_FILES];
	int event_fd; /* EFD_NONBLOCK; -1: this holds nothing */
};

struct adv_lanes;

/* 0 or -ENOMEM. */
int adv_lanes_create(struct adv_loop *loop, struct adv_lanes **lanes);
void adv_lanes_destroy(struct adv_lanes *lanes);

/*
 * Memory of that shape, and soon another one for whoever comes next. `numa_node` is that of the first worker, -1 where there is one only.
 * 0 or -errno; then nothing is held.
 */
int adv_lanes_take(struct adv_lanes *lanes, const struct adv_geometry *geometry, int numa_node,
		   struct adv_lane_memory *memory);

/* Closes and unmaps everything. May be called on what holds nothing. */
void adv_lane_memory_release(struct adv_lane_memory *memory);

#endif
