/*
 * test_supervisor.c - death with epochs as the three sides live through it in one thread: who is told what, what is never run,
 * and what the node may conclude from a worker's hints.
 */
#include "lane/endings.h"
#include "lane_rig.h"

#include <errno.h>

#include "util/clock.h"

TestSuite(supervisor, .init = NULL, .fini = rig_unmake);

static void make(void)
{
	rig_make(4);
}

Test(supervisor, the_oldest_is_blamed_the_others_were_not_run)
{
	make();
	for (uint32_t i = 0; i < 4; i++)
		rig_submit(i, i + 1);
	rig_serve(1);
	rig_begin(2);
	rig_die(ADV_CRASHED, 11);
	rig_take(1, ADV_OK);
	cr_assert_eq(rig_take(2, ADV_CRASHED)->detail, 11);
	cr_assert_eq(rig_take(3, ADV_NOT_RUN)->detail, 0);
	rig_take(4, ADV_NOT_RUN);
	rig_no_result();
	cr_assert(rig_idle(), "a call of the old epoch was run");
}

Test(supervisor, the_next_worker_serves_the_next_call)
{
	make();
	rig_submit(0, 1);
	rig_die(ADV_OUT_OF_MEMORY, 0);
	cr_assert_eq(rig_try_submit(1, 2), ADV_BUSY, "what is outstanding is taken first");
	rig_take(1, ADV_OUT_OF_MEMORY);
	rig_no_result();
	rig_submit(1, 2);
	rig_serve(2);
	rig_take(2, ADV_OK);
	cr_assert_eq(rig_caller.deaths, 1);
}

/* A call that goes out while nobody has told its caller of the death. */
Test(supervisor, a_late_call_of_the_old_epoch_is_dropped)
{
	make();
	uint64_t old = rig_node.generation;
	rig_submit(0, 1);
	cr_assert_eq(adv_supervisor_death(&rig_node, ADV_EXITED, 3), 0);
	uint64_t now = rig_node.generation;
	atomic_store(&rig_node.node_line->generation, old); /* as its caller still sees it */
	rig_submit(1, 2);
	atomic_store(&rig_node.node_line->generation, now);
	rig_start_worker();
	cr_assert(rig_idle());
	cr_assert_eq(rig_take(1, ADV_EXITED)->detail, 3);
	rig_take(2, ADV_NOT_RUN);
	rig_no_result();
	cr_assert(rig_idle());
}

/* A number that came back under a new epoch could name an entry that is just being written. */
Test(supervisor, bases_rise_even_when_nothing_is_published)
{
	make();
	uint32_t before = adv_generation_base(rig_node.generation);
	for (int i = 0; i < 20; i++) {
		rig_die(ADV_LOAD_FAILED, 0);
		uint32_t base = adv_generation_base(rig_node.generation);
		cr_assert_geq((int32_t)(base - before), 2 * 4, "base %u after %u", base, before);
		before = base;
	}
	rig_submit(0, 1);
	rig_serve(1);
	rig_take(1, ADV_OK);
}

Test(supervisor, a_death_long_ago_has_no_reason_any_more)
{
	make();
	rig_submit(0, 1);
	for (int i = 0; i <= ADV_DEATH_RECORDS; i++)
		rig_die(ADV_CRASHED, 6);
	rig_take(1, ADV_WORKER_LOST);
	rig_no_result();
}

Test(supervisor, epochs_end)
{
	rig_make_at(1, adv_generation(ADV_EPOCH_MAX, 7));
	cr_assert_eq(adv_supervisor_death(&rig_node, ADV_CRASHED, 0), -EOVERFLOW);
	cr_assert_eq(rig_node.generation, adv_generation(ADV_EPOCH_MAX, 7), "nothing is stored");
}

