/*
 * http.c - one HTTP/1.1 request and its answer over a stream socket, within a deadline. Any thread.
 * Sockets stay blocking; every call on them says MSG_DONTWAIT and waits in poll(). No call raises SIGPIPE.
 */
#include <errno.h>
#include <http_parser.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "client/internal.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/parse.h"

#define CHUNK_BYTES 65536

uint64_t adv_client_deadline(uint64_t ms)
{
	return adv_clock_add(adv_clock_monotonic_ns(), ms * ADV_MS);
}

int adv_client_left_ms(uint64_t deadline_ns)
{
	uint64_t now = adv_clock_monotonic_ns();
	if (now >= deadline_ns)
		return 0;
	uint64_t ms = (deadline_ns - now + ADV_MS - 1) / ADV_MS;
	return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

/* ---- the answer ---- */

struct exchange {
	int fd;
	const struct adv_address *address;
	uint64_t deadline_ns;
	const struct adv_client_request *request;
	struct adv_client_answer *answer;
	bool attach;
	bool complete;
	bool out_of_memory;
	bool too_large;
	bool value; /* the parser is in a header's value */
	char field[32];
	char grant[24];	   /* the header Adverb-Grant */
	size_t grant_left; /* bytes of it that have not come */
	http_parser parser;
};

static struct exchange *of(http_parser *parser)
{
	return parser->data;
}

static void append(char *text, size_t size, const char *more, size_t length)
{
	size_t used = strlen(text);
	if (length > size - 1 - used)
		length = size - 1 - used;
	memcpy(text + used, more, length);
	text[used + length] = '\0';
}

static int on_message_begin(http_parser *parser)
{
	struct exchange *x = of(parser);
	x->field[0] = '\0';
	x->value = false;
	x->answer->protocol[0] = '\0';
	x->answer->body_size = 0;
	x->grant[0] = '\0';
	return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t length)
{
	struct exchange *x = of(parser);
	if (x->value)
		x->field[0] = '\0';
	x->value = false;
	append(x->field, sizeof(x->field), at, length);
	return 0;
}

static int on_header_value(http_parser *parser, const char *at, size_t length)
{
	struct exchange *x = of(parser);
	x->value = true;
	if (strcasecmp(x->field, "Adverb-Protocol") == 0)
		append(x->answer->protocol, sizeof(x->answer->protocol), at, length);
	else if (strcasecmp(x->field, "Adverb-Grant") == 0)
		append(x->grant, sizeof(x->grant), at, length);
	return 0;
}

static int on_headers_complete(http_parser *parser)
{
	struct exchange *x = of(parser);
	uint64_t grant = 0;
	if (parser->status_code == 101 && x->grant[0] != '\0') {
		if (adv_parse_u64(x->grant, &grant) < 0 || grant > ADV_CLIENT_REPLY_BYTES_MAX)
			return -1;
		x->grant_left = (size_t)grant;
	}
	return strcmp(of(parser)->request->method, "HEAD") == 0 ? 1 : 0;
}

static int on_body(http_parser *parser, const char *at, size_t length)
{
	struct exchange *x = of(parser);
	struct adv_client_answer *a = x->answer;
	if (length > ADV_CLIENT_REPLY_BYTES_MAX - a->body_size) {
		x->too_large = true;
		return -1;
	}
	size_t need = a->body_size + length + 1;
	if (need > a->body_capacity) {
		size_t capacity = a->body_capacity * 2 > need ? a->body_capacity * 2 : need;
		char *body = realloc(a->body, capacity);
		if (body == NULL) {
			x->out_of_memory = true;
			return -1;
		}
		a->body = body;
		a->body_capacity = capacity;
	}
	memcpy(a->body + a->body_size, at, length);
	a->body_size += length;
	a->body[a->body_size] = '\0';
	return 0;
}

static int on_message_complete(http_parser *parser)
{
	struct exchange *x = of(parser);
	if (parser->status_code < 200 && parser->status_code != 101)
		return 0; /* an interim answer: the real one follows */
	x->complete = true;
	x->answer->code = parser->status_code;
	x->answer->keep_alive = http_should_keep_alive(parser) != 0;
	http_parser_pause(parser, 1); /* what follows is not HTTP, or not asked for */
	return 0;
}

static const http_parser_settings settings = {
	.on_message_begin = on_message_begin,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

static enum adv_status broken(const struct exchange *x)
{
	if (x->out_of_memory)
		return adv_client_fail(ADV_NO_MEMORY, "no memory for the answer of the node at %s",
				       x->address->text);
	if (x->too_large)
		return adv_client_fail(ADV_PROTOCOL, "the node at %s answers more than %u MiB",
				       x->address->text,
				       (unsigned)(ADV_CLIENT_REPLY_BYTES_MAX / ADV_MIB));
	return adv_client_fail(ADV_PROTOCOL, "the node at %s does not answer in HTTP: %s",
			       x->address->text,
			       http_errno_description(HTTP_PARSER_ERRNO(&x->parser)));
}

/* ---- receiving ---- */

static void keep_fds(struct exchange *x, const struct cmsghdr *c, bool *too_many)
{
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	for (size_t i = 0; i < n; i++) {
		int fd;
		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		if (x->answer->nr_fds < ADV_ATTACH_FDS) {
			x->answer->fds[x->answer->nr_fds++] = fd;
		} else {
			adv_fd_close(&fd);
			*too_many = true;
		}
	}
}

/* Bytes with what descriptors they carry. As recvmsg(); EPROTO: too many descriptors. */
static ssize_t receive_with_fds(struct exchange *x, char *chunk, size_t size)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(2 * ADV_ATTACH_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = chunk, .iov_len = size};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	bool too_many = false;
	ssize_t n = recvmsg(x->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return n;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			keep_fds(x, c, &too_many);
	if (too_many || (m.msg_flags & MSG_CTRUNC)) {
		errno = EPROTO;
		return -1;
	}
	return n;
}

static enum adv_status hung_up(const struct exchange *x)
{
	return adv_client_fail(ADV_NODE_GONE,
			       "the node at %s closed the connection before it had answered %s %s",
			       x->address->text, x->request->method, x->request->path);
}

static enum adv_status receive_failed(const struct exchange *x, int error)
{
	if (error == EPROTO)
		return adv_client_fail(ADV_PROTOCOL,
				       "the node at %s sent more descriptors than a lease has",
				       x->address->text);
	return error == ECONNRESET ? hung_up(x)
				   : adv_client_fail(ADV_SYSTEM, "reading from the node at %s: %s",
						     x->address->text, strerror(error));
}

/* What comes behind a 101: the grant, if one is announced, then bytes of the new protocol. */
static enum adv_status keep_rest(struct exchange *x, const char *at, size_t length)
{
	struct adv_client_answer *a = x->answer;
	size_t granted = length < x->grant_left ? length : x->grant_left;
	if (granted > 0 && on_body(&x->parser, at, granted) < 0)
		return broken(x);
	x->grant_left -= granted;
	at += granted;
	length -= granted;
	if (length > sizeof(a->rest) - a->rest_size)
		return adv_client_fail(ADV_PROTOCOL, "the node at %s sends too much after its 101",
				       x->address->text);
	memcpy(a->rest + a->rest_size, at, length);
	a->rest_size += length;
	return ADV_OK;
}

static enum adv_status parse(struct exchange *x, const char *chunk, size_t n)
{
	if (x->complete)
		return keep_rest(x, chunk, n);
	size_t parsed = http_parser_execute(&x->parser, &settings, chunk, n);
	if (!x->complete)
		return HTTP_PARSER_ERRNO(&x->parser) == HPE_OK ? ADV_OK : broken(x);
	return x->answer->code == 101 ? keep_rest(x, chunk + parsed, n - parsed) : ADV_OK;
}

/* Reads some of what is there. */
static enum adv_status receive(struct exchange *x)
{
	char chunk[4096];
	ssize_t n = x->attach ? receive_with_fds(x, chunk, sizeof(chunk))
			      : recv(x->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? ADV_OK : receive_failed(x, errno);
	if (n > 0)
		return parse(x, chunk, (size_t)n);
	/* The end of the stream may be the end of a body. */
	if (!x->complete)
		http_parser_execute(&x->parser, &settings, chunk, 0);
	x->answer->keep_alive = false;
	return x->complete && x->answer->code != 101 ? ADV_OK : hung_up(x);
}

/* Is all there that belongs to the answer? */
static bool answered(const struct exchange *x)
{
	return x->complete && (x->answer->code != 101 || x->answer->rest_size > 0);
}

static enum adv_status wait_for(struct exchange *x, short events, short *came)
{
	struct pollfd p = {.fd = x->fd, .events = events};
	int left = adv_client_left_ms(x->deadline_ns);
	/* Also for a node that never falls silent and never comes to an end. */
	if (left == 0)
		return adv_client_fail(ADV_TIMEOUT, "the node at %s did not answer %s %s in time",
				       x->address->text, x->request->method, x->request->path);
	int n = poll(&p, 1, left);
	if (n < 0 && errno != EINTR)
		return adv_client_fail(ADV_SYSTEM, "waiting for the node at %s: %s",
				       x->address->text, strerror(errno));
	*came = n > 0 ? p.revents : 0;
	return ADV_OK;
}

static enum adv_status receive_answer(struct exchange *x)
{
	short came;
	enum adv_status status = receive(x);
	while (status == ADV_OK && !answered(x)) {
		status = wait_for(x, POLLIN, &came);
		if (status == ADV_OK)
			status = receive(x);
	}
	return status;
}

/* ---- sending ---- */

/* Sends all of it, unless an answer comes first. A peer that reads no more has answered, or is gone: *stopped. */
static enum adv_status send_bytes(struct exchange *x, const char *at, size_t size, bool *stopped)
{
	while (size > 0 && !*stopped) {
		ssize_t n = send(x->fd, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0) {
			at += n;
			size -= (size_t)n;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR) {
			*stopped = true;
			return ADV_OK;
		}
		short came;
		enum adv_status status = wait_for(x, POLLIN | POLLOUT, &came);
		if (status == ADV_OK && (came & POLLIN))
			status = receive(x);
		if (status != ADV_OK)
			return status;
		*stopped = answered(x);
	}
	return ADV_OK;
}

/* Not by sendfile(), which raises SIGPIPE, and not from a mapping, which a shorter file turns into SIGBUS. */
static enum adv_status send_file(struct exchange *x, bool *stopped)
{
	ADV_CLEANUP_FREE char *chunk = malloc(CHUNK_BYTES);
	uint64_t sent = 0, size = x->request->body_size;
	if (chunk == NULL)
		return adv_client_fail(ADV_NO_MEMORY, "no memory to send the file");
	while (sent < size && !*stopped) {
		size_t want = size - sent < CHUNK_BYTES ? (size_t)(size - sent) : CHUNK_BYTES;
		ssize_t n = pread(x->request->file, chunk, want, (off_t)sent);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return adv_client_fail(ADV_SYSTEM,
					       "the file could not be read at byte %llu: %s",
					       (unsigned long long)sent,
					       n < 0 ? strerror(errno) : "it became shorter");
		sent += (uint64_t)n;
		enum adv_status status = send_bytes(x, chunk, (size_t)n, stopped);
		if (status != ADV_OK)
			return status;
	}
	return ADV_OK;
}

static enum adv_status send_request(struct exchange *x, bool *stopped)
{
	const struct adv_client_request *r = x->request;
	char head[ADV_CLIENT_PATH_MAX + 2048];
	char type[128] = "", token[ADV_CLIENT_TOKEN_MAX + 32] = "";
	if (r->body_size > 0)
		snprintf(type, sizeof(type), "Content-Type: %s\r\n", r->type);
	if (x->address->kind != ADV_ADDRESS_UNIX && x->address->token[0] != '\0')
		snprintf(token, sizeof(token), "Authorization: Bearer %s\r\n", x->address->token);
	int n = snprintf(head, sizeof(head),
			 "%s %s HTTP/1.1\r\nHost: adverb\r\nAdverb-Protocol: %d\r\n%s%s%s"
			 "Content-Length: %llu\r\n\r\n",
			 r->method, r->path, ADV_PROTOCOL_VERSION, r->headers, type, token,
			 (unsigned long long)r->body_size);
	if (n < 0 || (size_t)n >= sizeof(head))
		return adv_client_fail(ADV_INVALID, "the request's path or headers are too long");
	/* A small body goes out with the head: a node is woken once. */
	bool together = r->file < 0 && r->body_size <= sizeof(head) - (size_t)n;
	if (together && r->body_size > 0)
		memcpy(head + n, r->body, (size_t)r->body_size);
	size_t size = (size_t)n + (together ? (size_t)r->body_size : 0);
	enum adv_status status = send_bytes(x, head, size, stopped);
	if (status != ADV_OK || *stopped || together)
		return status;
	return r->file >= 0 ? send_file(x, stopped)
			    : send_bytes(x, r->body, (size_t)r->body_size, stopped);
}

/* ---- the exchange ---- */

static enum adv_status check_version(const struct exchange *x)
{
	char seen[sizeof(x->answer->protocol)];
	adv_client_printable(x->answer->protocol, seen, sizeof(seen));
	if (seen[0] == '\0')
		return adv_client_fail(ADV_VERSION,
				       "%s answers, but not as an Adverb node (no Adverb-Protocol)",
				       x->address->text);
	char own[16];
	snprintf(own, sizeof(own), "%d", ADV_PROTOCOL_VERSION);
	if (strcmp(seen, own) == 0)
		return ADV_OK;
	return adv_client_fail(
		ADV_VERSION,
		"the node at %s speaks protocol %s, this library %s: use the library "
		"that belongs to the node",
		x->address->text, seen, own);
}

enum adv_status adv_client_exchange(int fd, const struct adv_address *address, uint64_t deadline_ns,
				    const struct adv_client_request *request, bool attach,
				    struct adv_client_answer *a)
{
	struct exchange x = {.fd = fd,
			     .address = address,
			     .deadline_ns = deadline_ns,
			     .request = request,
			     .answer = a,
			     .attach = attach};
	bool stopped = false;
	memset(a, 0, sizeof(*a));
	http_parser_init(&x.parser, HTTP_RESPONSE);
	x.parser.data = &x;
	enum adv_status status = send_request(&x, &stopped);
	if (status == ADV_OK && request->sent != NULL)
		request->sent(request->user);
	if (status == ADV_OK)
		status = receive_answer(&x);
	if (status == ADV_OK)
		status = check_version(&x);
	if (stopped)
		a->keep_alive = false;
	if (status != ADV_OK)
		adv_client_answer_fini(a);
	return status;
}

void adv_client_answer_fini(struct adv_client_answer *a)
{
	for (unsigned i = 0; i < a->nr_fds; i++)
		adv_fd_close(&a->fds[i]);
	free(a->body);
	memset(a, 0, sizeof(*a));
}

enum adv_status adv_client_answer_status(const struct adv_client_answer *a, const char *who)
{
	if (a->code >= 200 && a->code < 300)
		return ADV_OK;
	json_t *object = adv_client_json(a->body, a->body_size);
	const json_t *error = json_object_get(object, "error");
	const char *name = json_string_value(json_object_get(error, "status"));
	const char *message = json_string_value(json_object_get(error, "message"));
	int number = name != NULL ? adv_status_from_name(name) : -1;
	enum adv_status status;
	if (number <= 0 || message == NULL) {
		status = adv_client_fail(ADV_PROTOCOL,
					 "the node at %s answers HTTP %u without saying why", who,
					 a->code);
	} else {
		char text[ADV_CLIENT_ERROR_BYTES];
		adv_client_printable(message, text, sizeof(text));
		status = adv_client_fail((enum adv_status)number, "%s", text);
	}
	json_decref(object);
	return status;
}
