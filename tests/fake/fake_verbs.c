/* fake_verbs.c - the fake device: its objects, its rules, posting and completing. Any thread; one lock. */
#include "fake_internal.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LKEY 0x11 /* the low byte of each kind of key: one is never the other */
#define RKEY 0x77

void fake_lock(struct fake_device *d)
{
	while (atomic_flag_test_and_set_explicit(&d->lock, memory_order_acquire))
		sched_yield();
}

void fake_unlock(struct fake_device *d)
{
	atomic_flag_clear_explicit(&d->lock, memory_order_release);
}

void fake_violation(struct fake_device *d, const char *format, ...)
{
	va_list args;
	d->violations++;
	if (d->options.lenient)
		return;
	va_start(args, format);
	fprintf(stderr, "fake device: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	abort();
}

static void *zeroed(size_t size)
{
	void *p = calloc(1, size > 0 ? size : 1);
	if (p == NULL)
		abort();
	return p;
}

int fake_called(struct fake_device *d, enum fake_call call)
{
	int error = d->fail_next[call] != 0 ? d->fail_next[call] : d->fail_always[call];
	d->calls[call]++;
	d->fail_next[call] = 0;
	if (d->fail_in > 0 && --d->fail_in == 0)
		error = d->fail_nth;
	if (error != 0)
		d->failed = true;
	return error;
}

/* ---- memory ---- */

static const struct fake_region *region_of(const struct fake_qp *q, uint32_t key, uint32_t kind)
{
	uint32_t number = key >> 8;
	if ((key & 0xff) != kind || number >= q->device->nr_regions)
		return NULL;
	const struct fake_region *r = q->device->regions[number];
	return r->ended || r->mr.pd != q->qp.pd ? NULL : r;
}

static uint8_t *within(const struct fake_region *r, uint64_t address, uint32_t size)
{
	if (r == NULL || address < r->iova || address - r->iova > r->mr.length ||
	    size > r->mr.length - (address - r->iova))
		return NULL;
	return (uint8_t *)r->mr.addr + (address - r->iova);
}

uint8_t *fake_local(const struct fake_qp *q, uint64_t address, uint32_t size, uint32_t lkey)
{
	return within(region_of(q, lkey, LKEY), address, size);
}

uint8_t *fake_remote(const struct fake_qp *q, uint64_t address, uint32_t size, uint32_t rkey)
{
	const struct fake_region *r = region_of(q, rkey, RKEY);
	return r != NULL && (r->access & IBV_ACCESS_REMOTE_WRITE) ? within(r, address, size) : NULL;
}

void fake_copy(uint8_t *to, const uint8_t *from, uint32_t size)
{
	uint64_t word;
	while (size > 0) {
		if ((uintptr_t)to % sizeof(word) != 0 || size < sizeof(word)) {
			__atomic_store_n(to++, *from++, __ATOMIC_RELEASE);
			size--;
			continue;
		}
		memcpy(&word, from, sizeof(word));
		__atomic_store_n((uint64_t *)(void *)to, word, __ATOMIC_RELEASE);
		to += sizeof(word);
		from += sizeof(word);
		size -= (uint32_t)sizeof(word);
	}
}

struct ibv_mr *fake_region(struct ibv_pd *pd, void *at, uint64_t size, uint64_t iova, int access)
{
	struct fake_device *d = ((struct fake_pd *)pd)->device;
	struct fake_region *r = zeroed(sizeof(*r));
	fake_lock(d);
	if (((uintptr_t)at ^ iova) % 4096 != 0)
		fake_violation(d, "a region's address and offset lie differently in their pages");
	if ((access & IBV_ACCESS_REMOTE_WRITE) && !(access & IBV_ACCESS_LOCAL_WRITE))
		fake_violation(d, "remote write access goes with local write access alone");
	uint32_t number = d->nr_regions++;
	d->regions = realloc(d->regions, d->nr_regions * sizeof(struct fake_region *));
	if (d->regions == NULL)
		abort();
	d->regions[number] = r;
	d->nr_alive++;
	((struct fake_pd *)pd)->users++;
	r->mr = (struct ibv_mr){.context = pd->context,
				.pd = pd,
				.addr = at,
				.length = size,
				.lkey = number << 8 | LKEY,
				.rkey = number << 8 | RKEY};
	r->iova = iova;
	r->access = access;
	fake_unlock(d);
	return &r->mr;
}

/* Is a write from or to it under way? */
static bool in_use(const struct fake_device *d, const struct fake_region *r)
{
	for (const struct fake_qp *q = d->qps; q != NULL; q = q->next)
		for (uint64_t i = q->ended; i != q->posted && !q->broken; i++) {
			const struct fake_work *w = fake_work_at(q, i);
			if (w->size > 0 && ((!w->inlined && w->lkey == r->mr.lkey) ||
					    (q->peer != NULL && w->rkey == r->mr.rkey)))
				return true;
		}
	return false;
}

void fake_region_end(struct ibv_mr *mr)
{
	struct fake_region *r = (struct fake_region *)mr;
	struct fake_device *d = fake_of(mr->context);
	fake_lock(d);
	if (r->ended)
		fake_violation(d, "a region is given back twice");
	else if (in_use(d, r))
		fake_violation(d, "a region is given back while a write uses it");
	if (!r->ended) {
		d->nr_alive--;
		((struct fake_pd *)mr->pd)->users--;
	}
	r->ended = true;
	fake_unlock(d);
}

/* ---- completions ---- */

static void raise_event(struct fake_cq *c)
{
	uint64_t one = 1;
	c->armed = false;
	c->counts.events++;
	if (c->cq.channel == NULL)
		return;
	ssize_t ignored = write(c->cq.channel->fd, &one, sizeof(one));
	(void)ignored;
}

void fake_show(struct fake_cq *c, const struct fake_cqe *e)
{
	c->ring[c->tail++ % c->size] = *e;
	if (c->armed)
		raise_event(c);
}

void fake_complete(struct fake_cq *c, const struct fake_cqe *e)
{
	if (c->tail - c->head + c->nr_held >= c->size) {
		fake_violation(c->device, "a completion queue of %u overflows", c->size);
		return;
	}
	if (c->hold)
		c->held[c->nr_held++] = *e;
	else
		fake_show(c, e);
}

static struct fake_cq *cq_of(struct fake_qp *q)
{
	return (struct fake_cq *)q->qp.send_cq;
}

/* A receive ends. */
static void consume(struct fake_qp *q, struct ibv_wc wc)
{
	wc.wr_id = q->receives[q->consumed++ % q->recv_depth];
	wc.qp_num = q->qp.qp_num;
	const struct fake_cqe e = {.wc = wc, .qp = q, .receive = true};
	fake_complete((struct fake_cq *)q->qp.recv_cq, &e);
}

bool fake_arrive(struct fake_qp *q, uint32_t immediate, bool with_immediate, uint32_t size)
{
	if (q->consumed == q->received)
		return false;
	q->counts.immediates += with_immediate;
	consume(q,
		(struct ibv_wc){.opcode = with_immediate ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV,
				.wc_flags = with_immediate ? IBV_WC_WITH_IMM : 0,
				.imm_data = immediate,
				.byte_len = size});
	return true;
}

void fake_end_oldest(struct fake_qp *q, enum ibv_wc_status status)
{
	const struct fake_work *w = fake_work_at(q, q->ended++);
	if (!w->signalled && status == IBV_WC_SUCCESS)
		return;
	const struct fake_cqe e = {
		.wc = {.wr_id = w->wr_id,
		       .status = status,
		       /* Of one that failed only the number, the status and the queue pair mean anything. */
		       .opcode = status == IBV_WC_SUCCESS ? IBV_WC_RDMA_WRITE
							  : (enum ibv_wc_opcode)0x5a,
		       .qp_num = q->qp.qp_num},
		.qp = q,
		.frees = q->ended};
	fake_complete(cq_of(q), &e);
}

void fake_flush(struct fake_qp *q)
{
	q->broken = true;
	q->qp.state = IBV_QPS_ERR;
	while (q->ended != q->posted)
		fake_end_oldest(q, IBV_WC_WR_FLUSH_ERR);
	while (q->consumed != q->received)
		consume(q, (struct ibv_wc){.status = IBV_WC_WR_FLUSH_ERR,
					   .opcode = (enum ibv_wc_opcode)0x5a});
}

/* What was taken is no place in a queue any more. */
static void set_free(const struct fake_cqe *e)
{
	if (e->qp == NULL)
		return;
	e->qp->counts.completions++;
	if (e->receive)
		e->qp->recv_freed++;
	else if (e->frees > e->qp->freed)
		e->qp->freed = e->frees;
}

static int poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc)
{
	struct fake_cq *c = (struct fake_cq *)cq;
	int got = 0;
	fake_lock(c->device);
	c->counts.polls++;
	if (fake_called(c->device, FAKE_POLL) != 0)
		got = -1;
	while (got >= 0 && got < n && c->head != c->tail) {
		const struct fake_cqe *e = &c->ring[c->head++ % c->size];
		set_free(e);
		wc[got++] = e->wc;
	}
	fake_unlock(c->device);
	return got;
}