Test(supervisor, a_budget_runs_on_the_nodes_clock)
{
	const uint64_t kill = ADV_TIMEOUT_KILL_US * ADV_US;
	uint64_t next = UINT64_MAX;
	make();
	cr_assert_eq(adv_caller_submit(&rig_caller, 0, 0, NULL, 0, 1, 1001, 5000, UINT64_MAX),
		     ADV_OK);
	cr_assert_not(adv_supervisor_overdue(&rig_node, 1000, &next), "nothing runs yet");
	rig_begin(1);
	cr_assert_not(adv_supervisor_overdue(&rig_node, 1000, &next));
	cr_assert_eq(next, 1000 + 5 * ADV_MS + kill);
	cr_assert_not(adv_supervisor_overdue(&rig_node, next - 1, &next));
	cr_assert(adv_supervisor_overdue(&rig_node, next, &next));
	rig_die(ADV_TIMEOUT, 0);
	cr_assert_not(adv_supervisor_overdue(&rig_node, UINT64_MAX, &next), "it is dead");
}

/* It runs a call and says that it runs none, or another, or that all is done: its caller's ring tells. */
Test(supervisor, a_worker_that_hides_a_call_is_overdue)
{
	const uint64_t first = 1000, due = first + 5 * ADV_MS + ADV_STALLED_US * ADV_US;
	for (unsigned lie = 0; lie < 3; lie++) {
		uint64_t next = UINT64_MAX;
		make();
		cr_assert_eq(
			adv_caller_submit(&rig_caller, 0, 0, NULL, 0, 1, 1001, 5000, UINT64_MAX),
			ADV_OK);
		rig_begin(1);
		atomic_store(&rig_node.progress->running, lie == 0 ? 0 : UINT64_MAX);
		if (lie == 2) {
			struct adv_entry *far = &rig_node.completions[2];
			atomic_store(&far->epoch, adv_generation_epoch(rig_node.generation));
			atomic_store(&far->seq, adv_generation_base(rig_node.generation) + 1000);
		}
		cr_assert_not(adv_supervisor_overdue(&rig_node, first, &next));
		cr_assert_not(adv_supervisor_overdue(&rig_node, due - 1, &next), "lie %u", lie);
		cr_assert(adv_supervisor_overdue(&rig_node, due + ADV_SEC, &next), "lie %u", lie);
		rig_die(ADV_TIMEOUT, 0);
		cr_assert_not(adv_supervisor_overdue(&rig_node, due + 2 * ADV_SEC, &next));
	}
}

Test(supervisor, without_a_budget_nothing_is_overdue)
{
	uint64_t next = UINT64_MAX;
	make();
	rig_submit(0, 1);
	rig_begin(1);
	cr_assert_not(adv_supervisor_overdue(&rig_node, 1, &next));
	cr_assert_not(adv_supervisor_overdue(&rig_node, UINT64_MAX, &next));
	cr_assert_eq(next, UINT64_MAX);
}

Test(supervisor, busy_by_the_rings)
{
	make();
	cr_assert_not(adv_supervisor_busy(&rig_node));
	rig_submit(0, 1);
	cr_assert(adv_supervisor_busy(&rig_node));
	rig_serve(1);
	cr_assert_not(adv_supervisor_busy(&rig_node));
	rig_take(1, ADV_OK);
	rig_submit(0, 2);
	rig_die(ADV_CRASHED, 0);
	cr_assert_not(adv_supervisor_busy(&rig_node), "the dead are not busy");
}

/* A worker writes its figures itself: what cannot be is not counted. */
Test(supervisor, figures_are_clamped)
{
	struct adv_lane_counts counts;
	make();
	rig_submit(0, 1);
	rig_serve(1);
	adv_supervisor_count(&rig_node, 1000 * ADV_MS, &counts);
	cr_assert_eq(counts.calls, 1);
	cr_assert_eq(counts.failures, 0);
	cr_assert_eq(counts.bytes, 16);
	atomic_store(&rig_worker.progress->executed_ns, UINT64_MAX);
	atomic_store(&rig_worker.progress->polled_ns, UINT64_MAX / 2);
	atomic_store(&rig_worker.progress->failures, UINT64_MAX);
	atomic_store(&rig_worker.progress->calls, 5);
	adv_supervisor_count(&rig_node, 1000, &counts);
	cr_assert_eq(counts.calls, 4);
	cr_assert_leq(counts.failures, counts.calls);
	cr_assert_leq(counts.executed_ns + counts.polled_ns, 1000);
}

