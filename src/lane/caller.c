/* caller.c - the caller's side of a lane. One thread at a time; nothing here blocks, allocates or locks. */
#include "lane/caller.h"

#include <string.h>

#include "lane/entry_crc.h"
#include "util/clock.h"
#include "util/futex.h"

void adv_caller_init(struct adv_caller *c, const struct adv_geometry *g, uint32_t lane, void *req,
		     const void *cpl, void *slots, struct adv_caller_call *calls)
{
	uint8_t *r = (uint8_t *)req + adv_geometry_req(g, lane);
	const uint8_t *p = (const uint8_t *)cpl + adv_geometry_cpl(g, lane);
	memset(c, 0, sizeof(*c));
	memset(calls, 0, g->nr_slots * sizeof(*calls));
	c->geometry = g;
	c->caller_line = (struct adv_caller_line *)r;
	c->requests = (struct adv_entry *)(r + ADV_LANE_RING_OFFSET);
	c->worker_line = (const struct adv_worker_line *)p;
	c->completions = (const struct adv_entry *)(p + ADV_LANE_RING_OFFSET);
	c->node_line = (const struct adv_node_line *)((const uint8_t *)cpl +
						      adv_geometry_node_line(g, lane));
	c->inputs = (uint8_t *)slots + adv_geometry_in(g, lane, 0);
	c->outputs = (const uint8_t *)slots + adv_geometry_out(g, lane, 0);
	c->calls = calls;
	c->generation = atomic_load_explicit(&c->node_line->generation, memory_order_acquire);
	c->request_seq = c->completion_seq = adv_generation_base(c->generation);
	atomic_store_explicit(&c->caller_line->state, ADV_SIDE_RUNNING, memory_order_release);
}

/* ---- epochs ---- */

static uint64_t generation_now(const struct adv_caller *c)
{
	/* Pairs with the supervisor's release store: the death record is there before it. */
	return atomic_load_explicit(&c->node_line->generation, memory_order_acquire);
}

static void adopt(struct adv_caller *c, uint64_t generation)
{
	c->generation = generation;
	c->request_seq = c->completion_seq = adv_generation_base(generation);
	c->winding_up = false;
	c->blamed = false;
	c->torn_since_ns = 0;
	c->deaths++;
}

/* How the worker of this side's epoch died. */
static struct adv_death_record death_of(const struct adv_caller *c)
{
	uint16_t epoch = adv_generation_epoch(c->generation);
	uint64_t packed = atomic_load_explicit(&c->node_line->deaths[epoch % ADV_DEATH_RECORDS],
					       memory_order_acquire);
	struct adv_death_record record;
	memcpy(&record, &packed, sizeof(record));
	if (record.epoch != epoch)
		record = (struct adv_death_record){.epoch = epoch, .status = ADV_WORKER_LOST};
	return record;
}

/* ---- publishing ---- */

enum adv_status adv_caller_state(const struct adv_caller *c)
{
	uint32_t ended = atomic_load_explicit(&c->node_line->ended, memory_order_acquire);
	if (ended != ADV_OK)
		return (enum adv_status)ended;
	if (atomic_load_explicit(&c->node_line->revoking, memory_order_relaxed) != 0)
		return ADV_REVOKED;
	return ADV_OK;
}

static void fill(struct adv_entry *e, uint32_t slot, uint16_t function, const void *in,
		 uint32_t length, uint64_t call_id, uint32_t budget_us, uint16_t epoch,
		 uint16_t flags)
{
	if (length > 0 && length <= ADV_INLINE_MAX)
		adv_copy_small(e->payload, in, length);
	e->call_id = call_id;
	e->length = length;
	atomic_store_explicit(&e->time, budget_us, memory_order_relaxed);
	e->code = function;
	e->slot = (uint16_t)slot;
	atomic_store_explicit(&e->flags, flags, memory_order_relaxed);
	atomic_store_explicit(&e->epoch, epoch, memory_order_relaxed);
	e->crc = 0;
}

