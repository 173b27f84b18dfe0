/* test_calls.c - modules in sandboxes: what works, what ends how, what the filter lets through and what not. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cases.h"
#include "util/fd.h"

/* A fresh sandbox that serves the module; false when it could not be made, which is reported. */
static bool serve(struct adv_warden *warden, const char *module, struct box *b,
		  struct lane_memory *l)
{
	if (module_fd(module) < 0) {
		skip("modules", "it was not built", "module %s", module);
		return false;
	}
	lane_create(l, 2, 65536, 65536);
	if (box_build(warden, 7, ADV_PROFILE_STRICT, b) && box_serve(b, module, l))
		return true;
	check(false, "a sandbox serves %s: %s", module, b->reason);
	box_release(b);
	lane_destroy(l);
	return false;
}

static void done(struct box *b, struct lane_memory *l)
{
	box_release(b);
	lane_destroy(l);
}

static struct adv_result call_name(struct box *b, struct lane_memory *l, const char *module,
				   const char *function, const void *in, uint32_t length)
{
	int number = function_number(b->warden, module, function);
	if (number < 0)
		return (struct adv_result){.status = ADV_NO_FUNCTION};
	return call(b, l, (uint16_t)number, in, length);
}

/* ---- what works ---- */

static void test_echo(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	uint8_t large[50000];
	if (!serve(warden, "echo", &b, &l))
		return;
	struct adv_result r = call_name(&b, &l, "echo", "echo", "hello", 5);
	check(r.status == ADV_OK && r.length == 5 && memcmp(r.payload, "hello", 5) == 0,
	      "echo answers: %s", adv_status_text(r.status));
	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (uint8_t)(i * 7);
	r = call_name(&b, &l, "echo", "echo", large, sizeof(large));
	check(r.status == ADV_OK && r.length == sizeof(large) &&
		      memcmp(adv_caller_out(&l.caller, 0), large, sizeof(large)) == 0,
	      "and 50,000 bytes in place");
	r = call_name(&b, &l, "echo", "reverse", "abc", 3);
	check(r.status == ADV_OK && memcmp(r.payload, "cba", 3) == 0, "the second function runs");
	call_name(&b, &l, "echo", "count", NULL, 0);
	r = call_name(&b, &l, "echo", "count", NULL, 0);
	check(r.status == ADV_OK && r.payload[0] == 2, "globals live as long as the worker");
	r = call(&b, &l, 99, NULL, 0);
	check(r.status == ADV_NO_FUNCTION, "a function number beyond the last: %s",
	      adv_status_text(r.status));
	done(&b, &l);
}

static void test_described(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	char log[256];
	uint64_t seen[3];
	if (!serve(warden, "described", &b, &l))
		return;
	struct adv_result r = call_name(&b, &l, "described", "echo", "x", 1);
	check(r.status == ADV_OK && r.length == 1 && r.payload[0] == 'x', "a described function");
	r = call_name(&b, &l, "described", "refuse", "12345", 5);
	check(r.status == ADV_FUNCTION_FAILED && r.length == 21 &&
		      memcmp(r.payload, "does not like 5 bytes", 21) == 0,
	      "adv_fail() arrives with its text: %u bytes, %s", r.length,
	      adv_status_text(r.status));
	call_name(&b, &l, "described", "speak", "you", 3);
	box_log(&b, log, sizeof(log));
	check(strcmp(log, "heard you\nsaid so\n") == 0, "log and standard output arrive, in order");
	r = call_name(&b, &l, "described", "context", NULL, 0);
	memcpy(seen, r.payload, sizeof(seen));
	check(r.status == ADV_OK && seen[0] == 65536 && seen[1] == r.call_id && seen[2] != 0,
	      "it sees capacity, call id and deadline");
	done(&b, &l);
}

void test_calls(struct adv_warden *warden)
{
	test_echo(warden);
	test_described(warden);
}

/* ---- what honest code does ---- */

