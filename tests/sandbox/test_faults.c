/*
 * test_faults.c - the n-th system call of building a sandbox fails, for every n: the warden's, then the new process's own.
 * A tracer in a process of its own makes them fail; what comes of it is either confined like any other, or is not used.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "util/clock.h"
#include "util/fd.h"

#define CALLS_MAX  600 /* more than a build makes */
#define AFTER	   80  /* as many in a row that change nothing: the build was over before */
#define OUTCOME_MS 3000
#define NO_CAPS	   "0000000000000000"

enum whose {
	WARDENS,
	SANDBOXES
};

#if defined(__x86_64__)

/* ---- the tracer ---- */

struct fault {
	enum whose whose;
	unsigned n;
	int error;
	pid_t warden;
	unsigned counts[2];
	pid_t pending; /* its call was skipped, and is to return the error */
};

static void at_entry(struct fault *f, pid_t pid, uint64_t number)
{
	enum whose whose = pid == f->warden ? WARDENS : SANDBOXES;
	/* Linux closes even where close() fails: to skip it would be a fault that there is not. */
	if (number == SYS_close || ++f->counts[whose] != f->n || whose != f->whose)
		return;
	ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1L);
	f->pending = pid;
}

static void at_exit(struct fault *f, pid_t pid)
{
	if (f->pending != pid)
		return;
	ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), (long)-f->error);
	f->pending = 0;
}

static void at_system_call(struct fault *f, pid_t pid)
{
	struct __ptrace_syscall_info info;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) <= 0)
		return;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		at_entry(f, pid, info.entry.nr);
	else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
		at_exit(f, pid);
}

/* Until it is killed: what it traces then goes on by itself. */
static void __attribute__((noreturn)) trace(struct fault *f, int ready)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE |
			     PTRACE_O_TRACEVFORK;
	int status;
	if (ptrace(PTRACE_SEIZE, f->warden, 0, options) < 0 ||
	    ptrace(PTRACE_INTERRUPT, f->warden, 0, 0) < 0 ||
	    waitpid(f->warden, &status, __WALL) != f->warden ||
	    ptrace(PTRACE_SYSCALL, f->warden, 0, 0) < 0)
		_exit(1);
	if (write(ready, "x", 1) != 1)
		_exit(1);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		int deliver = 0;
		if (pid < 0)
			_exit(0);
		if (!WIFSTOPPED(status))
			continue;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			at_system_call(f, pid);
		else if (status >> 16 == 0)
			deliver = WSTOPSIG(status);
		ptrace(PTRACE_SYSCALL, pid, 0, deliver);
	}
}

/* 0: nobody traces. */
static pid_t start_tracer(pid_t warden, enum whose whose, unsigned n, int error)
{
	int ready[2];
	char byte;
	if (pipe(ready) < 0)
		return 0;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		struct fault f = {.whose = whose, .n = n, .error = error, .warden = warden};
		close(ready[0]);
		trace(&f, ready[1]);
	}
	close(ready[1]);
	bool traces = read(ready[0], &byte, 1) == 1;
	close(ready[0]);
	if (!traces) {
		waitpid(pid, NULL, 0);
		return 0;
	}
	return pid;
}

/* ---- what comes of it ---- */

enum outcome {
	NOTHING,
	CONFINED,
	REFUSED,
	WARDEN_GONE
};

static enum outcome outcome_of_report(int report)
{
	struct adv_sandbox_report r;
	struct pollfd p = {.fd = report, .events = POLLIN};
	if (poll(&p, 1, OUTCOME_MS) <= 0)
		return NOTHING;
	ssize_t n = recv(report, &r, sizeof(r), MSG_DONTWAIT);
	if (n != (ssize_t)sizeof(r))
		return REFUSED; /* its end is closed: it has died, or is about to */
	return r.type == ADV_REPORT_CONFINED ? CONFINED : REFUSED;
}

static enum outcome build_one(struct adv_warden *warden, struct box *b)
{
	const struct adv_warden_request request = {
		.type = ADV_WARDEN_BUILD, .id = b->id, .cpu = -1};
	struct adv_warden_event event;
	int fds[2] = {-1, -1};
	struct pollfd p = {.fd = warden->socket, .events = POLLIN};
	if (send(warden->socket, &request, sizeof(request), MSG_NOSIGNAL) < 0)
		return WARDEN_GONE;
	if (poll(&p, 1, OUTCOME_MS) <= 0)
		return NOTHING;
	if (!warden_event(warden, &event, fds))
		return WARDEN_GONE;
	if (event.type != ADV_EVENT_BUILT)
		return REFUSED;
	b->pid = event.pid;
	b->report = fds[0];
	b->log = fds[1];
	return outcome_of_report(b->report);
}

