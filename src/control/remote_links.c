/* remote_links.c - listening, clients and their protection domains, queue pairs. Control thread; what blocks is a job. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/remote_internal.h"
#include "util/fd.h"
#include "util/log.h"

#define LINK_RECEIVES 1024 /* at least: so that another lease may follow on the link */
#define LINK_SENDS    1024
#define SENDS_MAX     8192
#define LINKS_MAX     64 /* of one client process */
#define BACKLOG	      128

#define container(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* ---- clients ---- */

struct adv_remote_client *adv_remote_client_get(struct adv_remotes *o, uint32_t tenant,
						const uint8_t id[ADV_CLIENT_ID_BYTES])
{
	struct adv_remote_client *c = o->clients;
	while (c != NULL && (c->tenant != tenant || memcmp(c->id, id, ADV_CLIENT_ID_BYTES) != 0))
		c = c->next;
	if (c == NULL) {
		c = calloc(1, sizeof(*c));
		if (c == NULL)
			return NULL;
		c->tenant = tenant;
		memcpy(c->id, id, ADV_CLIENT_ID_BYTES);
		c->owner = o;
		c->next = o->clients;
		o->clients = c;
		o->nr_clients++;
	}
	c->refs++;
	return c;
}

static void run_dealloc(struct adv_job *job)
{
	struct adv_remote_client *c = container(job, struct adv_remote_client, job);
	int rc = c->pd != NULL ? ibv_dealloc_pd(c->pd) : 0;
	if (rc != 0)
		adv_log_error("a client's protection domain could not be given back: %s",
			      strerror(rc));
}

static void run_release_device(struct adv_job *job)
{
	struct adv_remotes *o = container(job, struct adv_remotes, job);
	struct ibv_context *context = o->listener->verbs;
	rdma_destroy_id(o->listener);
	o->listener = NULL;
	/*
	 * librdmacm keeps a device open until the process ends, and the kernel waits for that where a driver cannot take it away. The
	 * files go; what the library closes at its end is harmless.
	 */
	int null ADV_CLEANUP_FD = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup3(null, context->cmd_fd, O_CLOEXEC) < 0 ||
	    dup3(null, context->async_fd, O_CLOEXEC) < 0)
		adv_log_error("the RDMA device could not be let go of: %s", strerror(errno));
}

void adv_remote_release_device(struct adv_remotes *o)
{
	if (!o->dead || o->released || o->links != NULL || o->first != NULL || o->nr_clients > 0)
		return;
	o->released = true;
	adv_watch_stop(&o->async_watch);
	o->job.run = run_release_device;
	o->job.done = NULL;
	adv_jobs_submit(o->jobs, &o->job);
}

static void dealloc_done(struct adv_job *job)
{
	struct adv_remote_client *c = container(job, struct adv_remote_client, job);
	struct adv_remotes *o = c->owner;
	free(c);
	o->nr_clients--;
	adv_remote_release_device(o);
}

/* Behind the jobs that end its regions and queue pairs. */
void adv_remote_client_put(struct adv_remote_client *c)
{
	if (--c->refs > 0)
		return;
	struct adv_remote_client **at = &c->owner->clients;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->job.run = run_dealloc;
	c->job.done = dealloc_done;
	adv_jobs_submit(c->owner->jobs, &c->job);
}

struct adv_remote_link *adv_remote_link_idle(struct adv_remote_client *client, uint32_t number,
					     uint32_t nr_receives)
{
	for (struct adv_remote_link *l = client->owner->links; l != NULL && number != 0;
	     l = l->next)
		if (l->client == client && l->number == number)
			return l->state == ADV_RLINK_IDLE && !l->gone && !l->pingpong &&
					       l->pair.recv_depth >= nr_receives
				       ? l
				       : NULL;
	return NULL;
}

/* ---- messages to its poller ---- */

static void free_if_done(struct adv_remote_link *l)
{
	if (!l->destroyed || l->nr_messages > 0)
		return;
	struct adv_remote_link **at = &l->owner->links;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	l->poller->nr_links--;
	l->client->nr_links--;
	for (int i = 0; i < ADV_LINK_COUNTERS; i++)
		l->owner->counted[i] += adv_link_counted(&l->poll.link, i);
	adv_remote_client_put(l->client);
	free(l);
}

