/* lane_scribble.c - fills all of the lane that it can write with one byte: rings, lines, inputs, outputs; against whoever believes the lane. */
#include "lane_walk.h"

ATTACK
{
	struct lane_found l;
	uint8_t byte = (uint8_t)argument(in, in_size, 1);
	uint8_t *const out_of_slot = out;
	find_lane(in, &l);
	memset(out_of_slot, byte, 65536);
	memset(l.inputs, byte, l.inputs_size + in_size);
	memset(l.cpl, byte, ADV_PAGE);
	/* Form 1 ends with it, so that nothing is published over what was written. */
	if (argument(in, in_size, 0) == 1)
		_exit(1);
	return 8;
}
