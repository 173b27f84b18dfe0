/*
 * filter_gen.c - compiles the sandbox's seccomp filter with libseccomp when Adverb is built; runs on the build machine.
 * It prints the finished BPF program as a C array. So neither the warden nor a sandbox links or needs libseccomp.
 *
 * One filter for the profiles strict and libc, one for threads. Three classes: allowed; probes that libraries make and live without, answered with an errno; all else kills, which a
 * caller sees as ADV_DENIED. Left out on purpose, so that they kill:
 *	socket and all of its family	no network, not even a Unix socket: descriptors come from the warden alone
 *	io_uring_*, aio_*		would make system calls behind the filter's back
 *	fork, vfork, clone (process)	one process a sandbox: nothing outlives a call or escapes the accounting; threads by profile alone
 *	execve, execveat		no other program, so no other filter and no set-uid question
 *	ptrace, process_vm_*, kcmp, pidfd_*	other processes' memory and descriptors
 *	bpf, userfaultfd, perf_event_open, keyctl, add_key, request_key	large kernel interfaces, a history of holes
 *	mount, umount2, pivot_root, fs*, open_tree, move_mount, chroot, setns, unshare	the walls themselves
 *	prctl but for names, seccomp, landlock_*, set*id, capset	confinement is over: it is not changed from inside
 *	sched_set*, setpriority, ioprio_set	the node pins the worker from outside
 *	setrlimit, prlimit64 with a new limit	the limits are the node's
 *	memfd_create, shm*, msg*, sem*, mq_*	memory that RLIMIT_DATA does not count, objects that outlive a process
 *	fallocate, ftruncate, truncate	hole punching in a lane would be a SIGBUS for its caller
 *	mlock, mlock2, mlockall, mbind, set_mempolicy, move_pages	memory belongs to the node
 *	fcntl locks, leases, seals, owners, flock, inotify, fanotify	channels to whoever shares a file
 *	timer_create, setitimer, alarm	signals in the worker's loop
 *	mincore, cachestat	the page cache of shared libraries as a side channel
 *	all that writes, makes, renames or removes files	there is nowhere to
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define NARROW_MAX 3

/* What libc, libm, libgcc_s, libstdc++, the dynamic loader and the worker's loop do. */
static const char *const allowed[] = {
	"futex",
	"sched_yield",
	"clock_gettime", /* the vDSO may fall back to it */
	"write",
	"read",
	"readv",
	"writev",
	"pread64",
	"lseek",
	"close",
	"close_range",
	"dup",
	"dup2",
	"dup3",
	"fstat",
	"newfstatat",
	"stat",
	"lstat",
	"statx",
	"access",
	"faccessat",
	"faccessat2",
	"readlink",
	"readlinkat",
	"getcwd",
	"chdir",
	"fchdir",
	"getdents64",
	"munmap",
	"mremap",
	"brk",
	"getrandom",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"rt_sigpending",
	"sigaltstack",
	"restart_syscall",
	"exit",
	"exit_group",
	"clock_getres",
	"clock_nanosleep",
	"nanosleep",
	"pause",
	"gettimeofday",
	"time",
	"times",
	"getrusage",
	"getpid",
	"getppid",
	"gettid",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getrlimit",
	"getcpu",
	"sched_getaffinity",
	"poll",
	"ppoll",
	"select",
	"pselect6",
	"recvmsg", /* orders; after serving has begun there is no socket left */
	"sendmsg",
};

/* Probes: asked by libraries, answered with an errno that they live with. */
static const struct {
	const char *name;
	int error;
} probes[] = {
	{"clone3", ENOSYS}, /* glibc then tries clone */
	{"sysinfo", EPERM}, /* qsort, sysconf */
	{"uname", EPERM},
	{"ioctl", ENOTTY}, /* isatty */
	{"membarrier", ENOSYS},
	{"fadvise64", ENOSYS},
	{"getpriority", EPERM},
	{"statfs", EACCES},
	{"fstatfs", EACCES},
	{"sched_getparam", EPERM},
	{"sched_getscheduler", EPERM},
};

/* Rules that look at arguments. Several rules for one call: any of them is enough. */
struct narrow {
	const char *name;
	uint32_t action;
	unsigned nr;
	struct scmp_arg_cmp args[NARROW_MAX];
};

