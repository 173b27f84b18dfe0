/* test_histogram.c - quantiles against a sorted array, merging, and the extremes of a histogram. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "util/histogram.h"

#define SAMPLES 20000

/* What histogram.h promises: 0.8 %; below the steps every value has a bucket of its own. */
static void close_to(uint64_t found, uint64_t exact)
{
	uint64_t off = found > exact ? found - exact : exact - found;
	cr_assert_leq((double)off, 0.008 * (double)exact, "%" PRIu64 " is not near %" PRIu64, found,
		      exact);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static uint64_t xorshift(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static struct adv_histogram h, other;
static uint64_t samples[SAMPLES];

/* Every magnitude up to 2^bits about as often. */
static void fill(uint64_t seed, unsigned bits)
{
	adv_histogram_reset(&h);
	for (size_t i = 0; i < SAMPLES; i++) {
		uint64_t random = xorshift(&seed);
		samples[i] = random >> 8 >> (56 - 1 - random % bits);
		adv_histogram_add(&h, samples[i]);
	}
	qsort(samples, SAMPLES, sizeof(samples[0]), by_value);
}

Test(histogram, empty)
{
	adv_histogram_reset(&h);
	cr_assert_eq(h.count, 0);
	cr_assert_eq(adv_histogram_quantile(&h, 0), 0);
	cr_assert_eq(adv_histogram_quantile(&h, 0.5), 0);
	cr_assert_eq(adv_histogram_quantile(&h, 1), 0);
}

Test(histogram, one_sample_is_exact)
{
	const uint64_t values[] = {0, 1, 63, 64, 65, 1000, 123456789, UINT64_C(1) << 40};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		adv_histogram_reset(&h);
		adv_histogram_add(&h, values[i]);
		cr_assert_eq(adv_histogram_quantile(&h, 0), values[i]);
		cr_assert_eq(adv_histogram_quantile(&h, 0.5), values[i]);
		cr_assert_eq(adv_histogram_quantile(&h, 1), values[i]);
		cr_assert_eq(h.min, values[i]);
		cr_assert_eq(h.max, values[i]);
		cr_assert_eq(h.sum, values[i]);
	}
}

Test(histogram, small_values_are_exact)
{
	adv_histogram_reset(&h);
	for (uint64_t v = 0; v < ADV_HISTOGRAM_STEPS; v++)
		adv_histogram_add(&h, v);
	for (unsigned i = 0; i < ADV_HISTOGRAM_STEPS; i++)
		cr_assert_eq(adv_histogram_quantile(&h, (double)i / ADV_HISTOGRAM_STEPS), i);
}

/* Three samples, so that the one in the middle is neither minimum nor maximum and comes from its bucket. */
Test(histogram, every_magnitude_is_within_the_bound)
{
	for (unsigned bit = 0; bit < 40; bit++)
		for (int off = -1; off <= 1; off++) {
			uint64_t v = (UINT64_C(1) << bit) + (uint64_t)off;
			adv_histogram_reset(&h);
			adv_histogram_add(&h, 0);
			adv_histogram_add(&h, v);
			adv_histogram_add(&h, UINT64_C(1) << 41);
			close_to(adv_histogram_quantile(&h, 0.5), v);
		}
}

Test(histogram, quantiles_of_random_samples)
{
	const double fractions[] = {0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999};
	for (uint64_t seed = 1; seed <= 5; seed++) {
		fill(seed * UINT64_C(0x9e3779b97f4a7c15), 40);
		for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++)
			close_to(adv_histogram_quantile(&h, fractions[i]),
				 samples[(size_t)(fractions[i] * SAMPLES)]);
		cr_assert_eq(h.min, samples[0]);
		cr_assert_eq(h.max, samples[SAMPLES - 1]);
		close_to(adv_histogram_quantile(&h, 1), h.max);
	}
}

Test(histogram, quantiles_never_fall)
{
	fill(77, 40);
	uint64_t before = 0;
	for (int i = 0; i <= 1000; i++) {
		uint64_t q = adv_histogram_quantile(&h, i / 1000.0);
		cr_assert_geq(q, before);
		cr_assert_geq(q, h.min);
		cr_assert_leq(q, h.max);
		before = q;
	}
}

Test(histogram, larger_than_the_range)
{
	adv_histogram_reset(&h);
	adv_histogram_add(&h, 5);
	adv_histogram_add(&h, UINT64_MAX / 4);
	adv_histogram_add(&h, UINT64_MAX / 2);
	cr_assert_eq(h.count, 3);
	cr_assert_eq(h.max, UINT64_MAX / 2);
	cr_assert_eq(h.buckets[ADV_HISTOGRAM_BUCKETS - 1], 2);
	cr_assert_geq(adv_histogram_quantile(&h, 0.5), UINT64_C(1) << 40);
	cr_assert_leq(adv_histogram_quantile(&h, 1), h.max);
}

Test(histogram, merge_is_the_same_as_adding)
{
	static struct adv_histogram all;
	uint64_t seed = 99;
	adv_histogram_reset(&all);
	adv_histogram_reset(&h);
	adv_histogram_reset(&other);
	for (int i = 0; i < 1000; i++) {
		uint64_t v = xorshift(&seed) >> 30;
		adv_histogram_add(&all, v);
		adv_histogram_add(i % 3 == 0 ? &h : &other, v);
	}
	adv_histogram_merge(&h, &other);
	cr_assert_arr_eq(&h, &all, sizeof(h));
}

Test(histogram, merge_with_an_empty_one)
{
	adv_histogram_reset(&h);
	adv_histogram_reset(&other);
	adv_histogram_merge(&h, &other);
	cr_assert_eq(h.count, 0);
	cr_assert_eq(adv_histogram_quantile(&h, 0.5), 0);
	adv_histogram_add(&other, 42);
	adv_histogram_merge(&h, &other);
	cr_assert_eq(h.count, 1);
	cr_assert_eq(h.min, 42);
	cr_assert_eq(h.max, 42);
	adv_histogram_reset(&other);
	adv_histogram_merge(&h, &other);
	cr_assert_eq(h.min, 42);
	cr_assert_eq(adv_histogram_quantile(&h, 0.5), 42);
}
