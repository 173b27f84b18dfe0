/*
 * fake_verbs.h - an RDMA device without hardware: queue pairs, completion queues and regions in plain memory, for tests and fuzzers.
 *
 * libibverbs' inline calls (ibv_post_send, ibv_post_recv, ibv_poll_cq, ibv_req_notify_cq) reach it by context->ops, which is all that
 * links, relays and callers use; what the libraries export is in fake_setup.c, for those who make queue pairs and connections.
 *
 * Automatic, as a queue pair begins: a work request is carried out while it is posted, placed in ascending order. By hand: it waits
 * until the test places it (any part, in any order), lets it arrive and ends it, with any status.
 *
 * What a device relies on is checked: inline sizes, local memory within a region of the same protection domain, remote memory within a
 * region that the peer may write, depths of all queues, a receive for each immediate, nothing given back that is still in use. Whoever
 * breaks such a rule is ended by abort(); a lenient device counts it and answers as hardware does.
 *
 * Every call takes the device's lock, which spins: two ends may be two threads'. Needs neither libibverbs nor a test framework.
 */
#ifndef ADVERB_TESTS_FAKE_VERBS_H
#define ADVERB_TESTS_FAKE_VERBS_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_INLINE_MAX 256

struct fake_options {
	uint32_t max_inline; /* the most that a queue pair is given; at most FAKE_INLINE_MAX */
	uint32_t max_wr;     /* of a queue */
	uint32_t max_cqe;
	uint32_t vendor_id; /* 0xffffff: it passes for soft-RoCE */
	bool in_order;	    /* says that it places RDMA WRITEs in order */
	bool lenient;	    /* broken rules are answered, not fatal */
	bool patient; /* without a receive an immediate waits for one: else that is a broken rule */
};

#define FAKE_DEFAULTS                                                                      \
	{                                                                                  \
		.max_inline = 220, .max_wr = 16384, .max_cqe = 65536, .vendor_id = 0xfa4e, \
		.in_order = true                                                           \
	}

struct fake_device;

/* `options` NULL: FAKE_DEFAULTS. */
struct fake_device *fake_device_create(const struct fake_options *options);

/* Whatever was made on it and not ended is a broken rule. */
void fake_device_destroy(struct fake_device *device);

struct ibv_context *fake_context(struct fake_device *device);

/* Broken rules, of a lenient device. */
uint64_t fake_violations(const struct fake_device *device);

/* ---- one end: all that a link needs ---- */

struct fake_end {
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel; /* an eventfd, non-blocking */
	struct ibv_cq *cq;
	struct ibv_qp *qp;
};

/* Its depths and inline size are taken as they are. Destroying it ends the regions of its protection domain, too. */
void fake_end_create(struct fake_device *device, uint32_t send_depth, uint32_t recv_depth,
		     uint32_t max_inline, struct fake_end *end);
void fake_end_destroy(struct fake_end *end);

/* From now on they write to each other. */
void fake_connect(struct ibv_qp *a, struct ibv_qp *b);

struct ibv_mr *fake_region(struct ibv_pd *pd, void *at, uint64_t size, uint64_t iova, int access);
void fake_region_end(struct ibv_mr *mr);

/* ---- what was done ---- */

struct fake_counts {
	uint64_t doorbells; /* ibv_post_send() that posted */
	uint64_t requests;  /* work requests in them */
	uint64_t inlined;   /* of these, inline */
	uint64_t signalled;
	uint64_t bytes;
	uint64_t receive_doorbells; /* ibv_post_recv() that posted */
	uint64_t receives;
	uint64_t immediates;  /* that arrived */
	uint64_t completions; /* taken from its queue */
	uint64_t waited;      /* immediates that found no receive, of a patient device */
};
struct fake_counts fake_counts(const struct ibv_qp *qp);

/* Of a completion queue: how often it was asked, armed, and has raised an event. */
struct fake_cq_counts {
	uint64_t polls, notifies, events;
};
struct fake_cq_counts fake_cq_counts(const struct ibv_cq *cq);

