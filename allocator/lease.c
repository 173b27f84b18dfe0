/* lease.c - the table of leases. The control thread; the clock is passed in. */
#include "allocator/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS 4096
#define NOWHERE UINT32_MAX

/* An entry and its places: in the list in order of id, in a bucket by its id, and in the heap of those whose time will be up. */
struct node {
	struct adv_lease_entry entry; /* first: entries are handed out */
	struct node *previous, *next;
	struct node *next_in_bucket;
	uint64_t due_ns;
	uint32_t at; /* in the heap; NOWHERE: its time does not matter any more */
};

struct adv_leases {
	struct adv_leases_options options;
	struct node *first, *last;
	struct node *buckets[BUCKETS];
	struct node **heap; /* the earliest first; room for max_leases */
	uint32_t nr_due;
	uint32_t cores_max;
	uint64_t next_id;
	uint64_t memory_used;
	struct adv_leases_stats counts;
};

int adv_leases_create(const struct adv_leases_options *options, struct adv_leases **leases)
{
	struct adv_leases *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	l->options = *options;
	l->next_id = 1;
	l->cores_max = UINT32_MAX;
	l->heap = calloc(options->max_leases, sizeof(*l->heap));
	if (l->heap == NULL) {
		free(l);
		return -ENOMEM;
	}
	*leases = l;
	return 0;
}

void adv_leases_destroy(struct adv_leases *leases)
{
	if (leases == NULL)
		return;
	while (leases->first != NULL)
		adv_leases_forget(leases, &leases->first->entry);
	free(leases->heap);
	free(leases);
}

/* ---- whose time is up next: a binary heap ---- */

static void put(struct adv_leases *l, uint32_t at, struct node *n)
{
	l->heap[at] = n;
	n->at = at;
}

static void sift_up(struct adv_leases *l, struct node *n)
{
	uint32_t at = n->at;
	for (uint32_t up; at > 0 && l->heap[up = (at - 1) / 2]->due_ns > n->due_ns; at = up)
		put(l, at, l->heap[up]);
	put(l, at, n);
}

static void sift_down(struct adv_leases *l, struct node *n)
{
	uint32_t at = n->at;
	for (;;) {
		uint32_t down = 2 * at + 1;
		if (down + 1 < l->nr_due && l->heap[down + 1]->due_ns < l->heap[down]->due_ns)
			down++;
		if (down >= l->nr_due || l->heap[down]->due_ns >= n->due_ns)
			break;
		put(l, at, l->heap[down]);
		at = down;
	}
	put(l, at, n);
}

static void take_out(struct adv_leases *l, struct node *n)
{
	if (n->at == NOWHERE)
		return;
	struct node *last = l->heap[--l->nr_due];
	if (last != n) {
		put(l, n->at, last);
		sift_up(l, last);
		sift_down(l, last);
	}
	n->at = NOWHERE;
}

/* When this lease's time is up, and why. */
static uint64_t due_at(const struct adv_lease_entry *e, enum adv_status *status)
{
	*status = ADV_EXPIRED;
	switch (e->state) {
	case ADV_LEASE_GRANTED:
		return e->attach_by_ns < e->expires_ns ? e->attach_by_ns : e->expires_ns;
	case ADV_LEASE_ACTIVE:
		return e->expires_ns;
	case ADV_LEASE_REVOKING:
		*status = ADV_REVOKED;
		return e->grace_until_ns;
	case ADV_LEASE_ENDING:
		break;
	}
	return UINT64_MAX;
}

/* After each change of its state or times. */
static void reschedule(struct adv_leases *l, struct adv_lease_entry *e)
{
	enum adv_status status;
	struct node *n = (struct node *)e;
	n->due_ns = due_at(e, &status);
	if (n->due_ns == UINT64_MAX) {
		take_out(l, n);
		return;
	}
	if (n->at == NOWHERE)
		put(l, l->nr_due++, n);
	sift_up(l, n);
	sift_down(l, n);
}

static struct node **bucket_of(struct adv_leases *l, uint64_t id)
{
	return &l->buckets[id % BUCKETS];
}

/* ---- granting ---- */

static bool refuse_range(const char *name, uint64_t value, uint64_t min, uint64_t max, char *reason,
			 size_t size)
{
	if (value >= min && value <= max)
		return false;
	snprintf(reason, size, "%s %" PRIu64 ": must be from %" PRIu64 " to %" PRIu64, name, value,
		 min, max);
	return true;
}

