/* loops_deaf.c - never returns, blocks every signal and has a handler for each; against the watchdog, which does not ask. */
#include <signal.h>

#include "attack.h"

static void ignore(int number)
{
	(void)number;
}

ATTACK
{
	sigset_t all;
	for (int number = 1; number < NSIG; number++)
		signal(number, ignore);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (uintptr_t i = 0;; i = hidden(i + 1))
		;
}
