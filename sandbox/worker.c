/*
 * worker.c - the life of a sandbox: confine, wait for orders, load a module, serve its lane for ever.
 * The sandbox's only thread. While serving hot it makes no system call, allocates nothing and takes no lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/module.h"
#include "sandbox/plan.h"
#include "sandbox/serve.h"
#include "util/signals.h"

#define FAULT_STACK_BYTES (16 * 1024)

/* Storage that is too large for the stack; pages that are never touched cost nothing. */
static struct adv_loaded module;
static bool loaded;
static uint8_t fault_stack[FAULT_STACK_BYTES] __attribute__((aligned(64)));

/* ---- reports ---- */

/* Text that a module chose: the node refuses a report with control characters in it. */
static void copy_text(char *to, size_t size, const char *from)
{
	size_t i = 0;
	for (; i + 1 < size && from[i] != '\0'; i++)
		to[i] = (unsigned char)from[i] < ' ' || from[i] == 0x7f ? ' ' : from[i];
	to[i] = '\0';
}

/* Waits while the node is busy. When the node has gone away the warden ends this process. */
static void report(const struct adv_sandbox_report *r)
{
	struct iovec iov = {.iov_base = (void *)r, .iov_len = sizeof(*r)};
	const struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;
	do
		n = sendmsg(ADV_SANDBOX_FD_SOCKET, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	/* Nobody would know of it and it would wait for ever: its death is heard. */
	if (n < 0)
		_exit(ADV_EXIT_CONFINEMENT);
}

static void __attribute__((noreturn))
fail(enum adv_status status, const struct adv_failure *failure, int exit_status)
{
	struct adv_sandbox_report r = {
		.type = ADV_REPORT_FAILED, .status = status, .error = failure->error};
	copy_text(r.text, sizeof(r.text), failure->text);
	report(&r);
	_exit(exit_status);
}

static void report_functions(void)
{
	for (uint32_t i = 0; i < module.nr_functions; i++) {
		struct adv_sandbox_report r = {
			.type = ADV_REPORT_FUNCTION,
			.nr_functions = module.nr_functions,
			.described = module.described,
		};
		copy_text(r.name, sizeof(r.name), module.functions[i].name);
		if (module.described)
			copy_text(r.text, ADV_DESCRIPTION_MAX, module.functions[i].description);
		report(&r);
	}
}

/* ---- faults ---- */

/*
 * Pid 1 of a namespace does not die of a signal that it sends itself, and a fault tells nothing of its cause. Both are
 * named by the exit status; a true fault repeats with the default action and ends with its own signal.
 * Runs on its own stack: the other one may be what is full. errno is still that of the function's last failure.
 */
static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (errno == ENOMEM) {
		adv_serve_note_memory();
		_exit(ADV_EXIT_OUT_OF_MEMORY);
	}
	if (number == SIGABRT)
		_exit(ADV_EXIT_ABORTED);
	if (info->si_code <= 0)
		_exit(128 + number);
	const struct sigaction deadly = {.sa_handler = SIG_DFL};
	sigaction(number, &deadly, NULL);
}

static void catch_faults(void)
{
	const stack_t stack = {.ss_sp = fault_stack, .ss_size = sizeof(fault_stack)};
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigaltstack(&stack, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGABRT, &action, NULL);
}

/*
 * A copy of the warden has the warden's stack canary, and so have all sandboxes: this one gets its own. Only in functions
 * that never return, since their callers have stored the old one.
 */
static inline __attribute__((always_inline)) void renew_canary(void)
{
#if defined(__x86_64__)
	uint64_t canary;
	if (getrandom(&canary, sizeof(canary), GRND_NONBLOCK) != sizeof(canary))
		return;
	canary &= ~UINT64_C(0xff); /* a string function stops there */
	__asm__ volatile("movq %0, %%fs:0x28" : : "r"(canary));
	/* What the warden's was made of: the kernel had put it on the stack. */
	uint8_t *seed = (uint8_t *)getauxval(AT_RANDOM);
	if (seed != NULL)
		memset(seed, 0, 16);
#endif
}

/* ---- orders ---- */

struct received {
	struct adv_sandbox_order order;
	int fds[ADV_ORDER_FDS_MAX];
	unsigned nr_fds;
};

static void bad_order(int error)
{
	struct adv_failure failure;
	adv_failure_set(&failure, error, NULL,
			"the sandbox was given an order that it cannot read");
	fail(ADV_SYSTEM, &failure, ADV_EXIT_LANE);
}

