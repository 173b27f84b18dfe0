/* relay_steps.h - a relay on the fake device, and what tests do with it. */
#ifndef ADVERB_TESTS_RELAY_STEPS_H
#define ADVERB_TESTS_RELAY_STEPS_H

#include <criterion/criterion.h>
#include <string.h>

#include "verbs_rig.h"

static struct rig rig;

static inline void make_default(void)
{
	rig_make(&rig, NULL);
}

static inline void unmake(void)
{
	rig_unmake(&rig);
}

static inline uint32_t immediate(unsigned kind, uint8_t tag, uint32_t lane, uint32_t seq)
{
	return adv_wire_pack(kind, adv_wire_lane(tag, lane), seq);
}

/* Comes from the client as if it had been written there. */
static inline void hear(unsigned kind, uint32_t lane, uint32_t seq)
{
	fake_immediate(rig_node_qp(&rig), immediate(kind, rig.tag, lane, seq));
	rig_node_pass(&rig);
}

static inline void submit(uint32_t lane, uint64_t id)
{
	static uint64_t out[64];
	cr_assert_eq(rig_client_submit(&rig, lane, &id, sizeof(id), &out[id % 64], id), ADV_OK);
}

/* The client takes call `id` next, from its mirror. */
static inline void takes(uint64_t id, enum adv_status status)
{
	struct adv_completion c;
	cr_assert_eq(adv_client_poll_lanes(rig.lease, &c, 1), 1, "call %lu has not come", id);
	cr_assert_eq(c.user_data, id);
	cr_assert_eq(c.status, status, "%s", adv_status_name((enum adv_status)c.status));
}

static inline void takes_nothing(void)
{
	struct adv_completion c;
	cr_assert_eq(adv_client_poll_lanes(rig.lease, &c, 1), 0);
}

/* Immediates that have reached the client so far. */
static inline uint64_t told(void)
{
	return fake_counts(rig_client_qp(&rig)).immediates;
}

/* The last one, as the client takes it from its queue. */
static inline struct adv_wire_immediate last_told(void)
{
	struct ibv_wc wc = {0};
	uint32_t last = 0;
	while (ibv_poll_cq(rig_client_link(&rig)->cq, 1, &wc) == 1)
		if (wc.wc_flags & IBV_WC_WITH_IMM)
			last = wc.imm_data;
	return adv_wire_unpack(last);
}

/* What the client says when it goes to sleep. */
static inline void arm_line(uint32_t lane, uint32_t seq, uint32_t state)
{
	const struct adv_arm_line line = {.seen_seq = seq, .seen_state = state};
	cr_assert(fake_write(rig_node_qp(&rig),
			     adv_geometry_req(&rig.g, lane) + ADV_LANE_ARM_OFFSET, rig.req_mr->rkey,
			     &line, sizeof(line)));
}

static inline uint32_t state_of(uint32_t lane)
{
	const struct adv_node_line *line = rig.supervisors[lane].node_line;
	return adv_lane_state(atomic_load(&line->generation), atomic_load(&line->revoking),
			      atomic_load(&line->ended));
}

static inline const struct adv_node_line *mirrored_line(uint32_t lane)
{
	return (const struct adv_node_line *)(rig.lease->verbs->mirror +
					      adv_geometry_node_line(&rig.g, lane));
}

static inline struct adv_entry *mirrored_entry(uint32_t lane, uint32_t seq)
{
	return (struct adv_entry *)(rig.lease->verbs->mirror + adv_geometry_cpl(&rig.g, lane) +
				    ADV_LANE_RING_OFFSET) +
	       (seq & (rig.g.nr_entries - 1));
}

#endif
