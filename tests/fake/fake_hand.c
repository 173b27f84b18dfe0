/* fake_hand.c - the fake device by hand: what a test decides, what it asks, what it makes fail. Any thread; one lock. */
#include "fake_internal.h"

#include <stdlib.h>
#include <string.h>

static struct fake_qp *qp_of(const struct ibv_qp *qp)
{
	return (struct fake_qp *)(uintptr_t)qp;
}

static struct fake_cq *cq_of(const struct ibv_cq *cq)
{
	return (struct fake_cq *)(uintptr_t)cq;
}

/* ---- asking ---- */

struct fake_counts fake_counts(const struct ibv_qp *qp)
{
	struct fake_qp *q = qp_of(qp);
	fake_lock(q->device);
	struct fake_counts counts = q->counts;
	fake_unlock(q->device);
	return counts;
}

struct fake_cq_counts fake_cq_counts(const struct ibv_cq *cq)
{
	struct fake_cq *c = cq_of(cq);
	fake_lock(c->device);
	struct fake_cq_counts counts = c->counts;
	fake_unlock(c->device);
	return counts;
}

/* The difference of two of its numbers. */
static uint32_t between(const struct ibv_qp *qp, const uint64_t *to, const uint64_t *from)
{
	struct fake_qp *q = qp_of(qp);
	fake_lock(q->device);
	uint32_t n = (uint32_t)(*to - *from);
	fake_unlock(q->device);
	return n;
}

uint32_t fake_receives(const struct ibv_qp *qp)
{
	return between(qp, &qp_of(qp)->received, &qp_of(qp)->consumed);
}

uint32_t fake_sends(const struct ibv_qp *qp)
{
	return between(qp, &qp_of(qp)->posted, &qp_of(qp)->freed);
}

uint32_t fake_nr_waiting(const struct ibv_qp *qp)
{
	return between(qp, &qp_of(qp)->posted, &qp_of(qp)->ended);
}

/* ---- work requests ---- */

void fake_by_hand(struct ibv_qp *qp, bool by_hand)
{
	struct fake_qp *q = qp_of(qp);
	fake_lock(q->device);
	q->by_hand = by_hand;
	while (!by_hand && !q->broken && q->ended != q->posted && fake_carry_out(q))
		;
	fake_unlock(q->device);
}

struct fake_work *fake_waiting(struct ibv_qp *qp, uint32_t i)
{
	struct fake_qp *q = qp_of(qp);
	fake_lock(q->device);
	struct fake_work *w = i < q->posted - q->ended ? fake_work_at(q, q->ended + i) : NULL;
	fake_unlock(q->device);
	return w;
}

void fake_place(struct ibv_qp *qp, uint32_t i, uint32_t from, uint32_t to)
{
	struct fake_qp *q = qp_of(qp);
	struct fake_work *w = fake_waiting(qp, i);
	fake_lock(q->device);
	if (w == NULL || from > to || to > w->size ||
	    fake_work_place(q, w, from, to) != IBV_WC_SUCCESS)
		abort();
	fake_unlock(q->device);
}

bool fake_step(struct ibv_qp *qp)
{
	struct fake_qp *q = qp_of(qp);
	fake_lock(q->device);
	if (q->ended == q->posted)
		abort();
	bool done = fake_carry_out(q);
	fake_unlock(q->device);
	return done;
}

bool fake_step_all(struct ibv_qp *qp)
{
	while (fake_nr_waiting(qp) > 0)
		if (!fake_step(qp))
			return false;
	return true;
}

void fake_break(struct ibv_qp *qp, enum ibv_wc_status status)
{
	struct fake_qp *q = qp_of(qp);
	fake_lock(q->device);
	if (q->ended != q->posted) {
		fake_end_oldest(q, status);
	} else if (q->consumed != q->received) {
		const struct fake_cqe e = {
			.wc = {.wr_id = q->receives[q->consumed++ % q->recv_depth],
			       .status = status,
			       .opcode = (enum ibv_wc_opcode)0x5a,
			       .qp_num = qp->qp_num},
			.qp = q,
			.receive = true};
		fake_complete((struct fake_cq *)qp->recv_cq, &e);
	}
	fake_flush(q);
	fake_unlock(q->device);
}

/* ---- the peer ---- */

static void arrive(struct ibv_qp *qp, uint32_t immediate, bool with_immediate)
{
	struct fake_qp *q = qp_of(qp);
	fake_lock(q->device);
	if (!fake_arrive(q, immediate, with_immediate, 0))
		fake_violation(q->device, "an immediate finds no receive");
	fake_unlock(q->device);
}

void fake_immediate(struct ibv_qp *qp, uint32_t immediate)
{
	arrive(qp, immediate, true);
}

void fake_plain_send(struct ibv_qp *qp)
{
	arrive(qp, 0, false);
}

bool fake_write(struct ibv_qp *qp, uint64_t remote, uint32_t rkey, const void *data, uint32_t size)
{
	struct fake_qp *q = qp_of(qp);
	fake_lock(q->device);
	uint8_t *to = fake_remote(q, remote, size, rkey);
	if (to != NULL)
		fake_copy(to, data, size);
	fake_unlock(q->device);
	return to != NULL;
}

/* ---- completions ---- */

void fake_hold(struct ibv_cq *cq, bool hold)
{
	struct fake_cq *c = cq_of(cq);
	fake_lock(c->device);
	c->hold = hold;
	fake_unlock(c->device);
}

uint32_t fake_nr_held(const struct ibv_cq *cq)
{
	struct fake_cq *c = cq_of(cq);
	fake_lock(c->device);
	uint32_t n = c->nr_held;
	fake_unlock(c->device);
	return n;
}

void fake_let_go(struct ibv_cq *cq, uint32_t i)
{
	struct fake_cq *c = cq_of(cq);
	fake_lock(c->device);
	if (i >= c->nr_held)
		abort();
	struct fake_cqe e = c->held[i];
	c->nr_held--;
	memmove(&c->held[i], &c->held[i + 1], (c->nr_held - i) * sizeof(e));
	fake_show(c, &e);
	fake_unlock(c->device);
}

uint32_t fake_nr_completions(const struct ibv_cq *cq)
{
	struct fake_cq *c = cq_of(cq);
	fake_lock(c->device);
	uint32_t n = (uint32_t)(c->tail - c->head);
	fake_unlock(c->device);
	return n;
}

/* ---- failures ---- */

void fake_fail_next(struct fake_device *d, enum fake_call call, int error)
{
	fake_lock(d);
	d->fail_next[call] = error;
	d->fail_send_after = 0;
	d->failed = false;
	fake_unlock(d);
}

void fake_fail_send_after(struct fake_device *d, uint32_t done, int error)
{
	fake_fail_next(d, FAKE_POST_SEND, error);
	d->fail_send_after = done;
}

void fake_fail_always(struct fake_device *d, enum fake_call call, int error)
{
	fake_lock(d);
	d->fail_always[call] = error;
	d->failed = false;
	fake_unlock(d);
}

void fake_fail_nth(struct fake_device *d, uint64_t n, int error)
{
	fake_lock(d);
	d->fail_in = n;
	d->fail_nth = error;
	d->failed = false;
	fake_unlock(d);
}

bool fake_has_failed(const struct fake_device *d)
{
	return d->failed;
}

uint64_t fake_nr_calls(const struct fake_device *d, enum fake_call call)
{
	return d->calls[call];
}
