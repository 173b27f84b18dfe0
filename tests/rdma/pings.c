/*
 * pings.c - ping-pongs beside a lease as nobody ought to make them: pings HOST ACT. Has the library open a lease of module "echo". Says on
 * standard output what came of it; exit status 0 when that is what must come.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/pingpong.h"
#include "client/verbs.h"
#include "fabric/pingpong.h"
#include "util/clock.h"

#define PATIENCE_NS (10 * ADV_SEC)

static struct adv_lease *lease;
static uint32_t echo;

static int say(const char *what, int status)
{
	printf("%s: %s\n", what, adv_error());
	return status;
}

static bool works(void)
{
	char out[8] = "";
	uint32_t n = 0;
	return adv_invoke(lease, echo, "again", 5, out, sizeof(out), &n, 5000000) == ADV_OK &&
	       n == 5 && memcmp(out, "again", 5) == 0;
}

static void count(void *user, uint64_t ns)
{
	uint64_t *n = user;
	*n += ns > 0;
}

static bool goes(struct adv_verbs_pingpong *p)
{
	uint64_t n = 0, spent_ns;
	const struct adv_verbs_pingpong_block block = {.bytes = 8,
						       .inflight = 4,
						       .duration_ns = UINT64_MAX,
						       .count = 20,
						       .sample = count,
						       .user = &n};
	return adv_verbs_pingpong_block(p, &block, &spent_ns) == ADV_OK && n == 20;
}

/* A lease has one at a time; when it has ended there may be another. */
static int one_at_a_time(void)
{
	struct adv_verbs_pingpong *first, *second;
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	uint64_t end = adv_clock_monotonic_ns() + PATIENCE_NS;
	if (adv_verbs_pingpong_start(lease, &first) != ADV_OK)
		return say("no ping-pong", 1);
	if (adv_verbs_pingpong_start(lease, &second) != ADV_FORBIDDEN)
		return say("a second one at the same time", 1);
	say("the second", 0);
	if (!goes(first) || !works())
		return say("the first does not go on", 1);
	adv_verbs_pingpong_stop(first);
	while (adv_verbs_pingpong_start(lease, &second) != ADV_OK) {
		if (adv_clock_monotonic_ns() > end)
			return say("no other one afterwards", 1);
		nanosleep(&pause, NULL);
	}
	if (!goes(second) || !works())
		return say("the one afterwards does not go", 1);
	adv_verbs_pingpong_stop(second);
	return 0;
}

/* Blocks that no node can answer are refused before anything is sent. */
static int too_much(void)
{
	struct adv_verbs_pingpong *p;
	uint64_t spent_ns;
	struct adv_verbs_pingpong_block block = {
		.bytes = ADV_PINGPONG_BYTES_MAX + 1, .inflight = 1, .count = 1};
	if (adv_verbs_pingpong_start(lease, &p) != ADV_OK)
		return say("no ping-pong", 1);
	bool large = adv_verbs_pingpong_block(p, &block, &spent_ns) != ADV_INVALID;
	block.bytes = 8;
	block.inflight = ADV_PINGPONG_DEPTH_MAX + 1;
	bool many = adv_verbs_pingpong_block(p, &block, &spent_ns) != ADV_INVALID;
	bool fine = goes(p) && works();
	adv_verbs_pingpong_stop(p);
	return large || many || !fine ? say("bounds", 1) : 0;
}

/* Its client is not to be trusted: what goes beyond the region breaks its link, and the lease goes on. */
static int beyond(void)
{
	struct adv_verbs_lease *v = lease->verbs;
	const struct adv_verbs_connect c = {.hello = {.flags = ADV_HELLO_PINGPONG,
						      .counter = ++v->counter,
						      .lease = strtoull(lease->id, NULL, 10)},
					    .token = v->token,
					    .token_size = sizeof(v->token),
					    .send_depth = 64,
					    .recv_depth = 64,
					    .deadline_ns = adv_client_deadline(5000)};
	struct adv_verbs_link *link;
	struct adv_post post;
	uint32_t immediates[ADV_LINK_POLL_MAX];
	unsigned nr;
	uint64_t end = adv_clock_monotonic_ns() + PATIENCE_NS;
	if (adv_verbs_link_connect(v->node, &c, &link) != ADV_OK)
		return say("no ping-pong", 1);
	adv_post_begin(&post);
	adv_post_write(&post, &link->link, v->mirror, 64, v->lkey, link->region_bytes - 32,
		       link->region_rkey);
	adv_link_post(&link->link, &post, true);
	while (!adv_link_broken(&link->link) && adv_clock_monotonic_ns() < end)
		adv_link_poll(&link->link, immediates, &nr);
	printf("a write beyond the region: %s\n", adv_link_why(&link->link));
	bool broke = adv_link_broken(&link->link);
	adv_verbs_link_destroy(link);
	return broke && works() ? 0 : 1;
}

/* While it goes on, somebody ends the lease. */
static int until_it_ends(void)
{
	struct adv_verbs_pingpong *p;
	uint64_t end = adv_clock_monotonic_ns() + PATIENCE_NS;
	if (adv_verbs_pingpong_start(lease, &p) != ADV_OK)
		return say("no ping-pong", 1);
	if (!works() || !goes(p))
		return say("it does not go", 1);
	puts("started");
	fflush(stdout);
	while (goes(p) && adv_clock_monotonic_ns() < end)
		;
	say("ended", 0);
	adv_verbs_pingpong_stop(p);
	return adv_clock_monotonic_ns() < end ? 0 : 1;
}

static const struct {
	const char *name;
	int (*run)(void);
} acts[] = {
	{"one-at-a-time", one_at_a_time},
	{"too-much", too_much},
	{"beyond", beyond},
	{"until-it-ends", until_it_ends},
};

int main(int argc, char **argv)
{
	struct adv_node *node;
	if (argc != 3 || adv_connect(argv[1], &node) != ADV_OK ||
	    adv_lease_open(node, "echo", NULL, &lease) != ADV_OK ||
	    adv_function_find(lease, "echo", &echo) != ADV_OK)
		return say("pings HOST ACT", 2);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		if (strcmp(acts[i].name, argv[2]) != 0)
			continue;
		int status = acts[i].run();
		adv_lease_close(lease);
		adv_disconnect(node);
		return status;
	}
	return say(argv[2], 2);
}
