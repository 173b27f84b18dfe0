/*
 * caller.h - the caller's side of one lane: publish requests, take completions, know when the worker has died.
 * One thread at a time. Nothing here blocks, allocates, locks or logs; the only system call is the wake-up of a
 * sleeping worker. Used by libadverb, by the gateway and by pollers alike.
 */
#ifndef ADVERB_LANE_CALLER_H
#define ADVERB_LANE_CALLER_H

#include "lane/lane.h"

/* What the caller keeps for each slot, outside the shared memory. */
struct adv_caller_call {
	uint64_t call_id;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; UINT64_MAX none */
	uint64_t user_data;
	uint32_t seq;	     /* of its request */
	uint8_t outstanding; /* published, and neither completed nor dropped with its epoch */
	uint8_t abandoned; /* reported as ADV_TIMEOUT already: its completion only frees the slot */
	uint8_t reserved[2];
};

/* One lane's caller. The storage is the owner's; `calls` has nr_slots elements and is the owner's too. */
struct adv_caller {
	/* read by each call */
	const struct adv_geometry *geometry;
	struct adv_entry *requests;
	const struct adv_entry *completions;
	const struct adv_worker_line *worker_line;
	const struct adv_node_line *node_line;
	struct adv_caller_line *caller_line;
	uint8_t *inputs; /* slot 0 of this lane */
	const uint8_t *outputs;
	struct adv_caller_call *calls;
	uint64_t generation; /* the epoch that this side is in */
	/* changed by each call */
	uint32_t request_seq;	 /* of the next request */
	uint32_t completion_seq; /* expected next */
	uint32_t nr_outstanding; /* published and not ended, abandoned ones among them */
	uint32_t nr_waited;	 /* of these, not abandoned */
	uint64_t wakes;		 /* statistics */
	uint64_t deaths;
	bool checked;		/* a verbs lane: entries carry checksums */
	uint64_t torn_since_ns; /* the entry expected next is torn since then; 0: it is not */
	/* while an epoch is being wound up */
	bool winding_up;
	bool blamed;	/* the oldest call has got the death's status; the others were not run */
	uint32_t ended; /* the lane's end status once seen */
};

/* One call's end. */
struct adv_result {
	uint64_t call_id;
	uint64_t user_data;
	uint32_t slot;
	uint32_t status; /* enum adv_status */
	uint32_t detail;
	uint32_t length;		 /* of the output; at most the capacity */
	uint32_t execution_ns;		 /* saturating */
	uint8_t payload[ADV_INLINE_MAX]; /* the output when length <= ADV_INLINE_MAX */
	bool slot_held; /* true: the slot is still the worker's (the caller gave up); see adv_caller_slot_free() */
};

/* The mappings are those of the whole memfds. Reads the current generation. For a verbs lane the owner sets `checked` then. */
void adv_caller_init(struct adv_caller *c, const struct adv_geometry *g, uint32_t lane, void *req,
		     const void *cpl, void *slots, struct adv_caller_call *calls);

/* The entry of the call in `slot`, as it lies in this side's ring: for whoever carries it elsewhere. */
static inline const struct adv_entry *adv_caller_entry(const struct adv_caller *c, uint32_t slot)
{
	return &c->requests[c->calls[slot].seq & (c->geometry->nr_entries - 1)];
}

/*
 * Publishes a call in `slot`, which must be free. An input of up to ADV_INLINE_MAX bytes is taken from `in`; a larger one
 * must lie in the slot already. `length` is within the capacity. budget_us 0: none. `flags`: ADV_ENTRY_TIMED or 0. Wakes the worker when it sleeps.
 * Returns ADV_OK; ADV_BUSY when the worker was replaced and the calls it had are to be taken by adv_caller_poll() first;
 * ADV_REVOKED when the node takes no more calls; or the lane's end status. Then nothing was published.
 */
enum adv_status adv_caller_submit_flagged(struct adv_caller *c, uint32_t slot, uint16_t function,
					  const void *in, uint32_t length, uint64_t call_id,
					  uint64_t user_data, uint32_t budget_us,
					  uint64_t deadline_ns, uint16_t flags);

static inline enum adv_status adv_caller_submit(struct adv_caller *c, uint32_t slot,
						uint16_t function, const void *in, uint32_t length,
						uint64_t call_id, uint64_t user_data,
						uint32_t budget_us, uint64_t deadline_ns)
{
	return adv_caller_submit_flagged(c, slot, function, in, length, call_id, user_data,
					 budget_us, deadline_ns, 0);
}

/*
 * Takes one result. Returns false when there is none. Every published call comes out exactly once: by its completion,
 * by the death of its worker, by the end of the lane, or by adv_caller_expire(). The hot path reads one cache line.
 */
bool adv_caller_poll(struct adv_caller *c, struct adv_result *result);

/*
 * Gives up on the oldest waited-for call whose deadline is not after now_ns: marks it cancelled and fills `result` with
 * ADV_TIMEOUT. Returns false when there is none.
 */
bool adv_caller_expire(struct adv_caller *c, uint64_t now_ns, struct adv_result *result);

/* The earliest deadline of the waited-for calls; UINT64_MAX when there is none. Walks the slots: not for the hot path. */
uint64_t adv_caller_deadline(const struct adv_caller *c);

/*
 * Ends every outstanding call with `status`, one at each call: for a node that has gone away. Returns false when none is left.
 */
bool adv_caller_fail(struct adv_caller *c, enum adv_status status, struct adv_result *result);

/* May `slot` carry a new call? */
static inline bool adv_caller_slot_free(const struct adv_caller *c, uint32_t slot)
{
	return !c->calls[slot].outstanding;
}

/* SLEEPING, full fence, re-check. True: the caller may sleep on the eventfd. False: there is something; state is RUNNING again. */
bool adv_caller_sleep(struct adv_caller *c);

/* After waking. */
void adv_caller_awake(struct adv_caller *c);

/* Is there something for adv_caller_poll()? Reads memory only. */
bool adv_caller_ready(const struct adv_caller *c);

/* Where nothing is outstanding: goes on to the epoch of the worker that is there now. */
void adv_caller_settle(struct adv_caller *c);

/* ADV_OK while calls may be submitted. */
enum adv_status adv_caller_state(const struct adv_caller *c);

static inline void *adv_caller_in(const struct adv_caller *c, uint32_t slot)
{
	return c->inputs + (uint64_t)slot * c->geometry->in_capacity;
}

static inline const void *adv_caller_out(const struct adv_caller *c, uint32_t slot)
{
	return c->outputs + (uint64_t)slot * c->geometry->out_capacity;
}

#endif
