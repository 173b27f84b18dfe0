/*
 * test_pair.c - making and ending queue pairs, registering memory: what they get from devices of all kinds, and what is left when any
 * call of libibverbs or librdmacm fails: nothing, and a reason.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

#include "fabric/pair.h"
#include "fake_setup.h"
#include "fake_verbs.h"
#include "util/limits.h"

static struct fake_device *device;
static struct rdma_event_channel *events;
static struct rdma_cm_id *id;
static struct ibv_pd *pd;
static struct adv_pair pair;
static char reason[ADV_REASON_MAX];

static void make_with(const struct fake_options *o)
{
	struct rdma_cm_event *event;
	struct sockaddr address = {.sa_family = AF_INET};
	device = fake_device_create(o);
	fake_setup_device(device);
	events = rdma_create_event_channel();
	cr_assert_eq(rdma_create_id(events, &id, NULL, RDMA_PS_TCP), 0);
	cr_assert_eq(rdma_resolve_addr(id, NULL, &address, 0), 0);
	cr_assert_eq(rdma_get_cm_event(events, &event), 0);
	rdma_ack_cm_event(event);
	pd = ibv_alloc_pd(fake_context(device));
	memset(&pair, 0, sizeof(pair));
	memset(reason, 0, sizeof(reason));
}

static void make(void)
{
	make_with(NULL);
}

/* Whatever is left besides ends the program. */
static void unmake(void)
{
	if (pair.id == NULL && id != NULL)
		rdma_destroy_id(id);
	adv_pair_destroy(&pair); /* of nothing: nothing */
	rdma_destroy_event_channel(events);
	ibv_dealloc_pd(pd);
	fake_device_destroy(device);
	fake_setup_device(NULL);
}

TestSuite(pair, .init = make, .fini = unmake);

static int create(uint32_t send_depth, uint32_t recv_depth)
{
	return adv_pair_create(id, pd, send_depth, recv_depth, &pair, reason, sizeof(reason));
}

/* Another device instead of the ordinary one. */
static void again(const struct fake_options *o)
{
	unmake();
	make_with(o);
}

Test(pair, is_made_as_wanted)
{
	cr_assert_eq(create(100, 50), 0);
	cr_assert_eq(pair.id, id);
	cr_assert_eq(pair.send_depth, 100);
	cr_assert_eq(pair.recv_depth, 50 + ADV_LINK_RECV_SLACK);
	cr_assert_eq(pair.max_inline, 220);
	cr_assert_eq(pair.cq->cqe, 150 + ADV_LINK_RECV_SLACK, "room for all that can complete");
	cr_assert_eq(id->qp->send_cq, pair.cq);
	cr_assert_eq(id->qp->recv_cq, pair.cq);
	cr_assert(fcntl(pair.channel->fd, F_GETFL) & O_NONBLOCK);
	adv_pair_destroy(&pair);
	cr_assert_null(pair.id);
	cr_assert_null(pair.cq);
	cr_assert_null(pair.channel);
	id = NULL;
}

Test(pair, inline_sizes)
{
	const uint32_t given[][2] = {{256, 220}, {220, 220}, {219, 128}, {128, 128},
				     {127, 64},	 {64, 64},   {63, 0},	 {0, 0}};
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		struct fake_options o = FAKE_DEFAULTS;
		o.max_inline = given[i][0];
		again(&o);
		cr_assert_eq(create(10, 10), 0);
		cr_assert_eq(pair.max_inline, given[i][1]);
		cr_assert_eq(adv_pair_inline(pd), given[i][1]);
	}
}

Test(pair, depths_are_cut_to_the_device)
{
	struct fake_options o = FAKE_DEFAULTS;
	o.max_wr = 64;
	again(&o);
	cr_assert_eq(create(1000, 32), 0);
	cr_assert_eq(pair.send_depth, 64);
	cr_assert_eq(pair.recv_depth, 64);
	again(&o);
	cr_assert_eq(create(10, 1), 0);
	cr_assert_eq(pair.send_depth, 10);
	cr_assert_eq(pair.recv_depth, 1 + ADV_LINK_RECV_SLACK);
}

Test(pair, a_completion_queue_that_is_too_short)
{
	struct fake_options o = FAKE_DEFAULTS;
	o.max_cqe = 99;
	again(&o);
	cr_assert_eq(create(50, 50 - ADV_LINK_RECV_SLACK), -ENOSPC);
	cr_assert(strstr(reason, "completion queues are too short on fake0"), "%s", reason);
	cr_assert_eq(create(49, 50 - ADV_LINK_RECV_SLACK), 0);
}

/* ---- failures ---- */

static void failed_well(int rc, int error)
{
	cr_assert_eq(rc, -error);
	cr_assert_null(id->qp);
	cr_assert_null(pair.id, "it is left alone");
	cr_assert(strstr(reason, "fake0"), "no device named: %s", reason);
	cr_assert(strstr(reason, strerror(error)), "%s", reason);
}

Test(pair, every_call_fails_once)
{
	const int errors[] = {ENOMEM, EINVAL, EPERM};
	for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++)
		for (uint64_t n = 1;; n++) {
			again(NULL);
			fake_fail_nth(device, n, errors[e]);
			int rc = create(10, 10);
			if (!fake_has_failed(device)) {
				cr_assert_eq(n, 5, "there are four calls");
				break;
			}
			/* A queue pair that is refused is tried again with less inline. */
			if (rc == 0)
				cr_assert_eq(pair.max_inline, 128);
			else
				failed_well(rc, errors[e]);
			fake_fail_nth(device, 0, 0);
		}
}

