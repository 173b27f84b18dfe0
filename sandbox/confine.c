/*
 * confine.c - turns a fresh process into a confined one, step by step; each step names the threat it answers.
 * Runs in the sandbox, before it has seen a byte of a tenant. Every step fails closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "filter_program.h"
#include "sandbox/caps.h"
#include "sandbox/landlock.h"
#include "sandbox/plan.h"
#include "sandbox/speculation.h"
#include "util/fd.h"

/* Page tables are not counted by RLIMIT_DATA: at most 1/512 of this, 128 MiB, can be spent on them. */
#define ADDRESS_SPACE (64 * ADV_GIB)

#define HINT_MOUNT "the kernel must allow mounts in user namespaces"
#define HINT_PROC                                                                            \
	"in a container, /proc must not be masked (start it with an unmasked /proc, or run " \
	"Adverb "                                                                            \
	"outside of it)"

/* ---- life: a sandbox never outlives its warden ---- */

/* The signal is forgotten whenever ids change, so that this is done at the start and again at the end. */
static int tie_to_warden(const struct adv_cell *cell, struct adv_failure *failure)
{
	(void)cell;
	int signal_number = 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
	    prctl(PR_GET_PDEATHSIG, &signal_number, 0, 0, 0) < 0)
		return adv_failure_set(failure, errno, NULL, "could not tie it to the warden");
	struct pollfd warden = {.fd = ADV_SANDBOX_FD_WARDEN, .events = POLLIN};
	if (signal_number != SIGKILL || poll(&warden, 1, 0) != 0)
		return adv_failure_set(failure, ESRCH, NULL, "the warden is gone");
	return 0;
}

/* ---- descriptors: nothing of the warden's, nothing of another sandbox's ---- */

/* First of all the socket, in place of the warden's own: by it this process says what goes wrong. Nothing here can run out. */
static int take_descriptors(const struct adv_cell *cell, struct adv_failure *failure)
{
	if (dup2(cell->socket, ADV_SANDBOX_FD_SOCKET) < 0)
		_exit(ADV_EXIT_CONFINEMENT);
	if (dup2(cell->log, STDOUT_FILENO) < 0 || dup2(cell->log, STDERR_FILENO) < 0 ||
	    syscall(SYS_close_range, ADV_SANDBOX_FD_WARDEN + 1, ~0U, 0) < 0)
		return adv_failure_set(failure, errno, "Linux 5.9 or later is needed",
				       "could not arrange its descriptors");
	return 0;
}

/* A pipe that nobody writes: at its end for ever, and the number is taken. */
static int empty_input(const struct adv_cell *cell, struct adv_failure *failure)
{
	int empty[2];
	(void)cell;
	if (pipe2(empty, O_CLOEXEC) < 0 || dup2(empty[0], STDIN_FILENO) < 0)
		return adv_failure_set(failure, errno, NULL, "could not make its standard input");
	close(empty[0]);
	close(empty[1]);
	return 0;
}

/* ---- identity ---- */

/* The warden has written the id maps when one byte comes. */
static int wait_for_ids(const struct adv_cell *cell, struct adv_failure *failure)
{
	(void)cell;
	char go;
	ssize_t n;
	do
		n = recv(ADV_SANDBOX_FD_SOCKET, &go, sizeof(go), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(go))
		return adv_failure_set(failure, n < 0 ? errno : EPIPE, NULL,
				       "the warden did not give it an identity");
	return 0;
}

/* As root a uid of its own, and no groups; in an ordinary user's session that user's (setgroups is denied there). */
static int take_identity(const struct adv_cell *cell, struct adv_failure *failure)
{
	if (cell->plan->root && syscall(SYS_setgroups, 0, NULL) < 0)
		return adv_failure_set(failure, errno, NULL, "could not drop its groups");
	if (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
		return adv_failure_set(failure, errno, NULL, "could not take its uid and gid");
	return 0;
}

/* A session of its own: kill(0) must not reach the warden. A host name of its own: it must not tell where it is. */
static int leave_session(const struct adv_cell *cell, struct adv_failure *failure)
{
	static const char name[] = "sandbox";
	(void)cell;
	if (setsid() < 0 || sethostname(name, sizeof(name) - 1) < 0)
		return adv_failure_set(failure, errno, NULL, "could not leave the session");
	/* Keys of the warden's session; keyctl is denied later, so that a machine without keyrings loses nothing. */
	(void)syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL);
	return 0;
}

