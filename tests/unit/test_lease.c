/*
 * test_lease.c - the table of leases under a clock of the test's own: limits, capacity, the life of a lease, tokens,
 * expiry, renewal, revocation. The machine is made up: eight worker CPUs.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator/lease.h"

#define CPUS	    8
#define MEMORY	    ADV_GIB
#define TTL_MS	    10000
#define START	    (1000 * ADV_SEC)
#define ATTACHED_BY (START + ADV_LEASE_UNATTACHED_MS * ADV_MS)
#define EXPIRES	    (START + TTL_MS * ADV_MS)

static struct adv_cores *cores;
static struct adv_leases *leases;
static char reason[256];

static void make(uint32_t max_leases, enum adv_oversubscribe oversubscribe)
{
	const struct adv_cores_options co = {.oversubscribe = oversubscribe};
	setenv("HWLOC_SYNTHETIC", "core:9 pu:1", 1);
	cr_assert_eq(adv_cores_create(&co, &cores, reason, sizeof(reason)), 0, "%s", reason);
	const struct adv_leases_options lo = {
		.max_leases = max_leases, .memory_bytes = MEMORY, .cores = cores};
	cr_assert_eq(adv_leases_create(&lo, &leases), 0);
}

static void setup(void)
{
	make(4, ADV_OVERSUBSCRIBE_NO);
}

static void teardown(void)
{
	adv_leases_destroy(leases);
	adv_cores_destroy(cores);
}

TestSuite(lease, .init = setup, .fini = teardown);

static struct adv_lease_wish wish(uint32_t tenant, uint32_t workers)
{
	return (struct adv_lease_wish){.tenant = tenant,
				       .workers = workers,
				       .slots = 1,
				       .in_capacity = ADV_PAGE,
				       .out_capacity = ADV_PAGE,
				       .memory_bytes = 32 * ADV_MIB,
				       .ttl_ms = TTL_MS,
				       .hot_us = 1000};
}

static struct adv_lease_entry *grant(const struct adv_lease_wish *w, uint64_t now)
{
	struct adv_lease_entry *e = NULL;
	enum adv_status status = adv_leases_grant(leases, w, now, &e, reason, sizeof(reason));
	cr_assert_eq(status, ADV_OK, "%s: %s", adv_status_name(status), reason);
	return e;
}

static struct adv_lease_entry *grant_one(void)
{
	const struct adv_lease_wish w = wish(1, 1);
	return grant(&w, START);
}

static struct adv_lease_entry *grant_active(void)
{
	struct adv_lease_entry *e = grant_one();
	cr_assert_eq(adv_leases_attach(leases, e, 1, e->token, START), ADV_OK);
	return e;
}

static void refused(const struct adv_lease_wish *w, enum adv_status wanted, const char *word)
{
	struct adv_lease_entry *e = (void *)&cores;
	reason[0] = '\0';
	enum adv_status status = adv_leases_grant(leases, w, START, &e, reason, sizeof(reason));
	cr_assert_eq(status, wanted, "%s instead of %s", adv_status_name(status),
		     adv_status_name(wanted));
	cr_assert_not_null(strstr(reason, word), "no \"%s\" in: %s", word, reason);
	cr_assert_eq(e, (void *)&cores, "untouched on failure");
}

static struct adv_leases_stats stats(void)
{
	struct adv_leases_stats s;
	adv_leases_stats(leases, &s);
	return s;
}

/* ---- granting ---- */

Test(lease, granted)
{
	const struct adv_lease_wish w = wish(7, 3);
	struct adv_lease_entry *e = grant(&w, START);
	cr_assert_gt(e->id, 0);
	cr_assert_eq(e->state, ADV_LEASE_GRANTED);
	cr_assert_eq(e->expires_ns, EXPIRES);
	cr_assert_eq(e->attach_by_ns, ATTACHED_BY);
	cr_assert_eq(e->wish.tenant, 7);
	cr_assert_eq(adv_cores_free(cores), CPUS - 3);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(adv_cores_load(cores, e->places[i].cpu), 1);
	cr_assert_eq(adv_leases_find(leases, e->id), e);
	cr_assert_null(adv_leases_find(leases, e->id + 1));
	cr_assert_null(adv_leases_find(leases, 0));
	cr_assert_eq(stats().live, 1);
	cr_assert_eq(stats().granted, 1);
	cr_assert_eq(stats().memory_total, MEMORY);
	cr_assert_leq(stats().memory_free, MEMORY - 3 * 32 * ADV_MIB);
}

