/*
 * shares.h - what each tenant holds of the machine, and how much it may: cores, memory, leases, and leases a second.
 * Decisions only: no thread, no I/O, the clock is passed in (CLOCK_BOOTTIME nanoseconds). Owned by the control thread.
 */
#ifndef ADVERB_ALLOCATOR_SHARES_H
#define ADVERB_ALLOCATOR_SHARES_H

#include <stddef.h>
#include <stdint.h>

/* Of one tenant. 0: no limit. */
struct adv_share_limits {
	uint32_t cores; /* workers of all its leases */
	uint32_t leases;
	uint32_t per_second;   /* leases granted; as many at once after a second without any */
	uint64_t memory_bytes; /* reserved by all its leases, lanes included */
};

struct adv_share_own {
	uint32_t tenant;
	struct adv_share_limits limits;
};

struct adv_shares_options {
	struct adv_share_limits each;	 /* of tenants that have none of their own */
	const struct adv_share_own *own; /* copied */
	size_t nr_own;
};

struct adv_shares;
int adv_shares_create(const struct adv_shares_options *options,
		      struct adv_shares **shares); /* 0, -ENOMEM */
void adv_shares_destroy(struct adv_shares *shares);

/* Which limit of its own keeps a tenant from so much more. */
enum adv_share_lack {
	ADV_SHARE_ENOUGH,
	ADV_SHARE_CORES,
	ADV_SHARE_LEASES,
	ADV_SHARE_MEMORY,
	ADV_SHARE_RATE, /* not now: *when_ns */
};

/*
 * `limit` and `held` get what the limit is and how much of it is held (bytes, cores, leases); *when_ns, for RATE, when there is a place
 * again. Each may be NULL. Takes nothing.
 */
enum adv_share_lack adv_shares_lack(struct adv_shares *shares, uint32_t tenant, uint32_t cores,
				    uint64_t memory_bytes, uint64_t now_ns, uint64_t *limit,
				    uint64_t *held, uint64_t *when_ns);

/* One lease more. 0 or -ENOMEM: then nothing is taken. Whether it may is for adv_shares_lack() to say. */
int adv_shares_take(struct adv_shares *shares, uint32_t tenant, uint32_t cores,
		    uint64_t memory_bytes, uint64_t now_ns);

/* One lease less, of the same size. */
void adv_shares_give(struct adv_shares *shares, uint32_t tenant, uint32_t cores,
		     uint64_t memory_bytes);

uint32_t adv_shares_cores(const struct adv_shares *shares, uint32_t tenant); /* that it holds */

#endif
