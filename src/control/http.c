/* http.c - the life of a connection: accepted, read, handed to its handler, closed. Control thread, io_uring alone. */
#include "control/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/http_internal.h"
#include "util/clock.h"
#include "util/log.h"

#define ACCEPT_RETRY_NS (100 * ADV_MS)

#define container(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* ---- the end of a connection ---- */

static void conn_free(struct conn *c)
{
	request_fini(&c->request);
	free(c->out);
	free(c);
}

static void conn_put(struct conn *c)
{
	if (--c->nr_ops == 0 && c->state == CONN_CLOSED)
		conn_free(c);
}

static void unlink_conn(struct conn *c)
{
	struct adv_http_server *s = c->server;
	if (c->previous != NULL)
		c->previous->next = c->next;
	else
		s->first = c->next;
	if (c->next != NULL)
		c->next->previous = c->previous;
	s->nr_conns--;
}

void conn_close(struct conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	enum conn_state was = c->state;
	c->state = CONN_CLOSED;
	adv_timer_set(&c->timer, UINT64_MAX);
	/* A receive in flight holds the file: only a shutdown ends it. */
	shutdown(c->fd, SHUT_RDWR);
	if (c->watching)
		adv_loop_cancel(c->server->loop, &c->hangup_op);
	close(c->fd);
	unlink_conn(c);
	struct adv_http_handlers *h = &c->server->handlers;
	c->nr_ops++; /* callbacks may not free it under our feet */
	if (was == CONN_UPGRADED && c->upgraded.on_close != NULL)
		c->upgraded.on_close(c->upgraded.user);
	else if ((was == CONN_HANDLING || was == CONN_READING) && c->request.begun &&
		 !c->request.answered)
		h->gone(&c->request);
	conn_put(c);
}

void conn_deadline(struct conn *c, uint64_t ms)
{
	adv_timer_set(&c->timer, adv_clock_monotonic_ns() + ms * ADV_MS);
}

static void process(struct conn *c);

static void conn_timeout(struct adv_timer *timer)
{
	struct conn *c = timer->user;
	if (c->state ==
	    CONN_HANDLING) /* the handler takes its time: that is not the peer's fault */
		return;
	if (c->state == CONN_UPGRADED)
		process(c); /* upgraded outside of it: what came before is fed now */
	else
		conn_close(c);
}

/* ---- receiving ---- */

static void close_descriptors(struct msghdr *msg)
{
	for (struct cmsghdr *m = CMSG_FIRSTHDR(msg); m != NULL; m = CMSG_NXTHDR(msg, m)) {
		if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(m) + i * sizeof(int), sizeof(fd));
			close(fd);
		}
	}
}

/* The peer sent descriptors: they are closed, and it is told. */
static bool refuse_descriptors(struct conn *c)
{
	if (c->msg.msg_controllen == 0 && !(c->msg.msg_flags & MSG_CTRUNC))
		return false;
	close_descriptors(&c->msg);
	if (c->state == CONN_READING) {
		c->request.keep_alive = false;
		adv_http_fail(&c->request, ADV_INVALID, "a request carries no descriptors");
	} else {
		conn_close(c);
	}
	return true;
}

/* While a handler has the request, its peer may go away: both directions shut is the sign, half-closing is not. */
static void hangup_done(struct adv_op *op, int res, uint32_t flags)
{
	struct conn *c = container(op, struct conn, hangup_op);
	(void)flags;
	c->watching = false;
	if (res >= 0 && (res & (POLLHUP | POLLERR)) && c->state == CONN_HANDLING)
		conn_close(c);
	conn_put(c);
}

static void watch_hangup(struct conn *c)
{
	if (c->watching)
		return;
	struct io_uring_sqe *sqe = adv_loop_sqe(c->server->loop);
	c->hangup_op.done = hangup_done;
	io_uring_prep_poll_add(sqe, c->fd, 0);
	adv_loop_queue(c->server->loop, sqe, &c->hangup_op);
	c->watching = true;
	c->nr_ops++;
}

/* The answer has left: makes ready for the next request, or for the end. */
static void next_request(struct conn *c)
{
	if (!c->close_after) {
		c->state = CONN_READING;
		request_fini(&c->request);
		request_init(c);
		adv_timer_set(&c->timer, UINT64_MAX);
		return;
	}
	/* Whatever the peer still sends is read and dropped: closing now could cost it the answer. */
	c->state = CONN_DRAINING;
	shutdown(c->fd, SHUT_WR);
	conn_deadline(c, HTTP_DRAIN_MS);
	if (c->end_of_input)
		conn_close(c);
	else
		conn_receive(c);
}

