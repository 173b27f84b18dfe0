/*
 * test_poller_thread.c - the poller's thread for real, beside a client and its workers: it blocks where it may, and every event wakes it.
 * A wake-up that is lost is waited for until the test's time is up: epoll_wait() waits for ever here, not a second.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <sys/epoll.h>

#include "verbs_rig.h"

int __real_epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms);

static _Atomic bool waits;

int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
	(void)timeout_ms;
	atomic_store(&waits, true);
	int n = __real_epoll_wait(fd, events, max, -1);
	atomic_store(&waits, false);
	return n;
}

TestSuite(poller_thread, .timeout = 120);

static struct rig rig;
static struct adv_poller *poller;

static void count(struct adv_poller_message *m)
{
	(*(unsigned *)m->user)++;
}

/* Sends it and waits until it is back. */
static bool order(enum adv_poller_order what, struct adv_relay *relay)
{
	unsigned nr = 0;
	struct adv_poller_message m = {.order = what,
				       .link = &rig.poll,
				       .relay = relay,
				       .event_fd = rig.event_fd,
				       .lane = UINT32_MAX,
				       .done = count,
				       .user = &nr};
	adv_poller_send(poller, &m);
	while (nr == 0) {
		adv_poller_collect(poller);
		sched_yield();
	}
	return m.clean;
}

static void make(const struct rig_options *o, bool shared)
{
	const struct adv_poller_options p = {.cpu = -1, .shared = shared};
	rig_make(&rig, o);
	cr_assert_eq(adv_poller_create(&p, &poller), 0);
	order(ADV_POLLER_ADD, &rig.relay);
}

static void unmake(void)
{
	adv_poller_destroy(poller);
	rig_unmake(&rig);
}

static struct adv_poller_stats stats(void)
{
	struct adv_poller_stats s;
	adv_poller_stats(poller, &s);
	return s;
}

static void until_it_sleeps(void)
{
	while (!atomic_load(&waits))
		sched_yield();
}

/* One call on each lane, taken by a client that looks, or one that sleeps and is woken. */
static void calls(uint64_t id, bool asleep)
{
	uint64_t in[RIG_LANES_MAX], out[RIG_LANES_MAX] = {0};
	uint32_t nr = rig.g.nr_lanes, taken = 0;
	for (uint32_t i = 0; i < nr; i++) {
		in[i] = id + i;
		cr_assert_eq(rig_client_submit(&rig, i, &in[i], 8, &out[i], i), ADV_OK);
	}
	/* Looks once more when it has answered: then it sees whether the poller sleeps. */
	for (uint32_t i = 0, served = 0; served < nr; i = (i + 1) % nr)
		served += rig_worker_step(&rig, i);
	for (uint32_t i = 0; i < nr; i++)
		cr_assert_not(rig_worker_step(&rig, i));
	while (taken < nr) {
		struct adv_completion c;
		uint32_t n = asleep ? adv_wait(rig.lease, &c, 1, 60 * 1000000)
				    : adv_poll(rig.lease, &c, 1);
		taken += n;
		cr_assert(n == 0 || (c.status == ADV_OK && out[c.user_data] == in[c.user_data]));
		cr_assert(n == 1 || !asleep, "it was not woken");
		sched_yield();
	}
}

static void a_life(bool shared, bool handed_over)
{
	struct rig_options o = RIG_DEFAULTS;
	o.nr_lanes = 2;
	o.hot_ns = shared ? UINT64_MAX : 1000;
	o.device.in_order = !handed_over;
	o.landing = handed_over;
	make(&o, shared);
	for (uint64_t id = 0; id < 500; id++) {
		if (id % 50 == 0)
			until_it_sleeps();
		calls(id, id % 3 == 0);
	}
	cr_assert_geq(stats().sleeps, 10);
	cr_assert_eq(stats().shared, shared);
	adv_supervisor_end(&rig.supervisors[0], ADV_EXPIRED);
	order(ADV_POLLER_LINE, NULL);
	adv_verbs_lease_quiet(rig.lease);
	cr_assert(order(ADV_POLLER_DETACH, NULL));
	order(ADV_POLLER_REMOVE, NULL);
	cr_assert_eq(stats().nr_links, 0);
	cr_assert_eq(rig.relay.carried, 1000);
	unmake();
}

Test(poller_thread, on_a_shared_core)
{
	a_life(true, false);
}

Test(poller_thread, on_a_core_of_its_own)
{
	a_life(false, false);
}

Test(poller_thread, on_a_shared_core_handed_over)
{
	a_life(true, true);
}

/* An idle node makes no passes. */
Test(poller_thread, idle_costs_nothing)
{
	make(NULL, true);
	until_it_sleeps();
	uint64_t passes = stats().passes;
	for (int i = 0; i < 100; i++)
		sched_yield();
	/* A sender that found it falling asleep may wake it once more. */
	cr_assert_leq(stats().passes, passes + 2);
	unmake();
}

/* It ends with whatever it holds. */
Test(poller_thread, ends_at_any_time)
{
	for (int i = 0; i < 20; i++) {
		make(NULL, i % 2);
		uint64_t in = 1, out;
		cr_assert_eq(rig_client_submit(&rig, 0, &in, 8, &out, 1), ADV_OK);
		unmake();
	}
}
