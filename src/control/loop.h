/*
 * loop.h - the control thread's event loop: io_uring and nothing else. No epoll, no blocking call.
 * One thread. An operation is a struct of its owner with a callback; it must stay where it is until it has completed.
 */
#ifndef ADVERB_CONTROL_LOOP_H
#define ADVERB_CONTROL_LOOP_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

struct adv_loop;

/* One submitted operation. */
struct adv_op {
	/* `res` and `flags` as in a CQE. With IORING_CQE_F_MORE more will come. The op may be reused or freed inside otherwise. */
	void (*done)(struct adv_op *op, int res, uint32_t flags);
	void *user;
};

int adv_loop_create(unsigned entries,
		    struct adv_loop **loop); /* 0 or -errno (-EPERM: kernel.io_uring_disabled) */
void adv_loop_destroy(struct adv_loop *loop);

/*
 * A submission entry for `op`, to be prepared by the caller with io_uring_prep_*() at once: user data is set afterwards by
 * adv_loop_queue(). Never NULL: a full queue is submitted first.
 */
struct io_uring_sqe *adv_loop_sqe(struct adv_loop *loop);
void adv_loop_queue(struct adv_loop *loop, struct io_uring_sqe *sqe, struct adv_op *op);

/* Asks for the cancellation of `op`; its `done` still comes (-ECANCELED or its result). */
void adv_loop_cancel(struct adv_loop *loop, struct adv_op *op);

/* A timer: one at a time; setting it again moves it. CLOCK_MONOTONIC. */
struct adv_timer {
	struct adv_op op;
	void (*fire)(struct adv_timer *timer);
	void *user;
	struct adv_loop *loop;
	uint64_t deadline_ns; /* UINT64_MAX: not set */
	uint32_t heap_index;
};
void adv_timer_init(struct adv_timer *timer, struct adv_loop *loop,
		    void (*fire)(struct adv_timer *timer), void *user);
int adv_timer_set(struct adv_timer *timer,
		  uint64_t deadline_ns); /* 0 or -ENOMEM; UINT64_MAX unsets */

/* Calls `ready` as long as `fd` is readable (level-triggered), until adv_watch_stop(). The fd stays the owner's. */
struct adv_watch {
	struct adv_op op;
	void (*ready)(struct adv_watch *watch);
	void *user;
	struct adv_loop *loop;
	int fd;
	bool active;
};
void adv_watch_start(struct adv_watch *watch, struct adv_loop *loop, int fd,
		     void (*ready)(struct adv_watch *watch), void *user);
void adv_watch_pause(
	struct adv_watch *watch); /* inside `ready`: no other until adv_watch_start() */
void adv_watch_stop(
	struct adv_watch *
		watch); /* no `ready` after this; the struct must live until adv_loop_run_once() has run once more */

/* Submits, waits for at least one completion or timer (at most timeout_ns; UINT64_MAX: for ever), and delivers what there is. */
int adv_loop_run_once(struct adv_loop *loop, uint64_t timeout_ns);

/* CLOCK_MONOTONIC as of the last wake-up; cheap. */
uint64_t adv_loop_now(const struct adv_loop *loop);

#endif