Test(pair, no_queue_pair_at_all)
{
	fake_fail_always(device, FAKE_QP, ENOMEM);
	failed_well(create(10, 10), ENOMEM);
	cr_assert_eq(fake_nr_calls(device, FAKE_QP), 4);
	cr_assert(strstr(reason, "queue pair") && strstr(reason, "LimitMEMLOCK"), "%s", reason);
	fake_fail_always(device, FAKE_QP, 0);
	cr_assert_eq(create(10, 10), 0, "the identifier is as good as before");
}

Test(pair, inline_sizes_that_cannot_be_found)
{
	for (uint64_t n = 1;; n++) {
		again(NULL);
		fake_fail_nth(device, n, ENOMEM);
		uint32_t found = adv_pair_inline(pd);
		if (!fake_has_failed(device))
			break;
		cr_assert_eq(found, n == 1 ? 0 : 128, "n = %lu", n);
	}
	fake_fail_always(device, FAKE_QP, ENOMEM);
	cr_assert_eq(adv_pair_inline(pd), 0);
}

/* ---- connecting ---- */

Test(pair, connections_outlast_the_peer_timeout)
{
	static const uint8_t hello[ADV_WIRE_HELLO_BYTES];
	struct rdma_conn_param p;
	adv_pair_parameters(id, hello, &p);
	cr_assert_eq(fake_setup_told()->ack_timeout, 17);
	cr_assert_eq(p.private_data, hello);
	cr_assert_eq(p.private_data_len, ADV_WIRE_HELLO_BYTES);
	cr_assert_eq(p.retry_count, 7);
	cr_assert_eq(p.rnr_retry_count, 7);
	struct fake_options o = FAKE_DEFAULTS;
	o.vendor_id = 0xffffff;
	again(&o);
	adv_pair_parameters(id, NULL, &p);
	cr_assert_eq(fake_setup_told()->ack_timeout, 14, "soft-RoCE");
	cr_assert_null(p.private_data);
	cr_assert_eq(p.private_data_len, 0);
}

Test(pair, what_a_device_does_not_know_is_done_without)
{
	struct rdma_conn_param p = {0};
	for (uint64_t n = 1; n <= 2; n++) {
		fake_fail_nth(device, n, ENOSYS);
		adv_pair_parameters(id, NULL, &p);
		cr_assert(fake_has_failed(device));
		cr_assert_eq(p.retry_count, 7);
	}
	cr_assert_eq(create(10, 10), 0);
	adv_pair_connected(&pair);
	cr_assert_eq(fake_setup_told()->rnr_timer, 12);
	fake_fail_next(device, FAKE_MODIFY, EINVAL);
	adv_pair_connected(&pair);
}

/* ---- memory ---- */

static uint8_t memory[2 * ADV_PAGE] __attribute__((aligned(4096)));

static struct ibv_mr *reg(void)
{
	return adv_memory_register(pd, memory, sizeof(memory), ADV_PAGE,
				   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, reason,
				   sizeof(reason));
}

Test(pair, memory_is_registered_under_an_offset)
{
	struct fake_end end;
	struct ibv_mr *mr = reg();
	uint8_t byte = 9;
	cr_assert_not_null(mr);
	cr_assert_eq(mr->addr, memory);
	cr_assert_eq(mr->length, sizeof(memory));
	cr_assert_eq(create(4, 4), 0);
	cr_assert(fake_write(id->qp, ADV_PAGE + 5, mr->rkey, &byte, 1));
	cr_assert_eq(memory[5], 9);
	cr_assert_not(fake_write(id->qp, ADV_PAGE - 1, mr->rkey, &byte, 1));
	cr_assert_not(fake_write(id->qp, 3 * ADV_PAGE, mr->rkey, &byte, 1));
	/* Another client's protection domain has nothing to do with it. */
	fake_end_create(device, 4, 4, 0, &end);
	cr_assert_not(fake_write(end.qp, ADV_PAGE, mr->rkey, &byte, 1));
	fake_end_destroy(&end);
	ibv_dereg_mr(mr);
}

Test(pair, memory_that_may_not_be_locked)
{
	const struct rlimit before = {RLIM_INFINITY, RLIM_INFINITY}, low = {65536, 65536};
	fake_fail_next(device, FAKE_REGION, ENOMEM);
	if (setrlimit(RLIMIT_MEMLOCK, &before) == 0) {
		cr_assert_null(reg());
		cr_assert(strstr(reason, "registering 8 KiB with fake0: Cannot allocate memory"),
			  "%s", reason);
		fake_fail_next(device, FAKE_REGION, ENOMEM);
	}
	cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &low), 0);
	cr_assert_null(reg());
	cr_assert(strstr(reason, "RLIMIT_MEMLOCK is 64 KiB") && strstr(reason, "memlock"), "%s",
		  reason);
	fake_fail_next(device, FAKE_REGION, EFAULT);
	cr_assert_null(reg());
	cr_assert(strstr(reason, "registering 8 KiB with fake0: Bad address"), "%s", reason);
}
