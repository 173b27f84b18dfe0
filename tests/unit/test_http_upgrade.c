/*
 * test_http_upgrade.c - connections of the control socket beyond plain requests: descriptors that nobody asked for, peers that go away,
 * upgrades with a grant and descriptors, lines on what was upgraded, and the server's stop.
 */
#include <fcntl.h>

#include "http_peer.h"

static struct adv_http_request *held;
static unsigned nr_gone, nr_closed, nr_lines;
static char lines[8][300];
static struct adv_http_upgraded *upgraded;
static int pipes[2];
static const char *grant;

static void on_line(void *user, const char *line, size_t length)
{
	cr_assert_eq(user, &upgraded);
	cr_assert_eq(strlen(line), length);
	cr_assert_lt(nr_lines, 8);
	strcpy(lines[nr_lines++], line);
}

static void on_close(void *user)
{
	cr_assert_eq(user, &upgraded);
	nr_closed++;
}

static void upgrade(struct adv_http_request *q)
{
	const struct adv_http_upgrade u = {.protocol = "test/1",
					   .grant = grant,
					   .fds = pipes,
					   .nr_fds = 2,
					   .on_line = on_line,
					   .on_close = on_close,
					   .user = &upgraded};
	upgraded = adv_http_upgrade(q, &u);
}

static void begin(struct adv_http_request *q)
{
	(void)q;
}

static void handle(struct adv_http_request *q)
{
	if (strcmp(adv_http_path(q), "/held") == 0)
		held = q;
	else if (strcmp(adv_http_path(q), "/upgrade") == 0)
		upgrade(q);
	else
		adv_http_respond(q, 200, json_pack("{s:s}", "path", adv_http_path(q)));
}

static void gone(struct adv_http_request *q)
{
	(void)q;
	held = NULL;
	nr_gone++;
}

static void set_up(void)
{
	serve(&(struct adv_http_handlers){begin, handle, gone, NULL});
	cr_assert_eq(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
}

static void tear_down(void)
{
	serve_no_more();
	close(pipes[0]);
	close(pipes[1]);
}

TestSuite(http_upgrade, .init = set_up, .fini = tear_down);

static struct peer *const p = &peers[0];

/* Nobody has the pipe's writing end any more. */
static bool writers_gone(void)
{
	char byte;
	return read(pipes[0], &byte, 1) == 0;
}

static void send_writer(const char *text)
{
	const int fds[] = {pipes[1], pipes[1], pipes[1]};
	put_fds(p, text, fds, 3);
	close(pipes[1]);
	pipes[1] = -1;
	cr_assert_not(writers_gone());
}

/* ---- descriptors that nobody asked for ---- */

Test(http_upgrade, descriptors_with_a_request)
{
	peer_open(p);
	send_writer("GET / HTTP/1.1\r\n\r\n");
	cr_assert_eq(answer(p), 400);
	refused_as("invalid", "no descriptors");
	closes(p);
	cr_assert(writers_gone());
}

Test(http_upgrade, descriptors_in_a_body)
{
	peer_open(p);
	say(p, "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345");
	AWAIT(p, taken(p) && adv_http_server_connections(server) == 1);
	send_writer("67890");
	cr_assert_eq(answer(p), 400);
	refused_as("invalid", "no descriptors");
	closes(p);
	cr_assert(writers_gone());
}

/* More than the server has room for: the kernel closes those, and the request is refused all the same. */
Test(http_upgrade, too_many_descriptors)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 40)] = {0};
	struct iovec iov = {"GET / HTTP/1.1\r\n\r\n", 18};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *m = CMSG_FIRSTHDR(&msg);
	*m = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS,
			      .cmsg_len = CMSG_LEN(sizeof(int) * 40)};
	for (size_t i = 0; i < 40; i++)
		memcpy(CMSG_DATA(m) + i * sizeof(int), &pipes[1], sizeof(int));
	peer_open(p);
	cr_assert_eq(sendmsg(p->fd, &msg, 0), 18);
	close(pipes[1]);
	pipes[1] = -1;
	cr_assert_eq(answer(p), 400);
	closes(p);
	cr_assert(writers_gone());
}

Test(http_upgrade, descriptors_after_an_upgrade)
{
	peer_open(p);
	say(p, "GET /upgrade HTTP/1.1\r\n\r\n");
	AWAIT(p, p->nr_fds == 2);
	close(p->fds[1]);
	p->fds[1] = -1;
	send_writer("line\n");
	AWAIT(p, p->ended);
	cr_assert_eq(nr_closed, 1);
	cr_assert_eq(nr_lines, 0);
	cr_assert(writers_gone());
}

/* ---- peers that go away ---- */

Test(http_upgrade, a_peer_that_goes_is_reported)
{
	peer_open(p);
	say(p, "GET /held HTTP/1.1\r\n\r\n");
	AWAIT(p, held != NULL);
	cr_assert_eq(adv_http_server_connections(server), 1);
	close(p->fd);
	p->fd = -1;
	AWAIT(p, nr_gone == 1);
	cr_assert_eq(adv_http_server_connections(server), 0);
}

