/*
 * test_relay.c - the node's half of a verbs lease, moved by hand: immediates that make no sense, calls, ARM in every situation, full
 * send queues, landing, workers whose word does not fit.
 */
#include "lane/entry_crc.h"
#include "relay_steps.h"

TestSuite(relay, .init = make_default, .fini = unmake, .timeout = 60);
TestSuite(relay_made, .fini = unmake, .timeout = 60); /* with options */

/* ---- immediates that make no sense ---- */

static void is_stray(uint32_t heard)
{
	uint64_t stray = rig.relay.stray, sent = fake_counts(rig_node_qp(&rig)).requests;
	fake_immediate(rig_node_qp(&rig), heard);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.stray, stray + 1, "%08x", heard);
	cr_assert_eq(rig.relay.calls, 0);
	cr_assert_eq(rig.relay.nr_active, 0);
	cr_assert_not(rig.relay.quiet);
	cr_assert_not(rig.lanes[0].armed);
	cr_assert_eq(fake_counts(rig_node_qp(&rig)).requests, sent);
}

Test(relay, a_lane_that_does_not_exist)
{
	for (unsigned kind = 0; kind < 4; kind++)
		for (uint32_t lane = 1; lane < 256; lane++)
			is_stray(immediate(kind, rig.tag, lane, 1));
}

Test(relay, another_use_of_the_link)
{
	for (unsigned kind = 0; kind < 4; kind++)
		for (uint8_t tag = 0; tag < 64; tag++)
			if (tag != rig.tag)
				is_stray(immediate(kind, tag, 0, 1));
}

Test(relay, an_unknown_kind)
{
	is_stray(immediate(3, rig.tag, 0, 1));
}

/* Of 65,536 numbers those count that the client may have in flight. */
Test(relay, calls_that_cannot_be_in_flight)
{
	uint32_t first = rig.lanes[0].completion_seq;
	for (uint32_t seq = 0; seq < 65536; seq++) {
		uint16_t ahead = (uint16_t)(seq - first);
		uint64_t before = rig.relay.calls;
		adv_relay_hear(&rig.relay, immediate(ADV_WIRE_CALL, rig.tag, 0, seq));
		cr_assert_eq(rig.relay.calls - before, ahead < rig.g.nr_entries);
	}
	cr_assert_eq(rig.relay.nr_active, 1);
	cr_assert_eq(rig.lanes[0].request_seq, first + rig.g.nr_entries - 1);
	rig_node_pass(&rig);
	cr_assert_eq(fake_counts(rig_node_qp(&rig)).requests, 0, "no worker has answered");
}

/* Its immediate is slow: the call is over when it comes. Another call may be in flight by then. */
Test(relay, an_immediate_behind_its_completion)
{
	fake_hold(rig.pair.cq, true);
	submit(0, 1);
	submit(0, 2);
	rig_worker_step(&rig, 0);
	rig_worker_step(&rig, 0);
	fake_let_go(rig.pair.cq, 1); /* the second one's */
	rig_node_pass(&rig);
	takes(1, ADV_OK);
	takes(2, ADV_OK);
	submit(0, 3);
	fake_let_go(rig.pair.cq, 0);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.calls, 1);
	fake_let_go(rig.pair.cq, 0);
	rig_worker_step(&rig, 0);
	rig_node_pass(&rig);
	takes(3, ADV_OK);
}

/* ---- calls ---- */

Test(relay, a_call_takes_one_doorbell_each_way)
{
	submit(0, 1);
	struct fake_counts c = fake_counts(rig_client_qp(&rig));
	cr_assert_eq(c.doorbells, 1);
	cr_assert_eq(c.requests, 1);
	rig_node_pass(&rig);
	cr_assert(rig_worker_step(&rig, 0));
	rig_node_pass(&rig);
	c = fake_counts(rig_node_qp(&rig));
	cr_assert_eq(c.doorbells, 1);
	cr_assert_eq(c.requests, 1);
	cr_assert_eq(told(), 0, "nobody has asked to be woken");
	takes(1, ADV_OK);
	cr_assert_eq(rig.relay.carried, 1);
}

Test(relay, only_lanes_in_flight_are_looked_at)
{
	submit(0, 1);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.nr_active, 1);
	rig_worker_step(&rig, 0);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.nr_active, 0);
	cr_assert_not(rig.lanes[0].active);
	takes(1, ADV_OK);
}

