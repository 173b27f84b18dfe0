/* relay.c - one verbs lease between its link and its lanes. The poller that it belongs to. */
#include "poller/relay.h"

#include <string.h>

#include "lane/entry_crc.h"
#include "poller/transport_bench.h"
#include "util/futex.h"

static uint32_t mask_of(const struct adv_relay *r)
{
	return r->options.geometry->nr_entries - 1;
}

/* ---- setting up ---- */

static void lane_init(struct adv_relay *r, uint32_t index)
{
	const struct adv_relay_options *o = &r->options;
	const struct adv_geometry *g = o->geometry;
	struct adv_relay_lane *l = &o->lanes[index];
	uint8_t *req = (uint8_t *)o->req + adv_geometry_req(g, index);
	const uint8_t *cpl = (const uint8_t *)o->cpl + adv_geometry_cpl(g, index);
	const uint8_t *landing = o->landing != NULL
					 ? (const uint8_t *)o->landing + adv_geometry_req(g, index)
					 : NULL;
	l->index = (uint16_t)index;
	l->completions = (const struct adv_entry *)(cpl + ADV_LANE_RING_OFFSET);
	l->worker_line = (const struct adv_worker_line *)cpl;
	l->requests = (struct adv_entry *)(req + ADV_LANE_RING_OFFSET);
	l->caller_line = (struct adv_caller_line *)req;
	l->landing =
		landing != NULL ? (const struct adv_entry *)(landing + ADV_LANE_RING_OFFSET) : NULL;
	l->arm = (const struct adv_arm_line *)((landing != NULL ? landing : req) +
					       ADV_LANE_ARM_OFFSET);
	l->node_line = (const struct adv_node_line *)((const uint8_t *)o->cpl +
						      adv_geometry_node_line(g, index));
	l->epoch = 1;
	l->completion_seq = 1;
	l->request_seq = 0;
	l->sent_state = adv_lane_state(adv_generation(1, 1), 0, ADV_OK);
	atomic_store_explicit(&l->caller_line->state, ADV_SIDE_RUNNING, memory_order_release);
	if (atomic_load_explicit(&l->node_line->generation, memory_order_acquire) !=
		    adv_generation(1, 1) ||
	    atomic_load_explicit(&l->node_line->revoking, memory_order_relaxed) != 0)
		adv_relay_line_changed(r, index);
}

void adv_relay_init(struct adv_relay *r, struct adv_link *link, const struct adv_relay_options *o)
{
	memset(r, 0, sizeof(*r));
	r->link = link;
	r->options = *o;
	r->mirror_slots = o->mirror + o->geometry->size[ADV_LANE_CPL];
	for (uint32_t i = 0; i < o->geometry->nr_lanes; i++)
		lane_init(r, i);
}

void adv_relay_line_changed(struct adv_relay *r, uint32_t lane)
{
	for (uint32_t i = 0; i < r->options.geometry->nr_lanes; i++) {
		if (lane != UINT32_MAX && lane != i)
			continue;
		r->nr_dirty += !r->options.lanes[i].line_dirty;
		r->options.lanes[i].line_dirty = true;
	}
}

/* ---- from the client ---- */

static bool in_flight(const struct adv_relay_lane *l)
{
	return (int32_t)(l->request_seq - l->completion_seq) >= 0;
}

static void activate(struct adv_relay *r, struct adv_relay_lane *l)
{
	if (l->active)
		return;
	l->active = true;
	r->options.active[r->nr_active++] = l->index;
}

/* The device placed the entry where nobody looks; its completion says that all of it is there. The worker sees seq last. */
static void land(const struct adv_relay *r, struct adv_relay_lane *l, uint32_t seq)
{
	const struct adv_entry *from = &l->landing[seq & mask_of(r)];
	struct adv_entry *to = &l->requests[seq & mask_of(r)];
	struct adv_entry copy;
	memcpy(&copy, from, sizeof(copy));
	memcpy(to, &copy, offsetof(struct adv_entry, seq));
	atomic_store_explicit(&to->seq, atomic_load_explicit(&copy.seq, memory_order_relaxed),
			      memory_order_release);
}

/*
 * The entry is in memory: its immediate came behind it. The fence pairs with the one in the worker's sleep, between SLEEPING and its
 * last look at the entry.
 */
