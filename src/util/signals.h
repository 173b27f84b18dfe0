/* signals.h - a new process forgets what its parent did with signals. One thread. */
#ifndef ADVERB_UTIL_SIGNALS_H
#define ADVERB_UTIL_SIGNALS_H

#include <signal.h>

/* Every signal has its default action, and none is blocked. */
static inline void adv_signals_reset(void)
{
	const struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;
	for (int number = 1; number < NSIG; number++)
		sigaction(number, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

#endif
