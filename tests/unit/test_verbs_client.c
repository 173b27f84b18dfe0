/* test_verbs_client.c - the client's half of a verbs lease: what a hostile node may write and say, calls that are given up, full queues, breaks. */
#include <errno.h>

#include "lane/entry_crc.h"
#include "verbs_client_steps.h"

TestSuite(verbs_client, .init = make_default, .fini = unmake, .timeout = 60);
TestSuite(verbs_client_made, .fini = unmake, .timeout = 60); /* with options */

/* ---- a hostile node ---- */

/* An entry as the node writes it, checksum and all. */
static void node_writes(uint32_t seq, struct adv_entry e)
{
	const struct adv_verbs_lease *v = rig.lease->verbs;
	uint64_t at = adv_geometry_cpl(&rig.g, 0) + ADV_LANE_RING_OFFSET +
		      (seq & (rig.g.nr_entries - 1)) * ADV_ENTRY_SIZE;
	atomic_store(&e.epoch, 1);
	atomic_store(&e.seq, seq);
	e.crc = adv_entry_crc(&e, seq);
	cr_assert(fake_write(rig_client_qp(&rig), (uintptr_t)v->mirror + at, v->mr->rkey, &e,
			     sizeof(e)));
	if (v->hand_over) {
		fake_immediate(rig_client_qp(&rig),
			       adv_wire_pack(ADV_WIRE_DONE, adv_wire_lane(rig.tag, 0), seq));
		(void)adv_verbs_progress(rig.lease);
	}
}

static const struct adv_caller *caller(void)
{
	return &rig.lease->workers[0].caller;
}

/* The right answer to the call that was submitted first. */
static struct adv_entry right(void)
{
	return (struct adv_entry){.call_id = 1, .length = 8, .slot = 0};
}

/* What belongs to no call is dropped; the call waits for its answer until its time is up. */
static void drops(struct adv_entry e, const char *what)
{
	submit(1, 8);
	node_writes(1, e);
	takes_nothing();
	cr_assert_eq(caller()->completion_seq, 2, "%s", what);
	fake_clock_add(11 * ADV_SEC);
	takes(1, ADV_TIMEOUT);
	unmake();
}

Test(verbs_client_made, answers_that_belong_to_no_call)
{
	struct rig_options options[2] = {RIG_DEFAULTS, handed_over()};
	for (int i = 0; i < 2; i++) {
		const uint16_t slots[] = {1, 3, 4, 5, 0x8000, UINT16_MAX};
		const uint64_t ids[] = {0, 2, UINT64_MAX, UINT64_C(1) << 32 | 1};
		for (size_t k = 0; k < sizeof(slots) / sizeof(slots[0]); k++) {
			struct adv_entry e = right();
			e.slot = slots[k];
			make(&options[i]);
			drops(e, "slot");
		}
		for (size_t k = 0; k < sizeof(ids) / sizeof(ids[0]); k++) {
			struct adv_entry e = right();
			e.call_id = ids[k];
			make(&options[i]);
			drops(e, "call id");
		}
	}
	make(NULL);
}

Test(verbs_client, lengths_beyond_the_capacity)
{
	const uint32_t lengths[] = {ADV_PAGE + 1, ADV_PAGE * 2, 1u << 31, UINT32_MAX};
	for (uint32_t i = 0; i < 4; i++) {
		struct adv_entry e = right();
		submit(i + 1, 8);
		e.call_id = i + 1;
		e.length = lengths[i];
		node_writes(i + 1, e);
		takes(i + 1, ADV_BAD_SIZE);
	}
}

/* More than the caller has room for: it gets what fits, and hears of it. */
Test(verbs_client, lengths_beyond_the_caller_s_room)
{
	struct adv_entry e = right();
	submit(1, 8);
	memset(outputs, 0x77, sizeof(outputs));
	e.length = ADV_PAGE;
	node_writes(1, e);
	takes(1, ADV_BAD_SIZE);
	cr_assert_eq(outputs[1][7], 0);
	cr_assert_eq(outputs[1][8], 0x77);
}

