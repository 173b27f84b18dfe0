/* write_past.c - writes one byte past its output, and one before it; against the guards around every output. */
#include "attack.h"

#define CAPACITY 65536

ATTACK
{
	if (argument(in, in_size, 0) == 0)
		*((volatile char *)out + CAPACITY) = 1;
	else
		*((volatile char *)out - 1) = 1;
	return 0;
}