static bool refuse_wish(const struct adv_lease_wish *w, char *reason, size_t size)
{
	return refuse_range("workers", w->workers, 1, ADV_LANES_MAX, reason, size) ||
	       refuse_range("slots", w->slots, 1, ADV_SLOTS_MAX, reason, size) ||
	       refuse_range("in_capacity", w->in_capacity, 1, ADV_CAPACITY_MAX, reason, size) ||
	       refuse_range("out_capacity", w->out_capacity, 1, ADV_CAPACITY_MAX, reason, size) ||
	       refuse_range("memory_bytes", w->memory_bytes, ADV_LEASE_MEMORY_MIN,
			    ADV_LEASE_MEMORY_MAX, reason, size) ||
	       refuse_range("priority", w->priority, 0, ADV_LEASE_PRIORITY_MAX, reason, size) ||
	       refuse_range("ttl_ms", w->ttl_ms, ADV_LEASE_TTL_MS_MIN, ADV_LEASE_TTL_MS_MAX, reason,
			    size);
}

static uint64_t pages(uint64_t bytes)
{
	return (bytes + ADV_PAGE - 1) / ADV_PAGE * ADV_PAGE;
}

/* What the lease reserves: its workers' memory and its lanes, whose areas are whole pages. */
static uint64_t memory_of(const struct adv_lease_wish *w)
{
	uint64_t lane = (pages(w->in_capacity) + pages(w->out_capacity)) * w->slots;
	return (w->memory_bytes + lane) * w->workers;
}

/* "; the next lease ends in 5 s" when there is one. */
static const char *when_next(const struct adv_leases *l, uint64_t now_ns, char *out, size_t size)
{
	uint64_t next = UINT64_MAX;
	for (const struct node *n = l->first; n != NULL; n = n->next)
		if (n->entry.expires_ns < next)
			next = n->entry.expires_ns;
	out[0] = '\0';
	if (next != UINT64_MAX)
		snprintf(out, size, "; unless it is renewed, the next lease ends in %" PRIu64 " ms",
			 next > now_ns ? (next - now_ns) / ADV_MS : 0);
	return out;
}

void adv_leases_note_refusal(struct adv_leases *l)
{
	l->counts.refused++;
}

static enum adv_status no_capacity(struct adv_leases *l, const struct adv_lease_wish *wish,
				   uint64_t now_ns, char *reason, size_t size, const char *what,
				   uint64_t wanted, uint64_t have)
{
	char next[96];
	l->counts.refused += wish->wait_ms == 0;
	snprintf(reason, size, "not enough %s: %" PRIu64 " asked for, %" PRIu64 " free%s", what,
		 wanted, have, when_next(l, now_ns, next, sizeof(next)));
	return ADV_NO_CAPACITY;
}

/* What of its own share a tenant lacks, in words. */
static enum adv_status no_share(struct adv_leases *l, const struct adv_lease_wish *wish,
				enum adv_share_lack lack, uint64_t limit, uint64_t held,
				uint64_t wait_ns, char *reason, size_t size)
{
	static const char *const names[] = {[ADV_SHARE_CORES] = "cores",
					    [ADV_SHARE_LEASES] = "leases",
					    [ADV_SHARE_MEMORY] = "bytes of memory"};
	l->counts.refused += wish->wait_ms == 0;
	if (lack == ADV_SHARE_RATE)
		snprintf(reason, size,
			 "tenant %" PRIu32 " may have %" PRIu64
			 " leases a second: the next in %" PRIu64 " ms",
			 wish->tenant, limit, (wait_ns + ADV_MS - 1) / ADV_MS);
	else
		snprintf(reason, size,
			 "tenant %" PRIu32 " may have %" PRIu64 " %s and has %" PRIu64
			 ": one of its own leases must end first",
			 wish->tenant, limit, names[lack], held);
	return ADV_NO_CAPACITY;
}

bool adv_leases_share_ok(struct adv_leases *l, const struct adv_lease_wish *wish, uint64_t now_ns,
			 uint64_t *when_ns)
{
	return l->options.shares == NULL ||
	       adv_shares_lack(l->options.shares, wish->tenant, wish->workers, memory_of(wish),
			       now_ns, NULL, NULL, when_ns) == ADV_SHARE_ENOUGH;
}

uint32_t adv_leases_cores_of(const struct adv_leases *l, uint32_t tenant)
{
	return l->options.shares != NULL ? adv_shares_cores(l->options.shares, tenant) : 0;
}

static struct node *node_create(struct adv_leases *l, const struct adv_lease_wish *wish,
				uint64_t now_ns)
{
	struct node *n = calloc(1, sizeof(*n));
	if (n == NULL)
		return NULL;
	struct adv_lease_entry *e = &n->entry;
	if (getrandom(e->token, sizeof(e->token), 0) != (ssize_t)sizeof(e->token)) {
		free(n);
		return NULL;
	}
	e->id = l->next_id;
	e->state = ADV_LEASE_GRANTED;
	e->wish = *wish;
	e->granted_ns = now_ns;
	e->expires_ns = now_ns + wish->ttl_ms * ADV_MS;
	e->attach_by_ns = now_ns + ADV_LEASE_UNATTACHED_MS * ADV_MS;
	return n;
}