static void test_function_ok(struct adv_warden *warden, const char *module, const char *function,
			     const char *expected)
{
	struct box b;
	struct lane_memory l;
	if (!serve(warden, module, &b, &l))
		return;
	struct adv_result r = call_name(&b, &l, module, function, NULL, 0);
	check(r.status == ADV_OK && r.length > 0 &&
		      (expected == NULL || (r.length == strlen(expected) &&
					    memcmp(r.payload, expected, r.length) == 0)),
	      "%s/%s: %s, %u bytes %.*s", module, function, adv_status_text(r.status), r.length,
	      expected != NULL ? (int)(r.length < 32 ? r.length : 32) : 0, r.payload);
	done(&b, &l);
}

void test_ordinary(struct adv_warden *warden)
{
	static const char *const functions[] = {"sorts",      "prints",	   "speaks_locale",
						"tells_time", "allocates", "jumps",
						"computes",   "asks"};
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		test_function_ok(warden, "ordinary", functions[i], NULL);
	test_function_ok(warden, "exceptions", "catches", "caught");
	test_function_ok(warden, "exceptions", "streams", "e=2.71 pi=3.14 ");
	test_function_ok(warden, "exceptions", "catches_bad_alloc", "enough");
	test_function_ok(warden, "exceptions", "no_thread", "no thread");
	test_function_ok(warden, "acts", "eats_politely", NULL);
}

/* ---- what ends badly ---- */

struct ending {
	const char *module, *function;
	uint32_t status, detail;
};

static const struct ending endings[] = {
	{"acts", "segv", ADV_CRASHED, SIGSEGV},
	{"acts", "bad_jump", ADV_CRASHED, SIGSEGV},
	{"acts", "illegal", ADV_CRASHED, SIGILL},
	{"acts", "divide", ADV_CRASHED, SIGFPE},
	{"acts", "aborts", ADV_CRASHED, SIGABRT},
	{"acts", "overflows", ADV_CRASHED, SIGSEGV},
	{"acts", "raises", ADV_EXITED, 128 + SIGSEGV},
	{"acts", "leaves", ADV_EXITED, 3},
	{"acts", "eats", ADV_OUT_OF_MEMORY, ADV_EXIT_OUT_OF_MEMORY},
	{"acts", "forks", ADV_DENIED, SIGSYS},
	{"acts", "runs_shell", ADV_DENIED, SIGSYS},
	{"acts", "writes_file", ADV_DENIED, SIGSYS},
	{"exceptions", "throws", ADV_CRASHED, SIGABRT},
	{"exceptions", "bad_alloc_escapes", ADV_OUT_OF_MEMORY, ADV_EXIT_OUT_OF_MEMORY},
};

static void test_ending(struct adv_warden *warden, const struct ending *e)
{
	struct box b;
	struct lane_memory l;
	if (!serve(warden, e->module, &b, &l))
		return;
	struct adv_result r = call_name(&b, &l, e->module, e->function, NULL, 0);
	check(r.status == e->status && r.detail == e->detail, "%s/%s ends as %s %u: %s %u",
	      e->module, e->function, adv_status_name(e->status), e->detail,
	      adv_status_name(r.status), r.detail);
	done(&b, &l);
}

static void test_sizes(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	const uint32_t capacity = 65536;
	if (!serve(warden, "acts", &b, &l))
		return;
	struct adv_result r = call_name(&b, &l, "acts", "says_too_much", NULL, 0);
	check(r.status == ADV_BAD_SIZE && r.length == 0, "a size beyond the capacity: %s",
	      adv_status_name(r.status));
	r = call_name(&b, &l, "acts", "writes_past", &(uint32_t){capacity - 1}, 4);
	check(r.status == ADV_OK, "the last byte of the output can be written");
	r = call_name(&b, &l, "acts", "writes_past", &capacity, 4);
	check(r.status == ADV_CRASHED && (r.detail == SIGSEGV || r.detail == SIGBUS),
	      "the byte behind it is a fault: %s", adv_status_name(r.status));
	done(&b, &l);
}

