/*
 * lane_rig.h - a lane with both its sides and the node's in one thread: submit(), serve(), take() and die() in any order.
 * Each of the three memories ends at an unmapped page: a byte too far is a crash.
 */
#ifndef ADVERB_TESTS_UNIT_LANE_RIG_H
#define ADVERB_TESTS_UNIT_LANE_RIG_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lane/caller.h"
#include "lane/lane_worker.h"
#include "lane/supervisor.h"

#define RIG_SLOTS_MAX 64
#define RIG_FUNCTIONS 3

static struct adv_geometry rig_g;
static uint8_t *rig_memory[ADV_LANE_FILES];
static struct adv_supervisor rig_node;
static struct adv_caller rig_caller;
static struct adv_caller_call rig_calls[RIG_SLOTS_MAX];
static struct adv_worker_lane rig_worker;
static uint8_t *rig_outputs[RIG_SLOTS_MAX];
static int rig_event_fd = -1;

static inline void *rig_map(uint64_t size)
{
	uint8_t *map = mmap(NULL, size + ADV_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(map, MAP_FAILED);
	cr_assert_eq(mprotect(map + size, ADV_PAGE, PROT_NONE), 0);
	return map;
}

/* The worker that the node starts for the generation it has announced. */
static inline void rig_start_worker(void)
{
	const struct adv_worker_lane_options options = {
		.req = rig_memory[ADV_LANE_REQ] + adv_geometry_req(&rig_g, 0),
		.cpl = rig_memory[ADV_LANE_CPL] + adv_geometry_cpl(&rig_g, 0),
		.inputs = rig_memory[ADV_LANE_SLOTS] + adv_geometry_in(&rig_g, 0, 0),
		.outputs = rig_outputs,
		.generation = rig_node.generation,
		.hot_us = 0,
		.nr_functions = RIG_FUNCTIONS,
		.event_fd = rig_event_fd,
		.ticks = {.mult = 1},
	};
	adv_worker_lane_init(&rig_worker, &rig_g, &options);
}

/* With a generation of the test's choice: for numbers that are about to wrap around. */
static inline void rig_make_at(uint32_t nr_slots, uint64_t generation)
{
	cr_assert_leq(nr_slots, RIG_SLOTS_MAX);
	cr_assert_eq(adv_geometry_init(&rig_g, 1, nr_slots, ADV_PAGE, 2 * ADV_PAGE), 0);
	for (int i = 0; i < ADV_LANE_FILES; i++)
		rig_memory[i] = rig_map(rig_g.size[i]);
	for (uint32_t i = 0; i < nr_slots; i++)
		rig_outputs[i] = rig_memory[ADV_LANE_SLOTS] + adv_geometry_out(&rig_g, 0, i);
	rig_event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	cr_assert_geq(rig_event_fd, 0);
	adv_supervisor_format(rig_memory[0], rig_memory[1], rig_memory[2], &rig_g);
	adv_supervisor_init(&rig_node, &rig_g, 0, rig_memory[ADV_LANE_REQ],
			    rig_memory[ADV_LANE_CPL]);
	if (generation != 0) {
		rig_node.generation = generation;
		atomic_store(&rig_node.node_line->generation, generation);
	}
	adv_caller_init(&rig_caller, &rig_g, 0, rig_memory[ADV_LANE_REQ], rig_memory[ADV_LANE_CPL],
			rig_memory[ADV_LANE_SLOTS], rig_calls);
	rig_start_worker();
}

static inline void rig_make(uint32_t nr_slots)
{
	rig_make_at(nr_slots, 0);
}

static inline void rig_unmake(void)
{
	for (int i = 0; i < ADV_LANE_FILES; i++)
		if (rig_memory[i] != NULL)
			munmap(rig_memory[i], rig_g.size[i] + ADV_PAGE);
	if (rig_event_fd >= 0)
		close(rig_event_fd);
}

/* Call number `id` in `slot`; its user data is id + 1000. Its input is the id. */
static inline enum adv_status rig_try_submit(uint32_t slot, uint64_t id)
{
	return adv_caller_submit(&rig_caller, slot, 0, &id, sizeof(id), id, id + 1000, 0,
				 UINT64_MAX);
}

static inline void rig_submit(uint32_t slot, uint64_t id)
{
	enum adv_status status = rig_try_submit(slot, id);
	cr_assert_eq(status, ADV_OK, "submit: %s", adv_status_name(status));
}

/* The worker takes the next call, which must be `id`. */
static inline struct adv_work *rig_begin(uint64_t id)
{
	static struct adv_work work;
	cr_assert(adv_worker_try(&rig_worker, &work), "there is no call to run");
	cr_assert_eq(work.call_id, id, "call %lu instead of %lu", work.call_id, id);
	return &work;
}

/* Runs call `id` as an echo. */
static inline void rig_serve(uint64_t id)
{
	struct adv_work *work = rig_begin(id);
	memcpy(work->out, work->in, work->length);
	adv_worker_complete(&rig_worker, work, ADV_OK, work->length);
}

static inline bool rig_idle(void)
{
	struct adv_work work;
	return !adv_worker_try(&rig_worker, &work);
}

/* The caller's next result, which must be call `id`'s. */
static inline struct adv_result *rig_take(uint64_t id, enum adv_status status)
{
	static struct adv_result r;
	memset(&r, 0xee, sizeof(r));
	cr_assert(adv_caller_poll(&rig_caller, &r), "there is no result");
	cr_assert_eq(r.call_id, id, "call %lu instead of %lu", r.call_id, id);
	cr_assert_eq(r.user_data, id + 1000);
	cr_assert_eq(r.status, status, "%s instead of %s", adv_status_name(r.status),
		     adv_status_name(status));
	cr_assert_not(r.slot_held);
	cr_assert(adv_caller_slot_free(&rig_caller, r.slot));
	return &r;
}

static inline void rig_no_result(void)
{
	struct adv_result r;
	cr_assert_not(adv_caller_poll(&rig_caller, &r), "call %lu: %s", r.call_id,
		      adv_status_name(r.status));
}

/* The worker dies, and another one is started. */
static inline void rig_die(enum adv_status status, uint32_t detail)
{
	cr_assert_eq(adv_supervisor_death(&rig_node, status, detail), 0);
	rig_start_worker();
}

#endif