/* ---- file system: an empty or read-only root ---- */

/* dlopen() takes a path and no descriptor: a procfs of this pid namespace alone, never attached, left once loaded. */
static int mount_proc(const struct adv_cell *cell, struct adv_failure *failure)
{
	(void)cell;
	ADV_CLEANUP_FD int fs = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
	if (fs < 0)
		return adv_failure_set(failure, errno, HINT_MOUNT, "could not open procfs");
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "subset", "pid", 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return adv_failure_set(failure, errno, HINT_PROC, "could not make a procfs");
	ADV_CLEANUP_FD int mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
						MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
							MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mount < 0)
		return adv_failure_set(failure, errno, HINT_PROC, "could not mount a procfs");
	/* The fixed numbers lie well above what is open by now: neither replaces the other. */
	ADV_CLEANUP_FD int self_fd = openat(mount, "self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	ADV_CLEANUP_FD int self_task = openat(mount, "self/task", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (self_fd < 0 || self_task < 0 || dup3(self_fd, ADV_SANDBOX_FD_SELF_FD, O_CLOEXEC) < 0 ||
	    dup3(self_task, ADV_SANDBOX_FD_SELF_TASK, O_CLOEXEC) < 0)
		return adv_failure_set(failure, errno, NULL, "could not open its own procfs");
	return 0;
}

/* Does its profile show it what the operator lists, and is there anything? */
static bool sees_files(const struct adv_cell *cell)
{
	return cell->plan->extended && cell->profile != ADV_PROFILE_STRICT;
}

/* A copy of the prepared root becomes /, and all else is let go of. */
static int enter_root(const struct adv_cell *cell, struct adv_failure *failure)
{
	const char *root = sees_files(cell) ? ADV_ROOT_EXTENDED : ADV_ROOT_DEFAULT;
	ADV_CLEANUP_FD int tree = (int)syscall(SYS_open_tree, AT_FDCWD, root,
					       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree < 0)
		return adv_failure_set(failure, errno, HINT_MOUNT, "could not copy its root %s",
				       root);
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, root, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return adv_failure_set(failure, errno, HINT_MOUNT, "could not mount its root");
	if (fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return adv_failure_set(failure, errno, HINT_MOUNT, "could not enter its root");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return adv_failure_set(failure, errno, HINT_MOUNT, "could not leave the old root");
	return 0;
}

/* ---- limits ---- */

/* DATA is the memory limit where no cgroup is, until an order brings another: constructors run before that. */
static int set_limits(const struct adv_cell *cell, struct adv_failure *failure)
{
	const rlim_t nr_threads = cell->profile == ADV_PROFILE_THREADS ? ADV_SANDBOX_THREADS : 1;
	const struct {
		int resource;
		rlim_t soft, hard;
	} limits[] = {
		{RLIMIT_AS, ADDRESS_SPACE, RLIM_INFINITY},
		{RLIMIT_DATA, cell->plan->cgroup ? RLIM_INFINITY : ADV_LEASE_MEMORY_DEFAULT,
		 RLIM_INFINITY},
		{RLIMIT_STACK, ADV_SANDBOX_STACK_BYTES, ADV_SANDBOX_STACK_BYTES},
		{RLIMIT_NOFILE, ADV_SANDBOX_NOFILE, ADV_SANDBOX_NOFILE},
		{RLIMIT_NPROC, nr_threads, nr_threads},
		{RLIMIT_FSIZE, 0, 0},
		{RLIMIT_CORE, 0, 0},
		{RLIMIT_MEMLOCK, 0, 0},
		{RLIMIT_MSGQUEUE, 0, 0},
		{RLIMIT_SIGPENDING, 64, 64},
		{RLIMIT_NICE, 0, 0},
		{RLIMIT_RTPRIO, 0, 0},
	};
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit now;
		if (getrlimit(limits[i].resource, &now) < 0)
			return adv_failure_set(failure, errno, NULL, "could not read limit %d",
					       limits[i].resource);
		/* The hard limit can only be lowered, and is left where ours would raise it. */
		if (now.rlim_max > limits[i].hard)
			now.rlim_max = limits[i].hard;
		now.rlim_cur = limits[i].soft < now.rlim_max ? limits[i].soft : now.rlim_max;
		if (setrlimit(limits[i].resource, &now) < 0)
			return adv_failure_set(failure, errno, NULL, "could not set limit %d",
					       limits[i].resource);
	}
	return 0;
}

