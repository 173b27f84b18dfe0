/* lanes.c - lanes' shared memory, made ahead. Control thread only. */
#include "control/lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "lane/supervisor.h"
#include "util/clock.h"
#include "util/fd.h"

#define NR_SHAPES	4
#define NR_SPARES	2	      /* of each shape */
#define SPARE_BYTES_MAX (8 * ADV_MIB) /* larger shapes are made when they are asked for */
#define PREFAULT_BYTES_MAX \
	(256 * ADV_KIB)		     /* of a file: larger ones get their pages as they are used */
#define REFILL_AFTER_NS (2 * ADV_MS) /* the lease that took one is under way by then */

struct shape {
	int node;
	struct adv_geometry geometry;
	struct adv_lane_memory spares[NR_SPARES];
	unsigned nr_spares;
	uint64_t used; /* a count: the shape with the lowest gives way */
};

struct adv_lanes {
	struct adv_timer refill;
	uint64_t uses;
	struct shape shapes[NR_SHAPES];
};

/* ---- one ---- */

static int memory_create(const struct adv_geometry *g, int node, struct adv_lane_memory *m)
{
	static const char *const names[ADV_LANE_FILES] = {"adverb-req", "adverb-cpl",
							  "adverb-slots"};
	for (int i = 0; i < ADV_LANE_FILES; i++)
		m->shared[i] = (struct adv_shared){.rw = -1, .ro = -1};
	m->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = m->event_fd < 0 ? -errno : 0;
	for (int i = 0; i < ADV_LANE_FILES && rc == 0; i++) {
		uint64_t mapped = i == ADV_LANE_SLOTS ? ADV_PAGE : g->size[i];
		rc = adv_shared_create_partial(names[i], g->size[i], mapped, &m->shared[i]);
		/* Where the kernel does not do that, it is only slower. */
		if (rc == 0 && node >= 0)
			(void)adv_shared_prefer_node(&m->shared[i], node);
	}
	if (rc < 0) {
		adv_lane_memory_release(m);
		return rc;
	}
	/* Both sides write slots: nobody wants it read-only. */
	adv_fd_close(&m->shared[ADV_LANE_SLOTS].ro);
	adv_supervisor_format(m->shared[ADV_LANE_REQ].map, m->shared[ADV_LANE_CPL].map,
			      m->shared[ADV_LANE_SLOTS].map, g);
	return 0;
}

/* The pages that its users would wait for. What fails here is only slower later. */
static void prefault(const struct adv_lane_memory *m)
{
	for (int i = 0; i < ADV_LANE_FILES; i++) {
		const struct adv_shared *s = &m->shared[i];
		if (s->size <= PREFAULT_BYTES_MAX && fallocate(s->rw, 0, 0, (off_t)s->size) == 0)
			(void)madvise(s->map, s->mapped, MADV_POPULATE_WRITE);
	}
}

void adv_lane_memory_release(struct adv_lane_memory *m)
{
	for (int i = 0; i < ADV_LANE_FILES; i++)
		adv_shared_destroy(&m->shared[i]);
	adv_fd_close(&m->event_fd);
}

/* ---- shapes ---- */

static bool same_shape(const struct adv_geometry *a, const struct adv_geometry *b)
{
	return a->nr_lanes == b->nr_lanes && a->nr_slots == b->nr_slots &&
	       a->in_capacity == b->in_capacity && a->out_capacity == b->out_capacity;
}

static void shape_drop(struct shape *s)
{
	while (s->nr_spares > 0)
		adv_lane_memory_release(&s->spares[--s->nr_spares]);
}

static struct shape *shape_of(struct adv_lanes *l, const struct adv_geometry *g, int node)
{
	struct shape *oldest = &l->shapes[0];
	for (int i = 0; i < NR_SHAPES; i++) {
		struct shape *s = &l->shapes[i];
		if (s->used != 0 && s->node == node && same_shape(&s->geometry, g))
			return s;
		if (s->used < oldest->used)
			oldest = s;
	}
	shape_drop(oldest);
	oldest->geometry = *g;
	oldest->node = node;
	return oldest;
}

/* One at a time: requests come in between. */
static void refill(struct adv_timer *timer)
{
	struct adv_lanes *l = timer->user;
	for (int i = 0; i < NR_SHAPES; i++) {
		struct shape *s = &l->shapes[i];
		if (s->used == 0 || s->nr_spares == NR_SPARES)
			continue;
		/* Without memory or descriptors there is nothing to keep ahead: the next lease tries again, and says so. */
		if (memory_create(&s->geometry, s->node, &s->spares[s->nr_spares]) < 0)
			return;
		prefault(&s->spares[s->nr_spares]);
		s->nr_spares++;
		adv_timer_set(&l->refill, adv_clock_monotonic_ns() + REFILL_AFTER_NS);
		return;
	}
}

static uint64_t bytes_of(const struct adv_geometry *g)
{
	return g->size[ADV_LANE_REQ] + g->size[ADV_LANE_CPL] + g->size[ADV_LANE_SLOTS];
}

int adv_lanes_take(struct adv_lanes *l, const struct adv_geometry *g, int node,
		   struct adv_lane_memory *m)
{
	if (bytes_of(g) > SPARE_BYTES_MAX)
		return memory_create(g, node, m);
	struct shape *s = shape_of(l, g, node);
	s->used = ++l->uses;
	adv_timer_set(&l->refill, adv_clock_monotonic_ns() + REFILL_AFTER_NS);
	if (s->nr_spares == 0)
		return memory_create(g, node, m);
	*m = s->spares[--s->nr_spares];
	return 0;
}

int adv_lanes_create(struct adv_loop *loop, struct adv_lanes **lanes)
{
	struct adv_lanes *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	adv_timer_init(&l->refill, loop, refill, l);
	*lanes = l;
	return 0;
}

void adv_lanes_destroy(struct adv_lanes *l)
{
	if (l == NULL)
		return;
	adv_timer_set(&l->refill, UINT64_MAX);
	for (int i = 0; i < NR_SHAPES; i++)
		shape_drop(&l->shapes[i]);
	free(l);
}
