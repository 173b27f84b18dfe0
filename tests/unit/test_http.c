/*
 * test_http.c - requests and answers of the control socket: whole, in pieces, several at once, malformed, too large; and that each
 * is answered with what belongs to it, in JSON, on a connection that is then kept or closed.
 */
#include "http_peer.h"

static unsigned begun, handled;
static struct adv_http_request *held;

static void begin(struct adv_http_request *q)
{
	begun++;
	if (strcmp(adv_http_path(q), "/upload") == 0)
		cr_assert_eq(adv_http_body_to_memfd(q, 1000), 0);
	else if (strcmp(adv_http_path(q), "/forbidden") == 0)
		adv_http_fail(q, ADV_FORBIDDEN, "not for %s", "you");
}

static void echo(struct adv_http_request *q)
{
	size_t size;
	const char *body = adv_http_body(q, &size);
	adv_http_respond(q, 200,
			 json_pack("{s:i, s:s, s:s?, s:s?, s:s%}", "method",
				   (int)adv_http_method(q), "path", adv_http_path(q), "q",
				   adv_http_query(q, "q"), "header", adv_http_header(q, "x-test"),
				   "body", body, size));
}

static void echo_upload(struct adv_http_request *q)
{
	char bytes[1001] = "";
	uint64_t size;
	int fd = adv_http_take_memfd(q, &size);
	cr_assert_geq(fd, 0);
	cr_assert_leq(size, 1000);
	cr_assert_eq(pread(fd, bytes, sizeof(bytes), 0), (ssize_t)size);
	close(fd);
	adv_http_respond(q, 201, json_pack("{s:s}", "body", bytes));
}

static void fail_as_asked(struct adv_http_request *q)
{
	int status = adv_status_from_name(adv_http_query(q, "status"));
	adv_http_fail(q, (enum adv_status)status, "\"%s\"", adv_http_query(q, "text"));
}

static void handle(struct adv_http_request *q)
{
	const char *path = adv_http_path(q);
	handled++;
	cr_assert_eq(adv_http_uid(q), getuid());
	cr_assert_eq(adv_http_pid(q), getpid());
	cr_assert_eq(adv_http_server_user(q), &handled);
	if (strcmp(path, "/upload") == 0) {
		echo_upload(q);
	} else if (strcmp(path, "/fail") == 0) {
		fail_as_asked(q);
	} else if (strcmp(path, "/held") == 0) {
		held = q;
	} else if (strcmp(path, "/json") == 0) {
		json_t *value = adv_http_json(q);
		if (value != NULL)
			adv_http_respond(q, 200, value);
	} else {
		echo(q);
	}
}

static void gone(struct adv_http_request *q)
{
	(void)q;
}

static void set_up(void)
{
	serve(&(struct adv_http_handlers){begin, handle, gone, &handled});
}

TestSuite(http, .init = set_up, .fini = serve_no_more);

static struct peer *const p = &peers[0];

/* ---- pieces ---- */

static const char whole[] = "POST /a%20b?x=1&q=%c3%a4&y HTTP/1.1\r\nHost: localhost\r\n"
			    "X-Test:  v w \r\nContent-Length: 5\r\n\r\nhello";

static void is_whole(void)
{
	cr_assert_eq(reply.code, 200);
	cr_assert_eq(json_integer_value(json_object_get(reply.json, "method")), ADV_HTTP_POST);
	cr_assert_str_eq(field("path"), "/a b");
	cr_assert_str_eq(field("q"), "\303\244");
	cr_assert_str_eq(field("header"), "v w ");
	cr_assert_str_eq(field("body"), "hello");
	cr_assert_str_eq(header_of(reply.head, "Content-Type"), "application/json");
}

Test(http, split_at_every_byte)
{
	for (size_t at = 1; at < sizeof(whole) - 1; at++) {
		peer_open(p);
		put(p, whole, at);
		AWAIT(p, taken(p) && adv_http_server_connections(server) > 0);
		cr_assert_eq(handled, at - 1, "handled before it was whole");
		put(p, whole + at, sizeof(whole) - 1 - at);
		answer(p);
		is_whole();
		cr_assert_eq(handled, at);
	}
	cr_assert_eq(begun, handled);
}

Test(http, byte_by_byte)
{
	peer_open(p);
	for (size_t at = 0; at < sizeof(whole) - 1; at++) {
		put(p, whole + at, 1);
		AWAIT(p, taken(p));
	}
	answer(p);
	is_whole();
	stays(p);
}