#define MASKED(n, mask, value)                     \
	{                                          \
		n, SCMP_CMP_MASKED_EQ, mask, value \
	}
#define EQUAL(n, value)                  \
	{                                \
		n, SCMP_CMP_EQ, value, 0 \
	}
#define ALLOW	      SCMP_ACT_ALLOW
#define READ_ONLY     (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))
#define WRITE_OR_EXEC (PROT_WRITE | PROT_EXEC)
#define MAP_MASK      (MAP_TYPE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_HUGETLB | MAP_LOCKED)

/* A mapping is fine unless it is W+X, memory that RLIMIT_DATA does not count, or of a kind nobody needs. */
#define MAP_RULE(prot, flags)                                                      \
	{                                                                          \
		"mmap", ALLOW, 2,                                                  \
		{                                                                  \
			MASKED(2, WRITE_OR_EXEC, prot), MASKED(3, MAP_MASK, flags) \
		}                                                                  \
	}
#define ADVICE(advice)                   \
	{                                \
		"madvise", ALLOW, 1,     \
		{                        \
			EQUAL(2, advice) \
		}                        \
	}
#define COMMAND(command)                  \
	{                                 \
		"fcntl", ALLOW, 1,        \
		{                         \
			EQUAL(1, command) \
		}                         \
	}

static const struct narrow narrows[] = {
	/* The loader and fopen("r"). The root is empty or read-only. */
	{"openat", ALLOW, 1, {MASKED(2, READ_ONLY, O_RDONLY)}},
	{"open", ALLOW, 1, {MASKED(1, READ_ONLY, O_RDONLY)}},

	/* Of a file, shared or private; anonymous and private. */
	MAP_RULE(0, MAP_SHARED),
	MAP_RULE(PROT_WRITE, MAP_SHARED),
	MAP_RULE(PROT_EXEC, MAP_SHARED),
	MAP_RULE(0, MAP_PRIVATE),
	MAP_RULE(PROT_WRITE, MAP_PRIVATE),
	MAP_RULE(PROT_EXEC, MAP_PRIVATE),
	MAP_RULE(0, MAP_PRIVATE | MAP_ANONYMOUS),
	MAP_RULE(PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS),
	MAP_RULE(PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS),
	/* An allocator asks for huge pages and does without. */
	{"mmap", SCMP_ACT_ERRNO(ENOMEM), 1, {MASKED(3, MAP_HUGETLB, MAP_HUGETLB)}},
	{"mprotect", ALLOW, 1, {MASKED(2, WRITE_OR_EXEC, 0)}},
	{"mprotect", ALLOW, 1, {MASKED(2, WRITE_OR_EXEC, PROT_WRITE)}},
	{"mprotect", ALLOW, 1, {MASKED(2, WRITE_OR_EXEC, PROT_EXEC)}},
	/* An executable stack: dlopen says so in its error, which deploy reports. */
	{"mprotect", SCMP_ACT_ERRNO(EACCES), 1, {MASKED(2, WRITE_OR_EXEC, WRITE_OR_EXEC)}},

	ADVICE(MADV_NORMAL),
	ADVICE(MADV_RANDOM),
	ADVICE(MADV_SEQUENTIAL),
	ADVICE(MADV_WILLNEED),
	ADVICE(MADV_DONTNEED),
	ADVICE(MADV_FREE),
	ADVICE(MADV_HUGEPAGE),
	ADVICE(MADV_NOHUGEPAGE),
	ADVICE(MADV_DONTDUMP),
	ADVICE(MADV_DODUMP),

	COMMAND(F_GETFD),
	COMMAND(F_SETFD),
	COMMAND(F_GETFL),
	COMMAND(F_DUPFD),
	COMMAND(F_DUPFD_CLOEXEC),

	/* Signals to itself, which is pid 1 of its namespace: raise(), abort(). */
	{"kill", ALLOW, 1, {EQUAL(0, 1)}},
	{"tkill", ALLOW, 1, {EQUAL(0, 1)}},

	{"prctl", ALLOW, 1, {EQUAL(0, PR_SET_NAME)}},
	{"prctl", ALLOW, 1, {EQUAL(0, PR_GET_NAME)}},
	{"prctl",
	 SCMP_ACT_ERRNO(EINVAL),
	 1,
	 {EQUAL(0, 0x53564d41)}}, /* PR_SET_VMA: malloc names its maps */
	{"prlimit64", ALLOW, 2, {EQUAL(0, 0), EQUAL(2, 0)}},
};

