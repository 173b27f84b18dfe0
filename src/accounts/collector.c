/* collector.c - tables that nodes write into. Its thread alone touches connections; rows are shared under a lock. */
#include "accounts/collector.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fabric/device.h"
#include "fabric/pair.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/log.h"

#define LOOK_MS 1000
#define BACKLOG 16

/* A node that is connected. */
struct peer {
	struct adv_collector *owner;
	struct adv_pair pair;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	uint8_t *table;
	struct adv_account_hello hello;
	char node[2 * ADV_ACCOUNT_NODE_BYTES + 1];
	uint64_t (*seen)[ADV_ACCOUNT_SUMS]; /* adding: of each line, what is in a row already */
	bool gone;
	struct peer *next;
};

struct row {
	struct adv_collected is;
	bool dirty;
};

struct adv_collector {
	struct adv_collector_options options;
	struct rdma_event_channel *events;
	struct rdma_cm_id *listener;
	int stop_fd;
	pthread_t thread;
	bool running;
	struct peer *peers;
	unsigned nr_peers;
	pthread_mutex_t lock; /* over what follows */
	struct row *rows;
	size_t nr_rows, capacity;
	unsigned connected;
};

/* ---- rows ---- */

/* NULL: no memory. Under the lock. */
static struct row *row_of(struct adv_collector *c, const char *node, bool adds, uint32_t tenant)
{
	for (size_t i = 0; i < c->nr_rows; i++) {
		struct adv_collected *r = &c->rows[i].is;
		if (r->tenant == tenant && r->adds == adds && strcmp(r->node, node) == 0)
			return &c->rows[i];
	}
	if (c->nr_rows == c->capacity) {
		size_t more = c->capacity != 0 ? 2 * c->capacity : 64;
		struct row *rows = reallocarray(c->rows, more, sizeof(*rows));
		if (rows == NULL)
			return NULL;
		c->rows = rows;
		c->capacity = more;
	}
	struct row *row = &c->rows[c->nr_rows++];
	*row = (struct row){.is = {.tenant = tenant, .adds = adds}};
	snprintf(row->is.node, sizeof(row->is.node), "%s", node);
	return row;
}

/* Totals only grow: a node that was killed has lost its last second, and says less at first. */
static void take_line(struct peer *p, uint32_t line, const struct adv_account *a)
{
	struct adv_collector *c = p->owner;
	struct row *row = row_of(c, p->node, p->hello.adds, a->tenant);
	if (row == NULL)
		return;
	for (int k = 0; k < ADV_ACCOUNT_SUMS; k++) {
		uint64_t before = row->is.sums[k], value = a->sums[k];
		if (p->hello.adds) {
			adv_ledger_increase(&row->is.sums[k], value - p->seen[line][k]);
			p->seen[line][k] = value;
		} else if (value > before) {
			row->is.sums[k] = value;
		}
		row->dirty |= row->is.sums[k] != before;
	}
	if (row->dirty)
		row->is.seen_ms = adv_clock_realtime_ms();
}

static void look(struct peer *p)
{
	struct adv_account account;
	pthread_mutex_lock(&p->owner->lock);
	for (uint32_t i = 0; i < ADV_ACCOUNT_LINES; i++) {
		int rc = adv_account_unpack(p->table + (size_t)i * ADV_ACCOUNT_LINE_BYTES,
					    p->hello.adds, &account);
		if (rc == -ENOENT)
			break; /* lines are used in order */
		if (rc == 0)
			take_line(p, i, &account);
	}
	pthread_mutex_unlock(&p->owner->lock);
}

/* ---- peers ---- */

static void peer_free(struct peer *p)
{
	adv_pair_destroy(&p->pair);
	if (p->mr != NULL)
		ibv_dereg_mr(p->mr);
	if (p->pd != NULL)
		ibv_dealloc_pd(p->pd);
	if (p->table != NULL)
		munmap(p->table, ADV_ACCOUNT_TABLE_BYTES);
	free(p->seen);
	free(p);
}

