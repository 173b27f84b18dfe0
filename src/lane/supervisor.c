/* supervisor.c - the node's side of a lane. The control thread; nothing read from a lane is trusted. */
#include "lane/supervisor.h"

#include <errno.h>
#include <string.h>

#define STALLED_LOOK_NS (100 * ADV_MS)

void adv_supervisor_format(void *req, void *cpl, void *slots, const struct adv_geometry *g)
{
	adv_lane_header_write(req, g, ADV_LANE_REQ);
	adv_lane_header_write(cpl, g, ADV_LANE_CPL);
	adv_lane_header_write(slots, g, ADV_LANE_SLOTS);
}

void adv_supervisor_init(struct adv_supervisor *s, const struct adv_geometry *g, uint32_t lane,
			 const void *req, void *cpl)
{
	const uint8_t *r = (const uint8_t *)req + adv_geometry_req(g, lane);
	uint8_t *c = (uint8_t *)cpl + adv_geometry_cpl(g, lane);
	memset(s, 0, sizeof(*s));
	s->geometry = g;
	s->lane = lane;
	s->requests = (const struct adv_entry *)(r + ADV_LANE_RING_OFFSET);
	s->worker_line = (struct adv_worker_line *)c;
	s->progress = (struct adv_progress_line *)(c + ADV_LANE_PROGRESS_OFFSET);
	s->endings = (const struct adv_endings_line *)(c + ADV_LANE_ENDINGS_OFFSET);
	s->completions = (struct adv_entry *)(c + ADV_LANE_RING_OFFSET);
	s->node_line = (struct adv_node_line *)((uint8_t *)cpl + adv_geometry_node_line(g, lane));
	s->generation = adv_generation(1, 1);
	atomic_store_explicit(&s->node_line->generation, s->generation, memory_order_release);
}

/* The highest sequence number in a ring, as its entries circle around that of the first. */
static uint32_t highest(const struct adv_entry *ring, uint32_t nr_entries)
{
	uint32_t first = atomic_load_explicit(&ring[0].seq, memory_order_relaxed);
	uint32_t most = 0;
	for (uint32_t i = 1; i < nr_entries; i++) {
		uint32_t ahead = atomic_load_explicit(&ring[i].seq, memory_order_relaxed) - first;
		if ((int32_t)ahead > (int32_t)most)
			most = ahead;
	}
	return first + most;
}

int adv_supervisor_death(struct adv_supervisor *s, enum adv_status status, uint32_t detail)
{
	uint16_t epoch = adv_generation_epoch(s->generation);
	uint32_t n = s->geometry->nr_entries;
	if (epoch == ADV_EPOCH_MAX)
		return -EOVERFLOW;
	const struct adv_death_record record = {
		.epoch = epoch, .status = (uint16_t)status, .detail = detail};
	uint64_t packed;
	memcpy(&packed, &record, sizeof(packed));
	atomic_store_explicit(&s->node_line->deaths[epoch % ADV_DEATH_RECORDS], packed,
			      memory_order_relaxed);
	/*
	 * A caller that has not heard of the death publishes at most N more: the new base lies beyond them. It also lies beyond the
	 * old one where nothing was published since: a number must not come back under a new epoch while its entry is being written.
	 */
	uint32_t most = highest(s->requests, n), before = adv_generation_base(s->generation) - 1;
	if ((int32_t)(before - most) > 0)
		most = before;
	uint32_t base = most + 2 * n + 1;
	s->generation = adv_generation((uint16_t)(epoch + 1), base);
	s->watched = s->stalled_since_ns = 0;
	/* The next worker says RUNNING itself: adv_supervisor_served() tells whether it ever did. */
	atomic_store_explicit(&s->worker_line->state, ADV_SIDE_STARTING, memory_order_relaxed);
	/* What the dead worker saw of its memory says nothing about the next one's death. */
	atomic_store_explicit(&s->progress->memory_hint, 0, memory_order_relaxed);
	/* Release: record and state before it. Pairs with the caller's acquire load. */
	atomic_store_explicit(&s->node_line->generation, s->generation, memory_order_release);
	return 0;
}

void adv_supervisor_revoke(struct adv_supervisor *s)
{
	atomic_store_explicit(&s->node_line->revoking, 1, memory_order_release);
}

void adv_supervisor_end(struct adv_supervisor *s, enum adv_status status)
{
	atomic_store_explicit(&s->node_line->ended, (uint32_t)status, memory_order_release);
}

/* The highest number of the current epoch in a ring; the base - 1 when there is none. */
static uint32_t reached(const struct adv_supervisor *s, const struct adv_entry *ring)
{
	uint32_t before = adv_generation_base(s->generation) - 1;
	uint32_t most = 0;
	for (uint32_t i = 0; i < s->geometry->nr_entries; i++) {
		uint32_t ahead = atomic_load_explicit(&ring[i].seq, memory_order_acquire) - before;
		uint16_t epoch = atomic_load_explicit(&ring[i].epoch, memory_order_relaxed);
		if (epoch == adv_generation_epoch(s->generation) && (int32_t)ahead > (int32_t)most)
			most = ahead;
	}
	return before + most;
}