/* ---- privileges: none, and no way to any ---- */

static int drop_capabilities(const struct adv_cell *cell, struct adv_failure *failure)
{
	(void)cell;
	if (prctl(PR_SET_SECUREBITS,
		  SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
			  SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
			  SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
		  0, 0, 0) < 0)
		return adv_failure_set(failure, errno, NULL, "could not lock its secure bits");
	int rc = adv_caps_empty_bounding_set();
	if (rc < 0)
		return adv_failure_set(failure, -rc, NULL, "could not empty its bounding set");
	rc = adv_caps_drop();
	if (rc < 0)
		return adv_failure_set(failure, -rc, NULL, "could not drop its capabilities");
	return 0;
}

/* No gain by exec; nobody of the same uid may trace it or read its memory. */
static int set_flags(const struct adv_cell *cell, struct adv_failure *failure)
{
	(void)cell;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return adv_failure_set(failure, errno, NULL, "could not set its flags");
	return 0;
}

/* What it leaves in a core's predictors is no use to what runs there next, nor the other way round. */
static int restrict_speculation(const struct adv_cell *cell, struct adv_failure *failure)
{
	int rc = adv_speculation_restrict(cell->plan->speculation);
	if (rc < 0)
		return adv_failure_set(failure, -rc, NULL, "could not switch off speculation");
	return 0;
}

/* A second wall behind the empty root, where the kernel has it: only what an extended root shows may be read. */
static int restrict_files(const struct adv_cell *cell, struct adv_failure *failure)
{
	if (cell->plan->landlock_abi == 0)
		return 0;
	int rc = adv_landlock_restrict(cell->plan->landlock_abi, sees_files(cell) ? "/" : NULL);
	if (rc < 0)
		return adv_failure_set(failure, -rc, NULL, "could not apply Landlock");
	return 0;
}

/* Whatever is open by now and not meant to be is a bug: it must not reach a tenant. */
static int close_rest(const struct adv_cell *cell, struct adv_failure *failure)
{
	(void)cell;
	if (syscall(SYS_close_range, ADV_SANDBOX_FD_WARDEN, ADV_SANDBOX_FD_SELF_FD - 1, 0) < 0 ||
	    syscall(SYS_close_range, ADV_SANDBOX_FD_SELF_TASK + 1, ~0U, 0) < 0)
		return adv_failure_set(failure, errno, NULL, "could not close descriptors");
	return 0;
}

/* The last step: what is not in the filter's list kills from here on. */
static int install_filter(const struct adv_cell *cell, struct adv_failure *failure)
{
	const struct sock_fprog one = {
		.len = sizeof(adv_filter_one_thread) / sizeof(adv_filter_one_thread[0]),
		.filter = (struct sock_filter *)adv_filter_one_thread,
	};
	const struct sock_fprog many = {
		.len = sizeof(adv_filter_threads) / sizeof(adv_filter_threads[0]),
		.filter = (struct sock_filter *)adv_filter_threads,
	};
	const struct sock_fprog *program = cell->profile == ADV_PROFILE_THREADS ? &many : &one;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) < 0)
		return adv_failure_set(failure, errno, "the kernel must have CONFIG_SECCOMP_FILTER",
				       "could not install its seccomp filter");
	return 0;
}

int adv_confine(const struct adv_cell *cell, struct adv_failure *failure)
{
	static int (*const steps[])(const struct adv_cell *, struct adv_failure *) = {
		take_descriptors, tie_to_warden,     wait_for_ids, take_identity,
		empty_input,	  leave_session,     mount_proc,   enter_root,
		set_limits,	  drop_capabilities, set_flags,	   restrict_speculation,
		tie_to_warden,	  restrict_files,    close_rest,   install_filter,
	};
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		int rc = steps[i](cell, failure);
		if (rc < 0)
			return rc;
	}
	return 0;
}
