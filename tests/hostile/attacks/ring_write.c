/* ring_write.c - writes into the request ring, which is its caller's; against the read-only mapping. */
#include "lane_walk.h"

ATTACK
{
	struct lane_found l;
	find_lane(in, &l);
	l.requests[0].call_id = 1;
	return 0;
}
