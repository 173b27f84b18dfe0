/*
 * cgroup.c - cgroup v2: one group for each lease below the group that was delegated to this node, made with its first sandbox.
 * The warden's only thread. Nothing here waits for a sandbox.
 *
 * The node's group must have no other processes: then it is ours (a systemd unit or scope with Delegate=yes). The node and the warden
 * move to GROUP/node, since a group with controllers has no processes of its own; sandboxes live in GROUP/sandboxes/NUMBER.
 * A sandbox is cloned into a group of its own; when it joins a lease that has workers already, it moves into theirs.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/warden.h"
#include "util/fd.h"

#define PROCS_MAX     2
#define CPU_PERIOD_US 100000
#define CPU_SLACK_US  5000
#define REMOVE_TRIES  200
#define REMOVE_NS     (1 * ADV_MS)

static int write_at(int dir, const char *file, const char *text)
{
	ADV_CLEANUP_FD int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Reads a small file as a string. */
static int read_at(int dir, const char *file, char *text, size_t size)
{
	ADV_CLEANUP_FD int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, text, size - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	return 0;
}

static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = text; (p = strstr(p, word)) != NULL; p += n)
		if ((p == text || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\n' || p[n] == '\0'))
			return true;
	return false;
}

/* ---- where ---- */

/* The mount point of cgroup2: the fifth field of the line that has it behind " - ". */
static int mount_point(char *path, size_t size)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096], where[2048];
	int rc = -ENOENT;
	while (f != NULL && rc < 0 && fgets(line, sizeof(line), f) != NULL) {
		if (strstr(line, " - cgroup2 ") == NULL ||
		    sscanf(line, "%*s %*s %*s / %2047s", where) != 1)
			continue;
		int n = snprintf(path, size, "%s", where);
		rc = n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
	}
	if (f != NULL)
		fclose(f);
	return rc;
}

/* This process's group: the line "0::PATH". */
static int own_group(char *path, size_t size)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[4096];
	int rc = -ENOENT;
	while (f != NULL && rc < 0 && fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::/", 4) == 0)
			rc = snprintf(path, size, "%s", line + 3) < (int)size ? 0 : -ENAMETOOLONG;
	}
	if (f != NULL)
		fclose(f);
	return rc;
}

