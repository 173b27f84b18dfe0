/* seal.c - wrapped allocators and locks, trapped system calls: see seal.h. */
#include "seal.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS_MAX 100000

static _Thread_local bool sealed;
static _Thread_local struct seal_counts counts;
static volatile sig_atomic_t nr_calls, first_call;

void seal_begin(void)
{
	counts = (struct seal_counts){0};
	nr_calls = 0;
	first_call = -1;
	sealed = true;
}

struct seal_counts seal_end(void)
{
	sealed = false;
	counts.system_calls = (uint64_t)nr_calls;
	counts.first_system_call = first_call;
	return counts;
}

/* ---- allocations ---- */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *p);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
	counts.allocations += sealed;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	counts.allocations += sealed;
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	counts.allocations += sealed;
	return __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	counts.allocations += sealed;
	return __real_aligned_alloc(alignment, size);
}

void __wrap_free(void *p)
{
	counts.allocations += sealed;
	__real_free(p);
}

/* ---- locks ---- */

int __real_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __real_pthread_mutex_trylock(pthread_mutex_t *m);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *m);
int __real_pthread_spin_lock(pthread_spinlock_t *s);
int __wrap_pthread_spin_lock(pthread_spinlock_t *s);
int __real_pthread_rwlock_rdlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *l);
int __real_pthread_rwlock_wrlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *l);

int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
	counts.locks += sealed;
	return __real_pthread_mutex_lock(m);
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *m)
{
	counts.locks += sealed;
	return __real_pthread_mutex_trylock(m);
}

int __wrap_pthread_spin_lock(pthread_spinlock_t *s)
{
	counts.locks += sealed;
	return __real_pthread_spin_lock(s);
}

int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	counts.locks += sealed;
	return __real_pthread_rwlock_rdlock(l);
}

int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	counts.locks += sealed;
	return __real_pthread_rwlock_wrlock(l);
}

/* ---- system calls ---- */

static void trapped(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	if (nr_calls++ == 0)
		first_call = info->si_syscall;
	/* Somebody waits for what a system call would bring. */
	if (nr_calls > CALLS_MAX)
		syscall(SYS_exit_group, 99);
}

bool seal_system_calls(void)
{
	/* What ends the process passes, and what comes back from a handler; and what a sanitizer does before a function without return. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sigaltstack, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
	return sigaction(SIGSYS, &action, NULL) == 0 &&
	       prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
