/* test_geometry.c - where things lie in a lease's three files: limits, sizes, nothing overlaps, and headers that match. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "lane/lane.h"

static void make(struct adv_geometry *g, uint32_t lanes, uint32_t slots, uint64_t in, uint64_t out)
{
	cr_assert_eq(adv_geometry_init(g, lanes, slots, in, out), 0);
}

Test(geometry, limits)
{
	const struct {
		uint32_t lanes, slots;
		uint64_t in, out;
		int rc;
	} rows[] = {
		{0, 1, 1, 1, -EINVAL},
		{ADV_LANES_MAX + 1, 1, 1, 1, -EINVAL},
		{UINT32_MAX, 1, 1, 1, -EINVAL},
		{1, 0, 1, 1, -EINVAL},
		{1, ADV_SLOTS_MAX + 1, 1, 1, -EINVAL},
		{1, UINT32_MAX, 1, 1, -EINVAL},
		{1, 1, 0, 1, -EINVAL},
		{1, 1, ADV_CAPACITY_MAX + 1, 1, -EINVAL},
		{1, 1, UINT64_MAX, 1, -EINVAL},
		{1, 1, 1, 0, -EINVAL},
		{1, 1, 1, ADV_CAPACITY_MAX + 1, -EINVAL},
		{1, 1, 1, UINT64_MAX, -EINVAL},
		{ADV_LANES_MAX, ADV_SLOTS_MAX, ADV_CAPACITY_MAX, ADV_CAPACITY_MAX, -EFBIG},
		{1, 129, ADV_CAPACITY_MAX, ADV_CAPACITY_MAX, -EFBIG},
		{1, 128, ADV_CAPACITY_MAX, ADV_CAPACITY_MAX, 0},
		{2, 128, ADV_CAPACITY_MAX, 1, -EFBIG},
		{ADV_LANES_MAX, ADV_SLOTS_MAX, 1, 1, 0},
		{1, 1, 1, 1, 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct adv_geometry g = {.nr_lanes = 4711};
		int rc = adv_geometry_init(&g, rows[i].lanes, rows[i].slots, rows[i].in,
					   rows[i].out);
		cr_assert_eq(rc, rows[i].rc, "row %zu: %d", i, rc);
		if (rc != 0)
			cr_assert_eq(g.nr_lanes, 4711, "row %zu: untouched", i);
	}
}

Test(geometry, rounded_up)
{
	struct adv_geometry g;
	make(&g, 1, 5, 1, ADV_PAGE + 1);
	cr_assert_eq(g.nr_slots, 5);
	cr_assert_eq(g.nr_entries, 32, "four times the slots");
	cr_assert_eq(g.in_capacity, ADV_PAGE);
	cr_assert_eq(g.out_capacity, 2 * ADV_PAGE);
	make(&g, 1, 8, ADV_PAGE, ADV_PAGE);
	cr_assert_eq(g.nr_entries, 32);
	cr_assert_eq(g.in_capacity, ADV_PAGE);
	make(&g, 1, 1, 1, 1);
	cr_assert_eq(g.nr_entries, 32, "the least");
	make(&g, 1, 100, 1, 1);
	cr_assert_eq(g.nr_entries, 256, "four times would be too much");
	make(&g, 1, 300, 1, 1);
	cr_assert_eq(g.nr_entries, 512, "not below the slots");
}

/* From `at`, `size` bytes: behind all before it, within the file. */
static void follows(uint64_t *end, uint64_t at, uint64_t size, uint64_t file_size)
{
	cr_assert_geq(at, *end);
	cr_assert_leq(at + size, file_size);
	*end = at + size;
}

static void nothing_overlaps(const struct adv_geometry *g)
{
	uint64_t ring = ADV_LANE_RING_OFFSET + (uint64_t)g->nr_entries * ADV_ENTRY_SIZE;
	uint64_t req = ADV_PAGE, cpl = ADV_PAGE, slots = ADV_PAGE;
	for (uint32_t i = 0; i < g->nr_lanes; i++)
		follows(&cpl, adv_geometry_node_line(g, i), sizeof(struct adv_node_line),
			g->size[ADV_LANE_CPL]);
	cr_assert_eq(g->cpl_lanes % ADV_PAGE, 0, "the worker maps what follows, whole pages");
	for (uint32_t i = 0; i < g->nr_lanes; i++) {
		cr_assert_eq(adv_geometry_req(g, i) % ADV_PAGE, 0);
		cr_assert_eq(adv_geometry_cpl(g, i) % ADV_PAGE, 0);
		follows(&req, adv_geometry_req(g, i), ring, g->size[ADV_LANE_REQ]);
		follows(&cpl, adv_geometry_cpl(g, i), ring, g->size[ADV_LANE_CPL]);
		for (uint32_t s = 0; s < g->nr_slots; s++)
			follows(&slots, adv_geometry_in(g, i, s), g->in_capacity,
				g->size[ADV_LANE_SLOTS]);
		for (uint32_t s = 0; s < g->nr_slots; s++)
			follows(&slots, adv_geometry_out(g, i, s), g->out_capacity,
				g->size[ADV_LANE_SLOTS]);
	}
	cr_assert_eq(slots, g->size[ADV_LANE_SLOTS], "no page is wasted");
	for (int f = 0; f < ADV_LANE_FILES; f++)
		cr_assert_eq(g->size[f] % ADV_PAGE, 0);
}

