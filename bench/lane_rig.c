/* lane_rig.c - a lane between two pinned threads. */
#include "lane_rig.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/clock.h"

#define ECHO 0
#define QUIT 1

const struct rig_side rig_side_usual = {adv_worker_lane_init, adv_worker_next, adv_worker_complete};

void rig_pin(int cpu)
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
	struct rig *b = user;
	struct adv_worker_lane lane;
	struct adv_work work;
	const struct adv_worker_lane_options options = {
		.req = (uint8_t *)b->req + adv_geometry_req(&b->geometry, 0),
		.cpl = (uint8_t *)b->cpl + adv_geometry_cpl(&b->geometry, 0),
		.inputs = b->slots + adv_geometry_in(&b->geometry, 0, 0),
		.outputs = b->outputs,
		.generation = adv_generation(1, 1),
		.hot_us = RIG_HOT_US,
		.nr_functions = 2,
		.event_fd = -1,
		.ticks = b->ticks,
	};
	rig_pin(b->cpu);
	b->side->init(&lane, &b->geometry, &options);
	do {
		b->side->next(&lane, &work);
		memcpy(work.out, work.in, work.length);
		b->side->complete(&lane, &work, ADV_OK, work.length);
	} while (work.function != QUIT);
	return NULL;
}

/* ---- the caller ---- */

static void submit(struct rig *b, uint32_t slot, uint16_t function)
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

static void collect(struct rig *b, struct adv_result *r)
{
	while (!adv_caller_poll(&b->caller, r))
		adv_pause();
	if (r->length > ADV_INLINE_MAX)
		memcpy(b->out, adv_caller_out(&b->caller, r->slot), r->length);
	else
		memcpy(b->out, r->payload, r->length);
}

void rig_one_by_one(struct rig *b, struct adv_histogram *h)
{
	struct adv_result r;
	for (int i = 0; i < 64; i++) {
		submit(b, 0, ECHO);
		collect(b, &r);
	}
	uint64_t start = adv_ticks_now(&b->ticks), t1 = start;
	while (adv_ticks_ns(&b->ticks, t1 - start) < RIG_BLOCK_NS) {
		uint64_t t0 = adv_ticks_now(&b->ticks);
		submit(b, 0, ECHO);
		collect(b, &r);
		t1 = adv_ticks_now(&b->ticks);
		adv_histogram_add(h, adv_ticks_ns(&b->ticks, t1 - t0));
	}
}

/* Calls a second. */
double rig_flood(struct rig *b)
{
	struct adv_result r;
	uint64_t calls = 0;
	submit(b, 0, ECHO);
	collect(b, &r);
	uint64_t start = adv_ticks_now(&b->ticks), now = start;
	for (uint32_t i = 0; i < b->inflight; i++)
		submit(b, i, ECHO);
	while (adv_ticks_ns(&b->ticks, now - start) < RIG_BLOCK_NS) {
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

void rig_rest(void)
{
	const struct timespec t = {.tv_nsec = (long)RIG_REST_NS};
	nanosleep(&t, NULL);
}

int rig_by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void set_up(struct rig *b)
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

void rig_start(struct rig *rig)
{
	set_up(rig);
	if (pthread_create(&rig->worker, NULL, worker, rig) == 0)
		return;
	fprintf(stderr, "bench: the worker's thread could not be started\n");
	exit(1);
}

void rig_stop(struct rig *rig)
{
	struct adv_result r;
	submit(rig, 0, QUIT);
	collect(rig, &r);
	pthread_join(rig->worker, NULL);
}

void rig_cpus(int cpus[2])
{
	cpu_set_t set;
	int found = 0;
	sched_getaffinity(0, sizeof(set), &set);
	for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
		if (CPU_ISSET(i, &set))
			cpus[found++] = i;
	if (found == 2)
		return;
	fprintf(stderr, "bench: two CPUs are needed\n");
	exit(1);
}
