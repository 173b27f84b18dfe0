/* test_loop.c - the control thread's loop: timers in order, readable descriptors, cancelled operations. No test measures time. */
#include <criterion/criterion.h>
#include <errno.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control/loop.h"
#include "util/clock.h"
#include "util/limits.h"

static struct adv_loop *loop;
static int fired[8], nr_fired;

static void make(void)
{
	int rc = adv_loop_create(64, &loop);
	if (rc == -EPERM || rc == -ENOSYS)
		cr_skip_test("io_uring is not available here");
	cr_assert_eq(rc, 0);
	nr_fired = 0;
}

static void unmake(void)
{
	if (loop != NULL)
		adv_loop_destroy(loop);
}

TestSuite(loop, .init = make, .fini = unmake, .timeout = 30);

static void fire(struct adv_timer *timer)
{
	fired[nr_fired++] = (int)(intptr_t)timer->user;
}

static void timers_init(struct adv_timer *timers, int n)
{
	for (int i = 0; i < n; i++)
		adv_timer_init(&timers[i], loop, fire, (void *)(intptr_t)i);
}

static void until_fired(int n)
{
	while (nr_fired < n)
		cr_assert_geq(adv_loop_run_once(loop, UINT64_MAX), 0);
}

Test(loop, timers_fire_in_order)
{
	struct adv_timer t[4];
	uint64_t now = adv_clock_monotonic_ns();
	timers_init(t, 4);
	adv_timer_set(&t[0], now + 3 * ADV_MS);
	adv_timer_set(&t[1], now + 1 * ADV_MS);
	adv_timer_set(&t[2], now + 4 * ADV_MS);
	adv_timer_set(&t[3], now + 2 * ADV_MS);
	until_fired(4);
	cr_assert_eq(fired[0], 1);
	cr_assert_eq(fired[1], 3);
	cr_assert_eq(fired[2], 0);
	cr_assert_eq(fired[3], 2);
	cr_assert_geq(adv_clock_monotonic_ns(), now + 4 * ADV_MS, "early");
}

Test(loop, a_timer_is_moved_and_unset)
{
	struct adv_timer t[3];
	uint64_t now = adv_clock_monotonic_ns();
	timers_init(t, 3);
	adv_timer_set(&t[0], now + ADV_MS);
	adv_timer_set(&t[1], now + 2 * ADV_MS);
	adv_timer_set(&t[2], now + 3 * ADV_MS);
	adv_timer_set(&t[0], UINT64_MAX);
	adv_timer_set(&t[1], now + 4 * ADV_MS);
	until_fired(2);
	cr_assert_eq(fired[0], 2);
	cr_assert_eq(fired[1], 1);
	cr_assert_eq(t[0].deadline_ns, UINT64_MAX);
}

Test(loop, a_timer_in_the_past_fires_at_once)
{
	struct adv_timer t[1];
	timers_init(t, 1);
	adv_timer_set(&t[0], 1);
	until_fired(1);
	cr_assert_eq(t[0].deadline_ns, UINT64_MAX, "once");
}

static struct adv_timer again;

static void fire_again(struct adv_timer *timer)
{
	if (++nr_fired < 3)
		adv_timer_set(timer, adv_clock_monotonic_ns());
}

Test(loop, a_timer_may_set_itself)
{
	adv_timer_init(&again, loop, fire_again, NULL);
	adv_timer_set(&again, 1);
	until_fired(3);
}

static int nr_ready;

static void ready(struct adv_watch *watch)
{
	uint64_t count;
	nr_ready++;
	if (watch->user != NULL)
		cr_assert_eq(read(watch->fd, &count, sizeof(count)), sizeof(count));
}

/* As long as nobody reads what is there, it is told of again. */
Test(loop, a_watch_is_level_triggered)
{
	struct adv_watch w;
	uint64_t one = 1;
	int fd = eventfd(0, EFD_NONBLOCK);
	adv_watch_start(&w, loop, fd, ready, NULL);
	cr_assert_eq(write(fd, &one, sizeof(one)), sizeof(one));
	while (nr_ready < 2)
		cr_assert_geq(adv_loop_run_once(loop, UINT64_MAX), 0);
	w.user = &w;
	int before = nr_ready;
	while (nr_ready == before)
		cr_assert_geq(adv_loop_run_once(loop, UINT64_MAX), 0);
	adv_watch_stop(&w);
	before = nr_ready;
	cr_assert_eq(write(fd, &one, sizeof(one)), sizeof(one));
	adv_loop_run_once(loop, ADV_MS);
	adv_loop_run_once(loop, ADV_MS);
	cr_assert_eq(nr_ready, before, "it was stopped");
	close(fd);
}

static void ready_once(struct adv_watch *watch)
{
	nr_ready++;
	adv_watch_pause(watch);
}

Test(loop, a_paused_watch_is_started_again)
{
	struct adv_watch w;
	uint64_t one = 1;
	int fd = eventfd(0, EFD_NONBLOCK);
	adv_watch_start(&w, loop, fd, ready_once, NULL);
	cr_assert_eq(write(fd, &one, sizeof(one)), sizeof(one));
	for (int round = 1; round <= 2; round++) {
		while (nr_ready < round)
			cr_assert_geq(adv_loop_run_once(loop, UINT64_MAX), 0);
		adv_loop_run_once(loop, ADV_MS);
		cr_assert_eq(nr_ready, round, "nobody is told of what is still there");
		cr_assert_not(w.active);
		adv_watch_start(&w, loop, fd, ready_once, NULL);
	}
	adv_watch_stop(&w);
	adv_loop_run_once(loop, ADV_MS);
	close(fd);
}

static int result, nr_done;

static void done(struct adv_op *op, int res, uint32_t flags)
{
	(void)op;
	(void)flags;
	result = res;
	nr_done++;
}

Test(loop, operations_end_and_are_cancelled)
{
	struct adv_op op = {.done = done};
	uint64_t count;
	int fd = eventfd(0, 0);
	struct io_uring_sqe *sqe = adv_loop_sqe(loop);
	io_uring_prep_read(sqe, fd, &count, sizeof(count), 0);
	adv_loop_queue(loop, sqe, &op);
	adv_loop_run_once(loop, 0);
	cr_assert_eq(nr_done, 0);
	adv_loop_cancel(loop, &op);
	while (nr_done == 0)
		cr_assert_geq(adv_loop_run_once(loop, UINT64_MAX), 0);
	cr_assert(result == -ECANCELED || result == -EINTR, "%d", result);
	close(fd);
}
