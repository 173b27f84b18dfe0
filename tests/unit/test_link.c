/*
 * test_link.c - posting, completing and receiving on one queue pair, on the fake device: bounded queues, batches, selective signalling,
 * and every way in which a link breaks.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "fabric/link.h"
#include "fake_verbs.h"

#define LINKS 3
#define BYTES 4096

/* Each link with its other end, which is a link too. */
static struct fake_device *device;
static struct fake_end ends[LINKS][2];
static struct adv_link links[LINKS][2];
static unsigned nr_links;
static uint8_t memory[LINKS][2][BYTES] __attribute__((aligned(4096)));
static struct ibv_mr *regions[LINKS][2];
static uint32_t immediates[ADV_LINK_POLL_MAX];
static unsigned nr_immediates;

static void make(unsigned nr, uint32_t send_depth, uint32_t recv_depth, uint32_t max_inline)
{
	memset(memory, 0, sizeof(memory));
	device = fake_device_create(NULL);
	nr_links = nr;
	for (unsigned i = 0; i < nr; i++) {
		for (int e = 0; e < 2; e++) {
			struct fake_end *end = &ends[i][e];
			fake_end_create(device, send_depth, recv_depth, max_inline, end);
			regions[i][e] =
				fake_region(end->pd, memory[i][e], BYTES, 0,
					    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
			adv_link_init(&links[i][e], end->qp, end->cq, send_depth, recv_depth,
				      max_inline);
			cr_assert_eq(adv_link_fill(&links[i][e]), 0);
		}
		fake_connect(ends[i][0].qp, ends[i][1].qp);
	}
}

static void unmake(void)
{
	for (unsigned i = 0; i < nr_links; i++)
		for (int e = 0; e < 2; e++)
			fake_end_destroy(&ends[i][e]);
	nr_links = 0;
	if (device != NULL)
		fake_device_destroy(device);
	device = NULL;
}

TestSuite(link, .fini = unmake, .timeout = 60);

/* One write of `size` bytes that carries an immediate, from link i's first end. What is not inline lies at its region's address, 0. */
static int send_on(unsigned i, uint32_t size, uint32_t immediate, bool mark)
{
	const struct adv_link *l = &links[i][0];
	struct adv_post post;
	adv_post_begin(&post);
	adv_post_write(&post, l, size <= l->max_inline ? memory[i][0] : NULL, size,
		       regions[i][0]->lkey, 0, regions[i][1]->rkey);
	adv_post_immediate(&post, immediate);
	return adv_link_post(&links[i][0], &post, mark);
}

static unsigned look(unsigned i, int e)
{
	return adv_link_poll(&links[i][e], immediates, &nr_immediates);
}

/* The next completion of link i's second end is that immediate alone. */
static void hears(unsigned i, uint32_t immediate)
{
	cr_assert_eq(look(i, 1), 1);
	cr_assert_eq(nr_immediates, 1);
	cr_assert_eq(immediates[0], immediate);
}

/* Link i carries an immediate, whatever has happened to others. */
static void works(unsigned i)
{
	cr_assert_not(adv_link_broken(&links[i][0]));
	cr_assert_str_eq(adv_link_why(&links[i][0]), "nothing is wrong");
	cr_assert_eq(send_on(i, 8, 4711, true), 0);
	hears(i, 4711);
	cr_assert_eq(look(i, 0), 1);
	cr_assert(adv_link_idle(&links[i][0]));
}

/* ---- posting ---- */

Test(link, one_doorbell_for_a_chain)
{
	struct adv_post post;
	uint8_t bytes[4][16];
	make(1, 16, 16, 64);
	adv_post_begin(&post);
	for (uint8_t k = 0; k < 4; k++) {
		memset(bytes[k], k + 1, sizeof(bytes[k]));
		adv_post_write(&post, &links[0][0], bytes[k], 16, 0, 64u * k, regions[0][1]->rkey);
	}
	adv_post_immediate(&post, 99);
	fake_by_hand(ends[0][0].qp, true);
	cr_assert_eq(adv_link_post(&links[0][0], &post, false), 0);
	struct fake_counts c = fake_counts(ends[0][0].qp);
	cr_assert_eq(c.doorbells, 1);
	cr_assert_eq(c.requests, 4);
	cr_assert_eq(c.inlined, 4);
	cr_assert_eq(c.bytes, 64);
	for (uint32_t k = 0; k < 4; k++) {
		const struct fake_work *w = fake_waiting(ends[0][0].qp, k);
		cr_assert_eq(w->remote, 64 * k, "in the order in which they were added");
		cr_assert_eq(w->opcode, k == 3 ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE);
	}
	memset(bytes, 0, sizeof(bytes)); /* inline: read when it was posted */
	fake_step_all(ends[0][0].qp);
	hears(0, 99);
	for (uint8_t k = 0; k < 4; k++)
		cr_assert_eq(memory[0][1][64 * k + 15], k + 1);
}

Test(link, inline_up_to_what_the_device_takes)
{
	const uint32_t sizes[] = {0, 1, 63, 64, 65, 4096};
	make(1, 64, 16, 64);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct adv_post post;
		uint8_t small[64] = {0};
		/* What is not inline is named by its region's address, which is 0. */
		const void *from = sizes[i] <= 64 ? small : NULL;
		uint64_t before = fake_counts(ends[0][0].qp).inlined;
		adv_post_begin(&post);
		adv_post_write(&post, &links[0][0], from, sizes[i], regions[0][0]->lkey, 0,
			       regions[0][1]->rkey);
		cr_assert_eq(adv_link_post(&links[0][0], &post, false), 0);
		cr_assert_eq(fake_counts(ends[0][0].qp).inlined - before, sizes[i] <= 64,
			     "%u bytes", sizes[i]);
	}
}

