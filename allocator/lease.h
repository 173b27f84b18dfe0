/*
 * lease.h - the table of leases: who holds what until when. Decisions only: no thread, no I/O, the clock is passed in.
 * Owned by the control thread. Times are CLOCK_BOOTTIME nanoseconds.
 *
 *	GRANTED ──attach──► ACTIVE ──revoke──► REVOKING ──┐
 *	   │ not attached in time │ time is up, release, client gone │ grace over
 *	   └──────────────────────┴──────────────────────────────────┴──► ENDING ──workers reaped──► (forgotten)
 *
 * docs/leases.md has the table of all transitions, tests/model/lease.pml checks it.
 */
#ifndef ADVERB_ALLOCATOR_LEASE_H
#define ADVERB_ALLOCATOR_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adverb/status.h"
#include "allocator/cores.h"
#include "allocator/shares.h"
#include "util/limits.h"

enum adv_lease_state {
	ADV_LEASE_GRANTED, /* waits to be attached */
	ADV_LEASE_ACTIVE,  /* in use */
	ADV_LEASE_REVOKING, /* the client was told; calls in flight may finish until the grace is over */
	ADV_LEASE_ENDING, /* its sandboxes are being killed */
};

/* What a client asks for. Every field is checked by adv_leases_grant(). */
struct adv_lease_wish {
	uint32_t tenant; /* uid */
	uint32_t workers;
	uint32_t slots;
	uint64_t in_capacity, out_capacity;
	uint64_t memory_bytes; /* for each worker */
	uint64_t ttl_ms;
	uint64_t
		wait_ms; /* how long its request waits for room; 0: not at all. One that waits is not counted as refused */
	uint64_t hot_us; /* UINT64_MAX always */
	uint32_t
		priority; /* 0 to ADV_LEASE_PRIORITY_MAX: who waits is served by it, who must go goes by it */
};

/* One lease. Owned by the table; valid until adv_leases_forget(). */
struct adv_lease_entry {
	uint64_t id; /* never reused by this node process */
	uint8_t token[ADV_TOKEN_BYTES];
	enum adv_lease_state state;
	enum adv_status end_status; /* once ENDING: why */
	struct adv_lease_wish wish; /* as granted */
	uint64_t granted_ns, expires_ns, attach_by_ns, grace_until_ns;
	struct adv_core places[ADV_LANES_MAX];
	void *user; /* the control thread's own */
};

struct adv_leases_options {
	uint32_t max_leases;
	uint64_t memory_bytes; /* that all leases together may reserve */
	struct adv_cores *cores;
	struct adv_shares *shares; /* limits of each tenant; NULL: none */
};

struct adv_leases;
int adv_leases_create(const struct adv_leases_options *options, struct adv_leases **leases);
void adv_leases_destroy(struct adv_leases *leases);

/*
 * Grants or refuses at once. On ADV_OK *lease is GRANTED with cores, memory and a random token. Otherwise ADV_INVALID (which
 * field, and its limits), ADV_NO_CAPACITY (what is short, how much is free, when the next lease ends) with `reason` set.
 */
enum adv_status adv_leases_grant(struct adv_leases *leases, const struct adv_lease_wish *wish,
				 uint64_t now_ns, struct adv_lease_entry **lease, char *reason,
				 size_t reason_size);

/* One that has waited in vain. */
void adv_leases_note_refusal(struct adv_leases *leases);

/* Do its tenant's own limits allow it? False: *when_ns is when they may, UINT64_MAX: when another of its leases ends. */
bool adv_leases_share_ok(struct adv_leases *leases, const struct adv_lease_wish *wish,
			 uint64_t now_ns, uint64_t *when_ns);
uint32_t adv_leases_cores_of(const struct adv_leases *leases, uint32_t tenant); /* that it holds */

/*
 * From now on leases have no more than `max` cores together: none is granted beyond that. UINT32_MAX: as many as there are. What has more is to
 * be revoked: see adv_leases_surplus().
 */
void adv_leases_limit_cores(struct adv_leases *leases, uint32_t max);

/* One to be revoked, since leases that go on have more cores than they may: of the lowest priority, the newest. NULL: none. */
struct adv_lease_entry *adv_leases_surplus(const struct adv_leases *leases);

uint32_t adv_leases_cores_used(const struct adv_leases *leases); /* by all that are not forgotten */

struct adv_lease_entry *adv_leases_find(struct adv_leases *leases, uint64_t id); /* or NULL */

/* ADV_OK; ADV_BAD_TOKEN (compared in constant time); ADV_FORBIDDEN: another tenant's; ADV_INVALID: attached already; the end status when it is over. */
enum adv_status adv_leases_attach(struct adv_leases *leases, struct adv_lease_entry *lease,
				  uint32_t tenant, const uint8_t token[ADV_TOKEN_BYTES],
				  uint64_t now_ns);

/* Is it this lease's token? Compared in constant time. */
bool adv_lease_token_ok(const struct adv_lease_entry *lease, const uint8_t token[ADV_TOKEN_BYTES]);

/* Moves the end to now + ttl_ms (0: as granted). ADV_OK; ADV_INVALID; ADV_REVOKED, or the end status. */
enum adv_status adv_leases_renew(struct adv_leases *leases, struct adv_lease_entry *lease,
				 uint64_t ttl_ms, uint64_t now_ns);

/* The client is to finish within grace_ns. Ignored when it is over already. */
void adv_leases_revoke(struct adv_leases *leases, struct adv_lease_entry *lease, uint64_t grace_ns,
		       uint64_t now_ns);

/* To ENDING with that status; cores and memory are given back by adv_leases_forget(), when the workers are dead. */
void adv_leases_end(struct adv_leases *leases, struct adv_lease_entry *lease,
		    enum adv_status status);

/* The next lease whose time is up (expired, not attached, grace over), already moved to ENDING; or NULL. */
struct adv_lease_entry *adv_leases_due(struct adv_leases *leases, uint64_t now_ns);

/* When adv_leases_due() may have something; UINT64_MAX: never. */
uint64_t adv_leases_next_ns(const struct adv_leases *leases);

/* Everything is cleaned up: gives back cores and memory, frees the entry. */
void adv_leases_forget(struct adv_leases *leases, struct adv_lease_entry *lease);

/* Walks all, in order of id: start with NULL. Ending the one returned last is allowed; forgetting it is not. */
struct adv_lease_entry *adv_leases_next(const struct adv_leases *leases,
					const struct adv_lease_entry *after);

struct adv_leases_stats {
	uint32_t live;
	uint32_t cores_used;
	uint64_t memory_free, memory_total;
	uint64_t granted, refused, expired, released, revoked, failed;
};
void adv_leases_stats(const struct adv_leases *leases, struct adv_leases_stats *stats);

const char *adv_lease_state_name(enum adv_lease_state state);

#endif
