/*
 * calls.c - submitting calls and taking their results. The lease's thread; nothing here allocates, locks or blocks.
 *
 * Clocks. A call is published without reading the precise clock, which costs as much as a call does. Timeouts of 100 ms and
 * more are counted on the coarse clock, rounded up by its tick (4 ms with most kernels): never early, at most a tick late.
 */
#include <string.h>

#include "client/internal.h"
#include "client/verbs.h"
#include "util/clock.h"

#define PRECISE_BELOW_NS (100 * ADV_MS)
#define POLLS_PER_LOOK	 64 /* at deadlines, while completions keep coming */

uint64_t adv_client_coarse_ns(void)
{
	return adv_clock_read_(CLOCK_MONOTONIC_COARSE);
}

/* ---- timeouts ---- */

uint64_t adv_client_timeout_ns(uint64_t timeout_us)
{
	if (timeout_us == 0)
		timeout_us = ADV_BUDGET_US_DEFAULT;
	return timeout_us > UINT64_MAX / 1000 ? UINT64_MAX : timeout_us * 1000;
}

/* What an entry cannot say is no budget: the worker goes on, its caller does not wait. */
uint32_t adv_client_budget_us(uint64_t timeout_us)
{
	if (timeout_us == 0)
		return ADV_BUDGET_US_DEFAULT;
	return timeout_us > UINT32_MAX ? 0 : (uint32_t)timeout_us;
}

static uint64_t deadline_after(const struct adv_lease *l, uint64_t timeout_us)
{
	uint64_t ns = adv_client_timeout_ns(timeout_us);
	if (ns == UINT64_MAX)
		return UINT64_MAX;
	if (ns < PRECISE_BELOW_NS)
		return adv_clock_monotonic_ns() + ns;
	return adv_clock_add(adv_client_coarse_ns() + l->tick_ns, ns);
}

/* ---- over verbs ---- */

struct adv_client_input adv_client_stage_large(struct adv_lease *l,
					       const struct adv_client_worker *w, uint32_t slot,
					       const void *in, uint32_t in_size)
{
	struct adv_client_input input = {.from = in, .size = in_size};
	if (adv_client_registered(l, in, in_size, &input.lkey))
		return input;
	input.from = adv_caller_in(&w->caller, slot);
#if ADV_HAVE_VERBS
	if (l->verbs != NULL)
		input.lkey = l->verbs->lkey;
#endif
	if (in == input.from)
		return input;
	memcpy(adv_caller_in(&w->caller, slot), in, in_size);
	l->stats.copies++;
	l->stats.copied_bytes += in_size;
	return input;
}

void adv_client_carry_cancel(struct adv_lease *l, const struct adv_client_worker *w, uint32_t slot)
{
#if ADV_HAVE_VERBS
	if (l->verbs != NULL)
		adv_verbs_cancel(l, w, slot);
#else
	(void)l, (void)w, (void)slot;
#endif
}

uint32_t adv_client_lost(struct adv_lease *l)
{
	uint32_t lost = atomic_load_explicit(&l->keeper.lost, memory_order_acquire);
#if ADV_HAVE_VERBS
	if (lost == ADV_OK && l->verbs != NULL && !adv_verbs_progress(l))
		lost = ADV_LINK_LOST;
#endif
	return lost;
}

/* ---- slots ---- */

static void slot_free(struct adv_client_worker *w, uint32_t slot)
{
	w->free[w->nr_free++] = (uint16_t)slot;
}

static void slot_lost(struct adv_client_worker *w, uint32_t slot)
{
	w->lost[w->nr_lost++] = (uint16_t)slot;
}

/* Lost slots whose calls have ended are free. */
static void sweep(struct adv_client_worker *w)
{
	for (uint32_t i = 0; i < w->nr_lost;) {
		if (adv_caller_slot_free(&w->caller, w->lost[i])) {
			slot_free(w, w->lost[i]);
			w->lost[i] = w->lost[--w->nr_lost];
		} else {
			i++;
		}
	}
}

