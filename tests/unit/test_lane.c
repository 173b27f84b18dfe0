/*
 * test_lane.c - calls from end to end over a lane in one thread: inputs and outputs of every size, many in flight, order,
 * numbers that wrap around, budgets, giving up, sleeping and waking, revocation and the end.
 */
#include <poll.h>

#include "lane_rig.h"
#include "util/clock.h"

#define SLOTS 4

static void setup(void)
{
	rig_make(SLOTS);
}

TestSuite(lane, .init = setup, .fini = rig_unmake);
TestSuite(lane_made, .fini = rig_unmake); /* of other sizes */

static void pattern(uint8_t *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(seed * 31 + i * 7);
}

/* One echo of `length` bytes, with all that surrounds it left alone. */
static void echo(uint32_t length, uint64_t id)
{
	static uint8_t input[2 * ADV_PAGE];
	uint32_t slot = (uint32_t)(id % rig_g.nr_slots);
	pattern(input, length, length);
	if (length > ADV_INLINE_MAX)
		memcpy(adv_caller_in(&rig_caller, slot), input, length);
	cr_assert_eq(adv_caller_submit(&rig_caller, slot, 2, input, length, id, id + 1000, 0,
				       UINT64_MAX),
		     ADV_OK);
	struct adv_work *work = rig_begin(id);
	cr_assert_eq(work->length, length);
	cr_assert_eq(work->function, 2);
	cr_assert_eq(work->slot, slot);
	cr_assert_eq((uintptr_t)work->in % 64, 0);
	cr_assert_eq((uintptr_t)work->out % 64, 0);
	cr_assert_arr_eq(work->in, input, length);
	memcpy(work->out, work->in, length);
	adv_worker_complete(&rig_worker, work, ADV_OK, length);
	struct adv_result *r = rig_take(id, ADV_OK);
	cr_assert_eq(r->length, length);
	cr_assert_eq(r->slot, slot);
	const void *out = length <= ADV_INLINE_MAX ? r->payload : adv_caller_out(&rig_caller, slot);
	cr_assert_arr_eq(out, input, length);
	rig_no_result();
}

Test(lane, every_inline_length)
{
	for (uint32_t length = 0; length <= ADV_INLINE_MAX; length++)
		echo(length, length + 1);
}

Test(lane, lengths_in_the_slot)
{
	const uint32_t lengths[] = {33, 63, 64, 65, 1000, ADV_PAGE - 1, ADV_PAGE};
	for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (uint32_t slot = 0; slot < SLOTS; slot++)
			echo(lengths[i], i * SLOTS + slot);
}

/* No input at all. */
Test(lane, null_input)
{
	cr_assert_eq(adv_caller_submit(&rig_caller, 0, 0, NULL, 0, 5, 1005, 0, UINT64_MAX), ADV_OK);
	adv_worker_complete(&rig_worker, rig_begin(5), ADV_OK, 0);
	cr_assert_eq(rig_take(5, ADV_OK)->length, 0);
}

/* An output that is longer than its input; and inline ones stay out of the slot's way. */
Test(lane, outputs)
{
	const uint32_t lengths[] = {0, 1, 32, 33, 2 * ADV_PAGE};
	for (uint64_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		rig_submit(1, i);
		struct adv_work *work = rig_begin(i);
		pattern(work->out, lengths[i], 9);
		adv_worker_complete(&rig_worker, work, ADV_FUNCTION_FAILED, lengths[i]);
		struct adv_result *r = rig_take(i, ADV_FUNCTION_FAILED);
		cr_assert_eq(r->length, lengths[i]);
		cr_assert_arr_eq(lengths[i] <= ADV_INLINE_MAX ? r->payload
							      : adv_caller_out(&rig_caller, 1),
				 rig_outputs[1], lengths[i]);
	}
}

Test(lane, an_output_beyond_the_capacity)
{
	const uint32_t lengths[] = {2 * ADV_PAGE + 1, UINT32_MAX};
	for (uint64_t i = 0; i < 2; i++) {
		rig_submit(0, i);
		adv_worker_complete(&rig_worker, rig_begin(i), ADV_OK, lengths[i]);
		cr_assert_eq(rig_take(i, ADV_BAD_SIZE)->length, 0);
	}
}

Test(lane, no_such_function)
{
	for (uint16_t f = RIG_FUNCTIONS; f != 0; f = (uint16_t)(f * 2)) {
		cr_assert_eq(
			adv_caller_submit(&rig_caller, 0, f, "x", 1, f, f + 1000u, 0, UINT64_MAX),
			ADV_OK);
		cr_assert(rig_idle());
		rig_take(f, ADV_NO_FUNCTION);
	}
}

