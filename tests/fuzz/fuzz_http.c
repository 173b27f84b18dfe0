/*
 * fuzz_http.c - the control socket's input: bytes in pieces of any size to requests, and requests to the API's handlers.
 *
 * Proves: src/control/http_request.c, http_respond.c, api.c, api_leases.c and api_modules.c touch only their own memory, leak
 * nothing, always get on, and answer every request that is complete or refused with one well-formed head. What lies behind
 * them (leases, registry) is faked in fuzz_http_node.c; the connection's life (http.c) is played here, without io_uring.
 *
 * Input: a byte that says how the rest is cut into pieces, then what the peer sends.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "control/control.h"
#include "control/http_internal.h"
#include "fuzz.h"
#include "fuzz_http.h"

#define REQUESTS_MAX 2000

static int sockets[2] = {-1, -1}; /* the connection's, and its peer */
static struct io_uring_sqe sqe;

/* ---- http.c and loop.c, as far as the others need them ---- */

void conn_close(struct conn *c)
{
	c->state = CONN_CLOSED;
}

void conn_receive(struct conn *c)
{
	(void)c;
}

void conn_continue(struct conn *c)
{
	c->state = CONN_SENT;
}

void conn_deadline(struct conn *c, uint64_t ms)
{
	(void)c, (void)ms;
}

int adv_timer_set(struct adv_timer *timer, uint64_t deadline_ns)
{
	timer->deadline_ns = deadline_ns;
	return 0;
}

void adv_timer_init(struct adv_timer *timer, struct adv_loop *loop,
		    void (*fire)(struct adv_timer *timer), void *user)
{
	(void)loop;
	timer->fire = fire;
	timer->user = user;
}

struct io_uring_sqe *adv_loop_sqe(struct adv_loop *loop)
{
	(void)loop;
	return &sqe;
}

/* The answer did not fit into the socket: the peer does not read. */
void adv_loop_queue(struct adv_loop *loop, struct io_uring_sqe *entry, struct adv_op *op)
{
	(void)loop, (void)entry, (void)op;
}

/* ---- the peer ---- */

/* Takes what was sent. An answer starts at once with its head. */
static void read_answers(bool expected)
{
	static char text[1 << 17];
	ssize_t n = recv(sockets[1], text, sizeof(text), MSG_DONTWAIT);
	FUZZ_CHECK(!expected || n > 12);
	FUZZ_CHECK(n <= 0 || strncmp(text, "HTTP/1.1 ", 9) == 0);
	while (n > 0)
		n = recv(sockets[1], text, sizeof(text), MSG_DONTWAIT);
}

static void open_sockets(void)
{
	if (sockets[0] < 0)
		FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
}

/* ---- a connection's life, as in http.c ---- */

static void next_request(struct conn *c)
{
	read_answers(true);
	if (c->close_after) {
		c->state = CONN_DRAINING;
		return;
	}
	c->state = CONN_READING;
	request_fini(&c->request);
	request_init(c);
}

static void process(struct conn *c)
{
	for (unsigned i = 0;; i++) {
		FUZZ_CHECK(i <= 2 * HTTP_IN_BYTES);
		if (c->state == CONN_SENT)
			next_request(c);
		else if (c->state == CONN_READING && c->in_taken < c->in_fill)
			request_feed(c);
		else
			break;
	}
	if (c->state == CONN_UPGRADED && c->in_taken < c->in_fill &&
	    !upgraded_feed(c, c->in + c->in_taken, c->in_fill - c->in_taken))
		conn_close(c);
	FUZZ_CHECK(c->in_taken <= c->in_fill);
	FUZZ_CHECK(c->request.memfd >= 0 || c->request.body == NULL ||
		   c->request.body_size <= ADV_HTTP_BODY_BYTES_MAX);
}

static void received(struct conn *c, struct fuzz_input *in, size_t size)
{
	size = size < in->left ? size : in->left;
	size = size < sizeof(c->in) ? size : sizeof(c->in);
	fuzz_take(in, c->in, size);
	if (c->state == CONN_UPGRADED) {
		if (!upgraded_feed(c, c->in, size))
			conn_close(c);
		return;
	}
	c->in_fill = size;
	c->in_taken = 0;
	process(c);
}

static void finish(struct conn *c, struct adv_http_server *server)
{
	if (c->state == CONN_HANDLING && c->request.begun && !c->request.answered)
		server->handlers.gone(&c->request);
	fuzz_node_finish();
	read_answers(false);
	request_fini(&c->request);
	free(c->out);
	free(c);
}

/* 0: all at once; 1: byte by byte; else pieces of up to that size. */
static size_t piece(uint8_t kind, uint32_t *state)
{
	*state = *state * 1103515245u + 12345u;
	if (kind == 0)
		return HTTP_IN_BYTES;
	return 1 + (*state >> 16) % kind;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.at = data, .left = size};
	static struct adv_control control;
	struct adv_http_server server = {.handlers = adv_api_handlers(&control), .listen_fd = -1};
	struct conn *c = calloc(1, sizeof(*c));
	uint8_t kind = fuzz_u8(&in);
	uint32_t state = kind;
	FUZZ_CHECK(c != NULL);
	adv_admission_init(&control);
	open_sockets();
	c->server = &server;
	c->fd = sockets[0];
	c->uid = 1000;
	request_init(c);
	for (unsigned i = 0; i < REQUESTS_MAX && in.left > 0; i++) {
		received(c, &in, piece(kind, &state));
		if (c->state != CONN_READING && c->state != CONN_UPGRADED)
			break;
	}
	finish(c, &server);
	adv_admission_refuse_all(&control, "over"); /* whose peers are gone */
	FUZZ_CHECK(control.queue.nr == 0);
	return 0;
}
