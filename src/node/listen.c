/* listen.c - directories and the control socket. Start-up only, one thread. */
#include "node/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/fd.h"
#include "util/parse.h"

static int fail(int error, char *reason, size_t size, const char *what, const char *path,
		const char *remedy)
{
	snprintf(reason, size, "%s %s: %s%s%s", what, path, strerror(error),
		 remedy[0] != '\0' ? ": " : "", remedy);
	return -error;
}

/* One directory. Returns 1 when it was made now, 0 when it was there. */
static int make_one(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	if (mkdir(path, mode) < 0)
		return errno == EEXIST ? 0 : -errno;
	if (chown(path, uid, gid) < 0 || chmod(path, mode) < 0) {
		int rc = -errno;
		rmdir(path);
		return rc;
	}
	return 1;
}

int adv_directory_make(const char *path, mode_t mode, uid_t uid, gid_t gid, char *reason,
		       size_t size)
{
	char part[4096];
	if (path[0] != '/' || strlen(path) >= sizeof(part))
		return fail(EINVAL, reason, size, "directory", path, "it must be an absolute path");
	snprintf(part, sizeof(part), "%s", path);
	for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		int rc = make_one(part, 0755, geteuid(), getegid());
		if (rc < 0)
			return fail(-rc, reason, size, "cannot make directory", part, "");
		*slash = '/';
	}
	int rc = make_one(path, mode, uid, gid);
	if (rc < 0)
		return fail(-rc, reason, size, "cannot make directory", path, "");
	struct stat st;
	if (lstat(path, &st) < 0)
		return fail(errno, reason, size, "cannot look at directory", path, "");
	if (!S_ISDIR(st.st_mode))
		return fail(ENOTDIR, reason, size, "cannot use", path, "name a directory");
	if (st.st_uid == uid)
		return 0;
	if (st.st_uid != geteuid())
		return fail(EPERM, reason, size, "cannot take over directory", path,
			    "it belongs to another user: name another one or change its owner");
	if (chown(path, uid, gid) < 0)
		return fail(errno, reason, size, "cannot take over directory", path,
			    "the node's user must own it");
	return 0;
}

/* The kernel closes what io_uring of a killed process holds some time after its end: until then its socket answers, and nobody is there. */
static bool listener_is_dead(int fd)
{
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0 &&
	       kill(peer.pid, 0) < 0 && errno == ESRCH;
}

/* Does somebody serve this socket? */
static int is_served(const struct sockaddr_un *address)
{
	int fd ADV_CLEANUP_FD = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return !listener_is_dead(fd);
	return errno == EAGAIN ? 1 : 0;
}

/* What lies at the path: nothing, an old socket (removed), or something that must not be touched. */
static int clear_path(const char *path, const struct sockaddr_un *address, char *reason,
		      size_t size)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : fail(errno, reason, size, "cannot look at", path, "");
	if (!S_ISSOCK(st.st_mode))
		return fail(EEXIST, reason, size, "cannot listen on", path,
			    "there is a file that is not a socket");
	int served = is_served(address);
	if (served < 0)
		return fail(-served, reason, size, "cannot make a socket for", path, "");
	if (served == 1)
		return fail(EADDRINUSE, reason, size, "cannot listen on", path,
			    "another node serves there: stop it or name another --listen");
	return unlink(path) < 0
		       ? fail(errno, reason, size, "cannot remove the old socket", path, "")
		       : 0;
}

int adv_listen_unix(const char *path, mode_t mode, uid_t uid, gid_t gid, char *reason, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		return fail(ENAMETOOLONG, reason, size, "cannot listen on", path,
			    "a socket's path has at most 107 bytes");
	memcpy(address.sun_path, path, strlen(path) + 1);
	int rc = clear_path(path, &address, reason, size);
	if (rc < 0)
		return rc;
	int fd ADV_CLEANUP_FD = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(errno, reason, size, "cannot make a socket for", path, "");
	mode_t old = umask(0777); /* nobody connects before the mode is right */
	rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
	int error = errno;
	umask(old);
	if (rc < 0)
		return fail(error, reason, size, "cannot listen on", path, "");
	if (chown(path, uid, gid) < 0 || chmod(path, mode) < 0 || listen(fd, 1024) < 0) {
		error = errno;
		unlink(path);
		return fail(error, reason, size, "cannot listen on", path, "");
	}
	return adv_fd_steal(&fd);
}

/* ---- TCP ---- */

int adv_listen_parse(const char *text, struct sockaddr_storage *address, char *reason, size_t size)
{
	struct sockaddr_in four = {.sin_family = AF_INET};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	char host[128];
	uint64_t port;
	const char *colon = strrchr(text, ':');
	size_t length = colon != NULL ? (size_t)(colon - text) : 0;
	bool brackets = length > 2 && text[0] == '[' && text[length - 1] == ']';
	bool ok = length > 0 && length < sizeof(host) && adv_parse_u64(colon + 1, &port) == 0 &&
		  port >= 1 && port <= UINT16_MAX;
	if (ok) {
		snprintf(host, sizeof(host), "%.*s", (int)(brackets ? length - 2 : length),
			 text + brackets);
		four.sin_port = six.sin6_port = htons((uint16_t)port);
	}
	memset(address, 0, sizeof(*address));
	if (ok && !brackets && inet_pton(AF_INET, host, &four.sin_addr) == 1) {
		memcpy(address, &four, sizeof(four));
		return 0;
	}
	if (ok && brackets && inet_pton(AF_INET6, host, &six.sin6_addr) == 1) {
		memcpy(address, &six, sizeof(six));
		return 0;
	}
	snprintf(reason, size,
		 "\"%.100s\" is not ADDRESS:PORT, in numbers (an IPv6 address in brackets)", text);
	return -EINVAL;
}

static bool is_loopback(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
	if (address->ss_family == AF_INET)
		return ntohl(four->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

static void address_text(const struct sockaddr_storage *address, char *text, size_t size)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
	char host[INET6_ADDRSTRLEN] = "?";
	bool v6 = address->ss_family == AF_INET6;
	inet_ntop(address->ss_family, v6 ? (const void *)&six->sin6_addr : &four->sin_addr, host,
		  sizeof(host));
	snprintf(text, size, v6 ? "[%s]:%u" : "%s:%u", host,
		 ntohs(v6 ? six->sin6_port : four->sin_port));
}

int adv_listen_tcp(const struct sockaddr_storage *address, bool insecure, char *reason, size_t size)
{
	char text[INET6_ADDRSTRLEN + 16];
	int one = 1;
	socklen_t length = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
							  : sizeof(struct sockaddr_in);
	address_text(address, text, sizeof(text));
	if (!insecure && !is_loopback(address))
		return fail(
			EPERM, reason, size, "will not listen on", text,
			"tokens would travel in clear: say --insecure-control if the network is "
			"trusted");
	int fd ADV_CLEANUP_FD = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(errno, reason, size, "cannot make a socket for", text, "");
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (address->ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)address, length) < 0 || listen(fd, 1024) < 0)
		return fail(errno, reason, size, "cannot listen on", text,
			    errno == EADDRINUSE ? "another process has this port"
			    : errno == EADDRNOTAVAIL
				    ? "no interface of this machine has this address"
			    : errno == EACCES ? "ports below 1024 need privileges: take another"
					      : "");
	return adv_fd_steal(&fd);
}
