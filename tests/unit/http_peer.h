/*
 * http_peer.h - a server of src/control/http.h on a real loop, and a peer of it in the same thread: bytes go out, the loop turns
 * until the answer has come. For test_http*.c; each test is a process of its own.
 */
#ifndef ADVERB_TESTS_HTTP_PEER_H
#define ADVERB_TESTS_HTTP_PEER_H

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/http.h"
#include "util/limits.h"

#define TURNS 20000 /* of the loop, a millisecond at most each, before a wait is given up */

static struct adv_loop *loop;
static struct adv_http_server *server;
static int listen_fd = -1;
static struct sockaddr_un address;
static socklen_t address_size;

struct peer {
	int fd;
	bool ended; /* the server has closed */
	char in[256 * 1024];
	size_t fill;
	int fds[16];
	unsigned nr_fds;
};

static struct peer peers[2];

struct reply {
	int code;
	char head[1024];
	char *body;
	size_t size;
	json_t *json; /* of the body; NULL when it is none */
};

static struct reply reply;

/* ---- life ---- */

static inline void reply_clear(void)
{
	json_decref(reply.json);
	free(reply.body);
	memset(&reply, 0, sizeof(reply));
}

static inline void serve(const struct adv_http_handlers *handlers)
{
	int rc = adv_loop_create(64, &loop);
	if (rc < 0)
		cr_skip("no io_uring: %s", strerror(-rc));
	peers[0].fd = peers[1].fd = -1;
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address.sun_family = AF_UNIX; /* the kernel chooses an abstract name */
	cr_assert_eq(bind(listen_fd, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	address_size = sizeof(address);
	cr_assert_eq(getsockname(listen_fd, (struct sockaddr *)&address, &address_size), 0);
	cr_assert_eq(listen(listen_fd, 8), 0);
	cr_assert_eq(adv_http_server_start(loop, listen_fd, handlers, &server), 0);
}

static inline void peer_close(struct peer *p)
{
	for (unsigned i = 0; i < p->nr_fds; i++)
		close(p->fds[i]);
	if (p->fd >= 0)
		close(p->fd);
	memset(p, 0, sizeof(*p));
	p->fd = -1;
}

static inline void serve_no_more(void)
{
	if (loop == NULL)
		return;
	peer_close(&peers[0]);
	peer_close(&peers[1]);
	adv_http_server_destroy(server);
	adv_loop_destroy(loop);
	close(listen_fd);
	reply_clear();
}

static inline void peer_open(struct peer *p)
{
	peer_close(p);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(p->fd, (struct sockaddr *)&address, address_size), 0);
}

/* ---- bytes ---- */

static inline void peer_take_fds(struct peer *p, struct msghdr *msg)
{
	for (struct cmsghdr *m = CMSG_FIRSTHDR(msg); m != NULL; m = CMSG_NXTHDR(msg, m)) {
		size_t n = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		cr_assert_leq(p->nr_fds + n, 16);
		memcpy(p->fds + p->nr_fds, CMSG_DATA(m), n * sizeof(int));
		p->nr_fds += (unsigned)n;
	}
}

/* One turn of the loop, then whatever has come. */
static inline void turn(struct peer *p)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 16)];
	cr_assert_eq(adv_loop_run_once(loop, ADV_MS), 0);
	for (;;) {
		struct iovec iov = {p->in + p->fill, sizeof(p->in) - 1 - p->fill};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control,
				     .msg_controllen = sizeof(control)};
		ssize_t n = p->ended || iov.iov_len == 0
				    ? -1
				    : recvmsg(p->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0)
			return;
		p->ended = n == 0;
		p->fill += (size_t)n;
		p->in[p->fill] = '\0';
		peer_take_fds(p, &msg);
	}
}