static void receive(struct received *r)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * ADV_ORDER_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = &r->order, .iov_len = sizeof(r->order)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n;
	do
		n = recvmsg(ADV_SANDBOX_FD_SOCKET, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		_exit(0); /* warden and node have let go of it */
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	r->nr_fds = 0;
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		r->nr_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(r->fds, CMSG_DATA(c), r->nr_fds * sizeof(int));
	}
	if (n != sizeof(r->order) || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		bad_order(n < 0 ? errno : EPROTO);
	if (r->nr_fds == 0 || r->nr_fds != adv_order_fds(&r->order))
		bad_order(EPROTO);
}

/* The link count of a task directory is two and one for each thread. */
static uint32_t count_threads(void)
{
	struct stat st;
	if (fstat(ADV_SANDBOX_FD_SELF_TASK, &st) < 0 || st.st_nlink <= 2)
		return 1;
	return (uint32_t)st.st_nlink - 2;
}

static uint64_t cpu_used_ns(void)
{
	struct timespec t = {0};
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * ADV_SEC + (uint64_t)t.tv_nsec;
}

/* Loads, reports, and leaves procfs: from then on there is only the root. */
static void load(const struct adv_sandbox_order *order, int fd)
{
	struct adv_failure failure;
	if (loaded || fchdir(ADV_SANDBOX_FD_SELF_FD) < 0)
		bad_order(loaded ? EPROTO : errno);
	errno = 0; /* a fault in a constructor is named by what failed in it */
	if (adv_module_load(&module, fd, &failure) < 0)
		fail(ADV_BAD_MODULE, &failure, ADV_EXIT_CONFINEMENT);
	if (order->nr_functions != 0 && order->nr_functions != module.nr_functions) {
		adv_failure_set(&failure, 0, "deploy it again",
				"the module has %u functions, and had %u when it was deployed",
				module.nr_functions, order->nr_functions);
		fail(ADV_BAD_MODULE, &failure, ADV_EXIT_CONFINEMENT);
	}
	loaded = true;
	catch_faults(); /* a constructor may have changed them */
	/* A pipe would be buffered until the end that a worker has not. */
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	struct adv_sandbox_report r = {
		.type = ADV_REPORT_LOADED,
		.nr_functions = module.nr_functions,
		.threads = count_threads(),
		.needs = module.needs,
		.cpu_ns = cpu_used_ns(),
	};
	copy_text(r.name, sizeof(r.name), module.needs_why);
	if (chdir("/") < 0)
		bad_order(errno);
	close(ADV_SANDBOX_FD_SELF_FD);
	close(ADV_SANDBOX_FD_SELF_TASK);
	close(fd);
	if (order->type == ADV_ORDER_INSPECT)
		report_functions();
	report(&r);
}

static void __attribute__((noreturn))
serve(const struct adv_sandbox_order *order, const int *fds, const struct adv_plan *plan)
{
	struct adv_failure failure;
	if (!loaded)
		bad_order(EPROTO);
	if (adv_serve_prepare(order, fds, &plan->ticks, &module, &failure) < 0)
		fail(ADV_SYSTEM, &failure, ADV_EXIT_LANE);
	/* Its node has a process that serves: the socket goes, and with it all but log, eventfd and an empty stdin. */
	if (dup3(fds[ADV_LANE_FILES], ADV_SANDBOX_FD_SOCKET, O_CLOEXEC) < 0 ||
	    syscall(SYS_close_range, ADV_SANDBOX_FD_SOCKET + 1, ~0U, 0) < 0)
		_exit(ADV_EXIT_LANE);
	adv_serve(ADV_SANDBOX_FD_SOCKET);
}

static void obey(const struct received *r, const struct adv_plan *plan)
{
	unsigned first = 0;
	if (r->order.type != ADV_ORDER_SERVE)
		load(&r->order, r->fds[first++]);
	if (r->order.type == ADV_ORDER_SERVE || r->order.type == ADV_ORDER_LOAD_AND_SERVE)
		serve(&r->order, r->fds + first, plan);
}

void adv_sandbox_run(const struct adv_cell *cell)
{
	struct adv_failure failure;
	renew_canary();
	adv_signals_reset(); /* the warden's handlers, ignored signals, mask */
	if (adv_confine(cell, &failure) < 0)
		fail(ADV_SYSTEM, &failure, ADV_EXIT_CONFINEMENT);
	catch_faults();
	const struct adv_sandbox_report confined = {.type = ADV_REPORT_CONFINED};
	report(&confined);
	adv_serve_rehearse();
	for (;;) {
		struct received r;
		receive(&r);
		obey(&r, cell->plan);
	}
}
