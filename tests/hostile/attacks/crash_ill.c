/* crash_ill.c - runs an instruction that there is not; against the process of its own that a worker is. */
#include "attack.h"

ATTACK
{
	__builtin_trap();
}