enum adv_status adv_leases_grant(struct adv_leases *l, const struct adv_lease_wish *wish,
				 uint64_t now_ns, struct adv_lease_entry **lease, char *reason,
				 size_t size)
{
	if (refuse_wish(wish, reason, size)) {
		l->counts.refused++;
		return ADV_INVALID;
	}
	uint64_t memory = memory_of(wish);
	uint64_t memory_free = l->options.memory_bytes - l->memory_used;
	uint64_t limit, held, when_ns = now_ns;
	enum adv_share_lack lack =
		l->options.shares == NULL
			? ADV_SHARE_ENOUGH
			: adv_shares_lack(l->options.shares, wish->tenant, wish->workers, memory,
					  now_ns, &limit, &held, &when_ns);
	if (lack != ADV_SHARE_ENOUGH)
		return no_share(l, wish, lack, limit, held, when_ns - now_ns, reason, size);
	if (l->counts.live >= l->options.max_leases)
		return no_capacity(l, wish, now_ns, reason, size, "places for leases", 1, 0);
	if (memory > memory_free)
		return no_capacity(l, wish, now_ns, reason, size, "bytes of memory", memory,
				   memory_free);
	if (wish->workers > l->cores_max || l->counts.cores_used > l->cores_max - wish->workers)
		return no_capacity(l, wish, now_ns, reason, size, "cores while the node is drained",
				   wish->workers,
				   l->cores_max > l->counts.cores_used
					   ? l->cores_max - l->counts.cores_used
					   : 0);
	struct node *n = node_create(l, wish, now_ns);
	if (n == NULL)
		return no_capacity(l, wish, now_ns, reason, size, "memory in the node", 1, 0);
	if (adv_cores_take(l->options.cores, wish->tenant, wish->workers, n->entry.places) < 0) {
		free(n);
		return no_capacity(l, wish, now_ns, reason, size,
				   "cores (each has one worker: oversubscribe = no)", wish->workers,
				   adv_cores_free(l->options.cores));
	}
	if (l->options.shares != NULL &&
	    adv_shares_take(l->options.shares, wish->tenant, wish->workers, memory, now_ns) < 0) {
		adv_cores_give(l->options.cores, wish->tenant, wish->workers, n->entry.places);
		free(n);
		return no_capacity(l, wish, now_ns, reason, size, "memory in the node", 1, 0);
	}
	l->counts.cores_used += wish->workers;
	l->next_id++;
	l->memory_used += memory;
	l->counts.live++;
	l->counts.granted++;
	n->previous = l->last;
	if (l->last != NULL)
		l->last->next = n;
	else
		l->first = n;
	l->last = n;
	n->next_in_bucket = *bucket_of(l, n->entry.id);
	*bucket_of(l, n->entry.id) = n;
	n->at = NOWHERE;
	reschedule(l, &n->entry);
	*lease = &n->entry;
	return ADV_OK;
}

/* ---- a lease's life ---- */

struct adv_lease_entry *adv_leases_find(struct adv_leases *l, uint64_t id)
{
	for (struct node *n = *bucket_of(l, id); n != NULL; n = n->next_in_bucket)
		if (n->entry.id == id)
			return &n->entry;
	return NULL;
}

bool adv_lease_token_ok(const struct adv_lease_entry *lease, const uint8_t token[ADV_TOKEN_BYTES])
{
	unsigned difference = 0;
	for (int i = 0; i < ADV_TOKEN_BYTES; i++)
		difference |= lease->token[i] ^ token[i];
	return difference == 0;
}

/* Why a lease cannot be used any more; ADV_OK while it can. */
static enum adv_status over(const struct adv_lease_entry *e, uint64_t now_ns)
{
	if (e->state == ADV_LEASE_ENDING)
		return e->end_status;
	if (e->state == ADV_LEASE_REVOKING)
		return ADV_REVOKED;
	return now_ns >= e->expires_ns ? ADV_EXPIRED : ADV_OK;
}

enum adv_status adv_leases_attach(struct adv_leases *l, struct adv_lease_entry *e, uint32_t tenant,
				  const uint8_t token[ADV_TOKEN_BYTES], uint64_t now_ns)
{
	if (e->wish.tenant != tenant)
		return ADV_FORBIDDEN;
	if (!adv_lease_token_ok(e, token))
		return ADV_BAD_TOKEN;
	enum adv_status status = over(e, now_ns);
	if (status != ADV_OK)
		return status;
	if (e->state != ADV_LEASE_GRANTED)
		return ADV_INVALID;
	e->state = ADV_LEASE_ACTIVE;
	reschedule(l, e);
	return ADV_OK;
}

