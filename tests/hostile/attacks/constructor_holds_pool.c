/* constructor_holds_pool.c - loaded ahead, it never ends; against the pool, which loads few at a time and serves all tenants. */
#include <poll.h>

#include "constructor.h"

CONSTRUCTOR
{
	if (is_loaded_ahead())
		poll(NULL, 0, -1);
}

ATTACK
{
	return saw(out, 0, 1);
}