Test(http_upgrade, an_answered_request_does_not_go)
{
	cr_assert_eq(ask("GET / HTTP/1.1\r\n\r\n"), 200);
	close(p->fd);
	p->fd = -1;
	AWAIT(p, adv_http_server_connections(server) == 0);
	cr_assert_eq(nr_gone, 0);
}

/* begin() has been called, but gone() comes only for a request whose body is in. */
Test(http_upgrade, a_peer_that_goes_within_its_body_is_reported)
{
	peer_open(p);
	say(p, "POST /x HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345");
	AWAIT(p, taken(p) && adv_http_server_connections(server) == 1);
	close(p->fd);
	p->fd = -1;
	AWAIT(p, adv_http_server_connections(server) == 0);
	cr_assert_eq(nr_gone, 1);
}

/* Who only stops sending still waits for the answer. */
Test(http_upgrade, half_closed)
{
	peer_open(p);
	say(p, "GET /held HTTP/1.1\r\n\r\n");
	AWAIT(p, held != NULL);
	cr_assert_eq(shutdown(p->fd, SHUT_WR), 0);
	for (int i = 0; i < 5; i++)
		turn(p);
	cr_assert_eq(nr_gone, 0);
	adv_http_respond(held, 200, NULL);
	cr_assert_eq(answer(p), 200);
	cr_assert_str_eq(reply.body, "{}");
	AWAIT(p, p->ended && adv_http_server_connections(server) == 0);
}

Test(http_upgrade, a_peer_that_does_not_take_its_answer)
{
	size_t size = 8 << 20;
	char *text = malloc(size + 1);
	memset(text, 't', size);
	text[size] = '\0';
	peer_open(p);
	say(p, "GET /held HTTP/1.1\r\n\r\n");
	AWAIT(p, held != NULL);
	adv_http_respond_text(held, 200, "text/plain", text);
	free(text);
	close(p->fd);
	p->fd = -1;
	AWAIT(p, adv_http_server_connections(server) == 0);
	cr_assert_eq(nr_gone, 0);
}

/* ---- upgrades ---- */

static void upgrades(const char *text)
{
	peer_open(p);
	say(p, text);
	take_head(p);
	cr_assert_eq(reply.code, 101, "%s", reply.head);
	cr_assert_str_eq(header_of(reply.head, "Upgrade"), "test/1");
	cr_assert_str_eq(header_of(reply.head, "Connection"), "Upgrade");
	cr_assert_str_eq(header_of(reply.head, "Adverb-Protocol"), "1");
}

static void takes_descriptors(void)
{
	AWAIT(p, p->nr_fds == 2);
	cr_assert_eq(p->fill, 1);
	cr_assert_eq(p->in[0], 1);
	drop(p, 1);
	cr_assert_eq(write(p->fds[1], "x", 1), 1);
	char byte;
	cr_assert_eq(read(pipes[0], &byte, 1), 1); /* the same pipe */
	cr_assert(fcntl(pipes[1], F_GETFD) >= 0);  /* the server's own stay open */
}

Test(http_upgrade, without_a_grant)
{
	upgrades("GET /upgrade HTTP/1.1\r\nUpgrade: test/1\r\nConnection: Upgrade\r\n\r\n");
	cr_assert_null(header_of(reply.head, "Adverb-Grant"));
	takes_descriptors();
	cr_assert_not_null(upgraded);
}

Test(http_upgrade, with_a_grant)
{
	grant = "{\"lease\":1}";
	upgrades("POST /upgrade HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}");
	cr_assert_not_null(header_of(reply.head, "Adverb-Grant"));
	cr_assert_str_eq(header_of(reply.head, "Adverb-Grant"), "11");
	AWAIT(p, p->nr_fds == 2);
	cr_assert_eq(p->fill, 12);
	cr_assert_arr_eq(p->in, grant, 11);
	drop(p, 11);
	takes_descriptors();
}

Test(http_upgrade, lines)
{
	char longest[256];
	memset(longest, 'l', 255);
	longest[255] = '\0';
	upgrades("GET /upgrade HTTP/1.1\r\n\r\n");
	takes_descriptors();
	say(p, "one\ntwo\n\nfo");
	AWAIT(p, nr_lines == 3 && taken(p));
	cr_assert_str_eq(lines[0], "one");
	cr_assert_str_eq(lines[1], "two");
	cr_assert_str_eq(lines[2], "");
	say(p, "ur\n");
	AWAIT(p, nr_lines == 4);
	cr_assert_str_eq(lines[3], "four");
	say(p, longest);
	say(p, "\n");
	AWAIT(p, nr_lines == 5);
	cr_assert_str_eq(lines[4], longest);
	cr_assert_eq(nr_closed, 0);
}

