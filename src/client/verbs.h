/*
 * verbs.h - a lease's lanes over RDMA, the client's side: mirrors in registered memory, one queue pair for each lease.
 *
 *	verbs_node.c      the device, the protection domain, links at rest: belongs to a node's handle, any thread
 *	verbs_lease.c     opening and closing: regions, connections; the thread that opens the lease
 *	verbs_calls.c     posting, completing, sleeping; the lease's thread, nothing there allocates or locks
 *	verbs_pingpong.c  the bare fabric, to measure against: see pingpong.h
 *
 * What is the same over shared memory is not here: a call is published in the mirror as in a lane, and then carried over.
 */
#ifndef ADVERB_CLIENT_VERBS_H
#define ADVERB_CLIENT_VERBS_H

#include "client/internal.h"

#if ADV_HAVE_VERBS

#include "fabric/pair.h"

#define ADV_CLIENT_ID_BYTES 16

/* One connected queue pair. */
struct adv_verbs_link {
	struct adv_verbs_link *next; /* at rest */
	struct rdma_event_channel *events;
	struct adv_pair pair;
	struct adv_link link;
	uint32_t number;		    /* the node's name for it */
	uint32_t region_rkey, region_bytes; /* of a ping-pong, in the node */
	unsigned nr_events;		    /* of its channel, not acknowledged */
};

struct adv_verbs_node {
	struct rdma_event_channel *events;
	struct rdma_cm_id *anchor; /* holds the device; never connected */
	struct sockaddr_storage address, from;
	struct ibv_pd *pd;
	uint8_t id[ADV_CLIENT_ID_BYTES]; /* of this handle, at random */
	bool in_order;			 /* the device places RDMA WRITEs in order */
	pthread_mutex_t lock;		 /* guards the links at rest */
	struct adv_verbs_link *resting;
};

struct adv_verbs_lease {
	/* read by each call */
	struct adv_verbs_link *link;
	const struct adv_geometry *geometry;
	uint32_t req_rkey, lkey;
	uint32_t *input_rkeys; /* of each lane */
	uint8_t tag;
	bool hand_over;	  /* entries are copied from the mirror when their immediates have come */
	bool lands;	  /* the node copies entries when their immediates have come */
	bool *unanswered; /* of each lane: an ARM is under way */
	uint8_t *mirror;
	uint8_t *handed; /* cpl as callers see it where entries are handed over; else NULL */
	/* rarely */
	struct adv_verbs_node *node;
	struct ibv_mr *mr;
	struct adv_geometry asked; /* the mirror's */
	uint64_t mirror_size;
	uint64_t before[ADV_LINK_COUNTERS]; /* what the link had done when the lease took it */
	int wait_fd;	  /* an epoll instance: the lease's eventfd, the link's channel */
	uint32_t offered; /* number of the link that was offered to the node; 0: none */
	uint32_t counter; /* connections tried */
	bool quiet;	  /* QUIET was sent: nothing more is posted */
	uint8_t token[ADV_TOKEN_BYTES];	  /* the lease's */
	uint64_t register_ns, connect_ns; /* of mirror and link; 0: one that was at rest */
};

/* ---- verbs_node.c ---- */

/* Finds the device that reaches the node at `address`, and takes hold of it. ADV_SYSTEM: what is missing and how to get it. */
enum adv_status adv_verbs_node_create(const struct adv_address *address, uint64_t deadline_ns,
				      struct adv_verbs_node **node);
void adv_verbs_node_destroy(struct adv_verbs_node *node);

/* A link at rest with that many receives, or NULL. */
struct adv_verbs_link *adv_verbs_link_take(struct adv_verbs_node *node, uint32_t nr_receives);
void adv_verbs_link_rest(struct adv_verbs_node *node, struct adv_verbs_link *link);
void adv_verbs_link_destroy(struct adv_verbs_link *link);