Test(supervisor, failures_by_how_they_ended)
{
	struct adv_lane_counts counts;
	make();
	rig_submit(0, 1);
	adv_worker_complete(&rig_worker, rig_begin(1), ADV_FUNCTION_FAILED, 0);
	rig_submit(1, 2);
	adv_worker_complete(&rig_worker, rig_begin(2), ADV_BAD_SIZE, 0);
	rig_submit(2, 3);
	rig_serve(3);
	adv_supervisor_count(&rig_node, ADV_SEC, &counts);
	cr_assert_eq(counts.failures, 2);
	cr_assert_eq(counts.ended[adv_ending_of(ADV_FUNCTION_FAILED)], 1);
	cr_assert_eq(counts.ended[adv_ending_of(ADV_BAD_SIZE)], 1);
	/* What a worker says there is worth no more than its failures are. */
	atomic_store(&rig_worker.endings->calls[adv_ending_of(ADV_TIMEOUT)], 1000000);
	atomic_store(&rig_worker.endings->calls[0], 1000000);
	adv_supervisor_count(&rig_node, ADV_SEC, &counts);
	for (unsigned i = 0; i < ADV_ENDINGS; i++)
		cr_assert_eq(counts.ended[i], 0, "%u", i);
}

Test(supervisor, endings_have_names)
{
	cr_assert_null(adv_ending_name(0));
	cr_assert_str_eq(adv_ending_name(adv_ending_of(ADV_CRASHED)), "crashed");
	cr_assert_str_eq(adv_ending_name(adv_ending_of(ADV_LOAD_FAILED)), "load_failed");
	cr_assert_str_eq(adv_ending_name(adv_ending_of(ADV_BUSY)), "busy");
	cr_assert_str_eq(adv_ending_name(adv_ending_of(ADV_REVOKED)), "lease_over");
	cr_assert_eq(adv_ending_of(ADV_OK), 0);
	cr_assert_null(adv_ending_name(ADV_ENDINGS - 1));
}

Test(supervisor, what_is_not_finished)
{
	uint64_t ran;
	make();
	cr_assert_eq(adv_supervisor_unfinished(&rig_node, 1000, &ran), 0);
	rig_submit(0, 1);
	rig_submit(1, 2);
	rig_serve(1);
	rig_begin(2);
	uint64_t next = UINT64_MAX;
	adv_supervisor_overdue(&rig_node, 500, &next);
	cr_assert_eq(adv_supervisor_unfinished(&rig_node, 1500, &ran), 1);
	cr_assert_eq(ran, 1000, "as the node has seen it");
	/* Whoever writes numbers into a ring that cannot be is charged for a ring at most. */
	atomic_store(&rig_worker.completions[0].seq, 0);
	atomic_store((_Atomic uint32_t *)&rig_worker.requests[5].seq, 1u << 30);
	atomic_store((_Atomic uint16_t *)&rig_worker.requests[5].epoch, 1);
	cr_assert_eq(adv_supervisor_unfinished(&rig_node, 1500, &ran), rig_g.nr_entries);
}

Test(supervisor, a_memory_hint_dies_with_its_worker)
{
	make();
	cr_assert_not(adv_supervisor_memory_hint(&rig_node));
	atomic_store(&rig_worker.progress->memory_hint, 1);
	cr_assert(adv_supervisor_memory_hint(&rig_node));
	rig_die(ADV_OUT_OF_MEMORY, 0);
	cr_assert_not(adv_supervisor_memory_hint(&rig_node));
}

Test(supervisor, served_or_never_started)
{
	make();
	cr_assert(adv_supervisor_served(&rig_node));
	cr_assert_eq(adv_supervisor_death(&rig_node, ADV_CRASHED, 0), 0);
	cr_assert_not(adv_supervisor_served(&rig_node));
	rig_start_worker();
	cr_assert(adv_supervisor_served(&rig_node));
}