Test(lane, all_slots_in_flight)
{
	for (uint64_t round = 0; round < 10; round++) {
		for (uint32_t s = 0; s < SLOTS; s++) {
			cr_assert(adv_caller_slot_free(&rig_caller, s));
			rig_submit(s, round * SLOTS + s);
			cr_assert_not(adv_caller_slot_free(&rig_caller, s));
		}
		rig_no_result();
		cr_assert_eq(rig_caller.nr_outstanding, SLOTS);
		for (uint32_t s = 0; s < SLOTS; s++)
			rig_serve(round * SLOTS + s);
		cr_assert(rig_idle());
		for (uint32_t s = 0; s < SLOTS; s++)
			rig_take(round * SLOTS + s, ADV_OK);
	}
	cr_assert_eq(rig_caller.nr_outstanding, 0);
}

/* Slots are used in any order; calls run and end in the order of their submission. */
Test(lane, slots_out_of_order)
{
	rig_submit(2, 1);
	rig_submit(0, 2);
	rig_serve(1);
	rig_submit(3, 3);
	cr_assert_eq(rig_take(1, ADV_OK)->slot, 2);
	rig_submit(2, 4); /* again, before the others have ended */
	rig_serve(2);
	rig_serve(3);
	rig_serve(4);
	cr_assert_eq(rig_take(2, ADV_OK)->slot, 0);
	cr_assert_eq(rig_take(3, ADV_OK)->slot, 3);
	cr_assert_eq(rig_take(4, ADV_OK)->slot, 2);
	rig_no_result();
}

/* Fewer slots than ring entries, and a ring of one. */
Test(lane_made, other_numbers_of_slots)
{
	const uint32_t numbers[] = {1, 2, 3, 5, 64};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		rig_make(numbers[i]);
		for (uint64_t id = 0; id < 3 * numbers[i] + 3; id++)
			echo(id % 2 == 0 ? 8 : 100, id);
		rig_unmake();
	}
	rig_make(1);
}

Test(lane_made, numbers_wrap_around)
{
	rig_make_at(3, adv_generation(5, UINT32_MAX - 6));
	for (uint64_t round = 0; round < 6; round++) {
		for (uint32_t s = 0; s < 3; s++)
			rig_submit(s, 3 * round + s);
		cr_assert(adv_supervisor_busy(&rig_node));
		for (uint32_t s = 0; s < 3; s++)
			rig_serve(3 * round + s);
		cr_assert_not(adv_supervisor_busy(&rig_node));
		for (uint32_t s = 0; s < 3; s++)
			rig_take(3 * round + s, ADV_OK);
	}
}

/* ---- giving up ---- */

static void submit_until(uint32_t slot, uint64_t id, uint64_t deadline_ns)
{
	cr_assert_eq(
		adv_caller_submit(&rig_caller, slot, 0, NULL, 0, id, id + 1000, 0, deadline_ns),
		ADV_OK);
}

static void expires(uint64_t id, uint64_t now_ns)
{
	struct adv_result r = {0};
	cr_assert(adv_caller_expire(&rig_caller, now_ns, &r));
	cr_assert_eq(r.call_id, id);
	cr_assert_eq(r.user_data, id + 1000);
	cr_assert_eq(r.status, ADV_TIMEOUT);
	cr_assert(r.slot_held);
	cr_assert_not(adv_caller_slot_free(&rig_caller, r.slot));
}

static void none_expires(uint64_t now_ns)
{
	struct adv_result r;
	cr_assert_not(adv_caller_expire(&rig_caller, now_ns, &r));
}

Test(lane, deadlines)
{
	cr_assert_eq(adv_caller_deadline(&rig_caller), UINT64_MAX);
	none_expires(UINT64_MAX);
	submit_until(0, 1, 300);
	submit_until(1, 2, 100);
	submit_until(2, 3, UINT64_MAX);
	submit_until(3, 4, 100);
	cr_assert_eq(adv_caller_deadline(&rig_caller), 100);
	none_expires(99);
	expires(2, 100);
	expires(4, 100);
	none_expires(100);
	cr_assert_eq(adv_caller_deadline(&rig_caller), 300);
	expires(1, 301);
	cr_assert_eq(adv_caller_deadline(&rig_caller), UINT64_MAX);
	cr_assert_eq(rig_caller.nr_waited, 1);
	cr_assert_eq(rig_caller.nr_outstanding, 4);
}