/* Profiles strict and libc. A thread: refused as if there were too many. A process: kills. */
static const struct narrow one_thread[] = {
	{"clone", SCMP_ACT_ERRNO(EAGAIN), 1, {MASKED(0, CLONE_THREAD, CLONE_THREAD)}},
	{"tgkill", ALLOW, 2, {EQUAL(0, 1), EQUAL(1, 1)}},
	{"rseq", SCMP_ACT_ERRNO(ENOSYS), 0, {{0}}},
	{"set_robust_list", SCMP_ACT_ERRNO(ENOSYS), 0, {{0}}},
	{0},
};

/* Profile threads: just what pthread_create() asks for, so that no namespace, no process and no odd sharing comes with it. */
#define PTHREAD                                                                             \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
	 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static const struct narrow threads[] = {
	{"clone", ALLOW, 1, {EQUAL(0, PTHREAD)}},
	{"tgkill", ALLOW, 1, {EQUAL(0, 1)}}, /* to each of its own */
	/* What a new thread tells of itself. glibc ends the process when the first of them succeeded for its main thread, and now fails. */
	{"rseq", ALLOW, 0, {{0}}},
	{"set_robust_list", ALLOW, 0, {{0}}},
	{0},
};

static void fail(const char *what, const char *name, int rc)
{
	fprintf(stderr, "filter_gen: %s %s: %s\n", what, name, strerror(-rc));
	exit(1);
}

/* A call that this architecture does not have (open, time...) resolves to a negative number and is left out. */
static void add(scmp_filter_ctx ctx, uint32_t action, const char *name, unsigned nr,
		const struct scmp_arg_cmp *args)
{
	int number = seccomp_syscall_resolve_name(name);
	if (number == __NR_SCMP_ERROR)
		fail("libseccomp does not know the system call", name, -ENOSYS);
	if (number < 0)
		return;
	int rc = seccomp_rule_add_array(ctx, action, number, nr, args);
	if (rc < 0)
		fail("rule for", name, rc);
}

static void add_narrows(scmp_filter_ctx ctx, const struct narrow *n, size_t nr)
{
	for (size_t i = 0; i < nr && n[i].name != NULL; i++)
		add(ctx, n[i].action, n[i].name, n[i].nr, n[i].args);
}

static void add_all(scmp_filter_ctx ctx, const struct narrow *profile)
{
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		add(ctx, SCMP_ACT_ALLOW, allowed[i], 0, NULL);
	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
		add(ctx, SCMP_ACT_ERRNO((uint16_t)probes[i].error), probes[i].name, 0, NULL);
	add_narrows(ctx, narrows, sizeof(narrows) / sizeof(narrows[0]));
	add_narrows(ctx, profile, SIZE_MAX);
}

static void print_program(FILE *bpf, const char *name)
{
	struct sock_filter one;
	rewind(bpf);
	printf("static const struct sock_filter %s[] = {\n", name);
	while (fread(&one, sizeof(one), 1, bpf) == 1)
		printf("\t{0x%04x, %u, %u, 0x%08xu},\n", one.code, one.jt, one.jf, one.k);
	printf("};\n");
}

static void make(const char *name, const struct narrow *profile)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (ctx == NULL)
		fail("seccomp_init", "", -ENOMEM);
	seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree */
	add_all(ctx, profile);
	FILE *bpf = tmpfile();
	if (bpf == NULL)
		fail("temporary file", "", -errno);
	int rc = seccomp_export_bpf(ctx, fileno(bpf));
	if (rc < 0)
		fail("seccomp_export_bpf", "", rc);
	print_program(bpf, name);
	fclose(bpf);
	seccomp_release(ctx);
}

int main(void)
{
	printf("/* The sandboxes' seccomp filters, made by filter_gen. */\n");
	make("adv_filter_one_thread", one_thread);
	make("adv_filter_threads", threads);
	return fflush(stdout) != 0;
}