void adv_client_reclaim(struct adv_lease *l)
{
	struct adv_result none;
	for (uint32_t i = 0; i < l->nr_workers; i++) {
		struct adv_client_worker *w = &l->workers[i];
		/* Where nobody waits, polling only clears away what was given up: it has no result. */
		if (w->caller.nr_outstanding > 0 && w->caller.nr_waited == 0)
			(void)adv_caller_poll(&w->caller, &none);
		if (w->nr_lost > 0)
			sweep(w);
	}
}

struct adv_client_worker *adv_client_pick(struct adv_lease *l)
{
	struct adv_client_worker *best = NULL;
	for (uint32_t i = 0; i < l->nr_workers; i++) {
		struct adv_client_worker *w = &l->workers[i];
		if (w->nr_free == 0)
			continue;
		if (w->caller.nr_outstanding == 0)
			return w; /* the first such one: it is the hottest */
		if (best == NULL || w->caller.nr_outstanding < best->caller.nr_outstanding)
			best = w;
	}
	return best;
}

/* A worker with a free slot, by number or any. NULL: there is none. */
static struct adv_client_worker *pick(struct adv_lease *l, uint32_t worker)
{
	for (int i = 0; i < 2; i++) {
		struct adv_client_worker *w = worker == ADV_ANY_WORKER	       ? adv_client_pick(l)
					      : l->workers[worker].nr_free > 0 ? &l->workers[worker]
									       : NULL;
		if (w != NULL)
			return w;
		adv_client_reclaim(l);
	}
	return NULL;
}

/* The slot that a user speaks of, if it is theirs. */
static struct adv_client_worker *held(struct adv_lease *l, const struct adv_slot *slot)
{
	if (slot == NULL || slot->worker >= l->nr_workers || slot->index >= l->geometry.nr_slots ||
	    !l->workers[slot->worker].slots[slot->index].held)
		return NULL;
	return &l->workers[slot->worker];
}

static enum adv_status busy(void)
{
	return adv_client_fail_text(
		ADV_BUSY,
		"every slot of the worker is in use: take completions first, or lease more");
}

enum adv_status adv_client_refused(struct adv_lease *l, enum adv_status status)
{
	return status == ADV_BUSY ? busy()
				  : adv_client_fail(status, "lease %s of module \"%s\": %s", l->id,
						    l->module, adv_status_text(status));
}

static enum adv_status keeper_state(const struct adv_lease *l)
{
	uint32_t state = atomic_load_explicit(&l->keeper.state, memory_order_acquire);
#if ADV_HAVE_VERBS
	if (state == ADV_OK && l->verbs != NULL && adv_link_broken(&l->verbs->link->link))
		return ADV_LINK_LOST;
#endif
	return (enum adv_status)state;
}

enum adv_status adv_client_state(const struct adv_lease *l)
{
	return keeper_state(l);
}

enum adv_status adv_slot_get(struct adv_lease *l, uint32_t worker, struct adv_slot *slot)
{
	enum adv_status status = keeper_state(l);
	if (status == ADV_OK)
		status = adv_caller_state(&l->workers[0].caller);
	if (status != ADV_OK)
		return adv_client_refused(l, status);
	if (slot == NULL || (worker != ADV_ANY_WORKER && worker >= l->nr_workers))
		return adv_client_fail_text(ADV_INVALID,
					    "adv_slot_get: no such worker, or slot is NULL");
	struct adv_client_worker *w = pick(l, worker);
	if (w == NULL)
		return busy();
	uint32_t index = w->free[--w->nr_free];
	w->slots[index].held = true;
	*slot = (struct adv_slot){
		.in = adv_caller_in(&w->caller, index),
		.out = adv_caller_out(&w->caller, index),
		.in_capacity = l->geometry.in_capacity,
		.out_capacity = l->geometry.out_capacity,
		.worker = (uint32_t)(w - l->workers),
		.index = index,
	};
	return ADV_OK;
}

void adv_slot_put(struct adv_lease *l, const struct adv_slot *slot)
{
	struct adv_client_worker *w = held(l, slot);
	if (w == NULL)
		return;
	const struct adv_caller_call *call = &w->caller.calls[slot->index];
	w->slots[slot->index].held = false;
	if (!call->outstanding)
		slot_free(w, slot->index);
	else if (call->abandoned)
		slot_lost(w, slot->index);
	/* Else it comes free with its completion. */
}

