/* test_verbs_sleep.c - a client of a verbs lease that sleeps: what it announces, when it wakes, what it pays for that. */
#include "verbs_client_steps.h"

TestSuite(verbs_sleep, .init = make_default, .fini = unmake, .timeout = 60);
TestSuite(verbs_sleep_made, .fini = unmake, .timeout = 60); /* with options */

static uint64_t announced(void)
{
	return fake_counts(rig_node_qp(&rig)).immediates;
}

Test(verbs_sleep, armed_once_until_it_is_answered)
{
	submit(1, 8);
	cr_assert_eq(announced(), 1); /* the call's */
	for (int i = 0; i < 5; i++)
		cr_assert_eq(adv_lease_arm(rig.lease), 1);
	cr_assert_eq(announced(), 2);
	rig_node_pass(&rig);
	cr_assert(rig.lanes[0].armed);
	cr_assert_not(readable());
	rig_settle(&rig);
	cr_assert(readable());
	cr_assert_eq(adv_lease_arm(rig.lease), 0, "it is there");
	takes(1, ADV_OK);
	submit(2, 8);
	cr_assert_eq(adv_lease_arm(rig.lease), 1);
	cr_assert_eq(announced(), 4, "that one is new");
}

/* An event loop submits after it has armed, and sleeps: what is answered then wakes it. */
Test(verbs_sleep, a_call_that_is_submitted_once_armed)
{
	cr_assert_eq(adv_lease_arm(rig.lease), 1);
	cr_assert_eq(announced(), 1);
	cr_assert_eq(fake_cq_counts(rig_client_link(&rig)->cq).notifies, 1);
	submit(1, 8);
	rig_node_pass(&rig);
	cr_assert_not(readable());
	rig_settle(&rig);
	cr_assert(readable());
	takes(1, ADV_OK);
}

/* It wakes once for a death that nobody waits for, and sleeps again: it speaks of the new epoch then. */
Test(verbs_sleep, a_death_while_nothing_is_under_way)
{
	cr_assert_eq(adv_lease_arm(rig.lease), 1);
	rig_settle(&rig);
	rig_worker_dies(&rig, 0, ADV_CRASHED, 11);
	rig_settle(&rig);
	cr_assert(readable());
	takes_nothing();
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(adv_lease_arm(rig.lease), 1);
		rig_settle(&rig);
		cr_assert_not(readable());
	}
	submit(1, 8);
	rig_settle(&rig);
	cr_assert(readable());
	takes(1, ADV_OK);
}

Test(verbs_sleep_made, all_lanes_are_announced_once)
{
	struct rig_options o = RIG_DEFAULTS;
	o.nr_lanes = 3;
	make(&o);
	submit(1, 8);
	submit(2, 8);
	uint64_t before = announced();
	cr_assert_eq(adv_lease_arm(rig.lease), 1);
	cr_assert_eq(announced(), before + 3);
	rig_node_pass(&rig);
	cr_assert(rig.lanes[0].armed && rig.lanes[1].armed && rig.lanes[2].armed);
	rig_settle(&rig);
	takes(1, ADV_OK);
	takes(2, ADV_OK);
	before = announced();
	cr_assert_eq(adv_lease_arm(rig.lease), 1);
	cr_assert_eq(announced(), before + 2, "the third still is");
}

/* The completion passes the ARM on its way: the node answers at once, and the client wakes for it. */
Test(verbs_sleep, arm_and_completion_cross)
{
	fake_by_hand(rig_client_qp(&rig), true);
	submit(1, 8);
	fake_step_all(rig_client_qp(&rig));
	fake_by_hand(rig_node_qp(&rig), true);
	rig_settle(&rig); /* answered, on its way */
	cr_assert_eq(adv_lease_arm(rig.lease), 1);
	fake_step_all(rig_node_qp(&rig)); /* it comes; the client sleeps already */
	cr_assert_not(readable());
	fake_step_all(rig_client_qp(&rig)); /* ARM */
	rig_node_pass(&rig);
	fake_step_all(rig_node_qp(&rig));
	cr_assert(readable());
	takes(1, ADV_OK);
}

/* What came between the last look and the asking for events is seen by the look behind it. */
Test(verbs_sleep_made, what_came_before_it_armed)
{
	struct rig_options o = handed_over();
	make(&o);
	submit(1, 8);
	rig_settle(&rig);
	cr_assert_eq(adv_lease_arm(rig.lease), 0);
	takes(1, ADV_OK);
}

/* Events are acknowledged in the end: the fake device does not let go of a queue otherwise. */
Test(verbs_sleep, many_wakes)
{
	for (uint64_t id = 1; id <= 300; id++) {
		submit(id, 8);
		cr_assert_eq(adv_lease_arm(rig.lease), 1);
		rig_settle(&rig);
		cr_assert(readable());
		takes(id, ADV_OK);
		cr_assert_not(readable());
	}
	cr_assert_lt(rig.lease->verbs->link->nr_events, 64);
}

Test(verbs_sleep_made, no_room_for_an_arm)
{
	struct rig_options o = RIG_DEFAULTS;
	o.device.max_wr = 8;
	make(&o);
	fake_by_hand(rig_client_qp(&rig), true);
	for (uint64_t id = 1; id <= SLOTS; id++)
		submit(id, 8);
	/* Four sends are under way, four places are left: three more are taken by one that is given up. */
	cr_assert_eq(adv_lease_arm(rig.lease), 1);
	cr_assert_eq(fake_nr_waiting(rig_client_qp(&rig)), 5);
	rig.lease->verbs->unanswered[0] = false;
	cr_assert_eq(adv_lease_arm(rig.lease), 0, "it must not sleep unannounced");
	fake_step_all(rig_client_qp(&rig));
	cr_assert_eq(adv_lease_arm(rig.lease), 1);
}