Test(verbs_client, statuses_that_no_worker_has)
{
	for (uint32_t status = 0; status < 512; status++) {
		struct adv_entry e = right();
		submit(1, 8);
		e.call_id = status + 1;
		e.code = (uint16_t)(status < 256 ? status : UINT16_MAX - (status - 256));
		node_writes(status + 1, e);
		bool has = e.code <= ADV_LOAD_FAILED || e.code == ADV_BUSY;
		takes(1, has ? (enum adv_status)e.code : ADV_WORKER_LOST);
	}
}

Test(verbs_client, the_same_answer_again)
{
	submit(1, 8);
	node_writes(1, right());
	takes(1, ADV_OK);
	submit(2, 8);
	node_writes(2, right()); /* of call 1, under the next number */
	takes_nothing();
	struct adv_entry e = right();
	e.call_id = 2;
	node_writes(3, e);
	takes(2, ADV_OK);
}

Test(verbs_client, answers_nobody_asked_for)
{
	struct adv_entry other = right();
	other.call_id = 7;
	for (uint32_t seq = 1; seq <= 4; seq++)
		node_writes(seq, other);
	takes_nothing();
	submit(1, 8);
	takes_nothing();
	node_writes(5, right());
	takes(1, ADV_OK);
}

/* Numbers that are not the next one. */
Test(verbs_client, numbers_out_of_turn)
{
	const uint32_t seqs[] = {0, 2, 3, 5, 9, 0x10001, 0x80000001, UINT32_MAX};
	submit(1, 8);
	for (size_t i = 0; i < sizeof(seqs) / sizeof(seqs[0]); i++) {
		node_writes(seqs[i], right());
		takes_nothing();
	}
	node_writes(1, right());
	takes(1, ADV_OK);
}

/* Of all immediates only those of this lease's tag and lanes mean anything, and what they mean is bounded. */
static void any_immediate(void)
{
	submit(1, 8);
	for (unsigned kind = 0; kind < 4; kind++)
		for (uint32_t lane = 0; lane < ADV_WIRE_LANES_MAX; lane += 37)
			for (uint32_t seq = 0; seq < 65536; seq += 4369) {
				fake_immediate(rig_client_qp(&rig), adv_wire_pack(kind, lane, seq));
				cr_assert(adv_verbs_progress(rig.lease));
			}
	takes_nothing();
	rig_settle(&rig);
	takes(1, ADV_OK);
}

Test(verbs_client, immediates_of_all_kinds)
{
	any_immediate();
}

Test(verbs_client_made, immediates_of_all_kinds_handed_over)
{
	struct rig_options o = handed_over();
	make(&o);
	any_immediate();
}

Test(verbs_client, sends_without_immediates)
{
	submit(1, 8);
	for (int i = 0; i < 2000; i++) {
		fake_plain_send(rig_client_qp(&rig));
		cr_assert(adv_verbs_progress(rig.lease));
	}
	rig_settle(&rig);
	takes(1, ADV_OK);
}

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

/* Anywhere in what the node may write, in pieces of any size. */
static void scribble(void)
{
	const struct adv_verbs_lease *v = rig.lease->verbs;
	uint8_t bytes[64];
	uint32_t size = 1 + random_below(sizeof(bytes));
	/* Most of it where it hurts: lines and rings. */
	uint64_t end = random_below(4) ? rig.g.size[ADV_LANE_CPL] : v->mirror_size;
	uint64_t at = random_below((uint32_t)(end - size));
	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)random_below(random_below(2) ? 256 : 3);
	cr_assert(fake_write(rig_client_qp(&rig), (uintptr_t)v->mirror + at, v->mr->rkey, bytes,
			     size));
}

/* A plausible entry where the next one is expected. */
static void forge(void)
{
	const struct adv_caller *c = caller();
	struct adv_entry e = {.call_id = rig.lease->next_call_id - random_below(3),
			      .length = random_below(3) ? random_below(40) : random_state,
			      .slot = (uint16_t)random_below(6),
			      .code = (uint16_t)random_below(60)};
	node_writes(c->completion_seq + random_below(2), e);
}

