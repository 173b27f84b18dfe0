/* http_request.c - bytes to a request, by http-parser; and what handlers ask of one. Control thread only. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control/http_internal.h"
#include "util/fd.h"
#include "util/parse.h"

/* What the parser last gave a piece of: pieces of the same thing are joined. */
enum parsing {
	PARSING_NOTHING,
	PARSING_TARGET,
	PARSING_NAME,
	PARSING_VALUE,
};

static const struct http_parser_settings settings;

void request_init(struct conn *c)
{
	struct adv_http_request *r = &c->request;
	r->conn = c;
	r->user = NULL;
	r->begun = r->answered = r->expects_continue = r->bad_url = false;
	r->keep_alive = true;
	r->head_fill = r->nr_headers = r->found_fill = 0;
	r->parsing = PARSING_NOTHING;
	r->path = r->query = NULL;
	r->refuse_code = 0;
	r->memfd = -1;
	r->memfd_max = r->body_size = 0;
	r->body = NULL;
	r->body_capacity = 0;
	http_parser_init(&c->parser, HTTP_REQUEST);
	c->parser.data = c;
}

void request_fini(struct adv_http_request *r)
{
	adv_fd_close(&r->memfd);
	free(r->body);
	r->body = NULL;
}

/* ---- the parser's callbacks: 0 goes on, -1 ends the parsing (1 and 2 have meanings of their own) ---- */

static int refuse(struct adv_http_request *r, int code, enum adv_status status, const char *text)
{
	if (r->refuse_code == 0) {
		r->refuse_code = code;
		r->refuse_status = status;
		r->refuse_text = text;
	}
	return -1;
}

static struct adv_http_request *request_of(http_parser *parser)
{
	return &((struct conn *)parser->data)->request;
}

static int append(struct adv_http_request *r, const char *at, size_t length)
{
	/* One byte is kept for the NUL that closes it. */
	if (length >= sizeof(r->head) - r->head_fill)
		return refuse(r, 431, ADV_INVALID, "the request's head is larger than 16 KiB");
	memcpy(r->head + r->head_fill, at, length);
	r->head_fill += (uint32_t)length;
	return 0;
}

/* Ends the piece that was being joined. */
static int finish_piece(struct adv_http_request *r)
{
	if (r->parsing == PARSING_NOTHING)
		return 0;
	r->parsing = PARSING_NOTHING;
	if (r->head_fill == sizeof(r->head))
		return refuse(r, 431, ADV_INVALID, "the request's head is larger than 16 KiB");
	r->head[r->head_fill++] = '\0';
	return 0;
}

static int on_url(http_parser *parser, const char *at, size_t length)
{
	struct adv_http_request *r = request_of(parser);
	r->parsing = PARSING_TARGET;
	return append(r, at, length);
}

static int on_header_field(http_parser *parser, const char *at, size_t length)
{
	struct adv_http_request *r = request_of(parser);
	if (r->parsing != PARSING_NAME) {
		if (finish_piece(r) != 0)
			return -1;
		if (r->nr_headers == HTTP_HEADERS_MAX)
			return refuse(r, 431, ADV_INVALID, "the request has more than 64 headers");
		r->headers[r->nr_headers].name = r->head_fill;
		r->headers[r->nr_headers++].value = 0;
		r->parsing = PARSING_NAME;
	}
	return append(r, at, length);
}

static int on_header_value(http_parser *parser, const char *at, size_t length)
{
	struct adv_http_request *r = request_of(parser);
	if (r->parsing != PARSING_VALUE) {
		if (finish_piece(r) != 0)
			return -1;
		r->headers[r->nr_headers - 1].value = r->head_fill;
		r->parsing = PARSING_VALUE;
	}
	return append(r, at, length);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX in place, up to `end`. False: malformed, or a NUL. */
static bool decode(char *text)
{
	char *to = text;
	for (const char *from = text; *from != '\0'; from++, to++) {
		if (*from != '%') {
			*to = *from;
			continue;
		}
		int high = hex(from[1]), low = high < 0 ? -1 : hex(from[2]);
		if (low < 0 || (high == 0 && low == 0))
			return false;
		*to = (char)(high << 4 | low);
		from += 2;
	}
	*to = '\0';
	return true;
}

static enum adv_http_method method_of(const http_parser *parser)
{
	switch (parser->method) {
	case HTTP_GET:
		return ADV_HTTP_GET;
	case HTTP_PUT:
		return ADV_HTTP_PUT;
	case HTTP_POST:
		return ADV_HTTP_POST;
	case HTTP_DELETE:
		return ADV_HTTP_DELETE;
	default:
		return ADV_HTTP_OTHER;
	}
}

/* Splits target into path and query. */
static int take_target(struct adv_http_request *r)
{
	r->path = r->head;
	r->query = strchr(r->head, '?');
	if (r->query != NULL)
		*r->query++ = '\0';
	if (r->path[0] != '/' || !decode(r->path))
		return refuse(r, 400, ADV_INVALID, "the request's path is malformed");
	return 0;
}

static int check_version(struct adv_http_request *r)
{
	const char *version = adv_http_header(r, "Adverb-Protocol");
	if (version != NULL && strcmp(version, "1") != 0)
		return refuse(r, 426, ADV_VERSION,
			      "this node speaks Adverb-Protocol 1: use a client of its version");
	return 0;
}

/* Who asks? On a local connection that is known since it was accepted. */
static int check_tenant(struct adv_http_request *r)
{
	struct conn *c = r->conn;
	const struct adv_http_handlers *h = &c->server->handlers;
	if (h->authenticate == NULL || strcmp(r->path, "/healthz") == 0)
		return 0;
	if (h->authenticate(h->user, adv_http_header(r, "Authorization"), &c->uid))
		return 0;
	return refuse(
		r, 401, ADV_BAD_TOKEN,
		"this needs the token of one of the node's tenants: put it into ADVERB_TOKEN, or "
		"into a file named by ADVERB_TOKEN_FILE");
}

static void say_continue(struct conn *c)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	if (send(c->fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) !=
	    (ssize_t)sizeof(text) - 1)
		c->request.keep_alive = false; /* it will time out by itself */
}

