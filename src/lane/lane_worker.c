/*
 * lane_worker.c - the worker's side of a lane. The sandbox's only thread; no allocation, no lock, hot no system call.
 */
#include <sched.h>
#include <string.h>

#include "lane/endings.h"
#include "lane/entry_crc.h"
#include "lane/lane_worker.h"
#include "util/clock.h"
#include "util/futex.h"

/* 0: nothing is counted and no clock read for it. bench/accounting.c measures what it costs. */
#ifndef ADV_LANE_ACCOUNTING
#define ADV_LANE_ACCOUNTING 1
#endif

#define SPINS_PER_LOOK 128 /* at the clock, between looks at the ring */
#define LOOK_AHEAD_NS  (10 * ADV_US)

void adv_worker_lane_init(struct adv_worker_lane *w, const struct adv_geometry *g,
			  const struct adv_worker_lane_options *o)
{
	const uint8_t *req = o->req;
	uint8_t *cpl = o->cpl;
	memset(w, 0, sizeof(*w));
	w->caller_line = (const struct adv_caller_line *)req;
	w->requests = (const struct adv_entry *)(req + ADV_LANE_RING_OFFSET);
	w->line = (struct adv_worker_line *)cpl;
	w->progress = (struct adv_progress_line *)(cpl + ADV_LANE_PROGRESS_OFFSET);
	w->endings = (struct adv_endings_line *)(cpl + ADV_LANE_ENDINGS_OFFSET);
	w->completions = (struct adv_entry *)(cpl + ADV_LANE_RING_OFFSET);
	w->inputs = o->inputs;
	w->outputs = o->outputs;
	w->nr_slots = g->nr_slots;
	w->mask = g->nr_entries - 1;
	w->in_capacity = g->in_capacity;
	w->out_capacity = g->out_capacity;
	w->nr_functions = o->nr_functions;
	w->epoch = adv_generation_epoch(o->generation);
	w->request_seq = w->completion_seq = w->backlog_seq = adv_generation_base(o->generation);
	w->hot_ns = o->hot_us > UINT64_MAX / 1000 ? UINT64_MAX : o->hot_us * 1000;
	w->learns = o->hot_us == ADV_HOT_US_AUTO;
	if (w->learns) {
		adv_hot_window_init(&w->window, ADV_HOT_PRICE_US * ADV_US);
		w->hot_ns = w->window.window_ns;
	}
	w->checked = o->checked;
	w->yield = o->yield;
	w->core = o->core;
	w->core_worker = o->core_worker;
	w->event_fd = o->event_fd;
	w->ticks = o->ticks;
	w->idle_since = w->backlog_at = adv_ticks_now(&w->ticks);
	atomic_store_explicit(&w->line->state, ADV_SIDE_RUNNING, memory_order_release);
}

/* One writer: a plain load and store, atomic for the node's sake, without a locked instruction. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
	if (!ADV_LANE_ACCOUNTING)
		return;
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static const struct adv_entry *next_request(const struct adv_worker_lane *w)
{
	return &w->requests[w->request_seq & w->mask];
}

/* Pairs with the caller's release store of seq. */
static bool arrived(const struct adv_worker_lane *w)
{
	const struct adv_entry *e = next_request(w);
	return atomic_load_explicit(&e->seq, memory_order_acquire) == w->request_seq &&
	       atomic_load_explicit(&e->epoch, memory_order_relaxed) == w->epoch;
}

/* ---- completions ---- */

