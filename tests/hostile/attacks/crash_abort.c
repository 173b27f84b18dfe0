/* crash_abort.c - abort(), also with SIGABRT ignored; pid 1 of a namespace cannot die of its own signal, and must end all the same. */
#include <signal.h>

#include "attack.h"

ATTACK
{
	if (argument(in, in_size, 0) == 1)
		signal(SIGABRT, SIG_IGN);
	abort();
}