static int req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
	struct fake_cq *c = (struct fake_cq *)cq;
	fake_lock(c->device);
	int rc = fake_called(c->device, FAKE_NOTIFY);
	if (solicited_only)
		fake_violation(c->device, "events for solicited completions alone");
	if (rc == 0) {
		c->counts.notifies++;
		c->armed = true;
	}
	fake_unlock(c->device);
	return rc;
}

/* ---- sending ---- */

struct fake_work *fake_work_at(const struct fake_qp *q, uint64_t number)
{
	return &q->works[number % q->send_depth];
}

enum ibv_wc_status fake_work_place(struct fake_qp *q, struct fake_work *w, uint32_t from,
				   uint32_t to)
{
	if (w->size == 0)
		return IBV_WC_SUCCESS;
	const uint8_t *source = w->inlined ? w->data : fake_local(q, w->local, w->size, w->lkey);
	uint8_t *target = fake_remote(q->peer, w->remote, w->size, w->rkey);
	if (source == NULL)
		return IBV_WC_LOC_PROT_ERR;
	if (target == NULL)
		return IBV_WC_REM_ACCESS_ERR;
	fake_copy(target + from, source + from, to - from);
	return IBV_WC_SUCCESS;
}

static bool is_immediate(const struct fake_work *w)
{
	return w->opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
}