/* Given up before the worker took it: it is never run; the completion only frees the slot. */
Test(lane, cancelled_before_it_began)
{
	submit_until(0, 1, 100);
	submit_until(1, 2, UINT64_MAX);
	expires(1, 100);
	rig_serve(2);
	rig_take(2, ADV_OK);
	rig_no_result();
	cr_assert(adv_caller_slot_free(&rig_caller, 0));
	cr_assert_eq(rig_caller.nr_outstanding, 0);
}

Test(lane, given_up_while_it_runs)
{
	submit_until(0, 1, 100);
	struct adv_work *work = rig_begin(1);
	expires(1, 100);
	cr_assert_not(adv_caller_slot_free(&rig_caller, 0), "the worker writes to it");
	adv_worker_complete(&rig_worker, work, ADV_OK, 4);
	rig_no_result();
	cr_assert(adv_caller_slot_free(&rig_caller, 0));
}

/* The entry of a call that has ended may carry another one by now: that one is not cancelled. */
Test(lane_made, cancelling_hits_no_other_call)
{
	rig_make(2);
	submit_until(0, 1, 100);
	struct adv_work first = *rig_begin(1);
	adv_worker_complete(&rig_worker, &first, ADV_OK, 0);
	rig_submit(1, 2);
	rig_serve(2);
	/* Two results wait; the entry of call 1 is taken over by call 3 once slot 1 is free. */
	rig_take(1, ADV_OK);
	rig_take(2, ADV_OK);
	submit_until(0, 3, 100);
	submit_until(1, 4, UINT64_MAX);
	expires(3, 100);
	rig_serve(4);
	rig_take(4, ADV_OK);
}

static void spend(uint64_t ns)
{
	uint64_t until = adv_clock_monotonic_ns() + ns;
	while (adv_clock_monotonic_ns() < until)
		;
}

/* Queued behind a call for longer than its budget: answered without being run. */
Test(lane, a_budget_that_passes_in_the_queue)
{
	spend(20 * ADV_US); /* between two looks at the queue */
	for (uint32_t s = 0; s < 3; s++) {
		uint32_t budget_us = s == 1 ? 50 : 60 * 1000 * 1000;
		cr_assert_eq(adv_caller_submit(&rig_caller, s, 0, NULL, 0, s, s + 1000, budget_us,
					       UINT64_MAX),
			     ADV_OK);
	}
	struct adv_work *work = rig_begin(0);
	spend(100 * ADV_US);
	adv_worker_complete(&rig_worker, work, ADV_OK, 0);
	rig_serve(2);
	rig_take(0, ADV_OK);
	rig_take(1, ADV_TIMEOUT);
	rig_take(2, ADV_OK);
}

Test(lane, what_a_function_is_told_of_its_budget)
{
	uint64_t before = adv_clock_monotonic_ns();
	rig_submit(0, 1);
	struct adv_work *work = rig_begin(1);
	cr_assert_eq(adv_worker_deadline(&rig_worker, work), 0, "none");
	adv_worker_complete(&rig_worker, work, ADV_OK, 0);
	cr_assert_eq(adv_caller_submit(&rig_caller, 1, 0, NULL, 0, 2, 1002, 60 * 1000 * 1000,
				       UINT64_MAX),
		     ADV_OK);
	work = rig_begin(2);
	cr_assert_eq(work->budget_us, 60 * 1000 * 1000);
	uint64_t deadline = adv_worker_deadline(&rig_worker, work);
	cr_assert_gt(deadline, before);
	cr_assert_leq(deadline, adv_clock_monotonic_ns() + 60 * ADV_SEC);
}

/* ---- sleeping ---- */

static bool woken(void)
{
	uint64_t n;
	return read(rig_event_fd, &n, sizeof(n)) == sizeof(n);
}

Test(lane, a_caller_that_sleeps_is_woken)
{
	rig_submit(0, 1);
	cr_assert(adv_caller_sleep(&rig_caller));
	rig_serve(1);
	cr_assert(rig_idle()); /* the worker looks for more, and wakes */
	cr_assert(woken());
	adv_caller_awake(&rig_caller);
	rig_take(1, ADV_OK);
	rig_submit(0, 2);
	rig_serve(2);
	cr_assert(rig_idle());
	cr_assert_not(woken(), "it did not sleep");
	rig_take(2, ADV_OK);
}