static void publish(struct adv_worker_lane *w, const struct adv_work *work, enum adv_status status,
		    uint32_t length, uint64_t execution_ns)
{
	struct adv_entry *e = &w->completions[w->completion_seq & w->mask];
	if (length > 0 && length <= ADV_INLINE_MAX)
		adv_copy_small(e->payload, work->out, length);
	e->call_id = work->call_id;
	e->length = length;
	atomic_store_explicit(&e->time,
			      execution_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)execution_ns,
			      memory_order_relaxed);
	e->code = (uint16_t)status;
	e->slot = work->slot;
	atomic_store_explicit(&e->flags, 0, memory_order_relaxed);
	atomic_store_explicit(&e->epoch, w->epoch, memory_order_relaxed);
	e->crc = 0;
	atomic_store_explicit(&e->seq, w->completion_seq, memory_order_release);
	adv_prefetch_ahead(w->completions, w->completion_seq, w->mask);
	w->completion_seq++;
	w->unfenced = true;
}

/*
 * Wakes a caller that sleeps. The full fence pairs with the one in adv_caller_sleep(). It waits until the completion's line has
 * left this core, so it comes as late as it may: after the next request was copied out, before anything takes time.
 */
static void wake_caller(struct adv_worker_lane *w)
{
	if (!w->unfenced)
		return;
	w->unfenced = false;
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&w->caller_line->state, memory_order_seq_cst) ==
	    ADV_SIDE_SLEEPING) {
		uint64_t one = 1;
		ssize_t ignored = write(w->event_fd, &one, sizeof(one));
		(void)ignored;
	}
}