static void count_peers(struct adv_collector *c)
{
	pthread_mutex_lock(&c->lock);
	c->connected = c->nr_peers;
	pthread_mutex_unlock(&c->lock);
}

/* Nothing reaches its table any more; what was written into it counts. */
static void peer_end(struct adv_collector *c, struct peer *p)
{
	struct peer **at = &c->peers;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	c->nr_peers--;
	if (p->pair.id != NULL && p->pair.id->qp != NULL)
		rdma_destroy_qp(p->pair.id);
	look(p);
	adv_log_info("accounting: node %s is gone", p->node);
	peer_free(p);
	count_peers(c);
}

/* In a protection domain of its own: no other node's key, and no tenant's, opens it. */
static int peer_make(struct peer *p, struct rdma_cm_id *id, char *reason, size_t size)
{
	p->table = mmap(NULL, ADV_ACCOUNT_TABLE_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p->table == MAP_FAILED) {
		p->table = NULL;
		return -ENOMEM;
	}
	p->seen = calloc(ADV_ACCOUNT_LINES, sizeof(*p->seen));
	p->pd = p->seen != NULL ? ibv_alloc_pd(id->verbs) : NULL;
	if (p->pd == NULL) {
		snprintf(reason, size, "no protection domain");
		return -ENOMEM;
	}
	p->mr = adv_memory_register(p->pd, p->table, ADV_ACCOUNT_TABLE_BYTES, (uintptr_t)p->table,
				    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
					    (p->hello.adds ? IBV_ACCESS_REMOTE_ATOMIC : 0),
				    reason, size);
	return p->mr == NULL ? -ENOMEM : adv_pair_create(id, p->pd, 4, 1, &p->pair, reason, size);
}

static int peer_accept(struct peer *p)
{
	uint8_t bytes[ADV_ACCOUNT_WELCOME_BYTES];
	struct rdma_conn_param param;
	const struct adv_account_welcome welcome = {
		.address = (uintptr_t)p->table, .rkey = p->mr->rkey, .lines = ADV_ACCOUNT_LINES};
	adv_account_welcome_pack(&welcome, bytes);
	adv_pair_parameters(p->pair.id, NULL, &param);
	param.private_data = bytes;
	param.private_data_len = sizeof(bytes);
	return rdma_accept(p->pair.id, &param) < 0 ? -errno : 0;
}

/* Why it may not come in; NULL: it may. What a stranger has wrong it is not told. */
static const char *examine(struct adv_collector *c, const struct rdma_cm_event *event,
			   struct adv_account_hello *hello, char node[])
{
	int rc = adv_account_hello_parse(event->param.conn.private_data,
					 event->param.conn.private_data_len, c->options.key, hello);
	if (rc == -EPROTONOSUPPORT)
		return "another version of the protocol";
	if (rc < 0)
		return "not a node that has this key";
	for (size_t i = 0; i < sizeof(hello->node); i++)
		snprintf(node + 2 * i, 3, "%02x", hello->node[i]);
	const char *why =
		c->nr_peers >= ADV_COLLECTOR_NODES_MAX ? "too many nodes report here" : NULL;
	pthread_mutex_lock(&c->lock);
	/* A row without a tenant says up to where this node's connections are known. */
	struct row *row = row_of(c, node, false, ADV_COLLECTED_NODE);
	if (row == NULL)
		why = "no memory";
	else if (hello->counter <= row->is.counter)
		why = "this connection has been tried before: a replay";
	if (why == NULL) {
		row->is.counter = hello->counter;
		row->is.seen_ms = adv_clock_realtime_ms();
		row->dirty = true;
	}
	pthread_mutex_unlock(&c->lock);
	return why;
}