Test(lease, limits_of_each_field)
{
	struct adv_lease_wish w;
#define REFUSED(field, value)                              \
	do {                                               \
		w = wish(1, 1);                            \
		w.field = (value);                         \
		refused(&w, ADV_INVALID, #field);          \
		cr_assert_eq(stats().live, 0);             \
		cr_assert_eq(adv_cores_free(cores), CPUS); \
	} while (0)
	REFUSED(workers, 0);
	REFUSED(workers, ADV_LANES_MAX + 1);
	REFUSED(workers, UINT32_MAX);
	REFUSED(slots, 0);
	REFUSED(slots, ADV_SLOTS_MAX + 1);
	REFUSED(in_capacity, 0);
	REFUSED(in_capacity, ADV_CAPACITY_MAX + 1);
	REFUSED(in_capacity, UINT64_MAX);
	REFUSED(out_capacity, 0);
	REFUSED(out_capacity, ADV_CAPACITY_MAX + 1);
	REFUSED(memory_bytes, ADV_LEASE_MEMORY_MIN - 1);
	REFUSED(memory_bytes, ADV_LEASE_MEMORY_MAX + 1);
	REFUSED(memory_bytes, UINT64_MAX);
	REFUSED(ttl_ms, ADV_LEASE_TTL_MS_MIN - 1);
	REFUSED(ttl_ms, ADV_LEASE_TTL_MS_MAX + 1);
	REFUSED(ttl_ms, UINT64_MAX);
#undef REFUSED
	cr_assert_eq(stats().refused, 16);
}

Test(lease, the_limits_themselves_are_allowed)
{
	struct adv_lease_wish w = wish(1, 1);
	w.slots = ADV_SLOTS_MAX;
	w.memory_bytes = ADV_LEASE_MEMORY_MIN;
	w.ttl_ms = ADV_LEASE_TTL_MS_MAX;
	grant(&w, START);
	w = wish(1, 1);
	w.ttl_ms = ADV_LEASE_TTL_MS_MIN;
	w.in_capacity = 1;
	w.out_capacity = ADV_CAPACITY_MAX;
	w.hot_us = UINT64_MAX;
	grant(&w, START);
}

Test(lease, too_many_leases)
{
	const struct adv_lease_wish w = wish(1, 1);
	for (int i = 0; i < 4; i++)
		grant(&w, START);
	refused(&w, ADV_NO_CAPACITY, "leases");
	cr_assert_not_null(strstr(reason, "10000 ms"), "when the next one ends: %s", reason);
	cr_assert_eq(adv_cores_free(cores), CPUS - 4);
	adv_leases_forget(leases, adv_leases_next(leases, NULL));
	grant(&w, START);
}

Test(lease, too_few_cores)
{
	struct adv_lease_wish w = wish(1, CPUS + 1);
	uint64_t before = stats().memory_free;
	refused(&w, ADV_NO_CAPACITY, "cores");
	cr_assert_eq(stats().memory_free, before, "nothing is kept");
	w.workers = CPUS;
	grant(&w, START);
	w.workers = 1;
	refused(&w, ADV_NO_CAPACITY, "0 free");
}

Test(lease, too_little_memory)
{
	struct adv_lease_wish w = wish(1, 1);
	w.memory_bytes = MEMORY;
	refused(&w, ADV_NO_CAPACITY, "memory");
	cr_assert_eq(adv_cores_free(cores), CPUS);
	w.memory_bytes = MEMORY / 2;
	grant(&w, START);
	refused(&w, ADV_NO_CAPACITY, "memory");
	w.memory_bytes = 32 * ADV_MIB;
	grant(&w, START);
}

/* The greatest lease that passes the limits must not wrap around into a small one. */
Test(lease, the_greatest_wish_does_not_overflow)
{
	struct adv_lease_wish w = wish(1, ADV_LANES_MAX);
	w.slots = ADV_SLOTS_MAX;
	w.in_capacity = w.out_capacity = ADV_CAPACITY_MAX;
	w.memory_bytes = ADV_LEASE_MEMORY_MAX;
	refused(&w, ADV_NO_CAPACITY, "memory");
}

Test(lease, lanes_count)
{
	struct adv_lease_wish w = wish(1, 2);
	w.slots = 4;
	w.in_capacity = ADV_MIB;
	w.out_capacity = 2 * ADV_MIB;
	grant(&w, START);
	cr_assert_eq(MEMORY - stats().memory_free, 2 * (32 + 4 * 3) * ADV_MIB);
}

/* A lane's areas fill whole pages (lane.h): that is what is taken from the machine. */
Test(lease, lanes_count_in_whole_pages)
{
	struct adv_lease_wish w = wish(1, 1);
	w.slots = ADV_SLOTS_MAX;
	w.in_capacity = w.out_capacity = 1;
	grant(&w, START);
	cr_assert_geq(MEMORY - stats().memory_free,
		      w.memory_bytes + (uint64_t)ADV_SLOTS_MAX * 2 * ADV_PAGE);
}

/* ---- tokens ---- */

Test(lease, tokens)
{
	struct adv_lease_entry *a = grant_one(), *b = grant_one();
	uint8_t token[ADV_TOKEN_BYTES];
	cr_assert_arr_neq(a->token, b->token, sizeof(token));
	cr_assert(adv_lease_token_ok(a, a->token));
	cr_assert_not(adv_lease_token_ok(a, b->token));
	for (int bit = 0; bit < 8 * ADV_TOKEN_BYTES; bit++) {
		memcpy(token, a->token, sizeof(token));
		token[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_not(adv_lease_token_ok(a, token), "bit %d is not looked at", bit);
	}
}

Test(lease, attached_once_by_its_tenant)
{
	struct adv_lease_entry *e = grant_one();
	const uint8_t wrong[ADV_TOKEN_BYTES] = {0};
	cr_assert_eq(adv_leases_attach(leases, e, 2, e->token, START), ADV_FORBIDDEN);
	cr_assert_eq(adv_leases_attach(leases, e, 2, wrong, START), ADV_FORBIDDEN);
	cr_assert_eq(adv_leases_attach(leases, e, 1, wrong, START), ADV_BAD_TOKEN);
	cr_assert_eq(e->state, ADV_LEASE_GRANTED);
	cr_assert_eq(adv_leases_attach(leases, e, 1, e->token, START + 1), ADV_OK);
	cr_assert_eq(e->state, ADV_LEASE_ACTIVE);
	cr_assert_eq(adv_leases_attach(leases, e, 1, e->token, START + 2), ADV_INVALID);
	cr_assert_eq(e->state, ADV_LEASE_ACTIVE);
}

Test(lease, not_attached_when_over)
{
	struct adv_lease_entry *e = grant_one();
	cr_assert_eq(adv_leases_attach(leases, e, 1, e->token, EXPIRES), ADV_EXPIRED);
	adv_leases_revoke(leases, e, ADV_SEC, START);
	cr_assert_eq(adv_leases_attach(leases, e, 1, e->token, START), ADV_REVOKED);
	adv_leases_end(leases, e, ADV_CLOSED);
	cr_assert_eq(adv_leases_attach(leases, e, 1, e->token, START), ADV_CLOSED);
}

/* ---- time ---- */

Test(lease, never_attached)
{
	struct adv_lease_entry *e = grant_one();
	cr_assert_eq(adv_leases_next_ns(leases), ATTACHED_BY);
	cr_assert_null(adv_leases_due(leases, ATTACHED_BY - 1));
	cr_assert_eq(adv_leases_due(leases, ATTACHED_BY), e);
	cr_assert_eq(e->state, ADV_LEASE_ENDING);
	cr_assert_eq(e->end_status, ADV_EXPIRED);
	cr_assert_null(adv_leases_due(leases, ATTACHED_BY), "reported once");
	cr_assert_eq(adv_leases_next_ns(leases), UINT64_MAX);
	cr_assert_eq(stats().expired, 1);
	cr_assert_eq(stats().live, 1, "its workers are not reaped yet");
}

/* A lease shorter than the time to attach ends with its own time. */
Test(lease, short_and_never_attached)
{
	struct adv_lease_wish w = wish(1, 1);
	w.ttl_ms = ADV_LEASE_TTL_MS_MIN;
	grant(&w, START);
	cr_assert_eq(adv_leases_next_ns(leases), START + ADV_LEASE_TTL_MS_MIN * ADV_MS);
}

Test(lease, expires)
{
	struct adv_lease_entry *e = grant_active();
	cr_assert_eq(adv_leases_next_ns(leases), EXPIRES);
	cr_assert_null(adv_leases_due(leases, EXPIRES - 1));
	cr_assert_eq(adv_leases_due(leases, EXPIRES), e);
	cr_assert_eq(e->end_status, ADV_EXPIRED);
}

Test(lease, renewed)
{
	struct adv_lease_entry *e = grant_active();
	uint64_t later = START + 4 * ADV_SEC;
	cr_assert_eq(adv_leases_renew(leases, e, 0, later), ADV_OK);
	cr_assert_eq(e->expires_ns, later + TTL_MS * ADV_MS, "as granted");
	cr_assert_eq(adv_leases_renew(leases, e, 500, later), ADV_OK);
	cr_assert_eq(e->expires_ns, later + 500 * ADV_MS, "shorter is allowed");
	cr_assert_null(adv_leases_due(leases, e->expires_ns - 1));
	cr_assert_eq(adv_leases_due(leases, e->expires_ns), e);
}

Test(lease, renewal_refused)
{
	struct adv_lease_entry *e = grant_active();
	cr_assert_eq(adv_leases_renew(leases, e, ADV_LEASE_TTL_MS_MIN - 1, START), ADV_INVALID);
	cr_assert_eq(adv_leases_renew(leases, e, ADV_LEASE_TTL_MS_MAX + 1, START), ADV_INVALID);
	cr_assert_eq(adv_leases_renew(leases, e, UINT64_MAX, START), ADV_INVALID);
	cr_assert_eq(adv_leases_renew(leases, e, 0, EXPIRES), ADV_EXPIRED, "too late");
	cr_assert_eq(e->expires_ns, EXPIRES);
	adv_leases_revoke(leases, e, ADV_SEC, START);
	cr_assert_eq(adv_leases_renew(leases, e, 0, START), ADV_REVOKED);
	adv_leases_end(leases, e, ADV_CRASHED);
	cr_assert_eq(adv_leases_renew(leases, e, 0, START), ADV_CRASHED);
}

Test(lease, revoked)
{
	struct adv_lease_entry *e = grant_active();
	adv_leases_revoke(leases, e, 500 * ADV_MS, START);
	cr_assert_eq(e->state, ADV_LEASE_REVOKING);
	/* A second word does not move the end. */
	adv_leases_revoke(leases, e, 60 * ADV_SEC, START + 1);
	cr_assert_eq(adv_leases_next_ns(leases), START + 500 * ADV_MS);
	cr_assert_null(adv_leases_due(leases, START + 500 * ADV_MS - 1));
	cr_assert_eq(adv_leases_due(leases, START + 500 * ADV_MS), e);
	cr_assert_eq(e->end_status, ADV_REVOKED);
	cr_assert_eq(stats().revoked, 1);
	adv_leases_revoke(leases, e, ADV_SEC, START);
	cr_assert_eq(e->state, ADV_LEASE_ENDING, "it is over already");
}

Test(lease, released_within_the_grace)
{
	struct adv_lease_entry *e = grant_active();
	adv_leases_revoke(leases, e, ADV_SEC, START);
	adv_leases_end(leases, e, ADV_CLOSED);
	cr_assert_eq(e->end_status, ADV_CLOSED);
	cr_assert_null(adv_leases_due(leases, UINT64_MAX - 1));
}

Test(lease, ends_once)
{
	struct adv_lease_entry *e = grant_active();
	adv_leases_end(leases, e, ADV_CLOSED);
	adv_leases_end(leases, e, ADV_LOAD_FAILED);
	cr_assert_eq(e->end_status, ADV_CLOSED);
	cr_assert_eq(stats().released, 1);
	cr_assert_eq(stats().failed, 0);
	e = grant_active();
	adv_leases_end(leases, e, ADV_LOAD_FAILED);
	cr_assert_eq(stats().failed, 1);
}

Test(lease, all_that_are_due)
{
	struct adv_lease_wish w = wish(1, 1);
	uint64_t ids = 0;
	for (int i = 0; i < 4; i++) {
		w.ttl_ms = 1000 + 1000 * (uint64_t)(i % 2);
		ids += grant(&w, START)->id;
	}
	cr_assert_eq(adv_leases_next_ns(leases), START + ADV_SEC);
	struct adv_lease_entry *e;
	int n = 0;
	while ((e = adv_leases_due(leases, START + ADV_SEC)) != NULL) {
		cr_assert_eq(e->wish.ttl_ms, 1000);
		n++;
	}
	cr_assert_eq(n, 2);
	for (; (e = adv_leases_due(leases, START + 2 * ADV_SEC)) != NULL; n++)
		cr_assert_eq(e->wish.ttl_ms, 2000);
	cr_assert_eq(n, 4);
	cr_assert_gt(ids, 0);
}

/* ---- the table ---- */

Test(lease, forgotten)
{
	const struct adv_lease_wish w = wish(1, CPUS);
	struct adv_lease_entry *e = grant(&w, START);
	uint64_t id = e->id;
	adv_leases_end(leases, e, ADV_CLOSED);
	cr_assert_eq(adv_cores_free(cores), 0, "held until the workers are dead");
	cr_assert_eq(adv_leases_find(leases, id), e);
	adv_leases_forget(leases, e);
	cr_assert_null(adv_leases_find(leases, id));
	cr_assert_eq(adv_cores_free(cores), CPUS);
	cr_assert_eq(stats().memory_free, MEMORY);
	cr_assert_eq(stats().live, 0);
	cr_assert_gt(grant(&w, START)->id, id, "an id is not used twice");
}

Test(lease, walked_in_order)
{
	struct adv_lease_entry *e[4];
	for (int i = 0; i < 4; i++)
		e[i] = grant_one();
	adv_leases_forget(leases, e[1]);
	cr_assert_eq(adv_leases_next(leases, NULL), e[0]);
	cr_assert_eq(adv_leases_next(leases, e[0]), e[2]);
	cr_assert_eq(adv_leases_next(leases, e[2]), e[3]);
	cr_assert_null(adv_leases_next(leases, e[3]));
	adv_leases_forget(leases, e[0]);
	adv_leases_forget(leases, e[3]);
	cr_assert_eq(adv_leases_next(leases, NULL), e[2]);
	cr_assert_null(adv_leases_next(leases, e[2]));
	adv_leases_forget(leases, e[2]);
	cr_assert_null(adv_leases_next(leases, NULL));
}

/* The table goes with leases in it; cores are given back. */
Test(lease_table, destroyed_with_leases)
{
	make(4, ADV_OVERSUBSCRIBE_TURNS);
	const struct adv_lease_wish w = wish(1, 3 * CPUS);
	cr_assert(grant(&w, START)->places[3 * CPUS - 1].shared);
	grant_active();
	adv_leases_destroy(leases);
	cr_assert_eq(adv_cores_free(cores), CPUS);
	adv_leases_destroy(NULL);
	adv_cores_destroy(cores);
}

Test(lease, states_have_names)
{
	cr_assert_str_eq(adv_lease_state_name(ADV_LEASE_GRANTED), "granted");
	cr_assert_str_eq(adv_lease_state_name(ADV_LEASE_ACTIVE), "active");
	cr_assert_str_eq(adv_lease_state_name(ADV_LEASE_REVOKING), "revoking");
	cr_assert_str_eq(adv_lease_state_name(ADV_LEASE_ENDING), "ending");
	cr_assert_str_eq(adv_lease_state_name((enum adv_lease_state)99), "unknown");
}
