/*
 * test_queue.c - whose turn it is: priorities, age, the fewest cores, order of arrival; own limits keep nobody else back; and long random
 * histories under a clock of the test's own, in which nobody starves and cores, bytes and books are conserved.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "allocator/ledger.h"
#include "allocator/queue.h"

#define CPUS   8
#define MEMORY ADV_GIB
#define START  (1000 * ADV_SEC)

static struct adv_cores *cores;
static struct adv_shares *shares;
static struct adv_leases *leases;
static struct adv_queue queue;
static char reason[512];
static uint64_t when;

static void make(struct adv_share_limits each)
{
	const struct adv_cores_options co = {.oversubscribe = ADV_OVERSUBSCRIBE_NO};
	const struct adv_shares_options so = {.each = each};
	setenv("HWLOC_SYNTHETIC", "core:9 pu:1", 1);
	cr_assert_eq(adv_cores_create(&co, &cores, reason, sizeof(reason)), 0, "%s", reason);
	cr_assert_eq(adv_shares_create(&so, &shares), 0);
	const struct adv_leases_options lo = {
		.max_leases = 64, .memory_bytes = MEMORY, .cores = cores, .shares = shares};
	cr_assert_eq(adv_leases_create(&lo, &leases), 0);
	adv_queue_init(&queue, 100, 40);
}

static void end(void)
{
	adv_leases_destroy(leases);
	adv_shares_destroy(shares);
	adv_cores_destroy(cores);
}

TestSuite(queue, .fini = end);

static struct adv_lease_wish wish(uint32_t tenant, uint32_t workers, uint32_t priority)
{
	return (struct adv_lease_wish){.tenant = tenant,
				       .workers = workers,
				       .slots = 1,
				       .in_capacity = ADV_PAGE,
				       .out_capacity = ADV_PAGE,
				       .memory_bytes = 16 * ADV_MIB,
				       .ttl_ms = 10000,
				       .priority = priority,
				       .wait_ms = 1000};
}

static struct adv_queue_entry *waits(uint32_t tenant, uint32_t priority, uint64_t now)
{
	static struct adv_queue_entry entries[128];
	static unsigned nr;
	struct adv_queue_entry *e = &entries[nr++];
	e->wish = wish(tenant, 1, priority);
	cr_assert_eq(adv_queue_add(&queue, e, now, now + 60 * ADV_SEC), 0);
	return e;
}

static struct adv_queue_entry *next(uint64_t now)
{
	when = UINT64_MAX;
	return adv_queue_next(&queue, leases, now, &when);
}

static struct adv_lease_entry *grant(uint32_t tenant, uint32_t workers, uint64_t now)
{
	struct adv_lease_entry *e;
	const struct adv_lease_wish w = wish(tenant, workers, 4);
	cr_assert_eq(adv_leases_grant(leases, &w, now, &e, reason, sizeof(reason)), ADV_OK, "%s",
		     reason);
	return e;
}

/* ---- whose turn ---- */

Test(queue, in_order_of_arrival)
{
	make((struct adv_share_limits){0});
	cr_assert_null(next(START));
	struct adv_queue_entry *a = waits(1, 4, START), *b = waits(2, 4, START),
			       *c = waits(3, 4, START);
	cr_assert_eq(next(START), a);
	adv_queue_remove(&queue, a);
	cr_assert_eq(next(START), b);
	adv_queue_remove(&queue, b);
	adv_queue_remove(&queue, b);
	cr_assert_eq(queue.nr, 1);
	cr_assert_eq(next(START), c);
}

Test(queue, priority_and_age)
{
	make((struct adv_share_limits){0});
	struct adv_queue_entry *low = waits(1, 1, START), *high = waits(2, 3, START + ADV_MS);
	cr_assert_eq(next(START + ADV_MS), high);
	/* Two seconds older is as high; it is first, for it came first. */
	struct adv_queue_entry *later = waits(3, 3, START + 2 * ADV_SEC);
	adv_queue_remove(&queue, high);
	cr_assert_eq(next(START + 2 * ADV_SEC), low);
	adv_queue_remove(&queue, low);
	cr_assert_eq(next(START + 2 * ADV_SEC), later);
}

Test(queue, whose_tenant_has_least)
{
	make((struct adv_share_limits){0});
	grant(1, 3, START);
	grant(2, 2, START);
	struct adv_queue_entry *a = waits(1, 4, START), *b = waits(2, 4, START),
			       *c = waits(3, 4, START);
	cr_assert_eq(next(START), c);
	adv_queue_remove(&queue, c);
	cr_assert_eq(next(START), b);
	adv_queue_remove(&queue, b);
	cr_assert_eq(next(START), a);
}