static struct peer *find(struct adv_collector *c, const char *node)
{
	struct peer *p = c->peers;
	while (p != NULL && strcmp(p->node, node) != 0)
		p = p->next;
	return p;
}

static void refuse(struct rdma_cm_id *id, const char *why)
{
	adv_log_warning("accounting: a connection is refused: %s", why);
	rdma_reject(id, why, (uint8_t)strlen(why));
}

/* True: the identifier is to be destroyed once its event is acknowledged. */
static bool knocked(struct adv_collector *c, const struct rdma_cm_event *event)
{
	char reason[ADV_REASON_MAX] = "";
	char node[2 * ADV_ACCOUNT_NODE_BYTES + 1];
	struct adv_account_hello hello;
	const char *why = examine(c, event, &hello, node);
	struct peer *p = why == NULL ? calloc(1, sizeof(*p)) : NULL;
	if (p == NULL) {
		refuse(event->id, why != NULL ? why : "no memory");
		return true;
	}
	/* A node that comes again has lost its connection, whether it is known here or not. */
	struct peer *before = find(c, node);
	if (before != NULL)
		before->gone = true;
	p->owner = c;
	p->hello = hello;
	memcpy(p->node, node, sizeof(p->node));
	if (peer_make(p, event->id, reason, sizeof(reason)) < 0 || peer_accept(p) < 0) {
		refuse(event->id, reason[0] != '\0' ? reason : "no memory");
		if (p->pair.id != NULL) {
			rdma_destroy_qp(p->pair.id);
			p->pair.id = NULL; /* destroyed below its event */
		}
		peer_free(p);
		return true;
	}
	event->id->context = p;
	p->next = c->peers;
	c->peers = p;
	c->nr_peers++;
	adv_log_info("accounting: node %s reports, by %s", node, hello.adds ? "adding" : "writing");
	count_peers(c);
	return false;
}

static void happened(struct adv_collector *c, struct rdma_cm_event *event)
{
	struct rdma_cm_id *id = event->id;
	struct peer *p = id != c->listener ? id->context : NULL;
	bool unwanted = false;
	switch (event->event) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		unwanted = knocked(c, event);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
		if (p != NULL)
			p->gone = true;
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		adv_log_error("accounting: the RDMA device is gone: no node can report until this "
			      "one is restarted");
		for (p = c->peers; p != NULL; p = p->next)
			p->gone = true;
		break;
	default:
		break;
	}
	rdma_ack_cm_event(event);
	if (unwanted)
		rdma_destroy_id(id);
}

/* ---- the thread ---- */

static void *run(void *user)
{
	struct adv_collector *c = user;
	uint64_t next_ns = adv_clock_monotonic_ns();
	struct pollfd fds[] = {{.fd = c->events->fd, .events = POLLIN},
			       {.fd = c->stop_fd, .events = POLLIN}};
	while ((fds[1].revents & POLLIN) == 0) {
		struct rdma_cm_event *event;
		uint64_t now = adv_clock_monotonic_ns();
		int wait_ms = next_ns > now ? (int)((next_ns - now) / ADV_MS) + 1 : 0;
		(void)poll(fds, 2, wait_ms);
		while (rdma_get_cm_event(c->events, &event) == 0)
			happened(c, event);
		for (struct peer *p = c->peers, *next; p != NULL; p = next) {
			next = p->next;
			if (p->gone)
				peer_end(c, p);
		}
		if (adv_clock_monotonic_ns() < next_ns)
			continue;
		for (struct peer *p = c->peers; p != NULL; p = p->next)
			look(p);
		next_ns = adv_clock_monotonic_ns() + LOOK_MS * ADV_MS;
	}
	while (c->peers != NULL)
		peer_end(c, c->peers);
	return NULL;
}

/* ---- start and stop ---- */

static int failed(char *reason, size_t size, const char *what)
{
	int error = errno;
	snprintf(reason, size, "accounting: %s: %s%s", what, strerror(error),
		 error == ENODEV || error == EADDRNOTAVAIL
			 ? ": no RDMA device has this address (see adverb devices)"
			 : "");
	return -error;
}

