/* histogram.c - log-linear buckets. One thread each. */
#include "util/histogram.h"

#include <string.h>

#define SHIFT 6 /* log2 of the steps */

void adv_histogram_reset(struct adv_histogram *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

/* Values below the steps have a bucket each; above, the top SHIFT + 1 bits choose. */
static unsigned bucket_of(uint64_t value)
{
	if (value < ADV_HISTOGRAM_STEPS)
		return (unsigned)value;
	unsigned power = 63 - (unsigned)__builtin_clzll(value) - SHIFT;
	unsigned step = (unsigned)(value >> power) - ADV_HISTOGRAM_STEPS;
	unsigned at = (power + 1) * ADV_HISTOGRAM_STEPS + step;
	return at < ADV_HISTOGRAM_BUCKETS ? at : ADV_HISTOGRAM_BUCKETS - 1;
}

/* The middle of a bucket. */
static uint64_t value_of(unsigned at)
{
	if (at < ADV_HISTOGRAM_STEPS)
		return at;
	unsigned power = at / ADV_HISTOGRAM_STEPS - 1;
	uint64_t low = (uint64_t)(ADV_HISTOGRAM_STEPS + at % ADV_HISTOGRAM_STEPS) << power;
	return low + ((UINT64_C(1) << power) >> 1);
}

void adv_histogram_add(struct adv_histogram *h, uint64_t value)
{
	h->buckets[bucket_of(value)]++;
	h->count++;
	h->sum += value;
	if (value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
}

void adv_histogram_merge(struct adv_histogram *into, const struct adv_histogram *from)
{
	for (unsigned i = 0; i < ADV_HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
	into->count += from->count;
	into->sum += from->sum;
	if (from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
}

uint64_t adv_histogram_quantile(const struct adv_histogram *h, double fraction)
{
	if (h->count == 0)
		return 0;
	uint64_t wanted = (uint64_t)(fraction * (double)h->count);
	if (wanted >= h->count)
		wanted = h->count - 1;
	uint64_t seen = 0;
	for (unsigned i = 0; i < ADV_HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen <= wanted)
			continue;
		uint64_t value = value_of(i);
		if (value < h->min)
			value = h->min;
		return value > h->max ? h->max : value;
	}
	return h->max;
}
