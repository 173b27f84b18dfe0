/* crash_sys.c - a system call that no kernel has, with a handler for SIGSYS set before; against the filter, which kills and asks nobody. */
#include <signal.h>

#include "attack.h"

static void survive(int number)
{
	(void)number;
}

ATTACK
{
	signal(SIGSYS, survive);
	return saw(out, 0, outcome(syscall(100000)));
}
