/*
 * test_hot_window.c - the hot window that is learned: what it makes of gaps that stay the same, change, or are chosen against it; and its bound,
 * against every fixed window, on all of them.
 */
#include <criterion/criterion.h>
#include <math.h>

#include "lane/hot_window.h"

#define PRICE UINT64_C(1000000)
#define US    UINT64_C(1000)
#define FIXED 40

static struct adv_hot_window h;
static uint64_t nr_gaps, cost, of_fixed[FIXED];
static uint64_t seed;

/* Fixed windows from 0 in steps that are finer than what is learned of. */
static uint64_t fixed(unsigned i)
{
	return i == 0 ? 0 : (uint64_t)((double)PRICE * exp2(((double)i - 34) / 4));
}

static void begin(void)
{
	adv_hot_window_init(&h, PRICE);
	nr_gaps = cost = 0;
	for (unsigned i = 0; i < FIXED; i++)
		of_fixed[i] = 0;
	seed = 0x2545f4914f6cdd1d;
}

TestSuite(hot_window, .init = begin);

static uint64_t best_fixed(void)
{
	uint64_t best = of_fixed[0];
	for (unsigned i = 1; i < FIXED; i++)
		best = of_fixed[i] < best ? of_fixed[i] : best;
	return best;
}

static double bound(void)
{
	return 2 * (double)best_fixed() + 3 * (double)PRICE * (1 + log2((double)nr_gaps));
}

static void gap(uint64_t ns)
{
	nr_gaps++;
	cost += adv_hot_window_cost(h.window_ns, ns, PRICE);
	for (unsigned i = 0; i < FIXED; i++)
		of_fixed[i] += adv_hot_window_cost(fixed(i), ns, PRICE);
	adv_hot_window_gap(&h, ns);
	cr_assert_leq(h.window_ns, PRICE);
	cr_assert_leq((double)cost, bound() + (double)PRICE, "after %llu gaps",
		      (unsigned long long)nr_gaps);
}

static uint64_t random_below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % n;
}

Test(hot_window, begins_by_the_rule)
{
	cr_assert_eq(h.window_ns, PRICE);
}

/* One call after the other: it spins, and does as well as spinning for ever. */
Test(hot_window, short_gaps)
{
	for (int i = 0; i < 100000; i++)
		gap(200);
	cr_assert_geq(h.window_ns, 200);
	cr_assert_eq(cost, 100000 * 200);
}

/* A call each second: spinning is for nothing. */
Test(hot_window, long_gaps)
{
	for (int i = 0; i < 10000; i++)
		gap(1000 * PRICE);
	cr_assert_eq(h.window_ns, 0);
	cr_assert_lt((double)cost, 1.02 * 10000 * (double)PRICE);
}

/* Between two: it spins just so long as it takes. */
Test(hot_window, either_short_or_long)
{
	for (int i = 0; i < 20000; i++)
		gap(i % 2 == 0 ? 20 * US : 500 * PRICE);
	cr_assert(h.window_ns >= 20 * US && h.window_ns <= 64 * US, "%llu",
		  (unsigned long long)h.window_ns);
	cr_assert_lt((double)cost, 1.1 * (double)best_fixed());
}

/* What was right is not for ever. */
Test(hot_window, times_change)
{
	for (int i = 0; i < 5000; i++)
		gap(100 * PRICE);
	cr_assert_eq(h.window_ns, 0);
	for (int i = 0; i < 5000; i++)
		gap(5 * US);
	cr_assert_geq(h.window_ns, 5 * US);
	for (int i = 0; i < 5000; i++)
		gap(100 * PRICE);
	cr_assert_eq(h.window_ns, 0);
}

/* Short gaps are noted and not worked out; they count when a long one comes. */
Test(hot_window, short_gaps_are_not_forgotten)
{
	for (int i = 0; i < 1000; i++)
		gap(100 * PRICE);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 1000; i++)
			gap(300);
		gap(100 * PRICE);
		cr_assert_gt(h.window_ns, 0);
	}
}

/* Each gap a little longer than the window that it has chosen: no window could be worse chosen. */
Test(hot_window, against_an_adversary)
{
	for (int i = 0; i < 200000; i++)
		gap(h.window_ns + 1);
}

/* One that lets it learn, and then turns; again and again, at every length. */
Test(hot_window, against_one_that_turns)
{
	for (int length = 1; length < 3000; length = length * 3 / 2 + 1)
		for (int turn = 0; turn < 50; turn++)
			for (int i = 0; i < length; i++)
				gap(turn % 2 == 0 ? 2 * PRICE : PRICE / 400);
}

Test(hot_window, random_gaps)
{
	for (int pattern = 0; pattern < 50; pattern++) {
		uint64_t shorter = 1 + random_below(PRICE / 10),
			 longer = 1 + random_below(5 * PRICE);
		uint64_t share = random_below(100);
		for (int i = 0; i < 5000; i++)
			gap(random_below(100) < share ? random_below(shorter)
						      : random_below(longer));
	}
}

Test(hot_window, extremes)
{
	gap(0);
	gap(UINT64_MAX / 4);
	for (int i = 0; i < 1000; i++)
		gap(i % 3 == 0 ? UINT64_MAX / 4 : 0);
}
