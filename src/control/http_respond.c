/* http_respond.c - answers and upgrades. Control thread only; sends at once what the socket takes, the rest by io_uring. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/http_internal.h"
#include "util/clock.h"
#include "util/passing.h"

#define container(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* ---- sending ---- */

static void conn_sent(struct adv_op *op, int res, uint32_t flags)
{
	struct conn *c = container(op, struct conn, send_op);
	(void)flags;
	c->sending = false;
	if (c->state == CONN_SENDING) {
		if (res < 0 && res != -EINTR && res != -EAGAIN) {
			conn_close(c);
		} else {
			c->out_sent += res > 0 ? (size_t)res : 0;
			conn_send(c);
		}
	}
	/* The last reference of a closed connection. */
	if (--c->nr_ops == 0 && c->state == CONN_CLOSED) {
		request_fini(&c->request);
		free(c->out);
		free(c);
	}
}

void conn_send(struct conn *c)
{
	while (c->out_sent < c->out_size) {
		ssize_t n = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			break;
		c->out_sent += (size_t)n;
	}
	if (c->out_sent == c->out_size) {
		free(c->out);
		c->out = NULL;
		conn_continue(c);
		return;
	}
	struct io_uring_sqe *sqe = adv_loop_sqe(c->server->loop);
	c->send_op.done = conn_sent;
	io_uring_prep_send(sqe, c->fd, c->out + c->out_sent, c->out_size - c->out_sent,
			   MSG_NOSIGNAL);
	adv_loop_queue(c->server->loop, sqe, &c->send_op);
	c->sending = true;
	c->nr_ops++;
	conn_deadline(c, ADV_HTTP_IDLE_MS);
}

static const char *reason_phrase(int code)
{
	switch (code) {
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 410:
		return "Gone";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 422:
		return "Unprocessable Content";
	case 426:
		return "Upgrade Required";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		return "Service Unavailable";
	case 507:
		return "Insufficient Storage";
	default:
		return code < 500 ? "Refused" : "Internal Server Error";
	}
}

void adv_http_respond_text(struct adv_http_request *r, int code, const char *type, const char *text)
{
	struct conn *c = r->conn;
	char head[512];
	if (r->answered)
		return;
	/* Unread bytes of a refused body cannot be told from the next request. */
	if (c->state == CONN_READING)
		r->keep_alive = false;
	int n = snprintf(head, sizeof(head),
			 "HTTP/1.1 %d %s\r\nAdverb-Protocol: %d\r\nContent-Type: %s\r\n"
			 "Content-Length: %zu\r\n%s%s%s%s%s\r\n",
			 code, reason_phrase(code), ADV_PROTOCOL_VERSION, type, strlen(text),
			 code == 401 ? "WWW-Authenticate: Bearer\r\n" : "",
			 r->allow != NULL ? "Allow: " : "", r->allow != NULL ? r->allow : "",
			 r->allow != NULL ? "\r\n" : "",
			 r->keep_alive ? "" : "Connection: close\r\n");
	size_t body = c->parser.method == HTTP_HEAD ? 0 : strlen(text);
	size_t size = (size_t)n + body;
	char *out = malloc(size + 1);
	r->answered = true;
	if (out == NULL) {
		conn_close(c);
		return;
	}
	memcpy(out, head, (size_t)n);
	memcpy(out + n, text, body);
	c->out = out;
	c->out_size = size;
	c->out_sent = 0;
	c->close_after = !r->keep_alive;
	c->state = CONN_SENDING;
	conn_send(c);
}

void adv_http_respond(struct adv_http_request *r, int code, json_t *body)
{
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	json_decref(body);
	if (text == NULL && body != NULL)
		code = 500;
	adv_http_respond_text(r, code, "application/json", text != NULL ? text : "{}");
	free(text);
}

int http_code(enum adv_status status)
{
	static const struct {
		enum adv_status status;
		int code;
	} codes[] = {
		{ADV_INVALID, 400},	{ADV_PROTOCOL, 400},	{ADV_BAD_MODULE, 422},
		{ADV_BAD_TOKEN, 403},	{ADV_FORBIDDEN, 403},	{ADV_NO_MODULE, 404},
		{ADV_NO_LEASE, 404},	{ADV_NO_FUNCTION, 404}, {ADV_NO_CAPACITY, 503},
		{ADV_EXPIRED, 410},	{ADV_REVOKED, 410},	{ADV_CLOSED, 410},
		{ADV_TOO_LARGE, 413},	{ADV_VERSION, 426},	{ADV_STORAGE, 507},
		{ADV_LOAD_FAILED, 422},
	};
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].status == status)
			return codes[i].code;
	return 500;
}

