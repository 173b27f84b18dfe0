/*
 * link.h - one queue pair and its completion queue: posting with bounded queues, taking completions, keeping receives posted.
 *
 * A link belongs to one lease at a time and is used by one thread at a time: the lease's in a client, its poller in a node. So nothing
 * here locks. Nothing blocks, allocates or makes a system call either (a provider's doorbell may: soft-RoCE's does).
 * Every completion's status is looked at; the first bad one breaks the link for good.
 */
#ifndef ADVERB_FABRIC_LINK_H
#define ADVERB_FABRIC_LINK_H

#include <errno.h>
#include <infiniband/verbs.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ADV_LINK_POST_MAX  4  /* work requests behind one doorbell */
#define ADV_LINK_RECV_POST 32 /* receives posted at once, at most */
#define ADV_LINK_POLL_MAX  16 /* completions taken at once */

/* Receives that may be consumed, known to be so, and not posted again: so many more are posted than immediates can come. */
#define ADV_LINK_RECV_SLACK (ADV_LINK_RECV_POST + ADV_LINK_POLL_MAX - 1)

/* Counted since the link was made. Written by the link's thread alone, read by any. */
enum adv_link_counter {
	ADV_LINK_DOORBELLS,
	ADV_LINK_REQUESTS,   /* work requests sent */
	ADV_LINK_BYTES,	     /* in them */
	ADV_LINK_RECEIVES,   /* posted */
	ADV_LINK_IMMEDIATES, /* that came */
	ADV_LINK_STALLS,     /* posts that found no room */
	ADV_LINK_COUNTERS,
};

struct adv_link {
	struct ibv_qp *qp;
	struct ibv_cq *cq;
	uint32_t send_depth, recv_depth; /* as the device gave them */
	uint32_t max_inline;
	uint32_t nr_sent;	 /* posted and not known to be complete */
	uint32_t nr_unsignalled; /* of these, behind the last that asks for a completion */
	uint32_t nr_missing;	 /* receives that were consumed and not posted again */
	uint32_t failure;	 /* enum ibv_wc_status; IBV_WC_SUCCESS while the link works */
	int error;		 /* -errno of a post that was refused; 0 */
	bool notify;		 /* the next completion raises an event */
	_Atomic uint64_t counters[ADV_LINK_COUNTERS];
	struct ibv_recv_wr
		receives[ADV_LINK_RECV_POST]; /* a chain, without memory: immediates need none */
};

/* Takes a queue pair whose queues have these depths. Both stay the owner's. Nothing is posted yet. */
void adv_link_init(struct adv_link *link, struct ibv_qp *qp, struct ibv_cq *cq, uint32_t send_depth,
		   uint32_t recv_depth, uint32_t max_inline);

/* Fills the receive queue: before the connection is made. 0 or -errno. */
int adv_link_fill(struct adv_link *link);

static inline bool adv_link_broken(const struct adv_link *link)
{
	return link->failure != IBV_WC_SUCCESS || link->error != 0;
}

static inline uint64_t adv_link_counted(const struct adv_link *link, enum adv_link_counter counter)
{
	return atomic_load_explicit(&link->counters[counter], memory_order_relaxed);
}

int adv_link_post_receives(struct adv_link *link, bool all);

/* Posts again what was consumed: everything when `all`, else only once it is worth a doorbell. 0 or -errno; the link is broken then. */
static inline int adv_link_replenish(struct adv_link *link, bool all)
{
	if (adv_link_broken(link))
		return -EIO;
	return link->nr_missing < (all ? 1 : ADV_LINK_RECV_POST)
		       ? 0
		       : adv_link_post_receives(link, all);
}

/* The counter's name in JSON. */
const char *adv_link_counter_name(enum adv_link_counter counter);

/* In words, what broke it. Static storage. */
const char *adv_link_why(const struct adv_link *link);

/* ---- posting ---- */

/* Work requests that go out behind one doorbell, in this order. The caller's storage; memory that is not inline is read until completion. */
struct adv_post {
	unsigned nr;
	uint32_t bytes;
	struct ibv_send_wr requests[ADV_LINK_POST_MAX];
	struct ibv_sge pieces[ADV_LINK_POST_MAX];
};

static inline void adv_post_begin(struct adv_post *post)
{
	post->nr = 0;
	post->bytes = 0;
}

/* RDMA WRITE of `size` bytes; inline where that fits, else `lkey` must cover them. At most ADV_LINK_POST_MAX for one doorbell. */
static inline void adv_post_write(struct adv_post *post, const struct adv_link *link,
				  const void *from, uint32_t size, uint32_t lkey, uint64_t to,
				  uint32_t rkey)
{
	struct ibv_send_wr *wr = &post->requests[post->nr];
	struct ibv_sge *piece = &post->pieces[post->nr];
	*piece = (struct ibv_sge){.addr = (uintptr_t)from, .length = size, .lkey = lkey};
	wr->wr_id = 0;
	wr->next = NULL;
	wr->sg_list = piece;
	wr->num_sge = size > 0;
	wr->opcode = IBV_WR_RDMA_WRITE;
	wr->send_flags = size <= link->max_inline ? IBV_SEND_INLINE : 0;
	wr->imm_data = 0;
	wr->wr.rdma.remote_addr = to;
	wr->wr.rdma.rkey = rkey;
	if (post->nr > 0)
		post->requests[post->nr - 1].next = wr;
	post->nr++;
	post->bytes += size;
}

/* Turns the last one into WRITE WITH IMMEDIATE. */
static inline void adv_post_immediate(struct adv_post *post, uint32_t immediate)
{
	struct ibv_send_wr *wr = &post->requests[post->nr - 1];
	wr->opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	wr->imm_data = immediate;
}

/* Is there room for `nr` work requests? Without it, completions are to be taken first. */
static inline bool adv_link_room(const struct adv_link *link, unsigned nr)
{
	return link->send_depth - link->nr_sent >= nr;
}

/*
 * Rings the doorbell. `mark`: asks for a completion, so that adv_link_idle() gets to know; else the link asks for one now and then.
 * 0; -EAGAIN: no room, nothing was posted; -EIO: the link is broken.
 */
int adv_link_post(struct adv_link *link, struct adv_post *post, bool mark);

/* Nothing that was posted is under way any more: memory it was read from may be changed. After a marked post. */
static inline bool adv_link_idle(const struct adv_link *link)
{
	return link->nr_sent == 0;
}

/* ---- completions ---- */

/*
 * Takes what has completed, at most ADV_LINK_POLL_MAX at a time. Immediates are stored (`immediates` has room for ADV_LINK_POLL_MAX),
 * sends make room. Returns how many completions there were; *nr_immediates of them. A broken link returns 0 for ever.
 */
unsigned adv_link_poll(struct adv_link *link, uint32_t *immediates, unsigned *nr_immediates);

/* The next completion raises an event on the queue's channel. Then poll once more: what came before does not. 0 or -errno. */
int adv_link_notify(struct adv_link *link);

#endif