/* A new one, for the lease that the hello speaks of. ADV_NODE_GONE, ADV_TIMEOUT, ADV_SYSTEM, ADV_FORBIDDEN (refused, and why) */
struct adv_verbs_connect {
	struct adv_hello hello;
	const uint8_t *token;
	size_t token_size;
	uint32_t send_depth, recv_depth;
	uint64_t deadline_ns;
};
enum adv_status adv_verbs_link_connect(struct adv_verbs_node *node,
				       const struct adv_verbs_connect *connect,
				       struct adv_verbs_link **link);

/* ---- verbs_lease.c ---- */

/* Makes the mirror for lease->geometry: before the lease is asked for. */
enum adv_status adv_verbs_lease_prepare(struct adv_lease *lease, struct adv_verbs_node *node);

/* What the request says of it. */
void adv_verbs_lease_wish(const struct adv_lease *lease, json_t *object);

/* What the grant says of it; `lease` is its member. */
enum adv_status adv_verbs_lease_read(struct adv_lease *lease, const json_t *object);

/* Connects where that is needed, and fills in lease->maps, event_fd and wait_fd. `token` is the lease's, hexadecimal. */
enum adv_status adv_verbs_lease_attach(struct adv_lease *lease, const char *token,
				       uint64_t deadline_ns);

/* Says that it writes no more and waits until that has arrived; before the lease is released. */
void adv_verbs_lease_quiet(struct adv_lease *lease);

/* For another lease in the place of one that was lost: the mirror stays where it is, all else begins anew. */
void adv_verbs_lease_reset(struct adv_lease *lease);

/* Adds what its link has done for it. */
void adv_verbs_lease_count(const struct adv_lease *lease, struct adv_lease_stats *stats);

/* Frees everything. `ended`: the node has said that it is over, so the link may carry another. */
void adv_verbs_lease_free(struct adv_lease *lease, bool ended);

/* ---- verbs_calls.c ---- */

/* Room for one more call? Otherwise completions are taken first. */
bool adv_verbs_room(struct adv_lease *lease);

/* Carries the call published in `slot` over, its input from `in` (registered under `lkey`, or in the slot). */
void adv_verbs_post(struct adv_lease *lease, const struct adv_client_worker *worker, uint32_t slot,
		    const void *in, uint32_t in_lkey, uint32_t in_size);

/* Carries an entry over again, and says so where the node copies it: its call was given up. */
void adv_verbs_cancel(struct adv_lease *lease, const struct adv_client_worker *worker,
		      uint32_t slot);

/* Takes what has completed. False: the link is broken. */
bool adv_verbs_progress(struct adv_lease *lease);

/* Arms everything that wakes. False: something has come meanwhile. */
bool adv_verbs_arm(struct adv_lease *lease);

/* After waking: takes the channel's events. */
void adv_verbs_awake(struct adv_lease *lease);

#else

/* The build has no verbs: there is never a lease that has this. */
struct adv_verbs_lease {
	int wait_fd;
	bool hand_over;
};

#endif

/* ---- on the path of each call: over shared memory these do nothing ---- */

/* Is there room in the send queue? */
static inline bool adv_client_can_carry(struct adv_lease *lease)
{
#if ADV_HAVE_VERBS
	return lease->verbs == NULL || adv_verbs_room(lease);
#else
	(void)lease;
	return true;
#endif
}

/* A published call goes to the node. */
static inline void adv_client_carry(struct adv_lease *lease, const struct adv_client_worker *worker,
				    uint32_t slot, const struct adv_client_input *input)
{
#if ADV_HAVE_VERBS
	if (lease->verbs != NULL)
		adv_verbs_post(lease, worker, slot, input->from, input->lkey, input->size);
#else
	(void)lease, (void)worker, (void)slot, (void)input;
#endif
}

/* What has come back may have to be handed over. */
static inline void adv_client_hand_over(struct adv_lease *lease)
{
#if ADV_HAVE_VERBS
	if (lease->verbs != NULL && lease->verbs->hand_over)
		(void)adv_verbs_progress(lease);
#else
	(void)lease;
#endif
}

#endif
