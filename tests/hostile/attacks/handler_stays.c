/* handler_stays.c - crashes into a handler of its own that never returns; against the watchdog. */
#include <signal.h>

#include "attack.h"

static void stay(int number)
{
	(void)number;
	for (uintptr_t i = 0;; i = hidden(i + 1))
		;
}

ATTACK
{
	signal(SIGSEGV, stay);
	*(volatile int *)hidden(16) = 1;
	return 0;
}
