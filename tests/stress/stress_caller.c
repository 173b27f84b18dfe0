/* stress_caller.c - the caller under stress: many calls in flight, all of them checked as they end. One thread. */
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include "stress.h"
#include "util/clock.h"

struct stress_caller {
	struct stress *s;
	struct adv_caller c;
	struct adv_caller_call calls[STRESS_SLOTS];
	uint64_t random;
	uint64_t last_ok; /* id of the last call that its worker completed */
	uint64_t next_id;
	bool over; /* the lane takes no more calls */
};

/* ---- submitting ---- */

static enum function function_of(uint64_t id)
{
	return id % 16 > NR_FUNCTIONS ? FN_ECHO : (enum function)(id % 16);
}

static void submit(struct stress_caller *k, uint32_t slot)
{
	struct stress *s = k->s;
	uint64_t id = k->next_id;
	uint8_t small[ADV_INLINE_MAX];
	uint32_t length = stress_length(2 * id, s->geometry.in_capacity);
	stress_fill(length <= sizeof(small) ? small : adv_caller_in(&k->c, slot), length, 2 * id);
	uint32_t budget_us = stress_random(&k->random) % 8 == 0 ? 50 : 0;
	/* An expiring call's deadline is already past. */
	uint64_t deadline = stress_random(&k->random) % 16 == 0 ? 1 : UINT64_MAX;
	enum adv_status status = adv_caller_submit(&k->c, slot, (uint16_t)function_of(id), small,
						   length, id, ~id, budget_us, deadline);
	if (status == ADV_OK) {
		k->next_id++;
		atomic_fetch_add(&s->submitted, 1);
	} else if (status != ADV_BUSY) {
		k->over = true;
		if (status != ADV_REVOKED && status != ADV_CLOSED)
			stress_error(s, "not submitted for an unknown reason", id, status, 0);
	}
}

static void submit_some(struct stress_caller *k)
{
	uint64_t n = stress_random(&k->random) % (k->s->geometry.nr_slots + 1);
	uint32_t slot = (uint32_t)(stress_random(&k->random) % k->s->geometry.nr_slots);
	for (uint64_t i = 0; i <= n && !k->over && k->next_id <= k->s->count; i++) {
		slot = (slot + 1) % k->s->geometry.nr_slots;
		if (adv_caller_slot_free(&k->c, slot))
			submit(k, slot);
	}
}

/* ---- ends ---- */

static void check_output(struct stress_caller *k, const struct adv_result *r)
{
	struct stress *s = k->s;
	uint64_t salt = 2 * r->call_id + 1;
	const uint8_t *bytes =
		r->length <= ADV_INLINE_MAX ? r->payload : adv_caller_out(&k->c, r->slot);
	if (function_of(r->call_id) != FN_ECHO)
		stress_error(s, "ok, though its function was another", r->call_id, r->slot, 0);
	if (r->length != stress_length(salt, s->geometry.out_capacity) ||
	    !stress_same(bytes, r->length, salt))
		stress_error(s, "another output", r->call_id, r->length, r->slot);
}

/* How often may its function have run by now? The bits of 1: not at all, of 2: once. */
static unsigned runs_allowed(struct stress_caller *k, const struct adv_result *r)
{
	unsigned function = function_of(r->call_id);
	switch (r->status) {
	case ADV_OK:
		check_output(k, r);
		return 2;
	case ADV_FUNCTION_FAILED:
		return function == FN_FAIL ? 2 : 0;
	case ADV_BAD_SIZE:
		return function == FN_TOO_LONG ? 2 : 0;
	case ADV_NO_FUNCTION:
		return function == NR_FUNCTIONS ? 1 : 0;
	case ADV_NOT_RUN:
	case ADV_LOAD_FAILED: /* its worker never started */
		return 1;
	case ADV_TIMEOUT: /* given up here, or answered by the worker without a run */
		return r->slot_held ? 1 | 2 : 1;
	case ADV_CRASHED: /* the oldest of a dead worker */
	case ADV_WORKER_LOST:
	case ADV_CLOSED:
		return 1 | 2;
	default:
		return 0;
	}
}