static int listen_cm(struct adv_collector *c, char *reason, size_t size)
{
	c->events = rdma_create_event_channel();
	if (c->events == NULL)
		return failed(reason, size, "no RDMA connection manager (modprobe rdma_ucm)");
	if (fcntl(c->events->fd, F_SETFL, O_NONBLOCK) < 0 ||
	    rdma_create_id(c->events, &c->listener, NULL, RDMA_PS_TCP) < 0)
		return failed(reason, size, "no RDMA identifier");
	if (rdma_bind_addr(c->listener, (struct sockaddr *)&c->options.address) < 0)
		return failed(reason, size, "cannot listen by RDMA");
	if (c->listener->verbs == NULL) {
		snprintf(reason, size,
			 "accounting: name the address of one RDMA device, not all addresses");
		return -EINVAL;
	}
	int rc = adv_device_check(c->listener->verbs->device, reason, size);
	if (rc < 0)
		return rc;
	return rdma_listen(c->listener, BACKLOG) < 0 ? failed(reason, size, "cannot listen by RDMA")
						     : 0;
}

static int take_known(struct adv_collector *c)
{
	for (size_t i = 0; i < c->options.nr_known; i++) {
		const struct adv_collected *k = &c->options.known[i];
		struct row *row = row_of(c, k->node, k->adds, k->tenant);
		if (row == NULL)
			return -ENOMEM;
		row->is = *k;
	}
	c->options.known = NULL;
	return 0;
}

int adv_collector_start(const struct adv_collector_options *options,
			struct adv_collector **collector, char *reason, size_t size)
{
	struct adv_collector *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->options = *options;
	pthread_mutex_init(&c->lock, NULL);
	c->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = c->stop_fd < 0 ? -errno : take_known(c);
	if (rc == 0)
		rc = listen_cm(c, reason, size);
	if (rc == 0) {
		rc = -pthread_create(&c->thread, NULL, run, c);
		c->running = rc == 0;
	}
	if (rc < 0) {
		adv_collector_destroy(c);
		return rc;
	}
	*collector = c;
	return 0;
}

void adv_collector_stop(struct adv_collector *c)
{
	uint64_t one = 1;
	if (!c->running)
		return;
	ssize_t ignored = write(c->stop_fd, &one, sizeof(one));
	(void)ignored;
	pthread_join(c->thread, NULL);
	c->running = false;
}

void adv_collector_destroy(struct adv_collector *c)
{
	if (c == NULL)
		return;
	adv_collector_stop(c);
	if (c->listener != NULL)
		rdma_destroy_id(c->listener);
	if (c->events != NULL)
		rdma_destroy_event_channel(c->events);
	adv_fd_close(&c->stop_fd);
	pthread_mutex_destroy(&c->lock);
	free(c->rows);
	free(c);
}

/* ---- for the control thread ---- */

size_t adv_collector_take(struct adv_collector *c, struct adv_collected *rows, size_t max)
{
	size_t n = 0;
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->nr_rows && n < max; i++) {
		if (!c->rows[i].dirty)
			continue;
		rows[n++] = c->rows[i].is;
		c->rows[i].dirty = false;
	}
	pthread_mutex_unlock(&c->lock);
	return n;
}

bool adv_collector_row(struct adv_collector *c, size_t i, struct adv_collected *row)
{
	pthread_mutex_lock(&c->lock);
	bool there = i < c->nr_rows;
	if (there)
		*row = c->rows[i].is;
	pthread_mutex_unlock(&c->lock);
	return there;
}

unsigned adv_collector_connected(struct adv_collector *c)
{
	pthread_mutex_lock(&c->lock);
	unsigned n = c->connected;
	pthread_mutex_unlock(&c->lock);
	return n;
}