enum adv_status adv_caller_submit_flagged(struct adv_caller *c, uint32_t slot, uint16_t function,
					  const void *in, uint32_t length, uint64_t call_id,
					  uint64_t user_data, uint32_t budget_us,
					  uint64_t deadline_ns, uint16_t flags)
{
	enum adv_status state = adv_caller_state(c);
	if (state != ADV_OK)
		return state;
	uint64_t generation = generation_now(c);
	if (generation != c->generation) {
		if (c->nr_outstanding > 0)
			return ADV_BUSY;
		adopt(c, generation);
	}
	uint32_t seq = c->request_seq++;
	struct adv_entry *e = &c->requests[seq & (c->geometry->nr_entries - 1)];
	fill(e, slot, function, in, length, call_id, budget_us, adv_generation_epoch(generation),
	     flags);
	if (c->checked)
		e->crc = adv_entry_crc(e, seq);
	c->calls[slot] = (struct adv_caller_call){.call_id = call_id,
						  .deadline_ns = deadline_ns,
						  .user_data = user_data,
						  .seq = seq,
						  .outstanding = 1};
	c->nr_outstanding++;
	c->nr_waited++;
	/*
	 * Release for the worker, and a full fence before the look at its state: pairs with the exchange of that state and the
	 * re-check that follows it in the worker's sleep.
	 */
	atomic_exchange_explicit(&e->seq, seq, memory_order_seq_cst);
	adv_prefetch_ahead(c->requests, seq, c->geometry->nr_entries - 1);
	if (atomic_load_explicit(&c->worker_line->state, memory_order_seq_cst) ==
	    ADV_SIDE_SLEEPING) {
		adv_futex_wake(&e->seq);
		c->wakes++;
	}
	return ADV_OK;
}

/* ---- completions ---- */

/* The call is over. False: nobody waits for it any more. */
static bool end_call(struct adv_caller *c, uint32_t slot, enum adv_status status, uint32_t detail,
		     struct adv_result *r)
{
	struct adv_caller_call *call = &c->calls[slot];
	call->outstanding = 0;
	c->nr_outstanding--;
	if (call->abandoned)
		return false;
	c->nr_waited--;
	r->call_id = call->call_id;
	r->user_data = call->user_data;
	r->slot = slot;
	r->status = status;
	r->detail = detail;
	r->slot_held = false;
	return true;
}

static void no_output(struct adv_result *r)
{
	r->length = 0;
	r->execution_ns = 0;
}

/* The slot of the call that the completion expected next belongs to: a worker completes in order. nr_slots: none. */
static uint32_t expected(const struct adv_caller *c)
{
	for (uint32_t i = 0; i < c->geometry->nr_slots; i++)
		if (c->calls[i].outstanding && c->calls[i].seq == c->completion_seq)
			return i;
	return c->geometry->nr_slots;
}

/* A worker's word: copied out once, and believed only where it fits the caller's own books. */
static bool take_one(struct adv_caller *c, const struct adv_entry *e, struct adv_result *r)
{
	uint64_t call_id = e->call_id;
	uint32_t length = e->length;
	uint32_t time = atomic_load_explicit(&e->time, memory_order_relaxed);
	uint16_t status = e->code;
	uint16_t slot = e->slot;
	atomic_signal_fence(memory_order_seq_cst);
	if (slot >= c->geometry->nr_slots || !c->calls[slot].outstanding ||
	    c->calls[slot].call_id != call_id) {
		/* Not a call that it was given; or one that it could not read: then its place says which. */
		slot = (uint16_t)(status == ADV_BAD_ENTRY ? expected(c) : c->geometry->nr_slots);
		length = 0;
	}
	c->completion_seq++;
	if (slot >= c->geometry->nr_slots)
		return false;
	if (status > ADV_LOAD_FAILED && status != ADV_BUSY)
		status = ADV_WORKER_LOST; /* not for a worker to say */
	if (length > c->geometry->out_capacity) {
		status = ADV_BAD_SIZE;
		length = 0;
	}
	if (!end_call(c, slot, (enum adv_status)status, 0, r))
		return false;
	r->length = length;
	r->execution_ns = time;
	if (length <= ADV_INLINE_MAX)
		memcpy(r->payload, e->payload, ADV_INLINE_MAX);
	return true;
}

