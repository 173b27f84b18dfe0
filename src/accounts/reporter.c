/* reporter.c - writes accounts into the table of an accounting node. What was given is shared under a lock; all else is the thread's. */
#include "accounts/reporter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "fabric/pair.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/log.h"

#define STEP_MS	     2000 /* for each step of connecting, and for what was posted to complete */
#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 15000
#define SEND_DEPTH   32
#define SLICE_MS     100 /* for a look at whether the node stops */

struct adv_reporter {
	struct adv_reporter_options options;
	int wake_fd;
	pthread_t thread;
	/* The thread's. */
	struct rdma_event_channel *events;
	struct adv_pair pair; /* id is NULL: not connected */
	struct ibv_pd *pd;
	struct ibv_mr *mr; /* over `lines` and `fetched` */
	struct adv_account_welcome table;
	bool told; /* what is wrong is in the log */
	uint64_t
		ahead_ns; /* of the clock, in the counter: it was set back since a connection that was counted */
	struct {
		uint8_t lines[ADV_ACCOUNT_LINES][ADV_ACCOUNT_LINE_BYTES];
		uint64_t fetched; /* what FETCH_AND_ADD brings, and nobody reads */
	} * staged;
	struct adv_account sent[ADV_ACCOUNT_LINES]; /* line by line; of this connection */
	bool begun[ADV_ACCOUNT_LINES];		    /* the line is in use there */
	struct adv_account
		added[ADV_ACCOUNT_LINES]; /* adding: what counts as sent, of all connections */
	struct adv_account now[ADV_ACCOUNT_LINES]; /* a copy to work on */
	pthread_mutex_t lock;			   /* over what follows */
	struct adv_account given[ADV_ACCOUNT_LINES];
	size_t nr_given;
	uint64_t version, settled;
	bool stopping, too_many;
	struct adv_reporter_state state;
};

/* ---- completions ---- */

/* All that was posted has come, or the connection is of no use any more. */
static int drain(struct adv_reporter *r, unsigned marked)
{
	uint64_t until = adv_clock_monotonic_ns() + STEP_MS * ADV_MS;
	while (marked > 0) {
		struct ibv_wc wc;
		int n = ibv_poll_cq(r->pair.cq, 1, &wc);
		if (n < 0 || (n > 0 && wc.status != IBV_WC_SUCCESS))
			return -EIO;
		marked -= (unsigned)n;
		if (n == 0 && adv_clock_monotonic_ns() > until)
			return -ETIMEDOUT;
		if (n == 0)
			nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
	}
	return 0;
}

/* One work request, and it has come. There are few: tenants of a node whose use has changed in a second. */
static int post(struct adv_reporter *r, struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;
	wr->send_flags = IBV_SEND_SIGNALED;
	wr->num_sge = 1;
	int rc = ibv_post_send(r->pair.id->qp, wr, &bad);
	return rc != 0 ? -rc : drain(r, 1);
}

static uint64_t place(const struct adv_reporter *r, size_t line, size_t offset)
{
	return r->table.address + line * ADV_ACCOUNT_LINE_BYTES + offset;
}

static int write_line(struct adv_reporter *r, size_t line, size_t from)
{
	struct ibv_sge piece = {.addr = (uintptr_t)r->staged->lines[line] + from,
				.length = (uint32_t)(ADV_ACCOUNT_LINE_BYTES - from),
				.lkey = r->mr->lkey};
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_RDMA_WRITE,
		.sg_list = &piece,
		.wr.rdma = {.remote_addr = place(r, line, from), .rkey = r->table.rkey}};
	return post(r, &wr);
}

