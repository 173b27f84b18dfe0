/*
 * accounting.c - what counting costs on a call's path: the worker's side as it is, and a build of it that counts nothing and reads no clock for it,
 * in turns in blocks of 10 ms between the same two pinned threads' CPUs. One call at a time, and 16 in flight.
 *
 *	accounting [SECONDS]
 */
#include <stdio.h>
#include <stdlib.h>

#include "lane_rig.h"
#include "util/clock.h"

/* Of the build without: see meson.build. */
void bare_lane_init(struct adv_worker_lane *w, const struct adv_geometry *g,
		    const struct adv_worker_lane_options *options);
void bare_next(struct adv_worker_lane *w, struct adv_work *work);
void bare_complete(struct adv_worker_lane *w, const struct adv_work *work, enum adv_status status,
		   uint32_t length);

static const struct rig_side bare_side = {bare_lane_init, bare_next, bare_complete};

static double one_call(struct rig *rig)
{
	static struct adv_histogram h;
	adv_histogram_reset(&h);
	rig_one_by_one(rig, &h);
	double p50 = (double)adv_histogram_quantile(&h, 0.5);
	rig_rest();
	return p50;
}

static double flood(struct rig *rig)
{
	double rate = rig_flood(rig);
	rig_rest();
	return rate;
}

static double middle(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), rig_by_value);
	return values[n / 2];
}

static void say(const char *what, const char *unit, double scale, double *usual, double *bare,
		double *difference, unsigned n)
{
	double d = middle(difference, n);
	printf("%-14s counted %7.2f %s   not %7.2f %s   median difference %+.2f (10-90 %%: %+.2f "
	       "to %+.2f)\n",
	       what, middle(usual, n) * scale, unit, middle(bare, n) * scale, unit, d * scale,
	       difference[n / 10] * scale, difference[n * 9 / 10] * scale);
}

static void compare(double (*run)(struct rig *rig), const char *what, const char *unit,
		    double scale, struct rig *usual, struct rig *bare, unsigned n)
{
	double *values = calloc(3 * (size_t)n, sizeof(*values));
	if (values == NULL)
		exit(1);
	double *u = values, *b = u + n, *d = b + n;
	for (unsigned i = 0; i < n; i++) {
		/* Neither always comes first. */
		if (i % 2 == 0)
			u[i] = run(usual);
		b[i] = run(bare);
		if (i % 2 == 1)
			u[i] = run(usual);
		d[i] = u[i] - b[i];
	}
	say(what, unit, scale, u, b, d, n);
	free(values);
}

int main(int argc, char **argv)
{
	static struct rig usual = {.side = &rig_side_usual, .inflight = 16, .payload = 8};
	static struct rig bare = {.side = &bare_side, .inflight = 16, .payload = 8};
	int seconds = argc > 1 ? atoi(argv[1]) : 6, cpus[2];
	if (seconds < 1 || seconds > 600) {
		fprintf(stderr, "bench: for how many seconds, 1 to 600?\n");
		return 2;
	}
	rig_cpus(cpus);
	usual.cpu = bare.cpu = cpus[1];
	rig_pin(cpus[0]);
	rig_start(&usual);
	rig_start(&bare);
	unsigned n = (unsigned)seconds * 1000 / 56;
	compare(one_call, "one call", "ns", 1, &usual, &bare, n);
	compare(flood, "16 in flight", "M/s", 1e-6, &usual, &bare, n);
	rig_stop(&usual);
	rig_stop(&bare);
	return 0;
}
