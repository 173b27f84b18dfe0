/*
 * corecookie.c - core scheduling (Linux 5.14, Documentation/admin-guide/hw-vuln/core-scheduling.rst): what runs on the
 * hardware threads of one core at a time has one cookie. The warden's only thread.
 *
 * A sandbox is born with a cookie of its own. At its claim it takes that of another sandbox of its tenant, if one lives: the
 * allocator gives the threads of a core to one tenant, and workers that spin side by side must not stop each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/warden.h"
#include "util/fd.h"

#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE		 62
#define PR_SCHED_CORE_GET	 0
#define PR_SCHED_CORE_CREATE	 1
#define PR_SCHED_CORE_SHARE_TO	 2
#define PR_SCHED_CORE_SHARE_FROM 3
#endif

/* The kernel's enum pid_type, which no header of user space has. */
enum scope {
	SCOPE_THREAD = 0,
	SCOPE_THREAD_GROUP = 1
};

static int core(unsigned what, pid_t pid, enum scope scope, uint64_t *cookie)
{
	return prctl(PR_SCHED_CORE, what, pid, scope, cookie) < 0 ? -errno : 0;
}

/* On one or two CPUs housekeeping and callers sit on the thread next to a worker: it would stop them for as long as it spins. */
static bool is_small(void)
{
	cpu_set_t set;
	return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) <= 2;
}

/* A kernel without core scheduling may say at least that there is nothing to schedule. */
static bool has_one_thread_a_core(void)
{
	char active = '1';
	ADV_CLEANUP_FD int fd = open("/sys/devices/system/cpu/smt/active", O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &active, 1) == 1 && active == '0';
}

/* Once through all that is done later, with a process that does nothing: a kernel or a container that denies a part of it has none. */
static int rehearse(void)
{
	uint64_t cookie = 0;
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	while (pid == 0)
		pause();
	int rc = adv_core_cookies_new(pid);
	if (rc == 0)
		rc = adv_core_cookies_share(pid, pid);
	if (rc == 0)
		rc = core(PR_SCHED_CORE_GET, 0, SCOPE_THREAD, &cookie);
	if (rc == 0 && cookie != 0)
		rc = -EBUSY; /* the node has one: this process would keep it */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return rc;
}

int adv_core_cookies_init(enum adv_wish wish, bool root, uint32_t *core_scheduling,
			  struct adv_failure *failure)
{
	uint64_t cookie;
	int rc = core(PR_SCHED_CORE_GET, 0, SCOPE_THREAD, &cookie);
	if (rc < 0 && (rc == -ENODEV || has_one_thread_a_core()))
		*core_scheduling = ADV_CORE_SCHEDULING_NO_SMT;
	else
		*core_scheduling = rc < 0 ? ADV_CORE_SCHEDULING_MISSING : ADV_CORE_SCHEDULING_ON;
	if (wish == ADV_WISH_YES && !root)
		return adv_failure_set(failure, EPERM, "in a user's session there is one tenant",
				       "[sandbox] core_scheduling=yes needs root");
	if (wish == ADV_WISH_YES && *core_scheduling == ADV_CORE_SCHEDULING_MISSING)
		return adv_failure_set(
			failure, -rc,
			"the kernel must have CONFIG_SCHED_CORE (Linux 5.14), or say "
			"auto",
			"[sandbox] core_scheduling=yes cannot be had");
	if (wish == ADV_WISH_NO || !root || (wish == ADV_WISH_AUTO && is_small()))
		if (*core_scheduling == ADV_CORE_SCHEDULING_ON)
			*core_scheduling = ADV_CORE_SCHEDULING_OFF;
	rc = *core_scheduling == ADV_CORE_SCHEDULING_ON ? rehearse() : 0;
	if (rc < 0 && wish == ADV_WISH_YES)
		return adv_failure_set(failure, -rc, "set [sandbox] core_scheduling=auto",
				       "core scheduling is in the kernel and could not be used");
	if (rc < 0)
		*core_scheduling = ADV_CORE_SCHEDULING_OFF;
	return 0;
}

int adv_core_cookies_new(pid_t pid)
{
	return core(PR_SCHED_CORE_CREATE, pid, SCOPE_THREAD_GROUP, NULL);
}

/* A cookie goes from task to task by way of this one, which then takes that of the node: none. */
int adv_core_cookies_share(pid_t like, pid_t pid)
{
	int rc = core(PR_SCHED_CORE_SHARE_FROM, like, SCOPE_THREAD, NULL);
	if (rc < 0)
		return rc;
	rc = core(PR_SCHED_CORE_SHARE_TO, pid, SCOPE_THREAD_GROUP, NULL);
	int back = core(PR_SCHED_CORE_SHARE_FROM, getppid(), SCOPE_THREAD, NULL);
	return rc < 0 ? rc : back;
}
