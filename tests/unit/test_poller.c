/*
 * test_poller.c - the poller's loop without its thread: messages, the ends of leases, links that break, falling asleep and waking up.
 * poller.c is part of this file, so that each of its steps can be taken by hand; test_poller_thread.c has the thread.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sys/epoll.h>

#include "fake_clock.h"
#include "verbs_rig.h"

/* No thread is started, and waiting takes no time. */
static int no_thread(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	(void)thread, (void)attr, (void)run, (void)arg;
	return 0;
}

static unsigned nr_blocked;	  /* waited for what was not there */
static void (*before_wait)(void); /* happens between the last look and the wait */

static int wait_no_time(int fd, struct epoll_event *events, int max, int timeout_ms)
{
	cr_assert_gt(timeout_ms, 0);
	if (before_wait != NULL)
		before_wait();
	int n = epoll_wait(fd, events, max, 0);
	nr_blocked += n == 0;
	return n;
}

#define pthread_create		    no_thread
#define pthread_join(thread, to)    (void)(thread)
#define pthread_setname_np(t, name) (void)(t)
#define epoll_wait		    wait_no_time
#include "poller/poller.c"
#undef epoll_wait

static struct rig rig;
static struct adv_poller *poller;

/* ---- messages ---- */

struct message {
	struct adv_poller_message m; /* first */
	unsigned nr_done;
};

static void done(struct adv_poller_message *m)
{
	((struct message *)m)->nr_done++;
}

static struct message broken;

static void tell(struct message *m, enum adv_poller_order order)
{
	m->m = (struct adv_poller_message){.order = order,
					   .link = &rig.poll,
					   .event_fd = -1,
					   .lane = UINT32_MAX,
					   .clean = true,
					   .done = done};
	m->nr_done = 0;
	adv_poller_send(poller, &m->m);
}

static void tell_relay(struct message *m, enum adv_poller_order order)
{
	m->m = (struct adv_poller_message){.order = order,
					   .link = &rig.poll,
					   .relay = &rig.relay,
					   .event_fd = rig.event_fd,
					   .done = done};
	m->nr_done = 0;
	adv_poller_send(poller, &m->m);
}

/* What its thread does until there is nothing to do: twice, for what a pass has begun may be over in the next. */
static void passes(void)
{
	for (int idle = 0; idle < 2; idle++) {
		unsigned n = serve_all(poller);
		n += obey_all(poller);
		if (n > 0)
			idle = -1;
	}
	adv_poller_collect(poller);
}

/* Sends it and sees it come back. */
static void order(enum adv_poller_order what)
{
	struct message m;
	tell(&m, what);
	cr_assert_eq(m.nr_done, 0);
	passes();
	cr_assert_eq(m.nr_done, 1);
}

/* ---- making ---- */

static void make_poller(bool shared)
{
	const struct adv_poller_options o = {.cpu = -1, .shared = shared};
	cr_assert_eq(adv_poller_create(&o, &poller), 0);
	nr_blocked = 0;
	before_wait = NULL;
}

static void add_rig(void)
{
	struct message m;
	rig.poll.broken = &broken.m;
	broken = (struct message){.m = {.order = ADV_POLLER_BROKEN, .done = done}};
	tell_relay(&m, ADV_POLLER_ADD);
	passes();
	cr_assert_eq(m.nr_done, 1);
}

static void make_with(const struct rig_options *o, bool shared)
{
	fake_clock_stop(1000 * ADV_SEC, 0);
	rig_make(&rig, o);
	make_poller(shared);
	add_rig();
}

static void make(void)
{
	make_with(NULL, false);
}

static void make_shared(void)
{
	make_with(NULL, true);
}

static void unmake(void)
{
	adv_poller_destroy(poller);
	rig_unmake(&rig);
}

TestSuite(poller, .init = make, .fini = unmake, .timeout = 60);
TestSuite(poller_shared, .init = make_shared, .fini = unmake, .timeout = 60);
TestSuite(poller_made, .fini = unmake, .timeout = 60);

