/* loops.c - never returns; against the watchdog. */
#include "attack.h"

ATTACK
{
	for (uintptr_t i = 0;; i = hidden(i + 1))
		;
}
