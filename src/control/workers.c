/*
 * workers.c - a lease's workers: claims, orders, deaths and replacements, and the watchdog.
 * Control thread only.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control/control.h"
#include "util/clock.h"
#include "util/log.h"

#define RESTART_FIRST_NS ADV_MS
#define WATCHDOG_MAX_NS	 (ADV_WATCHDOG_IDLE_MS * ADV_MS)

/* ---- starting ---- */

static bool blocks(const struct adv_held *h, uint32_t lane)
{
#if ADV_HAVE_VERBS
	return h->is_remote && adv_remotes_share(h->control->remotes, h->entry->places[lane].cpu);
#else
	(void)h;
	(void)lane;
	return false;
#endif
}

bool adv_held_blocks(const struct adv_held *h)
{
	for (uint32_t i = 0; i < h->geometry.nr_lanes; i++)
		if (blocks(h, i))
			return true;
	return false;
}

/* In a build that measures the transport alone. */
static bool remote_runs_itself(const struct adv_held *h)
{
	return ADV_TRANSPORT_BENCH && h->is_remote;
}

/* ---- the core, where leases may share it ---- */

static uint64_t core_worker(const struct adv_worker_slot *w)
{
	return w->held->entry->id * ADV_LANES_MAX + w->lane + 1;
}

/* Its page, for the order, unless *core is OWN; -errno. */
static int sit(struct adv_worker_slot *w, enum adv_order_core *core)
{
	static const enum adv_order_core cores[] = {
		[ADV_OVERSUBSCRIBE_NO] = ADV_ORDER_CORE_OWN,
		[ADV_OVERSUBSCRIBE_TURNS] = ADV_ORDER_CORE_TURNS,
		[ADV_OVERSUBSCRIBE_BUSY] = ADV_ORDER_CORE_BUSY,
	};
	struct adv_control *c = w->held->control;
	*core = cores[c->options.oversubscribe];
	if (*core == ADV_ORDER_CORE_OWN)
		return 0;
	int fd = adv_core_lines_sit(c->core_lines, w->held->entry->places[w->lane].cpu);
	w->sits = fd >= 0;
	return fd;
}

static void rise(struct adv_worker_slot *w)
{
	if (w->sits)
		adv_core_lines_rise(w->held->control->core_lines,
				    w->held->entry->places[w->lane].cpu, core_worker(w));
	w->sits = false;
}

static int send_order(struct adv_worker_slot *w)
{
	struct adv_held *h = w->held;
	const struct adv_geometry *g = &h->geometry;
	const struct adv_lease_wish *wish = &h->entry->wish;
	const struct adv_core *place = &h->entry->places[w->lane];
	bool hot = w->claim.hit == ADV_POOL_HIT_HOT;
	enum adv_order_core core;
	int page = sit(w, &core);
	if (page < 0)
		return page;
	struct adv_sandbox_order order = {
		.type = hot ? ADV_ORDER_SERVE : ADV_ORDER_LOAD_AND_SERVE,
		.lane = w->lane,
		.nr_lanes = g->nr_lanes,
		.nr_slots = g->nr_slots,
		.in_capacity = g->in_capacity,
		.out_capacity = g->out_capacity,
		.nr_functions = h->module->nr_functions,
		.yield = place->shared,
		.checked = h->is_remote,
		.core = core,
		.core_worker = core_worker(w),
		/* Calls that the poller runs are of no epoch that the worker knows. */
		.generation = remote_runs_itself(h) ? adv_generation(UINT16_MAX, 1)
						    : w->supervisor.generation,
		/* On a poller's core nobody spins: the worker sleeps, and the poller wakes it. */
		.hot_us = blocks(h, w->lane) || remote_runs_itself(h) ? 0 : wish->hot_us,
	};
	int fds[ADV_ORDER_FDS_MAX];
	unsigned n = 0;
	if (!hot)
		fds[n++] = h->module->memfd;
	fds[n++] = h->memory.shared[ADV_LANE_REQ].ro;
	fds[n++] = h->memory.shared[ADV_LANE_CPL].rw;
	fds[n++] = h->memory.shared[ADV_LANE_SLOTS].rw;
	fds[n++] = h->memory.event_fd;
	if (core != ADV_ORDER_CORE_OWN)
		fds[n++] = page;
	return adv_sandboxes_order(h->control->sandboxes, &w->claim, place->cpu, wish->memory_bytes,
				   &order, fds, n);
}

