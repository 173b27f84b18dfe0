/* fake_setup.c - libibverbs' and librdmacm's exported functions on the fake device. The thread that sets up; events of queues, any. */
#include "fake_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fake_internal.h"

struct fake_event {
	struct rdma_cm_event event; /* first */
	struct fake_event *next;
	char data[256];
};

struct fake_cm_channel {
	struct rdma_event_channel channel; /* first */
	struct fake_event *events;
	unsigned nr_ids;
};

struct fake_id {
	struct rdma_cm_id id; /* first */
	unsigned nr_taken;    /* events that are not acknowledged */
};

static struct fake_device *device;
static struct ibv_qp *(*listener)(void *, struct rdma_cm_id *, const void *, size_t,
				  struct fake_answer *);
static void *listener_user;
static unsigned other_in;
static bool other_came, is_silent;
static enum rdma_cm_event_type other_type;
static int other_status;
static const struct ibv_gid_entry *gids;
static size_t nr_gids;
static struct fake_told told;
static unsigned nr_left;

void fake_setup_device(struct fake_device *d)
{
	if (d == NULL && nr_left > 0) {
		fprintf(stderr, "fake device: %u identifiers or channels are left\n", nr_left);
		abort();
	}
	device = d;
}

void fake_setup_listener(struct ibv_qp *(*answer)(void *, struct rdma_cm_id *, const void *, size_t,
						  struct fake_answer *),
			 void *user)
{
	listener = answer;
	listener_user = user;
}

bool fake_setup_event(unsigned n, enum rdma_cm_event_type type, int status)
{
	bool came = other_came;
	other_came = false;
	other_in = n;
	other_type = type;
	other_status = status;
	return came;
}

void fake_setup_silent(bool silent)
{
	is_silent = silent;
}

void fake_setup_gids(const struct ibv_gid_entry *entries, size_t nr)
{
	gids = entries;
	nr_gids = nr;
}

const struct fake_told *fake_setup_told(void)
{
	return &told;
}

/* True: the call fails, errno says how. */
static bool fails(struct fake_device *d, enum fake_call call)
{
	if (d == NULL)
		return false;
	fake_lock(d);
	int error = fake_called(d, call);
	fake_unlock(d);
	if (error != 0)
		errno = error;
	return error != 0;
}

static void *zeroed(size_t size)
{
	void *p = calloc(1, size);
	if (p == NULL)
		abort();
	return p;
}

/* ---- libibverbs: devices ---- */

struct ibv_device **ibv_get_device_list(int *n)
{
	struct ibv_device **list = zeroed(2 * sizeof(struct ibv_device *));
	if (device != NULL)
		list[0] = &device->device;
	if (n != NULL)
		*n = device != NULL;
	return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
	free(list);
}

struct ibv_context *ibv_open_device(struct ibv_device *d)
{
	(void)d;
	return fails(device, FAKE_QUERY) ? NULL : &device->context;
}

int ibv_close_device(struct ibv_context *context)
{
	(void)context;
	return 0;
}

ssize_t _ibv_query_gid_table(struct ibv_context *context, struct ibv_gid_entry *entries, size_t max,
			     uint32_t flags, size_t entry_size)
{
	(void)flags;
	if (fails(fake_of(context), FAKE_QUERY) || entry_size != sizeof(*entries))
		return -errno;
	size_t n = nr_gids < max ? nr_gids : max;
	if (n > 0)
		memcpy(entries, gids, n * sizeof(*entries));
	return (ssize_t)n;
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	struct fake_device *d = fake_of(context);
	if (fails(d, FAKE_QUERY))
		return errno;
	memset(attr, 0, sizeof(*attr));
	attr->max_qp_wr = (int)d->options.max_wr;
	attr->max_cqe = (int)d->options.max_cqe;
	attr->vendor_id = d->options.vendor_id;
	attr->phys_port_cnt = 1;
	return 0;
}

#undef ibv_query_port
int ibv_query_port(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *to)
{
	/* What is declared as the old struct is the new one: verbs.h casts it. */
	struct ibv_port_attr *attr = (struct ibv_port_attr *)to;
	(void)port;
	if (fails(fake_of(context), FAKE_QUERY))
		return errno;
	attr->state = IBV_PORT_ACTIVE;
	attr->link_layer = IBV_LINK_LAYER_ETHERNET;
	return 0;
}

int ibv_query_qp_data_in_order(struct ibv_qp *qp, enum ibv_wr_opcode op, uint32_t flags)
{
	(void)flags;
	return op == IBV_WR_RDMA_WRITE && fake_of(qp->context)->options.in_order;
}

