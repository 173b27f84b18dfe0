/* test_walls.c - what a confined sandbox looks like from outside, step by step of its confinement. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cases.h"
#include "util/fd.h"

#define NO_CAPS "0000000000000000"

static void test_status(const struct box *b, const struct adv_warden_facts *facts)
{
	static const char *const caps[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
	char status[8192], ids[64];
	uint32_t uid = facts->root ? ADV_UID_BASE + 1 + b->id : getuid();
	if (!check(proc_read(b->pid, "status", status, sizeof(status)), "its status can be read"))
		return;
	snprintf(ids, sizeof(ids), "%u\t%u\t%u\t%u", uid, uid, uid, uid);
	check(strcmp(proc_field(status, "Uid"), ids) == 0, "uid is %u and no other: %s", uid,
	      proc_field(status, "Uid"));
	if (facts->root) {
		check(strcmp(proc_field(status, "Gid"), ids) == 0, "gid is %u and no other", uid);
		check(proc_field(status, "Groups")[0] == '\0', "it has no groups: %s",
		      proc_field(status, "Groups"));
	}
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		check(strcmp(proc_field(status, caps[i]), NO_CAPS) == 0, "%s is empty", caps[i]);
	check(strcmp(proc_field(status, "NoNewPrivs"), "1") == 0, "no_new_privs is set");
	check(strcmp(proc_field(status, "Seccomp"), "2") == 0, "a seccomp filter is on");
	check(strcmp(proc_field(status, "Threads"), "1") == 0, "it has one thread");
	check(strcmp(proc_field(status, "SigBlk"), NO_CAPS) == 0, "no signal is blocked");
	check(strcmp(proc_field(status, "SigIgn"), NO_CAPS) == 0, "no signal is ignored");
	const char *pids = proc_field(status, "NSpid");
	check(strrchr(pids, '\t') != NULL && strcmp(strrchr(pids, '\t'), "\t1") == 0,
	      "it is pid 1 of its namespace");
}

static bool has_limit(const char *limits, const char *name, const char *value)
{
	char soft[32];
	const char *line = strstr(limits, name);
	return line != NULL && sscanf(line + strlen(name), "%31s", soft) == 1 &&
	       strcmp(soft, value) == 0;
}

static void test_limits(const struct box *b)
{
	char limits[4096];
	if (!check(proc_read(b->pid, "limits", limits, sizeof(limits)), "its limits can be read"))
		return;
	check(has_limit(limits, "Max core file size", "0"), "no core files");
	check(has_limit(limits, "Max processes", "1"), "no processes");
	check(has_limit(limits, "Max file size", "0"), "no files");
	check(has_limit(limits, "Max locked memory", "0"), "no locked memory");
	check(has_limit(limits, "Max msgqueue size", "0"), "no message queues");
	check(has_limit(limits, "Max open files", "64"), "64 descriptors");
	check(!has_limit(limits, "Max data size", "unlimited"), "memory is limited from the start");
}

/* Reading these needs more rights over the sandbox than its own user has. */
static bool namespace_of(int pid, const char *name, char *text, size_t size)
{
	char path[64];
	if (pid == 0)
		snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	else
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	ssize_t n = readlink(path, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static void test_namespaces(const struct box *b, const struct box *other)
{
	static const char *const own[] = {"user", "mnt", "pid", "ipc", "uts", "cgroup"};
	char theirs[64], ours[64], wardens[64];
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		check(namespace_of(b->pid, own[i], theirs, sizeof(theirs)) &&
			      namespace_of(0, own[i], ours, sizeof(ours)) &&
			      namespace_of(b->warden->pid, own[i], wardens, sizeof(wardens)) &&
			      strcmp(theirs, ours) != 0 && strcmp(theirs, wardens) != 0,
		      "its %s namespace is its own", own[i]);
		check(namespace_of(other->pid, own[i], ours, sizeof(ours)) &&
			      strcmp(theirs, ours) != 0,
		      "and not another sandbox's");
	}
	check(namespace_of(b->pid, "net", theirs, sizeof(theirs)) &&
		      namespace_of(0, "net", ours, sizeof(ours)) && strcmp(theirs, ours) != 0,
	      "its network namespace is not ours");
}

static void test_network(const struct box *b)
{
	char text[4096];
	unsigned interfaces = 0;
	if (!check(proc_read(b->pid, "net/dev", text, sizeof(text)), "its net/dev can be read"))
		return;
	for (const char *p = strchr(text, ':'); p != NULL; p = strchr(p + 1, ':'))
		interfaces++;
	check(interfaces == 1 && strstr(text, "lo:") != NULL, "there is no interface but lo");
	check(proc_read(b->pid, "net/route", text, sizeof(text)) &&
		      strchr(text, '\n') == strrchr(text, '\n'),
	      "there is no route");
}

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned nr = 0;
	while (dir != NULL && readdir(dir) != NULL)
		nr++;
	if (dir != NULL)
		closedir(dir);
	return nr;
}