Test(lane, no_sleep_when_there_is_something)
{
	rig_submit(0, 1);
	cr_assert_not(adv_caller_ready(&rig_caller));
	rig_serve(1);
	cr_assert(adv_caller_ready(&rig_caller));
	cr_assert_not(adv_caller_sleep(&rig_caller));
	cr_assert_eq(atomic_load(&rig_caller.caller_line->state), ADV_SIDE_RUNNING);
	rig_take(1, ADV_OK);
	cr_assert_not(adv_caller_ready(&rig_caller));
	cr_assert(adv_caller_sleep(&rig_caller));
}

/* A call that is answered without being run wakes its caller too. */
Test(lane, a_refusal_wakes)
{
	cr_assert_eq(adv_caller_submit(&rig_caller, 0, 99, NULL, 0, 1, 1001, 0, UINT64_MAX),
		     ADV_OK);
	cr_assert(adv_caller_sleep(&rig_caller));
	cr_assert(rig_idle());
	cr_assert(woken());
}

Test(lane, a_worker_that_sleeps_is_woken)
{
	atomic_store(&rig_worker.line->state, ADV_SIDE_SLEEPING);
	rig_submit(0, 1);
	cr_assert_eq(rig_caller.wakes, 1);
	atomic_store(&rig_worker.line->state, ADV_SIDE_RUNNING);
	rig_submit(1, 2);
	atomic_store(&rig_worker.line->state, ADV_SIDE_STARTING);
	rig_submit(2, 3);
	cr_assert_eq(rig_caller.wakes, 1);
}

/* Waiting for a call that is there already neither spins nor sleeps. */
Test(lane, next_takes_what_is_there)
{
	struct adv_work work;
	rig_submit(3, 77);
	adv_worker_next(&rig_worker, &work);
	cr_assert_eq(work.call_id, 77);
	cr_assert_eq(work.slot, 3);
}

/* ---- revocation and the end ---- */

Test(lane, revoked)
{
	rig_submit(0, 1);
	cr_assert_eq(adv_caller_state(&rig_caller), ADV_OK);
	adv_supervisor_revoke(&rig_node);
	cr_assert_eq(adv_caller_state(&rig_caller), ADV_REVOKED);
	cr_assert_eq(rig_try_submit(1, 2), ADV_REVOKED);
	cr_assert(adv_caller_slot_free(&rig_caller, 1));
	rig_serve(1);
	cr_assert(rig_idle(), "nothing was published");
	rig_take(1, ADV_OK);
}

Test(lane, ended)
{
	for (uint32_t s = 0; s < 3; s++)
		rig_submit(s, s);
	rig_serve(0);
	rig_begin(1);
	adv_supervisor_end(&rig_node, ADV_EXPIRED);
	cr_assert(adv_caller_ready(&rig_caller));
	rig_take(0, ADV_OK); /* it had been completed */
	cr_assert_eq(rig_take(1, ADV_EXPIRED)->length, 0);
	rig_take(2, ADV_EXPIRED);
	rig_no_result();
	cr_assert_eq(rig_try_submit(3, 3), ADV_EXPIRED);
	cr_assert_eq(adv_caller_state(&rig_caller), ADV_EXPIRED);
	cr_assert_not(adv_caller_ready(&rig_caller));
}

/* Whoever was told of its timeout is not told of the end as well. */
Test(lane, ended_after_giving_up)
{
	submit_until(0, 1, 100);
	expires(1, 100);
	rig_submit(1, 2);
	adv_supervisor_end(&rig_node, ADV_CLOSED);
	rig_take(2, ADV_CLOSED);
	rig_no_result();
	cr_assert_eq(rig_caller.nr_outstanding, 0);
}

/* The node has gone away: the caller ends its calls itself, the oldest first. */
Test(lane, failed_by_the_caller)
{
	struct adv_result r;
	submit_until(2, 1, 100);
	rig_submit(0, 2);
	rig_submit(1, 3);
	expires(1, 100);
	cr_assert(adv_caller_fail(&rig_caller, ADV_NODE_GONE, &r));
	cr_assert_eq(r.call_id, 2);
	cr_assert_eq(r.status, ADV_NODE_GONE);
	cr_assert(adv_caller_fail(&rig_caller, ADV_NODE_GONE, &r));
	cr_assert_eq(r.call_id, 3);
	cr_assert_not(adv_caller_fail(&rig_caller, ADV_NODE_GONE, &r));
	rig_no_result();
}

/* ---- what the worker says of itself ---- */