static int on_headers_complete(http_parser *parser)
{
	struct adv_http_request *r = request_of(parser);
	struct conn *c = parser->data;
	if (finish_piece(r) != 0 || take_target(r) != 0 || check_version(r) != 0 ||
	    check_tenant(r) != 0)
		return -1;
	r->method = method_of(parser);
	r->keep_alive = r->keep_alive && http_should_keep_alive(parser) && !c->server->stopping;
	r->begun = true;
	bool has_length = !(parser->flags & F_CHUNKED) && parser->content_length != ULLONG_MAX;
	r->body_size = has_length ? parser->content_length : 0;
	c->server->handlers.begin(r);
	if (r->answered)
		return -1;
	if (r->memfd >= 0 && !has_length)
		return refuse(r, 411, ADV_INVALID, "an upload needs Content-Length");
	if (r->memfd >= 0 && r->body_size > r->memfd_max) {
		char most[32];
		adv_http_fail(r, ADV_TOO_LARGE, "the upload is larger than a module may be (%s)",
			      adv_format_size(r->memfd_max, most, sizeof(most)));
		return -1;
	}
	if (r->memfd < 0 && r->body_size > ADV_HTTP_BODY_BYTES_MAX)
		return refuse(r, 413, ADV_TOO_LARGE, "the request's body is larger than 64 KiB");
	const char *expect = adv_http_header(r, "Expect");
	if (expect != NULL && strcasecmp(expect, "100-continue") == 0)
		say_continue(c);
	r->body_size = 0;
	return 0;
}

static int body_to_memfd(struct adv_http_request *r, const char *at, size_t length)
{
	while (length > 0) {
		ssize_t n = pwrite(r->memfd, at, length, (off_t)r->body_size);
		if (n <= 0)
			return refuse(r, 507, ADV_STORAGE, "the node has no memory for the upload");
		at += n;
		length -= (size_t)n;
		r->body_size += (uint64_t)n;
	}
	return 0;
}

static int on_body(http_parser *parser, const char *at, size_t length)
{
	struct adv_http_request *r = request_of(parser);
	conn_deadline(parser->data, ADV_HTTP_IDLE_MS);
	if (r->memfd >= 0)
		return body_to_memfd(r, at, length);
	if (r->body_size + length > ADV_HTTP_BODY_BYTES_MAX)
		return refuse(r, 413, ADV_TOO_LARGE, "the request's body is larger than 64 KiB");
	if (r->body_size + length > r->body_capacity) {
		size_t more = 2 * (r->body_size + length);
		char *body = realloc(r->body, more);
		if (body == NULL)
			return refuse(r, 500, ADV_SYSTEM, "the node is out of memory");
		r->body = body;
		r->body_capacity = more;
	}
	memcpy(r->body + r->body_size, at, length);
	r->body_size += length;
	return 0;
}

/* What follows belongs to the next request: it waits until this one is answered. */
static int on_message_complete(http_parser *parser)
{
	struct conn *c = parser->data;
	c->state = CONN_HANDLING;
	http_parser_pause(parser, 1);
	return 0;
}

static const struct http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* ---- feeding ---- */

static void answer_refusal(struct adv_http_request *r)
{
	r->keep_alive = false;
	adv_http_fail_as(r, r->refuse_code, r->refuse_status, "%s", r->refuse_text);
}

void request_feed(struct conn *c)
{
	struct adv_http_request *r = &c->request;
	size_t n = http_parser_execute(&c->parser, &settings, c->in + c->in_taken,
				       c->in_fill - c->in_taken);
	enum http_errno error = HTTP_PARSER_ERRNO(&c->parser);
	c->in_taken += n;
	if (error == HPE_PAUSED && c->state == CONN_HANDLING) {
		http_parser_pause(&c->parser, 0);
		/* The parser stops on the last byte of the message when that ended it. */
		c->server->handlers.handle(r);
		return;
	}
	if (r->answered) { /* refused by `begin`, before its body came */
		c->in_taken = c->in_fill;
		return;
	}
	if (error == HPE_OK && !c->parser.upgrade)
		return;
	c->in_taken = c->in_fill;
	if (r->refuse_code == 0)
		refuse(r, 400, ADV_INVALID,
		       error != HPE_OK ? http_errno_description(error) : "CONNECT is not served");
	answer_refusal(r);
}