static uint32_t nr_links(void)
{
	struct adv_poller_stats s;
	adv_poller_stats(poller, &s);
	return s.nr_links;
}

/* ---- calls ---- */

static uint64_t output;

static void submit(uint64_t id)
{
	cr_assert_eq(rig_client_submit(&rig, 0, &id, sizeof(id), &output, id), ADV_OK);
}

static void takes(uint64_t id, enum adv_status status)
{
	struct adv_completion c;
	cr_assert_eq(adv_client_poll_lanes(rig.lease, &c, 1), 1);
	cr_assert_eq(c.user_data, id);
	cr_assert_eq(c.status, status);
}

static void call(uint64_t id)
{
	submit(id);
	passes();
	cr_assert(rig_worker_step(&rig, 0));
	passes();
	takes(id, ADV_OK);
	cr_assert_eq(output, id);
}

Test(poller, calls)
{
	cr_assert_eq(nr_links(), 1);
	for (uint64_t id = 1; id <= 100; id++)
		call(id);
	cr_assert_eq(rig.relay.calls, 100);
	cr_assert_eq(fake_receives(rig_node_qp(&rig)), rig.pair.recv_depth, "all posted again");
}

/* Many wait at once: a pass takes one batch, so that other links get their turn. */
Test(poller_made, one_batch_a_pass)
{
	struct rig_options o = RIG_DEFAULTS;
	o.nr_slots = 64;
	make_with(&o, false);
	for (uint64_t id = 1; id <= 40; id++)
		submit(id);
	serve_all(poller);
	cr_assert_eq(rig.relay.calls, ADV_LINK_POLL_MAX);
	serve_all(poller);
	cr_assert_eq(rig.relay.calls, 2 * ADV_LINK_POLL_MAX);
	serve_all(poller);
	cr_assert_eq(rig.relay.calls, 40);
}

Test(poller, receives_are_posted_when_it_is_worth_it_or_idle)
{
	uint64_t before = fake_counts(rig_node_qp(&rig)).receive_doorbells;
	submit(1);
	serve_all(poller);
	cr_assert_eq(fake_counts(rig_node_qp(&rig)).receive_doorbells, before);
	serve_all(poller); /* nothing to do */
	cr_assert_eq(fake_counts(rig_node_qp(&rig)).receive_doorbells, before + 1);
	cr_assert_eq(rig.poll.link.nr_missing, 0);
}

/* ---- the node line ---- */

Test(poller, a_line_is_carried)
{
	submit(1);
	passes();
	adv_supervisor_end(&rig.supervisors[0], ADV_EXPIRED);
	order(ADV_POLLER_LINE);
	takes(1, ADV_EXPIRED);
}

/* ---- the end of a lease ---- */

static void say_quiet(void)
{
	adv_verbs_lease_quiet(rig.lease);
}

static struct message detach, giving_up;

static void is_detached(bool clean)
{
	cr_assert_eq(detach.nr_done, 1);
	cr_assert_eq(detach.m.clean, clean);
	cr_assert_null(rig.poll.relay);
	cr_assert_null(rig.poll.detach);
	cr_assert_eq(nr_links(), clean);
	passes();
	cr_assert_eq(detach.nr_done, 1, "once");
}

Test(poller, detached_when_the_client_is_quiet)
{
	call(1);
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	cr_assert_eq(detach.nr_done, 0, "the client may write still");
	say_quiet();
	passes();
	is_detached(true);
	cr_assert_eq(rig.poll.link.nr_sent, 0);
}

Test(poller, detached_when_the_client_was_quiet)
{
	call(1);
	say_quiet();
	passes();
	cr_assert_not_null(rig.poll.relay);
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	is_detached(true);
}