/* The caller's call ends when the node kills the worker; the node then calls it a timeout. */
static void test_killed(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	uint32_t detail;
	if (!serve(warden, "acts", &b, &l))
		return;
	int number = function_number(warden, "acts", "loops");
	adv_caller_submit(&l.caller, 0, (uint16_t)number, NULL, 0, 1, 0, 0, UINT64_MAX);
	box_kill(&b);
	check(b.death.killed == 1 && adv_death_status(&b.death, &detail) == ADV_WORKER_LOST,
	      "one that the node killed");
	check(b.death.cpu_ns > 0 && b.death.max_rss_bytes > 0,
	      "its use is told: %llu ns, %llu bytes", (unsigned long long)b.death.cpu_ns,
	      (unsigned long long)b.death.max_rss_bytes);
	done(&b, &l);
}

static void test_flood(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	char log[4096];
	if (!serve(warden, "acts", &b, &l))
		return;
	struct adv_result r = call_name(&b, &l, "acts", "shouts", NULL, 0);
	check(r.status == ADV_OK && r.length == 0, "a flooded log does not hold the function: %s",
	      adv_status_name(r.status));
	check(box_log(&b, log, sizeof(log)) > 0, "and what fits is there");
	done(&b, &l);
}

void test_deaths(struct adv_warden *warden)
{
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		test_ending(warden, &endings[i]);
	test_sizes(warden);
	test_killed(warden);
	test_flood(warden);
}

/* ---- the filter, call by call ---- */

struct attempt {
	const char *name;
	long number, args[6];
	long result; /* DEADLY or what it returns */
};

#define DEADLY (-1000L)
#define ANON   (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW     (PROT_READ | PROT_WRITE)

