/*
 * wait.c - waiting for results: spinning, sleeping, preparing an event loop's sleep; and the call that does it all.
 * The lease's thread. Nothing here allocates; adv_invoke() on a hot worker makes no system call and reads no clock.
 */
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "client/internal.h"
#include "client/verbs.h"
#include "util/clock.h"

#define SPINS_PER_LOOK	64  /* at the clock, between looks at the lanes */
#define SPINS_PER_YIELD 16  /* where a worker may need this core */
#define INVOKE_SPINS	256 /* an answer within so many costs no look at a clock */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static bool is_lost(struct adv_lease *l)
{
	return adv_client_lost(l) != ADV_OK;
}

/* ---- sleeping ---- */

static void drain(struct adv_lease *l)
{
	uint64_t count;
	ssize_t ignored = read(l->event_fd, &count, sizeof(count));
	(void)ignored;
#if ADV_HAVE_VERBS
	if (l->verbs != NULL)
		adv_verbs_awake(l);
#endif
}

/* Over verbs the node is told, too. False: something has come meanwhile, or the link is broken. */
static bool announce(struct adv_lease *l)
{
#if ADV_HAVE_VERBS
	return l->verbs == NULL || adv_verbs_arm(l);
#else
	(void)l;
	return true;
#endif
}

static void awake(struct adv_lease *l)
{
	for (uint32_t i = 0; i < l->nr_workers; i++)
		adv_caller_awake(&l->workers[i].caller);
}

/* Tells all workers to wake this side. False: there is something already, and they were told otherwise again. */
static bool fall_asleep(struct adv_lease *l)
{
	/* Only the next try is waited for. */
	if (adv_resume_pending(l) && is_lost(l))
		return true;
	if (!announce(l))
		return false;
	for (uint32_t i = 0; i < l->nr_workers; i++)
		if (!adv_caller_sleep(&l->workers[i].caller)) {
			awake(l);
			return false;
		}
	/* The keeper stores it and then writes the eventfd: seen here, or heard there. */
	if (l->nr_waiting > 0 && is_lost(l)) {
		awake(l);
		return false;
	}
	return true;
}

/* Until something may have come, or until_ns. */
static void sleep_once(struct adv_lease *l, uint64_t until_ns)
{
	struct pollfd p = {.fd = l->wait_fd, .events = POLLIN};
	if (!fall_asleep(l))
		return;
	uint64_t now = adv_clock_monotonic_ns();
	uint64_t left = until_ns > now ? until_ns - now : 0;
	struct timespec t = {.tv_sec = (time_t)(left / ADV_SEC), .tv_nsec = (long)(left % ADV_SEC)};
	l->stats.sleeps++;
	ppoll(&p, 1, until_ns == UINT64_MAX ? NULL : &t, NULL);
	/* Emptied before the lanes are looked at: what comes later fills it again. */
	drain(l);
	awake(l);
}

void adv_client_disarm(struct adv_lease *l)
{
	adv_keeper_alarm(&l->keeper, UINT64_MAX);
	drain(l);
	awake(l);
	l->armed = false;
}

int adv_lease_fd(struct adv_lease *l)
{
	return l->wait_fd;
}

int adv_lease_arm(struct adv_lease *l)
{
	l->precise = true;
	if (l->nr_waiting > 0 && adv_clock_monotonic_ns() >= l->earliest_ns)
		return 0;
	drain(l);
	if (!fall_asleep(l))
		return 0;
	l->armed = true;
	if (l->resume != NULL)
		adv_resume_set_timer(l);
	/* Nobody else tells an event loop that a call's time is up. */
	adv_keeper_alarm(&l->keeper, l->nr_waiting > 0 ? l->earliest_ns : UINT64_MAX);
	return 1;
}

/* ---- waiting ---- */

/* Where a worker is pinned, spinning only takes its time: asleep, this thread wakes on another CPU if there is one. */
static bool in_the_way(const struct adv_lease *l)
{
	int cpu = sched_getcpu();
	return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &l->worker_cpus);
}

/* Spins until there are results or until_ns; not on a worker's CPU. */
static unsigned spin(struct adv_lease *l, struct adv_completion *completions, unsigned max,
		     uint64_t until_ns)
{
	while (!in_the_way(l)) {
		for (unsigned i = 0; i < SPINS_PER_LOOK; i++) {
			unsigned n = adv_client_poll_lanes(l, completions, max);
			if (n > 0)
				return n;
			if (l->shared_cores && i % SPINS_PER_YIELD == 0)
				sched_yield();
			else
				adv_pause();
		}
		uint64_t now = adv_clock_monotonic_ns();
		unsigned n = adv_client_poll_overdue(l, completions, max, now);
		if (n > 0 || now >= until_ns)
			return n;
	}
	return 0;
}

