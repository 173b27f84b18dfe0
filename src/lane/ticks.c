/* ticks.c - cheap time: the TSC where it is invariant, clock_gettime() where not. Any thread, libc alone. */
#include <string.h>

#include "lane/lane_worker.h"
#include "util/clock.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>

#define CALIBRATE_NS (2 * ADV_MS)

static bool invariant(void)
{
	unsigned a, b, c, d;
	if (__get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8))
		return true;
	return false;
}

static uint64_t counter(void)
{
	return __rdtsc();
}
#else
#define CALIBRATE_NS (2 * ADV_MS)

static bool invariant(void)
{
	return false;
}

static uint64_t counter(void)
{
	return 0;
}
#endif

void adv_ticks_init(struct adv_ticks *t)
{
	*t = (struct adv_ticks){.mult = 1, .shift = 0};
	if (!invariant())
		return;
	uint64_t t0 = adv_clock_monotonic_ns(), c0 = counter(), t1, c1;
	do {
		t1 = adv_clock_monotonic_ns();
		c1 = counter();
	} while (t1 - t0 < CALIBRATE_NS);
	if (c1 <= c0)
		return;
	/* ns = ticks * mult >> 24: below 2^40 ticks, some minutes, the product stays within 64 bits. */
	t->shift = 24;
	t->mult = (uint32_t)(((t1 - t0) << t->shift) / (c1 - c0));
	t->tsc = t->mult > 0;
}

uint64_t adv_ticks_now(const struct adv_ticks *t)
{
	return t->tsc ? counter() : adv_clock_monotonic_ns();
}

uint64_t adv_ticks_ns(const struct adv_ticks *t, uint64_t difference)
{
	if (!t->tsc)
		return difference;
	return (uint64_t)((unsigned __int128)difference * t->mult >> t->shift);
}
