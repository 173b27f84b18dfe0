/*
 * resume.c - another lease in the place of one that was lost, and calls that may be run again: ADV_LEASE_RESUME, ADV_LEASE_IDEMPOTENT.
 * The lease's thread. Leasing again blocks; all else here reads memory.
 *
 * A call whose end is not known, because node, link or lease went away, is taken into a list instead of being reported, if the caller
 * has declared its calls idempotent. Everything else is reported first. Then a lease of the same module, the same bytes, is taken; its
 * lanes come to lie at the same addresses; the list is submitted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#include "client/internal.h"
#include "util/clock.h"
#include "util/fd.h"

#define FIRST_PAUSE_NS (20 * ADV_MS) /* from one try to the next; then each twice as long */
#define DOUBLINGS_MAX  6

/* One call to be run again. */
struct again {
	uint64_t call_id, user_data;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; UINT64_MAX none */
	struct adv_client_slot slot;
	uint32_t worker;
};

struct adv_resume {
	struct adv_lease_options options;
	struct again *calls; /* room for one in each slot */
	uint32_t nr_calls;
	unsigned tries;			  /* in vain, since the lease was lost */
	uint64_t next_ns;		  /* CLOCK_MONOTONIC: not tried before that */
	enum adv_status hopeless;	  /* why it is not tried any more; ADV_OK */
	char why[ADV_CLIENT_ERROR_BYTES]; /* the same, in words */
	int timer_fd;			  /* tells an event loop that the next try is due */
};

bool adv_resume_possible(const struct adv_lease *l, enum adv_status lost)
{
	return l->resume != NULL && l->pid == (int)getpid() &&
	       (lost == ADV_NODE_GONE || lost == ADV_NODE_RESTARTED || lost == ADV_LINK_LOST ||
		lost == ADV_REVOKED || lost == ADV_EXPIRED);
}

/* ---- the beginning and the end ---- */

/* What is readable when the lease's descriptors are, whichever they are at the time, or when a try is due. */
static enum adv_status make_waiting(struct adv_lease *l)
{
	struct epoll_event e = {.events = EPOLLIN};
	l->resume->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	l->wait_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->resume->timer_fd < 0 || l->wait_fd < 0 ||
	    epoll_ctl(l->wait_fd, EPOLL_CTL_ADD, l->resume->timer_fd, &e) < 0)
		return adv_client_fail_text(ADV_SYSTEM, "no descriptor to wait on");
	return ADV_OK;
}

enum adv_status adv_resume_init(struct adv_lease *l, const struct adv_lease_options *o)
{
	size_t n = (size_t)o->workers * o->slots;
	struct adv_resume *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return adv_client_fail_text(ADV_NO_MEMORY, "no memory for a lease");
	l->resume = r;
	r->options = *o;
	r->timer_fd = -1;
	if (n > 0 && n <= (size_t)ADV_LANES_MAX * ADV_SLOTS_MAX)
		r->calls = calloc(n, sizeof(*r->calls));
	/* Numbers that make no sense are the node's to refuse, in words. */
	if (r->calls == NULL && n > 0 && n <= (size_t)ADV_LANES_MAX * ADV_SLOTS_MAX)
		return adv_client_fail(ADV_NO_MEMORY, "no memory for %zu slots", n);
	return make_waiting(l);
}

enum adv_status adv_resume_listen(struct adv_lease *l, int fd)
{
	struct epoll_event e = {.events = EPOLLIN};
	/* What was there before has left with its descriptor. */
	if (epoll_ctl(l->wait_fd, EPOLL_CTL_ADD, fd, &e) < 0)
		return adv_client_fail_text(ADV_SYSTEM, "no descriptor to wait on");
	return ADV_OK;
}

void adv_resume_fini(struct adv_lease *l)
{
	if (l->resume == NULL)
		return;
	adv_fd_close(&l->resume->timer_fd);
	adv_fd_close(&l->wait_fd);
	free(l->resume->calls);
	free(l->resume);
	l->resume = NULL;
}