static bool by_worker(const struct adv_result *r)
{
	return r->status <= ADV_FUNCTION_FAILED || r->status == ADV_BAD_SIZE ||
	       r->status == ADV_NO_FUNCTION;
}

static void ended(struct stress_caller *k, const struct adv_result *r)
{
	struct stress *s = k->s;
	uint64_t id = r->call_id;
	if (id == 0 || id >= k->next_id || r->user_data != ~id) {
		stress_error(s, "the end of a call that was never made", id, r->status, r->slot);
		return;
	}
	if (atomic_exchange(&s->calls[id].ended, r->status + 1) != 0)
		stress_error(s, "ended twice", id, r->status, r->slot);
	unsigned allowed = runs_allowed(k, r);
	uint32_t ran = atomic_load(&s->calls[id].ran);
	if (ran > 1 || !(allowed & 1u << ran))
		stress_error(s, "status and runs do not fit", id, r->status, ran);
	/* One epoch's calls complete in order, and epochs follow each other. */
	if (by_worker(r) && id <= k->last_ok)
		stress_error(s, "completed out of order", id, k->last_ok, r->status);
	if (by_worker(r))
		k->last_ok = id;
	atomic_fetch_add(&s->statuses[r->status & 127], 1);
	atomic_fetch_add(&s->done, 1);
}

/* ---- waiting ---- */

static void sleep_once(struct stress_caller *k)
{
	struct pollfd p = {.fd = k->s->event_fd, .events = POLLIN};
	uint64_t value;
	if (!adv_caller_sleep(&k->c))
		return;
	atomic_fetch_add(&k->s->slept, 1);
	if (poll(&p, 1, (int)(STALL_NS / ADV_MS)) == 0) {
		stress_error(k->s, "asleep for ever", k->c.nr_outstanding, adv_caller_ready(&k->c),
			     k->c.completion_seq);
		k->over = true;
	} else if (read(p.fd, &value, sizeof(value)) < 0) {
		/* Somebody's second write was taken with the first one. */
	}
	adv_caller_awake(&k->c);
}

static unsigned take_all(struct stress_caller *k)
{
	struct adv_result r;
	unsigned n = 0;
	for (; n < 2 * STRESS_SLOTS && adv_caller_poll(&k->c, &r); n++)
		ended(k, &r);
	/* Under way when it is given up, or not begun, or done. */
	if (stress_random(&k->random) % 4 == 0)
		for (; adv_caller_expire(&k->c, adv_clock_monotonic_ns(), &r); n++)
			ended(k, &r);
	return n;
}

static void check_books(struct stress_caller *k)
{
	struct stress *s = k->s;
	if (k->c.nr_outstanding != 0 || k->c.nr_waited != 0)
		stress_error(s, "outstanding at the end", 0, k->c.nr_outstanding, k->c.nr_waited);
	for (uint64_t id = 1; id < k->next_id; id++)
		if (atomic_load(&s->calls[id].ended) == 0)
			stress_error(s, "never ended", id, 0, 0);
}

void *stress_caller_main(void *stress)
{
	static _Thread_local struct stress_caller k;
	struct stress *s = stress;
	k = (struct stress_caller){.s = s, .random = s->seed ^ 0xca11e7, .next_id = 1};
	adv_caller_init(&k.c, &s->geometry, 0, s->req, s->cpl, s->slots, k.calls);
	while (!k.over || k.c.nr_outstanding > 0) {
		if (atomic_load(&s->errors) > 0)
			break;
		if (!k.over)
			submit_some(&k);
		if (k.next_id > s->count)
			k.over = true;
		if (take_all(&k) > 0)
			continue;
		if (stress_random(&k.random) % 2 == 0)
			sched_yield();
		else if (k.c.nr_outstanding > 0)
			sleep_once(&k);
	}
	atomic_store(&s->woke, (uint32_t)k.c.wakes);
	if (atomic_load(&s->errors) == 0)
		check_books(&k);
	atomic_store(&s->finished, 1);
	return NULL;
}
