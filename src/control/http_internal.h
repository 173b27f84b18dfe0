/*
 * http_internal.h - a connection of the control socket, as its three files see it. Control thread only.
 *
 *	http.c          accepting, receiving, closing: the life of a connection
 *	http_request.c  bytes to a request: http-parser's callbacks, and what handlers ask of a request
 *	http_respond.c  answers, upgrades
 *
 * A connection is referred to by its operations in flight: it is freed when it is closed and the last has completed.
 */
#ifndef ADVERB_CONTROL_HTTP_INTERNAL_H
#define ADVERB_CONTROL_HTTP_INTERNAL_H

#include <http_parser.h>
#include <sys/socket.h>

#include "control/http.h"
#include "util/limits.h"

#define HTTP_IN_BYTES	   16384
#define HTTP_LINE_MAX	   255
#define HTTP_HEADERS_MAX   64
#define HTTP_QUERY_BYTES   1024
#define HTTP_DRAIN_MS	   5000
#define HTTP_CONTROL_BYTES CMSG_SPACE(sizeof(int) * 16)

enum conn_state {
	CONN_READING,  /* a request is coming in, or none is */
	CONN_HANDLING, /* the handler has it; nothing more is parsed until it has answered */
	CONN_SENDING,  /* the answer is leaving */
	CONN_SENT,     /* the answer has left; the next request is about to be looked for */
	CONN_DRAINING, /* refused: what the peer still sends is thrown away, so that it gets to read why */
	CONN_UPGRADED, /* lines of text */
	CONN_CLOSED,
};

struct http_header {
	uint32_t name, value; /* offsets into head */
};

struct adv_http_request {
	struct conn *conn;
	void *user;
	enum adv_http_method method;
	bool begun; /* the handlers know of it */
	bool answered;
	bool keep_alive;
	const char *allow; /* the methods that a 405 names; NULL */
	bool expects_continue;
	bool bad_url;
	char head
		[ADV_HTTP_HEADER_BYTES_MAX]; /* target, then names and values, each NUL-terminated */
	uint32_t head_fill;
	struct http_header headers[HTTP_HEADERS_MAX];
	uint32_t nr_headers;
	int parsing;		      /* what the parser last gave a piece of: see http_request.c */
	char *path;		      /* decoded, in head */
	char *query;		      /* raw, in head; or NULL */
	char found[HTTP_QUERY_BYTES]; /* decoded values that were asked for */
	uint32_t found_fill;
	int refuse_code; /* what the parser's callbacks found wrong; 0: nothing */
	enum adv_status refuse_status;
	const char *refuse_text;
	int memfd; /* the body goes there; -1: into body */
	uint64_t memfd_max, body_size;
	char *body;
	size_t body_capacity;
};

struct adv_http_upgraded {
	void (*on_line)(void *user, const char *line, size_t length);
	void (*on_close)(void *user);
	void *user;
	char line[HTTP_LINE_MAX + 1];
	size_t fill;
};

struct conn {
	struct adv_http_server *server;
	struct conn *previous, *next;
	enum conn_state state;
	int fd;
	uint32_t uid;
	int32_t pid;
	unsigned nr_ops; /* in flight */
	struct adv_op recv_op, send_op, hangup_op;
	bool receiving, sending, watching, processing;
	bool end_of_input;
	struct adv_timer timer;
	struct msghdr msg;
	struct iovec iov;
	_Alignas(struct cmsghdr) char control[HTTP_CONTROL_BYTES];
	char in[HTTP_IN_BYTES];
	size_t in_fill, in_taken;
	char *out;
	size_t out_size, out_sent;
	bool close_after;
	http_parser parser;
	struct adv_http_request request;
	struct adv_http_upgraded upgraded;
};

struct adv_http_server {
	struct adv_loop *loop;
	struct adv_http_handlers handlers;
	int listen_fd;
	struct adv_op accept_op;
	bool accepting, stopping;
	struct adv_timer retry; /* after a shortage of descriptors */
	struct conn *first;
	uint32_t nr_conns;
};

/* http.c */
void conn_close(struct conn *c);    /* the struct may be gone afterwards */
void conn_receive(struct conn *c);  /* asks for more bytes */
void conn_continue(struct conn *c); /* the answer has left: the next request, or the end */
void conn_deadline(struct conn *c, uint64_t ms);

/* http_request.c */
void request_init(struct conn *c);
void request_fini(struct adv_http_request *request);
/* Parses what is in the buffer, until a request is complete or bytes run out; hands it to its handler, or refuses it. */
void request_feed(struct conn *c);
/* Feeds an upgraded connection. False: the peer broke the protocol. */
bool upgraded_feed(struct conn *c, const char *data, size_t size);

/* http_respond.c */
void conn_send(struct conn *c); /* goes on with what is left of out */
int http_code(enum adv_status status);

#endif