static void message_back(struct adv_poller_message *message)
{
	struct adv_link_message *m = (struct adv_link_message *)message;
	struct adv_remote_link *l = message->user;
	if (m->done != NULL)
		m->done(l, message->clean);
	l->nr_messages--;
	free_if_done(l);
}

void adv_remote_link_send(struct adv_remote_link *l, struct adv_link_message *m,
			  enum adv_poller_order order, struct adv_relay *relay,
			  void (*done)(struct adv_remote_link *link, bool clean))
{
	m->message.order = order;
	m->message.link = &l->poll;
	m->message.relay = relay;
	m->message.event_fd = relay != NULL ? l->remote->options.memory->event_fd : -1;
	m->message.done = message_back;
	m->message.user = l;
	m->done = done;
	l->nr_messages++;
	adv_poller_send(l->poller->poller, &m->message);
}

/* ---- the end of a link ---- */

static void run_destroy(struct adv_job *job)
{
	struct adv_remote_link *l = container(job, struct adv_remote_link, job);
	if (l->pair.id != NULL) {
		rdma_disconnect(l->id);
		adv_pair_destroy(&l->pair);
	} else {
		rdma_destroy_id(l->id);
	}
	adv_remote_pingpong_free(l); /* what the queue pair could reach */
}

static void destroyed(struct adv_job *job)
{
	struct adv_remote_link *l = container(job, struct adv_remote_link, job);
	l->destroyed = true;
	free_if_done(l);
}

void adv_remote_link_close(struct adv_remote_link *l)
{
	l->remote = NULL;
	l->state = ADV_RLINK_LEAVING;
	l->job.run = run_destroy;
	l->job.done = destroyed;
	adv_jobs_submit(l->owner->jobs, &l->job);
}

static void removed(struct adv_remote_link *l, bool clean)
{
	(void)clean;
	adv_remote_link_close(l);
}

static void remove_idle(struct adv_remote_link *l)
{
	l->state = ADV_RLINK_LEAVING;
	adv_remote_link_send(l, &l->remove, ADV_POLLER_REMOVE, NULL, removed);
}

void adv_remote_link_rest(struct adv_remote_link *l)
{
	l->state = ADV_RLINK_IDLE;
	if (l->gone || l->owner->dead)
		remove_idle(l);
}

void adv_remote_link_gone(struct adv_remote_link *l, const char *reason)
{
	if (l->gone)
		return;
	l->gone = true;
	if (l->state == ADV_RLINK_IDLE)
		remove_idle(l);
	else if (l->remote != NULL)
		adv_remote_link_lost(l->remote, reason);
}

static void broke(struct adv_poller_message *m)
{
	struct adv_remote_link *l = m->user;
	char reason[160];
	snprintf(reason, sizeof(reason), "its queue pair broke: %s", adv_link_why(&l->poll.link));
	adv_remote_link_gone(l, reason);
}

/* ---- a link is made ---- */

static void refuse(struct adv_remotes *o, struct rdma_cm_id *id, const char *why)
{
	o->refused++;
	adv_log_info("a queue pair is refused: %s", why);
	rdma_reject(id, why, (uint8_t)(strlen(why) < 128 ? strlen(why) + 1 : 128));
}

/* It could not be made: its lease will hear of it, and the client too. */
static void not_made(struct adv_remote_link *l, const char *reason)
{
	struct adv_remote *r = l->remote;
	refuse(l->owner, l->id, reason);
	adv_remote_link_close(l);
	if (r != NULL)
		adv_remote_link_failed(r, reason);
}

static void run_make(struct adv_job *job)
{
	struct adv_remote_link *l = container(job, struct adv_remote_link, job);
	uint32_t receives = LINK_RECEIVES, sends = LINK_SENDS;
	if (l->remote != NULL) {
		uint32_t r = adv_remote_receives(l->remote->options.geometry);
		uint32_t s = adv_remote_sends(l->remote->options.geometry);
		receives = r > receives ? r : receives;
		sends = s > SENDS_MAX ? SENDS_MAX : s > sends ? s : sends;
	}
	l->rc = adv_pair_create(l->id, l->client->pd, sends, receives, &l->pair, l->reason,
				sizeof(l->reason));
	if (l->rc < 0)
		return;
	adv_link_init(&l->poll.link, l->id->qp, l->pair.cq, l->pair.send_depth, l->pair.recv_depth,
		      l->pair.max_inline);
	l->poll.channel = l->pair.channel;
	l->rc = adv_link_fill(&l->poll.link);
	if (l->rc < 0)
		snprintf(l->reason, sizeof(l->reason), "receives could not be posted: %s",
			 adv_link_why(&l->poll.link));
	else if (l->pingpong)
		l->rc = adv_remote_pingpong_make(l);
}