static void count_failure(struct adv_worker_lane *w, enum adv_status status)
{
	_Atomic uint32_t *ended = &w->endings->calls[adv_ending_of(status)];
	add(&w->progress->failures, 1);
	atomic_store_explicit(ended, atomic_load_explicit(ended, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* For calls that are never run. */
static void reject(struct adv_worker_lane *w, const struct adv_work *work, enum adv_status status)
{
	count_failure(w, status);
	add(&w->progress->calls, 1);
	publish(w, work, status, 0, 0);
}

/*
 * What this call and the wait before it took: when its completion is on its way, since the clock takes longer than all the rest, and the caller need not
 * wait for it.
 */
static void account(struct adv_worker_lane *w)
{
	uint64_t now = adv_ticks_now(&w->ticks);
	if (w->accepted_at != w->idle_since)
		add(&w->progress->polled_ns,
		    adv_ticks_ns(&w->ticks, w->accepted_at - w->idle_since));
	add(&w->progress->executed_ns, adv_ticks_ns(&w->ticks, now - w->accepted_at));
	if (w->waited && w->learns) {
		adv_hot_window_gap(&w->window,
				   adv_ticks_ns(&w->ticks, w->accepted_at - w->waited_since));
		w->hot_ns = w->window.window_ns;
	}
	w->waited = false;
	w->idle_since = now;
}

void adv_worker_complete(struct adv_worker_lane *w, const struct adv_work *work,
			 enum adv_status status, uint32_t length)
{
	struct adv_progress_line *p = w->progress;
	uint64_t ns = 0;
	if (w->timed)
		ns = adv_ticks_ns(&w->ticks, adv_ticks_now(&w->ticks) - w->accepted_at);
	if (length > w->out_capacity) {
		status = ADV_BAD_SIZE;
		length = 0;
	}
	if (status != ADV_OK)
		count_failure(w, status);
	add(&p->out_bytes, length);
	add(&p->calls, 1);
	atomic_store_explicit(&p->running, 0, memory_order_relaxed);
	if (w->core_worker != 0)
		adv_core_line_give(
			w->core, w->core_worker); /* whoever hears of the end finds the core free */
	publish(w, work, status, length, ns);
	if (ADV_LANE_ACCOUNTING)
		account(w);
}

/* ---- requests ---- */

/*
 * When could this request first have been seen? Requests that lie behind the one being taken are noted as seen now; one that
 * was noted before counts from then. The look ahead takes lines from the caller that it is about to write, so there is one
 * in LOOK_AHEAD_NS: a budget counts from up to that much late. Only calls with a budget pay for it.
 */
static uint64_t seen_since(struct adv_worker_lane *w, uint32_t seq, uint64_t now)
{
	if ((int32_t)(seq - w->backlog_seq) < 0)
		return w->backlog_at;
	if (adv_ticks_ns(&w->ticks, now - w->backlog_at) < LOOK_AHEAD_NS)
		return now;
	uint32_t ahead = seq + 1;
	while (ahead - seq <= w->mask && atomic_load_explicit(&w->requests[ahead & w->mask].seq,
							      memory_order_relaxed) == ahead)
		ahead++;
	w->backlog_seq = ahead;
	w->backlog_at = now;
	return now;
}

/* The entry as a whole: read again while its checksum is wrong. False: it stays wrong. */
static bool copy_whole(const struct adv_worker_lane *w, struct adv_entry *copy)
{
	uint64_t begun = 0;
	for (;;) {
		memcpy(copy, next_request(w), sizeof(*copy));
		atomic_signal_fence(memory_order_seq_cst);
		if (copy->crc == adv_entry_crc(copy, w->request_seq))
			return true;
		uint64_t now = adv_ticks_now(&w->ticks);
		if (begun == 0)
			begun = now;
		if (adv_ticks_ns(&w->ticks, now - begun) >= ADV_LANE_TORN_NS)
			return false;
		adv_pause();
	}
}

/* Copies the entry out, once. False: it is answered already, or its call must not be run. */
static bool take(struct adv_worker_lane *w, struct adv_work *work)
{
	struct adv_entry copy;
	bool whole = !w->checked || copy_whole(w, &copy);
	const struct adv_entry *e = w->checked ? &copy : next_request(w);
	uint32_t seq = w->request_seq++;
	/* It was there right behind the last one: so the next may be. */
	if (w->unfenced)
		__builtin_prefetch(next_request(w));
	uint16_t flags = atomic_load_explicit(&e->flags, memory_order_relaxed);
	memcpy(work->small, e->payload, ADV_INLINE_MAX);
	work->call_id = e->call_id;
	work->length = e->length;
	work->budget_us = atomic_load_explicit(&e->time, memory_order_relaxed);
	work->function = e->code;
	work->slot = e->slot;
	/* What was read is not read again: the caller may be changing it now. */
	atomic_signal_fence(memory_order_seq_cst);
	/* Over verbs a poller that may share the core goes by it, too. */
	w->timed = w->checked || (flags & ADV_ENTRY_TIMED) != 0;
	w->accepted_at =
		w->found_at != 0 || !ADV_LANE_ACCOUNTING ? w->found_at : adv_ticks_now(&w->ticks);
	if (work->slot >= w->nr_slots) {
		work->slot = 0; /* nothing is written there: the length is zero */
		reject(w, work, ADV_BAD_ENTRY);
		return false;
	}
	work->out = w->outputs[work->slot];
	work->in = work->length <= ADV_INLINE_MAX ? work->small
						  : w->inputs + (size_t)work->slot * w->in_capacity;
	if (work->length > w->in_capacity || !whole) {
		reject(w, work, ADV_BAD_ENTRY);
		return false;
	}
	if (work->function >= w->nr_functions) {
		reject(w, work, ADV_NO_FUNCTION);
		return false;
	}
	if (flags & ADV_ENTRY_CANCELLED) {
		reject(w, work, ADV_TIMEOUT);
		return false;
	}
	work->deadline_ns = 0;
	if (work->budget_us != 0) {
		w->seen_at = seen_since(w, seq, w->accepted_at);
		if (w->seen_at != w->accepted_at &&
		    adv_ticks_ns(&w->ticks, w->accepted_at - w->seen_at) >=
			    work->budget_us * ADV_US) {
			reject(w, work, ADV_TIMEOUT);
			return false;
		}
	}
	if (w->core_worker != 0 && !adv_core_line_take(w->core, w->core_worker)) {
		reject(w, work, ADV_BUSY);
		return false;
	}
	add(&w->progress->in_bytes, work->length);
	atomic_store_explicit(&w->progress->running, adv_generation(w->epoch, seq),
			      memory_order_relaxed);
	return true;
}

bool adv_worker_try(struct adv_worker_lane *w, struct adv_work *work)
{
	bool taken = false;
	while (!taken && arrived(w))
		taken = take(w, work);
	wake_caller(w);
	return taken;
}

uint64_t adv_worker_deadline(const struct adv_worker_lane *w, const struct adv_work *work)
{
	if (work->budget_us == 0)
		return 0;
	uint64_t run = adv_ticks_ns(&w->ticks, adv_ticks_now(&w->ticks) - w->accepted_at);
	uint64_t queued = adv_ticks_ns(&w->ticks, w->accepted_at - w->seen_at);
	uint64_t budget = work->budget_us * ADV_US;
	uint64_t used = run + queued;
	return adv_clock_monotonic_ns() + (used < budget ? budget - used : 0);
}

/* ---- waiting ---- */

static void count_polled(struct adv_worker_lane *w)
{
	uint64_t now = adv_ticks_now(&w->ticks);
	add(&w->progress->polled_ns, adv_ticks_ns(&w->ticks, now - w->idle_since));
	w->idle_since = now;
}

/* Sleeps until the next request may be there. The stale value is what the futex compares: a request that comes first is not missed. */
static void sleep_once(struct adv_worker_lane *w)
{
	const struct adv_entry *e = next_request(w);
	uint32_t stale = atomic_load_explicit(&e->seq, memory_order_relaxed);
	/* Pairs with the caller's exchange of seq followed by its load of this state. */
	atomic_exchange_explicit(&w->line->state, ADV_SIDE_SLEEPING, memory_order_seq_cst);
	if (!arrived(w) && atomic_load_explicit(&e->seq, memory_order_seq_cst) == stale)
		adv_futex_wait(&e->seq, stale, NULL);
	atomic_store_explicit(&w->line->state, ADV_SIDE_RUNNING, memory_order_relaxed);
	w->idle_since = adv_ticks_now(&w->ticks);
}

/* Does a call of another worker have the core? Then nobody spins beside it. */
static bool core_taken(const struct adv_worker_lane *w)
{
	return w->core != NULL && adv_core_line_taken(w->core);
}

/*
 * Spins for the hot window. True: something came, after `found_at`. The clock is what it pauses by, besides: so the time is known when something
 * comes, and need not be asked for then.
 */
static bool spin(struct adv_worker_lane *w)
{
	for (;;) {
		bool yield = w->yield || (w->core != NULL && adv_core_line_shared(w->core));
		for (unsigned i = 0; i < SPINS_PER_LOOK; i++) {
			if (arrived(w))
				return true;
			if (core_taken(w))
				return false;
			if (yield)
				sched_yield();
			else
				adv_pause();
			if (arrived(w))
				return true;
			w->found_at = adv_ticks_now(&w->ticks);
		}
		uint64_t idle = adv_ticks_ns(&w->ticks, w->found_at - w->idle_since);
		if (idle >= w->hot_ns)
			return false;
		if (idle >= ADV_SEC) {
			count_polled(w); /* a bill must not wait for the next call */
			w->found_at = w->idle_since;
		}
	}
}

void adv_worker_next(struct adv_worker_lane *w, struct adv_work *work)
{
	/* What is there already begins where the last call ended. */
	w->found_at = w->idle_since;
	if (adv_worker_try(w, work)) {
		w->found_at = 0;
		return;
	}
	if (!ADV_LANE_ACCOUNTING)
		w->idle_since = w->found_at = adv_ticks_now(&w->ticks);
	w->waited = true;
	w->waited_since = w->idle_since;
	for (;;) {
		if (w->hot_ns == 0 || !spin(w)) {
			count_polled(w);
			sleep_once(w);
			w->found_at = w->idle_since;
		}
		if (adv_worker_try(w, work))
			break;
	}
	w->found_at = 0;
}