Test(link, nothing_is_inline_where_the_device_takes_nothing)
{
	make(1, 16, 16, 0);
	memset(memory[0][0], 7, 64);
	cr_assert_eq(send_on(0, 64, 1, false), 0);
	cr_assert_eq(memory[0][1][63], 7);
	cr_assert_eq(fake_counts(ends[0][0].qp).inlined, 0);
	cr_assert_eq(send_on(0, 0, 2, false), 0);
}

/* ---- full send queues ---- */

Test(link, a_full_send_queue_refuses_and_recovers)
{
	make(1, 16, 64, 64);
	struct adv_link *l = &links[0][0];
	uint32_t sent = 0;
	fake_by_hand(ends[0][0].qp, true);
	while (send_on(0, 8, sent, false) == 0)
		sent++;
	cr_assert_eq(sent, 16);
	cr_assert_eq(send_on(0, 8, 99, false), -EAGAIN);
	cr_assert_eq(adv_link_counted(l, ADV_LINK_STALLS), 2);
	cr_assert_eq(adv_link_counted(l, ADV_LINK_REQUESTS), 16, "what found no room is not sent");
	cr_assert_eq(fake_nr_waiting(ends[0][0].qp), 16);
	cr_assert_not(adv_link_broken(l));
	cr_assert_not(adv_link_room(l, 1));
	/* Carried out, but nobody has looked: a place is free when its completion is taken. */
	fake_step_all(ends[0][0].qp);
	cr_assert_eq(send_on(0, 8, 99, false), -EAGAIN);
	cr_assert_eq(look(0, 0), 4, "one in four asks for a completion");
	cr_assert(adv_link_room(l, 16));
	cr_assert_eq(send_on(0, 8, sent++, false), 0);
	fake_step_all(ends[0][0].qp);
	uint32_t next = 0;
	while (look(0, 1) > 0)
		for (unsigned i = 0; i < nr_immediates; i++)
			cr_assert_eq(immediates[i], next++);
	cr_assert_eq(next, sent, "none is lost, none comes twice");
}

Test(link, a_chain_goes_as_a_whole_or_not_at_all)
{
	struct adv_post post;
	make(1, 8, 64, 64);
	fake_by_hand(ends[0][0].qp, true);
	for (uint32_t i = 0; i < 5; i++)
		cr_assert_eq(send_on(0, 8, i, false), 0);
	adv_post_begin(&post);
	for (int k = 0; k < 4; k++)
		adv_post_write(&post, &links[0][0], NULL, 0, 0, 0, 0);
	cr_assert(adv_link_room(&links[0][0], 3));
	cr_assert_not(adv_link_room(&links[0][0], 4));
	cr_assert_eq(adv_link_post(&links[0][0], &post, false), -EAGAIN);
	cr_assert_eq(fake_nr_waiting(ends[0][0].qp), 5);
}

