/* write_before.c - writes down from its input until something stops it; against the guard between inputs and rings. */
#include "attack.h"

ATTACK
{
	for (volatile char *p = in;; p--)
		*p = 0x55;
}