static void wake_worker(struct adv_relay *r, struct adv_relay_lane *l, uint32_t seq)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&l->worker_line->state, memory_order_relaxed) != ADV_SIDE_SLEEPING)
		return;
	adv_futex_wake(&l->requests[seq & mask_of(r)].seq);
	r->wakes++;
}

/* Which request an immediate's 16 bits mean: one of those that may be in flight. False: none. */
static bool expand(const struct adv_relay *r, const struct adv_relay_lane *l, uint16_t low,
		   uint32_t *seq)
{
	uint16_t ahead = (uint16_t)(low - (uint16_t)l->completion_seq);
	*seq = l->completion_seq + ahead;
	return ahead < r->options.geometry->nr_entries;
}

static void heard_call(struct adv_relay *r, struct adv_relay_lane *l, uint16_t low)
{
	uint32_t seq;
	/* Its completion may have been carried before its immediate was heard; or it is of an epoch that is over. */
	if (!expand(r, l, low, &seq))
		return;
	if (l->landing != NULL)
		land(r, l, seq);
	r->calls++;
	if ((int32_t)(seq - l->request_seq) > 0)
		l->request_seq = seq;
	activate(r, l);
	if (ADV_TRANSPORT_BENCH)
		adv_transport_bench_run(r, l, seq);
	else
		wake_worker(r, l, seq);
}

static void answer_arm(struct adv_relay *r, struct adv_relay_lane *l);

/* What the client wrote before this immediate it had seen; what was sent since, it may miss. */
static void heard_arm(struct adv_relay *r, struct adv_relay_lane *l)
{
	uint32_t seq = atomic_load_explicit(&l->arm->seen_seq, memory_order_relaxed);
	uint32_t state = atomic_load_explicit(&l->arm->seen_state, memory_order_relaxed);
	l->armed = true;
	if (seq != l->completion_seq - 1 || state != l->sent_state)
		answer_arm(r, l);
}

void adv_relay_hear(struct adv_relay *r, uint32_t immediate)
{
	struct adv_wire_immediate i = adv_wire_unpack(immediate);
	uint32_t lane = i.lane & ADV_WIRE_LANE_MASK;
	if (i.lane >> ADV_WIRE_LANE_BITS != (r->options.tag & ADV_WIRE_TAG_MASK) ||
	    lane >= r->options.geometry->nr_lanes) {
		r->stray++;
		return;
	}
	struct adv_relay_lane *l = &r->options.lanes[lane];
	if (i.kind == ADV_WIRE_CALL)
		heard_call(r, l, i.seq);
	else if (i.kind == ADV_WIRE_ARM)
		heard_arm(r, l);
	else if (i.kind == ADV_WIRE_QUIET)
		r->quiet = true;
	else
		r->stray++;
}

/* ---- to the client ---- */

static uint32_t immediate_of(const struct adv_relay *r, const struct adv_relay_lane *l,
			     enum adv_wire_reply kind, uint32_t seq)
{
	return adv_wire_pack(kind, adv_wire_lane(r->options.tag, l->index), seq);
}

/* Something newer is on its way already: the immediate alone. What cannot be posted now stays owed. */
static void answer_arm(struct adv_relay *r, struct adv_relay_lane *l)
{
	struct adv_post post;
	adv_post_begin(&post);
	adv_post_write(&post, r->link, NULL, 0, 0, 0, r->options.mirror_rkey);
	adv_post_immediate(&post, immediate_of(r, l, ADV_WIRE_NOTE, l->completion_seq - 1));
	if (adv_link_post(r->link, &post, false) == 0)
		l->armed = false;
	else
		r->stalled = true;
}

/* Where a small write is sent from: the copy itself where it fits inline, else a registered line of the lane's. */
static const void *outgoing(const struct adv_relay *r, const struct adv_relay_lane *l, uint32_t seq,
			    const void *from, uint32_t size)
{
	if (size <= r->link->max_inline)
		return from;
	uint8_t *line =
		(uint8_t *)r->options.staging +
		((uint64_t)l->index * (mask_of(r) + 1) + (seq & mask_of(r))) * ADV_ENTRY_SIZE;
	memcpy(line, from, size);
	return line;
}

