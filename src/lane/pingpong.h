/*
 * pingpong.h - the bare hardware that a lane is measured against: one cache line there and one back, between this thread and
 * a child process pinned to another CPU; or a futex wake-up there and a line back. Nothing of Adverb is in its loop.
 *
 * A payload of up to 32 bytes travels in the line itself. A larger one makes three passes, as a call does: into shared memory,
 * by the peer into the reply, out to a private buffer. Between blocks the child sleeps.
 */
#ifndef ADVERB_LANE_PINGPONG_H
#define ADVERB_LANE_PINGPONG_H

#include <stdbool.h>
#include <stdint.h>

struct adv_pingpong;

/* Forks the child. 0 or -errno (-EINVAL: it may not run on that CPU). Call without other threads, or before they matter. */
int adv_pingpong_start(int cpu, uint32_t max_payload, struct adv_pingpong **pingpong);
void adv_pingpong_stop(struct adv_pingpong *pingpong);

/*
 * Goes to and fro for duration_ns or `count` times, whichever is first, and hands each time in nanoseconds to `sample`. `warm`: the peer
 * sleeps on a futex between pings; gap_ns passes before each, so that it does. 0; -ETIMEDOUT: the child has died.
 */
int adv_pingpong_block(struct adv_pingpong *pingpong, bool warm, uint32_t payload,
		       uint64_t duration_ns, uint64_t count, uint64_t gap_ns,
		       void (*sample)(void *user, uint64_t ns), void *user);

#endif