/* Receives that are posted and not consumed; work requests that hold a place in the send queue. */
uint32_t fake_receives(const struct ibv_qp *qp);
uint32_t fake_sends(const struct ibv_qp *qp);

/* ---- by hand ---- */

/* A work request that was posted and has not ended. */
struct fake_work {
	uint64_t wr_id;
	enum ibv_wr_opcode opcode;
	bool signalled, inlined;
	uint32_t size;
	uint32_t immediate; /* as on the wire */
	uint64_t remote;
	uint32_t lkey, rkey;
	uint64_t local;			   /* where it is not inline */
	uint8_t data[FAKE_INLINE_MAX];	   /* where it is; a test may change it */
	enum ibv_wc_status wrong_from_now; /* a lenient device's verdict */
};

/* Its work requests wait for the test. False: those that wait are carried out, and later ones at once. */
void fake_by_hand(struct ibv_qp *qp, bool by_hand);
uint32_t fake_nr_waiting(const struct ibv_qp *qp);

/* The one that was posted `i` after the oldest that waits. */
struct fake_work *fake_waiting(struct ibv_qp *qp, uint32_t i);

/* Bytes `from` to `to` of what it writes appear at the peer, in ascending order; nobody is told. Again is allowed. */
void fake_place(struct ibv_qp *qp, uint32_t i, uint32_t from, uint32_t to);

/* The oldest, as a whole: placed, heard by the peer if it carries an immediate, complete. False: the peer has no receive. */
bool fake_step(struct ibv_qp *qp);

/* All that wait. False: the peer has no receive. */
bool fake_step_all(struct ibv_qp *qp);

/*
 * Something ends badly: the oldest that waits, or where none does, the oldest receive, completes with `status`. The queue pair is in
 * error then: what else was posted, and is from now on, completes as flushed.
 */
void fake_break(struct ibv_qp *qp, enum ibv_wc_status status);

/* ---- what a peer may do ---- */

/* Consumes a receive of this end: an immediate comes, or a SEND without one. */
void fake_immediate(struct ibv_qp *qp, uint32_t immediate);
void fake_plain_send(struct ibv_qp *qp);

/* Bytes come from the peer into memory of this end. False: no region of this end may be written so. */
bool fake_write(struct ibv_qp *qp, uint64_t remote, uint32_t rkey, const void *data, uint32_t size);

/* ---- completions ---- */

/* New ones wait until they are let go, in any order; what waited is not let go by switching it off. */
void fake_hold(struct ibv_cq *cq, bool hold);
uint32_t fake_nr_held(const struct ibv_cq *cq);
void fake_let_go(struct ibv_cq *cq, uint32_t i);

/* Completions to be taken. */
uint32_t fake_nr_completions(const struct ibv_cq *cq);

/* ---- failures ---- */

enum fake_call {
	FAKE_POST_SEND,
	FAKE_POST_RECV,
	FAKE_POLL,
	FAKE_NOTIFY,
	FAKE_QUERY,
	FAKE_PD,
	FAKE_CHANNEL,
	FAKE_CQ,
	FAKE_QP,
	FAKE_MODIFY,
	FAKE_REGION,
	FAKE_CM_CHANNEL,
	FAKE_CM_ID,
	FAKE_CM_ADDRESS,
	FAKE_CM_ROUTE,
	FAKE_CM_OPTION,
	FAKE_CM_CONNECT,
	FAKE_CM_EVENT,
	FAKE_CALLS,
};

/* The next call of that kind fails so; of several requests of one ibv_post_send() the first `done` are posted before. */
void fake_fail_next(struct fake_device *device, enum fake_call call, int error);
void fake_fail_send_after(struct fake_device *device, uint32_t done, int error);

/* Every call of that kind fails so, until `error` is 0 again. */
void fake_fail_always(struct fake_device *device, enum fake_call call, int error);

/* The n-th call of any kind from now on fails so, the first being 1; 0: none does. */
void fake_fail_nth(struct fake_device *device, uint64_t n, int error);

/* The failure that was asked for last has been had. */
bool fake_has_failed(const struct fake_device *device);
uint64_t fake_nr_calls(const struct fake_device *device, enum fake_call call);

#endif