static bool arrived(const struct adv_caller *c)
{
	const struct adv_entry *e =
		&c->completions[c->completion_seq & (c->geometry->nr_entries - 1)];
	/* Pairs with the worker's release store of seq. */
	return atomic_load_explicit(&e->seq, memory_order_acquire) == c->completion_seq &&
	       atomic_load_explicit(&e->epoch, memory_order_relaxed) ==
		       adv_generation_epoch(c->generation);
}

/* An entry whose checksum is wrong: not all of it may have come. After a while it is nobody's word. */
static bool take_torn(struct adv_caller *c, struct adv_result *r)
{
	uint64_t now = adv_clock_monotonic_ns();
	if (c->torn_since_ns == 0)
		c->torn_since_ns = now;
	if (now - c->torn_since_ns < ADV_LANE_TORN_NS)
		return false;
	c->torn_since_ns = 0;
	uint32_t slot = expected(c);
	c->completion_seq++;
	no_output(r);
	return slot < c->geometry->nr_slots && end_call(c, slot, ADV_BAD_ENTRY, 0, r);
}

/* Copies the entry out and looks at the copy: what lies in the ring may still be changing. */
static bool take_checked(struct adv_caller *c, const struct adv_entry *e, struct adv_result *r)
{
	struct adv_entry copy;
	memcpy(&copy, e, sizeof(copy));
	atomic_signal_fence(memory_order_seq_cst);
	if (copy.crc != adv_entry_crc(&copy, c->completion_seq))
		return take_torn(c, r);
	c->torn_since_ns = 0;
	return take_one(c, &copy, r);
}

/* Bounded: a worker that publishes garbage without end must not hold its caller. */
static bool take(struct adv_caller *c, struct adv_result *r)
{
	for (uint32_t i = 0; i < c->geometry->nr_entries && arrived(c); i++) {
		const struct adv_entry *e =
			&c->completions[c->completion_seq & (c->geometry->nr_entries - 1)];
		if (c->checked ? take_checked(c, e, r) : take_one(c, e, r))
			return true;
		if (c->torn_since_ns != 0)
			return false;
	}
	return false;
}

/* The slot of the oldest call outstanding; nr_slots when there is none. */
static uint32_t oldest(const struct adv_caller *c)
{
	uint32_t found = c->geometry->nr_slots;
	for (uint32_t i = 0; i < c->geometry->nr_slots; i++)
		if (c->calls[i].outstanding &&
		    (found == c->geometry->nr_slots ||
		     (int32_t)(c->calls[i].seq - c->calls[found].seq) < 0))
			found = i;
	return found;
}

/* One call of a dead worker: its completion if it is there, else what became of it. False: none is left. */
static bool wind_up(struct adv_caller *c, struct adv_result *r)
{
	if (take(c, r))
		return true;
	uint32_t slot;
	while ((slot = oldest(c)) < c->geometry->nr_slots) {
		struct adv_death_record death = death_of(c);
		enum adv_status status = c->ended != ADV_OK ? (enum adv_status)c->ended
					 : c->blamed	    ? ADV_NOT_RUN
							    : (enum adv_status)death.status;
		uint32_t detail = c->ended == ADV_OK && !c->blamed ? death.detail : 0;
		c->blamed = true;
		no_output(r);
		if (end_call(c, slot, status, detail, r))
			return true;
	}
	return false;
}

