/*
 * http.h - the control socket: HTTP/1.1 over a Unix stream socket, many connections, on the control thread's loop.
 * Knows nothing of modules and leases: it reads requests, calls the router's handler, and writes what the handler answers.
 */
#ifndef ADVERB_CONTROL_HTTP_H
#define ADVERB_CONTROL_HTTP_H

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adverb/status.h"
#include "control/loop.h"

struct adv_http_server;
struct adv_http_request;

enum adv_http_method {
	ADV_HTTP_GET,
	ADV_HTTP_PUT,
	ADV_HTTP_POST,
	ADV_HTTP_DELETE,
	ADV_HTTP_OTHER,
};

/*
 * Who handles requests. `begin` is called when the headers are in: it may refuse by responding, or ask for the body in a memfd
 * (adv_http_body_to_memfd()). `handle` is called when the body is in. Both may respond at once or later: a request lives until it is
 * responded to. When the peer has gone before that, `gone` is called and the request must not be used any more.
 */
struct adv_http_handlers {
	void (*begin)(struct adv_http_request *request);
	void (*handle)(struct adv_http_request *request);
	void (*gone)(struct adv_http_request *request);
	void *user;
	/*
	 * NULL: peers are local, known by their uid. Else they come by TCP: who sends this Authorization header (NULL: none was sent)?
	 * False: nobody. Requests but GET /healthz are refused then, before their body is read.
	 */
	bool (*authenticate)(void *user, const char *authorization, uint32_t *tenant);
	uint32_t
		silent_ms; /* a TCP peer whose kernel does not answer for so long is gone; one that is back before is not */
};

/*
 * Takes connections from `listen_fd` (a listening stream socket; stays the owner's) by multishot accept.
 * A record with descriptors in it: they are closed and the request refused with 400.
 * `Adverb-Protocol: 1` is on every answer; a request that names another version is refused with 426 and ADV_VERSION.
 */
int adv_http_server_start(struct adv_loop *loop, int listen_fd,
			  const struct adv_http_handlers *handlers,
			  struct adv_http_server **server);
/* No new connections; those there are are closed as soon as they are idle. */
void adv_http_server_stop(struct adv_http_server *server);
void adv_http_server_destroy(struct adv_http_server *server);
uint32_t adv_http_server_connections(const struct adv_http_server *server);

/* The request. Strings live as long as it does. */
enum adv_http_method adv_http_method(const struct adv_http_request *request);
const char *adv_http_path(const struct adv_http_request *request); /* decoded, without the query */
const char *adv_http_query(const struct adv_http_request *request,
			   const char *name); /* decoded value or NULL */
const char *adv_http_header(const struct adv_http_request *request, const char *name); /* or NULL */
uint32_t adv_http_uid(const struct adv_http_request
			      *request); /* the peer's, by SO_PEERCRED or by authenticate() */
bool adv_http_is_remote(const struct adv_http_request *request); /* came by TCP */
int32_t adv_http_pid(const struct adv_http_request *request);
void *adv_http_server_user(const struct adv_http_request *request);
void adv_http_set_user(struct adv_http_request *request, void *user);
void *adv_http_user(const struct adv_http_request *request);

/* In `begin`: the body goes into a new memfd of at most `max_bytes` (Content-Length is required: 411; larger: 413). 0 or -errno (then respond). */
int adv_http_body_to_memfd(struct adv_http_request *request, uint64_t max_bytes);
/* In `handle`: takes the memfd over (it must be closed by the taker), with its size. -1 when there is none. */
int adv_http_take_memfd(struct adv_http_request *request, uint64_t *size);
/* In `handle`: the body as text of at most ADV_HTTP_BODY_BYTES_MAX. */
const char *adv_http_body(const struct adv_http_request *request, size_t *size);
/* The body as a JSON object. NULL: it was not, and has been answered with 400 and where the error lies. An empty body is {}. */
json_t *adv_http_json(struct adv_http_request *request);

/* Answers, once. `body` is taken over (one reference); NULL sends {}. */
void adv_http_respond(struct adv_http_request *request, int code, json_t *body);
void adv_http_respond_text(struct adv_http_request *request, int code, const char *type,
			   const char *text);
/* {"error": {"status": "no_module", "message": "..."}} with the HTTP code that belongs to the status. */
void adv_http_fail(struct adv_http_request *request, enum adv_status status, const char *format,
		   ...) __attribute__((format(printf, 3, 4)));
/* The same with a code of its own. */
void adv_http_fail_as(struct adv_http_request *request, int code, enum adv_status status,
		      const char *format, ...) __attribute__((format(printf, 4, 5)));
/* 405. `allow`: the methods that the path has, as the header Allow lists them. */
void adv_http_wrong_method(struct adv_http_request *request, const char *allow);

/* ---- upgrade ---- */

/* A connection that has left HTTP. */
struct adv_http_upgraded;

/*
 * `on_line` is called for each line (without its newline, at most 255 bytes) that the peer sends after the upgrade; `on_close`
 * once, when the peer has closed or broken the protocol (also when sending failed); it must then not be used any more.
 */
struct adv_http_upgrade {
	const char *protocol;
	const char *grant; /* JSON; or NULL */
	const int *fds;
	unsigned nr_fds; /* at most 16; 0 over TCP */
	void (*on_line)(void *user, const char *line, size_t length);
	void (*on_close)(void *user);
	void *user;
};

/*
 * Answers 101 with `Upgrade: protocol`. A grant follows the head, its bytes announced by `Adverb-Grant: N`. Then, in one record,
 * the descriptors (none: nothing) come with one byte of data (0x01). NULL: the peer is gone.
 */
struct adv_http_upgraded *adv_http_upgrade(struct adv_http_request *request,
					   const struct adv_http_upgrade *upgrade);
/* Sends one line of text (a newline is added), as far as the socket takes it without blocking; a peer that does not read is closed. */
void adv_http_upgraded_send(struct adv_http_upgraded *connection, const char *line);
/* Closes it from this side after what was sent; on_close is not called. */
void adv_http_upgraded_close(struct adv_http_upgraded *connection);

#endif
