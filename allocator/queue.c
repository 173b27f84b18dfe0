/* queue.c - who of those that wait for a lease is next. The control thread; the clock is passed in. */
#include "allocator/queue.h"

#include <errno.h>

#include "allocator/shares.h"

#define AGE_NS ADV_SEC /* of waiting are worth one priority */

void adv_queue_init(struct adv_queue *q, uint32_t max, uint32_t max_of_tenant)
{
	*q = (struct adv_queue){.max = max, .max_of_tenant = max_of_tenant};
}

static uint32_t count_of(const struct adv_queue *q, uint32_t tenant)
{
	uint32_t n = 0;
	for (const struct adv_queue_entry *e = q->first; e != NULL; e = e->next)
		n += e->wish.tenant == tenant;
	return n;
}

int adv_queue_add(struct adv_queue *q, struct adv_queue_entry *e, uint64_t now_ns,
		  uint64_t until_ns)
{
	if (q->nr >= q->max || count_of(q, e->wish.tenant) >= q->max_of_tenant)
		return -EAGAIN;
	e->since_ns = now_ns;
	e->until_ns = until_ns;
	e->number = q->arrivals++;
	e->previous = q->last;
	e->next = NULL;
	e->queued = true;
	if (q->last != NULL)
		q->last->next = e;
	else
		q->first = e;
	q->last = e;
	q->nr++;
	return 0;
}

void adv_queue_remove(struct adv_queue *q, struct adv_queue_entry *e)
{
	if (!e->queued)
		return;
	if (e->previous != NULL)
		e->previous->next = e->next;
	else
		q->first = e->next;
	if (e->next != NULL)
		e->next->previous = e->previous;
	else
		q->last = e->previous;
	e->queued = false;
	q->nr--;
}

static uint64_t rank(const struct adv_queue_entry *e, uint64_t now_ns)
{
	uint64_t waited_ns = now_ns > e->since_ns ? now_ns - e->since_ns : 0;
	return e->wish.priority + waited_ns / AGE_NS;
}

/* Entries are walked in order of arrival: what is equal does not come before. */
static bool before(const struct adv_queue_entry *a, const struct adv_queue_entry *b,
		   const struct adv_leases *leases, uint64_t now_ns)
{
	uint64_t rank_a = rank(a, now_ns), rank_b = rank(b, now_ns);
	if (rank_a != rank_b)
		return rank_a > rank_b;
	return adv_leases_cores_of(leases, a->wish.tenant) <
	       adv_leases_cores_of(leases, b->wish.tenant);
}

struct adv_queue_entry *adv_queue_next(const struct adv_queue *q, struct adv_leases *leases,
				       uint64_t now_ns, uint64_t *when_ns)
{
	struct adv_queue_entry *best = NULL;
	for (struct adv_queue_entry *e = q->first; e != NULL; e = e->next) {
		uint64_t later_ns = UINT64_MAX;
		if (!adv_leases_share_ok(leases, &e->wish, now_ns, &later_ns)) {
			if (later_ns < *when_ns)
				*when_ns = later_ns;
			continue;
		}
		if (best == NULL || before(e, best, leases, now_ns))
			best = e;
	}
	return best;
}

struct adv_queue_entry *adv_queue_due(const struct adv_queue *q, uint64_t now_ns)
{
	for (struct adv_queue_entry *e = q->first; e != NULL; e = e->next)
		if (e->until_ns <= now_ns)
			return e;
	return NULL;
}

uint64_t adv_queue_next_ns(const struct adv_queue *q)
{
	uint64_t next_ns = UINT64_MAX;
	for (const struct adv_queue_entry *e = q->first; e != NULL; e = e->next)
		if (e->until_ns < next_ns)
			next_ns = e->until_ns;
	return next_ns;
}