/* The worker is asleep: the immediate wakes it. Awake, no call is made. */
Test(relay, a_sleeping_worker_is_woken)
{
	submit(0, 1);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.wakes, 0);
	atomic_store(&rig.workers[0].line->state, ADV_SIDE_SLEEPING);
	submit(0, 2);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.wakes, 1);
}

Test(relay, quiet_is_heard)
{
	cr_assert_not(rig.relay.quiet);
	hear(ADV_WIRE_QUIET, 0, 0);
	cr_assert(rig.relay.quiet);
}

Test(relay_made, handed_over_completions_carry_immediates)
{
	struct rig_options o = RIG_DEFAULTS;
	o.device.in_order = false;
	rig_make(&rig, &o);
	for (uint64_t id = 1; id <= 3; id++) {
		submit(0, id);
		rig_settle(&rig);
		cr_assert_eq(told(), id);
		takes(id, ADV_OK);
	}
}

/* ---- landing: the node's device does not place in order ---- */

Test(relay_made, an_entry_lands_when_its_immediate_comes)
{
	struct rig_options o = RIG_DEFAULTS;
	o.landing = true;
	rig_make(&rig, &o);
	fake_hold(rig.pair.cq, true);
	for (uint64_t id = 1; id <= 4; id++) {
		submit(0, id);
		rig_node_pass(&rig);
		cr_assert_not(rig_worker_step(&rig, 0), "nobody has said that all of it is there");
	}
	for (uint64_t id = 1; id <= 4; id++) {
		fake_let_go(rig.pair.cq, 0);
		rig_node_pass(&rig);
		cr_assert(rig_worker_step(&rig, 0));
		cr_assert_not(rig_worker_step(&rig, 0), "one at a time");
		rig_node_pass(&rig);
		takes(id, ADV_OK);
	}
}

/* What a hostile client announces without having written it is what lay there: nothing. */
Test(relay_made, announced_and_not_written)
{
	struct rig_options o = RIG_DEFAULTS;
	o.landing = true;
	rig_make(&rig, &o);
	for (uint32_t seq = 1; seq <= 4; seq++)
		hear(ADV_WIRE_CALL, 0, seq);
	cr_assert_not(rig_worker_step(&rig, 0));
	cr_assert_eq(rig.relay.nr_active, 1);
}

/* ---- ARM ---- */

Test(relay, arm_is_answered_at_once_where_something_was_missed)
{
	submit(0, 1);
	rig_settle(&rig); /* its completion is on its way */
	arm_line(0, 0, state_of(0));
	hear(ADV_WIRE_ARM, 0, 0);
	cr_assert_eq(told(), 1);
	struct adv_wire_immediate i = last_told();
	cr_assert_eq(i.kind, ADV_WIRE_NOTE);
	cr_assert_eq(i.lane, adv_wire_lane(rig.tag, 0));
	cr_assert_not(rig.lanes[0].armed);
}

Test(relay, arm_is_answered_at_once_where_the_line_is_another)
{
	const uint32_t wrong[] = {0, state_of(0) ^ 1, state_of(0) ^ 1u << 16,
				  state_of(0) ^ 1u << 17, UINT32_MAX};
	for (uint64_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		arm_line(0, 0, wrong[i]);
		hear(ADV_WIRE_ARM, 0, 0);
		cr_assert_eq(told(), i + 1);
	}
}

Test(relay, arm_is_answered_by_the_next_completion)
{
	arm_line(0, 0, state_of(0));
	submit(0, 1);
	hear(ADV_WIRE_ARM, 0, 0);
	cr_assert_eq(told(), 0);
	cr_assert(rig.lanes[0].armed);
	submit(0, 2);
	rig_settle(&rig);
	cr_assert_eq(told(), 1, "once");
	struct adv_wire_immediate i = last_told();
	cr_assert_eq(i.kind, ADV_WIRE_DONE);
	cr_assert_eq(i.seq, 1);
	takes(1, ADV_OK);
	takes(2, ADV_OK);
}

Test(relay, arm_is_answered_by_the_node_line)
{
	arm_line(0, 0, state_of(0));
	hear(ADV_WIRE_ARM, 0, 0);
	cr_assert_eq(told(), 0);
	adv_supervisor_revoke(&rig.supervisors[0]);
	adv_relay_line_changed(&rig.relay, 0);
	rig_node_pass(&rig);
	cr_assert_eq(told(), 1);
	struct adv_wire_immediate i = last_told();
	cr_assert_eq(i.kind, ADV_WIRE_LINE);
	cr_assert_eq(i.seq, adv_wire_line(1, 1, ADV_OK));
	cr_assert_eq(mirrored_line(0)->revoking, 1);
	adv_supervisor_end(&rig.supervisors[0], ADV_EXPIRED);
	adv_relay_line_changed(&rig.relay, 0);
	rig_node_pass(&rig);
	cr_assert_eq(told(), 1, "it was answered");
	cr_assert_eq(mirrored_line(0)->ended, ADV_EXPIRED);
}