static const struct attempt attempts[] = {
	{"socket", SYS_socket, {2, 1}, DEADLY},
	{"socketpair", SYS_socketpair, {1, 1}, DEADLY},
	{"connect", SYS_connect, {3}, DEADLY},
	{"io_uring_setup", SYS_io_uring_setup, {4}, DEADLY},
	{"io_setup", SYS_io_setup, {4}, DEADLY},
	{"execve", SYS_execve, {0}, DEADLY},
	{"execveat", SYS_execveat, {0}, DEADLY},
	{"clone of a process", SYS_clone, {SIGCHLD}, DEADLY},
	{"clone of a namespace", SYS_clone, {0x10000000 | SIGCHLD}, DEADLY},
	{"clone of a thread", SYS_clone, {0x00010f00}, -EAGAIN},
	{"clone3", SYS_clone3, {0}, -ENOSYS},
	{"ptrace", SYS_ptrace, {0}, DEADLY},
	{"process_vm_readv", SYS_process_vm_readv, {1}, DEADLY},
	{"process_vm_writev", SYS_process_vm_writev, {1}, DEADLY},
	{"pidfd_open", SYS_pidfd_open, {1}, DEADLY},
	{"pidfd_getfd", SYS_pidfd_getfd, {0}, DEADLY},
	{"kcmp", SYS_kcmp, {1, 1}, DEADLY},
	{"bpf", SYS_bpf, {0}, DEADLY},
	{"userfaultfd", SYS_userfaultfd, {1}, DEADLY},
	{"perf_event_open", SYS_perf_event_open, {0}, DEADLY},
	{"keyctl", SYS_keyctl, {0}, DEADLY},
	{"add_key", SYS_add_key, {0}, DEADLY},
	{"request_key", SYS_request_key, {0}, DEADLY},
	{"mount", SYS_mount, {0}, DEADLY},
	{"umount2", SYS_umount2, {0}, DEADLY},
	{"pivot_root", SYS_pivot_root, {0}, DEADLY},
	{"chroot", SYS_chroot, {0}, DEADLY},
	{"fsopen", SYS_fsopen, {0}, DEADLY},
	{"open_tree", SYS_open_tree, {0}, DEADLY},
	{"move_mount", SYS_move_mount, {0}, DEADLY},
	{"mount_setattr", SYS_mount_setattr, {0}, DEADLY},
	{"unshare", SYS_unshare, {0x10000000}, DEADLY},
	{"setns", SYS_setns, {0}, DEADLY},
	{"seccomp", SYS_seccomp, {1}, DEADLY},
	{"landlock_create_ruleset", 444, {0, 0, 1}, DEADLY},
	{"prctl PDEATHSIG", SYS_prctl, {1, 0}, DEADLY},
	{"prctl DUMPABLE", SYS_prctl, {4, 1}, DEADLY},
	{"prctl VMA name", SYS_prctl, {0x53564d41, 0}, -EINVAL},
	{"setuid", SYS_setuid, {0}, DEADLY},
	{"setresuid", SYS_setresuid, {0}, DEADLY},
	{"setgroups", SYS_setgroups, {0}, DEADLY},
	{"capset", SYS_capset, {0}, DEADLY},
	{"sched_setaffinity", SYS_sched_setaffinity, {0}, DEADLY},
	{"sched_setscheduler", SYS_sched_setscheduler, {0}, DEADLY},
	{"setpriority", SYS_setpriority, {0, 0, 19}, DEADLY},
	{"setrlimit", SYS_setrlimit, {0}, DEADLY},
	{"prlimit64 with a new limit", SYS_prlimit64, {0, 2, 4096}, DEADLY},
	{"prlimit64 of another", SYS_prlimit64, {2, 2, 0}, DEADLY},
	{"prlimit64 to read", SYS_prlimit64, {0, 2, 0, 0}, 0},
	{"memfd_create", SYS_memfd_create, {0}, DEADLY},
	{"shmget", SYS_shmget, {0, 4096, 0600}, DEADLY},
	{"msgget", SYS_msgget, {0}, DEADLY},
	{"semget", SYS_semget, {0}, DEADLY},
	{"mq_open", SYS_mq_open, {0}, DEADLY},
	{"fallocate", SYS_fallocate, {3, 3}, DEADLY},
	{"ftruncate", SYS_ftruncate, {3}, DEADLY},
	{"madvise REMOVE", SYS_madvise, {0, 4096, 9}, DEADLY},
	{"madvise HWPOISON", SYS_madvise, {0, 4096, 100}, DEADLY},
	{"mlock", SYS_mlock, {0}, DEADLY},
	{"mlockall", SYS_mlockall, {0}, DEADLY},
	{"mbind", SYS_mbind, {0}, DEADLY},
	{"move_pages", SYS_move_pages, {0}, DEADLY},
	{"mincore", SYS_mincore, {0}, DEADLY},
	{"mmap writable and executable", SYS_mmap, {0, 4096, 7, ANON, -1}, DEADLY},
	{"mmap shared and anonymous", SYS_mmap, {0, 4096, RW, 0x21, -1}, DEADLY},
	{"mmap validated, shared and anonymous", SYS_mmap, {0, 4096, RW, 0x23, -1}, DEADLY},
	{"mmap growing down", SYS_mmap, {0, 4096, RW, ANON | MAP_GROWSDOWN, -1}, DEADLY},
	{"mmap locked", SYS_mmap, {0, 4096, RW, ANON | MAP_LOCKED, -1}, DEADLY},
	{"mmap of huge pages", SYS_mmap, {0, 4096, RW, ANON | MAP_HUGETLB, -1}, -ENOMEM},
	{"mprotect writable and executable", SYS_mprotect, {0, 4096, 7}, -EACCES},
	{"pkey_mprotect", SYS_pkey_mprotect, {0, 4096, 7}, DEADLY},
	{"openat to write", SYS_openat, {AT_FDCWD, 0, O_WRONLY}, DEADLY},
	{"openat to create", SYS_openat, {AT_FDCWD, 0, O_CREAT}, DEADLY},
	{"openat of nothing to read", SYS_openat, {AT_FDCWD, 0, O_RDONLY}, -EFAULT},
	{"openat2", SYS_openat2, {0}, DEADLY},
	{"open_by_handle_at", SYS_open_by_handle_at, {0}, DEADLY},
	{"unlinkat", SYS_unlinkat, {0}, DEADLY},
	{"mkdirat", SYS_mkdirat, {0}, DEADLY},
	{"mknodat", SYS_mknodat, {0}, DEADLY},
	{"fchmod", SYS_fchmod, {3, 0777}, DEADLY},
	{"flock", SYS_flock, {1, 2}, DEADLY},
	{"fcntl lease", SYS_fcntl, {1, 1024}, DEADLY},
	{"fcntl lock", SYS_fcntl, {1, F_SETLK}, DEADLY},
	{"fcntl flags", SYS_fcntl, {1, F_SETFL, 0}, DEADLY},
	{"fcntl pipe size", SYS_fcntl, {1, 1031, 1 << 20}, DEADLY},
	{"fcntl seals", SYS_fcntl, {3, 1033, 1}, DEADLY},
	{"inotify_init1", SYS_inotify_init1, {0}, DEADLY},
	{"epoll_create1", SYS_epoll_create1, {0}, DEADLY},
	{"eventfd2", SYS_eventfd2, {0}, DEADLY},
	{"pipe2", SYS_pipe2, {0}, DEADLY},
	{"splice", SYS_splice, {0}, DEADLY},
	{"timer_create", SYS_timer_create, {0}, DEADLY},
	{"setitimer", SYS_setitimer, {0}, DEADLY},
	{"kill of all", SYS_kill, {-1, SIGKILL}, DEADLY},
	{"kill of the group", SYS_kill, {0, SIGKILL}, DEADLY},
	{"kill of itself, harmlessly", SYS_kill, {1, 0}, 0},
	{"tgkill of another", SYS_tgkill, {2, 2, SIGKILL}, DEADLY},
	{"rt_sigqueueinfo", SYS_rt_sigqueueinfo, {1, 9}, DEADLY},
	{"reboot", SYS_reboot, {0}, DEADLY},
	{"init_module", SYS_init_module, {0}, DEADLY},
	{"kexec_load", SYS_kexec_load, {0}, DEADLY},
	{"settimeofday", SYS_settimeofday, {0}, DEADLY},
	{"sethostname", SYS_sethostname, {0}, DEADLY},
	{"syslog", SYS_syslog, {3}, DEADLY},
	{"a call that no kernel has", 100000, {0}, DEADLY},
#if defined(__x86_64__)
	{"a call of the x32 ABI", 0x40000000L | SYS_getpid, {0}, DEADLY},
	{"modify_ldt", SYS_modify_ldt, {0}, DEADLY},
	{"arch_prctl", SYS_arch_prctl, {0x1001}, DEADLY},
	{"fork", SYS_fork, {0}, DEADLY},
	{"vfork", SYS_vfork, {0}, DEADLY},
	{"open to write", SYS_open, {0, O_RDWR}, DEADLY},
	{"ioperm", SYS_ioperm, {0}, DEADLY},
	{"iopl", SYS_iopl, {3}, DEADLY},
#endif
	{"sysinfo", SYS_sysinfo, {0}, -EPERM},
	{"ioctl", SYS_ioctl, {1, 0x5401}, -ENOTTY},
	{"membarrier", SYS_membarrier, {0}, -ENOSYS},
	{"getpid", SYS_getpid, {0}, 1},
	{"getuid", SYS_getuid, {0}, 0},
	{"sched_yield", SYS_sched_yield, {0}, 0},
};

/* A sandbox is made anew only after one has been killed. */
void test_denied(struct adv_warden *warden)
{
	struct box b;
	struct lane_memory l;
	bool alive = false;
	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		const struct attempt *a = &attempts[i];
		long in[7] = {a->number}, result = 0;
		memcpy(in + 1, a->args, sizeof(a->args));
		if (!alive && !serve(warden, "acts", &b, &l))
			return;
		struct adv_result r = call_name(&b, &l, "acts", "calls", in, sizeof(in));
		memcpy(&result, r.payload, sizeof(result));
		alive = r.status == ADV_OK;
		if (a->result == DEADLY)
			check(r.status == ADV_DENIED, "%s is denied: %s", a->name,
			      adv_status_name(r.status));
		else
			check(r.status == ADV_OK && result == a->result, "%s answers %ld: %s, %ld",
			      a->name, a->result, adv_status_name(r.status), result);
		if (!alive)
			done(&b, &l);
	}
	if (alive)
		done(&b, &l);
}
