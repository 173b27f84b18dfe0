/*
 * forge_completion.c - writes completions itself, right and wrong in every field, before the worker does; against the caller's own books:
 * it can spoil calls of its own lease, and tell its caller nothing that is not for a worker to say.
 */
#include "lane_walk.h"

enum form {
	EARLY,	      /* its own call, well made, before it has ended: it completes twice */
	NODES_STATUS, /* a status that only the node gives */
	TOO_LONG,     /* an output beyond the capacity */
	NOT_GIVEN,    /* a call that it was not given */
	NO_SLOT,      /* a slot that there is not */
	OLD_EPOCH,    /* of another worker */
	WRONG_PLACE,  /* a number that comes later */
	ALL_AHEAD,    /* every entry of the ring, ahead of time, with the call ids that come next */
	BAD_STATUS,   /* a number that is no status */
};

static void publish(const struct lane_found *l, struct adv_entry e, uint32_t seq, uint16_t epoch)
{
	struct adv_entry *to = &l->completions[seq & (ADV_RING_LEAST - 1)];
	atomic_store(&e.seq, atomic_load(&to->seq));
	atomic_store(&e.epoch, epoch);
	memcpy(to, &e, sizeof(e));
	atomic_store(&to->seq, seq);
}

static void forge(const struct lane_found *l, enum form form)
{
	static const char lie[] = "forged";
	uint64_t running = atomic_load(&l->progress->running);
	uint32_t seq = (uint32_t)running;
	uint16_t epoch = (uint16_t)(running >> 32);
	const struct adv_entry *request = own_request(l);
	struct adv_entry e = {
		.call_id = request->call_id, .length = sizeof(lie) - 1, .slot = request->slot};
	memcpy(e.payload, lie, sizeof(lie));
	e.code = form == NODES_STATUS ? ADV_NODE_RESTARTED : form == BAD_STATUS ? 40 : ADV_OK;
	e.length = form == TOO_LONG ? UINT32_MAX : e.length;
	e.call_id += form == NOT_GIVEN ? 1000 : 0;
	e.slot = form == NO_SLOT ? UINT16_MAX : e.slot;
	epoch -= form == OLD_EPOCH;
	seq += form == WRONG_PLACE ? 5 : 0;
	if (form != ALL_AHEAD) {
		publish(l, e, seq, epoch);
		return;
	}
	/* The first, which is what the caller looks for, last. */
	for (uint32_t i = ADV_RING_LEAST; i-- > 0;) {
		struct adv_entry ahead = e;
		ahead.call_id += i;
		publish(l, ahead, seq + i, epoch);
	}
}

ATTACK
{
	struct lane_found l;
	find_lane(in, &l);
	forge(&l, (enum form)argument(in, in_size, 0));
	/* So that its caller sees it before what the worker writes in its place. */
	const uint64_t one = 1;
	(void)!write(3, &one, sizeof(one));
	usleep(20000);
	memcpy(out, "honest", 6);
	return 6;
}
