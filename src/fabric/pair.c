/* pair.c - queue pairs and memory regions. Any thread that may block. */
#include "fabric/pair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "util/limits.h"

/* A request that was not acknowledged is sent again after 4.096 us * 2^n. */
#define ACK_TIMEOUT	     17 /* 0.54 s: seven more tries outlast peer_timeout */
#define ACK_TIMEOUT_SOFTWARE 14 /* 67 ms: soft-RoCE tries for ever when told 7 times */
#define RETRIES		     7
#define RNR_TIMER	     12 /* 0.64 ms; rdma_cm's own choice is 655 ms */
#define SOFT_ROCE_VENDOR     0xffffff

static const uint32_t inline_sizes[] = {220, 128, 64, 0};
#define NR_INLINE_SIZES (sizeof(inline_sizes) / sizeof(inline_sizes[0]))

static int fail(int error, char *reason, size_t size, const char *what, struct rdma_cm_id *id)
{
	snprintf(reason, size, "%s on %s: %s%s", what,
		 id->verbs != NULL ? ibv_get_device_name(id->verbs->device) : "no device",
		 strerror(error),
		 error == ENOMEM
			 ? ": the device has no room for more queue pairs, or RLIMIT_MEMLOCK "
			   "is too low (ulimit -l; LimitMEMLOCK= in the unit)"
			 : "");
	return -error;
}

static uint32_t at_most(uint32_t wanted, int most)
{
	return most > 0 && wanted > (uint32_t)most ? (uint32_t)most : wanted;
}

/* The largest inline size that the device gives with these depths. */
static int make_qp(struct adv_pair *p, struct ibv_pd *pd)
{
	int rc = -1;
	for (size_t i = 0; i < NR_INLINE_SIZES && rc != 0; i++) {
		struct ibv_qp_init_attr attr = {
			.qp_type = IBV_QPT_RC,
			.send_cq = p->cq,
			.recv_cq = p->cq,
			.cap = {.max_send_wr = p->send_depth,
				.max_recv_wr = p->recv_depth,
				.max_send_sge = 1,
				.max_recv_sge = 1,
				.max_inline_data = inline_sizes[i]},
		};
		rc = rdma_create_qp(p->id, pd, &attr);
		p->max_inline = inline_sizes[i];
	}
	return rc == 0 ? 0 : -errno;
}

int adv_pair_create(struct rdma_cm_id *id, struct ibv_pd *pd, uint32_t send_depth,
		    uint32_t recv_depth, struct adv_pair *out, char *reason, size_t size)
{
	struct ibv_device_attr device;
	struct adv_pair p = {.id = id};
	int rc = ibv_query_device(id->verbs, &device);
	if (rc != 0)
		return fail(rc, reason, size, "cannot query the device", id);
	p.send_depth = at_most(send_depth, device.max_qp_wr);
	p.recv_depth = at_most(recv_depth + ADV_LINK_RECV_SLACK, device.max_qp_wr);
	if ((uint64_t)p.send_depth + p.recv_depth > (uint64_t)device.max_cqe)
		return fail(ENOSPC, reason, size, "completion queues are too short", id);
	p.channel = ibv_create_comp_channel(id->verbs);
	if (p.channel == NULL)
		return fail(errno, reason, size, "cannot make a completion channel", id);
	if (fcntl(p.channel->fd, F_SETFL, O_NONBLOCK) == 0)
		p.cq = ibv_create_cq(id->verbs, (int)(p.send_depth + p.recv_depth), NULL, p.channel,
				     0);
	rc = p.cq == NULL ? -errno : make_qp(&p, pd);
	if (rc == 0) {
		*out = p;
		return 0;
	}
	fail(-rc, reason, size,
	     p.cq == NULL ? "cannot make a completion queue" : "cannot make a queue pair", id);
	if (p.cq != NULL)
		ibv_destroy_cq(p.cq);
	ibv_destroy_comp_channel(p.channel);
	return rc;
}

void adv_pair_destroy(struct adv_pair *p)
{
	if (p->id != NULL && p->id->qp != NULL)
		rdma_destroy_qp(p->id);
	if (p->cq != NULL)
		ibv_destroy_cq(p->cq);
	if (p->channel != NULL)
		ibv_destroy_comp_channel(p->channel);
	if (p->id != NULL)
		rdma_destroy_id(p->id);
	memset(p, 0, sizeof(*p));
}

void adv_pair_parameters(struct rdma_cm_id *id, const void *hello, struct rdma_conn_param *param)
{
	struct ibv_device_attr device;
	bool software =
		ibv_query_device(id->verbs, &device) == 0 && device.vendor_id == SOFT_ROCE_VENDOR;
	uint8_t timeout = software ? ACK_TIMEOUT_SOFTWARE : ACK_TIMEOUT;
	/* An old kernel does not know the option: then it is the subnet's timeout, as for everyone. */
	(void)rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout,
			      sizeof(timeout));
	*param = (struct rdma_conn_param){
		.private_data = hello,
		.private_data_len = hello != NULL ? ADV_WIRE_HELLO_BYTES : 0,
		.responder_resources = 1,
		.initiator_depth = 1,
		.retry_count = RETRIES,
		.rnr_retry_count = RETRIES,
	};
}

void adv_pair_connected(struct adv_pair *p)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS, .min_rnr_timer = RNR_TIMER};
	(void)ibv_modify_qp(p->id->qp, &attr, IBV_QP_STATE | IBV_QP_MIN_RNR_TIMER);
}

uint32_t adv_pair_inline(struct ibv_pd *pd)
{
	struct ibv_cq *cq = ibv_create_cq(pd->context, 1, NULL, NULL, 0);
	uint32_t found = 0;
	for (size_t i = 0; cq != NULL && i < NR_INLINE_SIZES && found == 0; i++) {
		struct ibv_qp_init_attr attr = {
			.qp_type = IBV_QPT_RC,
			.send_cq = cq,
			.recv_cq = cq,
			.cap = {.max_send_wr = 1,
				.max_recv_wr = 1,
				.max_send_sge = 1,
				.max_recv_sge = 1,
				.max_inline_data = inline_sizes[i]},
		};
		struct ibv_qp *qp = ibv_create_qp(pd, &attr);
		if (qp == NULL)
			continue;
		found = inline_sizes[i];
		ibv_destroy_qp(qp);
	}
	if (cq != NULL)
		ibv_destroy_cq(cq);
	return found;
}

/* ---- memory ---- */

static void explain(uint64_t bytes, int error, struct ibv_pd *pd, char *reason, size_t size)
{
	struct rlimit limit;
	const char *device = ibv_get_device_name(pd->context->device);
	if (error == ENOMEM && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY) {
		snprintf(reason, size,
			 "registering %llu KiB with %s: RLIMIT_MEMLOCK is %llu KiB: raise it "
			 "(ulimit -l "
			 "unlimited; LimitMEMLOCK=infinity in a unit; memlock in limits.conf)",
			 (unsigned long long)(bytes / ADV_KIB), device,
			 (unsigned long long)(limit.rlim_cur / ADV_KIB));
		return;
	}
	snprintf(reason, size, "registering %llu KiB with %s: %s",
		 (unsigned long long)(bytes / ADV_KIB), device, strerror(error));
}

struct ibv_mr *adv_memory_register(struct ibv_pd *pd, void *at, uint64_t bytes, uint64_t offset,
				   int access, char *reason, size_t size)
{
	struct ibv_mr *mr = ibv_reg_mr_iova(pd, at, bytes, offset, access);
	if (mr == NULL)
		explain(bytes, errno, pd, reason, size);
	return mr;
}
