/*
 * pair.h - making and ending queue pairs on rdma_cm identifiers, and registering memory: what both ends of the verbs fabric do alike.
 * Every call here may block for as long as the device takes: never on a poller, never on a thread that has better to do.
 */
#ifndef ADVERB_FABRIC_PAIR_H
#define ADVERB_FABRIC_PAIR_H

#include <rdma/rdma_cma.h>

#include "fabric/link.h"
#include "fabric/wire.h"

/* A connection's end: owned by whoever made it. */
struct adv_pair {
	struct rdma_cm_id *id;		  /* taken over by adv_pair_create() */
	struct ibv_comp_channel *channel; /* non-blocking */
	struct ibv_cq *cq;
	uint32_t send_depth, recv_depth, max_inline; /* as the device gave them */
};

/*
 * Channel, completion queue and queue pair for `id`, which has a device. Depths are what is wanted at least, `recv_depth` as many as may
 * come at a time (there will be ADV_LINK_RECV_SLACK more); cut to what the device has. 0 or -errno with `reason`; then nothing was made and the identifier stays the caller's.
 */
int adv_pair_create(struct rdma_cm_id *id, struct ibv_pd *pd, uint32_t send_depth,
		    uint32_t recv_depth, struct adv_pair *pair, char *reason, size_t reason_size);

/* Everything but the identifier's event channel; no memory that the queue pair could reach is reached any more. Events must be acknowledged. */
void adv_pair_destroy(struct adv_pair *pair);

/* What goes into rdma_connect() and rdma_accept(): how often to try, how long. `hello` is the private data or NULL. */
void adv_pair_parameters(struct rdma_cm_id *id, const void *hello, struct rdma_conn_param *param);

/* After the connection is made: the pause that a peer without a receive is told to make. A failure only makes it longer. */
void adv_pair_connected(struct adv_pair *pair);

/* What every queue pair of this protection domain can send inline, at least: found by making one. */
uint32_t adv_pair_inline(struct ibv_pd *pd);

/*
 * Registers `size` bytes at `at`, a page's beginning, under the address `offset` (of a page too). `access` of IBV_ACCESS_*.
 * NULL with `reason`: the limit that is too low and how to raise it, or what else failed.
 */
struct ibv_mr *adv_memory_register(struct ibv_pd *pd, void *at, uint64_t size, uint64_t offset,
				   int access, char *reason, size_t reason_size);

#endif