Test(relay_made, each_lane_is_armed_for_itself)
{
	struct rig_options o = RIG_DEFAULTS;
	o.nr_lanes = 3;
	rig_make(&rig, &o);
	for (uint32_t lane = 0; lane < 3; lane++) {
		arm_line(lane, 0, state_of(lane));
		hear(ADV_WIRE_ARM, lane, 0);
	}
	cr_assert_eq(told(), 0);
	submit(1, 1);
	rig_settle(&rig);
	cr_assert_eq(told(), 1);
	cr_assert_eq(last_told().lane, adv_wire_lane(rig.tag, 1));
	cr_assert(rig.lanes[0].armed && !rig.lanes[1].armed && rig.lanes[2].armed);
}

/* A client that goes on and on is answered as often, and gets no further. */
Test(relay, arms_without_end)
{
	for (uint64_t n = 1; n <= 3000; n++) {
		arm_line(0, 77, 0);
		hear(ADV_WIRE_ARM, 0, (uint32_t)n);
		cr_assert_eq(told(), n);
		(void)adv_verbs_progress(rig.lease);
	}
	cr_assert_not(rig.relay.stalled);
}

/* ---- full send queues ---- */

static void make_short(uint32_t depth)
{
	struct rig_options o = RIG_DEFAULTS;
	o.nr_slots = 32;
	o.send_depth = depth;
	rig_make(&rig, &o);
	fake_by_hand(rig_node_qp(&rig), true);
}

/* Fills the node's send queue with completions that are not carried out: calls 1 to the number that is returned. */
static uint64_t fill_up(void)
{
	uint64_t id = 0;
	while (!rig.relay.stalled) {
		submit(0, ++id);
		rig_node_pass(&rig);
		cr_assert(rig_worker_step(&rig, 0));
		rig_node_pass(&rig);
	}
	return id;
}

Test(relay_made, a_full_queue_stalls_and_recovers)
{
	make_short(8);
	uint64_t nr = fill_up(), next = 1;
	cr_assert_eq(nr, 9, "eight fit");
	cr_assert_gt(adv_link_counted(&rig.poll.link, ADV_LINK_STALLS), 0);
	for (int i = 0; i < 5; i++) {
		submit(0, ++nr);
		rig_node_pass(&rig);
		rig_worker_step(&rig, 0);
	}
	/* One at a time is carried out, and what waits follows when there is room. */
	while (next <= nr) {
		cr_assert(fake_step(rig_node_qp(&rig)));
		takes(next++, ADV_OK);
		takes_nothing();
		rig_node_pass(&rig);
	}
	rig_node_pass(&rig);
	cr_assert_not(rig.relay.stalled);
	cr_assert_eq(rig.relay.carried, nr);
	cr_assert_eq(rig.relay.nr_active, 0);
	cr_assert_eq(fake_nr_waiting(rig_node_qp(&rig)), 0, "none was sent twice");
}

/* The answer is owed, and paid once. */
Test(relay_made, arm_when_stalled)
{
	make_short(8);
	uint64_t nr = fill_up();
	arm_line(0, 0, state_of(0));
	hear(ADV_WIRE_ARM, 0, 0);
	cr_assert(rig.lanes[0].armed);
	for (uint64_t id = 1; id <= nr; id++) {
		if (fake_nr_waiting(rig_node_qp(&rig)) == 0)
			rig_node_pass(&rig);
		cr_assert(fake_step(rig_node_qp(&rig)));
	}
	rig_node_pass(&rig);
	fake_step_all(rig_node_qp(&rig));
	cr_assert_eq(told(), 1, "%lu answers", told());
	cr_assert_not(rig.lanes[0].armed);
	for (uint64_t id = 1; id <= nr; id++)
		takes(id, ADV_OK);
}