/* Has the worker of this side's epoch died, or the lane ended? Notes it. */
static bool is_over(struct adv_caller *c)
{
	if (c->winding_up)
		return true;
	if (generation_now(c) != c->generation) {
		c->winding_up = true;
		return true;
	}
	c->ended = atomic_load_explicit(&c->node_line->ended, memory_order_acquire);
	return c->ended != ADV_OK;
}

bool adv_caller_poll(struct adv_caller *c, struct adv_result *r)
{
	if (take(c, r))
		return true;
	if (c->nr_outstanding == 0 || !is_over(c))
		return false;
	if (wind_up(c, r))
		return true;
	if (c->winding_up)
		adopt(c, generation_now(c));
	return false;
}

bool adv_caller_ready(const struct adv_caller *c)
{
	if (arrived(c))
		return true;
	if (c->nr_outstanding == 0)
		return false;
	return c->winding_up || generation_now(c) != c->generation ||
	       atomic_load_explicit(&c->node_line->ended, memory_order_acquire) != ADV_OK;
}

void adv_caller_settle(struct adv_caller *c)
{
	uint64_t generation = generation_now(c);
	if (c->nr_outstanding == 0 && generation != c->generation)
		adopt(c, generation);
}

/* ---- giving up ---- */

/* The worker does not start a call whose entry carries the flag; one that it has copied out already is running. */
static void cancel(struct adv_caller *c, const struct adv_caller_call *call)
{
	struct adv_entry *e = &c->requests[call->seq & (c->geometry->nr_entries - 1)];
	if (atomic_load_explicit(&e->seq, memory_order_relaxed) != call->seq)
		return;
	atomic_store_explicit(&e->flags, ADV_ENTRY_CANCELLED, memory_order_relaxed);
	if (c->checked)
		e->crc = adv_entry_crc(e, call->seq);
}

bool adv_caller_expire(struct adv_caller *c, uint64_t now_ns, struct adv_result *r)
{
	uint32_t found = c->geometry->nr_slots;
	for (uint32_t i = 0; i < c->geometry->nr_slots; i++) {
		const struct adv_caller_call *call = &c->calls[i];
		if (!call->outstanding || call->abandoned || call->deadline_ns > now_ns)
			continue;
		if (found == c->geometry->nr_slots ||
		    (int32_t)(call->seq - c->calls[found].seq) < 0)
			found = i;
	}
	if (found == c->geometry->nr_slots)
		return false;
	struct adv_caller_call *call = &c->calls[found];
	cancel(c, call);
	call->abandoned = 1;
	c->nr_waited--;
	no_output(r);
	r->call_id = call->call_id;
	r->user_data = call->user_data;
	r->slot = found;
	r->status = ADV_TIMEOUT;
	r->detail = 0;
	r->slot_held = true;
	return true;
}

uint64_t adv_caller_deadline(const struct adv_caller *c)
{
	uint64_t first = UINT64_MAX;
	if (c->nr_waited == 0)
		return first;
	for (uint32_t i = 0; i < c->geometry->nr_slots; i++) {
		const struct adv_caller_call *call = &c->calls[i];
		if (call->outstanding && !call->abandoned && call->deadline_ns < first)
			first = call->deadline_ns;
	}
	return first;
}

bool adv_caller_fail(struct adv_caller *c, enum adv_status status, struct adv_result *r)
{
	uint32_t slot;
	while ((slot = oldest(c)) < c->geometry->nr_slots) {
		no_output(r);
		if (end_call(c, slot, status, 0, r))
			return true;
	}
	return false;
}

/* ---- sleeping ---- */

bool adv_caller_sleep(struct adv_caller *c)
{
	/* Pairs with the worker's store of a completion's seq, its fence, and its load of this state. */
	atomic_store_explicit(&c->caller_line->state, ADV_SIDE_SLEEPING, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	if (!adv_caller_ready(c))
		return true;
	adv_caller_awake(c);
	return false;
}

void adv_caller_awake(struct adv_caller *c)
{
	atomic_store_explicit(&c->caller_line->state, ADV_SIDE_RUNNING, memory_order_relaxed);
}
