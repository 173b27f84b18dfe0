/*
 * test_fake_verbs.c - the fake device keeps the rules that the other tests rely on: what a device would refuse it refuses, and it says
 * when something is left behind. A lenient device counts where another ends the program.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "fake_verbs.h"

static struct fake_device *device;
static struct fake_end a, b;
static uint8_t memory[2][8192] __attribute__((aligned(4096)));
static struct ibv_mr *from, *to, *closed;

static void make(bool lenient)
{
	struct fake_options o = FAKE_DEFAULTS;
	o.lenient = lenient;
	device = fake_device_create(&o);
	fake_end_create(device, 4, 4, 64, &a);
	fake_end_create(device, 4, 4, 64, &b);
	from = fake_region(a.pd, memory[0], 8192, 0, 0);
	to = fake_region(b.pd, memory[1], 4096, 4096,
			 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	closed = fake_region(b.pd, memory[1], 8192, 0, IBV_ACCESS_LOCAL_WRITE);
	fake_connect(a.qp, b.qp);
	memset(memory[0], 1, sizeof(memory[0]));
}

static void make_lenient(void)
{
	make(true);
}

static void make_strict(void)
{
	make(false);
}

static void unmake(void)
{
	fake_end_destroy(&a);
	fake_end_destroy(&b);
	fake_device_destroy(device);
}

TestSuite(fake_verbs, .init = make_lenient, .fini = unmake);
TestSuite(fake_verbs_strict, .init = make_strict); /* it is not left in order */

struct write {
	uint64_t local, remote;
	uint32_t size, lkey, rkey;
	unsigned flags;
	int pieces;
	enum ibv_wr_opcode opcode;
};

static struct write good(void)
{
	return (struct write){.remote = 4096,
			      .size = 64,
			      .lkey = from->lkey,
			      .rkey = to->rkey,
			      .flags = IBV_SEND_SIGNALED,
			      .pieces = 1,
			      .opcode = IBV_WR_RDMA_WRITE};
}

static int post(struct write w)
{
	struct ibv_sge piece = {.addr = w.local, .length = w.size, .lkey = w.lkey};
	struct ibv_send_wr wr = {.sg_list = &piece,
				 .num_sge = w.pieces,
				 .opcode = w.opcode,
				 .send_flags = w.flags,
				 .imm_data = 7,
				 .wr.rdma = {.remote_addr = w.remote, .rkey = w.rkey}},
			   *bad = NULL;
	int rc = ibv_post_send(a.qp, &wr, &bad);
	cr_assert(rc == 0 || bad == &wr);
	return rc;
}

static void receive(struct fake_end *end, int n)
{
	struct ibv_recv_wr wr = {.wr_id = 5}, *bad;
	for (int i = 0; i < n; i++)
		cr_assert_eq(ibv_post_recv(end->qp, &wr, &bad), 0);
}

static void completes(struct fake_end *end, enum ibv_wc_status status)
{
	struct ibv_wc wc;
	cr_assert_eq(ibv_poll_cq(end->cq, 1, &wc), 1);
	cr_assert_eq(wc.status, status, "status %d", wc.status);
}

static void no_completion(struct fake_end *end)
{
	struct ibv_wc wc;
	cr_assert_eq(ibv_poll_cq(end->cq, 1, &wc), 0);
}

/* ---- what is right ---- */

Test(fake_verbs, a_write_arrives)
{
	cr_assert_eq(post(good()), 0);
	completes(&a, IBV_WC_SUCCESS);
	no_completion(&b);
	cr_assert_eq(memory[1][0], 1);
	cr_assert_eq(memory[1][63], 1);
	cr_assert_eq(memory[1][64], 0);
	cr_assert_eq(fake_violations(device), 0);
}