static unsigned wait_until(struct adv_lease *l, struct adv_completion *completions, unsigned max,
			   uint64_t now_ns, uint64_t until_ns)
{
	unsigned n =
		spin(l, completions, max, min_u64(until_ns, adv_clock_add(now_ns, l->spin_ns)));
	while (n == 0 && now_ns < until_ns) {
		sleep_once(l, min_u64(until_ns, min_u64(l->earliest_ns, adv_resume_due_ns(l))));
		n = adv_client_poll_lanes(l, completions, max);
		now_ns = adv_clock_monotonic_ns();
		if (n == 0)
			n = adv_client_poll_overdue(l, completions, max, now_ns);
	}
	return n;
}

unsigned adv_wait(struct adv_lease *l, struct adv_completion *completions, unsigned max,
		  uint64_t timeout_us)
{
	unsigned n = adv_poll(l, completions, max);
	if (n > 0 || max == 0 || timeout_us == 0 || l->nr_waiting == 0)
		return n;
	uint64_t now = adv_clock_monotonic_ns();
	uint64_t timeout_ns = timeout_us > UINT64_MAX / 1000 ? UINT64_MAX : timeout_us * 1000;
	return wait_until(l, completions, max, now, adv_clock_add(now, timeout_ns));
}

/* ---- one call ---- */

struct invocation {
	uint32_t function;
	const void *in;
	uint32_t in_size;
	void *out;
	uint32_t out_capacity;
	uint32_t *out_size;
	uint64_t timeout_us;
};

static enum adv_status check_invocation(const struct adv_lease *l, const struct invocation *v)
{
	if (l->nr_waiting > 0)
		return adv_client_fail_text(
			ADV_INVALID,
			"adv_invoke: results of adv_submit() are outstanding: take them first");
	if (v->function >= l->nr_functions)
		return adv_client_fail_text(
			ADV_NO_FUNCTION, "adv_invoke: the module has no function of that number");
	if (v->in_size > l->geometry.in_capacity)
		return adv_client_fail_text(ADV_TOO_LARGE, "adv_invoke: the input is larger than a "
							   "slot: lease with a larger in_capacity");
	if ((v->in == NULL && v->in_size > 0) || (v->out == NULL && v->out_capacity > 0))
		return adv_client_fail_text(ADV_INVALID,
					    "adv_invoke: in or out is NULL, but its size is not 0");
	return ADV_OK;
}

static enum adv_status call_failed(struct adv_lease *l, const struct invocation *v,
				   enum adv_status status, uint32_t detail)
{
	const char *function = l->functions[v->function];
	l->stats.failures++;
	if (status == ADV_CRASHED || status == ADV_EXITED)
		return adv_client_fail(status, "%s/%s: %s (%s %u)", l->module, function,
				       adv_status_text(status),
				       status == ADV_CRASHED ? "signal" : "exit status", detail);
	if (status == ADV_TIMEOUT)
		return adv_client_fail(
			status, "%s/%s: %s of %llu us", l->module, function,
			adv_status_text(status),
			(unsigned long long)(adv_client_timeout_ns(v->timeout_us) / 1000));
	if (status == ADV_BUSY)
		return adv_client_fail(
			status,
			"%s/%s: not run, another lease's call has the worker's core: "
			"try again, or elsewhere",
			l->module, function);
	return adv_client_fail(status, "%s/%s: %s", l->module, function, adv_status_text(status));
}

static enum adv_status deliver(struct adv_lease *l, const struct adv_client_worker *w,
			       const struct invocation *v, const struct adv_result *r)
{
	enum adv_status status = (enum adv_status)r->status;
	uint32_t n = adv_client_output(l, w, r, v->out, v->out_capacity);
	if (n < r->length && status == ADV_OK)
		status = ADV_BAD_SIZE;
	if (v->out_size != NULL && (status <= ADV_FUNCTION_FAILED || status == ADV_BAD_SIZE))
		*v->out_size = n;
	return status == ADV_OK ? ADV_OK : call_failed(l, v, status, r->detail);
}

/*
 * The call is published and its answer does not come at once, or is `lost`, the end of the lease: it becomes one of those that adv_wait()
 * waits for.
 */
static enum adv_status wait_for_call(struct adv_lease *l, struct adv_client_worker *w,
				     const struct invocation *v, const struct adv_result *lost)
{
	struct adv_completion c;
	uint32_t index = w->free[--w->nr_free];
	uint64_t now = adv_clock_monotonic_ns();
	uint64_t deadline = adv_clock_add(now, adv_client_timeout_ns(v->timeout_us));
	w->slots[index] = (struct adv_client_slot){.out = v->out,
						   .in = v->in,
						   .out_capacity = v->out_capacity,
						   .in_size = v->in_size,
						   .function = (uint16_t)v->function};
	w->caller.calls[index].deadline_ns = deadline;
	l->earliest_ns = deadline; /* it is the only one */
	l->nr_waiting = 1;
	if (lost != NULL && !adv_resume_takes(l, w, lost)) {
		l->nr_waiting = 0;
		w->nr_free++;
		return deliver(l, w, v, lost);
	}
	while (wait_until(l, &c, 1, now, UINT64_MAX) == 0)
		;
	if (v->out_size != NULL && (c.status <= ADV_FUNCTION_FAILED || c.status == ADV_BAD_SIZE))
		*v->out_size = c.out_size;
	if (c.status == ADV_OK)
		return ADV_OK;
	l->stats.failures--; /* counted by both */
	return call_failed(l, v, (enum adv_status)c.status, c.detail);
}