Test(http, two_at_once)
{
	peer_open(p);
	say(p, "POST /one HTTP/1.1\r\nContent-Length: 1\r\n\r\n1GET /two HTTP/1.1\r\n\r\n");
	cr_assert_eq(answer(p), 200);
	cr_assert_str_eq(field("path"), "/one");
	cr_assert_str_eq(field("body"), "1");
	cr_assert_eq(answer(p), 200);
	cr_assert_str_eq(field("path"), "/two");
	cr_assert_str_eq(field("body"), "");
	cr_assert_str_eq(field("header"), "(none)");
	stays(p);
}

/* The second waits until the first is answered, and another connection does not. */
Test(http, one_after_the_other)
{
	peer_open(p);
	say(p, "GET /held HTTP/1.1\r\n\r\nGET /two HTTP/1.1\r\n\r\n");
	AWAIT(p, held != NULL && taken(p));
	peer_open(&peers[1]);
	say(&peers[1], "GET /other HTTP/1.1\r\n\r\n");
	cr_assert_eq(answer(&peers[1]), 200);
	cr_assert_str_eq(field("path"), "/other");
	cr_assert_eq(begun, 2);
	cr_assert_eq(p->fill, 0);
	adv_http_respond_text(held, 200, "text/plain", "first");
	cr_assert_eq(answer(p), 200);
	cr_assert_str_eq(reply.body, "first");
	cr_assert_str_eq(header_of(reply.head, "Content-Type"), "text/plain");
	cr_assert_eq(answer(p), 200);
	cr_assert_str_eq(field("path"), "/two");
}

Test(http, chunked_body)
{
	cr_assert_eq(ask("POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
			 "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"),
		     200);
	cr_assert_str_eq(field("body"), "abcde");
	stays(p);
}

