/* geometry.c - where everything lies in the three memfds of a lease. Pure functions, any thread, libc alone. */
#include <errno.h>
#include <string.h>

#include "lane/lane.h"

static uint64_t pages(uint64_t bytes)
{
	return (bytes + ADV_PAGE - 1) / ADV_PAGE * ADV_PAGE;
}

static uint32_t power_of_two(uint32_t n)
{
	uint32_t p = 1;
	while (p < n)
		p *= 2;
	return p;
}

/*
 * Longer than the slots: on a ring that is as long as what is in flight, each side asks for lines that the other has not read yet,
 * and a lone call depends on where in the mesh its one line lives. docs/design.md has the figures.
 */
static uint32_t entries(uint32_t nr_slots)
{
	uint32_t roomy = power_of_two(4 * nr_slots);
	uint32_t least = power_of_two(nr_slots);
	if (roomy < ADV_RING_LEAST)
		return ADV_RING_LEAST;
	if (roomy <= ADV_RING_ROOMY)
		return roomy;
	return least > ADV_RING_ROOMY ? least : ADV_RING_ROOMY;
}

static bool within(uint64_t value, uint64_t max)
{
	return value >= 1 && value <= max;
}

int adv_geometry_init(struct adv_geometry *g, uint32_t nr_lanes, uint32_t nr_slots,
		      uint64_t in_capacity, uint64_t out_capacity)
{
	if (!within(nr_lanes, ADV_LANES_MAX) || !within(nr_slots, ADV_SLOTS_MAX) ||
	    !within(in_capacity, ADV_CAPACITY_MAX) || !within(out_capacity, ADV_CAPACITY_MAX))
		return -EINVAL;
	struct adv_geometry n = {
		.nr_lanes = nr_lanes,
		.nr_slots = nr_slots,
		.nr_entries = entries(nr_slots),
		.in_capacity = (uint32_t)pages(in_capacity),
		.out_capacity = (uint32_t)pages(out_capacity),
	};
	uint64_t ring = ADV_LANE_RING_OFFSET + (uint64_t)n.nr_entries * ADV_ENTRY_SIZE;
	n.req_stride = n.cpl_stride = pages(ring);
	n.cpl_lanes = ADV_PAGE + pages((uint64_t)nr_lanes * sizeof(struct adv_node_line));
	n.slots_stride = (uint64_t)nr_slots * ((uint64_t)n.in_capacity + n.out_capacity);
	/* At most 2^10 slots of 2^27 bytes in 2^8 lanes: no overflow. */
	if (n.slots_stride * nr_lanes > ADV_LANE_BYTES_MAX)
		return -EFBIG;
	n.size[ADV_LANE_REQ] = ADV_PAGE + n.req_stride * nr_lanes;
	n.size[ADV_LANE_CPL] = n.cpl_lanes + n.cpl_stride * nr_lanes;
	n.size[ADV_LANE_SLOTS] = ADV_PAGE + n.slots_stride * nr_lanes;
	*g = n;
	return 0;
}

void adv_lane_header_write(void *page, const struct adv_geometry *g, enum adv_lane_file file)
{
	const struct adv_lane_header header = {
		.magic = ADV_LANE_MAGIC,
		.version = ADV_PROTOCOL_VERSION,
		.file = file,
		.nr_lanes = g->nr_lanes,
		.nr_slots = g->nr_slots,
		.nr_entries = g->nr_entries,
		.in_capacity = g->in_capacity,
		.out_capacity = g->out_capacity,
	};
	memcpy(page, &header, sizeof(header));
}

int adv_lane_header_check(const void *page, const struct adv_geometry *g, enum adv_lane_file file)
{
	struct adv_lane_header h;
	memcpy(&h, page, sizeof(h)); /* once: the page is shared */
	if (h.magic != ADV_LANE_MAGIC)
		return -EPROTO;
	if (h.version != ADV_PROTOCOL_VERSION)
		return -EPROTONOSUPPORT;
	if (h.file != (uint32_t)file || h.nr_lanes != g->nr_lanes || h.nr_slots != g->nr_slots ||
	    h.nr_entries != g->nr_entries || h.in_capacity != g->in_capacity ||
	    h.out_capacity != g->out_capacity || h.unused != 0)
		return -EPROTO;
	return 0;
}
