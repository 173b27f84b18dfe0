/*
 * queue.h - requests for leases that wait for room: in which order they are served. Decisions only, the clock is passed in
 * (CLOCK_BOOTTIME nanoseconds). Owned by the control thread.
 *
 * The next is the one of the highest priority, to which each second of waiting adds one; among these whose tenant holds the fewest
 * cores; among these the one that came first. It is the only one that is tried: what is smaller does not pass it, so that what is large is
 * served too. Who is kept back by its own tenant's limits is passed over. So nobody starves: whoever waits is, after as many seconds as
 * there are priorities, before all who come later.
 */
#ifndef ADVERB_ALLOCATOR_QUEUE_H
#define ADVERB_ALLOCATOR_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/lease.h"

/* One that waits. The storage is the owner's, from adv_queue_add() to adv_queue_remove(). */
struct adv_queue_entry {
	struct adv_lease_wish wish;
	uint64_t since_ns, until_ns;
	uint64_t number; /* in order of arrival */
	struct adv_queue_entry *previous, *next;
	bool queued;
};

struct adv_queue {
	struct adv_queue_entry *first, *last; /* in order of arrival */
	uint32_t nr, max, max_of_tenant;
	uint64_t arrivals;
};

void adv_queue_init(struct adv_queue *queue, uint32_t max, uint32_t max_of_tenant);

/* `wish` of the entry is set. 0; -EAGAIN: the queue, or the tenant's part of it, is full. */
int adv_queue_add(struct adv_queue *queue, struct adv_queue_entry *entry, uint64_t now_ns,
		  uint64_t until_ns);
void adv_queue_remove(struct adv_queue *queue, struct adv_queue_entry *entry); /* if it waits */

/* Whom to serve next, or NULL. It stays queued. *when_ns is lowered to when one that its tenant's rate keeps back may be. */
struct adv_queue_entry *adv_queue_next(const struct adv_queue *queue, struct adv_leases *leases,
				       uint64_t now_ns, uint64_t *when_ns);

/* One whose time to wait is up, or NULL. */
struct adv_queue_entry *adv_queue_due(const struct adv_queue *queue, uint64_t now_ns);
uint64_t adv_queue_next_ns(const struct adv_queue *queue); /* when; UINT64_MAX: never */

#endif