/* ---- submitting ---- */

/* Arguments that no slot and no worker can make good. */
static enum adv_status check_request(const struct adv_lease *l, const struct adv_request *r)
{
	if (r == NULL || r->size < sizeof(*r))
		return adv_client_fail_text(ADV_INVALID, "adv_submit: request->size is not set");
	if (r->function >= l->nr_functions)
		return adv_client_fail_text(
			ADV_NO_FUNCTION, "adv_submit: the module has no function of that number");
	if (r->in_size > l->geometry.in_capacity)
		return adv_client_fail_text(ADV_TOO_LARGE, "adv_submit: the input is larger than a "
							   "slot: lease with a larger in_capacity");
	if (r->slot == NULL &&
	    ((r->in == NULL && r->in_size > 0) || (r->out == NULL && r->out_capacity > 0)))
		return adv_client_fail_text(ADV_INVALID,
					    "adv_submit: in or out is NULL, but its size is not 0");
	if ((r->flags & ~ADV_REQUEST_TIMED) != 0)
		return adv_client_fail_text(ADV_INVALID, "adv_submit: flags that this library does "
							 "not know");
	if (r->slot == NULL && r->worker != ADV_ANY_WORKER && r->worker >= l->nr_workers)
		return adv_client_fail_text(ADV_INVALID, "adv_submit: no such worker");
	return ADV_OK;
}

static uint16_t flags_of(const struct adv_request *r)
{
	return r->flags & ADV_REQUEST_TIMED ? ADV_ENTRY_TIMED : 0;
}

static enum adv_status publish(struct adv_lease *l, struct adv_client_worker *w, uint32_t slot,
			       const struct adv_request *r, const void *in, uint64_t *call_id)
{
	if (!adv_client_can_carry(l))
		return adv_client_refused(l, ADV_BUSY);
	const struct adv_client_input input = adv_client_stage(l, w, slot, in, r->in_size);
	uint64_t deadline = deadline_after(l, r->timeout_us);
	uint64_t id = l->next_call_id + 1;
	enum adv_status status;
	for (int i = 0; i < 2; i++) {
		status = adv_caller_submit_flagged(
			&w->caller, slot, (uint16_t)r->function, in, r->in_size, id, r->user_data,
			adv_client_budget_us(r->timeout_us), deadline, flags_of(r));
		if (status != ADV_BUSY)
			break;
		/* The worker was replaced. Where it had nothing but given-up calls, these end here. */
		adv_client_reclaim(l);
	}
	if (status != ADV_OK)
		return adv_client_refused(l, status);
	adv_client_carry(l, w, slot, &input);
	l->next_call_id = id;
	l->nr_waiting++;
	l->stats.calls++;
	if (deadline < l->earliest_ns) {
		l->earliest_ns = deadline;
		/* An event loop that is about to sleep hears of it. */
		if (l->armed)
			adv_keeper_alarm(&l->keeper, deadline);
	}
	if (call_id != NULL)
		*call_id = id;
	return ADV_OK;
}

static enum adv_status submit_in_place(struct adv_lease *l, const struct adv_request *r,
				       uint64_t *call_id)
{
	struct adv_client_worker *w = held(l, r->slot);
	if (w == NULL)
		return adv_client_fail_text(ADV_INVALID,
					    "adv_submit: the slot is not one of adv_slot_get()");
	uint32_t index = r->slot->index;
	if (!adv_caller_slot_free(&w->caller, index))
		adv_client_reclaim(l);
	if (!adv_caller_slot_free(&w->caller, index))
		return busy();
	/* The address is the library's own: what the user's struct says may have been changed. */
	enum adv_status status = publish(l, w, index, r, adv_caller_in(&w->caller, index), call_id);
	if (status == ADV_OK)
		w->slots[index].in_place = true;
	return status;
}

