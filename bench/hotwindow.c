/*
 * hotwindow.c - what a learned hot window costs beside fixed ones, on the gaps between calls of a pattern of arrivals. One line of JSON.
 *
 *	bench_hotwindow PATTERN		steady, sparse, bursty, poisson, diurnal, phases: made here, always the same
 *	bench_hotwindow FILE		recorded: a line for each gap, in nanoseconds
 *
 * The cost of a gap is that of src/lane/hot_window.h, with a wake-up at the price of ADV_HOT_PRICE_US. "spun" and "woken" split it.
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lane/hot_window.h"
#include "util/limits.h"

#define PRICE_NS (ADV_HOT_PRICE_US * ADV_US)
#define GAPS	 200000
#define FIXED	 45

static uint64_t seed = 0x9e3779b97f4a7c15;

static double uniform(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return ((double)(seed >> 11) + 1) / 9007199254740993.0;
}

static double exponential(double mean_ns)
{
	return -mean_ns * log(uniform());
}

/* ---- patterns: gap number i ---- */

/* One caller that has its answer and asks again. */
static double steady(unsigned i)
{
	(void)i;
	return 150 + 100 * uniform();
}

static double sparse(unsigned i)
{
	(void)i;
	return exponential(50e6);
}

/* Bursts of a hundred, a quarter of a second apart. */
static double bursty(unsigned i)
{
	return i % 100 == 99 ? exponential(250e6) : exponential(8e3);
}

/* About as long as a wake-up is dear: the hardest for any window. */
static double poisson(unsigned i)
{
	(void)i;
	return exponential(1e6);
}

/* A day in which the rate goes up and down by a thousand. */
static double diurnal(unsigned i)
{
	double time_of_day = sin(2 * 3.14159265358979 * i / (GAPS / 5.0));
	return exponential(3e5 * pow(30, -time_of_day));
}

/* A thousand calls of a program's kernel, then a thousand of its other part. */
static double phases(unsigned i)
{
	return i / 1000 % 2 == 0 ? exponential(2e3) : exponential(8e6);
}

static const struct {
	const char *name;
	double (*gap)(unsigned i);
} patterns[] = {{"steady", steady},   {"sparse", sparse},   {"bursty", bursty},
		{"poisson", poisson}, {"diurnal", diurnal}, {"phases", phases}};

/* ---- costs ---- */

struct sums {
	double spun_ns, latency_ns;
	uint64_t woken;
};

/* The caller waits for a wake-up, of which so much is taken to be spent: what waking takes on a quiet machine. */
#define WAKE_NS 8000.0

static void add(struct sums *s, uint64_t window_ns, uint64_t gap_ns)
{
	bool slept = gap_ns > window_ns;
	s->spun_ns += (double)(slept ? window_ns : gap_ns);
	s->woken += slept;
	s->latency_ns += slept ? WAKE_NS : 0;
}

static double cost(const struct sums *s)
{
	return s->spun_ns + (double)s->woken * (double)PRICE_NS;
}

static uint64_t fixed(unsigned i)
{
	if (i == 0)
		return 0;
	/* From half a microsecond to a second in steps of 1.4; the last: always. */
	return i == FIXED - 1 ? UINT64_MAX : (uint64_t)(500 * pow(2, (i - 1) / 2.0));
}

static struct sums auto_sums, rule, fixed_sums[FIXED];
static struct adv_hot_window window;
static unsigned long nr_gaps;

static void take(uint64_t gap_ns)
{
	nr_gaps++;
	add(&auto_sums, window.window_ns, gap_ns);
	add(&rule, PRICE_NS, gap_ns);
	for (unsigned i = 0; i < FIXED; i++)
		add(&fixed_sums[i], fixed(i), gap_ns);
	adv_hot_window_gap(&window, gap_ns);
}

static int recorded(const char *path)
{
	char line[64];
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return -errno;
	while (fgets(line, sizeof(line), f) != NULL)
		take(strtoull(line, NULL, 10));
	fclose(f);
	return 0;
}

static int made(const char *name)
{
	for (size_t p = 0; p < sizeof(patterns) / sizeof(patterns[0]); p++) {
		if (strcmp(patterns[p].name, name) != 0)
			continue;
		for (unsigned i = 0; i < GAPS; i++)
			take((uint64_t)patterns[p].gap(i));
		return 0;
	}
	return -ENOENT;
}

static void print(const char *name, const struct sums *s)
{
	printf("\"%s\": {\"cost_ns\": %.0f, \"spun_ns\": %.0f, \"woken\": %llu, \"latency_ns\": "
	       "%.1f}",
	       name, cost(s), s->spun_ns, (unsigned long long)s->woken,
	       s->latency_ns / (double)nr_gaps);
}

int main(int argc, char **argv)
{
	adv_hot_window_init(&window, PRICE_NS);
	if (argc != 2 || (made(argv[1]) < 0 && recorded(argv[1]) < 0) || nr_gaps == 0) {
		fprintf(stderr,
			"bench_hotwindow: a pattern (steady, sparse, bursty, poisson, diurnal, "
			"phases) or a file of gaps is needed\n");
		return 1;
	}
	unsigned best = 0;
	for (unsigned i = 1; i < FIXED; i++)
		if (cost(&fixed_sums[i]) < cost(&fixed_sums[best]))
			best = i;
	printf("{\"gaps\": %lu, ", nr_gaps);
	print("auto", &auto_sums);
	printf(", ");
	print("rule", &rule);
	printf(", ");
	print("best", &fixed_sums[best]);
	printf(", ");
	print("always", &fixed_sums[FIXED - 1]);
	printf(", \"best_window_ns\": %.0f, \"fixed\": [", (double)fixed(best));
	for (unsigned i = 0; i < FIXED; i++)
		printf("%s[%.0f, %.0f]", i > 0 ? ", " : "", (double)fixed(i), cost(&fixed_sums[i]));
	printf("]}\n");
	return 0;
}