enum adv_status adv_leases_renew(struct adv_leases *l, struct adv_lease_entry *e, uint64_t ttl_ms,
				 uint64_t now_ns)
{
	(void)l;
	if (ttl_ms == 0)
		ttl_ms = e->wish.ttl_ms;
	if (ttl_ms < ADV_LEASE_TTL_MS_MIN || ttl_ms > ADV_LEASE_TTL_MS_MAX)
		return ADV_INVALID;
	enum adv_status status = over(e, now_ns);
	if (status != ADV_OK)
		return status;
	e->expires_ns = now_ns + ttl_ms * ADV_MS;
	reschedule(l, e);
	return ADV_OK;
}

void adv_leases_revoke(struct adv_leases *l, struct adv_lease_entry *e, uint64_t grace_ns,
		       uint64_t now_ns)
{
	if (e->state == ADV_LEASE_REVOKING || e->state == ADV_LEASE_ENDING)
		return;
	e->state = ADV_LEASE_REVOKING;
	e->grace_until_ns = now_ns + grace_ns;
	reschedule(l, e);
}

void adv_leases_end(struct adv_leases *l, struct adv_lease_entry *e, enum adv_status status)
{
	if (e->state == ADV_LEASE_ENDING)
		return;
	e->state = ADV_LEASE_ENDING;
	e->end_status = status;
	reschedule(l, e);
	if (status == ADV_EXPIRED)
		l->counts.expired++;
	else if (status == ADV_CLOSED)
		l->counts.released++;
	else if (status == ADV_REVOKED)
		l->counts.revoked++;
	else
		l->counts.failed++;
}

struct adv_lease_entry *adv_leases_due(struct adv_leases *l, uint64_t now_ns)
{
	enum adv_status status;
	if (l->nr_due == 0 || l->heap[0]->due_ns > now_ns)
		return NULL;
	struct adv_lease_entry *e = &l->heap[0]->entry;
	due_at(e, &status);
	adv_leases_end(l, e, status);
	return e;
}

uint64_t adv_leases_next_ns(const struct adv_leases *l)
{
	return l->nr_due > 0 ? l->heap[0]->due_ns : UINT64_MAX;
}

/* ---- fewer cores ---- */

void adv_leases_limit_cores(struct adv_leases *l, uint32_t max)
{
	l->cores_max = max;
}

struct adv_lease_entry *adv_leases_surplus(const struct adv_leases *l)
{
	uint64_t going_on = 0;
	struct node *least = NULL;
	for (struct node *n = l->first; n != NULL; n = n->next) {
		if (n->entry.state != ADV_LEASE_GRANTED && n->entry.state != ADV_LEASE_ACTIVE)
			continue;
		going_on += n->entry.wish.workers;
		if (least == NULL || n->entry.wish.priority <= least->entry.wish.priority)
			least = n;
	}
	return going_on > l->cores_max ? &least->entry : NULL;
}

uint32_t adv_leases_cores_used(const struct adv_leases *l)
{
	return l->counts.cores_used;
}

static void leave_bucket(struct adv_leases *l, struct node *n)
{
	struct node **at = bucket_of(l, n->entry.id);
	while (*at != n)
		at = &(*at)->next_in_bucket;
	*at = n->next_in_bucket;
}

void adv_leases_forget(struct adv_leases *l, struct adv_lease_entry *e)
{
	struct node *n = (struct node *)e;
	adv_cores_give(l->options.cores, e->wish.tenant, e->wish.workers, e->places);
	if (l->options.shares != NULL)
		adv_shares_give(l->options.shares, e->wish.tenant, e->wish.workers,
				memory_of(&e->wish));
	l->memory_used -= memory_of(&e->wish);
	l->counts.cores_used -= e->wish.workers;
	l->counts.live--;
	take_out(l, n);
	leave_bucket(l, n);
	if (n->previous != NULL)
		n->previous->next = n->next;
	else
		l->first = n->next;
	if (n->next != NULL)
		n->next->previous = n->previous;
	else
		l->last = n->previous;
	explicit_bzero(e->token, sizeof(e->token));
	free(n);
}

struct adv_lease_entry *adv_leases_next(const struct adv_leases *l,
					const struct adv_lease_entry *after)
{
	struct node *n = after != NULL ? ((const struct node *)after)->next : l->first;
	return n != NULL ? &n->entry : NULL;
}

void adv_leases_stats(const struct adv_leases *l, struct adv_leases_stats *stats)
{
	*stats = l->counts;
	stats->memory_total = l->options.memory_bytes;
	stats->memory_free = l->options.memory_bytes - l->memory_used;
}

const char *adv_lease_state_name(enum adv_lease_state state)
{
	static const char *const names[] = {
		[ADV_LEASE_GRANTED] = "granted",
		[ADV_LEASE_ACTIVE] = "active",
		[ADV_LEASE_REVOKING] = "revoking",
		[ADV_LEASE_ENDING] = "ending",
	};
	return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}
