/* test_listen.c - the node's directories and sockets: modes, what is replaced and what must not be; and sd_notify(3)'s datagram. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "node/listen.h"
#include "node/notify.h"
#include "scratch.h"

static char reason[512];

TestSuite(listen, .init = scratch_make, .fini = scratch_remove);
TestSuite(notify, .init = scratch_make, .fini = scratch_remove);

static mode_t mode_of(const char *name)
{
	struct stat st;
	cr_assert_eq(lstat(scratch_path(name), &st), 0, "%s", name);
	return st.st_mode & 0777;
}

static int make(const char *name)
{
	return adv_directory_make(scratch_path(name), 0700, geteuid(), getegid(), reason,
				  sizeof(reason));
}

static int listen_at(const char *name)
{
	return adv_listen_unix(scratch_path(name), 0660, geteuid(), getegid(), reason,
			       sizeof(reason));
}

static void said(const char *word)
{
	cr_assert_not_null(strstr(reason, word), "%s", reason);
}

/* ---- directories ---- */

Test(listen, a_directory_and_its_parents)
{
	cr_assert_eq(make("a/b/c"), 0, "%s", reason);
	cr_assert_eq(mode_of("a"), 0755);
	cr_assert_eq(mode_of("a/b"), 0755);
	cr_assert_eq(mode_of("a/b/c"), 0700);
	cr_assert_eq(make("a/b/c"), 0, "it is there already");
}

Test(listen, not_a_directory)
{
	scratch_write("file", "x", 1);
	cr_assert_eq(make("file"), -ENOTDIR);
	said("name a directory");
	cr_assert_lt(make("file/below"), 0);
	said("file");
	cr_assert_eq(adv_directory_make("relative", 0700, 0, 0, reason, sizeof(reason)), -EINVAL);
	said("absolute");
}

/* ---- Unix sockets ---- */

static struct sockaddr_un address_of(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = scratch_path(name);
	cr_assert_lt(strlen(path), sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path) + 1);
	return address;
}

static int dial(const char *name)
{
	struct sockaddr_un to = address_of(name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = connect(fd, (struct sockaddr *)&to, sizeof(to));
	close(fd);
	return rc;
}

Test(listen, a_socket_with_its_mode)
{
	int fd = listen_at("s");
	cr_assert_geq(fd, 0, "%s", reason);
	cr_assert_eq(mode_of("s"), 0660);
	cr_assert_eq(dial("s"), 0);
	close(fd);
}

Test(listen, one_that_is_served_is_left_alone)
{
	int fd = listen_at("s");
	cr_assert_eq(listen_at("s"), -EADDRINUSE);
	said("another node serves there");
	cr_assert_eq(dial("s"), 0);
	close(fd);
}

/* As io_uring does for a while when its process was killed: somebody still holds the socket, and the one that listened is no more. */
Test(listen, one_whose_process_is_dead_is_replaced)
{
	int ends[2];
	char byte;
	cr_assert_eq(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		int held = listen_at("s");
		if (held < 0 || fork() != 0)
			_exit(held < 0);
		close(ends[1]);
		(void)!read(ends[0], &byte, 1); /* until the test is over */
		_exit(0);
	}
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_eq(dial("s"), 0, "it answers");
	int fd = listen_at("s");
	cr_assert_geq(fd, 0, "%s", reason);
	close(fd);
	close(ends[1]);
}

Test(listen, one_that_nobody_serves_is_replaced)
{
	int fd = listen_at("s");
	close(fd);
	cr_assert_neq(dial("s"), 0);
	fd = listen_at("s");
	cr_assert_geq(fd, 0, "%s", reason);
	cr_assert_eq(dial("s"), 0);
	close(fd);
}

Test(listen, what_is_no_socket_is_left_alone)
{
	scratch_write("file", "x", 1);
	cr_assert_eq(listen_at("file"), -EEXIST);
	said("not a socket");
	cr_assert(scratch_has("file"));
}

Test(listen, a_path_that_is_too_long)
{
	char name[200];
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	cr_assert_eq(listen_at(name), -ENAMETOOLONG);
	said("107");
}

/* ---- TCP ---- */

static uint16_t port_of(const char *text)
{
	struct sockaddr_storage address;
	cr_assert_eq(adv_listen_parse(text, &address, reason, sizeof(reason)), 0, "%s", reason);
	return address.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&address)->sin_port)
					    : ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
}

Test(listen, addresses)
{
	cr_assert_eq(port_of("127.0.0.1:7340"), 7340);
	cr_assert_eq(port_of("[::1]:65535"), 65535);
	const char *const bad[] = {"",		 "127.0.0.1", "127.0.0.1:", "127.0.0.1:0",
				   ":1",	 "::1:80",    "name:80",    "127.0.0.1:65536",
				   "[::1:80",	 "[]:1",      "1.2.3:1",    "127.0.0.1:1x",
				   "[1.2.3.4]:1"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct sockaddr_storage address;
		cr_assert_eq(adv_listen_parse(bad[i], &address, reason, sizeof(reason)), -EINVAL,
			     "%s", bad[i]);
	}
}

Test(listen, beyond_this_machine_only_when_told)
{
	struct sockaddr_storage address;
	cr_assert_eq(adv_listen_parse("0.0.0.0:7341", &address, reason, sizeof(reason)), 0);
	cr_assert_eq(adv_listen_tcp(&address, false, reason, sizeof(reason)), -EPERM);
	said("--insecure-control");
	((struct sockaddr_in *)&address)->sin_port = 0; /* any */
	((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = adv_listen_tcp(&address, false, reason, sizeof(reason));
	cr_assert_geq(fd, 0, "%s", reason);
	close(fd);
}

/* ---- systemd ---- */

Test(notify, a_datagram)
{
	struct sockaddr_un at = address_of("n");
	char text[64] = "";
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	setenv("NOTIFY_SOCKET", at.sun_path, 1);
	adv_notify("READY=1");
	cr_assert_eq(recv(fd, text, sizeof(text), MSG_DONTWAIT), 7);
	cr_assert_str_eq(text, "READY=1");
	close(fd);
}

Test(notify, an_abstract_address)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	char name[64], text[64] = "";
	int n = snprintf(name, sizeof(name), "@adverb-test-%d", (int)getpid());
	memcpy(at.sun_path + 1, name + 1, (size_t)n - 1);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n);
	cr_assert_eq(bind(fd, (struct sockaddr *)&at, size), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	adv_notify("STOPPING=1");
	cr_assert_eq(recv(fd, text, sizeof(text), MSG_DONTWAIT), 10);
	close(fd);
}

/* Nobody asked, or nobody listens: it goes on. */
Test(notify, nobody)
{
	unsetenv("NOTIFY_SOCKET");
	adv_notify("READY=1");
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	adv_notify("READY=1");
}