/* ---- calls to be run again ---- */

bool adv_resume_takes(struct adv_lease *l, const struct adv_client_worker *w,
		      const struct adv_result *result)
{
	struct adv_resume *r = l->resume;
	const struct adv_client_slot *slot = &w->slots[result->slot];
	if (r == NULL || !(r->options.flags & ADV_LEASE_IDEMPOTENT) || slot->in_place ||
	    r->hopeless != ADV_OK || !adv_resume_possible(l, (enum adv_status)result->status))
		return false;
	r->calls[r->nr_calls++] = (struct again){
		.call_id = result->call_id,
		.user_data = result->user_data,
		.deadline_ns = w->caller.calls[result->slot].deadline_ns,
		.slot = *slot,
		.worker = (uint32_t)(w - l->workers),
	};
	return true;
}

bool adv_resume_pending(const struct adv_lease *l)
{
	return l->resume != NULL && l->resume->nr_calls > 0;
}

/* Takes the call out of the list and ends it. */
static void end_call(struct adv_lease *l, uint32_t index, enum adv_status status,
		     struct adv_completion *c)
{
	struct adv_resume *r = l->resume;
	const struct again *a = &r->calls[index];
	*c = (struct adv_completion){.user_data = a->user_data,
				     .call_id = a->call_id,
				     .out = a->slot.out,
				     .status = (uint32_t)status,
				     .worker = a->worker};
	memmove(&r->calls[index], &r->calls[index + 1],
		(r->nr_calls - index - 1) * sizeof(r->calls[0]));
	r->nr_calls--;
	l->nr_waiting--;
	l->stats.failures++;
}

static unsigned end_overdue(struct adv_lease *l, struct adv_completion *completions, unsigned max,
			    uint64_t now_ns)
{
	struct adv_resume *r = l->resume;
	unsigned n = 0;
	for (uint32_t i = 0; i < r->nr_calls && n < max;) {
		if (r->hopeless != ADV_OK)
			end_call(l, i, r->hopeless, &completions[n++]);
		else if (r->calls[i].deadline_ns <= now_ns)
			end_call(l, i, ADV_TIMEOUT, &completions[n++]);
		else
			i++;
	}
	return n;
}

static uint64_t earliest_deadline(const struct adv_resume *r)
{
	uint64_t earliest = UINT64_MAX;
	for (uint32_t i = 0; i < r->nr_calls; i++)
		if (r->calls[i].deadline_ns < earliest)
			earliest = r->calls[i].deadline_ns;
	return earliest;
}

/* In the order in which they were taken: that of each worker. What does not get through is lost with the new lease, and comes back here. */
static void submit_calls(struct adv_lease *l, uint64_t now_ns)
{
	struct adv_resume *r = l->resume;
	uint32_t left = 0;
	for (uint32_t i = 0; i < r->nr_calls; i++) {
		struct again *a = &r->calls[i];
		if (a->deadline_ns <= now_ns ||
		    adv_client_submit_again(l, a->worker, &a->slot, a->call_id, a->user_data,
					    a->deadline_ns, now_ns) != ADV_OK)
			r->calls[left++] = *a;
		else if (a->deadline_ns < l->earliest_ns)
			l->earliest_ns = a->deadline_ns;
	}
	r->nr_calls = left;
}

/* ---- leasing again ---- */

/* What another try would not change. */
static bool is_final(enum adv_status status)
{
	return status == ADV_NO_MODULE || status == ADV_FORBIDDEN || status == ADV_BAD_TOKEN ||
	       status == ADV_VERSION || status == ADV_INVALID || status == ADV_BAD_MODULE;
}

static bool is_quiet(const struct adv_lease *l)
{
	for (uint32_t i = 0; i < l->nr_workers; i++)
		if (l->workers[i].caller.nr_waited > 0)
			return false;
	return true;
}