static enum adv_status deliver_or_resume(struct adv_lease *l, struct adv_client_worker *w,
					 const struct invocation *v, const struct adv_result *r)
{
	return adv_resume_possible(l, (enum adv_status)r->status) ? wait_for_call(l, w, v, r)
								  : deliver(l, w, v, r);
}

/* A free slot, where one can come free: of a call that was given up and whose worker still has it. */
static struct adv_client_worker *wait_for_slot(struct adv_lease *l, uint64_t timeout_ns)
{
	uint64_t until = adv_clock_add(adv_clock_monotonic_ns(), timeout_ns);
	for (;;) {
		bool hope = false;
		adv_client_reclaim(l);
		struct adv_client_worker *w = adv_client_pick(l);
		if (w != NULL)
			return w;
		for (uint32_t i = 0; i < l->nr_workers; i++)
			hope |= l->workers[i].nr_lost > 0;
		if (!hope || is_lost(l) || adv_clock_monotonic_ns() >= until)
			return NULL;
		sleep_once(l, until);
	}
}

/* Publishes the call in the topmost free slot of *worker, which may be another one afterwards. */
static enum adv_status publish(struct adv_lease *l, struct adv_client_worker **worker,
			       const struct invocation *v)
{
	enum adv_status status;
	do {
		struct adv_client_input input;
		struct adv_client_worker *w = *worker;
		if (w->nr_free == 0 || w->caller.nr_outstanding > 0) {
			w = adv_client_pick(l);
			if (w == NULL)
				w = wait_for_slot(l, adv_client_timeout_ns(v->timeout_us));
			if (w == NULL)
				return ADV_BUSY;
			*worker = w;
		}
		if (!adv_client_can_carry(l))
			return ADV_BUSY;
		uint32_t index = w->free[w->nr_free - 1];
		input = adv_client_stage(l, w, index, v->in, v->in_size);
		status = adv_caller_submit(&w->caller, index, (uint16_t)v->function, v->in,
					   v->in_size, l->next_call_id + 1, 0,
					   adv_client_budget_us(v->timeout_us), UINT64_MAX);
		/* The worker was replaced, with nothing but given-up calls on it: they end here. */
		if (status == ADV_BUSY)
			adv_client_reclaim(l);
		else if (status == ADV_OK)
			adv_client_carry(l, w, index, &input);
	} while (status == ADV_BUSY);
	return status;
}

/* Publishes, if need be on another lease in the place of one that was lost. */
static enum adv_status publish_or_resume(struct adv_lease *l, struct adv_client_worker **worker,
					 const struct invocation *v)
{
	enum adv_status status = adv_client_state(l);
	if (status == ADV_OK)
		status = publish(l, worker, v);
	if (status == ADV_OK || !adv_resume_possible(l, status))
		return status == ADV_OK ? ADV_OK : adv_client_refused(l, status);
	status = adv_resume(
		l, status,
		adv_clock_add(adv_clock_monotonic_ns(), adv_client_timeout_ns(v->timeout_us)));
	if (status != ADV_OK)
		return status;
	status = publish(l, worker, v);
	return status == ADV_OK ? ADV_OK : adv_client_refused(l, status);
}

/*
 * The time is counted from the first look at the clock, after INVOKE_SPINS looks at the lane: the timeout is late by these, some
 * microseconds.
 */
enum adv_status adv_invoke(struct adv_lease *l, uint32_t function, const void *in, uint32_t in_size,
			   void *out, uint32_t out_capacity, uint32_t *out_size,
			   uint64_t timeout_us)
{
	const struct invocation v = {function,	   in,	     in_size,	out,
				     out_capacity, out_size, timeout_us};
	struct adv_client_worker *w = l->workers;
	struct adv_result r;
	enum adv_status status = check_invocation(l, &v);
	if (status != ADV_OK)
		return status;
	if (l->armed)
		adv_client_disarm(l);
	status = publish_or_resume(l, &w, &v);
	if (status != ADV_OK)
		return status;
	l->next_call_id++;
	l->stats.calls++;
	for (unsigned i = 0; i < INVOKE_SPINS; i++) {
		adv_client_hand_over(l);
		if (adv_caller_poll(&w->caller, &r))
			return l->resume == NULL ? deliver(l, w, &v, &r)
						 : deliver_or_resume(l, w, &v, &r);
		adv_pause();
	}
	return wait_for_call(l, w, &v, NULL);
}
