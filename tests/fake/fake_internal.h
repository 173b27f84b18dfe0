/* fake_internal.h - the fake device's objects, for its own files: fake_verbs.c, fake_hand.c, fake_setup.c. */
#ifndef ADVERB_TESTS_FAKE_INTERNAL_H
#define ADVERB_TESTS_FAKE_INTERNAL_H

#include <stdatomic.h>

#include "fake_verbs.h"

/* A completion, and what taking it sets free. */
struct fake_cqe {
	struct ibv_wc wc;
	struct fake_qp *qp;
	uint64_t frees; /* of the send queue: up to here */
	bool receive;	/* of the receive queue: one */
};

struct fake_cq {
	struct ibv_cq cq; /* first */
	struct fake_device *device;
	struct fake_cq *next;
	struct fake_cqe *ring; /* that may be taken: head to tail */
	uint64_t head, tail;
	uint32_t size; /* all completions, held ones too, fit in */
	struct fake_cqe *held;
	uint32_t nr_held;
	bool hold, armed;
	unsigned nr_qps;
	uint64_t taken_events, acknowledged;
	struct fake_cq_counts counts;
};

struct fake_qp {
	struct ibv_qp qp; /* first */
	struct fake_device *device;
	struct fake_qp *peer, *next;
	uint32_t send_depth, recv_depth, max_inline;
	struct fake_work
		*works; /* posted: `ended` to `posted` wait, from `freed` on they hold places */
	uint64_t posted, ended, freed;
	uint64_t *
		receives; /* their wr_ids; `consumed` to `received` wait, from `recv_freed` on they hold places */
	uint64_t received, consumed, recv_freed;
	bool by_hand, broken;
	struct fake_counts counts;
};

struct fake_pd {
	struct ibv_pd pd; /* first */
	struct fake_device *device;
	unsigned users;
};

struct fake_region {
	struct ibv_mr mr; /* first */
	uint64_t iova;
	int access;
	bool ended;
};

struct fake_device {
	struct ibv_context context; /* first */
	struct ibv_device device;
	struct fake_options options;
	atomic_flag lock;
	struct fake_qp *qps;
	struct fake_cq *cqs;
	struct fake_region **regions; /* by number: a key is (number << 8) + something */
	uint32_t nr_regions, nr_alive;
	unsigned nr_pds, nr_channels;
	uint32_t last_qp;
	uint64_t violations;
	uint64_t calls[FAKE_CALLS];
	int fail_next[FAKE_CALLS], fail_always[FAKE_CALLS];
	uint64_t fail_in;
	int fail_nth;
	uint32_t fail_send_after;
	bool failed;
};

static inline struct fake_device *fake_of(struct ibv_context *context)
{
	return (struct fake_device *)context;
}

void fake_lock(struct fake_device *d);
void fake_unlock(struct fake_device *d);

/* A rule is broken: the end, or counted. */
void fake_violation(struct fake_device *d, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Counts the call. 0, or what it is to fail with. Locked. */
int fake_called(struct fake_device *d, enum fake_call call);

/* Objects: what the exported calls stand for. Without failures; the caller's lock is not held. */
struct ibv_pd *fake_pd_create(struct fake_device *d);
void fake_pd_destroy(struct ibv_pd *pd);
struct ibv_comp_channel *fake_channel_create(struct fake_device *d, bool blocking);
void fake_channel_destroy(struct ibv_comp_channel *channel);
struct ibv_cq *fake_cq_create(struct fake_device *d, uint32_t size,
			      struct ibv_comp_channel *channel);
void fake_cq_destroy(struct ibv_cq *cq);
struct ibv_qp *fake_qp_create(struct ibv_pd *pd, const struct ibv_qp_init_attr *attr);
void fake_qp_destroy(struct ibv_qp *qp);

/* ---- locked ---- */

struct fake_work *fake_work_at(const struct fake_qp *q, uint64_t number);

/* The memory behind a key; NULL: it does not cover that, or may not be used so. */
uint8_t *fake_local(const struct fake_qp *q, uint64_t address, uint32_t size, uint32_t lkey);
uint8_t *fake_remote(const struct fake_qp *q, uint64_t address, uint32_t size, uint32_t rkey);

/* In ascending order, whole words where the target is aligned. */
void fake_copy(uint8_t *to, const uint8_t *from, uint32_t size);

/* Parts of a waiting request's life. */
enum ibv_wc_status fake_work_place(struct fake_qp *q, struct fake_work *w, uint32_t from,
				   uint32_t to);
bool fake_arrive(struct fake_qp *q, uint32_t immediate, bool with_immediate, uint32_t size);
void fake_end_oldest(struct fake_qp *q, enum ibv_wc_status status);
bool fake_carry_out(struct fake_qp *q); /* the oldest. False: it must wait */
void fake_flush(struct fake_qp *q);
void fake_complete(struct fake_cq *cq, const struct fake_cqe *e);
void fake_show(struct fake_cq *cq, const struct fake_cqe *e);

#endif
