/* constructor_bad_type.c - a record of a type that there is not; against the node's check of values. */
#include "constructor.h"

CONSTRUCTOR
{
	struct adv_sandbox_report r = {.type = UINT32_MAX, .nr_functions = UINT32_MAX};
	tell_node(&r, sizeof(r), -1);
}

ATTACK
{
	return 0;
}
