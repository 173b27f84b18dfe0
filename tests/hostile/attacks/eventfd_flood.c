/* eventfd_flood.c - fills the counter that wakes its caller, and writes on; against a node or caller that blocks on it. What the last write said. */
#include "attack.h"

ATTACK
{
	uint64_t most = UINT64_MAX - 1, one = 1;
	long said = 0;
	for (int i = 0; i < 100000; i++)
		said = outcome(write(3, i == 0 ? &most : &one, sizeof(one)));
	return saw(out, 0, said);
}