static inline bool arrived(const struct adv_relay *r, const struct adv_relay_lane *l)
{
	const struct adv_entry *e = &l->completions[l->completion_seq & mask_of(r)];
	/* Pairs with the worker's release store of seq. */
	return atomic_load_explicit(&e->seq, memory_order_acquire) == l->completion_seq &&
	       atomic_load_explicit(&e->epoch, memory_order_relaxed) == l->epoch;
}

/* Output, then entry: one doorbell. False: there is no room. */
static bool carry_one(struct adv_relay *r, struct adv_relay_lane *l)
{
	const struct adv_relay_options *o = &r->options;
	const struct adv_geometry *g = o->geometry;
	uint32_t seq = l->completion_seq, number = seq & mask_of(r);
	struct adv_entry copy;
	struct adv_post post;
	memcpy(&copy, &l->completions[number], sizeof(copy));
	atomic_store_explicit(&copy.seq, seq, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	copy.crc = adv_entry_crc(&copy, seq);
	adv_post_begin(&post);
	/* A worker's word that does not fit is carried without output: the client refuses it. */
	if (copy.length > ADV_INLINE_MAX && copy.length <= g->out_capacity &&
	    copy.slot < g->nr_slots) {
		uint64_t out = adv_geometry_out(g, l->index, copy.slot);
		adv_post_write(&post, r->link, (const uint8_t *)o->slots + out, copy.length,
			       o->slots_lkey, r->mirror_slots + out, o->mirror_rkey);
	}
	adv_post_write(&post, r->link, outgoing(r, l, seq, &copy, sizeof(copy)), sizeof(copy),
		       o->staging_lkey,
		       o->mirror + adv_geometry_cpl(g, l->index) + ADV_LANE_RING_OFFSET +
			       (uint64_t)number * ADV_ENTRY_SIZE,
		       o->mirror_rkey);
	if (l->armed || o->hand_over)
		adv_post_immediate(&post, immediate_of(r, l, ADV_WIRE_DONE, seq));
	if (adv_link_post(r->link, &post, false) < 0)
		return false;
	l->armed = false;
	l->completion_seq++;
	r->last_ns = atomic_load_explicit(&copy.time, memory_order_relaxed);
	return true;
}

/*
 * `all`: of an epoch that is over. Else those of calls whose immediates have been heard: a client that gets its answers sooner calls
 * again sooner, and its immediates come faster than receives are posted for them.
 */
static unsigned carry_lane(struct adv_relay *r, struct adv_relay_lane *l, bool all)
{
	unsigned n = 0;
	while (n <= mask_of(r) && (all || in_flight(l)) && arrived(r, l)) {
		if (!carry_one(r, l)) {
			r->stalled = true;
			break;
		}
		n++;
	}
	r->carried += n;
	return n;
}

/* The rest first, the generation last: who reads a new generation finds the death record that belongs to it. */
static bool post_line(struct adv_relay *r, struct adv_relay_lane *l,
		      const struct adv_node_line *line)
{
	const struct adv_relay_options *o = &r->options;
	const uint8_t *bytes = (const uint8_t *)line;
	uint64_t to = o->mirror + adv_geometry_node_line(o->geometry, l->index);
	uint16_t said = adv_wire_line(
		adv_generation_epoch(atomic_load_explicit(&line->generation, memory_order_relaxed)),
		atomic_load_explicit(&line->revoking, memory_order_relaxed),
		atomic_load_explicit(&line->ended, memory_order_relaxed));
	struct adv_post post;
	adv_post_begin(&post);
	adv_post_write(&post, r->link, bytes + 8, sizeof(*line) - 8, o->staging_lkey, to + 8,
		       o->mirror_rkey);
	adv_post_write(&post, r->link, bytes, 8, o->staging_lkey, to, o->mirror_rkey);
	/* A device that does not place in order has placed both when the immediate has come. */
	if (l->armed || o->hand_over)
		adv_post_immediate(&post, immediate_of(r, l, ADV_WIRE_LINE, said));
	return adv_link_post(r->link, &post, true) == 0;
}

/*
 * A worker that is gone is reaped: what it has left is carried before the line that says so, there is no more. Of an epoch that the
 * client has not been told of there is nothing. False: no room.
 */
static bool carry_line(struct adv_relay *r, struct adv_relay_lane *l)
{
	struct adv_node_line line;
	/* Acquire, both: the record of the death was there before, and all that was completed. */
	uint64_t generation = atomic_load_explicit(&l->node_line->generation, memory_order_acquire);
	uint32_t ended = atomic_load_explicit(&l->node_line->ended, memory_order_acquire);
	memcpy(&line, l->node_line, sizeof(line));
	atomic_store_explicit(&line.generation, generation, memory_order_relaxed);
	atomic_store_explicit(&line.ended, ended, memory_order_relaxed);
	if (adv_generation_epoch(generation) != l->epoch || ended != ADV_OK)
		carry_lane(r, l, true);
	if (r->stalled)
		return false;
	uint8_t *staged = r->options.staging;
	if (r->link->max_inline < sizeof(line)) {
		staged += (uint64_t)r->options.geometry->nr_lanes * (mask_of(r) + 1) *
				  ADV_ENTRY_SIZE +
			  (uint64_t)l->index * ADV_ENTRY_SIZE;
		memcpy(staged, &line, sizeof(line));
	}
	if (!post_line(r, l, r->link->max_inline < sizeof(line) ? (const void *)staged : &line)) {
		r->stalled = true;
		return false;
	}
	l->sent_state = adv_lane_state(
		generation, atomic_load_explicit(&line.revoking, memory_order_relaxed), ended);
	l->armed = false;
	if (adv_generation_epoch(generation) != l->epoch) {
		l->epoch = adv_generation_epoch(generation);
		l->completion_seq = adv_generation_base(generation);
		l->request_seq = l->completion_seq - 1;
	}
	return true;
}

static unsigned carry_lines(struct adv_relay *r)
{
	unsigned n = 0;
	for (uint32_t i = 0; i < r->options.geometry->nr_lanes && r->nr_dirty > 0; i++) {
		struct adv_relay_lane *l = &r->options.lanes[i];
		if (!l->line_dirty)
			continue;
		if (!carry_line(r, l))
			return n;
		l->line_dirty = false;
		r->nr_dirty--;
		n++;
	}
	return n;
}

/* Answers to ARM that found no room. */
static void pay_debts(struct adv_relay *r)
{
	for (uint32_t i = 0; i < r->options.geometry->nr_lanes && !r->stalled; i++) {
		struct adv_relay_lane *l = &r->options.lanes[i];
		if (l->armed)
			heard_arm(r, l);
	}
}

unsigned adv_relay_carry(struct adv_relay *r)
{
	unsigned n = 0;
	if (r->stalled) {
		if (!adv_link_room(r->link, ADV_LINK_POST_MAX))
			return 0;
		r->stalled = false;
		pay_debts(r);
	}
	for (uint32_t i = 0; i < r->nr_active && !r->ending;) {
		struct adv_relay_lane *l = &r->options.lanes[r->options.active[i]];
		n += carry_lane(r, l, false);
		if (in_flight(l)) {
			i++;
			continue;
		}
		l->active = false;
		r->options.active[i] = r->options.active[--r->nr_active];
	}
	if (r->nr_dirty > 0 && !r->stalled)
		n += carry_lines(r);
	return n;
}

/* ---- sleeping ---- */

bool adv_relay_sleep(struct adv_relay *r)
{
	if (r->nr_dirty > 0 && !r->stalled)
		return false;
	for (uint32_t i = 0; i < r->nr_active; i++)
		atomic_store_explicit(&r->options.lanes[r->options.active[i]].caller_line->state,
				      ADV_SIDE_SLEEPING, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	/* What there is no room for waits for the device; what a lease that ends has left is not carried. */
	for (uint32_t i = 0; i < r->nr_active && !r->stalled && !r->ending; i++)
		if (arrived(r, &r->options.lanes[r->options.active[i]])) {
			adv_relay_awake(r);
			return false;
		}
	return true;
}

void adv_relay_awake(struct adv_relay *r)
{
	for (uint32_t i = 0; i < r->nr_active; i++)
		atomic_store_explicit(&r->options.lanes[r->options.active[i]].caller_line->state,
				      ADV_SIDE_RUNNING, memory_order_relaxed);
}