static void hostile_node(const struct rig_options *o, uint32_t seed)
{
	uint64_t submitted = 0, ended = 0;
	make(o);
	random_state = seed;
	for (int step = 0; step < 4000; step++) {
		struct adv_completion c[3];
		uint32_t what = random_below(8);
		if (what == 0) {
			scribble();
		} else if (what == 1) {
			forge();
		} else if (what == 2) {
			fake_immediate(rig_client_qp(&rig),
				       adv_wire_pack(random_below(4),
						     adv_wire_lane(rig.tag, random_below(2)),
						     random_below(65536)));
		} else if (what <= 4) {
			submitted += try_submit(step, random_below(200)) == ADV_OK;
		} else if (what == 5) {
			(void)adv_lease_arm(rig.lease);
		} else {
			ended += adv_poll(rig.lease, c, 3);
		}
		if (random_below(16) == 0)
			fake_clock_add(random_below(3) * ADV_SEC);
		(void)rig_node_pass(&rig);
	}
	cr_assert_eq(rig.lease->nr_waiting, submitted - ended, "each call ends once");
	/* And in the end: no call outlives its time. */
	fake_clock_add(20 * ADV_SEC);
	for (int i = 0; i < 100 && ended < submitted; i++) {
		struct adv_completion c[3];
		ended += adv_poll(rig.lease, c, 3);
	}
	cr_assert_eq(ended, submitted, "seed %u: %lu of %lu", seed, ended, submitted);
}

Test(verbs_client_made, whatever_the_node_writes)
{
	struct rig_options options[2] = {RIG_DEFAULTS, handed_over()};
	for (uint32_t seed = 0; seed < 40; seed++) {
		hostile_node(&options[seed % 2], seed);
		unmake();
	}
	make(NULL);
}

/* ---- a node whose device, or this side's, does not place in order ---- */

/* All of it may be there before its immediate, or parts of it: nobody looks. */
Test(verbs_client_made, nothing_is_handed_over_before_its_immediate)
{
	struct rig_options o = handed_over();
	make(&o);
	fake_by_hand(rig_node_qp(&rig), true);
	submit(1, 100);
	submit(2, 8);
	rig_settle(&rig);
	cr_assert_eq(fake_nr_waiting(rig_node_qp(&rig)), 3);
	fake_place(rig_node_qp(&rig), 2, 0, ADV_ENTRY_SIZE);
	fake_place(rig_node_qp(&rig), 1, 0, ADV_ENTRY_SIZE);
	takes_nothing();
	fake_step(rig_node_qp(&rig)); /* the output; its entry says when it may be looked at */
	takes_nothing();
	fake_step(rig_node_qp(&rig));
	takes(1, ADV_OK);
	takes_nothing();
	fake_step(rig_node_qp(&rig));
	takes(2, ADV_OK);
}

Test(verbs_client_made, a_death_is_not_handed_over_before_its_immediate)
{
	struct rig_options o = handed_over();
	make(&o);
	fake_by_hand(rig_node_qp(&rig), true);
	submit(1, 8);
	submit(2, 8);
	rig_node_pass(&rig);
	rig_worker_step(&rig, 0);
	rig_worker_dies(&rig, 0, ADV_CRASHED, 11);
	rig_node_pass(&rig);
	cr_assert_eq(fake_nr_waiting(rig_node_qp(&rig)), 3);
	/* The generation is there first, then the record, then what was completed before. */
	for (uint32_t i = 3; i-- > 0;) {
		const struct fake_work *w = fake_waiting(rig_node_qp(&rig), i);
		fake_place(rig_node_qp(&rig), i, 0, w->size);
		takes_nothing();
	}
	fake_step(rig_node_qp(&rig));
	takes(1, ADV_OK);
	takes_nothing();
	fake_step_all(rig_node_qp(&rig));
	takes(2, ADV_CRASHED);
}

/*
 * What a LINE speaks of may have been written over by a later line, in part or whole: the completions between the two have not been
 * handed over. It is left to the LINE of its own.
 */