/* Its own writes are complete before, and it asks for that. */
Test(poller, detached_when_it_is_drained)
{
	call(1);
	fake_by_hand(rig_node_qp(&rig), true);
	submit(2);
	passes();
	rig_worker_step(&rig, 0);
	passes();
	say_quiet();
	tell(&detach, ADV_POLLER_DETACH);
	for (int i = 0; i < 5; i++)
		passes();
	cr_assert_eq(fake_nr_waiting(rig_node_qp(&rig)), 2, "the completion, and one empty write");
	cr_assert(fake_waiting(rig_node_qp(&rig), 1)->signalled);
	fake_step(rig_node_qp(&rig));
	passes();
	cr_assert_eq(detach.nr_done, 0);
	fake_step(rig_node_qp(&rig));
	passes();
	is_detached(true);
	takes(2, ADV_OK);
}

Test(poller, the_last_lines_go_before_the_end)
{
	submit(1);
	passes();
	say_quiet();
	adv_supervisor_end(&rig.supervisors[0], ADV_REVOKED);
	adv_relay_line_changed(&rig.relay, UINT32_MAX);
	fake_by_hand(rig_node_qp(&rig), true);
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	cr_assert_eq(detach.nr_done, 0);
	fake_by_hand(rig_node_qp(&rig), false);
	passes();
	is_detached(true);
	takes(1, ADV_REVOKED);
}

Test(poller, given_up_when_the_client_is_not_quiet)
{
	call(1);
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	tell(&giving_up, ADV_POLLER_GIVE_UP);
	passes();
	cr_assert_eq(giving_up.nr_done, 1);
	is_detached(false);
	cr_assert_null(poller->first);
}

/* Both at once, in either order of what comes first: it comes back once. */
Test(poller, given_up_and_quiet_at_once)
{
	say_quiet();
	tell(&detach, ADV_POLLER_DETACH);
	tell(&giving_up, ADV_POLLER_GIVE_UP);
	passes();
	cr_assert_eq(giving_up.nr_done, 1);
	is_detached(false);
}

Test(poller, given_up_too_late)
{
	say_quiet();
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	is_detached(true);
	tell(&giving_up, ADV_POLLER_GIVE_UP);
	passes();
	cr_assert_eq(giving_up.nr_done, 1);
	cr_assert_eq(nr_links(), 1);
}

Test(poller, another_lease_after_the_first)
{
	for (int i = 0; i < 3; i++) {
		struct message m;
		call(1);
		say_quiet();
		tell(&detach, ADV_POLLER_DETACH);
		passes();
		is_detached(true);
		rig_close(&rig, true);
		rig_renew(&rig);
		cr_assert_eq(rig_open(&rig), ADV_OK);
		rig.poll.relay = NULL; /* the poller's to set */
		tell_relay(&m, ADV_POLLER_ATTACH);
		passes();
		cr_assert_eq(m.nr_done, 1);
	}
	call(9);
}

/* ---- links that break ---- */

Test(poller, a_broken_link_says_so_once)
{
	fake_break(rig_node_qp(&rig), IBV_WC_RETRY_EXC_ERR);
	for (int i = 0; i < 3; i++)
		passes();
	cr_assert_eq(broken.nr_done, 1);
	cr_assert_not_null(rig.poll.relay, "its lease is the control thread's to end");
	cr_assert_eq(nr_links(), 1);
}

Test(poller, a_broken_link_is_detached_at_once)
{
	fake_break(rig_node_qp(&rig), IBV_WC_RETRY_EXC_ERR);
	passes();
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	is_detached(false);
}

Test(poller, a_link_that_breaks_while_it_is_detached)
{
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	cr_assert_eq(detach.nr_done, 0);
	fake_break(rig_node_qp(&rig), IBV_WC_WR_FLUSH_ERR);
	passes();
	is_detached(false);
	cr_assert_eq(broken.nr_done, 1);
	tell(&giving_up, ADV_POLLER_GIVE_UP);
	passes();
	cr_assert_eq(giving_up.nr_done, 1);
}

