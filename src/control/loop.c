/* loop.c - the control thread's io_uring: operations, timers in a heap, watched descriptors. One thread. */
#include "control/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/limits.h"

#define BATCH 64 /* completions delivered before timers are looked at again */

struct adv_loop {
	struct io_uring ring;
	uint64_t now_ns;
	struct adv_timer **heap; /* by deadline; heap[0] is the next */
	uint32_t nr_timers, capacity;
};

/* ---- the ring ---- */

/* The best the kernel has: completions are delivered when this thread asks for them, and never by an interrupt of it. */
static int ring_create(unsigned entries, struct io_uring *ring)
{
	static const unsigned flags[] = {
#ifdef IORING_SETUP_DEFER_TASKRUN
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CLAMP,
#endif
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_CLAMP,
		IORING_SETUP_CLAMP,
	};
	int rc = -EINVAL;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && rc == -EINVAL; i++)
		rc = io_uring_queue_init(entries, ring, flags[i]);
	return rc;
}

int adv_loop_create(unsigned entries, struct adv_loop **out)
{
	struct adv_loop *loop = calloc(1, sizeof(*loop));
	if (loop == NULL)
		return -ENOMEM;
	int rc = ring_create(entries, &loop->ring);
	if (rc < 0) {
		free(loop);
		return rc;
	}
	loop->now_ns = adv_clock_monotonic_ns();
	*out = loop;
	return 0;
}

void adv_loop_destroy(struct adv_loop *loop)
{
	if (loop == NULL)
		return;
	io_uring_queue_exit(&loop->ring);
	free(loop->heap);
	free(loop);
}

struct io_uring_sqe *adv_loop_sqe(struct adv_loop *loop)
{
	struct io_uring_sqe *sqe;
	/* A full queue is handed to the kernel, which always takes it. */
	while ((sqe = io_uring_get_sqe(&loop->ring)) == NULL)
		io_uring_submit(&loop->ring);
	return sqe;
}

void adv_loop_queue(struct adv_loop *loop, struct io_uring_sqe *sqe, struct adv_op *op)
{
	(void)loop;
	io_uring_sqe_set_data(sqe, op);
}

