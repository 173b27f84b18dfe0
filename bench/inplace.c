/*
 * inplace.c - a large payload without a copy: the caller writes the slot, the function reads it there and answers in place.
 * Prints what a call costs and what the library copied. The module is bench_sum: the sum of its input, 8 bytes out.
 *
 *	inplace MODULE [BYTES [COUNT]]
 */
#include <adverb/client.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/histogram.h"

static void check(enum adv_status status, const char *what)
{
	if (status == ADV_OK)
		return;
	fprintf(stderr, "inplace: %s: %s\n", what, adv_error());
	exit(1);
}

static uint64_t fill(uint64_t *words, size_t n, uint64_t seed)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++) {
		words[i] = seed + i;
		sum += words[i];
	}
	return sum;
}

int main(int argc, char **argv)
{
	static struct adv_histogram h;
	uint32_t bytes = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 1u << 20;
	unsigned long count = argc > 3 ? strtoul(argv[3], NULL, 0) : 2000;
	struct adv_lease_options o;
	struct adv_lease_stats stats = {.size = sizeof(stats)};
	struct adv_node *node;
	struct adv_lease *lease;
	struct adv_slot slot;
	struct adv_completion done;
	uint32_t sum;
	if (argc < 2 || bytes < 64 || count == 0) {
		fprintf(stderr, "Usage: inplace MODULE [BYTES [COUNT]]\n");
		return 2;
	}
	adv_lease_options_init(&o);
	o.in_capacity = bytes;
	check(adv_connect(NULL, &node), "connect");
	check(adv_lease_open(node, argv[1], &o, &lease), "lease");
	check(adv_function_find(lease, "sum", &sum), "function");
	check(adv_slot_get(lease, ADV_ANY_WORKER, &slot), "slot");
	adv_histogram_reset(&h);
	for (unsigned long i = 0; i < count; i++) {
		const struct adv_request request = {
			.size = sizeof(request), .function = sum, .in_size = bytes, .slot = &slot};
		uint64_t expected = fill(slot.in, bytes / 8, i), got = 0;
		uint64_t start = adv_clock_monotonic_ns();
		check(adv_submit(lease, &request, NULL), "submit");
		unsigned n = adv_wait(lease, &done, 1, 10 * 1000 * 1000);
		adv_histogram_add(&h, adv_clock_monotonic_ns() - start);
		if (n == 1 && done.status == ADV_OK && done.out_size == sizeof(got))
			memcpy(&got, done.out, sizeof(got));
		if (got != expected) {
			fprintf(stderr, "inplace: a wrong answer: %s\n",
				n == 1 ? adv_status_text(done.status) : "none");
			return 1;
		}
	}
	check(adv_lease_stats(lease, &stats), "stats");
	printf("{\"payload\": %u, \"count\": %lu, \"p50_ns\": %" PRIu64 ", \"copies\": %" PRIu64
	       ", \"copied_bytes\": %" PRIu64 "}\n",
	       bytes, count, adv_histogram_quantile(&h, 0.5), stats.copies, stats.copied_bytes);
	adv_slot_put(lease, &slot);
	adv_lease_close(lease);
	adv_disconnect(node);
	return 0;
}