static enum adv_status start_worker(struct adv_worker_slot *w)
{
	struct adv_held *h = w->held;
	struct adv_sandboxes *s = h->control->sandboxes;
	w->timed_out = w->never_served = false;
	w->started_ns = adv_clock_monotonic_ns();
	w->claim.lease = h->geometry.nr_lanes > 1 ? h->entry->id : 0;
	w->claim.tenant = h->entry->wish.tenant;
	w->claim.core_group = (uint64_t)h->entry->wish.tenant + 1;
	enum adv_status status = adv_sandboxes_claim(s, h->module, 0, &w->claim);
	if (status != ADV_OK)
		return status;
	h->nr_live++;
	int rc = send_order(w);
	if (rc == 0)
		return ADV_OK;
	adv_log_error("lease %llu: worker %u could not be given its order: %s",
		      (unsigned long long)h->entry->id, w->lane, strerror(-rc));
	adv_sandboxes_kill(s, &w->claim);
	return ADV_OK; /* its death is on the way and is dealt with like any other */
}

/* ---- deaths ---- */

static void restart_later(struct adv_worker_slot *w)
{
	uint32_t shift = w->failures < 10 ? w->failures : 10;
	adv_timer_set(&w->restart, adv_clock_monotonic_ns() + (RESTART_FIRST_NS << shift));
}

static void replace(struct adv_worker_slot *w)
{
	struct adv_held *h = w->held;
	if (h->entry->state != ADV_LEASE_GRANTED && h->entry->state != ADV_LEASE_ACTIVE)
		return;
	if (w->failures >= ADV_RESTART_FAILURES_MAX) {
		adv_log_warning("lease %llu ends: %u workers in a row died before they served",
				(unsigned long long)h->entry->id, w->failures);
		adv_held_end(h, ADV_LOAD_FAILED);
		return;
	}
	if (w->failures > 0) {
		restart_later(w);
		return;
	}
	if (start_worker(w) != ADV_OK) {
		w->failures++;
		restart_later(w);
	}
}

static void restart_fire(struct adv_timer *timer)
{
	struct adv_worker_slot *w = timer->user;
	struct adv_held *h = w->held;
	if (h->entry->state != ADV_LEASE_GRANTED && h->entry->state != ADV_LEASE_ACTIVE)
		return;
	if (start_worker(w) == ADV_OK)
		return;
	w->failures++;
	if (w->failures >= ADV_RESTART_FAILURES_MAX)
		adv_held_end(h, ADV_NO_CAPACITY);
	else
		restart_later(w);
}

static enum adv_status why(const struct adv_worker_slot *w, const struct adv_death *death,
			   const char *reason, bool served, uint32_t *detail)
{
	*detail = 0;
	if (w->timed_out)
		return ADV_TIMEOUT;
	if (death->code == 0 || w->never_served || (reason != NULL && !served))
		return ADV_LOAD_FAILED;
	enum adv_status status = adv_death_status(death, detail);
	if (status == ADV_CRASHED && adv_supervisor_memory_hint(&w->supervisor))
		return ADV_OUT_OF_MEMORY;
	return status;
}

/* The order matters: the worker is reaped, so no call of its epoch runs after the caller is told. */
static void worker_died(struct adv_claim *claim, const struct adv_death *death, const char *reason)
{
	struct adv_worker_slot *w = claim->user;
	struct adv_held *h = w->held;
	adv_billing_count(h);
	adv_billing_cpu(h, death->cpu_ns);
	h->nr_live--;
	rise(w);
	if (h->entry->state == ADV_LEASE_ENDING) {
		if (h->nr_live == 0)
			adv_held_finish(h);
		return;
	}
	bool served = adv_supervisor_served(&w->supervisor);
	uint32_t detail;
	enum adv_status status = why(w, death, reason, served, &detail);
	adv_log_info("lease %llu: worker %u of module %s died: %s%s%s",
		     (unsigned long long)h->entry->id, w->lane, h->module->name,
		     adv_status_text(status), reason != NULL ? ": " : "",
		     reason != NULL ? reason : "");
	h->deaths++;
	adv_billing_unfinished(w, status, ADV_NOT_RUN);
	w->failures = served ? 0 : w->failures + 1;
	if (adv_supervisor_death(&w->supervisor, status, detail) < 0) {
		adv_held_end(h, ADV_WORKER_LOST);
		return;
	}
	adv_held_wake(h, w->lane);
	replace(w);
}

