/*
 * lane.c - the lane alone: the caller's and the worker's side in two pinned threads, without node, sandbox or library.
 * Shows what the protocol itself costs: one call at a time against a bare ping-pong, and many in flight.
 *
 *	lane [--inflight N] [--payload BYTES] [--seconds S]
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lane/caller.h"
#include "lane/lane_worker.h"
#include "lane/pingpong.h"
#include "util/clock.h"
#include "util/histogram.h"

#define ECHO	 0
#define QUIT	 1
#define BLOCK_NS (10 * ADV_MS)
#define HOT_US	 2000 /* asleep while the ping-pong has the CPU */
#define REST_NS	 (4 * ADV_MS)

struct bench {
	struct adv_geometry geometry;
	void *req, *cpl;
	uint8_t *slots;
	uint8_t *outputs[ADV_SLOTS_MAX];
	struct adv_caller caller;
	struct adv_caller_call calls[ADV_SLOTS_MAX];
	struct adv_ticks ticks;
	uint32_t inflight, payload;
	uint8_t in[ADV_PAGE], out[ADV_PAGE];
	uint64_t next_id;
	int cpu[2];
};

static void pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		perror("bench: sched_setaffinity");
}

static void *map(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED) {
		perror("bench: mmap");
		exit(1);
	}
	return p;
}

/* ---- the worker ---- */

static void *worker(void *user)
{
	struct bench *b = user;
	struct adv_worker_lane lane;
	struct adv_work work;
	const struct adv_worker_lane_options options = {
		.req = (uint8_t *)b->req + adv_geometry_req(&b->geometry, 0),
		.cpl = (uint8_t *)b->cpl + adv_geometry_cpl(&b->geometry, 0),
		.inputs = b->slots + adv_geometry_in(&b->geometry, 0, 0),
		.outputs = b->outputs,
		.generation = adv_generation(1, 1),
		.hot_us = HOT_US,
		.nr_functions = 2,
		.event_fd = -1,
		.ticks = b->ticks,
	};
	pin(b->cpu[1]);
	adv_worker_lane_init(&lane, &b->geometry, &options);
	do {
		adv_worker_next(&lane, &work);
		memcpy(work.out, work.in, work.length);
		adv_worker_complete(&lane, &work, ADV_OK, work.length);
	} while (work.function != QUIT);
	return NULL;
}

/* ---- the caller ---- */

static void submit(struct bench *b, uint32_t slot, uint16_t function)
{
	if (b->payload > ADV_INLINE_MAX)
		memcpy(adv_caller_in(&b->caller, slot), b->in, b->payload);
	enum adv_status status =
		adv_caller_submit(&b->caller, slot, function, b->in, b->payload, ++b->next_id,
				  adv_ticks_now(&b->ticks), 10 * 1000 * 1000, UINT64_MAX);
	if (status != ADV_OK) {
		fprintf(stderr, "bench: a call was refused: %s\n", adv_status_text(status));
		exit(1);
	}
}

static void collect(struct bench *b, struct adv_result *r)
{
	while (!adv_caller_poll(&b->caller, r))
		adv_pause();
	if (r->length > ADV_INLINE_MAX)
		memcpy(b->out, adv_caller_out(&b->caller, r->slot), r->length);
	else
		memcpy(b->out, r->payload, r->length);
}

static void one_by_one(struct bench *b, struct adv_histogram *h)
{
	struct adv_result r;
	for (int i = 0; i < 64; i++) {
		submit(b, 0, ECHO);
		collect(b, &r);
	}
	uint64_t start = adv_ticks_now(&b->ticks), t1 = start;
	while (adv_ticks_ns(&b->ticks, t1 - start) < BLOCK_NS) {
		uint64_t t0 = adv_ticks_now(&b->ticks);
		submit(b, 0, ECHO);
		collect(b, &r);
		t1 = adv_ticks_now(&b->ticks);
		adv_histogram_add(h, adv_ticks_ns(&b->ticks, t1 - t0));
	}
}