/* Its poller has it: from here on nothing that the client sends is missed. */
static void added(struct adv_remote_link *l, bool clean)
{
	struct rdma_conn_param param;
	struct adv_remote *r = l->remote;
	/* The link's name, by which the client offers it for its next lease. */
	struct adv_welcome welcome = {.number = l->number};
	(void)clean;
	l->state = r != NULL ? ADV_RLINK_TAKEN : ADV_RLINK_IDLE;
	adv_pair_parameters(l->id, NULL, &param);
	if (l->pingpong) {
		welcome.region_rkey = l->pong_mr->rkey;
		welcome.region_bytes = ADV_PINGPONG_REGION;
	}
	param.private_data = &welcome;
	param.private_data_len = sizeof(welcome);
	if (l->gone || rdma_accept(l->id, &param) < 0)
		adv_remote_link_gone(l, "the connection could not be accepted");
	else
		l->owner->accepted++;
	if (l->gone && l->state == ADV_RLINK_IDLE)
		remove_idle(l);
	if (r != NULL)
		adv_remote_link_ready(r);
}

static void made(struct adv_job *job)
{
	struct adv_remote_link *l = container(job, struct adv_remote_link, job);
	struct adv_remote *r = l->remote;
	if (l->rc < 0 || l->gone || (r != NULL && r->ending)) {
		not_made(l, l->rc < 0 ? l->reason : "the lease is over");
		return;
	}
	if (r != NULL && adv_remote_receives(r->options.geometry) > l->pair.recv_depth) {
		not_made(l, "the device's receive queues are too short for so many slots");
		return;
	}
	l->state = ADV_RLINK_ADDING;
	if (r != NULL)
		adv_remote_relay_init(r, l);
	adv_remote_link_send(l, &l->add, ADV_POLLER_ADD, r != NULL ? &r->relay : NULL, added);
}

static struct adv_remote_poller *least_loaded(struct adv_remotes *o)
{
	struct adv_remote_poller *best = &o->pollers[0];
	for (unsigned i = 1; i < o->options.nr_pollers; i++)
		if (o->pollers[i].nr_links < best->nr_links)
			best = &o->pollers[i];
	return best;
}

static bool make_link(struct adv_remotes *o, struct rdma_cm_id *id, struct adv_remote *r,
		      uint8_t flags)
{
	struct adv_remote_link *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return false;
	l->owner = o;
	l->id = id;
	l->client = r->client;
	l->client->refs++;
	l->client->nr_links++;
	l->number = ++l->client->last_number;
	l->poller = least_loaded(o);
	l->poller->nr_links++;
	l->poll.event_fd = -1;
	l->poll.broken = &l->broken;
	l->broken =
		(struct adv_poller_message){.order = ADV_POLLER_BROKEN, .done = broke, .user = l};
	l->state = ADV_RLINK_MAKING;
	l->next = o->links;
	o->links = l;
	l->pingpong = flags & ADV_HELLO_PINGPONG;
	l->lease = r->options.lease;
	if (flags == 0) {
		l->remote = r;
		r->link = l;
	}
	id->context = l;
	l->job.run = run_make;
	l->job.done = made;
	adv_jobs_submit(o->jobs, &l->job);
	return true;
}

/* ---- who knocks ---- */

static struct adv_remote *find_remote(struct adv_remotes *o, uint64_t lease)
{
	for (struct adv_remote *r = o->first; r != NULL; r = r->next)
		if (r->options.lease == lease)
			return r;
	return NULL;
}