/* Whoever may have no more keeps nobody up; and is served when one of its own has ended. */
Test(queue, own_limits_are_passed_over)
{
	make((struct adv_share_limits){.cores = 2});
	struct adv_lease_entry *mine = grant(1, 2, START);
	struct adv_queue_entry *a = waits(1, 9, START), *b = waits(2, 0, START);
	cr_assert_eq(next(START), b);
	adv_queue_remove(&queue, b);
	cr_assert_null(next(START));
	cr_assert_eq(when, UINT64_MAX);
	adv_leases_forget(leases, mine);
	cr_assert_eq(next(START), a);
}

Test(queue, a_rate_says_when)
{
	make((struct adv_share_limits){.per_second = 1});
	grant(1, 1, START);
	struct adv_queue_entry *a = waits(1, 4, START);
	cr_assert_null(next(START));
	cr_assert_eq(when, START + ADV_SEC);
	cr_assert_eq(next(when), a);
}

Test(queue, bounded)
{
	make((struct adv_share_limits){0});
	struct adv_queue_entry more = {.wish = wish(1, 1, 4)};
	for (int i = 0; i < 40; i++)
		waits(1, 4, START);
	cr_assert_eq(adv_queue_add(&queue, &more, START, START), -EAGAIN, "a tenant's part");
	for (uint32_t i = 0; i < 60; i++)
		waits(2 + i, 4, START);
	more.wish.tenant = 100;
	cr_assert_eq(adv_queue_add(&queue, &more, START, START), -EAGAIN, "the whole");
	adv_queue_remove(&queue, queue.first);
	cr_assert_eq(adv_queue_add(&queue, &more, START, START), 0);
	adv_queue_remove(&queue, &more);
}

Test(queue, time_is_up)
{
	make((struct adv_share_limits){0});
	cr_assert_eq(adv_queue_next_ns(&queue), UINT64_MAX);
	struct adv_queue_entry *a = waits(1, 4, START), *b = waits(1, 4, START + 5);
	cr_assert_eq(adv_queue_next_ns(&queue), a->until_ns);
	cr_assert_null(adv_queue_due(&queue, a->until_ns - 1));
	cr_assert_eq(adv_queue_due(&queue, a->until_ns), a);
	adv_queue_remove(&queue, a);
	cr_assert_eq(adv_queue_next_ns(&queue), b->until_ns);
}

/* ---- fewer cores ---- */

Test(queue, handing_cores_back)
{
	make((struct adv_share_limits){0});
	struct adv_lease_entry *a = grant(1, 2, START), *b = grant(1, 2, START);
	a->wish.priority = 1;
	cr_assert_null(adv_leases_surplus(leases));
	adv_leases_limit_cores(leases, 3);
	cr_assert_eq(adv_leases_surplus(leases), a, "of the lowest priority");
	adv_leases_revoke(leases, a, ADV_SEC, START);
	cr_assert_null(adv_leases_surplus(leases), "what goes already does not count");
	cr_assert_eq(adv_leases_cores_used(leases), 4);
	struct adv_lease_entry *c;
	const struct adv_lease_wish w = wish(1, 1, 4);
	cr_assert_eq(adv_leases_grant(leases, &w, START, &c, reason, sizeof(reason)),
		     ADV_NO_CAPACITY);
	cr_assert_not_null(strstr(reason, "drained"), "%s", reason);
	adv_leases_end(leases, a, ADV_REVOKED);
	adv_leases_forget(leases, a);
	cr_assert_eq(adv_leases_grant(leases, &w, START, &c, reason, sizeof(reason)), ADV_OK);
	adv_leases_limit_cores(leases, 0);
	cr_assert_eq(adv_leases_surplus(leases), c, "of one priority the newest");
	adv_leases_limit_cores(leases, UINT32_MAX);
	cr_assert_null(adv_leases_surplus(leases));
	adv_leases_forget(leases, b);
	adv_leases_forget(leases, c);
}

/* ---- long histories ---- */

#define TENANTS 6
#define STEPS	200000

static uint64_t seed;

static uint32_t random_below(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 33) % n;
}

