/* verbs_node.c - a handle's device and protection domain, and its connections. Any thread; calls here wait for devices and peers. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/verbs.h"
#include "fabric/device.h"
#include "util/clock.h"

#define RESTING_MAX 16

/* ---- events, one at a time ---- */

static enum adv_status no_rdma(int error)
{
	if (error == ENODEV || error == ENOENT)
		return adv_client_fail(
			ADV_SYSTEM,
			"this machine has no RDMA device: load the network card's driver and "
			"rdma_ucm, or make a device in software (modprobe rdma_rxe; rdma link "
			"add rxe0 type rxe netdev INTERFACE)");
	return adv_client_fail(ADV_SYSTEM, "RDMA cannot be used: %s", strerror(error));
}

/* Waits for what must come next. The event is the caller's to acknowledge. */
static enum adv_status await(struct rdma_event_channel *channel, uint64_t deadline_ns,
			     struct rdma_cm_event **event)
{
	struct pollfd p = {.fd = channel->fd, .events = POLLIN};
	while (rdma_get_cm_event(channel, event) < 0) {
		int left = adv_client_left_ms(deadline_ns);
		if (errno != EAGAIN && errno != EINTR)
			return adv_client_fail(ADV_SYSTEM, "waiting for an RDMA connection: %s",
					       strerror(errno));
		if (left == 0)
			return adv_client_fail(ADV_TIMEOUT,
					       "the RDMA connection was not made in time");
		(void)poll(&p, 1, left);
	}
	return ADV_OK;
}

static enum adv_status refused(const struct rdma_cm_event *event)
{
	char why[129] = "";
	size_t size = event->param.conn.private_data_len;
	if (event->param.conn.private_data != NULL)
		snprintf(why, sizeof(why), "%.*s", (int)(size < 128 ? size : 128),
			 (const char *)event->param.conn.private_data);
	adv_client_printable(why, why, sizeof(why));
	return adv_client_fail(ADV_FORBIDDEN, "the node refuses the RDMA connection: %s",
			       why[0] != '\0' ? why : "nobody listens there");
}

/* The event that is wanted, acknowledged; `welcome` is what an accepted connection brings. */
static enum adv_status expect(struct rdma_event_channel *channel, enum rdma_cm_event_type want,
			      uint64_t deadline_ns, struct adv_welcome *welcome)
{
	struct rdma_cm_event *event;
	enum adv_status status = await(channel, deadline_ns, &event);
	if (status != ADV_OK)
		return status;
	if (event->event == RDMA_CM_EVENT_REJECTED)
		status = refused(event);
	else if (event->event != want)
		status = adv_client_fail(
			ADV_SYSTEM, "no RDMA connection to the node: %s (%s)",
			rdma_event_str(event->event),
			strerror(event->status < 0 ? -event->status : event->status));
	else if (welcome != NULL && event->param.conn.private_data != NULL)
		memcpy(welcome, event->param.conn.private_data,
		       event->param.conn.private_data_len < sizeof(*welcome)
			       ? event->param.conn.private_data_len
			       : sizeof(*welcome));
	rdma_ack_cm_event(event);
	return status;
}

/* An identifier whose device reaches the address. */
static enum adv_status resolve(struct adv_verbs_node *n, uint64_t deadline_ns,
			       struct rdma_event_channel **channel, struct rdma_cm_id **id)
{
	struct rdma_event_channel *events = rdma_create_event_channel();
	struct rdma_cm_id *made;
	if (events == NULL)
		return no_rdma(errno);
	if (fcntl(events->fd, F_SETFL, O_NONBLOCK) < 0 ||
	    rdma_create_id(events, &made, NULL, RDMA_PS_TCP) < 0) {
		int error = errno;
		rdma_destroy_event_channel(events);
		return no_rdma(error);
	}
	int left = adv_client_left_ms(deadline_ns);
	enum adv_status status =
		rdma_resolve_addr(made, n->from.ss_family != 0 ? (struct sockaddr *)&n->from : NULL,
				  (struct sockaddr *)&n->address, left) < 0
			? no_rdma(errno)
			: expect(events, RDMA_CM_EVENT_ADDR_RESOLVED, deadline_ns, NULL);
	if (status != ADV_OK) {
		rdma_destroy_id(made);
		rdma_destroy_event_channel(events);
		return status;
	}
	*channel = events;
	*id = made;
	return ADV_OK;
}