/* Why this connection is not wanted; NULL: it is, for *remote. Which of several reasons a stranger is not told. */
static const char *examine(struct adv_remotes *o, const void *data, size_t size,
			   struct adv_hello *hello, struct adv_remote **remote)
{
	static const char stranger[] = "no lease here, or not its token";
	int rc = adv_hello_parse(data, size, hello);
	if (rc == -EPROTONOSUPPORT)
		return "another version of the protocol: use the library that belongs to the node";
	if (rc < 0)
		return "not a client of Adverb";
	struct adv_remote *r = find_remote(o, hello->lease);
	if (r == NULL || !adv_hello_genuine(data, r->options.token, ADV_TOKEN_BYTES))
		return stranger;
	if (hello->counter <= r->counter)
		return "this connection has been tried before: a replay";
	r->counter = hello->counter;
	if (r->ending || (hello->flags == 0 && (r->link != NULL || r->state != ADV_REMOTE_WAITING)))
		return "the lease is over, or has its queue pair already";
	if (r->client->nr_links >= LINKS_MAX)
		return "this client process has too many queue pairs";
	const char *why = hello->flags & ADV_HELLO_PINGPONG ? adv_remote_pingpong_refusal(r) : NULL;
	if (why != NULL)
		return why;
	*remote = r;
	return NULL;
}

/* True: the identifier is to be destroyed once its event is acknowledged. */
static bool knocked(struct adv_remotes *o, const struct rdma_cm_event *event)
{
	struct adv_hello hello;
	struct adv_remote *r = NULL;
	const char *why = examine(o, event->param.conn.private_data,
				  event->param.conn.private_data_len, &hello, &r);
	if (why == NULL && (o->dead || event->id->verbs != o->listener->verbs))
		why = "it came by another device";
	if (why == NULL && !make_link(o, event->id, r, hello.flags))
		why = "the node is out of memory";
	if (why != NULL)
		refuse(o, event->id, why);
	return why != NULL;
}

static void device_gone(struct adv_remotes *o)
{
	if (o->dead)
		return;
	o->dead = true;
	adv_log_error(
		"the RDMA device is gone: leases over it end, and no new ones are granted until "
		"the node is restarted");
	for (struct adv_remote_link *l = o->links, *next; l != NULL; l = next) {
		next = l->next;
		adv_remote_link_gone(l, "the RDMA device is gone");
	}
	adv_remote_release_device(o);
}

static void happened(struct adv_remotes *o, struct rdma_cm_event *event)
{
	struct rdma_cm_id *id = event->id;
	struct adv_remote_link *l = id != o->listener ? id->context : NULL;
	bool unwanted = false;
	switch (event->event) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		unwanted = knocked(o, event);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		if (l != NULL && l->pair.id != NULL && l->state != ADV_RLINK_LEAVING)
			adv_pair_connected(&l->pair);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
		if (l != NULL)
			adv_remote_link_gone(l, "the client is gone");
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		device_gone(o);
		break;
	default:
		break;
	}
	rdma_ack_cm_event(event);
	if (unwanted)
		rdma_destroy_id(id);
}

static void events_ready(struct adv_watch *watch)
{
	struct adv_remotes *o = watch->user;
	struct rdma_cm_event *event;
	while (rdma_get_cm_event(o->events, &event) == 0)
		happened(o, event);
}

static void async_ready(struct adv_watch *watch)
{
	struct adv_remotes *o = watch->user;
	struct ibv_async_event event;
	while (!o->released && ibv_get_async_event(o->listener->verbs, &event) == 0) {
		bool fatal = event.event_type == IBV_EVENT_DEVICE_FATAL;
		adv_log_info("RDMA device: %s", ibv_event_type_str(event.event_type));
		ibv_ack_async_event(&event);
		if (fatal)
			device_gone(o);
	}
}

static void jobs_ready(struct adv_watch *watch)
{
	struct adv_remotes *o = watch->user;
	adv_jobs_collect(o->jobs);
}

static void poller_ready(struct adv_watch *watch)
{
	struct adv_remote_poller *p = watch->user;
	adv_poller_collect(p->poller);
}

/* ---- start and stop ---- */

static int failed(char *reason, size_t size, const char *what, const char *remedy)
{
	int error = errno;
	snprintf(reason, size, "%s: %s%s", what, strerror(error), remedy);
	return -error;
}

