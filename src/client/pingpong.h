/*
 * pingpong.h - the bare fabric beside a lease over RDMA, to measure calls against: for programs of this tree, not exported.
 * The thread that uses the lease. A lease has at most one; it is stopped before the lease is closed.
 */
#ifndef ADVERB_CLIENT_PINGPONG_H
#define ADVERB_CLIENT_PINGPONG_H

#include <stdbool.h>
#include <stdint.h>

#include "adverb/client.h"

struct adv_verbs_pingpong;

/*
 * For a lease over RDMA. Connects one more queue pair between the two processes, made as the lease's own. Blocks until it is there, at most some seconds.
 * ADV_FORBIDDEN: refused, and why. ADV_VERSION: the node does not know it. ADV_TIMEOUT, ADV_SYSTEM, ADV_NO_MEMORY
 */
enum adv_status adv_verbs_pingpong_start(struct adv_lease *lease, struct adv_verbs_pingpong **out);
void adv_verbs_pingpong_stop(struct adv_verbs_pingpong *pingpong);

struct adv_verbs_pingpong_block {
	uint32_t bytes;		     /* there and back; at most ADV_PINGPONG_BYTES_MAX */
	uint32_t inflight;	     /* 1..ADV_PINGPONG_DEPTH_MAX */
	bool blocking;		     /* the node's end sleeps between pings; this one spins */
	uint64_t gap_ns;	     /* before each ping, so that it does */
	uint64_t duration_ns, count; /* whichever is first */
	void (*sample)(void *user, uint64_t ns);
	void *user;
};

/*
 * Goes to and fro, hands each time to `sample` and the time of the whole to *spent_ns. Both ends look for immediates in their completion
 * queues; nothing is copied. ADV_INVALID, ADV_LINK_LOST (broken, or the node has fallen silent)
 */
enum adv_status adv_verbs_pingpong_block(struct adv_verbs_pingpong *pingpong,
					 const struct adv_verbs_pingpong_block *block,
					 uint64_t *spent_ns);

#endif
