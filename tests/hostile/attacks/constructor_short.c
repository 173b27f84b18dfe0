/* constructor_short.c - records of one byte; against the node's check of sizes. */
#include "constructor.h"

CONSTRUCTOR
{
	tell_node("x", 1, -1);
}

ATTACK
{
	return 0;
}