/* Whatever the depth: there is room again once everything has completed, and never more is posted than fits. */
Test(link, no_depth_locks_up)
{
	for (uint32_t depth = ADV_LINK_POST_MAX; depth <= 40; depth++) {
		make(1, depth, 64, 64);
		for (unsigned round = 0; round < 200; round++) {
			struct adv_post post;
			unsigned nr = round % ADV_LINK_POST_MAX + 1;
			adv_post_begin(&post);
			for (unsigned k = 0; k < nr; k++)
				adv_post_write(&post, &links[0][0], NULL, 0, 0, 0, 0);
			int rc = adv_link_post(&links[0][0], &post, false);
			if (rc == -EAGAIN) {
				cr_assert_gt(look(0, 0), 0, "depth %u: for ever full", depth);
				rc = adv_link_post(&links[0][0], &post, false);
			}
			cr_assert_eq(rc, 0, "depth %u", depth);
		}
		unmake();
	}
}

/* ---- completions ---- */

Test(link, one_in_a_quarter_of_the_queue_asks_for_a_completion)
{
	make(1, 64, 64, 64);
	for (uint32_t i = 0; i < 160; i++) {
		cr_assert_eq(send_on(0, 8, i, false), 0);
		cr_assert_eq(fake_counts(ends[0][0].qp).signalled, (i + 1) / 16);
		if (fake_nr_completions(ends[0][0].cq) > 0)
			cr_assert_eq(look(0, 0), 1);
		cr_assert_eq(links[0][0].nr_sent, (i + 1) % 16);
		(void)look(0, 1);
		cr_assert_eq(adv_link_replenish(&links[0][1], false), 0);
	}
}

Test(link, a_marked_post_tells_when_all_is_over)
{
	make(1, 64, 64, 64);
	fake_by_hand(ends[0][0].qp, true);
	for (uint32_t i = 0; i < 5; i++)
		cr_assert_eq(send_on(0, 8, i, i == 4), 0);
	for (uint32_t i = 0; i < 5; i++) {
		(void)look(0, 0);
		cr_assert_not(adv_link_idle(&links[0][0]), "%u of 5 are complete", i);
		fake_step(ends[0][0].qp);
	}
	cr_assert_eq(look(0, 0), 1);
	cr_assert(adv_link_idle(&links[0][0]));
	cr_assert_eq(fake_sends(ends[0][0].qp), 0);
}

Test(link, at_most_a_batch_at_a_time)
{
	make(1, 64, 64, 64);
	for (uint32_t i = 0; i < ADV_LINK_POLL_MAX + 3; i++)
		cr_assert_eq(send_on(0, 8, i, false), 0);
	cr_assert_eq(look(0, 1), ADV_LINK_POLL_MAX);
	cr_assert_eq(nr_immediates, ADV_LINK_POLL_MAX);
	cr_assert_eq(look(0, 1), 3);
	cr_assert_eq(nr_immediates, 3);
	cr_assert_eq(look(0, 1), 0);
	cr_assert_eq(nr_immediates, 0);
	cr_assert_eq(adv_link_counted(&links[0][1], ADV_LINK_IMMEDIATES), ADV_LINK_POLL_MAX + 3);
}

Test(link, sends_and_receives_share_a_queue)
{
	make(1, 8, 64, 64);
	fake_immediate(ends[0][0].qp, 1);
	cr_assert_eq(send_on(0, 8, 0, true), 0);
	fake_immediate(ends[0][0].qp, 2);
	cr_assert_eq(look(0, 0), 3);
	cr_assert_eq(nr_immediates, 2);
	cr_assert_eq(immediates[0], 1);
	cr_assert_eq(immediates[1], 2);
	cr_assert(adv_link_idle(&links[0][0]));
	cr_assert_eq(links[0][0].nr_missing, 2);
}

/* A peer may send what takes a receive and is no immediate. */
Test(link, a_plain_send_means_nothing)
{
	make(1, 8, 8, 64);
	fake_plain_send(ends[0][0].qp);
	fake_immediate(ends[0][0].qp, 5);
	cr_assert_eq(look(0, 0), 2);
	cr_assert_eq(nr_immediates, 1);
	cr_assert_eq(immediates[0], 5);
	cr_assert_eq(links[0][0].nr_missing, 2);
	cr_assert_eq(adv_link_replenish(&links[0][0], true), 0);
	cr_assert_eq(fake_receives(ends[0][0].qp), 8);
}

