/* test_lanes.c - lane memory made ahead: the right shape, sealed and formatted, never the same twice, refilled when nobody waits. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/lanes.h"
#include "util/clock.h"

static struct adv_loop *loop;
static struct adv_lanes *lanes;

static void set_up(void)
{
	cr_assert_eq(adv_loop_create(16, &loop), 0);
	cr_assert_eq(adv_lanes_create(loop, &lanes), 0);
}

static void tear_down(void)
{
	adv_lanes_destroy(lanes);
	adv_lanes_destroy(NULL);
	adv_loop_destroy(loop);
}

TestSuite(lanes, .init = set_up, .fini = tear_down);

static struct adv_geometry shape(uint32_t nr_slots, uint64_t capacity)
{
	struct adv_geometry g;
	cr_assert_eq(adv_geometry_init(&g, 1, nr_slots, capacity, capacity), 0);
	return g;
}

static struct adv_lane_memory take(const struct adv_geometry *g)
{
	struct adv_lane_memory m;
	cr_assert_eq(adv_lanes_take(lanes, g, -1, &m), 0);
	return m;
}

static ino_t number_of(const struct adv_lane_memory *m)
{
	struct stat st;
	cr_assert_eq(fstat(m->shared[ADV_LANE_REQ].rw, &st), 0);
	return st.st_ino;
}

static unsigned nr_descriptors(void)
{
	unsigned n = 0;
	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void rounds(int n)
{
	for (int i = 0; i < n; i++)
		adv_loop_run_once(loop, 4 * ADV_MS);
}

Test(lanes, shape_seals_and_header)
{
	const struct adv_geometry g = shape(4, 4096);
	struct adv_lane_memory m = take(&g);
	for (int i = 0; i < ADV_LANE_FILES; i++) {
		struct adv_lane_header header;
		struct stat st;
		cr_assert_eq(fstat(m.shared[i].rw, &st), 0);
		cr_assert_eq((uint64_t)st.st_size, g.size[i]);
		cr_assert_eq(st.st_mode & 0777, 0);
		cr_assert_eq(fcntl(m.shared[i].rw, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW),
			     F_SEAL_SHRINK | F_SEAL_GROW);
		cr_assert_eq(pread(m.shared[i].rw, &header, sizeof(header), 0), sizeof(header));
		cr_assert_eq(adv_lane_header_check(&header, &g, (enum adv_lane_file)i), 0);
		/* Slots are written by both sides. */
		cr_assert_eq(m.shared[i].ro < 0, i == ADV_LANE_SLOTS);
		if (i != ADV_LANE_SLOTS)
			cr_assert(pread(m.shared[i].ro, &header, sizeof(header), 0) ==
					  sizeof(header) &&
				  pwrite(m.shared[i].ro, "x", 1, 0) < 0);
	}
	cr_assert_neq(fcntl(m.event_fd, F_GETFL) & O_NONBLOCK, 0);
	adv_lane_memory_release(&m);
	adv_lane_memory_release(&m); /* holds nothing */
	cr_assert_eq(m.event_fd, -1);
}

Test(lanes, made_ahead_and_never_the_same)
{
	const struct adv_geometry g = shape(4, 4096);
	ino_t seen[12];
	for (int i = 0; i < 12; i++) {
		struct adv_lane_memory m = take(&g);
		seen[i] = number_of(&m);
		for (int k = 0; k < i; k++)
			cr_assert_neq(seen[k], seen[i], "%d and %d", k, i);
		/* What a former user has written is nowhere to be seen. */
		uint8_t *slots = m.shared[ADV_LANE_REQ].map;
		cr_assert_eq(slots[g.size[ADV_LANE_REQ] - 1], 0);
		slots[g.size[ADV_LANE_REQ] - 1] = 0xaa;
		adv_lane_memory_release(&m);
		rounds(3);
	}
}

Test(lanes, spares_are_bounded)
{
	unsigned before = nr_descriptors();
	for (uint32_t n = 1; n <= 10; n++) {
		const struct adv_geometry g = shape(n, 4096);
		struct adv_lane_memory m = take(&g);
		adv_lane_memory_release(&m);
		rounds(5);
	}
	/* Seven descriptors each, two of each of four shapes. */
	cr_assert_leq(nr_descriptors() - before, 4 * 2 * 7);
	cr_assert_gt(nr_descriptors(), before, "some are there");
	adv_lanes_destroy(lanes);
	lanes = NULL;
	cr_assert_leq(nr_descriptors(), before);
}

Test(lanes, large_ones_are_not_made_ahead)
{
	unsigned before = nr_descriptors();
	const struct adv_geometry g = shape(4, 4 * ADV_MIB);
	struct adv_lane_memory m = take(&g);
	adv_lane_memory_release(&m);
	rounds(5);
	cr_assert_eq(nr_descriptors(), before);
}