/* One that waits, and one that lives, as the test keeps its own books of them. */
static struct {
	uint64_t granted, core_us[TENANTS], billed_us[TENANTS];
	uint64_t longest_wait_ns;
	uint32_t revoked, expired, drains;
} history;

static void check_books(void)
{
	struct adv_leases_stats s;
	uint64_t used_cores = 0, used_bytes = 0, of_tenant[TENANTS] = {0};
	uint32_t live = 0, loads = 0;
	adv_leases_stats(leases, &s);
	for (struct adv_lease_entry *e = adv_leases_next(leases, NULL); e != NULL;
	     e = adv_leases_next(leases, e)) {
		live++;
		used_cores += e->wish.workers;
		used_bytes += (e->wish.memory_bytes + 2 * ADV_PAGE) * e->wish.workers;
		of_tenant[e->wish.tenant] += e->wish.workers;
		cr_assert_eq(adv_leases_find(leases, e->id), e);
	}
	cr_assert_eq(s.live, live);
	cr_assert_eq(s.cores_used, used_cores);
	cr_assert_eq(s.memory_total - s.memory_free, used_bytes);
	cr_assert_eq(adv_cores_free(cores), CPUS - used_cores, "no core is lost, none is twice");
	for (int cpu = 0; cpu < CPUS + 1; cpu++)
		loads += adv_cores_load(cores, cpu);
	cr_assert_eq(loads, used_cores);
	for (uint32_t t = 0; t < TENANTS; t++) {
		cr_assert_eq(adv_shares_cores(shares, t), of_tenant[t]);
		cr_assert_leq(of_tenant[t], 5);
	}
	cr_assert_eq(s.granted, history.granted);
}

/* What it held is billed as the node does it: piece by piece, each with what was left over from the one before. */
static void bill(struct adv_ledger *ledger, struct adv_lease_entry *e, uint64_t now)
{
	uint64_t *counted = e->user;
	uint64_t us = (now - *counted) / ADV_US;
	struct adv_ledger_line line = {
		.tenant = e->wish.tenant, .module = "m", .allocated_core_us = us * e->wish.workers};
	*counted += us * ADV_US;
	history.core_us[e->wish.tenant] += us * e->wish.workers;
	cr_assert_eq(adv_ledger_add(ledger, &line), 0);
}

static void forget(struct adv_ledger *ledger, struct adv_lease_entry *e, uint64_t now)
{
	bill(ledger, e, now);
	/* From its grant to its end, to the microsecond. */
	history.billed_us[e->wish.tenant] += (now - e->granted_ns) / ADV_US * e->wish.workers;
	free(e->user);
	adv_leases_forget(leases, e);
}

static bool try_grant(const struct adv_lease_wish *w, uint64_t now)
{
	struct adv_lease_entry *e;
	enum adv_status status = adv_leases_grant(leases, w, now, &e, reason, sizeof(reason));
	if (status != ADV_OK) {
		cr_assert_eq(status, ADV_NO_CAPACITY, "%s", reason);
		return false;
	}
	uint64_t *counted = malloc(sizeof(*counted));
	*counted = now;
	e->user = counted;
	cr_assert_eq(adv_leases_attach(leases, e, w->tenant, e->token, now), ADV_OK);
	history.granted++;
	return true;
}

static void serve(uint64_t now)
{
	struct adv_queue_entry *e;
	while ((e = next(now)) != NULL && try_grant(&e->wish, now)) {
		if (now - e->since_ns > history.longest_wait_ns)
			history.longest_wait_ns = now - e->since_ns;
		adv_queue_remove(&queue, e);
		free(e);
	}
}

static struct adv_lease_entry *any_lease(void)
{
	struct adv_lease_entry *e = adv_leases_next(leases, NULL);
	for (uint32_t skip = random_below(8); e != NULL && skip > 0; skip--)
		e = adv_leases_next(leases, e) != NULL ? adv_leases_next(leases, e) : e;
	return e;
}

static void arrive(uint64_t now)
{
	/* One greedy tenant asks at the highest priority again and again, all others at any. */
	bool greedy = random_below(2) == 0;
	struct adv_lease_wish w = wish(greedy ? 0 : 1 + random_below(TENANTS - 1),
				       1 + random_below(4), greedy ? 9 : random_below(10));
	w.ttl_ms = 100 + random_below(20000);
	if (next(now) == NULL && try_grant(&w, now))
		return;
	struct adv_queue_entry *e = calloc(1, sizeof(*e));
	e->wish = w;
	/* Nobody gives up here: so whoever starves would wait for ever. */
	if (adv_queue_add(&queue, e, now, UINT64_MAX) < 0)
		free(e);
}

