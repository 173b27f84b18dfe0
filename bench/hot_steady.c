/*
 * hot_steady.c - one call after the other on two leases of the same function, one of which spins for ever and the other by a window that is
 * learned: blocks of 10 ms in turn. Prints the median of the ratios of the blocks' medians, and its range from 10 to 90 %.
 *
 *	hot_steady MODULE BLOCKS	the module has a function echo; ADVERB_HOST names the node, whose two workers should have CPUs of their own
 */
#include <adverb/client.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/clock.h"
#include "util/histogram.h"
#include "util/limits.h"

#define BLOCK_NS (10 * ADV_MS)
#define WARM	 200

static void check(enum adv_status status, const char *what)
{
	if (status == ADV_OK)
		return;
	fprintf(stderr, "hot_steady: %s: %s\n", what, adv_error());
	exit(1);
}

static struct adv_lease *open_lease(struct adv_node *node, const char *module, uint64_t hot_us,
				    uint32_t *echo)
{
	struct adv_lease_options o;
	struct adv_lease *lease;
	adv_lease_options_init(&o);
	o.hot_us = hot_us;
	check(adv_lease_open(node, module, &o, &lease), "lease");
	check(adv_function_find(lease, "echo", echo), "function");
	return lease;
}

static uint64_t block(struct adv_lease *lease, uint32_t echo)
{
	static struct adv_histogram h;
	char out[8];
	adv_histogram_reset(&h);
	uint64_t begun_ns = adv_clock_monotonic_ns(), last_ns = begun_ns;
	for (unsigned i = 0; last_ns - begun_ns < BLOCK_NS; i++) {
		check(adv_invoke(lease, echo, "12345678", 8, out, sizeof(out), NULL, 1000000),
		      "call");
		uint64_t now_ns = adv_clock_monotonic_ns();
		if (i >= WARM)
			adv_histogram_add(&h, now_ns - last_ns);
		last_ns = now_ns;
	}
	return adv_histogram_quantile(&h, 0.5);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
	unsigned long blocks = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	double *ratios = calloc(blocks > 0 ? blocks : 1, sizeof(*ratios));
	struct adv_node *node;
	uint32_t echo;
	if (blocks == 0 || ratios == NULL) {
		fprintf(stderr, "Usage: hot_steady MODULE BLOCKS\n");
		return 2;
	}
	check(adv_connect(NULL, &node), "connect");
	for (unsigned long i = 0; i < blocks; i++) {
		/* One lease at a time, so that both are on the same CPU; first the one, then the other. */
		uint64_t ns[2];
		for (unsigned k = 0; k < 2; k++) {
			unsigned which = (k + i) % 2;
			struct adv_lease *lease = open_lease(
				node, argv[1], which == 0 ? ADV_HOT_ALWAYS : ADV_HOT_AUTO, &echo);
			ns[which] = block(lease, echo);
			adv_lease_close(lease);
		}
		ratios[i] = (double)ns[1] / (double)ns[0];
	}
	qsort(ratios, blocks, sizeof(*ratios), by_value);
	printf("{\"blocks\": %lu, \"ratio\": %.3f, \"p10\": %.3f, \"p90\": %.3f}\n", blocks,
	       ratios[blocks / 2], ratios[blocks / 10], ratios[blocks * 9 / 10]);
	free(ratios);
	adv_disconnect(node);
	return 0;
}