Test(fake_verbs, an_immediate_takes_a_receive)
{
	struct write w = good();
	struct ibv_wc wc;
	w.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	receive(&b, 1);
	cr_assert_eq(post(w), 0);
	cr_assert_eq(ibv_poll_cq(b.cq, 1, &wc), 1);
	cr_assert_eq(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
	cr_assert_eq(wc.wc_flags, IBV_WC_WITH_IMM);
	cr_assert_eq(wc.imm_data, 7);
	cr_assert_eq(wc.byte_len, 64);
	cr_assert_eq(wc.wr_id, 5);
	cr_assert_eq(fake_receives(b.qp), 0);
}

Test(fake_verbs, by_hand_any_part_in_any_order)
{
	struct write w = good();
	fake_by_hand(a.qp, true);
	cr_assert_eq(post(w), 0);
	w.remote += 64;
	cr_assert_eq(post(w), 0);
	no_completion(&a);
	fake_place(a.qp, 1, 8, 16);
	for (int i = 0; i < 128; i++)
		cr_assert_eq(memory[1][i], i >= 72 && i < 80);
	fake_place(a.qp, 0, 56, 64);
	cr_assert_eq(memory[1][63], 1);
	cr_assert_eq(memory[1][55], 0);
	cr_assert(fake_step_all(a.qp));
	completes(&a, IBV_WC_SUCCESS);
	completes(&a, IBV_WC_SUCCESS);
	cr_assert_eq(memory[1][127], 1);
}

Test(fake_verbs, completions_are_held_and_let_go_in_any_order)
{
	struct ibv_wc wc[3];
	fake_hold(b.cq, true);
	receive(&b, 3);
	for (uint32_t i = 0; i < 3; i++)
		fake_immediate(b.qp, i);
	no_completion(&b);
	cr_assert_eq(fake_nr_held(b.cq), 3);
	fake_let_go(b.cq, 2);
	fake_let_go(b.cq, 0);
	fake_let_go(b.cq, 0);
	cr_assert_eq(ibv_poll_cq(b.cq, 3, wc), 3);
	cr_assert_eq(wc[0].imm_data, 2);
	cr_assert_eq(wc[1].imm_data, 0);
	cr_assert_eq(wc[2].imm_data, 1);
}

Test(fake_verbs, what_fails_flushes_the_rest)
{
	fake_by_hand(a.qp, true);
	receive(&a, 1);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(post(good()), 0);
	fake_break(a.qp, IBV_WC_RETRY_EXC_ERR);
	completes(&a, IBV_WC_RETRY_EXC_ERR);
	completes(&a, IBV_WC_WR_FLUSH_ERR);
	completes(&a, IBV_WC_WR_FLUSH_ERR);
	cr_assert_eq(post(good()), 0, "it is taken, and flushed");
	completes(&a, IBV_WC_WR_FLUSH_ERR);
}

Test(fake_verbs, the_nth_call_fails)
{
	fake_fail_nth(device, 3, EFAULT);
	cr_assert_eq(post(good()), 0);
	completes(&a, IBV_WC_SUCCESS);
	cr_assert_not(fake_has_failed(device));
	cr_assert_eq(post(good()), EFAULT);
	cr_assert(fake_has_failed(device));
	cr_assert_eq(post(good()), 0);
	cr_assert_eq(fake_counts(a.qp).requests, 2);
}

/* ---- what is wrong ---- */

static void refused(struct write w, int error)
{
	uint64_t before = fake_violations(device);
	cr_assert_eq(post(w), error);
	cr_assert_eq(fake_violations(device), before + 1);
}

Test(fake_verbs, what_is_refused_at_once)
{
	struct write w = good();
	w.flags = IBV_SEND_INLINE;
	w.size = 65;
	w.local = (uintptr_t)memory[0];
	refused(w, EINVAL);
	w = good();
	w.opcode = IBV_WR_SEND;
	refused(w, EINVAL);
	w = good();
	w.pieces = 2;
	refused(w, EINVAL);
	cr_assert_eq(fake_counts(a.qp).requests, 0);
}

/* By what is wrong, one at a time: how it completes. */
static void fails(struct write w, enum ibv_wc_status status)
{
	unmake();
	make(true);
	/* The keys are the same on every new device. */
	cr_assert_eq(post(w), 0);
	completes(&a, status);
	cr_assert_eq(fake_violations(device), 1);
	cr_assert_eq(post(good()), 0);
	completes(&a, IBV_WC_WR_FLUSH_ERR);
}

Test(fake_verbs, memory_that_is_not_registered)
{
	struct write w = good();
	w.local = 8192 - 63;
	fails(w, IBV_WC_LOC_PROT_ERR);
	w.local = UINT64_MAX - 10;
	fails(w, IBV_WC_LOC_PROT_ERR);
	w = good();
	w.lkey = from->rkey;
	fails(w, IBV_WC_LOC_PROT_ERR);
	w.lkey = to->lkey;
	w.local = 4096;
	fails(w, IBV_WC_LOC_PROT_ERR);
	w = good();
	w.remote = 4095;
	fails(w, IBV_WC_REM_ACCESS_ERR);
	w.remote = 8192 - 63;
	fails(w, IBV_WC_REM_ACCESS_ERR);
	w = good();
	w.rkey = to->lkey;
	fails(w, IBV_WC_REM_ACCESS_ERR);
	w.rkey = closed->rkey;
	fails(w, IBV_WC_REM_ACCESS_ERR);
	w.rkey = 0;
	fails(w, IBV_WC_REM_ACCESS_ERR);
	cr_assert_eq(memory[1][4095], 0);
}

Test(fake_verbs, queues_have_their_depths)
{
	struct ibv_recv_wr wr = {0}, *bad;
	for (int i = 0; i < 4; i++)
		cr_assert_eq(post(good()), 0);
	refused(good(), ENOMEM);
	completes(&a, IBV_WC_SUCCESS);
	cr_assert_eq(post(good()), 0, "taking a completion makes room");
	receive(&b, 4);
	cr_assert_eq(ibv_post_recv(b.qp, &wr, &bad), ENOMEM);
	fake_immediate(b.qp, 1);
	cr_assert_eq(ibv_post_recv(b.qp, &wr, &bad), ENOMEM,
		     "it holds its place until it is taken");
	completes(&b, IBV_WC_SUCCESS);
	cr_assert_eq(ibv_post_recv(b.qp, &wr, &bad), 0);
}

Test(fake_verbs, an_immediate_without_a_receive)
{
	struct write w = good();
	w.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	cr_assert_eq(post(w), 0);
	completes(&a, IBV_WC_RNR_RETRY_EXC_ERR);
	cr_assert_eq(fake_violations(device), 1);
}

Test(fake_verbs, regions_end_once_and_not_while_they_are_used)
{
	fake_by_hand(a.qp, true);
	cr_assert_eq(post(good()), 0);
	fake_region_end(from);
	cr_assert_eq(fake_violations(device), 1);
	cr_assert_eq(fake_step(a.qp), true);
	completes(&a, IBV_WC_LOC_PROT_ERR);
	fake_region_end(from);
	cr_assert_eq(fake_violations(device), 2);
}

Test(fake_verbs_strict, a_broken_rule_is_the_end, .signal = SIGABRT)
{
	struct write w = good();
	w.remote = 0;
	(void)post(w);
}

Test(fake_verbs_strict, so_is_what_is_left_behind, .signal = SIGABRT)
{
	fake_device_destroy(device);
}

/* ---- a patient device ---- */

Test(fake_verbs_strict, an_immediate_may_wait_for_a_receive)
{
	struct fake_options o = FAKE_DEFAULTS;
	struct write w = good();
	unmake();
	o.patient = true;
	device = fake_device_create(&o);
	fake_end_create(device, 4, 4, 64, &a);
	fake_end_create(device, 4, 4, 64, &b);
	from = fake_region(a.pd, memory[0], 8192, 0, 0);
	to = fake_region(b.pd, memory[1], 4096, 4096,
			 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	fake_connect(a.qp, b.qp);
	w.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	cr_assert_eq(post(w), 0);
	cr_assert_eq(post(good()), 0, "behind it");
	no_completion(&a);
	cr_assert_eq(fake_counts(a.qp).waited > 0, true);
	receive(&b, 1);
	completes(&b, IBV_WC_SUCCESS);
	completes(&a, IBV_WC_SUCCESS);
	completes(&a, IBV_WC_SUCCESS);
	unmake();
}