/* ---- the handle's part ---- */

static enum adv_status first_address(const struct adv_address *a, uint64_t deadline_ns,
				     struct adv_verbs_node *n)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
	struct addrinfo *list;
	if (a->peer.ss_family != AF_UNSPEC) {
		n->address = a->peer;
		return resolve(n, deadline_ns, &n->events, &n->anchor);
	}
	int rc = getaddrinfo(a->host, a->port, &hints, &list);
	if (rc != 0)
		return adv_client_fail(ADV_NO_NODE, "no host %s: %s", a->host, gai_strerror(rc));
	enum adv_status status = ADV_NO_NODE;
	for (const struct addrinfo *to = list; to != NULL && status != ADV_OK; to = to->ai_next) {
		memset(&n->address, 0, sizeof(n->address));
		memcpy(&n->address, to->ai_addr, to->ai_addrlen);
		status = resolve(n, deadline_ns, &n->events, &n->anchor);
	}
	freeaddrinfo(list);
	return status;
}

enum adv_status adv_verbs_node_create(const struct adv_address *address, uint64_t deadline_ns,
				      struct adv_verbs_node **out)
{
	char why[256];
	struct adv_verbs_node *n = calloc(1, sizeof(*n));
	if (n == NULL)
		return adv_client_fail_text(ADV_NO_MEMORY, "no memory for a node's handle");
	pthread_mutex_init(&n->lock, NULL);
	n->from = address->from;
	enum adv_status status = first_address(address, deadline_ns, n);
	if (status == ADV_OK && adv_device_check(n->anchor->verbs->device, why, sizeof(why)) < 0)
		status = adv_client_fail(ADV_SYSTEM, "%s", why);
	if (status == ADV_OK && getrandom(n->id, sizeof(n->id), 0) != (ssize_t)sizeof(n->id))
		status = adv_client_fail(ADV_SYSTEM, "no random number: %s", strerror(errno));
	if (status == ADV_OK) {
		n->pd = ibv_alloc_pd(n->anchor->verbs);
		if (n->pd == NULL)
			status = adv_client_fail(ADV_SYSTEM, "no protection domain on %s: %s",
						 ibv_get_device_name(n->anchor->verbs->device),
						 strerror(errno));
	}
	if (status != ADV_OK) {
		adv_verbs_node_destroy(n);
		return status;
	}
	n->in_order = adv_device_in_order(n->anchor->verbs, why, sizeof(why));
	*out = n;
	return ADV_OK;
}

