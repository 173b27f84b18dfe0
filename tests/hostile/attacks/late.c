/* late.c - answers after its budget has passed and before the watchdog comes; against a caller that takes an answer that it gave up. */
#include <time.h>

#include "attack.h"

#define LATE_NS 10000000L /* the watchdog comes 20 ms after the budget */

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The second number is the budget in microseconds. */
ATTACK
{
	int64_t until = now() + (int64_t)argument(in, in_size, 1) * 1000 + LATE_NS;
	while (now() < until)
		;
	return saw(out, 0, 4711);
}
