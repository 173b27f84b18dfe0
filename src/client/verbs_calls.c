/* verbs_calls.c - a call's way over the link and back, and sleeping. The lease's thread: nothing here allocates or locks. */
#include <stddef.h>
#include <string.h>

#include "client/verbs.h"

static uint32_t wire_lane(const struct adv_verbs_lease *v, uint32_t lane)
{
	return adv_wire_lane(v->tag, lane);
}

static uint32_t lane_of(const struct adv_lease *l, const struct adv_client_worker *w)
{
	return (uint32_t)(w - l->workers);
}

/* ---- what comes ---- */

/* The device has placed the entry, and says so: callers see it now, its seq last. */
static void hand_over(struct adv_verbs_lease *v, uint32_t lane, uint16_t seq)
{
	uint64_t at = adv_geometry_cpl(v->geometry, lane) + ADV_LANE_RING_OFFSET +
		      (uint64_t)(seq & (v->geometry->nr_entries - 1)) * ADV_ENTRY_SIZE;
	struct adv_entry *to = (struct adv_entry *)(v->handed + at);
	struct adv_entry copy;
	memcpy(&copy, v->mirror + at, sizeof(copy));
	memcpy(to, &copy, offsetof(struct adv_entry, seq));
	atomic_store_explicit(&to->seq, atomic_load_explicit(&copy.seq, memory_order_relaxed),
			      memory_order_release);
}

/*
 * What the node has said of the lane, the generation last. Only the line that the LINE speaks of: completions that came before a later
 * one may not have been handed over yet.
 */
static void hand_over_line(struct adv_verbs_lease *v, uint32_t lane, uint16_t said)
{
	uint64_t at = adv_geometry_node_line(v->geometry, lane);
	struct adv_node_line *to = (struct adv_node_line *)(v->handed + at);
	struct adv_node_line copy;
	memcpy(&copy, v->mirror + at, sizeof(copy));
	atomic_signal_fence(memory_order_seq_cst);
	uint64_t generation = atomic_load_explicit(&copy.generation, memory_order_relaxed);
	if (adv_wire_line(adv_generation_epoch(generation),
			  atomic_load_explicit(&copy.revoking, memory_order_relaxed),
			  atomic_load_explicit(&copy.ended, memory_order_relaxed)) != said)
		return;
	memcpy((uint8_t *)to + sizeof(to->generation),
	       (const uint8_t *)&copy + sizeof(copy.generation),
	       sizeof(copy) - sizeof(copy.generation));
	atomic_store_explicit(&to->generation, generation, memory_order_release);
}

static void heard(struct adv_verbs_lease *v, uint32_t immediate)
{
	struct adv_wire_immediate i = adv_wire_unpack(immediate);
	uint32_t lane = i.lane & ADV_WIRE_LANE_MASK;
	/* One that was sent for the lease before, on this link. */
	if (i.lane >> ADV_WIRE_LANE_BITS != (v->tag & ADV_WIRE_TAG_MASK) ||
	    lane >= v->geometry->nr_lanes)
		return;
	v->unanswered[lane] = false;
	if (v->hand_over && i.kind == ADV_WIRE_DONE)
		hand_over(v, lane, i.seq);
	else if (v->hand_over && i.kind == ADV_WIRE_LINE)
		hand_over_line(v, lane, i.seq);
}

bool adv_verbs_progress(struct adv_lease *l)
{
	struct adv_verbs_lease *v = l->verbs;
	uint32_t immediates[ADV_LINK_POLL_MAX];
	unsigned nr, n;
	if (v->link == NULL)
		return false;
	do {
		n = adv_link_poll(&v->link->link, immediates, &nr);
		for (unsigned i = 0; i < nr; i++)
			heard(v, immediates[i]);
	} while (n == ADV_LINK_POLL_MAX);
	(void)adv_link_replenish(&v->link->link, n == 0);
	return !adv_link_broken(&v->link->link);
}

/* ---- what goes ---- */

bool adv_verbs_room(struct adv_lease *l)
{
	if (l->verbs->link == NULL)
		return false;
	struct adv_link *link = &l->verbs->link->link;
	if (adv_link_room(link, ADV_LINK_POST_MAX))
		return true;
	adv_verbs_progress(l);
	return adv_link_room(link, ADV_LINK_POST_MAX);
}

static void add_entry(struct adv_post *post, const struct adv_verbs_lease *v, uint32_t lane,
		      const struct adv_entry *e, uint32_t seq)
{
	adv_post_write(post, &v->link->link, e, sizeof(*e), v->lkey,
		       adv_geometry_req(v->geometry, lane) + ADV_LANE_RING_OFFSET +
			       (uint64_t)(seq & (v->geometry->nr_entries - 1)) * ADV_ENTRY_SIZE,
		       v->req_rkey);
}

