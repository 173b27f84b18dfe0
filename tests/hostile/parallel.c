/* parallel.c - functions with threads, honest ones and bombs, and one that reads a file. Runs in a sandbox. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define NR     8

EXPORT uint32_t sums(void *in, uint32_t in_size, void *out);
EXPORT uint32_t bomb(void *in, uint32_t in_size, void *out);
EXPORT uint32_t leaves_one(void *in, uint32_t in_size, void *out);
EXPORT uint32_t forks(void *in, uint32_t in_size, void *out);
EXPORT uint32_t reads(void *in, uint32_t in_size, void *out);

struct part {
	const uint8_t *at, *end;
	uint64_t sum;
};

static void *sum(void *arg)
{
	struct part *p = arg;
	for (; p->at < p->end; p->at++)
		p->sum += *p->at;
	return NULL;
}

/* The sum of its input's bytes, by eight threads; an errno when there are none to be had. */
uint32_t sums(void *in, uint32_t in_size, void *out)
{
	pthread_t threads[NR];
	struct part parts[NR];
	uint64_t result = 0;
	uint32_t nr = 0, share = in_size / NR;
	int error = 0;
	for (; nr < NR; nr++) {
		parts[nr].at = (const uint8_t *)in + (uint64_t)nr * share;
		parts[nr].end = nr == NR - 1 ? (const uint8_t *)in + in_size : parts[nr].at + share;
		parts[nr].sum = 0;
		error = pthread_create(&threads[nr], NULL, sum, &parts[nr]);
		if (error != 0)
			break;
	}
	for (uint32_t i = 0; i < nr; i++) {
		pthread_join(threads[i], NULL);
		result += parts[i].sum;
	}
	if (error != 0)
		result = (uint64_t)error;
	memcpy(out, &result, sizeof(result));
	return sizeof(result);
}

static void *waits(void *unused)
{
	(void)unused;
	for (;;)
		sleep(1000);
	return NULL;
}

/* As many threads as there are to be had, and stays with them: their number. */
uint32_t bomb(void *in, uint32_t in_size, void *out)
{
	pthread_attr_t small;
	pthread_t thread;
	uint32_t nr = 0;
	(void)in, (void)in_size;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	while (nr < 100000 && pthread_create(&thread, &small, waits, NULL) == 0)
		nr++;
	memcpy(out, &nr, sizeof(nr));
	return sizeof(nr);
}

static void *spins(void *unused)
{
	(void)unused;
	for (;;)
		__asm__ volatile("");
	return NULL;
}

/* Returns, and has a thread that goes on. */
uint32_t leaves_one(void *in, uint32_t in_size, void *out)
{
	pthread_t thread;
	(void)in, (void)in_size, (void)out;
	return pthread_create(&thread, NULL, spins, NULL) == 0 ? 0 : UINT32_MAX;
}

uint32_t forks(void *in, uint32_t in_size, void *out)
{
	(void)in, (void)in_size, (void)out;
	return fork() == 0 ? 1 : 2;
}

/* The beginning of the file that `in` names, or "-" and an errno. */
uint32_t reads(void *in, uint32_t in_size, void *out)
{
	char path[256];
	if (in_size >= sizeof(path))
		return UINT32_MAX;
	memcpy(path, in, in_size);
	path[in_size] = '\0';
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, 64);
	if (n < 0) {
		((char *)out)[0] = '-';
		((uint8_t *)out)[1] = (uint8_t)errno;
		n = 2;
	}
	if (fd >= 0)
		close(fd);
	return (uint32_t)n;
}