/* Whichever of its calls fails, the poller goes on, and the link's owner hears of it. */
Test(poller_made, every_call_of_the_poller_fails_once)
{
	for (uint64_t n = 1;; n++) {
		make_with(NULL, false);
		fake_fail_nth(rig.device, n, 5);
		for (uint64_t id = 1; id <= 3; id++) {
			rig_client_submit(&rig, 0, &id, sizeof(id), &output, id);
			passes();
			rig_worker_step(&rig, 0);
			passes();
			(void)sleep_once(poller);
		}
		passes();
		bool had = fake_has_failed(rig.device);
		fake_fail_nth(rig.device, 0, 0);
		cr_assert_eq(broken.nr_done, adv_link_broken(&rig.poll.link));
		tell(&detach, ADV_POLLER_DETACH);
		passes();
		if (adv_link_broken(&rig.poll.link))
			is_detached(false);
		if (!had)
			break;
		unmake();
	}
}

/* ---- links without a lease ---- */

Test(poller, a_link_at_rest_is_removed)
{
	say_quiet();
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	is_detached(true);
	/* What comes for nobody is taken, and its receive posted again. */
	fake_immediate(rig_node_qp(&rig), 1);
	passes();
	cr_assert_eq(fake_nr_completions(rig.pair.cq), 0);
	order(ADV_POLLER_LINE); /* for a lease that has gone: nothing */
	order(ADV_POLLER_REMOVE);
	cr_assert_eq(nr_links(), 0);
}

/* It carries nothing: there is nothing to wait for. */
Test(poller, nothing_is_detached_from_a_link_at_rest)
{
	say_quiet();
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	is_detached(true);
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	is_detached(true);
	fake_break(rig_node_qp(&rig), IBV_WC_RETRY_EXC_ERR);
	passes();
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	is_detached(false);
}

/* ---- several links ---- */

static struct fake_end far[2], near[2];
static struct adv_poller_link others[2];

static void add_others(void)
{
	for (int i = 0; i < 2; i++) {
		struct message m = {.m = {.order = ADV_POLLER_ADD,
					  .link = &others[i],
					  .event_fd = -1,
					  .done = done}};
		fake_end_create(rig.device, 16, 64, 64, &near[i]);
		fake_end_create(rig.device, 16, 64, 64, &far[i]);
		fake_connect(near[i].qp, far[i].qp);
		memset(&others[i], 0, sizeof(others[i]));
		adv_link_init(&others[i].link, near[i].qp, near[i].cq, 16, 64, 64);
		cr_assert_eq(adv_link_fill(&others[i].link), 0);
		others[i].channel = near[i].channel;
		adv_poller_send(poller, &m.m);
		passes();
		cr_assert_eq(m.nr_done, 1);
	}
}

static void remove_other(int i)
{
	struct message m = {.m = {.order = ADV_POLLER_REMOVE, .link = &others[i], .done = done}};
	adv_poller_send(poller, &m.m);
	passes();
	cr_assert_eq(m.nr_done, 1);
	fake_end_destroy(&near[i]);
	fake_end_destroy(&far[i]);
}

Test(poller, links_do_not_disturb_each_other)
{
	add_others();
	cr_assert_eq(nr_links(), 3);
	call(1);
	fake_break(near[0].qp, IBV_WC_GENERAL_ERR);
	call(2);
	/* The first, the middle one, the last of the list. */
	remove_other(0);
	call(3);
	remove_other(1);
	call(4);
	cr_assert_eq(nr_links(), 1);
	add_others();
	order(ADV_POLLER_REMOVE);
	cr_assert_eq(nr_links(), 2);
	remove_other(1);
	remove_other(0);
	cr_assert_null(poller->first);
}

/* ---- falling asleep, waking up ---- */

/* It sleeps, until something happens. An event of what it has found by itself may wake it once for nothing. */
static void sleeps(void)
{
	unsigned before = nr_blocked;
	for (int i = 0; i < 2 && nr_blocked == before; i++)
		sleep_once(poller);
	cr_assert_eq(nr_blocked, before + 1, "it did not sleep");
}

static void does_not_sleep(void)
{
	unsigned before = nr_blocked;
	sleep_once(poller);
	cr_assert_eq(nr_blocked, before, "it slept");
	cr_assert_not(poller->asleep);
}