/* Nothing else is to be sent: the answer that is owed does not wait for it. */
Test(relay_made, arm_when_full)
{
	make_short(8);
	for (uint64_t id = 1; id <= 8; id++) {
		submit(0, id);
		rig_node_pass(&rig);
		cr_assert(rig_worker_step(&rig, 0));
		rig_node_pass(&rig);
	}
	cr_assert_not(rig.relay.stalled);
	arm_line(0, 0, state_of(0));
	hear(ADV_WIRE_ARM, 0, 0);
	cr_assert(rig.relay.stalled && rig.lanes[0].armed);
	fake_step_all(rig_node_qp(&rig));
	cr_assert_eq(told(), 0);
	rig_node_pass(&rig);
	fake_step_all(rig_node_qp(&rig));
	cr_assert_eq(told(), 1);
	cr_assert_eq(last_told().kind, ADV_WIRE_NOTE);
	cr_assert_not(rig.lanes[0].armed);
}

/* It has seen everything: nothing is owed, and the next completion tells. */
Test(relay_made, arm_when_stalled_that_has_seen_all)
{
	make_short(8);
	uint64_t nr = fill_up();
	for (uint64_t id = 1; id < nr; id++) {
		fake_step(rig_node_qp(&rig));
		takes(id, ADV_OK);
	}
	/* The node does not know yet that there is room. */
	arm_line(0, (uint32_t)nr - 1, state_of(0));
	adv_relay_hear(&rig.relay, immediate(ADV_WIRE_ARM, rig.tag, 0, 0));
	rig_node_pass(&rig);
	fake_step_all(rig_node_qp(&rig));
	cr_assert_eq(told(), 1);
	cr_assert_eq(last_told().kind, ADV_WIRE_DONE);
	takes(nr, ADV_OK);
}

Test(relay_made, a_node_line_when_stalled)
{
	make_short(8);
	uint64_t nr = fill_up();
	rig_worker_dies(&rig, 0, ADV_CRASHED, 11);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.nr_dirty, 1);
	while (fake_nr_waiting(rig_node_qp(&rig)) > 0) {
		cr_assert_eq(adv_generation_epoch(mirrored_line(0)->generation), 1);
		fake_step_all(rig_node_qp(&rig));
		rig_node_pass(&rig);
		if (rig.relay.nr_dirty == 0)
			break;
	}
	fake_step_all(rig_node_qp(&rig));
	cr_assert_eq(adv_generation_epoch(mirrored_line(0)->generation), 2);
	for (uint64_t id = 1; id <= nr; id++)
		takes(id, ADV_OK); /* all had ended before it died */
}

/* A send queue that is full of what nobody asks about must not stay so. */
Test(relay_made, every_depth_recovers)
{
	for (uint32_t depth = ADV_LINK_POST_MAX; depth < 24; depth++) {
		make_short(depth);
		uint64_t nr = fill_up();
		fake_by_hand(rig_node_qp(&rig), false);
		for (uint64_t id = 1; id <= nr; id++) {
			rig_node_pass(&rig);
			takes(id, ADV_OK);
		}
		if (depth + 1 < 24)
			rig_unmake(&rig);
	}
}

/* ---- a device that takes nothing inline ---- */

static void make_staged(void)
{
	struct rig_options o = RIG_DEFAULTS;
	o.nr_lanes = 2;
	o.device.max_inline = 0;
	rig_make(&rig, &o);
}

Test(relay_made, staged_entries_and_lines)
{
	make_staged();
	fake_by_hand(rig_node_qp(&rig), true);
	for (uint64_t id = 0; id < 8; id++)
		submit((uint32_t)id % 2, id);
	rig_settle(&rig);
	cr_assert_eq(fake_nr_waiting(rig_node_qp(&rig)), 8);
	cr_assert_eq(fake_counts(rig_node_qp(&rig)).inlined, 0);
	/* Each lies in a line of its own until it is carried out. */
	fake_step_all(rig_node_qp(&rig));
	for (uint64_t n = 0; n < 8; n++) {
		struct adv_completion c;
		cr_assert_eq(adv_client_poll_lanes(rig.lease, &c, 1), 1);
		cr_assert_eq(c.status, ADV_OK);
	}
	rig_worker_dies(&rig, 1, ADV_CRASHED, 6);
	rig_node_pass(&rig);
	fake_step_all(rig_node_qp(&rig));
	cr_assert_eq(adv_generation_epoch(mirrored_line(1)->generation), 2);
	cr_assert_eq(adv_generation_epoch(mirrored_line(0)->generation), 1);
}

/* ---- workers whose word does not fit ---- */

/* A completion as a hostile worker publishes it. */
static void publish(uint32_t seq, const struct adv_entry *entry)
{
	struct adv_entry *e =
		(struct adv_entry *)&rig.lanes[0].completions[seq & (rig.g.nr_entries - 1)];
	*e = *entry;
	atomic_store(&e->epoch, 1);
	atomic_store(&e->seq, seq);
}