Test(http, continues)
{
	peer_open(p);
	say(p, "POST /c HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	take_head(p);
	cr_assert_eq(reply.code, 100);
	say(p, "ok");
	cr_assert_eq(answer(p), 200);
	cr_assert_str_eq(field("body"), "ok");
}

Test(http, a_large_answer)
{
	size_t size = 8 << 20;
	char *text = malloc(size + 1);
	for (size_t i = 0; i < size; i++)
		text[i] = (char)('a' + i % 23);
	text[size] = '\0';
	peer_open(p);
	say(p, "GET /held HTTP/1.1\r\n\r\n");
	AWAIT(p, held != NULL);
	adv_http_respond_text(held, 200, "text/plain", text);
	cr_assert_eq(answer(p), 200);
	cr_assert_eq(reply.size, size);
	cr_assert_arr_eq(reply.body, text, size);
	free(text);
	stays(p);
}

/* ---- methods, keeping, closing ---- */

Test(http, methods)
{
	static const struct {
		const char *name;
		enum adv_http_method method;
	} rows[] = {
		{"GET", ADV_HTTP_GET},	     {"PUT", ADV_HTTP_PUT},	  {"POST", ADV_HTTP_POST},
		{"DELETE", ADV_HTTP_DELETE}, {"OPTIONS", ADV_HTTP_OTHER}, {"PATCH", ADV_HTTP_OTHER},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[64];
		snprintf(text, sizeof(text), "%s / HTTP/1.1\r\n\r\n", rows[i].name);
		cr_assert_eq(ask(text), 200);
		cr_assert_eq(json_integer_value(json_object_get(reply.json, "method")),
			     (json_int_t)rows[i].method);
	}
}

/* the answer's text is sent behind its head as for any method; a client that keeps the connection takes it for the next answer. */
Test(http, head_has_no_body)
{
	peer_open(p);
	say(p, "HEAD /h HTTP/1.1\r\n\r\n");
	take_head(p);
	cr_assert_eq(reply.code, 200);
	stays(p);
}

Test(http, keeps_or_closes)
{
	cr_assert_eq(ask("GET / HTTP/1.1\r\n\r\n"), 200);
	stays(p);
	cr_assert_eq(ask("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"), 200);
	closes(p);
	cr_assert_eq(ask("GET / HTTP/1.0\r\n\r\n"), 200);
	closes(p);
	cr_assert_eq(ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 200);
	stays(p);
}

/* What is behind a request that closes is not served. */
Test(http, nothing_after_close)
{
	peer_open(p);
	say(p, "GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET /two HTTP/1.1\r\n\r\n");
	cr_assert_eq(answer(p), 200);
	closes(p);
	cr_assert_eq(handled, 1);
}

Test(http, protocol_version)
{
	cr_assert_eq(ask("GET / HTTP/1.1\r\nAdverb-Protocol: 1\r\n\r\n"), 200);
	stays(p);
	cr_assert_eq(ask("GET / HTTP/1.1\r\nadverb-protocol: 2\r\n\r\n"), 426);
	refused_as("version", "Adverb-Protocol 1");
	closes(p);
	cr_assert_eq(handled, 2);
}

/* ---- refusals ---- */

Test(http, malformed)
{
	static const char *const texts[] = {
		"GARBAGE\r\n\r\n",
		"GET\r\n\r\n",
		"get / HTTP/1.1\r\n\r\n",
		"GET / FTP/1.1\r\n\r\n",
		"GET no-slash HTTP/1.1\r\n\r\n",
		"GET /% HTTP/1.1\r\n\r\n",
		"GET /%4 HTTP/1.1\r\n\r\n",
		"GET /%zz HTTP/1.1\r\n\r\n",
		"GET /a%00b HTTP/1.1\r\n\r\n",
		"GET http://host/ HTTP/1.1\r\n\r\n",
		"GET * HTTP/1.1\r\n\r\n",
		"CONNECT host:1 HTTP/1.1\r\n\r\n",
		"\026\003\001\002",
		"GET / HTTP/1.1\r\nno colon\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		cr_assert_eq(ask(texts[i]), 400, "%s: %d", texts[i], reply.code);
		refused_as("invalid", "");
		closes(p);
	}
	cr_assert_eq(handled, 0);
}

/* A peer that goes on sending gets to read why it was refused. */
Test(http, a_refused_peer_goes_on)
{
	static const char noise[65536];
	peer_open(p);
	say(p, "GARBAGE\r\n\r\n");
	for (int i = 0; i < 16; i++)
		put(p, noise, sizeof(noise));
	cr_assert_eq(answer(p), 400);
	closes(p);
}

static void ask_filled(const char *before, char c, size_t n, const char *after)
{
	char *text = malloc(n + 512);
	size_t size = strlen(before);
	memcpy(text, before, size);
	memset(text + size, c, n);
	snprintf(text + size + n, 512, "%s", after);
	peer_open(p);
	say(p, text);
	free(text);
	answer(p);
}

Test(http, head_too_large)
{
	ask_filled("GET /", 'a', 16000, " HTTP/1.1\r\n\r\n");
	cr_assert_eq(reply.code, 200);
	ask_filled("GET /", 'a', 16384, " HTTP/1.1\r\n\r\n");
	cr_assert_eq(reply.code, 431);
	refused_as("invalid", "16 KiB");
	closes(p);
	ask_filled("GET / HTTP/1.1\r\nX-Test: ", 'v', 100000, "\r\n\r\n");
	cr_assert_eq(reply.code, 431);
	ask_filled("GET / HTTP/1.1\r\n", 'n', 100000, ": v\r\n\r\n");
	cr_assert_eq(reply.code, 431);
	closes(p);
	cr_assert_eq(handled, 1);
}

Test(http, many_headers)
{
	for (int n = 64; n <= 65; n++) {
		char text[1024] = "GET / HTTP/1.1\r\n";
		for (int i = 0; i < n; i++)
			strcat(text, "a: b\r\n");
		strcat(text, "\r\n");
		cr_assert_eq(ask(text), n == 64 ? 200 : 431);
	}
	refused_as("invalid", "64 headers");
	closes(p);
}

Test(http, body_too_large)
{
	ask_filled("POST / HTTP/1.1\r\nContent-Length: 65536\r\n\r\n", 'b', 65536, "");
	cr_assert_eq(reply.code, 200);
	cr_assert_eq(strlen(field("body")), 65536);
	stays(p);
	cr_assert_eq(ask("POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n"), 413);
	refused_as("too_large", "64 KiB");
	closes(p);
	ask_filled("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n11000\r\n", 'b', 0x11000,
		   "\r\n0\r\n\r\n");
	cr_assert_eq(reply.code, 413);
	refused_as("too_large", "64 KiB");
	closes(p);
	cr_assert_eq(handled, 2);
}

Test(http, uploads)
{
	ask_filled("PUT /upload HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", 'u', 1000, "");
	cr_assert_eq(reply.code, 201);
	cr_assert_eq(strspn(field("body"), "u"), 1000);
	stays(p);
	cr_assert_eq(ask("PUT /upload HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), 201);
	cr_assert_str_eq(field("body"), "");
	cr_assert_eq(ask("PUT /upload HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"), 413);
	refused_as("too_large", "larger than a module");
	closes(p);
	cr_assert_eq(ask("PUT /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 411);
	refused_as("invalid", "Content-Length");
	closes(p);
	cr_assert_eq(ask("PUT /upload HTTP/1.1\r\n\r\n"), 411);
	closes(p);
}

Test(http, refused_before_its_body)
{
	cr_assert_eq(ask("PUT /forbidden HTTP/1.1\r\nContent-Length: 100\r\n\r\npart"), 403);
	refused_as("forbidden", "not for you");
	closes(p);
	cr_assert_eq(handled, 0);
}

/* ---- JSON ---- */

static void post_json(const char *body)
{
	char text[512];
	snprintf(text, sizeof(text), "POST /json HTTP/1.1\r\nContent-Length: %zu\r\n\r\n%s",
		 strlen(body), body);
	ask(text);
}

Test(http, json_bodies)
{
	post_json("{\"a\": [1, \"[[[[[[[[[[[[[[[[[[[[\\\"\"]}");
	cr_assert_eq(reply.code, 200);
	cr_assert_not_null(json_object_get(reply.json, "a"));
	post_json("");
	cr_assert_eq(reply.code, 200);
	cr_assert_str_eq(reply.body, "{}");
	post_json("{\"a\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}");
	cr_assert_eq(reply.code, 200);
	stays(p);
}

Test(http, bad_json)
{
	static const char *const rows[][2] = {
		{"{\"a\": \n}", "line 2"},
		{"text", "not JSON"},
		{"{\"a\": 1} x", "not JSON"},
		{"{\"a\": 1, \"a\": 2}", "duplicate"},
		{"{\"a\": \"\377\"}", "not JSON"},
		{"[1]", "object"},
		{"[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", "deeper than 16"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		post_json(rows[i][0]);
		cr_assert_eq(reply.code, 400, "%s", rows[i][0]);
		refused_as("invalid", rows[i][1]);
		stays(p); /* its body has been read: nothing stands in the way of the next */
	}
}

Test(http, statuses_have_codes)
{
	static const struct {
		enum adv_status status;
		int code;
	} rows[] = {
		{ADV_INVALID, 400},   {ADV_FORBIDDEN, 403},   {ADV_BAD_TOKEN, 403},
		{ADV_NO_MODULE, 404}, {ADV_NO_LEASE, 404},    {ADV_EXPIRED, 410},
		{ADV_TOO_LARGE, 413}, {ADV_BAD_MODULE, 422},  {ADV_LOAD_FAILED, 422},
		{ADV_VERSION, 426},   {ADV_NO_CAPACITY, 503}, {ADV_STORAGE, 507},
		{ADV_SYSTEM, 500},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[128];
		snprintf(text, sizeof(text), "GET /fail?status=%s&text=%%22 HTTP/1.1\r\n\r\n",
			 adv_status_name(rows[i].status));
		cr_assert_eq(ask(text), rows[i].code, "%s", text);
		refused_as(adv_status_name(rows[i].status), "\"\"\"");
		stays(p);
	}
}

Test(http, a_message_is_always_utf8)
{
	cr_assert_eq(ask("GET /fail?status=invalid&text=a%ffb%0a HTTP/1.1\r\n\r\n"), 400);
	refused_as("invalid", "\"a?b\n\"");
}

Test(http, query_values)
{
	cr_assert_eq(ask("GET /?qq=no&q=yes&q=second HTTP/1.1\r\n\r\n"), 200);
	cr_assert_str_eq(field("q"), "yes");
	cr_assert_eq(ask("GET /?q= HTTP/1.1\r\n\r\n"), 200);
	cr_assert_str_eq(field("q"), "");
	cr_assert_eq(ask("GET /?q HTTP/1.1\r\n\r\n"), 200);
	cr_assert_str_eq(field("q"), "(none)");
	cr_assert_eq(ask("GET /?q=%zz HTTP/1.1\r\n\r\n"), 200);
	cr_assert_str_eq(field("q"), "");
	ask_filled("GET /?q=", 'v', 2000, " HTTP/1.1\r\n\r\n");
	cr_assert_eq(reply.code, 200);
	cr_assert_str_eq(field("q"), "(none)");
}