Test(lane, progress)
{
	struct adv_lane_counts counts;
	rig_submit(0, 1);
	struct adv_work *work = rig_begin(1);
	cr_assert_eq(atomic_load(&rig_worker.progress->running), adv_generation(1, 1));
	adv_worker_complete(&rig_worker, work, ADV_OK, 100);
	cr_assert_eq(atomic_load(&rig_worker.progress->running), 0);
	rig_submit(1, 2);
	adv_worker_complete(&rig_worker, rig_begin(2), ADV_FUNCTION_FAILED, 0);
	adv_supervisor_count(&rig_node, 60 * ADV_SEC, &counts);
	cr_assert_eq(counts.calls, 2);
	cr_assert_eq(counts.failures, 1);
	cr_assert_eq(counts.bytes, 8 + 100 + 8);
	adv_supervisor_count(&rig_node, 60 * ADV_SEC, &counts);
	cr_assert_eq(counts.calls + counts.failures + counts.bytes, 0, "counted once");
}

/* ---- how long it ran ---- */

static uint32_t time_of(uint64_t id, uint16_t flags)
{
	cr_assert_eq(adv_caller_submit_flagged(&rig_caller, 0, 0, NULL, 0, id, id + 1000, 0,
					       UINT64_MAX, flags),
		     ADV_OK);
	struct adv_work *work = rig_begin(id);
	uint64_t until = adv_clock_monotonic_ns() + 2 * ADV_MS;
	while (adv_clock_monotonic_ns() < until)
		;
	adv_worker_complete(&rig_worker, work, ADV_OK, 0);
	return rig_take(id, ADV_OK)->execution_ns;
}

Test(lane, who_asks_hears_how_long_it_ran)
{
	struct adv_lane_counts counts;
	cr_assert_geq(time_of(1, ADV_ENTRY_TIMED), 2 * ADV_MS);
	cr_assert_eq(time_of(2, 0), 0);
	cr_assert_geq(time_of(3, ADV_ENTRY_TIMED), 2 * ADV_MS);
	/* It is billed in any case. */
	adv_supervisor_count(&rig_node, 60 * ADV_SEC, &counts);
	cr_assert_geq(counts.executed_ns, 6 * ADV_MS);
	cr_assert_leq(counts.executed_ns, ADV_SEC);
}

/* Spinning is counted up to the call, and the call from then on, though the clock is not asked in between. */
Test(lane, waiting_and_running_add_up)
{
	struct adv_lane_counts counts;
	struct adv_work work;
	rig_worker.hot_ns = UINT64_MAX;
	uint64_t begun = adv_clock_monotonic_ns();
	for (uint64_t id = 1; id <= 100; id++) {
		rig_submit(0, id);
		adv_worker_next(&rig_worker, &work);
		cr_assert_eq(work.call_id, id);
		adv_worker_complete(&rig_worker, &work, ADV_OK, 0);
		rig_take(id, ADV_OK);
	}
	uint64_t took = adv_clock_monotonic_ns() - begun;
	adv_supervisor_count(&rig_node, 60 * ADV_SEC, &counts);
	cr_assert_eq(counts.calls, 100);
	cr_assert_leq(counts.executed_ns + counts.polled_ns, took + ADV_MS);
	cr_assert_gt(counts.executed_ns, 0);
}

/* ---- a core that leases share ---- */

Test(lane, a_core_runs_one_call_at_a_time)
{
	struct adv_core_line core = {0};
	struct adv_lane_counts counts;
	rig_worker.core = &core;
	rig_worker.core_worker = 7;
	cr_assert(adv_core_line_take(&core, 8), "another worker's call begins");
	rig_submit(0, 1);
	rig_submit(1, 2);
	cr_assert(rig_idle(), "neither is run");
	rig_take(1, ADV_BUSY);
	rig_take(2, ADV_BUSY);
	adv_core_line_give(&core, 8);
	rig_submit(0, 3);
	struct adv_work *work = rig_begin(3);
	cr_assert_not(adv_core_line_take(&core, 8), "now it is the other's turn to hear it");
	adv_core_line_give(&core, 8);
	cr_assert(adv_core_line_taken(&core), "it gives only what it has");
	adv_worker_complete(&rig_worker, work, ADV_OK, 0);
	cr_assert_not(adv_core_line_taken(&core));
	rig_take(3, ADV_OK);
	adv_supervisor_count(&rig_node, 60 * ADV_SEC, &counts);
	cr_assert_eq(counts.calls, 3);
}

Test(lane, calls_that_take_turns_are_not_refused)
{
	struct adv_core_line core = {0};
	rig_worker.core = &core;
	cr_assert(adv_core_line_take(&core, 8));
	rig_submit(0, 1);
	rig_serve(1);
	rig_take(1, ADV_OK);
	cr_assert(adv_core_line_taken(&core));
}