bool fake_carry_out(struct fake_qp *q)
{
	struct fake_work *w = fake_work_at(q, q->ended);
	struct fake_device *d = q->device;
	enum ibv_wc_status status = w->wrong_from_now;
	if (status == IBV_WC_SUCCESS && is_immediate(w) && q->peer->consumed == q->peer->received) {
		if (d->options.patient) {
			q->counts.waited++;
			return false;
		}
		fake_violation(d, "an immediate finds no receive");
		status = IBV_WC_RNR_RETRY_EXC_ERR;
	}
	if (status == IBV_WC_SUCCESS)
		status = fake_work_place(q, w, 0, w->size);
	if (status == IBV_WC_SUCCESS && is_immediate(w))
		fake_arrive(q->peer, w->immediate, true, w->size);
	fake_end_oldest(q, status);
	if (status == IBV_WC_SUCCESS)
		return true;
	fake_flush(q);
	if (status == IBV_WC_REM_ACCESS_ERR)
		fake_flush(q->peer);
	return true;
}

static void carry_out_all(struct fake_qp *q)
{
	while (!q->by_hand && !q->broken && q->ended != q->posted && fake_carry_out(q))
		;
}

/* Is it what a device would take? What it would find wrong later is noted. 0 or an errno. */
static int check(struct fake_qp *q, const struct ibv_send_wr *wr, struct fake_work *w)
{
	struct fake_device *d = q->device;
	if (q->posted - q->freed >= q->send_depth) {
		fake_violation(d, "a send queue of %u is over its depth", q->send_depth);
		return ENOMEM;
	}
	if (wr->num_sge > 1 || wr->num_sge < 0 ||
	    (wr->opcode != IBV_WR_RDMA_WRITE && wr->opcode != IBV_WR_RDMA_WRITE_WITH_IMM)) {
		fake_violation(d, "opcode %d, %d pieces", wr->opcode, wr->num_sge);
		return EINVAL;
	}
	if (w->inlined && w->size > q->max_inline) {
		fake_violation(d, "%u bytes inline, at most %u", w->size, q->max_inline);
		return EINVAL;
	}
	if (q->peer == NULL) {
		fake_violation(d, "posted before the connection is made");
		return EINVAL;
	}
	if (w->size == 0)
		return 0;
	if (!w->inlined && fake_local(q, w->local, w->size, w->lkey) == NULL) {
		fake_violation(d, "local memory at %#lx + %u, key %#x", (unsigned long)w->local,
			       w->size, w->lkey);
		w->wrong_from_now = IBV_WC_LOC_PROT_ERR;
	} else if (fake_remote(q->peer, w->remote, w->size, w->rkey) == NULL) {
		fake_violation(d, "remote memory at %#lx + %u, key %#x", (unsigned long)w->remote,
			       w->size, w->rkey);
		w->wrong_from_now = IBV_WC_REM_ACCESS_ERR;
	}
	return 0;
}