/* ---- libibverbs: objects ---- */

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
	struct fake_device *d = fake_of(context);
	return fails(d, FAKE_PD) ? NULL : fake_pd_create(d);
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
	fake_pd_destroy(pd);
	return 0;
}

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context)
{
	struct fake_device *d = fake_of(context);
	return fails(d, FAKE_CHANNEL) ? NULL : fake_channel_create(d, true);
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
	fake_channel_destroy(channel);
	return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int size, void *user,
			     struct ibv_comp_channel *channel, int vector)
{
	struct fake_device *d = fake_of(context);
	(void)vector;
	if (fails(d, FAKE_CQ))
		return NULL;
	if (size < 1 || (uint32_t)size > d->options.max_cqe) {
		errno = EINVAL;
		return NULL;
	}
	struct ibv_cq *cq = fake_cq_create(d, (uint32_t)size, channel);
	cq->cq_context = user;
	return cq;
}

int ibv_destroy_cq(struct ibv_cq *cq)
{
	fake_cq_destroy(cq);
	return 0;
}

static struct ibv_qp *create_qp(struct ibv_pd *pd, const struct ibv_qp_init_attr *attr)
{
	struct fake_device *d = fake_of(pd->context);
	if (fails(d, FAKE_QP))
		return NULL;
	if (attr->cap.max_inline_data > d->options.max_inline ||
	    attr->cap.max_send_wr > d->options.max_wr ||
	    attr->cap.max_recv_wr > d->options.max_wr || attr->qp_type != IBV_QPT_RC) {
		errno = EINVAL;
		return NULL;
	}
	return fake_qp_create(pd, attr);
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	return create_qp(pd, attr);
}

int ibv_destroy_qp(struct ibv_qp *qp)
{
	fake_qp_destroy(qp);
	return 0;
}

int ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	if (fails(fake_of(qp->context), FAKE_MODIFY))
		return errno;
	if (mask & IBV_QP_MIN_RNR_TIMER)
		told.rnr_timer = attr->min_rnr_timer;
	return 0;
}

static struct ibv_mr *register_memory(struct ibv_pd *pd, void *at, size_t size, uint64_t iova,
				      unsigned access)
{
	if (fails(fake_of(pd->context), FAKE_REGION))
		return NULL;
	return fake_region(pd, at, size, iova, (int)access);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *at, size_t size, uint64_t iova,
				unsigned access)
{
	return register_memory(pd, at, size, iova, access);
}

#undef ibv_reg_mr_iova
struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *at, size_t size, uint64_t iova, int access)
{
	return register_memory(pd, at, size, iova, (unsigned)access);
}

#undef ibv_reg_mr
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *at, size_t size, int access)
{
	return register_memory(pd, at, size, (uintptr_t)at, (unsigned)access);
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	fake_region_end(mr);
	return 0;
}

/* ---- libibverbs: events ---- */