static enum adv_status submit_copied(struct adv_lease *l, const struct adv_request *r,
				     uint64_t *call_id)
{
	struct adv_client_worker *w = pick(l, r->worker);
	if (w == NULL)
		return busy();
	uint32_t index = w->free[w->nr_free - 1];
	enum adv_status status = publish(l, w, index, r, r->in, call_id);
	if (status != ADV_OK)
		return status;
	w->nr_free--;
	w->slots[index] = (struct adv_client_slot){.out = r->out,
						   .in = r->in,
						   .out_capacity = r->out_capacity,
						   .in_size = r->in_size,
						   .function = (uint16_t)r->function,
						   .flags = flags_of(r)};
	return ADV_OK;
}

static enum adv_status submit(struct adv_lease *l, const struct adv_request *r, uint64_t *call_id)
{
	enum adv_status status = keeper_state(l);
	if (status != ADV_OK)
		return adv_client_refused(l, status);
	return r->slot != NULL ? submit_in_place(l, r, call_id) : submit_copied(l, r, call_id);
}

enum adv_status adv_submit(struct adv_lease *l, const struct adv_request *r, uint64_t *call_id)
{
	enum adv_status status = check_request(l, r);
	if (status != ADV_OK)
		return status;
	status = submit(l, r, call_id);
	if (status == ADV_OK || !adv_resume_possible(l, status))
		return status;
	status = adv_resume_if_due(l, status);
	return status == ADV_OK ? submit(l, r, call_id) : status;
}

enum adv_status adv_client_submit_again(struct adv_lease *l, uint32_t worker,
					const struct adv_client_slot *slot, uint64_t call_id,
					uint64_t user_data, uint64_t deadline_ns, uint64_t now_ns)
{
	struct adv_client_worker *w = &l->workers[worker];
	uint64_t budget_us =
		deadline_ns == UINT64_MAX ? ADV_NO_TIMEOUT : (deadline_ns - now_ns) / 1000 + 1;
	if (w->nr_free == 0 || !adv_client_can_carry(l))
		return ADV_BUSY;
	uint32_t index = w->free[w->nr_free - 1];
	const struct adv_client_input input =
		adv_client_stage(l, w, index, slot->in, slot->in_size);
	enum adv_status status = adv_caller_submit_flagged(
		&w->caller, index, slot->function, slot->in, slot->in_size, call_id, user_data,
		adv_client_budget_us(budget_us), deadline_ns, slot->flags);
	if (status != ADV_OK)
		return status;
	adv_client_carry(l, w, index, &input);
	w->nr_free--;
	w->slots[index] = *slot;
	return ADV_OK;
}

/* ---- results ---- */

uint32_t adv_client_output(struct adv_lease *l, const struct adv_client_worker *w,
			   const struct adv_result *r, void *out, uint32_t capacity)
{
	uint32_t n = r->length < capacity ? r->length : capacity;
	if (r->length <= ADV_INLINE_MAX) {
		if (n > 0)
			adv_copy_small(out, r->payload, n);
		return n;
	}
	if (n > 0) {
		memcpy(out, adv_caller_out(&w->caller, r->slot), n);
		l->stats.copies++;
		l->stats.copied_bytes += n;
	}
	return n;
}

/* A small output travels in the entry; its slot is this side's again, and shows it where a large one would be. */
static const void *output_in_place(struct adv_client_worker *w, const struct adv_result *r)
{
	uint8_t *out = w->caller.inputs +
		       ((const uint8_t *)adv_caller_out(&w->caller, r->slot) - w->caller.inputs);
	if (!r->slot_held && r->length > 0 && r->length <= ADV_INLINE_MAX)
		memcpy(out, r->payload, r->length);
	return out;
}