bool upgraded_feed(struct conn *c, const char *data, size_t size)
{
	struct adv_http_upgraded *u = &c->upgraded;
	for (size_t i = 0; i < size && c->state == CONN_UPGRADED; i++) {
		if (data[i] != '\n') {
			if (u->fill == HTTP_LINE_MAX)
				return false;
			u->line[u->fill++] = data[i];
			continue;
		}
		size_t length = u->fill;
		u->line[length] = '\0';
		u->fill = 0;
		u->on_line(u->user, u->line, length);
	}
	return true;
}

/* ---- what handlers ask ---- */

enum adv_http_method adv_http_method(const struct adv_http_request *r)
{
	return r->method;
}

const char *adv_http_path(const struct adv_http_request *r)
{
	return r->path != NULL ? r->path : "";
}

const char *adv_http_header(const struct adv_http_request *r, const char *name)
{
	for (uint32_t i = 0; i < r->nr_headers; i++)
		if (strcasecmp(r->head + r->headers[i].name, name) == 0)
			return r->headers[i].value != 0 ? r->head + r->headers[i].value : "";
	return NULL;
}

/* Values that were asked for live as long as the request: each is decoded into the request's own space. */
const char *adv_http_query(const struct adv_http_request *request, const char *name)
{
	struct adv_http_request *r = (struct adv_http_request *)request;
	size_t length = strlen(name);
	const char *pair = r->query;
	while (pair != NULL && *pair != '\0') {
		size_t size = strcspn(pair, "&");
		if (size > length && strncmp(pair, name, length) == 0 && pair[length] == '=') {
			size_t value = size - length - 1;
			if (value >= sizeof(r->found) - r->found_fill)
				return NULL;
			char *out = r->found + r->found_fill;
			memcpy(out, pair + length + 1, value);
			out[value] = '\0';
			r->found_fill += (uint32_t)value + 1;
			return decode(out) ? out : "";
		}
		pair += size;
		pair += *pair == '&';
	}
	return NULL;
}

bool adv_http_is_remote(const struct adv_http_request *r)
{
	return r->conn->server->handlers.authenticate != NULL;
}

uint32_t adv_http_uid(const struct adv_http_request *r)
{
	return r->conn->uid;
}

int32_t adv_http_pid(const struct adv_http_request *r)
{
	return r->conn->pid;
}

void *adv_http_server_user(const struct adv_http_request *r)
{
	return r->conn->server->handlers.user;
}

void adv_http_set_user(struct adv_http_request *r, void *user)
{
	r->user = user;
}

void *adv_http_user(const struct adv_http_request *r)
{
	return r->user;
}

int adv_http_body_to_memfd(struct adv_http_request *r, uint64_t max_bytes)
{
	int fd = memfd_create("adverb-module", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	adv_fd_close(&r->memfd);
	r->memfd = fd;
	r->memfd_max = max_bytes;
	return 0;
}

int adv_http_take_memfd(struct adv_http_request *r, uint64_t *size)
{
	*size = r->body_size;
	return adv_fd_steal(&r->memfd);
}

const char *adv_http_body(const struct adv_http_request *r, size_t *size)
{
	*size = r->body != NULL ? r->body_size : 0;
	return r->body != NULL ? r->body : "";
}

/* jansson recurses: depth is bounded before it sees the text. */
static bool too_deep(const char *text, size_t size)
{
	int depth = 0;
	bool string = false;
	for (size_t i = 0; i < size; i++) {
		if (string && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			string = !string;
		else if (!string && (text[i] == '{' || text[i] == '['))
			depth++;
		else if (!string && (text[i] == '}' || text[i] == ']'))
			depth--;
		if (depth > ADV_JSON_DEPTH_MAX)
			return true;
	}
	return false;
}

json_t *adv_http_json(struct adv_http_request *r)
{
	size_t size;
	const char *text = adv_http_body(r, &size);
	json_error_t error;
	if (size == 0)
		return json_object();
	if (too_deep(text, size)) {
		adv_http_fail(r, ADV_INVALID, "the body is nested deeper than %d",
			      ADV_JSON_DEPTH_MAX);
		return NULL;
	}
	json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	if (value == NULL) {
		adv_http_fail(r, ADV_INVALID, "the body is not JSON: line %d, column %d: %s",
			      error.line, error.column, error.text);
		return NULL;
	}
	if (!json_is_object(value)) {
		json_decref(value);
		adv_http_fail(r, ADV_INVALID, "the body is not a JSON object");
		return NULL;
	}
	return value;
}
