/* fake_clock.c - clock_gettime() for tests: see fake_clock.h. */
#include "fake_clock.h"

#include <stdbool.h>
#include <time.h>

#define SECOND UINT64_C(1000000000)

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);

static bool stopped;
static uint64_t now, step;
static void (*on_look)(void);

void fake_clock_stop(uint64_t now_ns, uint64_t step_ns)
{
	stopped = true;
	now = now_ns;
	step = step_ns;
}

void fake_clock_add(uint64_t ns)
{
	now += ns;
}

void fake_clock_on_look(void (*look)(void))
{
	on_look = look;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	if (!stopped)
		return __real_clock_gettime(clock, t);
	if (on_look != NULL)
		on_look();
	now += step;
	t->tv_sec = (time_t)(now / SECOND);
	t->tv_nsec = (long)(now % SECOND);
	return 0;
}