/* Each link has its own queue: what completes on one says nothing about another, in whatever order it is seen. */
Test(link, completions_out_of_order_across_links)
{
	static const unsigned orders[][LINKS] = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}};
	for (size_t o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
		make(LINKS, 16, 16, 64);
		for (unsigned i = 0; i < LINKS; i++) {
			fake_by_hand(ends[i][0].qp, true);
			memset(memory[i][0], (int)i + 1, 8);
			cr_assert_eq(send_on(i, 8, 100 + i, true), 0);
		}
		for (unsigned k = 0; k < LINKS; k++) {
			unsigned now = orders[o][k];
			fake_step(ends[now][0].qp);
			for (unsigned i = 0; i < LINKS; i++) {
				bool done = i == now;
				cr_assert_eq(look(i, 0), done);
				cr_assert_eq(look(i, 1), done);
				cr_assert_eq(nr_immediates, done);
				if (done)
					cr_assert_eq(immediates[0], 100 + i);
			}
			cr_assert(adv_link_idle(&links[now][0]));
			cr_assert_eq(memory[now][1][7], now + 1);
		}
		unmake();
	}
}

/* ---- receives ---- */

Test(link, receives_are_posted_in_batches)
{
	make(1, 64, 100, 64);
	uint64_t filled = fake_counts(ends[0][1].qp).receive_doorbells;
	cr_assert_eq(filled, 4, "three of 32 and one of 4");
	cr_assert_eq(fake_receives(ends[0][1].qp), 100);
	for (uint32_t i = 0; i < 64; i++) {
		fake_immediate(ends[0][1].qp, i);
		hears(0, i);
		cr_assert_eq(adv_link_replenish(&links[0][1], false), 0);
		struct fake_counts c = fake_counts(ends[0][1].qp);
		cr_assert_eq(c.receive_doorbells - filled, (i + 1) / ADV_LINK_RECV_POST);
		cr_assert_eq(c.receives, 100 + (i + 1) / ADV_LINK_RECV_POST * ADV_LINK_RECV_POST);
	}
}

Test(link, the_rest_is_posted_where_there_is_time)
{
	make(1, 64, 100, 64);
	for (uint32_t i = 0; i < 70; i++)
		fake_immediate(ends[0][1].qp, i);
	while (look(0, 1) > 0)
		;
	cr_assert_eq(adv_link_replenish(&links[0][1], true), 0);
	cr_assert_eq(fake_receives(ends[0][1].qp), 100);
	cr_assert_eq(links[0][1].nr_missing, 0);
	uint64_t before = fake_counts(ends[0][1].qp).receive_doorbells;
	cr_assert_eq(adv_link_replenish(&links[0][1], true), 0);
	cr_assert_eq(fake_counts(ends[0][1].qp).receive_doorbells, before, "nothing is missing");
}

/* ---- events ---- */

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

Test(link, an_event_is_asked_for_once)
{
	make(1, 16, 16, 64);
	struct adv_link *l = &links[0][1];
	cr_assert_eq(adv_link_notify(l), 0);
	cr_assert(l->notify);
	cr_assert_eq(adv_link_notify(l), 0);
	cr_assert_eq(fake_cq_counts(ends[0][1].cq).notifies, 1, "it is asked for already");
	cr_assert_not(readable(ends[0][1].channel->fd));
	fake_immediate(ends[0][1].qp, 1);
	cr_assert(readable(ends[0][1].channel->fd));
	fake_immediate(ends[0][1].qp, 2);
	cr_assert_eq(fake_cq_counts(ends[0][1].cq).events, 1);
}

Test(link, what_came_before_raises_no_event)
{
	make(1, 16, 16, 64);
	fake_immediate(ends[0][1].qp, 1);
	cr_assert_eq(adv_link_notify(&links[0][1]), 0);
	cr_assert_not(readable(ends[0][1].channel->fd));
	hears(0, 1);
}

/* ---- breaking ---- */