/* Copies the request; what lies inline with it. */
static void read_request(struct fake_work *w, const struct ibv_send_wr *wr)
{
	const struct ibv_sge *piece = wr->num_sge == 1 ? wr->sg_list : NULL;
	w->wr_id = wr->wr_id;
	w->opcode = wr->opcode;
	w->signalled = (wr->send_flags & IBV_SEND_SIGNALED) != 0;
	w->inlined = (wr->send_flags & IBV_SEND_INLINE) != 0;
	w->size = piece != NULL ? piece->length : 0;
	w->local = piece != NULL ? piece->addr : 0;
	w->lkey = piece != NULL ? piece->lkey : 0;
	w->immediate = wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM ? wr->imm_data : 0;
	w->remote = wr->wr.rdma.remote_addr;
	w->rkey = wr->wr.rdma.rkey;
	w->wrong_from_now = IBV_WC_SUCCESS;
	if (w->inlined && w->size > 0 && w->size <= FAKE_INLINE_MAX)
		memcpy(w->data, (const void *)(uintptr_t)w->local, w->size);
}

static int post_one(struct fake_qp *q, const struct ibv_send_wr *wr)
{
	struct fake_work w, *to = fake_work_at(q, q->posted);
	read_request(&w, wr);
	int rc = q->broken ? 0 : check(q, wr, &w);
	if (rc != 0)
		return rc;
	*to = w;
	q->posted++;
	q->counts.requests++;
	q->counts.inlined += w.inlined;
	q->counts.signalled += w.signalled;
	q->counts.bytes += w.size;
	if (q->broken)
		fake_flush(q);
	return 0;
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct fake_qp *q = (struct fake_qp *)qp;
	struct fake_device *d = q->device;
	fake_lock(d);
	int planned = fake_called(d, FAKE_POST_SEND), rc = planned;
	uint32_t allowed = d->fail_send_after, done = 0;
	d->fail_send_after = 0;
	for (; wr != NULL && (planned == 0 || done < allowed); wr = wr->next, done++) {
		rc = post_one(q, wr);
		if (rc != 0)
			break;
	}
	if (planned != 0)
		rc = planned;
	if (rc != 0)
		*bad = wr;
	q->counts.doorbells += done > 0;
	carry_out_all(q);
	fake_unlock(d);
	return rc;
}

/* ---- receiving ---- */

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct fake_qp *q = (struct fake_qp *)qp;
	struct fake_device *d = q->device;
	fake_lock(d);
	int rc = fake_called(d, FAKE_POST_RECV);
	if (rc == 0)
		q->counts.receive_doorbells++;
	for (; rc == 0 && wr != NULL; wr = wr->next) {
		if (q->received - q->recv_freed >= q->recv_depth) {
			fake_violation(d, "a receive queue of %u is over its depth", q->recv_depth);
			rc = ENOMEM;
			break;
		}
		q->receives[q->received++ % q->recv_depth] = wr->wr_id;
		q->counts.receives++;
	}
	if (rc != 0)
		*bad = wr;
	if (q->broken)
		fake_flush(q);
	if (q->peer != NULL)
		carry_out_all(q->peer); /* one of its immediates may have waited */
	fake_unlock(d);
	return rc;
}

