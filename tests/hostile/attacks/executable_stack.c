/* executable_stack.c - a module that asks its loader for an executable stack; against the filter, at deploy. Linked with -z execstack. */
#include "attack.h"

ATTACK
{
	return 0;
}
