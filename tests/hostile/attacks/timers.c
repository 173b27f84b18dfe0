/* timers.c - signals in the worker's loop, after the call has ended; against the filter. */
#include <sys/time.h>

#include "attack.h"

static const struct itimerval soon = {.it_value = {.tv_usec = 1000}};

ATTACK_BY_CALLS({SYS_setitimer, {ITIMER_REAL, (long)&soon, 0}}, {SYS_timer_create, {1, 0, 0}},
		{SYS_clock_settime, {0, (long)&soon}}, {SYS_settimeofday, {(long)&soon, 0}},
		{SYS_adjtimex, {(long)&soon}},
#if defined(__x86_64__)
		{SYS_alarm, {1}},
#endif
)