/* At most once: it counts as sent before it is, whatever becomes of it. */
static int add_sums(struct adv_reporter *r, size_t line, const struct adv_account *now)
{
	for (size_t k = 0; k < ADV_ACCOUNT_SUMS; k++) {
		uint64_t by = now->sums[k] - r->added[line].sums[k];
		if (by == 0)
			continue;
		struct ibv_sge piece = {.addr = (uintptr_t)&r->staged->fetched,
					.length = sizeof(r->staged->fetched),
					.lkey = r->mr->lkey};
		struct ibv_send_wr wr = {
			.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
			.sg_list = &piece,
			.wr.atomic = {.remote_addr = place(r, line, k * sizeof(uint64_t)),
				      .compare_add = by,
				      .rkey = r->table.rkey}};
		r->added[line].sums[k] = now->sums[k];
		int rc = post(r, &wr);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int send_line(struct adv_reporter *r, size_t line, const struct adv_account *now)
{
	bool adds = r->options.adds;
	if (r->begun[line] && memcmp(&r->sent[line], now, sizeof(*now)) == 0)
		return 0;
	int rc = 0;
	if (!adds || !r->begun[line]) {
		adv_account_pack(now, adds, r->staged->lines[line]);
		rc = write_line(r, line, adds ? ADV_ACCOUNT_HEAD : 0);
	}
	if (rc == 0) {
		r->begun[line] = true;
		rc = adds ? add_sums(r, line, now) : 0;
	}
	if (rc < 0)
		return rc;
	r->sent[line] = *now;
	pthread_mutex_lock(&r->lock);
	r->state.lines++;
	pthread_mutex_unlock(&r->lock);
	return 0;
}

/* ---- the connection ---- */

static void disconnect(struct adv_reporter *r)
{
	if (r->pair.id != NULL)
		rdma_disconnect(r->pair.id);
	adv_pair_destroy(&r->pair);
	if (r->mr != NULL)
		ibv_dereg_mr(r->mr);
	if (r->pd != NULL)
		ibv_dealloc_pd(r->pd);
	if (r->events != NULL)
		rdma_destroy_event_channel(r->events);
	r->mr = NULL;
	r->pd = NULL;
	r->events = NULL;
	memset(r->begun, 0, sizeof(r->begun));
}

/* Whoever stops the node does not wait for one that does not answer. */
static bool stops(struct adv_reporter *r)
{
	pthread_mutex_lock(&r->lock);
	bool stopping = r->stopping;
	pthread_mutex_unlock(&r->lock);
	return stopping;
}

/* The event that is wanted, within the time of a step; what an accepted connection brings goes to r->table. */
static int await(struct adv_reporter *r, enum rdma_cm_event_type wanted, char *why, size_t size)
{
	struct pollfd fd = {.fd = r->events->fd, .events = POLLIN};
	struct rdma_cm_event *event;
	int ready = 0;
	for (int waited = 0; waited < STEP_MS && ready == 0 && !stops(r); waited += SLICE_MS)
		ready = poll(&fd, 1, SLICE_MS);
	if (ready <= 0 || rdma_get_cm_event(r->events, &event) < 0) {
		snprintf(why, size, "no answer (%s)", rdma_event_str(wanted));
		return -ETIMEDOUT;
	}
	int rc = event->event == wanted ? 0 : -ECONNREFUSED;
	const struct rdma_conn_param *conn = &event->param.conn;
	if (event->event == RDMA_CM_EVENT_REJECTED && conn->private_data != NULL &&
	    conn->private_data_len > 0)
		snprintf(why, size, "refused: %.*s", (int)conn->private_data_len,
			 (const char *)conn->private_data);
	else if (rc < 0)
		snprintf(why, size, "%s", rdma_event_str(event->event));
	else if (wanted == RDMA_CM_EVENT_ESTABLISHED &&
		 adv_account_welcome_parse(conn->private_data, conn->private_data_len, &r->table) <
			 0) {
		snprintf(why, size, "it speaks another version of the protocol");
		rc = -EPROTO;
	}
	rdma_ack_cm_event(event);
	return rc;
}

static int failed(char *why, size_t size, const char *what)
{
	int error = errno;
	snprintf(why, size, "%s: %s", what, strerror(error));
	return -error;
}

static int make_queues(struct adv_reporter *r, struct rdma_cm_id *id, char *why, size_t size)
{
	r->pd = ibv_alloc_pd(id->verbs);
	if (r->pd == NULL)
		return failed(why, size, "no protection domain");
	r->mr = ibv_reg_mr(r->pd, r->staged, sizeof(*r->staged), IBV_ACCESS_LOCAL_WRITE);
	if (r->mr == NULL)
		return failed(why, size, "its lines cannot be registered");
	return adv_pair_create(id, r->pd, SEND_DEPTH, 1, &r->pair, why, size);
}

static int resolve(struct adv_reporter *r, struct rdma_cm_id *id, char *why, size_t size)
{
	if (rdma_resolve_addr(id, NULL, (struct sockaddr *)&r->options.address, STEP_MS) < 0)
		return failed(why, size, "no RDMA device leads there");
	int rc = await(r, RDMA_CM_EVENT_ADDR_RESOLVED, why, size);
	if (rc == 0 && rdma_resolve_route(id, STEP_MS) < 0)
		rc = failed(why, size, "no route");
	return rc == 0 ? await(r, RDMA_CM_EVENT_ROUTE_RESOLVED, why, size) : rc;
}

static int greet(struct adv_reporter *r, char *why, size_t size)
{
	uint8_t bytes[ADV_ACCOUNT_HELLO_BYTES];
	struct rdma_conn_param param;
	struct adv_account_hello hello = {.adds = r->options.adds,
					  .counter = adv_clock_realtime_ns() + r->ahead_ns};
	memcpy(hello.node, r->options.node, sizeof(hello.node));
	int rc = adv_account_hello_pack(&hello, r->options.key, bytes);
	if (rc < 0)
		return rc;
	adv_pair_parameters(r->pair.id, bytes, &param);
	if (rdma_connect(r->pair.id, &param) < 0)
		return failed(why, size, "cannot connect");
	rc = await(r, RDMA_CM_EVENT_ESTABLISHED, why, size);
	if (rc < 0 && strstr(why, "replay") != NULL)
		r->ahead_ns = r->ahead_ns > 0 ? 2 * r->ahead_ns : ADV_SEC;
	return rc;
}

static int connect_once(struct adv_reporter *r, char *why, size_t size)
{
	struct rdma_cm_id *id = NULL;
	r->events = rdma_create_event_channel();
	if (r->events == NULL)
		return failed(why, size, "no RDMA connection manager (modprobe rdma_ucm)");
	if (fcntl(r->events->fd, F_SETFL, O_NONBLOCK) < 0 ||
	    rdma_create_id(r->events, &id, NULL, RDMA_PS_TCP) < 0)
		return failed(why, size, "no RDMA identifier");
	int rc = resolve(r, id, why, size);
	if (rc == 0)
		rc = make_queues(r, id, why, size);
	if (r->pair.id == NULL)
		rdma_destroy_id(id);
	return rc == 0 ? greet(r, why, size) : rc;
}

/* Has the other side gone? */
static bool lost(struct adv_reporter *r)
{
	struct rdma_cm_event *event;
	bool gone = false;
	while (rdma_get_cm_event(r->events, &event) == 0) {
		gone |= event->event == RDMA_CM_EVENT_DISCONNECTED ||
			event->event == RDMA_CM_EVENT_DEVICE_REMOVAL;
		rdma_ack_cm_event(event);
	}
	return gone;
}

/* ---- the thread ---- */

static void say(struct adv_reporter *r, bool connected, const char *why)
{
	pthread_mutex_lock(&r->lock);
	r->state.connected = connected;
	snprintf(r->state.why, sizeof(r->state.why), "%s", why);
	pthread_mutex_unlock(&r->lock);
	if (connected)
		adv_log_info("accounting: reports to the accounting node");
	else if (!r->told)
		adv_log_warning("accounting: the accounting node does not answer: %s; tried again "
				"until it does, nothing is lost",
				why);
	r->told = !connected;
}

/* Everything that was given and is not there yet. */
static int send_all(struct adv_reporter *r)
{
	pthread_mutex_lock(&r->lock);
	size_t n = r->nr_given;
	uint64_t version = r->version;
	memcpy(r->now, r->given, n * sizeof(r->now[0]));
	pthread_mutex_unlock(&r->lock);
	int rc = 0;
	for (size_t i = 0; i < n && i < r->table.lines && rc == 0; i++)
		rc = send_line(r, i, &r->now[i]);
	if (rc == 0) {
		pthread_mutex_lock(&r->lock);
		r->settled = version;
		pthread_mutex_unlock(&r->lock);
	}
	return rc;
}

static void step(struct adv_reporter *r, int *retry_ms)
{
	char why[160] = "";
	int rc = 0;
	if (r->pair.id == NULL) {
		rc = connect_once(r, why, sizeof(why));
		if (rc == 0)
			say(r, true, "");
	} else if (lost(r)) {
		rc = -ECONNRESET;
		snprintf(why, sizeof(why), "it has closed the connection");
	}
	if (rc == 0) {
		*retry_ms = RETRY_MIN_MS;
		rc = send_all(r);
		if (rc < 0)
			snprintf(why, sizeof(why), "what was written did not arrive");
	}
	if (rc == 0)
		return;
	disconnect(r);
	say(r, false, why);
	*retry_ms = 2 * *retry_ms < RETRY_MAX_MS ? 2 * *retry_ms : RETRY_MAX_MS;
}

static void *run(void *user)
{
	struct adv_reporter *r = user;
	struct pollfd fds[] = {{.fd = r->wake_fd, .events = POLLIN}, {.events = POLLIN}};
	int retry_ms = RETRY_MIN_MS;
	bool stopping = false;
	while (!stopping) {
		uint64_t ignored;
		step(r, &retry_ms);
		/* Until there is something new, the connection is lost, or it is time to try again. */
		bool connected = r->pair.id != NULL;
		fds[1].fd = connected ? r->events->fd : -1;
		uint64_t until = adv_clock_monotonic_ns() + (uint64_t)retry_ms * ADV_MS;
		do {
			(void)poll(fds, 2, connected ? -1 : retry_ms);
			(void)!read(r->wake_fd, &ignored, sizeof(ignored));
			stopping = stops(r);
		} while (!stopping && !connected && adv_clock_monotonic_ns() < until);
	}
	if (r->pair.id != NULL)
		(void)send_all(r);
	disconnect(r);
	return NULL;
}

/* ---- for the control thread ---- */

int adv_reporter_start(const struct adv_reporter_options *options, struct adv_reporter **reporter)
{
	struct adv_reporter *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	r->options = *options;
	pthread_mutex_init(&r->lock, NULL);
	r->staged =
		aligned_alloc(ADV_PAGE, (sizeof(*r->staged) + ADV_PAGE - 1) / ADV_PAGE * ADV_PAGE);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = r->staged == NULL ? -ENOMEM : r->wake_fd < 0 ? -errno : 0;
	if (rc == 0) {
		memset(r->staged, 0, sizeof(*r->staged));
		for (size_t i = 0; i < options->nr_begun && i < ADV_ACCOUNT_LINES; i++)
			r->added[i] = options->begun[i];
		r->options.begun = NULL;
		rc = -pthread_create(&r->thread, NULL, run, r);
	}
	if (rc == 0) {
		*reporter = r;
		return 0;
	}
	adv_fd_close(&r->wake_fd);
	free(r->staged);
	free(r);
	return rc;
}

static void wake(struct adv_reporter *r)
{
	uint64_t one = 1;
	ssize_t ignored = write(r->wake_fd, &one, sizeof(one));
	(void)ignored;
}

void adv_reporter_give(struct adv_reporter *r, const struct adv_account *accounts, size_t n)
{
	bool complain = false;
	pthread_mutex_lock(&r->lock);
	if (n > ADV_ACCOUNT_LINES) {
		complain = !r->too_many;
		r->too_many = true;
		n = ADV_ACCOUNT_LINES;
	}
	memcpy(r->given, accounts, n * sizeof(*accounts));
	r->nr_given = n;
	r->version++;
	pthread_mutex_unlock(&r->lock);
	if (complain)
		adv_log_error("accounting: more than %d tenants: the accounting node hears of the "
			      "first only",
			      ADV_ACCOUNT_LINES);
	wake(r);
}

void adv_reporter_stop(struct adv_reporter *r)
{
	if (r == NULL)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	pthread_mutex_unlock(&r->lock);
	wake(r);
	pthread_join(r->thread, NULL);
	pthread_mutex_destroy(&r->lock);
	adv_fd_close(&r->wake_fd);
	free(r->staged);
	free(r);
}

void adv_reporter_state(struct adv_reporter *r, struct adv_reporter_state *state)
{
	pthread_mutex_lock(&r->lock);
	*state = r->state;
	state->settled = r->state.connected && r->settled == r->version;
	pthread_mutex_unlock(&r->lock);
}