/* Worker i maps a lane's pages: none of them may hold a byte of another lane. */
Test(geometry, nothing_overlaps)
{
	const uint32_t lanes[] = {1, 2, 63, 64, 65, ADV_LANES_MAX},
		       nr[] = {1, 3, 4, 59, 60, 61, 1024};
	for (size_t l = 0; l < sizeof(lanes) / sizeof(lanes[0]); l++)
		for (size_t s = 0; s < sizeof(nr) / sizeof(nr[0]); s++) {
			struct adv_geometry g;
			make(&g, lanes[l], nr[s], 1, ADV_PAGE + 1);
			nothing_overlaps(&g);
			cr_assert_eq(g.req_stride % ADV_PAGE, 0);
			cr_assert_eq(g.cpl_stride % ADV_PAGE, 0);
			cr_assert_eq(g.slots_stride % ADV_PAGE, 0);
		}
}

Test(geometry, the_greatest)
{
	struct adv_geometry g;
	make(&g, 1, 128, ADV_CAPACITY_MAX, ADV_CAPACITY_MAX);
	cr_assert_eq(g.size[ADV_LANE_SLOTS], ADV_LANE_BYTES_MAX + ADV_PAGE);
	cr_assert_eq(adv_geometry_out(&g, 0, 127), ADV_PAGE + 255 * ADV_CAPACITY_MAX);
}

/* ---- headers ---- */

static struct adv_geometry g4;
static struct adv_lane_header header;

static void setup(void)
{
	make(&g4, 2, 4, ADV_PAGE, 2 * ADV_PAGE);
	adv_lane_header_write(&header, &g4, ADV_LANE_CPL);
}

TestSuite(header, .init = setup);

static int check(void)
{
	return adv_lane_header_check(&header, &g4, ADV_LANE_CPL);
}

Test(header, matches)
{
	cr_assert_eq(check(), 0);
	cr_assert_eq(memcmp(&header, "ADVBLANE", 8), 0);
	cr_assert_eq(header.version, ADV_PROTOCOL_VERSION);
	for (enum adv_lane_file file = 0; file < ADV_LANE_FILES; file++) {
		adv_lane_header_write(&header, &g4, file);
		for (enum adv_lane_file as = 0; as < ADV_LANE_FILES; as++)
			cr_assert_eq(adv_lane_header_check(&header, &g4, as),
				     as == file ? 0 : -EPROTO);
	}
}

Test(header, another_version)
{
	header.version++;
	cr_assert_eq(check(), -EPROTONOSUPPORT);
	/* What a later version means by the rest is not known. */
	header.nr_lanes = 99;
	header.file = 99;
	cr_assert_eq(check(), -EPROTONOSUPPORT);
	header.version = 0;
	cr_assert_eq(check(), -EPROTONOSUPPORT);
}

Test(header, not_a_lane)
{
	header.magic ^= 1;
	cr_assert_eq(check(), -EPROTO);
	memset(&header, 0, sizeof(header));
	cr_assert_eq(check(), -EPROTO);
	memset(&header, 0xff, sizeof(header));
	cr_assert_eq(check(), -EPROTO);
}

Test(header, another_geometry)
{
	uint32_t *const fields[] = {&header.file,	&header.nr_lanes,    &header.nr_slots,
				    &header.nr_entries, &header.in_capacity, &header.out_capacity};
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		uint32_t saved = *fields[i];
		*fields[i] ^= 1u << (7 * i % 32);
		cr_assert_eq(check(), -EPROTO, "field %zu", i);
		*fields[i] = saved;
		cr_assert_eq(check(), 0);
	}
}

Test(header, any_changed_bit_is_noticed)
{
	uint8_t *bytes = (uint8_t *)&header;
	for (size_t bit = 0; bit < 8 * sizeof(header); bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_neq(check(), 0, "bit %zu", bit);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

Test(generation, packs)
{
	const uint64_t g = adv_generation(ADV_EPOCH_MAX, UINT32_MAX);
	cr_assert_eq(adv_generation_epoch(g), ADV_EPOCH_MAX);
	cr_assert_eq(adv_generation_base(g), UINT32_MAX);
	cr_assert_eq(adv_generation(1, 1), UINT64_C(0x100000001));
	cr_assert_eq(adv_generation_epoch(adv_generation(7, 0)), 7);
}
