/* acts.c - functions that crash, leave, exhaust or probe what surrounds them. Runs in a sandbox. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ACT(name)                                                                                 \
	__attribute__((visibility("default"))) uint32_t name(void *in, uint32_t in_size,          \
							     void *out);                          \
	uint32_t name(__attribute__((unused)) void *in, __attribute__((unused)) uint32_t in_size, \
		      __attribute__((unused)) void *out)

/* Keeps the compiler from seeing through what is done on purpose. */
static volatile uintptr_t opaque = 16;
static char *volatile kept;

ACT(segv)
{
	*(volatile int *)opaque = 1;
	return 0;
}

ACT(bad_jump)
{
	((void (*)(void))opaque)();
	return 0;
}

ACT(illegal)
{
	__builtin_trap();
}

ACT(divide)
{
	volatile uintptr_t zero = 0;
	return (uint32_t)(opaque / zero);
}

ACT(aborts)
{
	abort();
}

ACT(raises)
{
	raise(SIGSEGV);
	return 0;
}

ACT(leaves)
{
	exit(3);
}

ACT(loops)
{
	for (volatile int i = 0;; i++)
		;
	return 0;
}

/* More stack than there is. */
ACT(overflows)
{
	volatile char frame[16 << 20];
	frame[opaque] = 1;
	return (uint32_t)frame[opaque];
}

/* Until malloc says no, then on with what it said. */
ACT(eats)
{
	for (;;) {
		kept = malloc(1 << 20);
		memset(kept, 1, 1 << 20);
	}
	return 0;
}

/* Until malloc says no, and is glad with what it has: megabytes. */
ACT(eats_politely)
{
	uint32_t megabytes = 0;
	void *last = NULL, *p;
	while ((p = malloc(1 << 20)) != NULL) {
		memset(p, 1, 1 << 20);
		*(void **)p = last;
		last = p;
		megabytes++;
	}
	while (last != NULL) {
		p = *(void **)last;
		free(last);
		last = p;
	}
	memcpy(out, &megabytes, sizeof(megabytes));
	return sizeof(megabytes);
}

ACT(says_too_much)
{
	return UINT32_MAX;
}

/* One byte more than the size in `in`. */
ACT(writes_past)
{
	uint32_t capacity;
	memcpy(&capacity, in, sizeof(capacity));
	memset(out, 1, (size_t)capacity + 1);
	return 0;
}

/* Any system call: seven 64-bit numbers in, the result or -errno out. */
ACT(calls)
{
	long n[7] = {0}, result;
	memcpy(n, in, in_size < sizeof(n) ? in_size : sizeof(n));
	result = syscall(n[0], n[1], n[2], n[3], n[4], n[5], n[6]);
	if (result < 0)
		result = -errno;
	memcpy(out, &result, sizeof(result));
	return sizeof(result);
}

static void *idle(void *unused)
{
	return unused;
}

ACT(threads)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, idle, NULL);
	memcpy(out, &error, sizeof(error));
	return sizeof(error);
}

ACT(forks)
{
	pid_t pid = fork();
	memcpy(out, &pid, sizeof(pid));
	return sizeof(pid);
}

ACT(runs_shell)
{
	return (uint32_t)system("true");
}

ACT(writes_file)
{
	return (uint32_t)(fopen("/adverb-test", "w") != NULL);
}

/* Errnos of opening what is on every machine and must not be here. */
ACT(looks_around)
{
	static const char *const paths[] = {
		"/etc/passwd", "/proc/self/status", "/proc/1/mem",	"/dev/null", "/sys",
		"/lib",	       "self/status",	    "../../etc/passwd",
	};
	int32_t errors[8];
	for (int i = 0; i < 8; i++)
		errors[i] = open(paths[i], O_RDONLY) >= 0 ? 0 : errno;
	memcpy(out, errors, sizeof(errors));
	return sizeof(errors);
}

/* Which descriptors are open, as bits; uid, gid; whether the environment is empty; the pid. */
ACT(describes_itself)
{
	uint64_t seen[5] = {0, getuid(), getgid(), environ == NULL || environ[0] == NULL,
			    (uint64_t)getpid()};
	for (int fd = 0; fd < 64; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			seen[0] |= UINT64_C(1) << fd;
	memcpy(out, seen, sizeof(seen));
	return sizeof(seen);
}

ACT(shouts)
{
	char line[128];
	memset(line, 'x', sizeof(line));
	line[127] = '\n';
	for (int i = 0; i < 10000; i++)
		if (write(2, line, sizeof(line)) < 0 && errno != EAGAIN)
			return 1;
	return 0;
}
