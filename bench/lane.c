/*
 * lane.c - the lane alone: the caller's and the worker's side in two pinned threads, without node, sandbox or library.
 * Shows what the protocol itself costs: one call at a time against a bare ping-pong, and many in flight.
 *
 *	lane [--inflight N] [--payload BYTES] [--seconds S]
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "lane/pingpong.h"
#include "lane_rig.h"
#include "util/clock.h"

static void keep(void *user, uint64_t ns)
{
	adv_histogram_add(user, ns);
}

static void measure(struct rig *b, struct adv_pingpong *pingpong, unsigned rounds)
{
	static struct adv_histogram subject, bare, all;
	double *ratios = calloc(rounds, sizeof(*ratios));
	double *rates = calloc(rounds, sizeof(*rates));
	if (ratios == NULL || rates == NULL)
		exit(1);
	adv_histogram_reset(&all);
	for (unsigned i = 0; i < rounds; i++) {
		adv_histogram_reset(&subject);
		adv_histogram_reset(&bare);
		adv_pingpong_block(pingpong, false, b->payload, RIG_BLOCK_NS, UINT64_MAX, 0, keep,
				   &bare);
		rig_one_by_one(b, &subject);
		rates[i] = rig_flood(b);
		rig_rest();
		ratios[i] = (double)adv_histogram_quantile(&subject, 0.5) /
			    (double)adv_histogram_quantile(&bare, 0.5);
		adv_histogram_merge(&all, &subject);
	}
	qsort(ratios, rounds, sizeof(*ratios), rig_by_value);
	qsort(rates, rounds, sizeof(*rates), rig_by_value);
	printf("one call   p50 %llu ns   ratio %.2f (10-90 %%: %.2f - %.2f)\n",
	       (unsigned long long)adv_histogram_quantile(&all, 0.5), ratios[rounds / 2],
	       ratios[rounds / 10], ratios[rounds * 9 / 10]);
	printf("%u in flight   %.1f M calls/s (10-90 %%: %.1f - %.1f)\n", b->inflight,
	       rates[rounds / 2] / 1e6, rates[rounds / 10] / 1e6, rates[rounds * 9 / 10] / 1e6);
	free(ratios);
	free(rates);
}

static unsigned long number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);
	if (*text == '\0' || *end != '\0' || n == 0) {
		fprintf(stderr, "bench: \"%s\" is not a positive number\n", text);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	static struct rig b = {.side = &rig_side_usual, .inflight = 16, .payload = 8};
	static const struct option options[] = {{"inflight", required_argument, NULL, 'i'},
						{"payload", required_argument, NULL, 'p'},
						{"seconds", required_argument, NULL, 's'},
						{0}};
	unsigned seconds = 3;
	int o, cpus[2];
	while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (o == 'i')
			b.inflight = (uint32_t)number(optarg);
		else if (o == 'p')
			b.payload = (uint32_t)number(optarg);
		else if (o == 's')
			seconds = (unsigned)number(optarg);
		else
			return 2;
	}
	if (b.payload > ADV_PAGE)
		return 2;
	rig_cpus(cpus);
	struct adv_pingpong *pingpong;
	if (adv_pingpong_start(cpus[1], ADV_PAGE, &pingpong) < 0)
		return 1;
	b.cpu = cpus[1];
	rig_pin(cpus[0]);
	rig_start(&b);
	measure(&b, pingpong, seconds * 1000 / 35);
	rig_stop(&b);
	adv_pingpong_stop(pingpong);
	return 0;
}