static void comes_call(void)
{
	before_wait = NULL;
	submit(1);
}

static void comes_completion(void)
{
	struct adv_work none;
	before_wait = NULL;
	cr_assert(rig_worker_step(&rig, 0));
	/* A worker looks whether its caller sleeps when it has copied out the next request. */
	cr_assert_not(adv_worker_try(&rig.workers[0], &none));
}

static struct message line;

static void comes_message(void)
{
	before_wait = NULL;
	tell(&line, ADV_POLLER_LINE);
}

static void comes_break(void)
{
	before_wait = NULL;
	fake_break(rig_node_qp(&rig), IBV_WC_RETRY_EXC_ERR);
}

/* Each wakes it, at the last moment: the event is there when it waits. */
static void wakes_by(void (*what)(void))
{
	struct adv_poller_stats s[2];
	adv_poller_stats(poller, &s[0]);
	before_wait = what;
	does_not_sleep();
	adv_poller_stats(poller, &s[1]);
	cr_assert_eq(s[1].sleeps, s[0].sleeps + 1);
	cr_assert_null(before_wait, "it did not come to waiting");
	cr_assert_eq(atomic_load(&rig.lanes[0].caller_line->state), ADV_SIDE_RUNNING);
	passes();
	sleeps(); /* the event is taken */
}

Test(poller_shared, sleeps_and_wakes)
{
	sleeps();
	wakes_by(comes_call);
	cr_assert_eq(rig.relay.calls, 1);
	wakes_by(comes_completion);
	takes(1, ADV_OK);
	wakes_by(comes_message);
	cr_assert_eq(line.nr_done, 1);
	wakes_by(comes_break);
	cr_assert_eq(broken.nr_done, 1);
}

Test(poller_shared, what_is_there_keeps_it_awake)
{
	comes_message();
	does_not_sleep();
	passes();
	sleeps();
	submit(1);
	does_not_sleep();
	passes();
	rig_worker_step(&rig, 0);
	does_not_sleep();
	passes();
	takes(1, ADV_OK);
	sleeps();
}

/* It raises no event: the queue was not armed yet. The look behind the arming finds it. */
Test(poller_shared, what_came_before_it_armed)
{
	cr_assert_eq(fake_cq_counts(rig.pair.cq).notifies, 0);
	submit(1);
	does_not_sleep();
	cr_assert_eq(fake_cq_counts(rig.pair.cq).notifies, 1);
	cr_assert_eq(fake_cq_counts(rig.pair.cq).events, 0);
	cr_assert_eq(rig.relay.calls, 1);
}

/* A worker that is told to wake it does so once it has published; before, it is told otherwise. */
Test(poller_shared, workers_are_told)
{
	_Atomic uint32_t *state = &rig.lanes[0].caller_line->state;
	submit(1);
	passes();
	cr_assert_eq(atomic_load(state), ADV_SIDE_RUNNING);
	cr_assert(fall_asleep(poller));
	cr_assert_eq(atomic_load(state), ADV_SIDE_SLEEPING);
	cr_assert(poller->asleep);
	wake_relays(poller);
	atomic_store(&poller->asleep, false);
	cr_assert_eq(atomic_load(state), ADV_SIDE_RUNNING);
}

Test(poller_shared, a_sleeping_poller_s_senders_wake_it)
{
	uint64_t count;
	comes_message();
	cr_assert_lt(read(poller->wake_fd, &count, sizeof(count)), 0, "it is awake");
	passes();
	cr_assert(fall_asleep(poller));
	comes_message();
	cr_assert_eq(read(poller->wake_fd, &count, sizeof(count)), 8);
}

