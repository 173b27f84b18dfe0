/* ticks.c - cheap time: the TSC where it is invariant, clock_gettime() where not. Any thread, libc alone. */
#include "lane/lane_worker.h"

#if defined(__x86_64__)
#include <cpuid.h>

#define CALIBRATE_NS (2 * ADV_MS)
#define TRIES	     8

static bool invariant(void)
{
	unsigned a, b, c, d;
	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8);
}

/* Both clocks at one instant: of some tries the one in which least lies between two looks at the counter. No preemption spoils all. */
static void sample(uint64_t *ns, uint64_t *ticks)
{
	uint64_t least = UINT64_MAX;
	for (int i = 0; i < TRIES; i++) {
		uint64_t before = __rdtsc();
		uint64_t now = adv_clock_monotonic_ns();
		uint64_t width = __rdtsc() - before;
		if (width >= least)
			continue;
		least = width;
		*ns = now;
		*ticks = before + width / 2;
	}
}

void adv_ticks_init(struct adv_ticks *t)
{
	uint64_t t0, c0, t1, c1;
	*t = (struct adv_ticks){.mult = 1, .shift = 0};
	if (!invariant())
		return;
	sample(&t0, &c0);
	do {
		sample(&t1, &c1);
	} while (t1 - t0 < CALIBRATE_NS);
	if (c1 <= c0)
		return;
	/* ns = ticks * mult >> 24: below 2^40 ticks, some minutes, the product stays within 64 bits. */
	t->shift = 24;
	t->mult = (uint32_t)(((t1 - t0) << t->shift) / (c1 - c0));
	t->tsc = t->mult > 0;
}
#else
void adv_ticks_init(struct adv_ticks *t)
{
	*t = (struct adv_ticks){.mult = 1, .shift = 0};
}
#endif