void adv_verbs_node_destroy(struct adv_verbs_node *n)
{
	if (n == NULL)
		return;
	for (struct adv_verbs_link *l = n->resting, *next; l != NULL; l = next) {
		next = l->next;
		adv_verbs_link_destroy(l);
	}
	if (n->pd != NULL)
		ibv_dealloc_pd(n->pd);
	if (n->anchor != NULL)
		rdma_destroy_id(n->anchor);
	if (n->events != NULL)
		rdma_destroy_event_channel(n->events);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

/* ---- links ---- */

/* Has its other end gone while it was at rest? What comes on a connection then is its end, and nothing else. */
static bool has_ended(struct adv_verbs_link *l)
{
	struct rdma_cm_event *event;
	if (rdma_get_cm_event(l->events, &event) < 0)
		return false;
	rdma_ack_cm_event(event);
	return true;
}

/* Takes the first that is long enough out of the list; NULL. */
static struct adv_verbs_link *take_first(struct adv_verbs_node *n, uint32_t nr_receives)
{
	struct adv_verbs_link *found = NULL;
	pthread_mutex_lock(&n->lock);
	for (struct adv_verbs_link **at = &n->resting; *at != NULL; at = &(*at)->next) {
		if ((*at)->pair.recv_depth < nr_receives)
			continue;
		found = *at;
		*at = found->next;
		break;
	}
	pthread_mutex_unlock(&n->lock);
	return found;
}

struct adv_verbs_link *adv_verbs_link_take(struct adv_verbs_node *n, uint32_t nr_receives)
{
	struct adv_verbs_link *l;
	while ((l = take_first(n, nr_receives)) != NULL && has_ended(l))
		adv_verbs_link_destroy(l);
	return l;
}

void adv_verbs_link_rest(struct adv_verbs_node *n, struct adv_verbs_link *link)
{
	unsigned nr = 0;
	pthread_mutex_lock(&n->lock);
	for (const struct adv_verbs_link *l = n->resting; l != NULL; l = l->next)
		nr++;
	if (nr < RESTING_MAX) {
		link->next = n->resting;
		n->resting = link;
		link = NULL;
	}
	pthread_mutex_unlock(&n->lock);
	if (link != NULL)
		adv_verbs_link_destroy(link);
}

void adv_verbs_link_destroy(struct adv_verbs_link *l)
{
	if (l->pair.id != NULL) {
		rdma_disconnect(l->pair.id);
		if (l->nr_events > 0)
			ibv_ack_cq_events(l->pair.cq, l->nr_events);
		adv_pair_destroy(&l->pair);
	}
	if (l->events != NULL)
		rdma_destroy_event_channel(l->events);
	free(l);
}

static enum adv_status make_pair(struct adv_verbs_node *n, const struct adv_verbs_connect *c,
				 struct rdma_cm_id *id, struct adv_verbs_link *l)
{
	char reason[ADV_REASON_MAX];
	if (id->verbs != n->anchor->verbs)
		return adv_client_fail(ADV_SYSTEM,
				       "the node is reached by another RDMA device than before: "
				       "open another handle");
	if (adv_pair_create(id, n->pd, c->send_depth, c->recv_depth, &l->pair, reason,
			    sizeof(reason)) < 0)
		return adv_client_fail(ADV_SYSTEM, "%s", reason);
	adv_link_init(&l->link, id->qp, l->pair.cq, l->pair.send_depth, l->pair.recv_depth,
		      l->pair.max_inline);
	if (adv_link_fill(&l->link) < 0)
		return adv_client_fail(ADV_SYSTEM, "receives could not be posted: %s",
				       adv_link_why(&l->link));
	return ADV_OK;
}

static enum adv_status connect_pair(const struct adv_verbs_connect *c, struct adv_verbs_link *l)
{
	uint8_t hello[ADV_WIRE_HELLO_BYTES];
	struct rdma_conn_param param;
	struct adv_welcome welcome = {0};
	if (adv_hello_pack(&c->hello, c->token, c->token_size, hello) < 0)
		return adv_client_fail_text(ADV_SYSTEM, "no HMAC-SHA256 in this libcrypto");
	adv_pair_parameters(l->pair.id, hello, &param);
	if (rdma_connect(l->pair.id, &param) < 0)
		return adv_client_fail(ADV_SYSTEM, "no RDMA connection to the node: %s",
				       strerror(errno));
	enum adv_status status =
		expect(l->events, RDMA_CM_EVENT_ESTABLISHED, c->deadline_ns, &welcome);
	if (status != ADV_OK)
		return status;
	l->number = welcome.number;
	l->region_rkey = welcome.region_rkey;
	l->region_bytes = welcome.region_bytes;
	adv_pair_connected(&l->pair);
	return ADV_OK;
}

enum adv_status adv_verbs_link_connect(struct adv_verbs_node *n, const struct adv_verbs_connect *c,
				       struct adv_verbs_link **out)
{
	struct rdma_cm_id *id;
	struct adv_verbs_link *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return adv_client_fail_text(ADV_NO_MEMORY, "no memory for a connection");
	enum adv_status status = resolve(n, c->deadline_ns, &l->events, &id);
	if (status != ADV_OK) {
		free(l);
		return status;
	}
	status = rdma_resolve_route(id, adv_client_left_ms(c->deadline_ns)) < 0
			 ? adv_client_fail(ADV_SYSTEM, "no RDMA route to the node: %s",
					   strerror(errno))
			 : expect(l->events, RDMA_CM_EVENT_ROUTE_RESOLVED, c->deadline_ns, NULL);
	if (status == ADV_OK)
		status = make_pair(n, c, id, l);
	if (status == ADV_OK)
		status = connect_pair(c, l);
	if (status != ADV_OK) {
		if (l->pair.id == NULL)
			rdma_destroy_id(id);
		adv_verbs_link_destroy(l);
		return status;
	}
	*out = l;
	return ADV_OK;
}
