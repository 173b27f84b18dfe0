/* slow.c - functions that take their time. */
#include <stdint.h>
#include <string.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT uint32_t slow_echo(void *in, uint32_t in_size, void *out);
EXPORT uint32_t never(void *in, uint32_t in_size, void *out);

/* Returns its input after 20 ms of work. */
uint32_t slow_echo(void *in, uint32_t in_size, void *out)
{
	struct timespec begin, now;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - begin.tv_sec) * 1000000000L + now.tv_nsec - begin.tv_nsec < 20000000);
	memcpy(out, in, in_size);
	return in_size;
}

uint32_t never(void *in, uint32_t in_size, void *out)
{
	(void)in, (void)in_size, (void)out;
	for (;;)
		__asm__ volatile("");
}