/* Events are acknowledged now and then, and before a queue is destroyed: libibverbs would wait for ever. */
Test(poller_shared, events_are_acknowledged)
{
	for (uint64_t id = 1; id <= 3 * ACKNOWLEDGE_AT; id++) {
		before_wait = comes_call;
		does_not_sleep();
		cr_assert_lt(rig.poll.nr_events, ACKNOWLEDGE_AT);
		passes();
		rig_worker_step(&rig, 0);
		passes();
		takes(1, ADV_OK);
	}
	before_wait = comes_call;
	does_not_sleep();
	cr_assert_gt(rig.poll.nr_events, 0, "unmake() leaves it to adv_poller_destroy()");
}

Test(poller_shared, events_are_acknowledged_by_removing)
{
	before_wait = comes_call;
	does_not_sleep();
	cr_assert_gt(rig.poll.nr_events, 0);
	order(ADV_POLLER_REMOVE);
	cr_assert_eq(rig.poll.nr_events, 0);
}

/* What it finds when it wakes belongs to a link that it has forgotten meanwhile. */
Test(poller_shared, an_event_of_a_link_that_is_gone)
{
	void *what = &rig.poll.channel;
	order(ADV_POLLER_REMOVE);
	take_event(poller, what);
	take_event(poller, &rig.poll.event_fd);
	sleeps();
}

/* ---- spinning ---- */

/* Looks at the clock once in so many passes. */
static bool idle_within(unsigned passes_at_most)
{
	for (unsigned i = 0; i < passes_at_most; i++)
		if (is_idle(poller))
			return true;
	return false;
}

Test(poller_made, spins_for_the_hot_window)
{
	struct rig_options o = RIG_DEFAULTS;
	o.hot_ns = 5 * ADV_MS;
	make_with(&o, false);
	cr_assert_eq(poller->window_ns, 5 * ADV_MS);
	cr_assert_not(idle_within(2 * PASSES_PER_LOOK));
	fake_clock_add(5 * ADV_MS - 1);
	cr_assert_not(idle_within(2 * PASSES_PER_LOOK));
	fake_clock_add(1);
	cr_assert(idle_within(2 * PASSES_PER_LOOK));
	poller->worked = true;
	cr_assert_not(idle_within(2 * PASSES_PER_LOOK), "the window begins anew");
}

Test(poller, spins_for_ever_where_a_lease_is_always_hot)
{
	fake_clock_add(3600 * ADV_SEC);
	cr_assert_not(idle_within(10 * PASSES_PER_LOOK));
	say_quiet();
	tell(&detach, ADV_POLLER_DETACH);
	passes();
	is_detached(true);
	cr_assert(idle_within(1), "no lease, no window");
}

/* It gives way, and not for long: then it blocks. */
Test(poller_shared, does_not_spin_on_a_shared_core)
{
	cr_assert_eq(poller->window_ns, YIELD_NS, "though the lease is always hot");
	call(1);
	poller->worked = true;
	cr_assert_not(idle_within(2));
	fake_clock_add(YIELD_NS - 1);
	cr_assert_not(idle_within(2));
	fake_clock_add(1);
	cr_assert(idle_within(1), "it looks at the clock each time");
}

/* A worker that computes has the core until its slice is over: whoever gave way would wait for that. */
Test(poller_shared, does_not_give_way_to_long_calls)
{
	call(1);
	rig.relay.last_ns = BRIEF_NS + 1;
	poller->worked = true;
	cr_assert_not(idle_within(2), "nothing is under way");
	submit(2);
	passes();
	cr_assert(idle_within(1));
	rig.relay.last_ns = BRIEF_NS;
	cr_assert_not(idle_within(2));
}

Test(poller_made, a_shared_core_and_a_lease_that_is_never_hot)
{
	struct rig_options o = RIG_DEFAULTS;
	o.hot_ns = 0;
	make_with(&o, true);
	call(1);
	cr_assert(idle_within(1));
}

/* A lease that ends and whose client is not quiet does not keep it spinning. */
Test(poller_shared, sleeps_while_it_waits_for_quiet)
{
	submit(1);
	passes();
	rig_worker_step(&rig, 0);
	tell(&detach, ADV_POLLER_DETACH);
	obey_all(poller);
	passes();
	sleeps();
	cr_assert_eq(detach.nr_done, 0);
}