/* Nothing goes or comes any more, and nothing more is asked of the device. */
static void is_broken(unsigned i, const char *why)
{
	struct adv_link *l = &links[i][0];
	struct fake_counts before = fake_counts(ends[i][0].qp);
	uint64_t polls = fake_cq_counts(ends[i][0].cq).polls;
	cr_assert(adv_link_broken(l));
	cr_assert_str_eq(adv_link_why(l), why);
	cr_assert_eq(send_on(i, 8, 1, false), -EIO);
	cr_assert_eq(look(i, 0), 0);
	cr_assert_eq(nr_immediates, 0);
	cr_assert_eq(adv_link_replenish(l, true), -EIO);
	cr_assert_eq(adv_link_notify(l), 0);
	struct fake_counts after = fake_counts(ends[i][0].qp);
	cr_assert_eq(after.doorbells, before.doorbells);
	cr_assert_eq(after.receives, before.receives);
	cr_assert_eq(fake_cq_counts(ends[i][0].cq).polls, polls);
	cr_assert_str_eq(adv_link_why(l), why, "the first reason counts");
}

Test(link, every_status_breaks_it_and_is_named)
{
	for (int s = IBV_WC_LOC_LEN_ERR; s <= IBV_WC_TM_RNDV_INCOMPLETE; s++)
		for (int sending = 0; sending < 2; sending++) {
			enum ibv_wc_status status = (enum ibv_wc_status)s;
			make(2, 16, 16, 64);
			fake_by_hand(ends[0][0].qp, true);
			for (int k = 0; k < 3 * sending; k++)
				cr_assert_eq(send_on(0, 8, 1, false), 0);
			fake_break(ends[0][0].qp, status);
			(void)look(0, 0);
			is_broken(0, ibv_wc_status_str(status));
			works(1);
			unmake();
		}
}

Test(link, what_came_before_the_bad_one_is_heard)
{
	make(1, 16, 16, 64);
	fake_immediate(ends[0][0].qp, 1);
	fake_immediate(ends[0][0].qp, 2);
	fake_break(ends[0][0].qp, IBV_WC_GENERAL_ERR);
	cr_assert_eq(look(0, 0), ADV_LINK_POLL_MAX);
	cr_assert_eq(nr_immediates, 2);
	is_broken(0, ibv_wc_status_str(IBV_WC_GENERAL_ERR));
}

Test(link, a_peer_that_goes_flushes)
{
	make(1, 16, 16, 64);
	fake_by_hand(ends[0][0].qp, true);
	cr_assert_eq(send_on(0, 8, 1, false), 0);
	fake_end_destroy(&ends[0][1]);
	(void)look(0, 0);
	is_broken(0, ibv_wc_status_str(IBV_WC_WR_FLUSH_ERR));
	fake_end_create(device, 16, 16, 64, &ends[0][1]);
}

Test(link, a_post_that_is_refused)
{
	const int errors[] = {ENOMEM, EINVAL, EFAULT, EIO};
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		make(2, 16, 16, 64);
		fake_fail_next(device, FAKE_POST_SEND, errors[i]);
		cr_assert_eq(send_on(0, 8, 1, false), -EIO);
		is_broken(0, strerror(errors[i]));
		cr_assert_eq(links[0][0].error, -errors[i]);
		works(1);
		unmake();
	}
}

/* Part of the chain is on its way: what it does there is not undone, and the link is as broken. */
Test(link, a_post_that_is_refused_half_way)
{
	for (uint32_t done = 0; done < 3; done++) {
		struct adv_post post;
		make(1, 16, 16, 64);
		adv_post_begin(&post);
		for (int k = 0; k < 3; k++)
			adv_post_write(&post, &links[0][0], NULL, 0, 0, 0, 0);
		adv_post_immediate(&post, 1);
		fake_fail_send_after(device, done, ENOMEM);
		cr_assert_eq(adv_link_post(&links[0][0], &post, true), -EIO);
		cr_assert_eq(fake_counts(ends[0][0].qp).requests, done);
		is_broken(0, strerror(ENOMEM));
		unmake();
	}
}

Test(link, receives_that_are_refused)
{
	make(1, 16, 16, 64);
	fake_immediate(ends[0][0].qp, 1);
	cr_assert_eq(look(0, 0), 1);
	fake_fail_next(device, FAKE_POST_RECV, EINVAL);
	cr_assert_eq(adv_link_replenish(&links[0][0], true), -EIO);
	is_broken(0, strerror(EINVAL));
}

