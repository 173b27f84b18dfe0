/*
 * quiet.h - a seal for hot paths: while a thread has it set, what it allocates, frees, locks or asks of the kernel is counted. The linker
 * wraps these functions (meson.build), so that only what is linked into the program is seen, which is the code on trial.
 */
#ifndef ADVERB_TESTS_QUIET_QUIET_H
#define ADVERB_TESTS_QUIET_QUIET_H

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct seal {
	unsigned long allocations, locks, calls; /* calls: of the kernel */
	const char *first;			 /* that broke it */
};

static _Thread_local struct seal *seal;

static inline void broken(unsigned long *count, const char *name)
{
	(*count)++;
	if (seal->first == NULL)
		seal->first = name;
}

#define COUNTED(what, name)                        \
	do {                                       \
		if (seal != NULL)                  \
			broken(&seal->what, name); \
	} while (0)
#define ALLOCATES(name) COUNTED(allocations, name)
#define LOCKS(name)	COUNTED(locks, name)
#define ASKS(name)	COUNTED(calls, name)

#define WRAPPED(type, name, parameters, arguments, note) \
	type __real_##name parameters;                   \
	type __wrap_##name parameters;                   \
	type __wrap_##name parameters                    \
	{                                                \
		note(#name);                             \
		return __real_##name arguments;          \
	}

WRAPPED(void *, malloc, (size_t size), (size), ALLOCATES)
WRAPPED(void *, calloc, (size_t n, size_t size), (n, size), ALLOCATES)
WRAPPED(void *, realloc, (void *p, size_t size), (p, size), ALLOCATES)
WRAPPED(void, free, (void *p), (p), ALLOCATES)
WRAPPED(int, pthread_mutex_lock, (pthread_mutex_t * m), (m), LOCKS)
WRAPPED(int, pthread_mutex_trylock, (pthread_mutex_t * m), (m), LOCKS)
WRAPPED(int, sched_yield, (void), (), ASKS)
WRAPPED(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size), ASKS)
WRAPPED(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), ASKS)
WRAPPED(ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags), ASKS)
WRAPPED(ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags),
	ASKS)
WRAPPED(int, poll, (struct pollfd * fds, nfds_t n, int timeout), (fds, n, timeout), ASKS)
WRAPPED(int, ppoll,
	(struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
	(fds, n, timeout, mask), ASKS)

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/* None is made here but futex, with six arguments. */
long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list args;
	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	ASKS("syscall");
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* One line of TAP; returns whether it holds. */
static inline int quiet(unsigned number, const char *what, const struct seal *s)
{
	int ok = s->allocations == 0 && s->locks == 0 && s->calls == 0;
	printf("%sok %u - %s: %lu allocations, %lu locks, %lu system calls%s%s\n", ok ? "" : "not ",
	       number, what, s->allocations, s->locks, s->calls, s->first != NULL ? ", first " : "",
	       s->first != NULL ? s->first : "");
	return ok;
}

#endif
