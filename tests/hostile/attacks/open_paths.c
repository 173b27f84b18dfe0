/*
 * open_paths.c - opens everything that a machine has and that says where it is; against the empty root and Landlock. Errnos of each; and how
 * many names the root and its parent list.
 */
#include <fcntl.h>

#include "attack.h"

static long names_in(const char *path)
{
	char buffer[4096];
	long names = 0;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	long n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer));
	for (long at = 0; at < n; names++)
		at += *(uint16_t *)(buffer + at + 16);
	close(fd);
	return names;
}

ATTACK
{
	static const char *const paths[] = {
		"/etc/passwd",
		"/etc/shadow",
		"/proc/self/status",
		"/proc/1/mem",
		"/proc/1/root",
		"/proc/self/fd/0",
		"/dev/null",
		"/dev/mem",
		"/dev/shm/x",
		"/dev/fd/3",
		"/sys/kernel",
		"/lib",
		"/usr/lib",
		"/bin/sh",
		"/tmp/x",
		"/run",
		"/var",
		"/root",
		"/home",
		"self/status",
		"fd/0",
		"../etc/passwd",
		"../../../../../../etc/passwd",
		"/../etc/passwd",
		"0",
		"3",
	};
	uint32_t size = 0;
	size = saw(out, size, names_in("/"));
	size = saw(out, size, names_in("/.."));
	size = saw(out, size, names_in("."));
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
		size = saw(out, size, outcome(fd));
		size = saw(out, size, outcome(chdir(paths[i])));
	}
	return size;
}
