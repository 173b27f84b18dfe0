/* raise_every.c - sends itself every signal, SIGKILL and SIGSTOP among them; against a worker that stops or ends unseen. */
#include <signal.h>

#include "attack.h"

ATTACK
{
	long sent = 0;
	for (int number = 1; number < 65; number++)
		/* These three are handled by the worker: they end it, and crash_*.c has them. */
		if (number != SIGSEGV && number != SIGBUS && number != SIGABRT)
			sent += syscall(SYS_kill, 1, number) == 0;
	return saw(out, 0, sent);
}