/* One that says that it is confined is. Its filter may have killed it since, for what it did when its next call failed: Linux calls that mode 3. */
static bool has_walls(const struct box *b)
{
	char status[8192];
	if (!proc_read(b->pid, "status", status, sizeof(status)))
		return false;
	return strcmp(proc_field(status, "CapEff"), NO_CAPS) == 0 &&
	       strcmp(proc_field(status, "CapBnd"), NO_CAPS) == 0 &&
	       strcmp(proc_field(status, "NoNewPrivs"), "1") == 0 &&
	       (strcmp(proc_field(status, "Seccomp"), "2") == 0 ||
		strcmp(proc_field(status, "Seccomp"), "3") == 0) &&
	       strtoul(proc_field(status, "Uid"), NULL, 10) >= ADV_UID_BASE;
}

/* Processes of the sandboxes' uids. Pid 1 dies with the warden; the kernel takes a moment. */
static bool nothing_runs(pid_t pid)
{
	for (int i = 0; i < 3000; i++) {
		char status[8192];
		if (pid == 0 || !proc_read(pid, "status", status, sizeof(status)) ||
		    proc_field(status, "State")[0] == 'Z')
			return true;
		usleep(1000);
	}
	return false;
}

struct tally {
	unsigned confined, refused, wardens, silent, unconfined, left, leaked;
};

/* The warden is none the worse for it: unless it was told that its node is gone. */
static void go_on(struct adv_warden *warden, struct box *b, unsigned n, unsigned descriptors,
		  struct tally *t)
{
	struct box after;
	if (b->pid != 0)
		box_kill(b);
	if (box_build(warden, 1, ADV_PROFILE_STRICT, &after)) {
		box_release(&after);
		unsigned now = warden_descriptors(warden);
		if (now > descriptors)
			printf("# call %u: the warden has %u descriptors, and had %u\n", n, now,
			       descriptors);
		t->leaked += now > descriptors;
		return;
	}
	struct pollfd p = {.fd = warden->pidfd, .events = POLLIN};
	bool ended = poll(&p, 1, OUTCOME_MS) > 0;
	t->wardens += ended;
	t->silent += !ended;
	if (!ended)
		printf("# call %u: no sandbox after it: %s\n", n, after.reason);
}

/* False: the call was not reached, all of the build's calls have been made to fail. */
static bool inject(enum whose whose, unsigned n, int error, struct tally *t)
{
	struct adv_warden warden = start_warden(NULL);
	struct box b = {.warden = &warden, .id = 0, .report = -1, .log = -1};
	unsigned descriptors = warden_descriptors(&warden);
	pid_t tracer = start_tracer(warden.pid, whose, n, error);
	if (tracer == 0) {
		adv_warden_stop(&warden);
		t->silent++;
		return false;
	}
	enum outcome outcome = build_one(&warden, &b);
	if (outcome == CONFINED && !has_walls(&b)) {
		printf("# call %u: confined, and lacks a wall\n", n);
		t->unconfined++;
	}
	t->confined += outcome == CONFINED;
	t->refused += outcome == REFUSED;
	t->wardens += outcome == WARDEN_GONE;
	t->silent += outcome == NOTHING;
	if (outcome == NOTHING)
		printf("# call %u: no answer\n", n);
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	if (outcome == WARDEN_GONE) {
		t->left += !nothing_runs(b.pid);
	} else if (outcome != NOTHING) {
		go_on(&warden, &b, n, descriptors, t);
	}
	adv_fd_close(&b.report);
	adv_fd_close(&b.log);
	adv_warden_stop(&warden);
	t->left += !nothing_runs(b.pid);
	return true;
}

/* Until the calls that fail are those that come after the build: a run of them that changes nothing. */
static void inject_all(enum whose whose, int error)
{
	struct tally t = {0};
	unsigned n = 1, unchanged = 0, before;
	for (; n <= CALLS_MAX && unchanged < AFTER; n++) {
		before = t.confined;
		if (!inject(whose, n, error, &t))
			break;
		unchanged = t.confined > before ? unchanged + 1 : 0;
	}
	const char *name = whose == WARDENS ? "the warden's" : "the new process's";
	printf("# %s calls 1 to %u, %s: %u confined all the same, %u not used, %u ended the "
	       "warden\n",
	       name, n - 1, strerror(error), t.confined, t.refused, t.wardens);
	check(unchanged == AFTER, "each of %s calls was made to fail with %s", name,
	      strerror(error));
	check(t.refused + t.wardens > 10, "many of them are needed");
	check(t.unconfined == 0, "none that says it is confined lacks a wall: %u", t.unconfined);
	check(t.silent == 0, "each is answered, and the warden goes on: %u", t.silent);
	check(t.left == 0, "no process is left: %u", t.left);
	check(t.leaked == 0, "and no descriptor of the warden's: %u", t.leaked);
}

void test_faults(void)
{
	inject_all(WARDENS, EPERM);
	inject_all(WARDENS, ENOMEM);
	inject_all(SANDBOXES, EPERM);
}

#else

void test_faults(void)
{
	skip("ptrace", "system calls are made to fail on x86-64 alone", "faults");
}

#endif