static int open_group(void)
{
	char mount[2048], group[2048], path[4096];
	if (mount_point(mount, sizeof(mount)) < 0 || own_group(group, sizeof(group)) < 0)
		return -ENOENT;
	snprintf(path, sizeof(path), "%s%s", mount, group);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- taking it over ---- */

/* Nobody but the warden and the node that started it. */
static bool is_ours(int group)
{
	char text[256], *end;
	if (read_at(group, "cgroup.procs", text, sizeof(text)) < 0)
		return false;
	unsigned nr = 0;
	for (char *p = text; *p != '\0'; p = end + (*end == '\n')) {
		long pid = strtol(p, &end, 10);
		if (end == p || ++nr > PROCS_MAX || (pid != getpid() && pid != getppid()))
			return false;
	}
	return nr > 0;
}

static int open_dir_at(int dir, const char *name)
{
	if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int move_to(int dir, pid_t pid)
{
	char text[16];
	snprintf(text, sizeof(text), "%d", pid);
	return write_at(dir, "cgroup.procs", text);
}

/* GROUP/sandboxes with controllers for its children, or -errno: then nothing is limited by cgroups. */
static int take_over(int group)
{
	char text[512];
	if (read_at(group, "cgroup.controllers", text, sizeof(text)) < 0 ||
	    !has_word(text, "memory") || !has_word(text, "pids"))
		return -ENOTSUP;
	if (!is_ours(group))
		return -EBUSY;
	ADV_CLEANUP_FD int node = open_dir_at(group, "node");
	if (node < 0)
		return node;
	int rc = move_to(node, getppid());
	if (rc == 0)
		rc = move_to(node, getpid());
	if (rc == 0)
		rc = write_at(group, "cgroup.subtree_control", "+memory +pids");
	if (rc < 0)
		return rc;
	ADV_CLEANUP_FD int base = open_dir_at(group, "sandboxes");
	if (base < 0)
		return base;
	rc = write_at(base, "cgroup.subtree_control", "+memory +pids");
	return rc < 0 ? rc : adv_fd_steal(&base);
}

/* A further controller for the sandboxes' groups, where it was delegated too. */
static bool have_too(int group, int base, const char *controller)
{
	char word[16];
	snprintf(word, sizeof(word), "+%s", controller);
	return write_at(group, "cgroup.subtree_control", word) == 0 &&
	       write_at(base, "cgroup.subtree_control", word) == 0;
}

static void group_name(uint64_t number, char *name, size_t size)
{
	snprintf(name, size, "%llu", (unsigned long long)number);
}

/* With everything in it. */
static void end_group(int base, const char *name)
{
	const struct timespec pause = {.tv_nsec = REMOVE_NS};
	char file[64];
	if (unlinkat(base, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return;
	snprintf(file, sizeof(file), "%.32s/cgroup.kill", name);
	write_at(base, file, "1");
	for (int i = 0; i < REMOVE_TRIES; i++) {
		if (unlinkat(base, name, AT_REMOVEDIR) == 0 || errno != EBUSY)
			return;
		nanosleep(&pause, NULL);
	}
}

/* A predecessor that was killed left its groups; its sandboxes died with it, or die now. */
static void sweep(const struct adv_cgroups *cgroups)
{
	int fd = openat(cgroups->base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		adv_fd_close(&fd);
		return;
	}
	for (struct dirent *e; (e = readdir(dir)) != NULL;)
		if (e->d_type == DT_DIR && e->d_name[0] >= '0' && e->d_name[0] <= '9')
			end_group(cgroups->base, e->d_name);
	closedir(dir);
}

void adv_cgroups_init(struct adv_cgroups *cgroups)
{
	*cgroups = (struct adv_cgroups){.base = -1};
	ADV_CLEANUP_FD int group = open_group();
	if (group < 0)
		return;
	int base = take_over(group);
	if (base < 0)
		return;
	cgroups->base = base;
	cgroups->cpu = have_too(group, base, "cpu");
	cgroups->cpuset = have_too(group, base, "cpuset");
	cgroups->freeze = faccessat(base, "cgroup.freeze", W_OK, 0) == 0;
	sweep(cgroups);
}

/* ---- one group ---- */

static int write_number(int group, const char *file, uint64_t value)
{
	char text[32];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return write_at(group, file, text);
}

/* So much of the machine's time as it has workers; a little more, so that one that spins is never held up for having used all of its own. */
static int limit_cpu(int group, uint32_t nr_workers)
{
	char text[48];
	snprintf(text, sizeof(text), "%u %u", nr_workers * (CPU_PERIOD_US + CPU_SLACK_US),
		 CPU_PERIOD_US);
	return write_at(group, "cpu.max", text);
}

static uint32_t threads_of(uint32_t profile)
{
	return profile == ADV_PROFILE_THREADS ? ADV_SANDBOX_THREADS : 1;
}

/* What swaps is not limited and not quick; what is left of a lease that the kernel had to kill in is worth nothing. */
static int set_up(const struct adv_cgroups *cgroups, int group, uint32_t profile)
{
	int rc = write_number(group, "memory.max", ADV_LEASE_MEMORY_DEFAULT);
	if (rc == 0)
		rc = write_number(group, "pids.max", threads_of(profile));
	if (rc == 0)
		rc = write_at(group, "memory.oom.group", "1");
	if (rc == 0) {
		rc = write_at(group, "memory.swap.max", "0");
		if (rc == -ENOENT) /* a kernel without swap accounting */
			rc = 0;
	}
	if (rc == 0 && cgroups->cpu)
		rc = limit_cpu(group, 1);
	return rc;
}

int adv_cgroups_make(struct adv_cgroups *cgroups, uint32_t profile, uint64_t *number,
		     struct adv_failure *failure)
{
	char name[24];
	uint64_t n = ++cgroups->last;
	group_name(n, name, sizeof(name));
	ADV_CLEANUP_FD int group = open_dir_at(cgroups->base, name);
	int rc = group < 0 ? group : set_up(cgroups, group, profile);
	if (rc < 0) {
		unlinkat(cgroups->base, name, AT_REMOVEDIR);
		return adv_failure_set(failure, -rc, "is Delegate=yes still set for its unit?",
				       "could not make the cgroup sandboxes/%s", name);
	}
	*number = n;
	return adv_fd_steal(&group);
}

static int open_number(const struct adv_cgroups *cgroups, uint64_t number)
{
	char name[24];
	group_name(number, name, sizeof(name));
	int group = openat(cgroups->base, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return group < 0 ? -errno : group;
}

int adv_cgroups_join(const struct adv_cgroups *cgroups, uint64_t number, pid_t pid)
{
	ADV_CLEANUP_FD int group = open_number(cgroups, number);
	return group < 0 ? group : move_to(group, pid);
}

int adv_cgroups_limit(const struct adv_cgroups *cgroups, uint64_t number, uint64_t memory_bytes,
		      uint32_t profile, uint32_t nr_workers)
{
	ADV_CLEANUP_FD int group = open_number(cgroups, number);
	int rc = group < 0 ? group : write_number(group, "memory.max", memory_bytes);
	if (rc == 0)
		rc = write_number(group, "pids.max", (uint64_t)nr_workers * threads_of(profile));
	if (rc == 0 && cgroups->cpu)
		rc = limit_cpu(group, nr_workers);
	return rc;
}

int adv_cgroups_pin(const struct adv_cgroups *cgroups, uint64_t number, const cpu_set_t *cpus)
{
	char text[8 * CPU_SETSIZE];
	size_t n = 0;
	if (!cgroups->cpuset)
		return 0;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, cpus))
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%d", n > 0 ? "," : "",
					      cpu);
	ADV_CLEANUP_FD int group = open_number(cgroups, number);
	return group < 0 ? group : write_at(group, "cpuset.cpus", n > 0 ? text : "\n");
}

int adv_cgroups_freeze(const struct adv_cgroups *cgroups, uint64_t number, bool freeze)
{
	ADV_CLEANUP_FD int group = open_number(cgroups, number);
	return group < 0 ? group : write_at(group, "cgroup.freeze", freeze ? "1" : "0");
}

uint32_t adv_cgroups_oom_kills(const struct adv_cgroups *cgroups, uint64_t number)
{
	char file[48], text[512];
	snprintf(file, sizeof(file), "%llu/memory.events", (unsigned long long)number);
	if (read_at(cgroups->base, file, text, sizeof(text)) < 0)
		return 0;
	const char *line = strstr(text, "\noom_kill ");
	return line == NULL ? 0 : (uint32_t)strtoul(line + sizeof("\noom_kill"), NULL, 10);
}

void adv_cgroups_remove(const struct adv_cgroups *cgroups, uint64_t number)
{
	char name[24];
	group_name(number, name, sizeof(name));
	unlinkat(cgroups->base, name, AT_REMOVEDIR);
}