/* Calls a second. */
static double flood(struct bench *b)
{
	struct adv_result r;
	uint64_t calls = 0;
	submit(b, 0, ECHO);
	collect(b, &r);
	uint64_t start = adv_ticks_now(&b->ticks), now = start;
	for (uint32_t i = 0; i < b->inflight; i++)
		submit(b, i, ECHO);
	while (adv_ticks_ns(&b->ticks, now - start) < BLOCK_NS) {
		for (int i = 0; i < 256; i++) {
			collect(b, &r);
			submit(b, r.slot, ECHO);
		}
		calls += 256;
		now = adv_ticks_now(&b->ticks);
	}
	for (uint32_t i = 0; i < b->inflight; i++)
		collect(b, &r);
	return (double)calls * 1e9 / (double)adv_ticks_ns(&b->ticks, now - start);
}

static void keep(void *user, uint64_t ns)
{
	adv_histogram_add(user, ns);
}

static void rest(void)
{
	const struct timespec t = {.tv_nsec = (long)REST_NS};
	nanosleep(&t, NULL);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure(struct bench *b, struct adv_pingpong *pingpong, unsigned rounds)
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
		adv_pingpong_block(pingpong, false, b->payload, BLOCK_NS, UINT64_MAX, 0, keep,
				   &bare);
		one_by_one(b, &subject);
		rates[i] = flood(b);
		rest();
		ratios[i] = (double)adv_histogram_quantile(&subject, 0.5) /
			    (double)adv_histogram_quantile(&bare, 0.5);
		adv_histogram_merge(&all, &subject);
	}
	qsort(ratios, rounds, sizeof(*ratios), by_value);
	qsort(rates, rounds, sizeof(*rates), by_value);
	printf("one call   p50 %llu ns   ratio %.2f (10-90 %%: %.2f - %.2f)\n",
	       (unsigned long long)adv_histogram_quantile(&all, 0.5), ratios[rounds / 2],
	       ratios[rounds / 10], ratios[rounds * 9 / 10]);
	printf("%u in flight   %.1f M calls/s (10-90 %%: %.1f - %.1f)\n", b->inflight,
	       rates[rounds / 2] / 1e6, rates[rounds / 10] / 1e6, rates[rounds * 9 / 10] / 1e6);
	free(ratios);
	free(rates);
}

/* ---- setting up ---- */

static void set_up(struct bench *b)
{
	if (adv_geometry_init(&b->geometry, 1, b->inflight, ADV_PAGE, ADV_PAGE) < 0) {
		fprintf(stderr, "bench: --inflight is 1 to %u\n", ADV_SLOTS_MAX);
		exit(2);
	}
	b->req = map(b->geometry.size[ADV_LANE_REQ]);
	b->cpl = map(b->geometry.size[ADV_LANE_CPL]);
	b->slots = map(b->geometry.size[ADV_LANE_SLOTS]);
	for (uint32_t i = 0; i < b->inflight; i++)
		b->outputs[i] = b->slots + adv_geometry_out(&b->geometry, 0, i);
	struct adv_node_line *node =
		(struct adv_node_line *)((uint8_t *)b->cpl +
					 adv_geometry_node_line(&b->geometry, 0));
	atomic_store(&node->generation, adv_generation(1, 1));
	adv_caller_init(&b->caller, &b->geometry, 0, b->req, b->cpl, b->slots, b->calls);
	adv_ticks_init(&b->ticks);
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
	static struct bench b = {.inflight = 16, .payload = 8};
	static const struct option options[] = {{"inflight", required_argument, NULL, 'i'},
						{"payload", required_argument, NULL, 'p'},
						{"seconds", required_argument, NULL, 's'},
						{0}};
	unsigned seconds = 3;
	int o;
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
	cpu_set_t set;
	sched_getaffinity(0, sizeof(set), &set);
	int found = 0;
	for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
		if (CPU_ISSET(i, &set))
			b.cpu[found++] = i;
	if (found < 2) {
		fprintf(stderr, "bench: two CPUs are needed\n");
		return 1;
	}
	struct adv_pingpong *pingpong;
	pthread_t thread;
	if (adv_pingpong_start(b.cpu[1], ADV_PAGE, &pingpong) < 0)
		return 1;
	set_up(&b);
	pin(b.cpu[0]);
	if (pthread_create(&thread, NULL, worker, &b) != 0)
		return 1;
	measure(&b, pingpong, seconds * 1000 / 35);
	struct adv_result r;
	submit(&b, 0, QUIT);
	collect(&b, &r);
	pthread_join(thread, NULL);
	adv_pingpong_stop(pingpong);
	return 0;
}
