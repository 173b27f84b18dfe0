/* lease.c - the table of leases. The control thread; the clock is passed in. */
#include "allocator/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* An entry and its links: leases are few thousand, and walked in order of id. */
struct node {
	struct adv_lease_entry entry; /* first: entries are handed out */
	struct node *previous, *next;
};

struct adv_leases {
	struct adv_leases_options options;
	struct node *first, *last;
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
	*leases = l;
	return 0;
}

void adv_leases_destroy(struct adv_leases *leases)
{
	if (leases == NULL)
		return;
	while (leases->first != NULL)
		adv_leases_forget(leases, &leases->first->entry);
	free(leases);
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

static enum adv_status no_capacity(struct adv_leases *l, uint64_t now_ns, char *reason, size_t size,
				   const char *what, uint64_t wanted, uint64_t have)
{
	char next[96];
	l->counts.refused++;
	snprintf(reason, size, "not enough %s: %" PRIu64 " asked for, %" PRIu64 " free%s", what,
		 wanted, have, when_next(l, now_ns, next, sizeof(next)));
	return ADV_NO_CAPACITY;
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
	if (l->counts.live >= l->options.max_leases)
		return no_capacity(l, now_ns, reason, size, "places for leases", 1, 0);
	if (memory > memory_free)
		return no_capacity(l, now_ns, reason, size, "bytes of memory", memory, memory_free);
	struct node *n = node_create(l, wish, now_ns);
	if (n == NULL)
		return no_capacity(l, now_ns, reason, size, "memory in the node", 1, 0);
	if (adv_cores_take(l->options.cores, wish->tenant, wish->workers, n->entry.places) < 0) {
		free(n);
		return no_capacity(l, now_ns, reason, size, "cores", wish->workers,
				   adv_cores_free(l->options.cores));
	}
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
	*lease = &n->entry;
	return ADV_OK;
}

/* ---- a lease's life ---- */

struct adv_lease_entry *adv_leases_find(struct adv_leases *l, uint64_t id)
{
	for (struct node *n = l->first; n != NULL; n = n->next)
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

enum adv_status adv_leases_attach(struct adv_lease_entry *e, uint32_t tenant,
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
	return ADV_OK;
}

void adv_leases_revoke(struct adv_leases *l, struct adv_lease_entry *e, uint64_t grace_ns,
		       uint64_t now_ns)
{
	(void)l;
	if (e->state == ADV_LEASE_REVOKING || e->state == ADV_LEASE_ENDING)
		return;
	e->state = ADV_LEASE_REVOKING;
	e->grace_until_ns = now_ns + grace_ns;
}

void adv_leases_end(struct adv_leases *l, struct adv_lease_entry *e, enum adv_status status)
{
	if (e->state == ADV_LEASE_ENDING)
		return;
	e->state = ADV_LEASE_ENDING;
	e->end_status = status;
	if (status == ADV_EXPIRED)
		l->counts.expired++;
	else if (status == ADV_CLOSED)
		l->counts.released++;
	else if (status == ADV_REVOKED)
		l->counts.revoked++;
	else
		l->counts.failed++;
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

struct adv_lease_entry *adv_leases_due(struct adv_leases *l, uint64_t now_ns)
{
	enum adv_status status;
	for (struct node *n = l->first; n != NULL; n = n->next) {
		if (due_at(&n->entry, &status) > now_ns)
			continue;
		adv_leases_end(l, &n->entry, status);
		return &n->entry;
	}
	return NULL;
}

uint64_t adv_leases_next_ns(const struct adv_leases *l)
{
	uint64_t first = UINT64_MAX;
	enum adv_status status;
	for (const struct node *n = l->first; n != NULL; n = n->next) {
		uint64_t due = due_at(&n->entry, &status);
		if (due < first)
			first = due;
	}
	return first;
}

void adv_leases_forget(struct adv_leases *l, struct adv_lease_entry *e)
{
	struct node *n = (struct node *)e;
	adv_cores_give(l->options.cores, e->wish.tenant, e->wish.workers, e->places);
	l->memory_used -= memory_of(&e->wish);
	l->counts.live--;
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