Test(http_upgrade, a_line_too_long)
{
	char text[257];
	memset(text, 'l', 256);
	text[256] = '\0';
	upgrades("GET /upgrade HTTP/1.1\r\n\r\n");
	takes_descriptors();
	say(p, text);
	AWAIT(p, p->ended);
	cr_assert_eq(nr_closed, 1);
	cr_assert_eq(nr_lines, 0);
	cr_assert_eq(adv_http_server_connections(server), 0);
}

/* What was sent behind the request is the first of the lines. */
Test(http_upgrade, lines_behind_the_request)
{
	upgrades("GET /upgrade HTTP/1.1\r\n\r\nfirst\nsec");
	takes_descriptors();
	AWAIT(p, nr_lines == 1);
	cr_assert_str_eq(lines[0], "first");
	say(p, "ond\n");
	AWAIT(p, nr_lines == 2);
	cr_assert_str_eq(lines[1], "second");
}

/* An upgrade that was not granted at once: the module's bytes had to come from the disk. */
static void upgrade_later(const char *text)
{
	peer_open(p);
	say(p, text);
	AWAIT(p, held != NULL);
	upgrade(held);
	take_head(p);
	cr_assert_eq(reply.code, 101);
	takes_descriptors();
}

/* nothing receives from a connection that is upgraded after handle() has returned, and nothing is fed that came before. */
Test(http_upgrade, lines_after_a_later_upgrade)
{
	upgrade_later("GET /held HTTP/1.1\r\n\r\nfirst\n");
	say(p, "second\n");
	AWAIT(p, nr_lines == 2);
	cr_assert_str_eq(lines[0], "first");
	cr_assert_str_eq(lines[1], "second");
}

/* the same; the connection's end is never seen, so on_close() never comes. */
Test(http_upgrade, the_end_after_a_later_upgrade)
{
	upgrade_later("GET /held HTTP/1.1\r\n\r\n");
	close(p->fd);
	p->fd = -1;
	AWAIT(p, nr_closed == 1);
}

Test(http_upgrade, the_peer_closes)
{
	upgrades("GET /upgrade HTTP/1.1\r\n\r\n");
	takes_descriptors();
	say(p, "last\nhalf");
	close(p->fd);
	p->fd = -1;
	AWAIT(p, nr_closed == 1);
	cr_assert_eq(nr_lines, 1);
	cr_assert_eq(nr_gone, 0);
	cr_assert_eq(adv_http_server_connections(server), 0);
}

Test(http_upgrade, the_node_speaks_and_closes)
{
	upgrades("GET /upgrade HTTP/1.1\r\n\r\n");
	takes_descriptors();
	adv_http_upgraded_send(upgraded, "hello");
	adv_http_upgraded_send(upgraded, "");
	adv_http_upgraded_close(upgraded);
	AWAIT(p, p->ended);
	cr_assert_eq(p->fill, 7);
	cr_assert_arr_eq(p->in, "hello\n\n", 7);
	cr_assert_eq(nr_closed, 0, "on_close is not for one's own closing");
}

Test(http_upgrade, a_peer_that_does_not_read)
{
	upgrades("GET /upgrade HTTP/1.1\r\n\r\n");
	takes_descriptors();
	for (int i = 0; i < 1000000 && nr_closed == 0; i++) {
		adv_http_upgraded_send(upgraded, "a line that nobody reads");
		if (i % 1000 == 0)
			cr_assert_eq(adv_loop_run_once(loop, 0), 0);
	}
	cr_assert_eq(nr_closed, 1);
}

/* ---- the server's stop ---- */

Test(http_upgrade, stopping)
{
	peer_open(&peers[1]);
	say(&peers[1], "GET /idle HTTP/1.1\r\n\r\n");
	cr_assert_eq(answer(&peers[1]), 200);
	peer_open(p);
	say(p, "GET /held HTTP/1.1\r\n\r\n");
	AWAIT(p, held != NULL);
	adv_http_server_stop(server);
	AWAIT(&peers[1], peers[1].ended);
	cr_assert_eq(adv_http_server_connections(server), 1);
	adv_http_respond(held, 200, NULL);
	cr_assert_eq(answer(p), 200);
	closes(p);
	peer_open(&peers[1]);
	say(&peers[1], "GET / HTTP/1.1\r\n\r\n");
	for (int i = 0; i < 5; i++)
		turn(&peers[1]);
	cr_assert_eq(peers[1].fill, 0, "a stopped server answers nobody");
}

Test(http_upgrade, destroyed_with_everything_under_way)
{
	upgrades("GET /upgrade HTTP/1.1\r\n\r\n");
	takes_descriptors();
	peer_open(&peers[1]);
	say(&peers[1], "GET /held HTTP/1.1\r\n\r\n");
	AWAIT(&peers[1], held != NULL);
	adv_http_server_destroy(server);
	server = NULL;
	cr_assert_eq(nr_closed, 1);
	cr_assert_eq(nr_gone, 1);
	AWAIT(p, p->ended);
	AWAIT(&peers[1], peers[1].ended);
}