/* Turns until the expression holds. */
#define AWAIT(p, expression)                                                \
	do {                                                                \
		int turns_ = 0;                                             \
		for (; !(expression) && turns_ < TURNS; turns_++)           \
			turn(p);                                            \
		cr_assert_lt(turns_, TURNS, "never true: %s", #expression); \
	} while (0)

/* Whether the server has read all that was sent. */
static inline bool taken(const struct peer *p)
{
	int unread = 0;
	return ioctl(p->fd, SIOCOUTQ, &unread) == 0 && unread == 0;
}

static inline void put(struct peer *p, const void *bytes, size_t size)
{
	size_t sent = 0;
	for (int turns = 0; sent < size && turns < TURNS; turns++) {
		ssize_t n = send(p->fd, (const char *)bytes + sent, size - sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			sent += (size_t)n;
		else if (errno != EAGAIN)
			return; /* the server has had enough: its answer is there */
		else
			turn(p);
	}
}

static inline void say(struct peer *p, const char *text)
{
	put(p, text, strlen(text));
}

static inline void put_fds(struct peer *p, const char *text, const int *fds, unsigned n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 16)] = {0};
	struct iovec iov = {(void *)text, strlen(text)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = CMSG_SPACE(sizeof(int) * n)};
	struct cmsghdr *m = CMSG_FIRSTHDR(&msg);
	*m = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS,
			      .cmsg_len = CMSG_LEN(sizeof(int) * n)};
	memcpy(CMSG_DATA(m), fds, sizeof(int) * n);
	cr_assert_eq(sendmsg(p->fd, &msg, MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* ---- answers ---- */

static inline char *header_of(const char *head, const char *name)
{
	static char value[256];
	char key[64];
	snprintf(key, sizeof(key), "\r\n%s: ", name);
	const char *at = strcasestr(head, key);
	if (at == NULL)
		return NULL;
	at += strlen(key);
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
	return value;
}

/* Where the head ends; 0: it is not there. */
static inline size_t head_size(const struct peer *p)
{
	const char *end = p->fill > 0 ? strstr(p->in, "\r\n\r\n") : NULL;
	return end != NULL ? (size_t)(end - p->in) + 4 : 0;
}

static inline void drop(struct peer *p, size_t size)
{
	p->fill -= size;
	memmove(p->in, p->in + size, p->fill + 1);
}

static inline void take_head(struct peer *p)
{
	reply_clear();
	AWAIT(p, head_size(p) != 0 || p->ended);
	size_t size = head_size(p);
	cr_assert_gt(size, 0, "closed without an answer: \"%s\"", p->in);
	cr_assert_lt(size, sizeof(reply.head));
	memcpy(reply.head, p->in, size);
	cr_assert_eq(sscanf(reply.head, "HTTP/1.1 %d ", &reply.code), 1, "%s", reply.head);
	drop(p, size);
}

/* The next answer, with its body, into `reply`; its code. */
static inline int answer(struct peer *p)
{
	take_head(p);
	const char *length = header_of(reply.head, "Content-Length");
	cr_assert_not_null(length, "%s", reply.head);
	cr_assert_str_eq(header_of(reply.head, "Adverb-Protocol"), "1");
	reply.size = strtoul(header_of(reply.head, "Content-Length"), NULL, 10);
	reply.body = calloc(1, reply.size + 1);
	cr_assert_not_null(reply.body);
	for (size_t at = 0; at < reply.size;) {
		AWAIT(p, p->fill > 0 || p->ended);
		size_t n = p->fill < reply.size - at ? p->fill : reply.size - at;
		cr_assert_gt(n, 0, "the answer is cut off");
		memcpy(reply.body + at, p->in, n);
		drop(p, n);
		at += n;
	}
	reply.json = json_loadb(reply.body, reply.size, 0, NULL);
	return reply.code;
}

static inline const char *field(const char *name)
{
	const char *text = json_string_value(json_object_get(reply.json, name));
	return text != NULL ? text : "(none)";
}

static inline const char *error_field(const char *name)
{
	const char *text =
		json_string_value(json_object_get(json_object_get(reply.json, "error"), name));
	return text != NULL ? text : "(none)";
}

/* Asks on a new connection. */
static inline int ask(const char *text)
{
	peer_open(&peers[0]);
	say(&peers[0], text);
	return answer(&peers[0]);
}

/* The last answer was a refusal in JSON. */
static inline void refused_as(const char *status, const char *part)
{
	cr_assert_str_eq(error_field("status"), status);
	cr_assert_not_null(strstr(error_field("message"), part), "\"%s\" has no \"%s\"",
			   error_field("message"), part);
}

static inline void closes(struct peer *p)
{
	cr_assert_not_null(header_of(reply.head, "Connection"), "%s", reply.head);
	cr_assert_str_eq(header_of(reply.head, "Connection"), "close");
	AWAIT(p, p->ended);
	cr_assert_eq(p->fill, 0, "bytes behind the answer: \"%s\"", p->in);
}

/* The connection serves another request. */
static inline void stays(struct peer *p)
{
	cr_assert_null(header_of(reply.head, "Connection"), "%s", reply.head);
	say(p, "GET /again HTTP/1.1\r\n\r\n");
	cr_assert_eq(answer(p), 200);
	cr_assert_str_eq(field("path"), "/again");
}

#endif
