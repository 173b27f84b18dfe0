/*
 * histogram.h - every sample kept, in log-linear buckets: at most 0.8 % off, minimum and maximum exact. One thread each.
 * Recording is a few instructions and touches one line of memory; nothing allocates after creation.
 */
#ifndef ADVERB_UTIL_HISTOGRAM_H
#define ADVERB_UTIL_HISTOGRAM_H

#include <stdint.h>

/* 64 linear steps for each power of two: values up to 2^40 ns, a quarter of an hour; larger ones count as that. */
#define ADV_HISTOGRAM_STEPS   64
#define ADV_HISTOGRAM_BUCKETS (36 * ADV_HISTOGRAM_STEPS)

struct adv_histogram {
	uint64_t count, sum, min, max;
	uint64_t buckets[ADV_HISTOGRAM_BUCKETS];
};

void adv_histogram_reset(struct adv_histogram *h);
void adv_histogram_add(struct adv_histogram *h, uint64_t value);
void adv_histogram_merge(struct adv_histogram *into, const struct adv_histogram *from);

/* The value that a fraction (0 to 1) of the samples does not exceed; 0 without samples. */
uint64_t adv_histogram_quantile(const struct adv_histogram *h, double fraction);

#endif