Test(verbs_client_made, a_line_is_handed_over_by_its_own_immediate)
{
	struct rig_options o = handed_over();
	make(&o);
	fake_by_hand(rig_node_qp(&rig), true);
	submit(1, 8);
	submit(2, 8);
	rig_node_pass(&rig);
	adv_supervisor_revoke(&rig.supervisors[0]);
	adv_relay_line_changed(&rig.relay, 0);
	rig_node_pass(&rig);
	cr_assert_eq(fake_nr_waiting(rig_node_qp(&rig)), 2);
	rig_worker_step(&rig, 0);
	rig_worker_dies(&rig, 0, ADV_CRASHED, 11);
	rig_node_pass(&rig);
	cr_assert_eq(fake_nr_waiting(rig_node_qp(&rig)), 5);
	/* All of it is there, the generation too, before the first LINE is heard. */
	for (uint32_t i = 0; i < 5; i++)
		fake_place(rig_node_qp(&rig), i, 0, fake_waiting(rig_node_qp(&rig), i)->size);
	fake_step(rig_node_qp(&rig));
	fake_step(rig_node_qp(&rig));
	takes_nothing();
	fake_step(rig_node_qp(&rig));
	takes(1, ADV_OK);
	takes_nothing();
	fake_step_all(rig_node_qp(&rig));
	takes(2, ADV_CRASHED);
}

/* The answer to an ARM speaks of no line: a client that hands over asks for none, and one that comes hands nothing over. */
Test(verbs_client_made, an_answer_hands_no_line_over)
{
	struct rig_options o = handed_over();
	make(&o);
	submit(1, 8);
	rig_node_pass(&rig);
	fake_by_hand(rig_node_qp(&rig), true);
	rig_worker_dies(&rig, 0, ADV_CRASHED, 11);
	rig_node_pass(&rig);
	cr_assert_eq(fake_nr_waiting(rig_node_qp(&rig)), 2);
	for (uint32_t i = 0; i < 2; i++)
		fake_place(rig_node_qp(&rig), i, 0, fake_waiting(rig_node_qp(&rig), i)->size);
	fake_immediate(rig_client_qp(&rig),
		       adv_wire_pack(ADV_WIRE_NOTE, adv_wire_lane(rig.tag, 0), 1));
	takes_nothing();
	fake_step_all(rig_node_qp(&rig));
	takes(1, ADV_CRASHED);
}

/* Each entry and each line raises an event by itself. */
Test(verbs_client_made, nothing_is_announced_where_all_is_handed_over)
{
	struct rig_options o = handed_over();
	make(&o);
	submit(1, 8);
	uint64_t before = fake_counts(rig_node_qp(&rig)).immediates;
	cr_assert_eq(adv_lease_arm(rig.lease), 1);
	cr_assert_eq(fake_counts(rig_node_qp(&rig)).immediates, before);
	struct pollfd p = {.fd = adv_lease_fd(rig.lease), .events = POLLIN};
	cr_assert_eq(poll(&p, 1, 0), 0);
	rig_settle(&rig);
	cr_assert_eq(poll(&p, 1, 0), 1);
	takes(1, ADV_OK);
}

/* ---- calls that are given up ---- */

static void submit_for(uint64_t id, uint64_t timeout_us)
{
	struct adv_request r = {.size = sizeof(r),
				.in = &id,
				.in_size = sizeof(id),
				.out = outputs[0],
				.out_capacity = sizeof(outputs[0]),
				.worker = ADV_ANY_WORKER,
				.timeout_us = timeout_us,
				.user_data = id};
	cr_assert_eq(adv_submit(rig.lease, &r, NULL), ADV_OK);
}