/* ---- objects ---- */

struct ibv_pd *fake_pd_create(struct fake_device *d)
{
	struct fake_pd *p = zeroed(sizeof(*p));
	p->pd.context = &d->context;
	p->device = d;
	fake_lock(d);
	d->nr_pds++;
	fake_unlock(d);
	return &p->pd;
}

void fake_pd_destroy(struct ibv_pd *pd)
{
	struct fake_pd *p = (struct fake_pd *)pd;
	fake_lock(p->device);
	if (p->users > 0)
		fake_violation(p->device, "a protection domain ends with %u users", p->users);
	p->device->nr_pds--;
	fake_unlock(p->device);
	free(p);
}

struct ibv_comp_channel *fake_channel_create(struct fake_device *d, bool blocking)
{
	struct ibv_comp_channel *c = zeroed(sizeof(*c));
	c->context = &d->context;
	c->fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE | (blocking ? 0 : EFD_NONBLOCK));
	fake_lock(d);
	d->nr_channels++;
	fake_unlock(d);
	return c;
}

void fake_channel_destroy(struct ibv_comp_channel *c)
{
	struct fake_device *d = fake_of(c->context);
	fake_lock(d);
	if (c->refcnt > 0)
		fake_violation(d, "a channel ends before its completion queue");
	d->nr_channels--;
	fake_unlock(d);
	close(c->fd);
	free(c);
}

struct ibv_cq *fake_cq_create(struct fake_device *d, uint32_t size,
			      struct ibv_comp_channel *channel)
{
	struct fake_cq *c = zeroed(sizeof(*c));
	c->cq.context = &d->context;
	c->cq.channel = channel;
	c->cq.cqe = (int)size;
	c->device = d;
	c->size = size;
	c->ring = zeroed(size * sizeof(*c->ring));
	c->held = zeroed(size * sizeof(*c->held));
	fake_lock(d);
	c->next = d->cqs;
	d->cqs = c;
	if (channel != NULL)
		channel->refcnt++;
	fake_unlock(d);
	return &c->cq;
}

void fake_cq_destroy(struct ibv_cq *cq)
{
	struct fake_cq *c = (struct fake_cq *)cq;
	struct fake_device *d = c->device;
	fake_lock(d);
	if (c->nr_qps > 0)
		fake_violation(d, "a completion queue ends before its queue pair");
	/* libibverbs waits for it, for ever. */
	if (c->taken_events != c->acknowledged)
		fake_violation(d, "a completion queue ends with %lu events not acknowledged",
			       (unsigned long)(c->taken_events - c->acknowledged));
	struct fake_cq **at = &d->cqs;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	if (cq->channel != NULL)
		cq->channel->refcnt--;
	fake_unlock(d);
	free(c->ring);
	free(c->held);
	free(c);
}

struct ibv_qp *fake_qp_create(struct ibv_pd *pd, const struct ibv_qp_init_attr *attr)
{
	struct fake_device *d = ((struct fake_pd *)pd)->device;
	struct fake_qp *q = zeroed(sizeof(*q));
	q->device = d;
	q->send_depth = attr->cap.max_send_wr;
	q->recv_depth = attr->cap.max_recv_wr;
	q->max_inline = attr->cap.max_inline_data;
	q->works = zeroed(q->send_depth * sizeof(*q->works));
	q->receives = zeroed(q->recv_depth * sizeof(*q->receives));
	fake_lock(d);
	q->qp = (struct ibv_qp){.context = &d->context,
				.qp_context = attr->qp_context,
				.pd = pd,
				.send_cq = attr->send_cq,
				.recv_cq = attr->recv_cq,
				.qp_num = ++d->last_qp,
				.state = IBV_QPS_INIT,
				.qp_type = attr->qp_type};
	((struct fake_pd *)pd)->users++;
	cq_of(q)->nr_qps++;
	q->next = d->qps;
	d->qps = q;
	fake_unlock(d);
	return &q->qp;
}