static int listen_cm(struct adv_remotes *o, char *reason, size_t size)
{
	char what[128];
	adv_device_address_text(&o->options.address, o->address);
	o->events = rdma_create_event_channel();
	if (o->events == NULL)
		return failed(reason, size, "no RDMA connection manager",
			      ": load it (modprobe rdma_ucm)");
	if (fcntl(o->events->fd, F_SETFL, O_NONBLOCK) < 0 ||
	    rdma_create_id(o->events, &o->listener, NULL, RDMA_PS_TCP) < 0)
		return failed(reason, size, "no RDMA identifier", "");
	snprintf(what, sizeof(what), "cannot listen by RDMA on %s", o->address);
	if (rdma_bind_addr(o->listener, (struct sockaddr *)&o->options.address) < 0)
		return failed(reason, size, what,
			      errno == ENODEV || errno == EADDRNOTAVAIL
				      ? ": no RDMA device has this address (see adverb devices)"
				      : "");
	if (o->listener->verbs == NULL) {
		snprintf(reason, size, "%s: name the address of one RDMA device, not all addresses",
			 what);
		return -EINVAL;
	}
	int rc = adv_device_check(o->listener->verbs->device, reason, size);
	if (rc < 0)
		return rc;
	adv_device_gid_text(&o->listener->route.addr.addr.ibaddr.sgid, o->gid);
	if (rdma_listen(o->listener, BACKLOG) < 0)
		return failed(reason, size, what, "");
	return 0;
}

static int start_pollers(struct adv_remotes *o, char *reason, size_t size)
{
	for (unsigned i = 0; i < o->options.nr_pollers; i++) {
		const struct adv_poller_options options = {.cpu = o->options.pollers[i].cpu,
							   .shared = o->options.pollers[i].shared};
		struct adv_remote_poller *p = &o->pollers[i];
		int rc = adv_poller_create(&options, &p->poller);
		if (rc < 0) {
			snprintf(reason, size, "poller %u on CPU %d: %s", i, options.cpu,
				 strerror(-rc));
			return rc;
		}
		adv_watch_start(&p->watch, o->options.loop, adv_poller_fd(p->poller), poller_ready,
				p);
	}
	return 0;
}

int adv_remote_links_start(struct adv_remotes *o, char *reason, size_t size)
{
	int rc = listen_cm(o, reason, size);
	if (rc < 0)
		return rc;
	rc = adv_jobs_create("adverb-verbs", &o->jobs);
	if (rc < 0)
		return rc;
	rc = start_pollers(o, reason, size);
	if (rc < 0)
		return rc;
	adv_watch_start(&o->jobs_watch, o->options.loop, adv_jobs_fd(o->jobs), jobs_ready, o);
	adv_watch_start(&o->events_watch, o->options.loop, o->events->fd, events_ready, o);
	snprintf(o->device, sizeof(o->device), "%s",
		 ibv_get_device_name(o->listener->verbs->device));
	int flags = fcntl(o->listener->verbs->async_fd, F_GETFL);
	if (fcntl(o->listener->verbs->async_fd, F_SETFL, flags | O_NONBLOCK) == 0)
		adv_watch_start(&o->async_watch, o->options.loop, o->listener->verbs->async_fd,
				async_ready, o);
	return 0;
}

void adv_remote_links_stop(struct adv_remotes *o)
{
	struct adv_watch *watches[] = {&o->jobs_watch, &o->events_watch, &o->async_watch};
	for (size_t i = 0; i < sizeof(watches) / sizeof(watches[0]); i++)
		if (watches[i]->active)
			adv_watch_stop(watches[i]);
	/* What its jobs report may still be said to pollers; what pollers answer then is not heard any more. */
	adv_jobs_destroy(o->jobs);
	for (unsigned i = 0; i < o->options.nr_pollers; i++) {
		if (o->pollers[i].poller == NULL)
			continue;
		adv_watch_stop(&o->pollers[i].watch);
		adv_poller_destroy(o->pollers[i].poller);
	}
	/* Nobody else is left: what is there is ended here, queue pairs before the memory that they reach. */
	for (struct adv_remote_link *l = o->links, *next; l != NULL; l = next) {
		next = l->next;
		if (!l->destroyed)
			run_destroy(&l->job);
		free(l);
	}
	adv_remote_release_all(o);
	for (struct adv_remote_client *c = o->clients, *next; c != NULL; c = next) {
		next = c->next;
		run_dealloc(&c->job);
		free(c);
	}
	if (o->listener != NULL)
		rdma_destroy_id(o->listener);
	if (o->events != NULL)
		rdma_destroy_event_channel(o->events);
}
