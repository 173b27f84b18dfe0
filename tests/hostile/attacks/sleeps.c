/* sleeps.c - waits for ever without using its core: a clock, a futex, a poll, a descriptor; against the watchdog. */
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <time.h>

#include "attack.h"

ATTACK
{
	const struct timespec ever = {.tv_sec = LONG_MAX / 2};
	uint32_t word = 0;
	struct pollfd log = {.fd = 2, .events = 0};
	switch (argument(in, in_size, 0)) {
	case 0:
		nanosleep(&ever, NULL);
		break;
	case 1:
		syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
		break;
	case 2:
		poll(&log, 1, -1);
		break;
	default:
		for (;;)
			sched_yield();
	}
	return saw(out, 0, 0);
}