Test(relay, lengths_and_slots_that_do_not_fit)
{
	const uint32_t lengths[] = {0, 32, 33, ADV_PAGE, ADV_PAGE + 1, UINT32_MAX};
	const uint16_t slots[] = {0, 3, 4, 5, UINT16_MAX};
	uint32_t seq = 1;
	for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++)
		for (size_t s = 0; s < sizeof(slots) / sizeof(slots[0]); s++, seq++) {
			const struct adv_entry e = {
				.call_id = 99, .length = lengths[l], .slot = slots[s]};
			uint64_t before = fake_counts(rig_node_qp(&rig)).requests;
			bool output = lengths[l] > 32 && lengths[l] <= ADV_PAGE && slots[s] < 4;
			publish(seq, &e);
			hear(ADV_WIRE_CALL, 0, seq);
			cr_assert_eq(fake_counts(rig_node_qp(&rig)).requests - before, 1 + output);
			cr_assert_eq(mirrored_entry(0, seq)->length, lengths[l]);
			cr_assert_eq(mirrored_entry(0, seq)->crc,
				     adv_entry_crc(mirrored_entry(0, seq), seq));
		}
}

Test(relay, completions_of_another_epoch_or_number_stay)
{
	const struct adv_entry e = {.call_id = 1};
	for (uint32_t seq = 1; seq <= 4; seq++)
		hear(ADV_WIRE_CALL, 0, seq);
	for (uint32_t other = 2; other < 12; other++) {
		publish(1, &e);
		atomic_store((_Atomic uint32_t *)(uintptr_t)&rig.lanes[0].completions[1].seq,
			     other);
		rig_node_pass(&rig);
	}
	publish(1, &e);
	atomic_store((_Atomic uint16_t *)(uintptr_t)&rig.lanes[0].completions[1].epoch, 2);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.carried, 0);
	publish(1, &e);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.carried, 1);
}

/* A worker that completes what nobody called is carried at most once round its ring in a pass. */
Test(relay, completions_without_end)
{
	const struct adv_entry e = {.call_id = 1};
	hear(ADV_WIRE_CALL, 0, 1);
	for (uint32_t seq = 1; seq <= 4; seq++)
		publish(seq, &e);
	rig_node_pass(&rig);
	cr_assert_leq(rig.relay.carried, 4);
	takes_nothing();
}

/* ---- sleeping ---- */

static uint32_t caller_state(uint32_t lane)
{
	return atomic_load(&rig.lanes[lane].caller_line->state);
}

Test(relay_made, lanes_in_flight_are_told_that_the_poller_sleeps)
{
	struct rig_options o = RIG_DEFAULTS;
	o.nr_lanes = 2;
	rig_make(&rig, &o);
	submit(1, 1);
	rig_node_pass(&rig);
	cr_assert(adv_relay_sleep(&rig.relay));
	cr_assert_eq(caller_state(0), ADV_SIDE_RUNNING);
	cr_assert_eq(caller_state(1), ADV_SIDE_SLEEPING);
	adv_relay_awake(&rig.relay);
	cr_assert_eq(caller_state(1), ADV_SIDE_RUNNING);
}

Test(relay, it_does_not_sleep_over_a_completion)
{
	submit(0, 1);
	rig_node_pass(&rig);
	rig_worker_step(&rig, 0);
	cr_assert_not(adv_relay_sleep(&rig.relay));
	cr_assert_eq(caller_state(0), ADV_SIDE_RUNNING);
	rig_node_pass(&rig);
	cr_assert(adv_relay_sleep(&rig.relay));
}

Test(relay, it_does_not_sleep_over_a_node_line)
{
	adv_relay_line_changed(&rig.relay, 0);
	cr_assert_not(adv_relay_sleep(&rig.relay));
	rig_node_pass(&rig);
	cr_assert(adv_relay_sleep(&rig.relay));
}

/* What waits for room waits for a completion of the device's, not of a worker's. */
Test(relay_made, stalled_it_sleeps)
{
	make_short(8);
	fill_up();
	adv_relay_line_changed(&rig.relay, 0);
	cr_assert(adv_relay_sleep(&rig.relay));
}

/* Nothing more is carried: what a worker left behind is no reason to stay awake. */
Test(relay, ending_it_sleeps)
{
	submit(0, 1);
	rig_node_pass(&rig);
	rig_worker_step(&rig, 0);
	rig.relay.ending = true;
	rig_node_pass(&rig);
	cr_assert(adv_relay_sleep(&rig.relay));
}