static void finish(struct adv_lease *l, struct adv_client_worker *w, const struct adv_result *r,
		   struct adv_completion *c)
{
	struct adv_client_slot *slot = &w->slots[r->slot];
	uint32_t status = r->status;
	uint32_t size = r->length;
	if (slot->in_place) {
		c->out = output_in_place(w, r);
	} else {
		c->out = slot->out;
		size = adv_client_output(l, w, r, slot->out, slot->out_capacity);
		if (size < r->length && status == ADV_OK)
			status = ADV_BAD_SIZE;
	}
	c->user_data = r->user_data;
	c->call_id = r->call_id;
	c->out_size = size;
	c->status = status;
	c->detail = r->detail;
	c->worker = (uint32_t)(w - l->workers);
	c->execution_ns = r->execution_ns;
	l->nr_waiting--;
	if (status != ADV_OK)
		l->stats.failures++;
	if (slot->held)
		return;
	if (r->slot_held)
		slot_lost(w, r->slot);
	else
		slot_free(w, r->slot);
}

unsigned adv_client_poll_lanes(struct adv_lease *l, struct adv_completion *completions,
			       unsigned max)
{
	struct adv_result r;
	unsigned n = 0;
	uint32_t next = l->next_worker;
	adv_client_hand_over(l);
	for (uint32_t i = 0; i < l->nr_workers && n < max; i++) {
		struct adv_client_worker *w = &l->workers[next];
		if (++next == l->nr_workers)
			next = 0;
		if (w->caller.nr_outstanding == 0)
			continue;
		while (n < max && adv_caller_poll(&w->caller, &r))
			if (!adv_resume_takes(l, w, &r))
				finish(l, w, &r, &completions[n++]);
		if (w->nr_lost > 0)
			sweep(w);
	}
	l->next_worker = next;
	return n;
}

/* ---- results that no worker sends ---- */

static unsigned fail_all(struct adv_lease *l, struct adv_completion *completions, unsigned max,
			 enum adv_status status)
{
	struct adv_result r;
	unsigned n = 0;
	for (uint32_t i = 0; i < l->nr_workers; i++) {
		struct adv_client_worker *w = &l->workers[i];
		while (n < max && w->caller.nr_waited > 0 &&
		       adv_caller_fail(&w->caller, status, &r))
			if (!adv_resume_takes(l, w, &r))
				finish(l, w, &r, &completions[n++]);
		if (w->nr_lost > 0)
			sweep(w);
	}
	return n;
}

static unsigned expire(struct adv_lease *l, struct adv_completion *completions, unsigned max,
		       uint64_t now_ns)
{
	struct adv_result r;
	unsigned n = 0;
	uint64_t earliest = UINT64_MAX;
	for (uint32_t i = 0; i < l->nr_workers; i++) {
		struct adv_client_worker *w = &l->workers[i];
		while (n < max && adv_caller_expire(&w->caller, now_ns, &r)) {
			adv_client_carry_cancel(l, w, r.slot);
			finish(l, w, &r, &completions[n++]);
		}
		uint64_t deadline = adv_caller_deadline(&w->caller);
		if (deadline < earliest)
			earliest = deadline;
	}
	l->earliest_ns = earliest;
	return n;
}

unsigned adv_client_poll_overdue(struct adv_lease *l, struct adv_completion *completions,
				 unsigned max, uint64_t now_ns)
{
	unsigned n = 0;
	uint32_t lost = adv_client_lost(l);
	if (lost != ADV_OK) {
		/* What the node had said before it went counts: it is there now, if it is. */
		n = adv_client_poll_lanes(l, completions, max);
		n += fail_all(l, completions + n, max - n, (enum adv_status)lost);
	}
	if (n < max && now_ns >= l->earliest_ns)
		n += expire(l, completions + n, max - n, now_ns);
	if (n < max && adv_resume_pending(l))
		n += adv_resume_poll(l, completions + n, max - n, now_ns);
	return n;
}

unsigned adv_poll(struct adv_lease *l, struct adv_completion *completions, unsigned max)
{
	if (l->armed)
		adv_client_disarm(l);
	unsigned n = adv_client_poll_lanes(l, completions, max);
	if (n == max || l->nr_waiting == 0)
		return n;
	if (n > 0 && ++l->polls % POLLS_PER_LOOK != 0)
		return n;
	uint64_t now = l->precise ? adv_clock_monotonic_ns() : adv_client_coarse_ns();
	l->precise = false;
	return n + adv_client_poll_overdue(l, completions + n, max - n, now);
}