/* One request after the other out of what has been received, as each is answered. Never recurses: answers only change the state. */
static void process(struct conn *c)
{
	c->processing = true;
	c->nr_ops++;
	for (;;) {
		if (c->state == CONN_SENT)
			next_request(c);
		else if (c->state == CONN_READING && c->in_taken < c->in_fill)
			request_feed(c);
		else
			break;
	}
	c->processing = false;
	/* What came behind a request for an upgrade is its first lines. */
	if (c->state == CONN_UPGRADED && c->in_taken < c->in_fill &&
	    !upgraded_feed(c, c->in + c->in_taken, c->in_fill - c->in_taken))
		conn_close(c);
	if (c->state == CONN_HANDLING) {
		adv_timer_set(&c->timer, UINT64_MAX);
		watch_hangup(c);
	} else if (c->state == CONN_READING && c->end_of_input) {
		conn_close(c);
	} else if (c->state == CONN_READING || c->state == CONN_UPGRADED) {
		conn_receive(c);
	}
	conn_put(c);
}

void conn_continue(struct conn *c)
{
	c->state = CONN_SENT;
	if (!c->processing)
		process(c);
}

static void received(struct conn *c, size_t size)
{
	if (c->state == CONN_UPGRADED) {
		if (!upgraded_feed(c, c->in, size))
			conn_close(c);
		else if (c->state == CONN_UPGRADED)
			conn_receive(c);
		return;
	}
	if (c->state == CONN_DRAINING) {
		conn_receive(c);
		return;
	}
	c->in_fill = size;
	c->in_taken = 0;
	process(c);
}

static void recv_done(struct adv_op *op, int res, uint32_t flags)
{
	struct conn *c = container(op, struct conn, recv_op);
	(void)flags;
	c->receiving = false;
	if (res > 0 && c->state == CONN_CLOSED)
		close_descriptors(&c->msg);
	if (c->state != CONN_CLOSED) {
		if (res > 0) {
			if (!refuse_descriptors(c))
				received(c, (size_t)res);
		} else if (res == -EINTR || res == -EAGAIN) {
			conn_receive(c);
		} else if (res == 0 && (c->state == CONN_SENDING || c->state == CONN_HANDLING)) {
			c->end_of_input = true;
		} else {
			conn_close(c);
		}
	}
	conn_put(c);
}

void conn_receive(struct conn *c)
{
	if (c->receiving || c->state == CONN_CLOSED)
		return;
	struct io_uring_sqe *sqe = adv_loop_sqe(c->server->loop);
	c->iov = (struct iovec){.iov_base = c->in, .iov_len = sizeof(c->in)};
	c->msg = (struct msghdr){.msg_iov = &c->iov,
				 .msg_iovlen = 1,
				 .msg_control = c->control,
				 .msg_controllen = sizeof(c->control)};
	c->recv_op.done = recv_done;
	io_uring_prep_recvmsg(sqe, c->fd, &c->msg, MSG_CMSG_CLOEXEC);
	adv_loop_queue(c->server->loop, sqe, &c->recv_op);
	c->receiving = true;
	c->nr_ops++;
	if (c->state == CONN_READING && c->timer.deadline_ns == UINT64_MAX)
		conn_deadline(c, ADV_HTTP_IDLE_MS);
}

/* ---- accepting ---- */

static bool too_many(const struct adv_http_server *s, uint32_t uid)
{
	uint32_t of_uid = 0;
	if (s->nr_conns >= ADV_CONNECTIONS_MAX)
		return true;
	if (s->nr_conns < ADV_CONNECTIONS_MAX / 2)
		return false;
	for (const struct conn *c = s->first; c != NULL; c = c->next)
		of_uid += c->uid == uid;
	return of_uid >= ADV_CONNECTIONS_MAX / 2;
}

static void turn_away(int fd)
{
	static const char answer[] =
		"HTTP/1.1 503 Service Unavailable\r\nAdverb-Protocol: 1\r\nConnection: close\r\n"
		"Content-Type: application/json\r\nContent-Length: 84\r\n\r\n"
		"{\"error\": {\"status\": \"no_capacity\", \"message\": \"too many connections to "
		"this node\"}}";
	ssize_t ignored = send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)ignored;
	close(fd);
}

