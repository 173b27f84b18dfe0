/* listen.c - directories and the control socket. Start-up only, one thread. */
#include "node/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/fd.h"

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

/* Does somebody serve this socket? */
static int is_served(const struct sockaddr_un *address)
{
	int fd ADV_CLEANUP_FD = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return 1;
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