enum adv_status adv_workers_start(struct adv_held *h)
{
	for (uint32_t i = 0; i < h->geometry.nr_lanes; i++) {
		struct adv_worker_slot *w = &h->workers[i];
		w->held = h;
		w->lane = i;
		w->claim.id = ADV_NO_SANDBOX;
		w->claim.user = w;
		w->claim.died = worker_died;
		adv_timer_init(&w->restart, h->control->loop, restart_fire, w);
		adv_supervisor_init(&w->supervisor, &h->geometry, i,
				    h->memory.shared[ADV_LANE_REQ].map,
				    h->memory.shared[ADV_LANE_CPL].map);
	}
	for (uint32_t i = 0; i < h->geometry.nr_lanes; i++) {
		enum adv_status status = start_worker(&h->workers[i]);
		if (status != ADV_OK)
			return status;
		h->hot_hits += h->workers[i].claim.hit == ADV_POOL_HIT_HOT;
	}
	return ADV_OK;
}

void adv_workers_kill(struct adv_held *h)
{
	for (uint32_t i = 0; i < h->geometry.nr_lanes; i++) {
		adv_timer_set(&h->workers[i].restart, UINT64_MAX);
		adv_sandboxes_kill(h->control->sandboxes, &h->workers[i].claim);
	}
}

bool adv_workers_busy(const struct adv_held *h)
{
	for (uint32_t i = 0; i < h->geometry.nr_lanes; i++)
		if (adv_supervisor_busy(&h->workers[i].supervisor))
			return true;
	return false;
}

/* ---- the watchdog ---- */

/* Built, loaded and constructed, or stuck on the way. */
static bool should_serve(const struct adv_worker_slot *w, uint64_t now_ns)
{
	return !adv_supervisor_served(&w->supervisor) &&
	       now_ns - w->started_ns >= ADV_SERVE_WITHIN_MS * ADV_MS;
}

/* Returns whether any call is being run. */
static bool watch_lease(struct adv_held *h, uint64_t now_ns, uint64_t *next_ns)
{
	bool running = false;
	for (uint32_t i = 0; i < h->geometry.nr_lanes; i++) {
		struct adv_worker_slot *w = &h->workers[i];
		if (w->claim.id == ADV_NO_SANDBOX || w->timed_out || w->never_served)
			continue;
		if (should_serve(w, now_ns)) {
			w->never_served = true;
			adv_sandboxes_kill(h->control->sandboxes, &w->claim);
			continue;
		}
		if (adv_supervisor_overdue(&w->supervisor, now_ns, next_ns)) {
			w->timed_out = true;
			adv_sandboxes_kill(h->control->sandboxes, &w->claim);
		}
		if (w->supervisor.watched != 0) {
			running = true;
			adv_core_lines_runs(h->control->core_lines, h->entry->places[i].cpu,
					    core_worker(w));
		}
	}
	return running;
}

/* Every 10 ms while calls run; the interval doubles, up to a second, while none does. */
static void watchdog_fire(struct adv_timer *timer)
{
	struct adv_control *c = timer->user;
	uint64_t now = adv_clock_monotonic_ns();
	uint64_t next = UINT64_MAX;
	bool any = false, running = false;
	for (struct adv_lease_entry *e = adv_leases_next(c->leases, NULL); e != NULL;
	     e = adv_leases_next(c->leases, e)) {
		any = true;
		if (e->user != NULL && e->state != ADV_LEASE_ENDING)
			running |= watch_lease(e->user, now, &next);
	}
	if (!any)
		return;
	adv_core_lines_sweep(c->core_lines);
	c->watchdog_ns = running ? ADV_WATCHDOG_MS * ADV_MS : c->watchdog_ns * 2;
	if (c->watchdog_ns > WATCHDOG_MAX_NS)
		c->watchdog_ns = WATCHDOG_MAX_NS;
	uint64_t at = now + c->watchdog_ns;
	adv_timer_set(timer, next < at ? next : at);
}

void adv_workers_timers_init(struct adv_control *c)
{
	adv_timer_init(&c->watchdog_timer, c->loop, watchdog_fire, c);
}

void adv_workers_watch(struct adv_control *c)
{
	uint64_t now = adv_clock_monotonic_ns();
	c->watchdog_ns = ADV_WATCHDOG_MS * ADV_MS;
	adv_timer_set(&c->watchdog_timer, now + c->watchdog_ns);
	adv_billing_used(c);
}