static void one_step(struct adv_ledger *ledger, uint64_t now)
{
	struct adv_lease_entry *e = any_lease();
	switch (random_below(8)) {
	case 0:
	case 1:
	case 2:
		arrive(now);
		break;
	case 3: /* its client dies */
		if (e != NULL) {
			adv_leases_end(leases, e, ADV_CLOSED);
			forget(ledger, e, now);
		}
		break;
	case 4:
		/* No lease is renewed for ever: a hundred times its own length. */
		if (e != NULL && now - e->granted_ns < 100 * e->wish.ttl_ms * ADV_MS)
			adv_leases_renew(leases, e, 0, now);
		break;
	case 5:
		if (e != NULL)
			bill(ledger, e, now);
		break;
	case 6:
		if (random_below(50) == 0) {
			history.drains++;
			adv_leases_limit_cores(leases, random_below(CPUS));
			while ((e = adv_leases_surplus(leases)) != NULL) {
				history.revoked++;
				adv_leases_revoke(leases, e, random_below(2000) * ADV_MS, now);
			}
		}
		break;
	default:
		adv_leases_limit_cores(leases, UINT32_MAX);
		break;
	}
}

/* Time goes from one event to the next, as the node's timers do it. */
static uint64_t pass(struct adv_ledger *ledger, uint64_t now, uint64_t until)
{
	struct adv_lease_entry *e;
	for (;;) {
		uint64_t event = adv_leases_next_ns(leases);
		next(now); /* sets `when` for whom its rate keeps back */
		event = when < event ? when : event;
		if (event > until)
			return until;
		now = event > now ? event : now;
		while ((e = adv_leases_due(leases, now)) != NULL) {
			history.expired++;
			forget(ledger, e, now);
		}
		serve(now);
		check_books();
	}
}

static void live_through(uint64_t first_seed)
{
	struct adv_ledger *ledger;
	uint64_t now = START;
	seed = first_seed;
	memset(&history, 0, sizeof(history));
	cr_assert_eq(adv_ledger_create(&ledger), 0);
	make((struct adv_share_limits){.cores = 5, .leases = 4});
	for (int i = 0; i < STEPS; i++) {
		/* Seconds; now and then a night, in which everything ends. */
		uint64_t step = random_below(2000) * ADV_MS + random_below(1000000);
		if (random_below(100) == 0) {
			step = random_below(86400) * ADV_SEC;
			adv_leases_limit_cores(
				leases, UINT32_MAX); /* else they would wait for the morning */
			serve(now);
		}
		now = pass(ledger, now, now + step);
		one_step(ledger, now);
		serve(now);
		check_books();
	}
	/* Then nothing more comes, and all that waits is served. */
	adv_leases_limit_cores(leases, UINT32_MAX);
	for (int i = 0; queue.nr > 0 || adv_leases_next(leases, NULL) != NULL; i++) {
		cr_assert_lt(i, 100000, "%u wait for ever", queue.nr);
		now = pass(ledger, now, now + ADV_SEC);
		serve(now);
		check_books();
	}
	uint64_t all_us = 0;
	for (size_t i = 0; adv_ledger_at(ledger, i) != NULL; i++) {
		const struct adv_ledger_line *l = adv_ledger_at(ledger, i);
		cr_assert_eq(l->allocated_core_us, history.core_us[l->tenant]);
		cr_assert_eq(l->allocated_core_us, history.billed_us[l->tenant],
			     "pieces add up to the whole");
		all_us += l->allocated_core_us;
	}
	cr_assert_leq(all_us, (now - START) / ADV_US * CPUS, "more than there was");
	cr_log_info("%llu leases in %llu days; the longest wait was %llu s",
		    (unsigned long long)history.granted,
		    (unsigned long long)((now - START) / ADV_SEC / 86400),
		    (unsigned long long)(history.longest_wait_ns / ADV_SEC));
	cr_assert(history.drains > 100 && history.revoked > 100 && history.expired > 1000 &&
			  history.granted > 10000,
		  "little has happened");
	cr_assert_lt(history.longest_wait_ns, 3600 * ADV_SEC, "somebody has starved");
	adv_ledger_destroy(ledger);
}

Test(queue, a_long_history)
{
	live_through(0x9e3779b97f4a7c15);
}

Test(queue, another_one)
{
	live_through(0xd1b54a32d192ed03);
}
