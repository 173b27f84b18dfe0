/*
 * verbs_rig.h - a lease over verbs, all of it in one thread: client, fake device, the node's relay, workers; moved by hand, in any order.
 *
 * The client is libadverb's own, from its mirror and its connection to adv_submit() and adv_poll(); what it would have learnt by HTTP it is
 * told here. The node registers what src/control does. Whatever cannot be set up ends the program. Each of the node's memories ends at
 * an unmapped page.
 */
#ifndef ADVERB_TESTS_VERBS_RIG_H
#define ADVERB_TESTS_VERBS_RIG_H

#include "client/verbs.h"
#include "fake_setup.h"
#include "fake_verbs.h"
#include "lane/lane_worker.h"
#include "lane/supervisor.h"
#include "poller/poller.h"

#define RIG_LANES_MAX 4
#define RIG_FUNCTIONS 2
#define RIG_LEASE     77

struct rig_options {
	struct fake_options device;
	uint32_t nr_lanes, nr_slots;
	uint32_t in_capacity, out_capacity;
	uint32_t send_depth, recv_depth; /* of the node's end; 0: as the node would choose */
	uint64_t generation;		 /* that the node's lanes are in at first; 0: 1, 1 */
	uint64_t hot_ns;		 /* of the relay */
	bool landing;			 /* the node's device does not place in order */
	bool tsc; /* workers read the TSC, whatever it is worth, and not the clock */
};

/* One lane, four slots, a page each way. The client hands over when the device says that it does not place in order. */
#define RIG_DEFAULTS                                                                            \
	{                                                                                       \
		.device = FAKE_DEFAULTS, .nr_lanes = 1, .nr_slots = 4, .in_capacity = ADV_PAGE, \
		.out_capacity = ADV_PAGE, .hot_ns = UINT64_MAX                                  \
	}

struct rig {
	struct rig_options options;
	struct fake_device *device;
	struct adv_geometry g;
	/* the node */
	uint8_t *memory[ADV_LANE_FILES];
	uint8_t *landing, *staging;
	uint64_t staging_size;
	struct ibv_pd *pd;
	struct ibv_mr *req_mr, *slots_mr, *staging_mr, *input_mrs[RIG_LANES_MAX];
	struct rdma_event_channel *events;
	struct adv_pair pair;
	struct adv_poller_link poll; /* its link, and what a poller needs */
	struct adv_relay relay;
	struct adv_relay_lane *lanes;
	uint16_t active[RIG_LANES_MAX];
	struct adv_supervisor supervisors[RIG_LANES_MAX];
	struct adv_worker_lane workers[RIG_LANES_MAX];
	uint8_t **outputs;
	int event_fd;
	uint8_t tag;
	uint32_t number; /* of the link */
	/* the client */
	struct adv_node node;
	struct adv_lease *lease;
	uint64_t deadline_ns;	/* of opening it; 0: none */
	const char *refusal;	/* the node's, of its connection; NULL: it accepts */
	json_t *grant;		/* instead of the rig's own, once; owned */
	struct adv_hello hello; /* as it came */
};

/* `options` NULL: RIG_DEFAULTS. */
void rig_make(struct rig *r, const struct rig_options *options);
void rig_unmake(struct rig *r);

/* In parts: the node alone; its client's lease; the end of it, `ended`: the node has said that it is over. */
void rig_make_node(struct rig *r, const struct rig_options *options);
void rig_unmake_node(struct rig *r);
enum adv_status rig_open(struct rig *r); /* makes the handle, if there is none */
enum adv_status rig_open_handle(struct rig *r);
void rig_close(struct rig *r, bool ended);

/* New memory, new lanes, new workers, the same link: for the next lease over it. */
void rig_renew(struct rig *r);

/* What the node grants: for tests that change it. */
json_t *rig_grant(const struct rig *r);

/* Both ends' queue pairs. */
static inline struct ibv_qp *rig_client_qp(const struct rig *r)
{
	return r->lease->verbs->link->link.qp;
}

static inline struct ibv_qp *rig_node_qp(const struct rig *r)
{
	return r->poll.link.qp;
}

static inline struct adv_link *rig_client_link(const struct rig *r)
{
	return &r->lease->verbs->link->link;
}

/* ---- steps: never inlined, so that a profile shows whose instructions are whose ---- */

/* The client submits an input of `size` bytes; an output of as many is expected at `out`. */
enum adv_status rig_client_submit(struct rig *r, uint32_t worker, const void *in, uint32_t size,
				  void *out, uint64_t user_data);
unsigned rig_client_poll(struct rig *r, struct adv_completion *completions, unsigned max);

/* The worker runs the next call, if there is one, as an echo. */
bool rig_worker_step(struct rig *r, uint32_t lane);

/* What a poller does with its link in one pass. */
unsigned rig_node_pass(struct rig *r);

/* Without a completion of the client's: passes of node and workers until nothing is left to do. */
void rig_settle(struct rig *r);

/* The worker of a lane dies and another one is started; then the relay is told. */
void rig_worker_dies(struct rig *r, uint32_t lane, enum adv_status status, uint32_t detail);

#endif
