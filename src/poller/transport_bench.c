/* transport_bench.c - an echo on the poller's thread, in the place of a worker: see transport_bench.h. */
#include "poller/transport_bench.h"

#include <string.h>

#include "lane/entry_crc.h"

void adv_transport_bench_run(struct adv_relay *r, struct adv_relay_lane *l, uint32_t seq)
{
	const struct adv_geometry *g = r->options.geometry;
	uint32_t mask = g->nr_entries - 1;
	struct adv_entry e;
	memcpy(&e, &l->requests[seq & mask], sizeof(e));
	if (e.crc != adv_entry_crc(&e, seq) || e.slot >= g->nr_slots || e.length > g->in_capacity)
		return;
	if (e.length > g->out_capacity)
		e.length = g->out_capacity;
	if (e.length > ADV_INLINE_MAX)
		memcpy((uint8_t *)r->options.slots + adv_geometry_out(g, l->index, e.slot),
		       (const uint8_t *)r->options.slots + adv_geometry_in(g, l->index, e.slot),
		       e.length);
	e.code = ADV_OK;
	atomic_store_explicit(&e.time, 0, memory_order_relaxed);
	struct adv_entry *to = (struct adv_entry *)&l->completions[seq & mask];
	memcpy(to, &e, offsetof(struct adv_entry, seq));
	atomic_store_explicit(&to->seq, seq, memory_order_release);
}