static void fail(struct adv_http_request *r, int code, enum adv_status status, const char *format,
		 va_list args)
{
	char message[2048];
	vsnprintf(message, sizeof(message), format, args);
	/* A peer's bytes may have been quoted: what is not UTF-8 is replaced. */
	json_t *text = json_string(message);
	for (char *p = message; text == NULL && *p != '\0'; p++)
		if (*p & 0x80)
			*p = '?';
	if (text == NULL)
		text = json_string(message);
	adv_http_respond(r, code,
			 json_pack("{s:{s:s, s:o}}", "error", "status", adv_status_name(status),
				   "message", text));
}

void adv_http_fail(struct adv_http_request *r, enum adv_status status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fail(r, http_code(status), status, format, args);
	va_end(args);
}

void adv_http_fail_as(struct adv_http_request *r, int code, enum adv_status status,
		      const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fail(r, code, status, format, args);
	va_end(args);
}

void adv_http_wrong_method(struct adv_http_request *r, const char *allow)
{
	r->allow = allow;
	adv_http_fail_as(r, 405, ADV_INVALID, "this method is not for the path %s, which has %s",
			 adv_http_path(r), allow);
}

/* ---- upgrades ---- */

static bool send_all(int fd, const void *data, size_t size)
{
	return send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}

/* Head, grant, and the byte, with the descriptors: in one piece, so that who waits for it is woken once. False: there is no room in the socket. */
static bool send_upgrade(int fd, const struct adv_http_upgrade *u)
{
	char head[256], grant[48] = "";
	size_t size = u->grant != NULL ? strlen(u->grant) : 0;
	if (u->grant != NULL)
		snprintf(grant, sizeof(grant), "Adverb-Grant: %zu\r\n", size);
	int n = snprintf(head, sizeof(head),
			 "HTTP/1.1 101 Switching Protocols\r\nAdverb-Protocol: %d\r\n"
			 "Connection: Upgrade\r\nUpgrade: %s\r\n%s\r\n",
			 ADV_PROTOCOL_VERSION, u->protocol, grant);
	struct iovec pieces[3] = {{.iov_base = head, .iov_len = (size_t)n},
				  {.iov_base = (void *)u->grant, .iov_len = size},
				  {.iov_base = (void *)"\001", .iov_len = 1}};
	return adv_send_pieces(fd, pieces, 3, u->fds, u->nr_fds, MSG_NOSIGNAL | MSG_DONTWAIT) ==
	       (ssize_t)((size_t)n + size + 1);
}

/* Some hundred bytes on a connection whose answers have all been taken: a peer that has no room for them is broken. */
struct adv_http_upgraded *adv_http_upgrade(struct adv_http_request *r,
					   const struct adv_http_upgrade *u)
{
	struct conn *c = r->conn;
	r->answered = true;
	if (!send_upgrade(c->fd, u)) {
		conn_close(c);
		return NULL;
	}
	/* Whoever answers later is not called by whoever reads: the connection goes on from the loop, after the owner has it. */
	adv_timer_set(&c->timer, c->processing ? UINT64_MAX : adv_clock_monotonic_ns());
	c->state = CONN_UPGRADED;
	c->upgraded = (struct adv_http_upgraded){
		.on_line = u->on_line, .on_close = u->on_close, .user = u->user};
	return &c->upgraded;
}

void adv_http_upgraded_send(struct adv_http_upgraded *u, const char *line)
{
	struct conn *c = container(u, struct conn, upgraded);
	char text[HTTP_LINE_MAX + 2];
	int n = snprintf(text, sizeof(text), "%s\n", line);
	/* on_close comes from the receive that ends, never from here. */
	if (c->state == CONN_UPGRADED && !send_all(c->fd, text, (size_t)n))
		shutdown(c->fd, SHUT_RDWR);
}
