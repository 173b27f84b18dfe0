/* fakes_end.c - exits with the statuses by which a worker names its own end; it may lie about its own call, and about no other. */
#include "attack.h"
#include "sandbox/proto.h"

ATTACK
{
	static const int statuses[] = {ADV_EXIT_ABORTED, ADV_EXIT_OUT_OF_MEMORY,
				       ADV_EXIT_CONFINEMENT, ADV_EXIT_LANE};
	_exit(statuses[argument(in, in_size, 0) & 3]);
}
