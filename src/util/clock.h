/* clock.h - the two clocks of Adverb, in nanoseconds. Any thread. */
#ifndef ADVERB_UTIL_CLOCK_H
#define ADVERB_UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t adv_clock_read_(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* For waits and budgets. */
static inline uint64_t adv_clock_monotonic_ns(void)
{
	return adv_clock_read_(CLOCK_MONOTONIC);
}

/* Wall clock, since 1970: to be shown, never to count with. */
static inline uint64_t adv_clock_realtime_ns(void)
{
	return adv_clock_read_(CLOCK_REALTIME);
}

/* Since 1970, in milliseconds: for what people and databases read. */
static inline int64_t adv_clock_realtime_ms(void)
{
	return (int64_t)(adv_clock_realtime_ns() / 1000000);
}

/* For leases: goes on while the machine sleeps. */
static inline uint64_t adv_clock_boottime_ns(void)
{
	return adv_clock_read_(CLOCK_BOOTTIME);
}

/* a + b, or UINT64_MAX: for deadlines. */
static inline uint64_t adv_clock_add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

#endif
