/* link.c - posting, completing, receiving on one queue pair. The thread that the link belongs to. */
#include "fabric/link.h"

#include <errno.h>
#include <string.h>

/* A completion is asked for after so much of the queue: seldom enough to cost nothing, often enough to make room. */
#define SIGNAL_FRACTION 4

void adv_link_init(struct adv_link *l, struct ibv_qp *qp, struct ibv_cq *cq, uint32_t send_depth,
		   uint32_t recv_depth, uint32_t max_inline)
{
	memset(l, 0, sizeof(*l));
	l->qp = qp;
	l->cq = cq;
	l->send_depth = send_depth;
	l->recv_depth = recv_depth;
	l->max_inline = max_inline;
	for (int i = 0; i + 1 < ADV_LINK_RECV_POST; i++)
		l->receives[i].next = &l->receives[i + 1];
}

const char *adv_link_why(const struct adv_link *l)
{
	if (l->failure != IBV_WC_SUCCESS)
		return ibv_wc_status_str((enum ibv_wc_status)l->failure);
	return l->error != 0 ? strerror(-l->error) : "nothing is wrong";
}

const char *adv_link_counter_name(enum adv_link_counter counter)
{
	static const char *const names[ADV_LINK_COUNTERS] = {"doorbells", "requests",	"bytes",
							     "receives",  "immediates", "stalls"};
	return names[counter];
}

/* One writer: a plain load and store. */
static void count(struct adv_link *l, enum adv_link_counter counter, uint64_t n)
{
	atomic_store_explicit(&l->counters[counter], adv_link_counted(l, counter) + n,
			      memory_order_relaxed);
}

static int broke(struct adv_link *l, int error)
{
	if (!adv_link_broken(l))
		l->error = -error;
	return -EIO;
}

/* ---- receives ---- */

/* The first `nr` of the chain. */
static int post_receives(struct adv_link *l, uint32_t nr)
{
	struct ibv_recv_wr *bad, *last = &l->receives[nr - 1], *after = last->next;
	last->next = NULL;
	int rc = ibv_post_recv(l->qp, l->receives, &bad);
	last->next = after;
	if (rc != 0)
		return broke(l, rc);
	l->nr_missing -= nr;
	count(l, ADV_LINK_RECEIVES, nr);
	return 0;
}

int adv_link_post_receives(struct adv_link *l, bool all)
{
	int rc = 0;
	while (rc == 0 && l->nr_missing >= (all ? 1 : ADV_LINK_RECV_POST))
		rc = post_receives(l, l->nr_missing < ADV_LINK_RECV_POST ? l->nr_missing
									 : ADV_LINK_RECV_POST);
	return rc;
}

int adv_link_fill(struct adv_link *l)
{
	l->nr_missing = l->recv_depth;
	return adv_link_replenish(l, true);
}

/* ---- posting ---- */

int adv_link_post(struct adv_link *l, struct adv_post *p, bool mark)
{
	struct ibv_send_wr *bad;
	if (adv_link_broken(l))
		return -EIO;
	if (!adv_link_room(l, p->nr)) {
		count(l, ADV_LINK_STALLS, 1);
		return -EAGAIN;
	}
	l->nr_sent += p->nr;
	l->nr_unsignalled += p->nr;
	if (mark || l->nr_unsignalled >= l->send_depth / SIGNAL_FRACTION) {
		struct ibv_send_wr *last = &p->requests[p->nr - 1];
		last->send_flags |= IBV_SEND_SIGNALED;
		/* The completion of this one says that all before it are complete too: a send queue completes in order. */
		last->wr_id = l->nr_unsignalled;
		l->nr_unsignalled = 0;
	}
	count(l, ADV_LINK_DOORBELLS, 1);
	count(l, ADV_LINK_REQUESTS, p->nr);
	count(l, ADV_LINK_BYTES, p->bytes);
	int rc = ibv_post_send(l->qp, p->requests, &bad);
	return rc != 0 ? broke(l, rc) : 0;
}

/* ---- completions ---- */

unsigned adv_link_poll(struct adv_link *l, uint32_t *immediates, unsigned *nr_immediates)
{
	struct ibv_wc wc[ADV_LINK_POLL_MAX];
	unsigned nr = 0;
	*nr_immediates = 0;
	if (adv_link_broken(l))
		return 0;
	int n = ibv_poll_cq(l->cq, ADV_LINK_POLL_MAX, wc);
	if (n < 0) {
		broke(l, EIO);
		return 0;
	}
	for (int i = 0; i < n; i++) {
		if (wc[i].status != IBV_WC_SUCCESS) {
			l->failure = wc[i].status;
			break;
		}
		if (wc[i].opcode & IBV_WC_RECV) {
			l->nr_missing++;
			/* A peer may send what consumes a receive and is no immediate: it means nothing. */
			if (wc[i].wc_flags & IBV_WC_WITH_IMM)
				immediates[nr++] = wc[i].imm_data;
		} else {
			l->nr_sent -= (uint32_t)wc[i].wr_id;
		}
	}
	*nr_immediates = nr;
	if (nr > 0)
		count(l, ADV_LINK_IMMEDIATES, nr);
	return (unsigned)n;
}

int adv_link_notify(struct adv_link *l)
{
	if (adv_link_broken(l) || l->notify)
		return 0;
	int rc = ibv_req_notify_cq(l->cq, 0);
	if (rc != 0)
		return broke(l, rc > 0 ? rc : EIO);
	l->notify = true;
	return 0;
}
