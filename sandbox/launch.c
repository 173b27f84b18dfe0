/* launch.c - starts the warden from the image inside this binary, and drops the node's privileges. Before any thread. */
#include "sandbox/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/caps.h"
#include "sandbox/failure.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/signals.h"

#define HELLO_MS      10000
#define STOP_MS	      2000
#define WARDEN_SOCKET 3 /* its descriptor for the node */
#define NODE_USER     "adverb"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

#define HINT_MEMFD "sysctl vm.memfd_noexec must not be 2: programs in memory must be allowed to run"

/* The warden's program: image.S. */
extern const char adv_warden_image[], adv_warden_image_end[];

/* ---- in the child, between fork and exec ---- */

/* A program that nobody can change any more. The descriptor or -errno. */
static int make_program(void)
{
	/* A kernel that does not know MFD_EXEC makes it executable anyway. */
	ADV_CLEANUP_FD int fd =
		memfd_create("adverb-warden", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("adverb-warden", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	for (const char *p = adv_warden_image; p < adv_warden_image_end;) {
		ssize_t n = write(fd, p, (size_t)(adv_warden_image_end - p));
		if (n < 0)
			return -errno;
		p += n;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	return adv_fd_steal(&fd);
}

/*
 * Nothing of the node's goes on into the warden but standard error and the socket: no signal state, environment or
 * descriptor. The stack's limit decides where the kernel puts its mappings, so that it is set before exec.
 */
static int become_warden(int socket, const char *config_file, struct adv_failure *failure)
{
	struct rlimit stack;
	adv_signals_reset();
	setsid(); /* a terminal's ^C is for the node */
	if (getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_max >= ADV_SANDBOX_STACK_BYTES) {
		stack.rlim_cur = ADV_SANDBOX_STACK_BYTES;
		setrlimit(RLIMIT_STACK, &stack);
	}
	int program = make_program();
	if (program < 0)
		return adv_failure_set(failure, -program, HINT_MEMFD,
				       "could not make the warden's program");
	int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int high = fcntl(program, F_DUPFD_CLOEXEC, WARDEN_SOCKET + 1);
	if (empty >= 0)
		dup2(empty, STDIN_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	if (socket == WARDEN_SOCKET)
		fcntl(socket, F_SETFD, 0);
	if (high < 0 || (socket != WARDEN_SOCKET && dup2(socket, WARDEN_SOCKET) < 0) ||
	    syscall(SYS_close_range, WARDEN_SOCKET + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return adv_failure_set(failure, errno, "Linux 5.11 or later is needed",
				       "could not arrange the warden's descriptors");
	char *const argv[] = {"adverb-warden", (char *)config_file, NULL};
	char *const envp[] = {NULL};
	fexecve(high, argv, envp);
	return adv_failure_set(failure, errno, HINT_MEMFD,
			       "could not execute the warden's program");
}

static void __attribute__((noreturn)) child(int socket, const char *config_file)
{
	struct adv_failure failure;
	struct adv_warden_event event = {.type = ADV_EVENT_FAILED, .id = UINT32_MAX};
	become_warden(socket, config_file, &failure);
	event.error = failure.error;
	memcpy(event.text, failure.text, sizeof(event.text));
	/* Still open, wherever it has been copied to. */
	ssize_t ignored = send(socket, &event, sizeof(event), MSG_NOSIGNAL);
	(void)ignored;
	_exit(1);
}

/* ---- in the node ---- */

static int wait_hello(int socket, struct adv_warden_facts *facts, struct adv_failure *failure)
{
	struct adv_warden_event event;
	struct pollfd poll_fd = {.fd = socket, .events = POLLIN};
	uint64_t end_ns = adv_clock_monotonic_ns() + HELLO_MS * ADV_MS;
	int ready = 0;
	while (ready <= 0) {
		uint64_t now_ns = adv_clock_monotonic_ns();
		if (now_ns >= end_ns)
			return adv_failure_set(failure, ETIMEDOUT, NULL,
					       "the warden did not start within 10 s");
		ready = poll(&poll_fd, 1, (int)((end_ns - now_ns) / ADV_MS) + 1);
		if (ready < 0 && errno != EINTR)
			return adv_failure_set(failure, errno, NULL,
					       "could not wait for the warden");
	}
	ssize_t n = recv(socket, &event, sizeof(event), 0);
	if (n != sizeof(event))
		return adv_failure_set(failure, n < 0 ? errno : EPIPE, NULL,
				       "the warden ended before it had started");
	event.text[sizeof(event.text) - 1] = '\0';
	if (event.type != ADV_EVENT_HELLO) {
		memcpy(failure->text, event.text, sizeof(failure->text));
		failure->error = event.error != 0 ? event.error : EPROTO;
		return -failure->error;
	}
	if (event.facts.proto != ADV_WARDEN_PROTO)
		return adv_failure_set(failure, EPROTO, NULL, "the warden is of another version");
	*facts = event.facts;
	return 0;
}

/* The name service may load libraries, which the warden must not. */
static void choose_node_user(struct adv_warden_facts *facts)
{
	const struct passwd *user = facts->root ? getpwnam(NODE_USER) : NULL;
	if (user != NULL && user->pw_uid != 0) {
		facts->node_uid = user->pw_uid;
		facts->node_gid = user->pw_gid;
	}
}

static void end_process(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static int start(const char *config_file, struct adv_warden *warden, struct adv_failure *failure)
{
	int pair[2];
	if (config_file != NULL && config_file[0] != '/')
		return adv_failure_set(failure, EINVAL, "give an absolute path",
				       "the configuration %s", config_file);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return adv_failure_set(failure, errno, NULL, "could not make the warden's socket");
	ADV_CLEANUP_FD int ours = pair[0];
	ADV_CLEANUP_FD int theirs = pair[1];
	pid_t pid = fork();
	if (pid < 0)
		return adv_failure_set(failure, errno, NULL, "could not fork the warden");
	if (pid == 0)
		child(theirs, config_file);
	adv_fd_close(&theirs);
	ADV_CLEANUP_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int rc = pidfd < 0 ? adv_failure_set(failure, errno, "Linux 5.9 or later is needed",
					     "could not watch the warden")
			   : wait_hello(ours, &warden->facts, failure);
	if (rc < 0) {
		end_process(pid);
		return rc;
	}
	choose_node_user(&warden->facts);
	warden->pid = pid;
	warden->pidfd = adv_fd_steal(&pidfd);
	warden->socket = adv_fd_steal(&ours);
	return 0;
}

int adv_warden_start(const struct adv_warden_options *options, struct adv_warden *warden,
		     char *reason, size_t reason_size)
{
	struct adv_failure failure;
	int rc = start(options->config_file, warden, &failure);
	if (rc < 0)
		snprintf(reason, reason_size, "%s", failure.text);
	return rc;
}

void adv_warden_stop(struct adv_warden *warden)
{
	struct pollfd ended = {.fd = warden->pidfd, .events = POLLIN};
	uint64_t end_ns = adv_clock_monotonic_ns() + STOP_MS * ADV_MS;
	adv_fd_close(&warden->socket);
	for (;;) {
		uint64_t now_ns = adv_clock_monotonic_ns();
		int left_ms = now_ns < end_ns ? (int)((end_ns - now_ns) / ADV_MS) : 0;
		int n = poll(&ended, 1, left_ms);
		if (n > 0 || (n < 0 && errno != EINTR) || left_ms == 0)
			break;
	}
	end_process(warden->pid); /* a zombie by now, or late: its sandboxes die with it */
	adv_fd_close(&warden->pidfd);
}

/* ---- the node's privileges ---- */

static int change_identity(const struct adv_warden_facts *facts)
{
	/* Root has the capability to empty the bounding set, and keeps it until its uid goes. */
	int rc = adv_caps_empty_bounding_set();
	if (rc < 0)
		return rc;
	if (setgroups(0, NULL) < 0 ||
	    setresgid(facts->node_gid, facts->node_gid, facts->node_gid) < 0 ||
	    setresuid(facts->node_uid, facts->node_uid, facts->node_uid) < 0)
		return -errno;
	return 0;
}

/*
 * As root the node goes on under a uid that nothing else may share; even so it is made undumpable, so that no process of that
 * uid can read its memory or descriptors. It still opens its own /proc/self/fd. An ordinary user's node stays that user's.
 */
int adv_privileges_drop(const struct adv_warden_facts *facts)
{
	int rc = facts->root ? change_identity(facts) : 0;
	if (rc == 0)
		rc = adv_caps_drop();
	if (rc < 0)
		return rc;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (facts->root && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return 0;
}
