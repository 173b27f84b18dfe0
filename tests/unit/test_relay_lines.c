/* test_relay_lines.c - how deaths, revocation and the end of a lease reach its client, moved by hand. */
#include "lane/entry_crc.h"
#include "relay_steps.h"

TestSuite(relay_lines, .init = make_default, .fini = unmake, .timeout = 60);
TestSuite(relay_lines_made, .fini = unmake, .timeout = 60); /* with options */

Test(relay_lines, a_death_goes_the_record_first)
{
	uint64_t before = mirrored_line(0)->generation;
	fake_by_hand(rig_node_qp(&rig), true);
	submit(0, 1);
	rig_node_pass(&rig);
	rig_worker_dies(&rig, 0, ADV_CRASHED, 11);
	rig_node_pass(&rig);
	cr_assert_eq(fake_nr_waiting(rig_node_qp(&rig)), 2);
	cr_assert_eq(fake_waiting(rig_node_qp(&rig), 0)->size, 56);
	cr_assert_eq(fake_waiting(rig_node_qp(&rig), 1)->size, 8);
	cr_assert(fake_waiting(rig_node_qp(&rig), 1)->signalled);
	fake_step(rig_node_qp(&rig));
	cr_assert_eq(mirrored_line(0)->generation, before);
	takes_nothing();
	fake_step(rig_node_qp(&rig));
	takes(1, ADV_CRASHED);
	cr_assert_eq(rig.lanes[0].epoch, 2);
	/* The next worker serves the next call. */
	fake_by_hand(rig_node_qp(&rig), false);
	takes_nothing();
	submit(0, 2);
	rig_settle(&rig);
	takes(2, ADV_OK);
}

Test(relay_lines, what_was_completed_goes_before_the_death)
{
	fake_by_hand(rig_node_qp(&rig), true);
	for (uint64_t id = 1; id <= 3; id++)
		submit(0, id);
	rig_worker_step(&rig, 0);
	rig_worker_step(&rig, 0);
	rig_worker_dies(&rig, 0, ADV_EXITED, 3);
	/* Nobody has heard of a call yet: the immediates come together with the death. */
	rig_node_pass(&rig);
	cr_assert_eq(fake_nr_waiting(rig_node_qp(&rig)), 4);
	fake_step_all(rig_node_qp(&rig));
	takes(1, ADV_OK);
	takes(2, ADV_OK);
	takes(3, ADV_EXITED);
	takes_nothing();
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.nr_active, 0);
}

/* Nobody has heard of these calls: what was completed of them goes all the same, and what is heard later is of an epoch that is over. */
Test(relay_lines, what_was_completed_unheard_goes_before_the_death)
{
	fake_hold(rig.pair.cq, true);
	for (uint64_t id = 1; id <= 3; id++)
		submit(0, id);
	rig_worker_step(&rig, 0);
	rig_worker_step(&rig, 0);
	rig_node_pass(&rig);
	takes_nothing();
	rig_worker_dies(&rig, 0, ADV_EXITED, 3);
	rig_node_pass(&rig);
	takes(1, ADV_OK);
	takes(2, ADV_OK);
	takes(3, ADV_EXITED);
	takes_nothing();
	fake_hold(rig.pair.cq, false);
	while (fake_nr_held(rig.pair.cq) > 0)
		fake_let_go(rig.pair.cq, 0);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.calls, 0);
	submit(0, 4);
	rig_settle(&rig);
	takes(4, ADV_OK);
}

/* More deaths than records: the client comes late, and is told what it can be told. */
Test(relay_lines, deaths_in_a_row)
{
	submit(0, 1);
	submit(0, 2);
	rig_node_pass(&rig);
	for (uint32_t n = 0; n < 2 * ADV_DEATH_RECORDS; n++) {
		rig_worker_dies(&rig, 0, ADV_CRASHED, n);
		rig_node_pass(&rig);
	}
	takes(1, ADV_WORKER_LOST);
	takes(2, ADV_NOT_RUN);
	takes_nothing();
	submit(0, 3);
	rig_settle(&rig);
	takes(3, ADV_OK);
}

Test(relay_lines_made, all_lines_at_once)
{
	struct rig_options o = RIG_DEFAULTS;
	o.nr_lanes = 4;
	rig_make(&rig, &o);
	for (uint32_t i = 0; i < 4; i++)
		adv_supervisor_end(&rig.supervisors[i], ADV_EXPIRED);
	adv_relay_line_changed(&rig.relay, UINT32_MAX);
	adv_relay_line_changed(&rig.relay, 2);
	cr_assert_eq(rig.relay.nr_dirty, 4, "twice is once");
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.nr_dirty, 0);
	for (uint32_t i = 0; i < 4; i++)
		cr_assert_eq(mirrored_line(i)->ended, ADV_EXPIRED);
}

/* A lease that ends carries no completions but those that its workers have left, before the line that says so. */
Test(relay_lines, ending)
{
	submit(0, 1);
	submit(0, 2);
	rig_node_pass(&rig);
	rig_worker_step(&rig, 0);
	rig.relay.ending = true;
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.carried, 0);
	adv_supervisor_end(&rig.supervisors[0], ADV_REVOKED);
	adv_relay_line_changed(&rig.relay, UINT32_MAX);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.carried, 1);
	takes(1, ADV_OK);
	takes(2, ADV_REVOKED);
}

/* The poller hears of a death and of the end at once. */
Test(relay_lines, a_death_and_the_end_at_once)
{
	submit(0, 1);
	submit(0, 2);
	rig_node_pass(&rig);
	rig_worker_step(&rig, 0);
	rig_worker_dies(&rig, 0, ADV_CRASHED, 11);
	uint64_t generation = atomic_load(&rig.lanes[0].node_line->generation);
	adv_supervisor_end(&rig.supervisors[0], ADV_EXPIRED);
	rig_node_pass(&rig);
	cr_assert_eq(rig.relay.nr_dirty, 0);
	cr_assert_eq(rig.lanes[0].epoch, adv_generation_epoch(generation));
	cr_assert_eq(mirrored_line(0)->ended, ADV_EXPIRED);
	cr_assert_eq(mirrored_line(0)->generation, generation);
	takes(1, ADV_OK);
	takes(2, ADV_CRASHED);
	takes_nothing();
}
