/* constructor.c - modules whose constructor misbehaves, chosen by CONSTRUCTOR when built. Constructors run fully confined. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CRASH  1
#define LOOP   2
#define THREAD 3
#define SOCKET 4
#define LEAVE  5
#define EAT    6
#define TICK   7
#define STUCK  8

static int thread_error;

#if CONSTRUCTOR == EAT
static char *volatile kept; /* so that the compiler does not do without the memory */
#endif

__attribute__((visibility("default"))) uint32_t outcome(void *in, uint32_t in_size, void *out);

/* What pthread_create() said. */
uint32_t outcome(void *in, uint32_t in_size, void *out)
{
	(void)in;
	(void)in_size;
	memcpy(out, &thread_error, sizeof(thread_error));
	return sizeof(thread_error);
}

#if CONSTRUCTOR == THREAD
static void *idle(void *unused)
{
	for (;;)
		pause();
	return unused;
}
#endif

#if CONSTRUCTOR == TICK
static _Atomic uint64_t nr_ticks;
static _Atomic int last_cpu;

__attribute__((visibility("default"))) uint32_t ticks(void *in, uint32_t in_size, void *out);

/* How often its thread has run by now, and on which CPU it did last: 8 bytes and 4. */
uint32_t ticks(void *in, uint32_t in_size, void *out)
{
	uint64_t n = nr_ticks;
	int cpu = last_cpu;
	(void)in;
	(void)in_size;
	memcpy(out, &n, sizeof(n));
	memcpy((char *)out + sizeof(n), &cpu, sizeof(cpu));
	return sizeof(n) + sizeof(cpu);
}

static void *tick(void *unused)
{
	for (;; nr_ticks++) {
		last_cpu = sched_getcpu();
		usleep(1000);
	}
	return unused;
}
#endif

__attribute__((constructor)) static void misbehave(void)
{
#if CONSTRUCTOR == CRASH
	volatile uintptr_t nowhere = 16;
	*(volatile int *)nowhere = 1;
#elif CONSTRUCTOR == LOOP
	for (volatile int i = 0;; i++)
		;
#elif CONSTRUCTOR == THREAD
	pthread_t thread;
	thread_error = pthread_create(&thread, NULL, idle, NULL);
#elif CONSTRUCTOR == TICK
	pthread_t thread;
	thread_error = pthread_create(&thread, NULL, tick, NULL);
#elif CONSTRUCTOR == STUCK
	/* Only where a lease has begun: four descriptors more than at its deploy. */
	int nr = 0;
	for (int fd = 0; fd < 64; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	while (nr > 9)
		pause();
#elif CONSTRUCTOR == SOCKET
	thread_error = socket(AF_INET, SOCK_STREAM, 0);
#elif CONSTRUCTOR == LEAVE
	exit(7);
#elif CONSTRUCTOR == EAT
	for (;;) {
		kept = malloc(1 << 20);
		memset(kept, 1, 1 << 20);
	}
#endif
}