/* The budget of the request with that number; 0: none, or it is not in the ring. */
static uint64_t budget_of(const struct adv_supervisor *s, uint32_t seq)
{
	const struct adv_entry *e = &s->requests[seq & (s->geometry->nr_entries - 1)];
	if (atomic_load_explicit(&e->seq, memory_order_acquire) != seq)
		return 0;
	uint32_t budget_us = atomic_load_explicit(&e->time, memory_order_relaxed);
	/* Still that request: a finished call is not judged by its successor's budget. */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&e->seq, memory_order_relaxed) == seq ? budget_us * ADV_US : 0;
}

/*
 * By the rings alone, and now and then: they are others' cache lines. A worker that has completed more than was asked for lies; then the newest
 * request stands for all. One that has not begun to serve has nothing to hide.
 */
static bool stalled(struct adv_supervisor *s, uint64_t now_ns)
{
	if (now_ns < s->stalled_look_ns)
		return false;
	s->stalled_look_ns = now_ns + STALLED_LOOK_NS;
	uint32_t done = reached(s, s->completions), asked = reached(s, s->requests);
	if (done == asked || !adv_supervisor_served(s)) {
		s->stalled_since_ns = 0;
		return false;
	}
	uint32_t seq = (int32_t)(asked - done) > 0 ? done + 1 : asked;
	if (s->stalled_since_ns == 0 || s->stalled_seq != seq) {
		s->stalled_seq = seq;
		s->stalled_since_ns = now_ns;
		return false;
	}
	uint64_t budget = budget_of(s, seq);
	return budget != 0 && now_ns - s->stalled_since_ns >= budget + ADV_STALLED_US * ADV_US;
}

/* The budget of the request that the worker says it runs; 0: none, or its word does not fit the ring. */
static uint64_t budget_ns(const struct adv_supervisor *s, uint64_t running)
{
	uint64_t budget = budget_of(s, adv_generation_base(running));
	/* Still that call. */
	return atomic_load_explicit(&s->progress->running, memory_order_relaxed) == running ? budget
											    : 0;
}

bool adv_supervisor_overdue(struct adv_supervisor *s, uint64_t now_ns, uint64_t *next_ns)
{
	uint64_t running = atomic_load_explicit(&s->progress->running, memory_order_relaxed);
	if (stalled(s, now_ns))
		return true;
	if (running == 0 || adv_generation_epoch(running) != adv_generation_epoch(s->generation)) {
		s->watched = 0;
		return false;
	}
	if (running != s->watched) {
		s->watched = running;
		s->watched_since_ns = now_ns;
	}
	uint64_t budget = budget_ns(s, running);
	if (budget == 0)
		return false;
	uint64_t due = s->watched_since_ns + budget + ADV_TIMEOUT_KILL_US * ADV_US;
	if (now_ns >= due)
		return true;
	if (due < *next_ns)
		*next_ns = due;
	return false;
}

/* What a counter has grown by since it was last read, at most `max`. */
static uint64_t grown(const _Atomic uint64_t *counter, uint64_t *counted, uint64_t max)
{
	uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
	uint64_t by = now - *counted;
	*counted = now;
	return by > max ? max : by;
}

void adv_supervisor_count(struct adv_supervisor *s, uint64_t max_ns, struct adv_lane_counts *counts)
{
	const struct adv_progress_line *p = s->progress;
	/* A call takes more than a nanosecond: no honest figure is above the time that has passed. */
	counts->calls = grown(&p->calls, &s->counted[0], max_ns);
	counts->failures = grown(&p->failures, &s->counted[1], counts->calls);
	counts->executed_ns = grown(&p->executed_ns, &s->counted[2], max_ns);
	counts->polled_ns = grown(&p->polled_ns, &s->counted[3], max_ns - counts->executed_ns);
	counts->bytes =
		grown(&p->in_bytes, &s->counted[4], counts->calls * s->geometry->in_capacity) +
		grown(&p->out_bytes, &s->counted[5], counts->calls * s->geometry->out_capacity);
	uint64_t left = counts->failures;
	for (unsigned i = 0; i < ADV_ENDINGS; i++) {
		uint32_t now = atomic_load_explicit(&s->endings->calls[i], memory_order_relaxed);
		uint32_t by = now - s->ended[i];
		s->ended[i] = now;
		counts->ended[i] = i == 0 ? 0 : by > left ? left : by;
		left -= counts->ended[i];
	}
}

bool adv_supervisor_memory_hint(const struct adv_supervisor *s)
{
	return atomic_load_explicit(&s->progress->memory_hint, memory_order_relaxed) != 0;
}

bool adv_supervisor_served(const struct adv_supervisor *s)
{
	return atomic_load_explicit(&s->worker_line->state, memory_order_relaxed) !=
	       ADV_SIDE_STARTING;
}

uint32_t adv_supervisor_unfinished(const struct adv_supervisor *s, uint64_t now_ns,
				   uint64_t *ran_ns)
{
	uint32_t n = reached(s, s->requests) - reached(s, s->completions);
	*ran_ns = 0;
	if ((int32_t)n <= 0)
		return 0;
	if (s->watched != 0)
		*ran_ns = now_ns - s->watched_since_ns;
	return n < s->geometry->nr_entries ? n : s->geometry->nr_entries;
}

bool adv_supervisor_busy(const struct adv_supervisor *s)
{
	return (int32_t)(reached(s, s->requests) - reached(s, s->completions)) > 0;
}
