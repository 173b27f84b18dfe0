/* test_bare.c - the bare hardware's side of a comparison goes to and fro as often as it is told, hot and warm; and cheap time. */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>

#include "lane/lane_worker.h"
#include "lane/pingpong.h"
#include "util/clock.h"

#define BLOCK_NS (20 * ADV_MS)

static uint64_t nr_samples;

static void sample(void *user, uint64_t ns)
{
	cr_assert_eq(user, &nr_samples);
	cr_assert_gt(ns, 0);
	nr_samples++;
}

/* The last CPU that this process may use: another one than it is on, where there are two. */
static int some_cpu(void)
{
	cpu_set_t set;
	int last = -1;
	cr_assert_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			last = cpu;
	return last;
}

static void go(struct adv_pingpong *p, bool warm, uint32_t payload, uint64_t count)
{
	nr_samples = 0;
	/* Warm by count alone: a block of a busy machine may be over before its first. */
	cr_assert_eq(
		adv_pingpong_block(p, warm, payload, 10 * ADV_SEC, count, 0, sample, &nr_samples),
		0);
	cr_assert_eq(nr_samples, count);
}

Test(bare, as_often_as_it_is_told)
{
	const uint32_t payloads[] = {0, 8, 32, 33, 4096};
	struct adv_pingpong *p;
	cr_assert_eq(adv_pingpong_start(some_cpu(), 4096, &p), 0);
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
		go(p, false, payloads[i], 3);
		go(p, true, payloads[i], 3);
	}
	adv_pingpong_stop(p);
	adv_pingpong_stop(NULL);
}

Test(bare, until_the_time_is_over)
{
	struct adv_pingpong *p;
	cr_assert_eq(adv_pingpong_start(some_cpu(), 64, &p), 0);
	cr_assert_eq(adv_pingpong_block(p, false, 8, BLOCK_NS, UINT64_MAX, 0, sample, &nr_samples),
		     0);
	cr_assert_gt(nr_samples, 0);
	adv_pingpong_stop(p);
}

Test(bare, a_cpu_that_is_not_there)
{
	struct adv_pingpong *p = NULL;
	cr_assert_eq(adv_pingpong_start(CPU_SETSIZE - 1, 64, &p), -EINVAL);
	cr_assert_null(p);
}

/* Against the clock it stands for: to a tenth, over a time in which neither runs away. */
Test(ticks, count_nanoseconds)
{
	struct adv_ticks t;
	adv_ticks_init(&t);
	uint64_t ticks = adv_ticks_now(&t), ns = adv_clock_monotonic_ns();
	while (adv_clock_monotonic_ns() - ns < 5 * ADV_MS)
		;
	uint64_t by_ticks = adv_ticks_ns(&t, adv_ticks_now(&t) - ticks);
	uint64_t by_clock = adv_clock_monotonic_ns() - ns;
	cr_assert_gt(by_ticks, 4 * ADV_MS);
	cr_assert_lt(by_ticks, by_clock + by_clock / 2 + ADV_MS);
	cr_assert_eq(adv_ticks_ns(&t, 0), 0);
}

Test(ticks, without_a_counter_they_are_nanoseconds)
{
	const struct adv_ticks t = {.mult = 1};
	uint64_t before = adv_clock_monotonic_ns(), now = adv_ticks_now(&t);
	cr_assert(now >= before && now <= adv_clock_monotonic_ns());
	cr_assert_eq(adv_ticks_ns(&t, 12345), 12345);
}