static enum adv_status try_once(struct adv_lease *l, uint64_t now_ns, uint64_t until_ns)
{
	struct adv_resume *r = l->resume;
	uint64_t deadline = adv_client_deadline(r->options.timeout_ms + r->options.wait_ms);
	enum adv_status status =
		adv_lease_again(l, &r->options, until_ns < deadline ? until_ns : deadline);
	now_ns = adv_clock_monotonic_ns();
	if (status == ADV_OK) {
		r->tries = 0;
		r->next_ns = 0;
		l->stats.resumes++;
		submit_calls(l, now_ns);
		return ADV_OK;
	}
	if (is_final(status)) {
		r->hopeless = status;
		snprintf(r->why, sizeof(r->why), "%s", adv_error());
	}
	unsigned doublings = r->tries < DOUBLINGS_MAX ? r->tries : DOUBLINGS_MAX;
	r->tries++;
	r->next_ns = now_ns + (FIRST_PAUSE_NS << doublings);
	return status;
}

static void pause_until(uint64_t ns)
{
	struct timespec t = {.tv_sec = (time_t)(ns / ADV_SEC), .tv_nsec = (long)(ns % ADV_SEC)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
		;
}

/* Why it is not to be tried now; ADV_OK. */
static enum adv_status check_try(struct adv_lease *l, enum adv_status lost)
{
	if (l->resume->hopeless != ADV_OK)
		return adv_client_fail(l->resume->hopeless, "%s", l->resume->why);
	/* What cannot be run again is reported first. */
	return is_quiet(l) ? ADV_OK : adv_client_refused(l, lost);
}

enum adv_status adv_resume(struct adv_lease *l, enum adv_status lost, uint64_t until_ns)
{
	uint64_t now = adv_clock_monotonic_ns();
	enum adv_status status = check_try(l, lost);
	if (status != ADV_OK)
		return status;
	do {
		if (now < l->resume->next_ns)
			pause_until(until_ns < l->resume->next_ns ? until_ns : l->resume->next_ns);
		status = try_once(l, now, until_ns);
		now = adv_clock_monotonic_ns();
	} while (status != ADV_OK && l->resume->hopeless == ADV_OK && now < until_ns);
	return status;
}

enum adv_status adv_resume_if_due(struct adv_lease *l, enum adv_status lost)
{
	uint64_t now = adv_clock_monotonic_ns();
	enum adv_status status = check_try(l, lost);
	if (status != ADV_OK)
		return status;
	if (now < l->resume->next_ns)
		return adv_client_refused(l, lost);
	return try_once(l, now, UINT64_MAX);
}

unsigned adv_resume_poll(struct adv_lease *l, struct adv_completion *completions, unsigned max,
			 uint64_t now_ns)
{
	struct adv_resume *r = l->resume;
	unsigned n = end_overdue(l, completions, max, now_ns);
	if (r->nr_calls > 0 && is_quiet(l) && now_ns >= r->next_ns && r->hopeless == ADV_OK) {
		(void)try_once(l, now_ns, earliest_deadline(r));
		n += end_overdue(l, completions + n, max - n, adv_clock_monotonic_ns());
	}
	uint64_t earliest = earliest_deadline(r);
	if (earliest < l->earliest_ns)
		l->earliest_ns = earliest;
	return n;
}

uint64_t adv_resume_due_ns(const struct adv_lease *l)
{
	return adv_resume_pending(l) ? l->resume->next_ns : UINT64_MAX;
}

void adv_resume_set_timer(struct adv_lease *l)
{
	uint64_t due = adv_resume_pending(l) ? l->resume->next_ns : 0;
	uint64_t earliest = earliest_deadline(l->resume);
	if (earliest < due)
		due = earliest;
	if (adv_resume_pending(l) && due == 0)
		due = 1; /* 0 would stop it */
	struct itimerspec t = {
		.it_value = {.tv_sec = (time_t)(due / ADV_SEC), .tv_nsec = (long)(due % ADV_SEC)}};
	timerfd_settime(l->resume->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}