int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **user)
{
	struct fake_device *d = fake_of(channel->context);
	uint64_t one;
	if (read(channel->fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		return -1;
	fake_lock(d);
	struct fake_cq *c = d->cqs;
	while (c != NULL && c->cq.channel != channel)
		c = c->next;
	if (c != NULL)
		c->taken_events++;
	fake_unlock(d);
	if (c == NULL)
		return -1;
	*cq = &c->cq;
	*user = c->cq.cq_context;
	return 0;
}

void ibv_ack_cq_events(struct ibv_cq *cq, unsigned n)
{
	struct fake_cq *c = (struct fake_cq *)cq;
	fake_lock(c->device);
	c->acknowledged += n;
	if (c->acknowledged > c->taken_events)
		fake_violation(c->device, "more events are acknowledged than were taken");
	fake_unlock(c->device);
}

/* ---- librdmacm: events ---- */

struct rdma_event_channel *rdma_create_event_channel(void)
{
	if (device == NULL) {
		errno = ENODEV;
		return NULL;
	}
	if (fails(device, FAKE_CM_CHANNEL))
		return NULL;
	struct fake_cm_channel *c = zeroed(sizeof(*c));
	c->channel.fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	nr_left++;
	return &c->channel;
}

static void drop_event(struct fake_cm_channel *c, struct fake_event **at)
{
	struct fake_event *e = *at;
	uint64_t one;
	*at = e->next;
	if (read(c->channel.fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		abort();
	free(e);
}

void rdma_destroy_event_channel(struct rdma_event_channel *channel)
{
	struct fake_cm_channel *c = (struct fake_cm_channel *)channel;
	if (c->nr_ids > 0)
		fake_violation(device, "an event channel ends before its identifiers");
	while (c->events != NULL)
		drop_event(c, &c->events);
	close(channel->fd);
	free(c);
	nr_left--;
}

/* It stands last in the queue; `data` of `size` bytes comes with it. */
static void tell(struct rdma_cm_id *id, enum rdma_cm_event_type type, int status, const void *data,
		 size_t size)
{
	struct fake_cm_channel *c = (struct fake_cm_channel *)id->channel;
	if (is_silent)
		return;
	struct fake_event *e = zeroed(sizeof(*e)), **at = &c->events;
	uint64_t one = 1;
	e->event = (struct rdma_cm_event){.id = id, .event = type, .status = status};
	if (other_in > 0 && --other_in == 0) {
		e->event.event = other_type;
		e->event.status = other_status;
		other_came = true;
	}
	if (data != NULL) {
		memcpy(e->data, data, size);
		e->event.param.conn.private_data = e->data;
		e->event.param.conn.private_data_len = (uint8_t)size;
	}
	while (*at != NULL)
		at = &(*at)->next;
	*at = e;
	if (write(c->channel.fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		abort();
}

int rdma_get_cm_event(struct rdma_event_channel *channel, struct rdma_cm_event **event)
{
	struct fake_cm_channel *c = (struct fake_cm_channel *)channel;
	uint64_t one;
	if (fails(device, FAKE_CM_EVENT))
		return -1;
	if (c->events == NULL && !(fcntl(channel->fd, F_GETFL) & O_NONBLOCK)) {
		fprintf(stderr, "fake device: rdma_get_cm_event() would wait for ever\n");
		abort();
	}
	if (read(channel->fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		return -1;
	*event = &c->events->event;
	c->events = c->events->next;
	((struct fake_id *)(*event)->id)->nr_taken++;
	return 0;
}

int rdma_ack_cm_event(struct rdma_cm_event *event)
{
	((struct fake_id *)event->id)->nr_taken--;
	free(event);
	return 0;
}

/* ---- librdmacm: identifiers ---- */

int rdma_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *user,
		   enum rdma_port_space ps)
{
	if (fails(device, FAKE_CM_ID))
		return -1;
	struct fake_id *i = zeroed(sizeof(*i));
	i->id.channel = channel;
	i->id.context = user;
	i->id.ps = ps;
	((struct fake_cm_channel *)channel)->nr_ids++;
	nr_left++;
	*id = &i->id;
	return 0;
}

int rdma_destroy_id(struct rdma_cm_id *id)
{
	struct fake_id *i = (struct fake_id *)id;
	struct fake_cm_channel *c = (struct fake_cm_channel *)id->channel;
	if (id->qp != NULL)
		fake_violation(device, "an identifier ends before its queue pair");
	/* librdmacm waits for it, for ever. */
	if (i->nr_taken > 0)
		fake_violation(device, "an identifier ends with events not acknowledged");
	for (struct fake_event **at = &c->events; *at != NULL;)
		if ((*at)->event.id == id)
			drop_event(c, at);
		else
			at = &(*at)->next;
	c->nr_ids--;
	nr_left--;
	free(i);
	return 0;
}

int rdma_resolve_addr(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to,
		      int timeout_ms)
{
	(void)from, (void)to, (void)timeout_ms;
	if (fails(device, FAKE_CM_ADDRESS))
		return -1;
	id->verbs = &device->context;
	tell(id, RDMA_CM_EVENT_ADDR_RESOLVED, 0, NULL, 0);
	return 0;
}

int rdma_resolve_route(struct rdma_cm_id *id, int timeout_ms)
{
	(void)timeout_ms;
	if (fails(device, FAKE_CM_ROUTE))
		return -1;
	tell(id, RDMA_CM_EVENT_ROUTE_RESOLVED, 0, NULL, 0);
	return 0;
}

int rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	id->qp = create_qp(pd, attr);
	return id->qp != NULL ? 0 : -1;
}

void rdma_destroy_qp(struct rdma_cm_id *id)
{
	fake_qp_destroy(id->qp);
	id->qp = NULL;
}

int rdma_set_option(struct rdma_cm_id *id, int level, int name, void *value, size_t size)
{
	(void)id;
	if (fails(device, FAKE_CM_OPTION))
		return -1;
	if (level == RDMA_OPTION_ID && name == RDMA_OPTION_ID_ACK_TIMEOUT && size == 1)
		memcpy(&told.ack_timeout, value, size);
	return 0;
}

int rdma_connect(struct rdma_cm_id *id, struct rdma_conn_param *param)
{
	struct fake_answer answer = {0};
	if (fails(device, FAKE_CM_CONNECT))
		return -1;
	told.param = *param;
	struct ibv_qp *peer = listener != NULL ? listener(listener_user, id, param->private_data,
							  param->private_data_len, &answer)
					       : NULL;
	if (peer == NULL) {
		tell(id, RDMA_CM_EVENT_REJECTED, ECONNREFUSED, answer.why,
		     answer.why != NULL ? strlen(answer.why) + 1 : 0);
		return 0;
	}
	fake_connect(id->qp, peer);
	tell(id, RDMA_CM_EVENT_ESTABLISHED, 0, answer.without_data ? NULL : &answer.number,
	     sizeof(answer.number));
	return 0;
}

int rdma_disconnect(struct rdma_cm_id *id)
{
	if (id->qp == NULL) {
		errno = EINVAL;
		return -1;
	}
	fake_lock(device);
	fake_flush((struct fake_qp *)id->qp);
	fake_unlock(device);
	return 0;
}