Test(link, filling_that_is_refused_at_any_batch)
{
	for (uint64_t n = 1; n <= 4; n++) {
		make(1, 16, 100, 64);
		struct fake_end end;
		struct adv_link l;
		fake_end_create(device, 16, 100, 64, &end);
		adv_link_init(&l, end.qp, end.cq, 16, 100, 64);
		fake_fail_nth(device, n, ENOMEM);
		cr_assert_eq(adv_link_fill(&l), -EIO);
		cr_assert(fake_has_failed(device));
		cr_assert_str_eq(adv_link_why(&l), strerror(ENOMEM));
		cr_assert_eq(fake_receives(end.qp), 32 * (n - 1));
		fake_end_destroy(&end);
		unmake();
	}
}

Test(link, a_queue_that_cannot_be_asked)
{
	make(1, 16, 16, 64);
	fake_immediate(ends[0][0].qp, 1);
	fake_fail_next(device, FAKE_POLL, EIO);
	cr_assert_eq(look(0, 0), 0);
	cr_assert_eq(nr_immediates, 0);
	is_broken(0, strerror(EIO));
}

Test(link, an_event_that_cannot_be_asked_for)
{
	const int errors[] = {EINVAL, -1};
	for (int i = 0; i < 2; i++) {
		make(1, 16, 16, 64);
		fake_fail_next(device, FAKE_NOTIFY, errors[i]);
		cr_assert_eq(adv_link_notify(&links[0][0]), -EIO);
		cr_assert_not(links[0][0].notify);
		is_broken(0, strerror(errors[i] > 0 ? errors[i] : EIO));
		unmake();
	}
}

/* ---- all at once ---- */

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

static void take_all(uint32_t *next, uint32_t *taken)
{
	*taken += look(0, 1);
	for (unsigned i = 0; i < nr_immediates; i++)
		cr_assert_eq(immediates[i], (*next)++, "in order");
	cr_assert_eq(adv_link_replenish(&links[0][1], random_below(2)), 0);
}

/* Posts, steps and looks in any order: the device's rules are kept, everything arrives once and in order. */
Test(link, any_order_of_posts_and_completions)
{
	for (random_state = 0; random_state < 40; random_state++) {
		uint32_t seed = random_state, sent = 0, next = 0, taken = 0;
		uint32_t depth = 4 + random_below(60);
		make(1, depth, 64, 64);
		fake_by_hand(ends[0][0].qp, true);
		for (unsigned step = 0; step < 2000; step++) {
			uint32_t what = random_below(4);
			if (what == 0 && sent - next < 32) {
				int rc = send_on(0, random_below(65), sent, random_below(8) == 0);
				cr_assert(rc == 0 || rc == -EAGAIN);
				sent += rc == 0;
			} else if (what == 1 && fake_nr_waiting(ends[0][0].qp) > 0) {
				cr_assert(fake_step(ends[0][0].qp));
			} else if (what == 2) {
				(void)look(0, 0);
			} else {
				take_all(&next, &taken);
			}
			cr_assert_geq(links[0][0].nr_sent, fake_sends(ends[0][0].qp), "seed %u",
				      seed);
		}
		fake_step_all(ends[0][0].qp);
		while (look(0, 0) > 0)
			;
		while (next < sent)
			take_all(&next, &taken);
		cr_assert_eq(links[0][0].nr_sent, fake_sends(ends[0][0].qp));
		unmake();
		random_state = seed;
	}
}

Test(link, counters_have_names)
{
	static const char *const names[] = {"doorbells", "requests",   "bytes",
					    "receives",	 "immediates", "stalls"};
	for (int i = 0; i < ADV_LINK_COUNTERS; i++)
		cr_assert_str_eq(adv_link_counter_name((enum adv_link_counter)i), names[i]);
	make(1, 16, 40, 64);
	cr_assert_eq(send_on(0, 8, 1, false), 0);
	struct fake_counts c = fake_counts(ends[0][0].qp);
	const struct adv_link *l = &links[0][0];
	cr_assert_eq(adv_link_counted(l, ADV_LINK_DOORBELLS), c.doorbells);
	cr_assert_eq(adv_link_counted(l, ADV_LINK_REQUESTS), c.requests);
	cr_assert_eq(adv_link_counted(l, ADV_LINK_BYTES), c.bytes);
	cr_assert_eq(adv_link_counted(l, ADV_LINK_RECEIVES), c.receives);
	cr_assert_eq(adv_link_counted(l, ADV_LINK_STALLS), 0);
}
