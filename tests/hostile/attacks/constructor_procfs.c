/*
 * constructor_procfs.c - opens files of the procfs by which it is loaded; against its being of this process alone, and not readable without
 * privileges. What it got: the results of opening each, and how many numbers of processes are listed.
 */
#include <fcntl.h>

#include "constructor.h"

#define PATHS 13

static long seen[PATHS], processes;

CONSTRUCTOR
{
	static const char *const paths[PATHS] = {
		"../mem",    "../environ", "../maps",	     "../root/.",     "../cwd/.",
		"../exe",    "../auxv",	   "../../2/status", "../../meminfo", "../../kallsyms",
		"../../sys", "../../net",  "../ns/net"};
	for (int i = 0; i < PATHS; i++) {
		int fd = openat(ADV_SANDBOX_FD_SELF_FD, paths[i], O_RDONLY | O_CLOEXEC);
		seen[i] = fd < 0 ? -errno : 0;
		if (fd >= 0)
			close(fd);
	}
	for (int pid = 1; pid < 1000; pid++) {
		char name[16] = "../../";
		int at = 6;
		if (pid >= 100)
			name[at++] = (char)('0' + pid / 100);
		if (pid >= 10)
			name[at++] = (char)('0' + pid / 10 % 10);
		name[at] = (char)('0' + pid % 10);
		processes += faccessat(ADV_SANDBOX_FD_SELF_FD, name, F_OK, 0) == 0;
	}
}

ATTACK
{
	uint32_t size = saw(out, 0, processes);
	for (int i = 0; i < PATHS; i++)
		size = saw(out, size, seen[i]);
	return size;
}