Test(verbs_client, a_call_that_is_given_up_is_written_anew)
{
	submit_for(1, 1000);
	submit_for(2, UINT64_MAX);
	fake_by_hand(rig_client_qp(&rig), true);
	fake_clock_add(5 * ADV_MS);
	takes(1, ADV_TIMEOUT);
	cr_assert_eq(fake_nr_waiting(rig_client_qp(&rig)), 1);
	const struct fake_work *w = fake_waiting(rig_client_qp(&rig), 0);
	struct adv_entry e;
	memcpy(&e, w->data, sizeof(e));
	cr_assert_eq(w->opcode, IBV_WR_RDMA_WRITE, "nobody needs to hear of it");
	cr_assert_eq(e.flags, ADV_ENTRY_CANCELLED);
	cr_assert_eq(e.seq, 1);
	cr_assert_eq(e.crc, adv_entry_crc(&e, 1));
	fake_step_all(rig_client_qp(&rig));
	rig_settle(&rig);
	takes(2, ADV_OK);
	takes_nothing();
	cr_assert_eq(atomic_load(&rig.workers[0].progress->calls), 2);
	cr_assert_eq(atomic_load(&rig.workers[0].progress->failures), 1, "the first was not run");
	cr_assert_eq(rig.lease->workers[0].nr_free, SLOTS);
}

/* The node copies what its device has placed when it is told: so it is told again. */
Test(verbs_client_made, a_call_that_is_given_up_where_entries_land)
{
	struct rig_options o = handed_over();
	make(&o);
	submit_for(1, 1000);
	submit_for(2, UINT64_MAX);
	fake_clock_add(5 * ADV_MS);
	takes(1, ADV_TIMEOUT);
	rig_settle(&rig);
	takes(2, ADV_OK);
	takes_nothing();
	cr_assert_eq(atomic_load(&rig.workers[0].progress->calls), 2);
	cr_assert_eq(atomic_load(&rig.workers[0].progress->failures), 1, "the first was not run");
	cr_assert_eq(rig.lease->workers[0].nr_free, SLOTS);
}

/* Its place in the ring is another call's by now: that one is not written over. */
Test(verbs_client, a_place_that_carries_another_call)
{
	submit(1, 8);
	uint64_t sent = fake_counts(rig_client_qp(&rig)).requests;
	rig.lease->workers[0].caller.calls[0].seq -= SLOTS;
	adv_verbs_cancel(rig.lease, &rig.lease->workers[0], 0);
	cr_assert_eq(fake_counts(rig_client_qp(&rig)).requests, sent);
	rig.lease->workers[0].caller.calls[0].seq += SLOTS;
	adv_verbs_cancel(rig.lease, &rig.lease->workers[0], 0);
	cr_assert_eq(fake_counts(rig_client_qp(&rig)).requests, sent + 1);
}

Test(verbs_client_made, no_room_to_give_up)
{
	struct rig_options o = RIG_DEFAULTS;
	o.device.max_wr = 4;
	make(&o);
	fake_by_hand(rig_client_qp(&rig), true);
	submit_for(1, 1000);
	fake_clock_add(5 * ADV_MS);
	takes(1, ADV_TIMEOUT);
	cr_assert_eq(fake_nr_waiting(rig_client_qp(&rig)), 1);
	fake_step_all(rig_client_qp(&rig));
	rig_settle(&rig);
	takes_nothing();
	(void)try_submit(2, 8);
	cr_assert_eq(rig.lease->workers[0].nr_free + fake_nr_waiting(rig_client_qp(&rig)), SLOTS,
		     "the worker's answer freed its slot");
}

/* ---- full send queues ---- */

Test(verbs_client_made, a_full_queue_is_busy_and_recovers)
{
	struct rig_options o = RIG_DEFAULTS;
	o.device.max_wr = 8;
	o.nr_slots = 32;
	make(&o);
	fake_by_hand(rig_client_qp(&rig), true);
	uint64_t id = 1, taken = 1;
	while (try_submit(id, 100) == ADV_OK)
		id++;
	cr_assert_eq(id, 4, "two requests each, and room for a whole chain is kept");
	cr_assert_eq(try_submit(id, 8), ADV_BUSY);
	for (int round = 0; round < 200; round++) {
		if (fake_nr_waiting(rig_client_qp(&rig)) > 0)
			fake_step(rig_client_qp(&rig));
		if (try_submit(id, round % 2 ? 8 : 100) == ADV_OK)
			id++;
		rig_settle(&rig);
		struct adv_completion c;
		while (adv_poll(rig.lease, &c, 1) == 1) {
			cr_assert_eq(c.user_data, taken++);
			cr_assert_eq(c.status, ADV_OK);
		}
	}
	fake_step_all(rig_client_qp(&rig));
	rig_settle(&rig);
	while (taken < id)
		takes(taken++, ADV_OK);
	takes_nothing();
	cr_assert_gt(id, 50);
}

