/*
 * verbs.c - the client of bench/verbs.py: what a lease over RDMA does besides single calls. The node is $ADVERB_HOST, the module
 * bench_sink; prints one JSON object. Main thread; `beside` has another for its stream.
 *
 *	verbs MODULE lease                     what the first lease costs, and the second
 *	verbs MODULE bandwidth BYTES N SECONDS payloads in place, N in flight
 *	verbs MODULE beside BYTES SECONDS      small calls alone, then beside a stream of payloads of another lease of the same handle
 *	verbs MODULE hold                      keeps a warm lease until standard input ends
 *	verbs MODULE forever                   a call that does not return: when it ended after all, and how
 */
#include <adverb/client.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/verbs.h"
#include "util/clock.h"
#include "util/histogram.h"

#define INFLIGHT_MAX 64
#define SMALL_BYTES  32
#define PATIENCE_US  (60 * 1000 * 1000)

static const char *module;

static void check(enum adv_status status, const char *what)
{
	if (status == ADV_OK)
		return;
	fprintf(stderr, "verbs: %s: %s\n", what, adv_error());
	exit(1);
}

static struct adv_node *connect_node(void)
{
	struct adv_node *node;
	check(adv_connect(NULL, &node), "connect");
	return node;
}

static struct adv_lease *open_lease(struct adv_node *node, uint32_t slots, uint32_t bytes,
				    uint64_t hot_us)
{
	struct adv_lease_options o;
	struct adv_lease *lease;
	adv_lease_options_init(&o);
	o.slots = slots;
	o.in_capacity = bytes;
	o.out_capacity = SMALL_BYTES;
	o.hot_us = hot_us;
	o.timeout_ms = 60000;
	check(adv_lease_open(node, module, &o, &lease), "lease");
	return lease;
}

static uint32_t find(struct adv_lease *lease, const char *name)
{
	uint32_t function;
	check(adv_function_find(lease, name, &function), "function");
	return function;
}

static void small_call(struct adv_lease *lease, uint32_t function)
{
	static const uint8_t in[SMALL_BYTES];
	uint32_t out = 0;
	enum adv_status status =
		adv_invoke(lease, function, in, sizeof(in), &out, sizeof(out), NULL, PATIENCE_US);
	if (status != ADV_OK || out != sizeof(in)) {
		fprintf(stderr, "verbs: a call failed: %s\n", adv_status_text(status));
		exit(1);
	}
}

static double seconds(uint64_t since_ns)
{
	return (double)(adv_clock_monotonic_ns() - since_ns) / 1e9;
}

/* ---- leases ---- */

static void time_lease(struct adv_node *node, const char *name)
{
	uint64_t t0 = adv_clock_monotonic_ns();
	struct adv_lease *lease = open_lease(node, 4, 65536, ADV_HOT_DEFAULT);
	uint64_t opened = adv_clock_monotonic_ns() - t0;
	small_call(lease, find(lease, "sink"));
	uint64_t called = adv_clock_monotonic_ns() - t0;
	if (lease->verbs == NULL) {
		fprintf(stderr, "verbs: the lease is not over RDMA\n");
		exit(1);
	}
	printf("\"%s\": {\"register_ns\": %" PRIu64 ", \"connect_ns\": %" PRIu64
	       ", \"open_ns\": %" PRIu64 ", \"result_ns\": %" PRIu64 "}",
	       name, lease->verbs->register_ns, lease->verbs->connect_ns, opened, called);
	adv_lease_close(lease);
}

static int run_lease(void)
{
	uint64_t t0 = adv_clock_monotonic_ns();
	struct adv_node *node = connect_node();
	printf("{\"handle_ns\": %" PRIu64 ", ", adv_clock_monotonic_ns() - t0);
	time_lease(node, "first");
	printf(", ");
	time_lease(node, "second");
	printf("}\n");
	adv_disconnect(node);
	return 0;
}

/* ---- payloads in place ---- */

static void submit(struct adv_lease *lease, uint32_t function, const struct adv_slot *slot,
		   uint64_t index, uint32_t bytes)
{
	const struct adv_request request = {.size = sizeof(request),
					    .function = function,
					    .in_size = bytes,
					    .slot = slot,
					    .timeout_us = PATIENCE_US,
					    .user_data = index};
	check(adv_submit(lease, &request, NULL), "submit");
}

/* One completion; returns which slot's. */
static uint64_t take(struct adv_lease *lease)
{
	struct adv_completion done;
	if (adv_wait(lease, &done, 1, PATIENCE_US) == 1 && done.status == ADV_OK)
		return done.user_data;
	fprintf(stderr, "verbs: a large call failed\n");
	exit(1);
}

struct stream {
	struct adv_lease *lease;
	uint32_t bytes, inflight;
	_Atomic bool stop;
	_Atomic uint64_t calls;
	uint64_t start_ns, end_ns;
};

/* Keeps that many in flight until it is told to stop, or for a while. */
static void stream(struct stream *s, double limit_s)
{
	struct adv_slot slots[INFLIGHT_MAX];
	uint32_t sink = find(s->lease, "sink");
	for (uint32_t i = 0; i < s->inflight; i++) {
		check(adv_slot_get(s->lease, ADV_ANY_WORKER, &slots[i]), "slot");
		memset(slots[i].in, (int)i + 1, s->bytes);
	}
	s->start_ns = adv_clock_monotonic_ns();
	for (uint32_t i = 0; i < s->inflight; i++)
		submit(s->lease, sink, &slots[i], i, s->bytes);
	while (!atomic_load(&s->stop) && seconds(s->start_ns) < limit_s) {
		uint64_t i = take(s->lease);
		atomic_fetch_add(&s->calls, 1);
		submit(s->lease, sink, &slots[i], i, s->bytes);
	}
	for (uint32_t i = 0; i < s->inflight; i++) {
		take(s->lease);
		atomic_fetch_add(&s->calls, 1);
	}
	s->end_ns = adv_clock_monotonic_ns();
}