static void test_root(const struct box *b)
{
	char path[64], text[4096];
	snprintf(path, sizeof(path), "/proc/%d/root/.", b->pid);
	check(entries(path) == 2, "its root is empty");
	snprintf(path, sizeof(path), "/proc/%d/root/file", b->pid);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	int error = fd < 0 ? errno : 0;
	adv_fd_close(&fd);
	check(error == EROFS, "and read-only even for root outside: %s", strerror(error));
	check(proc_read(b->pid, "mountinfo", text, sizeof(text)) &&
		      strchr(text, '\n') == strrchr(text, '\n') && strstr(text, "tmpfs") != NULL &&
		      strstr(text, "nosuid") && strstr(text, "nodev") && strstr(text, "noexec") &&
		      strstr(text, " ro,"),
	      "one mount: a tmpfs, ro, nosuid, nodev, noexec");
}

/* Bits of its open descriptors; UINT64_MAX when they cannot be read. */
static uint64_t descriptors(int pid)
{
	char path[64];
	uint64_t bits = 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *dir = opendir(path);
	if (dir == NULL)
		return UINT64_MAX;
	for (struct dirent *e; (e = readdir(dir)) != NULL;)
		if (e->d_name[0] != '.')
			bits |= UINT64_C(1) << (strtoul(e->d_name, NULL, 10) & 63);
	closedir(dir);
	return bits;
}

static void test_memory(const struct box *b)
{
	static char maps[65536];
	char environment[64];
	check(proc_read(b->pid, "maps", maps, sizeof(maps)) && strstr(maps, "libc.so") != NULL,
	      "its maps can be read");
	check(strstr(maps, "libseccomp") == NULL && strstr(maps, "jemalloc") == NULL &&
		      strstr(maps, "uring") == NULL,
	      "none of the node's libraries is in its memory");
	check(strstr(maps, "rwx") == NULL, "no page is writable and executable");
	check(proc_read(b->pid, "environ", environment, sizeof(environment)) &&
		      environment[0] == '\0',
	      "its environment is empty");
}

/* A sandbox of the same user cannot be traced or read, even by that user. */
static void test_undumpable(const struct box *b)
{
	char text[64];
	int fd = -1;
	char path[64];
	if (getuid() == 0) {
		check(proc_read(b->pid, "comm", text, sizeof(text)), "root may look at it");
		return;
	}
	snprintf(path, sizeof(path), "/proc/%d/mem", b->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	check(fd < 0, "its own user cannot read its memory");
	adv_fd_close(&fd);
}

void test_walls(struct adv_warden *warden)
{
	struct box b, other;
	if (!check(box_build(warden, 0, ADV_PROFILE_STRICT, &b), "a sandbox is built: %s",
		   b.reason))
		return;
	check(box_build(warden, 1, ADV_PROFILE_STRICT, &other), "and a second one: %s",
	      other.reason);
	test_status(&b, &warden->facts);
	test_limits(&b);
	test_network(&b);
	test_undumpable(&b);
	if (warden->facts.root) {
		test_namespaces(&b, &other);
		test_root(&b);
		test_memory(&b);
		check(descriptors(b.pid) == (0xfu | 3u << 20),
		      "it has 0 to 3 and its procfs directories, and no other descriptor: %#llx",
		      (unsigned long long)descriptors(b.pid));
	}
	box_release(&b);
	box_release(&other);
}