/* A link that breaks here is found broken by the next look at it: the call ends then. */
void adv_verbs_post(struct adv_lease *l, const struct adv_client_worker *w, uint32_t slot,
		    const void *in, uint32_t in_lkey, uint32_t in_size)
{
	const struct adv_verbs_lease *v = l->verbs;
	uint32_t lane = lane_of(l, w), seq = w->caller.calls[slot].seq;
	struct adv_post post;
	adv_post_begin(&post);
	if (in_size > ADV_INLINE_MAX)
		adv_post_write(&post, &v->link->link, in, in_size, in_lkey,
			       adv_geometry_in(v->geometry, lane, slot), v->input_rkeys[lane]);
	add_entry(&post, v, lane, adv_caller_entry(&w->caller, slot), seq);
	adv_post_immediate(&post, adv_wire_pack(ADV_WIRE_CALL, wire_lane(v, lane), seq));
	(void)adv_link_post(&v->link->link, &post, false);
}

void adv_verbs_cancel(struct adv_lease *l, const struct adv_client_worker *w, uint32_t slot)
{
	const struct adv_verbs_lease *v = l->verbs;
	const struct adv_entry *e = adv_caller_entry(&w->caller, slot);
	uint32_t seq = w->caller.calls[slot].seq;
	struct adv_post post;
	/* Its place may carry another call already; and without room the worker runs it for nobody. */
	if (atomic_load_explicit(&e->seq, memory_order_relaxed) != seq || !adv_verbs_room(l))
		return;
	adv_post_begin(&post);
	add_entry(&post, v, lane_of(l, w), e, seq);
	if (v->lands)
		adv_post_immediate(&post,
				   adv_wire_pack(ADV_WIRE_CALL, wire_lane(v, lane_of(l, w)), seq));
	(void)adv_link_post(&v->link->link, &post, false);
}

/* ---- sleeping ---- */

/* What this side has seen of the lane; an answer comes when the node has sent more. */
static void announce(struct adv_lease *l, struct adv_client_worker *w)
{
	struct adv_verbs_lease *v = l->verbs;
	uint32_t lane = lane_of(l, w);
	uint64_t at = adv_geometry_req(v->geometry, lane) + ADV_LANE_ARM_OFFSET;
	struct adv_arm_line *line = (struct adv_arm_line *)((uint8_t *)l->maps[ADV_LANE_REQ] + at);
	const struct adv_node_line *node = w->caller.node_line;
	struct adv_post post;
	atomic_store_explicit(&line->seen_seq, w->caller.completion_seq - 1, memory_order_relaxed);
	atomic_store_explicit(
		&line->seen_state,
		adv_lane_state(w->caller.generation,
			       atomic_load_explicit(&node->revoking, memory_order_relaxed),
			       atomic_load_explicit(&node->ended, memory_order_relaxed)),
		memory_order_relaxed);
	adv_post_begin(&post);
	adv_post_write(&post, &v->link->link, line, sizeof(*line), v->lkey, at, v->req_rkey);
	adv_post_immediate(&post, adv_wire_pack(ADV_WIRE_ARM, wire_lane(v, lane), 0));
	if (adv_link_post(&v->link->link, &post, false) == 0)
		v->unanswered[lane] = true;
}

/*
 * Every lane, also one without a call: a call may be submitted before this side sleeps. Where entries are handed over each of them raises an
 * event anyway.
 */
bool adv_verbs_arm(struct adv_lease *l)
{
	struct adv_verbs_lease *v = l->verbs;
	bool room = true;
	/* A broken link has nothing to say any more: that matters where a call waits for it. */
	if (v->link == NULL || adv_link_notify(&v->link->link) < 0 || !adv_verbs_progress(l))
		return l->nr_waiting == 0;
	for (uint32_t i = 0; i < l->nr_workers && room && !v->hand_over; i++) {
		struct adv_client_worker *w = &l->workers[i];
		if (v->unanswered[i])
			continue;
		adv_caller_settle(&w->caller);
		room = adv_verbs_room(l);
		if (room)
			announce(l, w);
	}
	return room;
}

void adv_verbs_awake(struct adv_lease *l)
{
	struct adv_verbs_link *link = l->verbs->link;
	struct ibv_cq *cq;
	void *context;
	if (link == NULL)
		return;
	while (ibv_get_cq_event(link->pair.channel, &cq, &context) == 0) {
		link->nr_events++;
		link->link.notify = false;
	}
	if (link->nr_events >= 64) {
		ibv_ack_cq_events(link->pair.cq, link->nr_events);
		link->nr_events = 0;
	}
	(void)adv_verbs_progress(l);
}