static double rate(const struct stream *s)
{
	return (double)atomic_load(&s->calls) * s->bytes * 1e9 / (double)(s->end_ns - s->start_ns);
}

static int run_bandwidth(uint32_t bytes, uint32_t inflight, double limit_s)
{
	struct adv_lease_stats stats = {.size = sizeof(stats)};
	struct adv_node *node = connect_node();
	struct stream s = {.lease = open_lease(node, inflight, bytes, ADV_HOT_ALWAYS),
			   .bytes = bytes,
			   .inflight = inflight};
	stream(&s, limit_s);
	check(adv_lease_stats(s.lease, &stats), "stats");
	printf("{\"bytes\": %" PRIu32 ", \"inflight\": %" PRIu32 ", \"calls\": %" PRIu64
	       ", \"bytes_per_s\": %.0f, \"copied_bytes\": %" PRIu64 "}\n",
	       bytes, inflight, (uint64_t)s.calls, rate(&s), stats.copied_bytes);
	adv_lease_close(s.lease);
	adv_disconnect(node);
	return 0;
}

/* ---- small calls beside a stream ---- */

static void *run_stream(void *arg)
{
	stream(arg, 1e9);
	return NULL;
}

static void measure(struct adv_lease *lease, double limit_s, const char *name)
{
	static struct adv_histogram h;
	uint32_t sink = find(lease, "sink");
	adv_histogram_reset(&h);
	for (uint64_t start = adv_clock_monotonic_ns(); seconds(start) < limit_s;) {
		uint64_t t0 = adv_clock_monotonic_ns();
		small_call(lease, sink);
		adv_histogram_add(&h, adv_clock_monotonic_ns() - t0);
	}
	printf("\"%s\": {\"calls\": %" PRIu64 ", \"p50_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64 "}",
	       name, h.count, adv_histogram_quantile(&h, 0.5), adv_histogram_quantile(&h, 0.99));
}

static int run_beside(uint32_t bytes, double limit_s)
{
	struct adv_node *node = connect_node();
	struct adv_lease *small = open_lease(node, 4, 4096, ADV_HOT_DEFAULT);
	struct stream s = {.lease = open_lease(node, 1, bytes, ADV_HOT_DEFAULT),
			   .bytes = bytes,
			   .inflight = 1};
	pthread_t thread;
	small_call(small, find(small, "sink"));
	printf("{");
	measure(small, limit_s, "alone");
	if (pthread_create(&thread, NULL, run_stream, &s) != 0)
		return 1;
	while (atomic_load(&s.calls) == 0)
		usleep(1000);
	printf(", ");
	measure(small, limit_s, "beside");
	atomic_store(&s.stop, true);
	pthread_join(thread, NULL);
	printf(", \"stream_bytes_per_s\": %.0f}\n", rate(&s));
	adv_lease_close(s.lease);
	adv_lease_close(small);
	adv_disconnect(node);
	return 0;
}

/* ---- to be watched, and killed ---- */

static int run_hold(void)
{
	char byte;
	struct adv_node *node = connect_node();
	struct adv_lease *lease = open_lease(node, 4, 4096, ADV_HOT_NEVER);
	small_call(lease, find(lease, "sink"));
	printf("{\"held\": true}\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	adv_lease_close(lease);
	adv_disconnect(node);
	return 0;
}

static int run_forever(void)
{
	struct adv_completion done;
	struct adv_node *node = connect_node();
	struct adv_lease *lease = open_lease(node, 4, 4096, ADV_HOT_DEFAULT);
	const struct adv_request request = {.size = sizeof(request),
					    .function = find(lease, "forever"),
					    .worker = ADV_ANY_WORKER,
					    .timeout_us = PATIENCE_US};
	check(adv_submit(lease, &request, NULL), "submit");
	printf("{\"called\": true}\n");
	fflush(stdout);
	unsigned n = adv_wait(lease, &done, 1, PATIENCE_US);
	printf("{\"status\": \"%s\", \"ended_ns\": %" PRIu64 "}\n",
	       n == 1 ? adv_status_name((enum adv_status)done.status) : "none",
	       adv_clock_monotonic_ns());
	adv_lease_close(lease);
	adv_disconnect(node);
	return 0;
}

static uint32_t number(const char *text)
{
	return (uint32_t)strtoul(text, NULL, 0);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[2] : "";
	module = argc > 1 ? argv[1] : "";
	if (argc == 3 && strcmp(mode, "lease") == 0)
		return run_lease();
	if (argc == 3 && strcmp(mode, "hold") == 0)
		return run_hold();
	if (argc == 3 && strcmp(mode, "forever") == 0)
		return run_forever();
	if (argc == 5 && strcmp(mode, "beside") == 0)
		return run_beside(number(argv[3]), strtod(argv[4], NULL));
	if (argc == 6 && strcmp(mode, "bandwidth") == 0 && number(argv[4]) <= INFLIGHT_MAX)
		return run_bandwidth(number(argv[3]), number(argv[4]), strtod(argv[5], NULL));
	fprintf(stderr, "Usage: verbs MODULE lease|hold|forever|beside BYTES SECONDS|bandwidth "
			"BYTES N SECONDS\n");
	return 2;
}