/* Its completions go with it. */
static void forget_completions(struct fake_cq *c, const struct fake_qp *q)
{
	uint64_t to = c->head;
	for (uint64_t i = c->head; i != c->tail; i++)
		if (c->ring[i % c->size].qp != q)
			c->ring[to++ % c->size] = c->ring[i % c->size];
	c->tail = to;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < c->nr_held; i++)
		if (c->held[i].qp != q)
			c->held[kept++] = c->held[i];
	c->nr_held = kept;
}

void fake_qp_destroy(struct ibv_qp *qp)
{
	struct fake_qp *q = (struct fake_qp *)qp;
	struct fake_device *d = q->device;
	fake_lock(d);
	forget_completions(cq_of(q), q);
	if (q->peer != NULL) {
		/* What it sends from now on is not acknowledged. */
		fake_flush(q->peer);
		q->peer->peer = NULL;
	}
	cq_of(q)->nr_qps--;
	((struct fake_pd *)qp->pd)->users--;
	struct fake_qp **at = &d->qps;
	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	fake_unlock(d);
	free(q->works);
	free(q->receives);
	free(q);
}

/* ---- devices ---- */

struct fake_device *fake_device_create(const struct fake_options *options)
{
	const struct fake_options defaults = FAKE_DEFAULTS;
	struct fake_device *d = zeroed(sizeof(*d));
	d->options = options != NULL ? *options : defaults;
	if (d->options.max_inline > FAKE_INLINE_MAX)
		abort();
	d->context.device = &d->device;
	d->device.transport_type = IBV_TRANSPORT_IB;
	d->device.node_type = IBV_NODE_CA;
	d->context.cmd_fd = d->context.async_fd = -1;
	d->context.ops.poll_cq = poll_cq;
	d->context.ops.req_notify_cq = req_notify_cq;
	d->context.ops.post_send = post_send;
	d->context.ops.post_recv = post_recv;
	snprintf(d->device.name, sizeof(d->device.name), "fake0");
	return d;
}

void fake_device_destroy(struct fake_device *d)
{
	if (d->qps != NULL || d->cqs != NULL || d->nr_alive > 0 || d->nr_pds > 0 ||
	    d->nr_channels > 0)
		fake_violation(
			d, "it ends with %s, %s, %u regions, %u protection domains, %u channels",
			d->qps != NULL ? "queue pairs" : "no queue pair",
			d->cqs != NULL ? "completion queues" : "no completion queue", d->nr_alive,
			d->nr_pds, d->nr_channels);
	for (uint32_t i = 0; i < d->nr_regions; i++)
		free(d->regions[i]);
	free(d->regions);
	free(d);
}

struct ibv_context *fake_context(struct fake_device *d)
{
	return &d->context;
}

uint64_t fake_violations(const struct fake_device *d)
{
	return d->violations;
}

void fake_end_create(struct fake_device *d, uint32_t send_depth, uint32_t recv_depth,
		     uint32_t max_inline, struct fake_end *end)
{
	end->pd = fake_pd_create(d);
	end->channel = fake_channel_create(d, false);
	end->cq = fake_cq_create(d, send_depth + recv_depth, end->channel);
	const struct ibv_qp_init_attr attr = {.qp_type = IBV_QPT_RC,
					      .send_cq = end->cq,
					      .recv_cq = end->cq,
					      .cap = {.max_send_wr = send_depth,
						      .max_recv_wr = recv_depth,
						      .max_inline_data = max_inline}};
	end->qp = fake_qp_create(end->pd, &attr);
}

void fake_end_destroy(struct fake_end *end)
{
	struct fake_device *d = fake_of(end->qp->context);
	fake_qp_destroy(end->qp);
	fake_cq_destroy(end->cq);
	fake_channel_destroy(end->channel);
	for (uint32_t i = 0; i < d->nr_regions; i++)
		if (!d->regions[i]->ended && d->regions[i]->mr.pd == end->pd)
			fake_region_end(&d->regions[i]->mr);
	fake_pd_destroy(end->pd);
}

void fake_connect(struct ibv_qp *a, struct ibv_qp *b)
{
	struct fake_qp *one = (struct fake_qp *)a, *other = (struct fake_qp *)b;
	fake_lock(one->device);
	one->peer = other;
	other->peer = one;
	a->state = b->state = IBV_QPS_RTS;
	fake_unlock(one->device);
}