/* ---- links that break ---- */

static void is_lost(uint64_t first, uint64_t nr)
{
	for (uint64_t id = first; id < first + nr; id++)
		takes(id, ADV_LINK_LOST);
	takes_nothing();
	cr_assert_eq(try_submit(99, 8), ADV_LINK_LOST);
	cr_assert_eq(adv_lease_state(rig.lease), ADV_LINK_LOST);
	cr_assert_eq(rig.lease->workers[0].nr_free, SLOTS);
}

Test(verbs_client_made, every_status_ends_every_call)
{
	for (int s = IBV_WC_LOC_LEN_ERR; s <= IBV_WC_TM_RNDV_INCOMPLETE; s++) {
		make(NULL);
		call(1);
		for (uint64_t id = 2; id <= 4; id++)
			submit(id, 100);
		fake_break(rig_client_qp(&rig), (enum ibv_wc_status)s);
		is_lost(2, 3);
		unmake();
	}
	make(NULL);
}

/* What has been answered before is not lost with it. */
Test(verbs_client, answers_that_came_before_it_broke)
{
	submit(1, 8);
	submit(2, 8);
	rig_node_pass(&rig);
	rig_worker_step(&rig, 0);
	rig_node_pass(&rig);
	fake_break(rig_client_qp(&rig), IBV_WC_RETRY_EXC_ERR);
	takes(1, ADV_OK);
	is_lost(2, 1);
}

Test(verbs_client, a_broken_link_wakes_whoever_sleeps)
{
	submit(1, 8);
	cr_assert_eq(adv_lease_arm(rig.lease), 1);
	cr_assert_not(readable());
	fake_break(rig_client_qp(&rig), IBV_WC_RETRY_EXC_ERR);
	cr_assert(readable());
	cr_assert_eq(adv_lease_arm(rig.lease), 0);
	is_lost(1, 1);
	cr_assert_eq(adv_lease_arm(rig.lease), 1, "there is nothing to take any more");
}

/* Submitting, waiting, taking, giving up, sleeping: a call that fails ends the link, and nothing else. */
static void live(void)
{
	struct adv_completion c;
	uint64_t submitted = 0, ended = 0;
	for (uint64_t id = 1; id <= 40; id++) {
		submitted += try_submit(id, id % 2 ? 8 : 100) == ADV_OK;
		if (id % 5 == 0)
			(void)adv_lease_arm(rig.lease);
		if (id % 3 == 0)
			rig_settle(&rig);
		if (id % 7 == 0)
			fake_clock_add(11 * ADV_SEC);
		while (adv_poll(rig.lease, &c, 1) == 1)
			ended++;
	}
	rig_settle(&rig);
	fake_clock_add(11 * ADV_SEC);
	while (adv_poll(rig.lease, &c, 1) == 1)
		ended++;
	cr_assert_eq(ended, submitted);
	cr_assert_gt(submitted, 0);
}

Test(verbs_client_made, every_call_of_a_life_fails_once)
{
	struct rig_options options[2] = {RIG_DEFAULTS, handed_over()};
	for (int i = 0; i < 2; i++)
		for (uint64_t n = 1;; n++) {
			make(&options[i]);
			call(1);
			fake_fail_nth(rig.device, n, n % 2 ? ENOMEM : EIO);
			live();
			bool had = fake_has_failed(rig.device);
			fake_fail_nth(rig.device, 0, 0);
			if (had)
				cr_assert(adv_link_broken(rig_client_link(&rig)) ||
						  adv_link_broken(&rig.poll.link),
					  "call %lu failed and nobody noticed", n);
			unmake();
			if (!had) {
				cr_assert_gt(n, 50);
				break;
			}
		}
	make(NULL);
}
