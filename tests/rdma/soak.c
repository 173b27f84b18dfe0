/*
 * soak.c - many calls over one lease, many in flight, every answer looked at: soak HOST CALLS INFLIGHT [SECONDS ENOUGH]. Main thread. See
 * test_soak.py. After SECONDS it is content with ENOUGH calls.
 *
 * Calls carry what only they can carry, their number and bytes that follow from it, in sizes that change from call to call: in the entry, in a
 * slot, beyond a packet. Each must come back once, with its own bytes, by an id that no other call has had. Ids pass 2^32 early on.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/internal.h"

#define INFLIGHT_MAX 256
#define BYTES_MAX    6000
#define LINES	     10 /* of progress */
#define TIMEOUT_US   60000000

/* One place for a call: what is out there, and where its answer comes. */
struct flight {
	uint64_t number; /* of the call, from 1; 0: none */
	uint64_t id;
	uint32_t size;
	uint8_t out[BYTES_MAX];
};

static struct adv_node *node;
static struct adv_lease *lease;
static uint32_t echo, nr_inflight;
static struct flight flights[INFLIGHT_MAX];
static uint64_t last_id;

static int fail(const char *what, uint64_t number)
{
	printf("# call %llu: %s: %s\n", (unsigned long long)number, what, adv_error());
	return -1;
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- what a call carries ---- */

/* Mostly inside the entry (32 bytes), every fourth in a slot, a few in more than one packet of any MTU. */
static uint32_t size_of(uint64_t number)
{
	if (number % 1024 == 0)
		return BYTES_MAX - (uint32_t)(number / 1024 % 97);
	return number % 4 == 0 ? 33 + (uint32_t)(number / 4 % 480) : 8 + (uint32_t)(number % 25);
}

static uint8_t byte_of(uint64_t number, uint32_t i)
{
	return (uint8_t)(number * 0x9e3779b97f4a7c15u >> 56) + (uint8_t)(i * 31);
}

static void fill(uint8_t *to, uint64_t number, uint32_t size)
{
	memcpy(to, &number, sizeof(number));
	for (uint32_t i = sizeof(number); i < size; i++)
		to[i] = byte_of(number, i);
}

static int compare(const uint8_t *got, uint64_t number, uint32_t size)
{
	if (memcmp(got, &number, sizeof(number)) != 0)
		return -1;
	for (uint32_t i = sizeof(number); i < size; i++)
		if (got[i] != byte_of(number, i))
			return -1;
	return 0;
}

/* ---- calls ---- */

static int submit(struct flight *f, uint64_t number)
{
	uint8_t in[BYTES_MAX];
	f->number = number;
	f->size = size_of(number);
	memset(f->out, 0xee, sizeof(f->out));
	fill(in, number, f->size);
	const struct adv_request r = {.size = sizeof(r),
				      .function = echo,
				      .worker = ADV_ANY_WORKER,
				      .in_size = f->size,
				      .in = in,
				      .out = f->out,
				      .out_capacity = sizeof(f->out),
				      .timeout_us = TIMEOUT_US,
				      .user_data = (uint64_t)(f - flights)};
	if (adv_submit(lease, &r, &f->id) != ADV_OK)
		return fail("submit", number);
	/* Ids grow: that makes them unique without a list of them. */
	if (f->id <= last_id)
		return fail("its id is not above the last call's", number);
	last_id = f->id;
	return 0;
}

static int look_at(const struct adv_completion *c)
{
	struct flight *f = c->user_data < nr_inflight ? &flights[c->user_data] : NULL;
	if (f == NULL || f->number == 0)
		return fail("a completion of no call", 0);
	if (c->status != ADV_OK) {
		printf("# ended as %s\n", adv_status_name((enum adv_status)c->status));
		return fail("not ok", f->number);
	}
	if (c->call_id != f->id)
		return fail("completed by another id", f->number);
	if (c->out_size != f->size || compare(f->out, f->number, f->size) < 0)
		return fail("another output than its input", f->number);
	f->number = 0;
	return 0;
}

struct progress {
	uint64_t sent, taken, said;
	double begun;
};

static void say_progress(struct progress *p, uint64_t calls)
{
	if (p->taken * LINES / calls <= p->said)
		return;
	p->said = p->taken * LINES / calls;
	printf("# %llu calls, %.0f each second\n", (unsigned long long)p->taken,
	       (double)p->taken / (now_s() - p->begun));
	fflush(stdout);
}

/* Keeps nr_inflight calls out there; returns how many it has made, or -1. */
static int64_t soak(uint64_t calls, double seconds, uint64_t enough)
{
	struct adv_completion done[INFLIGHT_MAX];
	struct progress p = {.begun = now_s()};
	while (p.sent < nr_inflight && p.sent < calls) {
		if (submit(&flights[p.sent], p.sent + 1) < 0)
			return -1;
		p.sent++;
	}
	while (p.taken < p.sent) {
		bool go_on = p.taken < enough || now_s() < p.begun + seconds;
		unsigned n = adv_wait(lease, done, nr_inflight, TIMEOUT_US);
		if (n == 0)
			return fail("nothing has come for a minute", p.taken);
		for (unsigned i = 0; i < n; i++) {
			if (look_at(&done[i]) < 0)
				return -1;
			p.taken++;
			if (go_on && p.sent < calls &&
			    submit(&flights[done[i].user_data], ++p.sent) < 0)
				return -1;
		}
		say_progress(&p, calls);
	}
	if (adv_wait(lease, done, 1, 1000) != 0)
		return fail("a completion too many", p.taken);
	return (int64_t)p.taken;
}

int main(int argc, char **argv)
{
	struct adv_lease_options options;
	struct adv_lease_stats stats = {.size = sizeof(stats)};
	uint64_t calls = argc > 3 ? strtoull(argv[2], NULL, 10) : 0;
	double seconds = argc > 5 ? strtod(argv[4], NULL) : 0;
	uint64_t enough = argc > 5 ? strtoull(argv[5], NULL, 10) : calls;
	nr_inflight = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
	if (calls == 0 || nr_inflight == 0 || nr_inflight > INFLIGHT_MAX) {
		fprintf(stderr, "usage: soak HOST CALLS INFLIGHT [SECONDS ENOUGH]\n");
		return 2;
	}
	adv_lease_options_init(&options);
	options.slots = nr_inflight;
	if (adv_connect(argv[1], &node) != ADV_OK ||
	    adv_lease_open(node, "echo", &options, &lease) != ADV_OK ||
	    adv_function_find(lease, "echo", &echo) != ADV_OK) {
		fail("lease", 0);
		return 1;
	}
	lease->next_call_id = last_id = (UINT64_C(1) << 32) - 1000;
	int64_t made = soak(calls, seconds, enough);
	adv_lease_stats(lease, &stats);
	printf("calls=%llu failures=%llu deaths=%llu requests=%llu last_id=%llx\n",
	       (unsigned long long)stats.calls, (unsigned long long)stats.failures,
	       (unsigned long long)stats.deaths, (unsigned long long)stats.work_requests,
	       (unsigned long long)last_id);
	adv_lease_close(lease);
	adv_disconnect(node);
	return made < 0 ? 1 : 0;
}