void adv_loop_cancel(struct adv_loop *loop, struct adv_op *op)
{
	struct io_uring_sqe *sqe = adv_loop_sqe(loop);
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

uint64_t adv_loop_now(const struct adv_loop *loop)
{
	return loop->now_ns;
}

/* ---- timers ---- */

static void heap_place(struct adv_loop *loop, uint32_t at, struct adv_timer *t)
{
	loop->heap[at] = t;
	t->heap_index = at;
}

static void heap_up(struct adv_loop *loop, uint32_t at)
{
	struct adv_timer *t = loop->heap[at];
	while (at > 0 && loop->heap[(at - 1) / 2]->deadline_ns > t->deadline_ns) {
		heap_place(loop, at, loop->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_place(loop, at, t);
}

static void heap_down(struct adv_loop *loop, uint32_t at)
{
	struct adv_timer *t = loop->heap[at];
	for (;;) {
		uint32_t child = 2 * at + 1;
		if (child >= loop->nr_timers)
			break;
		if (child + 1 < loop->nr_timers &&
		    loop->heap[child + 1]->deadline_ns < loop->heap[child]->deadline_ns)
			child++;
		if (loop->heap[child]->deadline_ns >= t->deadline_ns)
			break;
		heap_place(loop, at, loop->heap[child]);
		at = child;
	}
	heap_place(loop, at, t);
}

static void heap_remove(struct adv_loop *loop, uint32_t at)
{
	struct adv_timer *last = loop->heap[--loop->nr_timers];
	if (at == loop->nr_timers)
		return;
	heap_place(loop, at, last);
	heap_up(loop, at);
	heap_down(loop, last->heap_index);
}

static int heap_insert(struct adv_loop *loop, struct adv_timer *t)
{
	if (loop->nr_timers == loop->capacity) {
		uint32_t more = loop->capacity != 0 ? 2 * loop->capacity : 64;
		struct adv_timer **heap = reallocarray(loop->heap, more, sizeof(*heap));
		if (heap == NULL)
			return -ENOMEM;
		loop->heap = heap;
		loop->capacity = more;
	}
	heap_place(loop, loop->nr_timers++, t);
	heap_up(loop, t->heap_index);
	return 0;
}

void adv_timer_init(struct adv_timer *timer, struct adv_loop *loop,
		    void (*fire)(struct adv_timer *timer), void *user)
{
	*timer = (struct adv_timer){
		.fire = fire, .user = user, .loop = loop, .deadline_ns = UINT64_MAX};
}

int adv_timer_set(struct adv_timer *timer, uint64_t deadline_ns)
{
	struct adv_loop *loop = timer->loop;
	bool was_set = timer->deadline_ns != UINT64_MAX;
	if (loop == NULL) /* never initialised: nothing is set */
		return 0;
	if (was_set && deadline_ns == UINT64_MAX) {
		heap_remove(loop, timer->heap_index);
		timer->deadline_ns = UINT64_MAX;
	} else if (was_set) {
		timer->deadline_ns = deadline_ns;
		heap_up(loop, timer->heap_index);
		heap_down(loop, timer->heap_index);
	} else if (deadline_ns != UINT64_MAX) {
		timer->deadline_ns = deadline_ns;
		int rc = heap_insert(loop, timer);
		if (rc < 0)
			timer->deadline_ns = UINT64_MAX;
		return rc;
	}
	return 0;
}

/* Only those that were due when it began: a timer that sets itself to now waits for the next round. */
static bool fire_timers(struct adv_loop *loop)
{
	uint64_t now = loop->now_ns = adv_clock_monotonic_ns();
	bool any = false;
	for (uint32_t bound = loop->nr_timers; bound > 0 && loop->nr_timers > 0; bound--) {
		struct adv_timer *t = loop->heap[0];
		if (t->deadline_ns > now)
			break;
		heap_remove(loop, 0);
		t->deadline_ns = UINT64_MAX;
		t->fire(t);
		any = true;
	}
	return any;
}

/* ---- watched descriptors ---- */

/* One shot each: what `ready` leaves unread is reported again, which a multishot poll would not do. */
static void watch_arm(struct adv_watch *watch)
{
	struct io_uring_sqe *sqe = adv_loop_sqe(watch->loop);
	io_uring_prep_poll_add(sqe, watch->fd, POLLIN);
	adv_loop_queue(watch->loop, sqe, &watch->op);
}

static void watch_done(struct adv_op *op, int res, uint32_t flags)
{
	struct adv_watch *watch = (struct adv_watch *)op;
	(void)flags;
	if (!watch->active || res == -ECANCELED)
		return;
	watch->ready(watch);
	if (watch->active)
		watch_arm(watch);
}

void adv_watch_start(struct adv_watch *watch, struct adv_loop *loop, int fd,
		     void (*ready)(struct adv_watch *watch), void *user)
{
	*watch = (struct adv_watch){
		.op = {.done = watch_done},
		.ready = ready,
		.user = user,
		.loop = loop,
		.fd = fd,
		.active = true,
	};
	watch_arm(watch);
}

void adv_watch_pause(struct adv_watch *watch)
{
	watch->active = false;
}

void adv_watch_stop(struct adv_watch *watch)
{
	if (!watch->active)
		return;
	watch->active = false;
	adv_loop_cancel(watch->loop, &watch->op);
}

/* ---- running ---- */

static unsigned deliver(struct adv_loop *loop)
{
	struct {
		struct adv_op *op;
		int res;
		uint32_t flags;
	} batch[BATCH];
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	io_uring_for_each_cqe (&loop->ring, head, cqe) {
		batch[n].op = io_uring_cqe_get_data(cqe);
		batch[n].res = cqe->res;
		batch[n].flags = cqe->flags;
		if (++n == BATCH)
			break;
	}
	/* Given back first: a callback may queue more than the ring has room for. */
	io_uring_cq_advance(&loop->ring, n);
	for (unsigned i = 0; i < n; i++)
		if (batch[i].op != NULL)
			batch[i].op->done(batch[i].op, batch[i].res, batch[i].flags);
	return n;
}

static uint64_t time_to_wait(const struct adv_loop *loop, uint64_t timeout_ns)
{
	if (loop->nr_timers == 0)
		return timeout_ns;
	uint64_t now = adv_clock_monotonic_ns();
	uint64_t next = loop->heap[0]->deadline_ns;
	uint64_t wait = next > now ? next - now : 0;
	return wait < timeout_ns ? wait : timeout_ns;
}

int adv_loop_run_once(struct adv_loop *loop, uint64_t timeout_ns)
{
	struct io_uring_cqe *cqe;
	uint64_t wait = time_to_wait(loop, timeout_ns);
	struct __kernel_timespec ts = {.tv_sec = (long long)(wait / ADV_SEC),
				       .tv_nsec = (long long)(wait % ADV_SEC)};
	int rc = io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1,
						  wait == UINT64_MAX ? NULL : &ts, NULL);
	if (rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN)
		return rc;
	loop->now_ns = adv_clock_monotonic_ns();
	while (deliver(loop) == BATCH &&
	       !(loop->nr_timers > 0 && loop->heap[0]->deadline_ns <= loop->now_ns))
		;
	fire_timers(loop);
	return 0;
}
