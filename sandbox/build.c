/* build.c - makes one sandbox's process and its identity, as fast as it can be done. The warden's only thread. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/warden.h"
#include "util/fd.h"

#define LOG_PIPE_BYTES \
	(16 * 1024) /* less than the default: pipes are counted against the user's allowance */

#define HINT_CLONE                                                                               \
	"see sysctl user.max_user_namespaces, user.max_mnt_namespaces, user.max_pid_namespaces " \
	"and kernel.pid_max"

/* No network namespace, unless strict_net asks for one: the warden's empty one is shared. */
#define WALLS \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

static int write_map(pid_t pid, const char *file, const char *map)
{
	char path[64];
	snprintf(path, sizeof(path), "%d/%s", pid, file);
	ADV_CLEANUP_FD int fd = openat(ADV_FD_PROC, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, map, strlen(map)) < 0 ? -errno : 0;
}

/* Uid 0 inside is a uid of its own outside; in an ordinary user's session it is that user. */
static int give_identity(const struct adv_plan *plan, pid_t pid, uint32_t id, int socket)
{
	const char go = 1;
	char map[64];
	snprintf(map, sizeof(map), "0 %u 1", plan->root ? ADV_UID_BASE + 1 + id : plan->uid);
	int rc = write_map(pid, "uid_map", map);
	if (rc < 0)
		return rc;
	snprintf(map, sizeof(map), "0 %u 1", plan->root ? ADV_UID_BASE + 1 + id : plan->gid);
	rc = write_map(pid, "gid_map", map);
	if (rc < 0)
		return rc;
	return send(socket, &go, sizeof(go), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static pid_t clone_process(const struct adv_plan *plan, int cgroup)
{
	struct clone_args args = {.flags = WALLS, .exit_signal = SIGCHLD};
	if (plan->strict_net)
		args.flags |= CLONE_NEWNET;
	if (cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup;
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static void discard(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int start(const struct adv_plan *plan, int cgroup, uint32_t id, struct adv_cell *cell,
		 int socket, pid_t *pid, struct adv_failure *failure)
{
	*pid = clone_process(plan, cgroup);
	if (*pid < 0)
		return adv_failure_set(failure, errno, HINT_CLONE,
				       "could not make a process in namespaces of its own");
	if (*pid == 0)
		adv_sandbox_run(cell);
	/* It waits for its identity: until then it is nothing. */
	int rc = plan->core_scheduling == ADV_CORE_SCHEDULING_ON ? adv_core_cookies_new(*pid) : 0;
	if (rc < 0) {
		discard(*pid);
		return adv_failure_set(failure, -rc, "set [sandbox] core_scheduling=no",
				       "could not keep sandbox %u apart on its core", id);
	}
	rc = give_identity(plan, *pid, id, socket);
	if (rc < 0) {
		discard(*pid);
		return adv_failure_set(failure, -rc, NULL, "could not map the uid of sandbox %u",
				       id);
	}
	return 0;
}

int adv_build(const struct adv_plan *plan, struct adv_cgroups *cgroups, uint32_t id,
	      uint32_t profile, struct adv_built *built, struct adv_failure *failure)
{
	int pair[2], log[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return adv_failure_set(failure, errno, "raise the limit of open files",
				       "could not make a socket for a sandbox");
	ADV_CLEANUP_FD int ours = pair[0];
	ADV_CLEANUP_FD int theirs = pair[1];
	if (pipe2(log, O_CLOEXEC | O_NONBLOCK) < 0)
		return adv_failure_set(failure, errno, "raise the limit of open files",
				       "could not make a log pipe for a sandbox");
	ADV_CLEANUP_FD int log_read = log[0];
	ADV_CLEANUP_FD int log_write = log[1];
	fcntl(log_write, F_SETPIPE_SZ, LOG_PIPE_BYTES);
	struct adv_cell cell = {
		.plan = plan, .profile = profile, .socket = theirs, .log = log_write};
	pid_t pid;
	uint64_t group = 0;
	ADV_CLEANUP_FD int cgroup = -1;
	if (cgroups->base >= 0) {
		cgroup = adv_cgroups_make(cgroups, profile, &group, failure);
		if (cgroup < 0)
			return cgroup;
	}
	int rc = start(plan, cgroup, id, &cell, ours, &pid, failure);
	if (rc < 0) {
		if (cgroups->base >= 0)
			adv_cgroups_remove(cgroups, group);
		return rc;
	}
	built->group = group;
	built->pid = pid;
	built->socket = adv_fd_steal(&ours);
	built->log = adv_fd_steal(&log_read);
	return 0;
}