/* Small answers leave at once, and a peer that falls silent is noticed. A kernel that knows less is served without. */
static void tune(const struct adv_http_server *s, int fd)
{
	const struct {
		int level, name, value;
	} options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, 1},
		{IPPROTO_TCP, TCP_KEEPINTVL, 1},
		{IPPROTO_TCP, TCP_KEEPCNT, 120},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, (int)s->handlers.silent_ms},
	};
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
				 sizeof(options[i].value));
}

static bool who_is_it(const struct adv_http_server *s, int fd, struct ucred *peer)
{
	socklen_t size = sizeof(*peer);
	if (s->handlers.authenticate == NULL)
		return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &size) == 0;
	tune(s, fd);
	*peer = (struct ucred){.uid = UINT32_MAX}; /* nobody, until a request says who */
	return true;
}

static void conn_open(struct adv_http_server *s, int fd)
{
	struct ucred peer;
	if (!who_is_it(s, fd, &peer)) {
		close(fd);
		return;
	}
	struct conn *c = too_many(s, peer.uid) ? NULL : calloc(1, sizeof(*c));
	if (c == NULL) {
		turn_away(fd);
		return;
	}
	c->server = s;
	c->fd = fd;
	c->uid = peer.uid;
	c->pid = peer.pid;
	c->next = s->first;
	if (s->first != NULL)
		s->first->previous = c;
	s->first = c;
	s->nr_conns++;
	adv_timer_init(&c->timer, s->loop, conn_timeout, c);
	request_init(c);
	conn_receive(c);
}

static void accept_more(struct adv_http_server *s);

static void accepted(struct adv_op *op, int res, uint32_t flags)
{
	struct adv_http_server *s = container(op, struct adv_http_server, accept_op);
	if (!(flags & IORING_CQE_F_MORE))
		s->accepting = false;
	if (res >= 0 && s->stopping)
		close(res);
	else if (res >= 0)
		conn_open(s, res);
	if (s->accepting || s->stopping)
		return;
	if (res == -EMFILE || res == -ENFILE || res == -ENOMEM || res == -ENOBUFS) {
		adv_log_warning(
			"no connection could be accepted: %s: raise the limit of open files",
			strerror(-res));
		adv_timer_set(&s->retry, adv_clock_monotonic_ns() + ACCEPT_RETRY_NS);
	} else if (res != -ECANCELED) {
		accept_more(s);
	}
}

static void accept_more(struct adv_http_server *s)
{
	struct io_uring_sqe *sqe = adv_loop_sqe(s->loop);
	s->accept_op.done = accepted;
	io_uring_prep_multishot_accept(sqe, s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	adv_loop_queue(s->loop, sqe, &s->accept_op);
	s->accepting = true;
}

static void accept_again(struct adv_timer *timer)
{
	struct adv_http_server *s = timer->user;
	if (!s->accepting && !s->stopping)
		accept_more(s);
}

int adv_http_server_start(struct adv_loop *loop, int listen_fd,
			  const struct adv_http_handlers *handlers, struct adv_http_server **server)
{
	struct adv_http_server *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->loop = loop;
	s->handlers = *handlers;
	s->listen_fd = listen_fd;
	adv_timer_init(&s->retry, loop, accept_again, s);
	accept_more(s);
	*server = s;
	return 0;
}

void adv_http_server_stop(struct adv_http_server *s)
{
	s->stopping = true;
	adv_timer_set(&s->retry, UINT64_MAX);
	if (s->accepting)
		adv_loop_cancel(s->loop, &s->accept_op);
	for (struct conn *c = s->first, *next; c != NULL; c = next) {
		next = c->next;
		if (c->state == CONN_READING && c->request.head_fill == 0)
			conn_close(c);
		else
			c->request.keep_alive = false;
	}
}

/* Completions that are still under way are awaited: they point into the connections. Bounded, as all of them are shut down. */
void adv_http_server_destroy(struct adv_http_server *s)
{
	if (s == NULL)
		return;
	adv_http_server_stop(s);
	while (s->first != NULL)
		conn_close(s->first);
	for (int i = 0; i < 20; i++)
		adv_loop_run_once(s->loop, ADV_MS);
	free(s);
}

uint32_t adv_http_server_connections(const struct adv_http_server *s)
{
	return s->nr_conns;
}

void adv_http_upgraded_close(struct adv_http_upgraded *u)
{
	struct conn *c = container(u, struct conn, upgraded);
	u->on_close = NULL;
	conn_close(c);
}
