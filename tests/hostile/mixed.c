/* mixed.c - functions of one module that the system tests play against each other. Runs in a sandbox. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define EXPORT(name)                                                                              \
	__attribute__((visibility("default"))) uint32_t name(void *in, uint32_t in_size,          \
							     void *out);                          \
	uint32_t name(__attribute__((unused)) void *in, __attribute__((unused)) uint32_t in_size, \
		      __attribute__((unused)) void *out)

/* How often this worker was asked, in decimal. */
EXPORT(count)
{
	static unsigned calls;
	return (uint32_t)snprintf(out, 16, "%u", ++calls);
}

EXPORT(crash)
{
	volatile int *nowhere = (volatile int *)(uintptr_t)(in_size + 8);
	*nowhere = 1;
	return 0;
}

/* Busy for 200 ms. */
EXPORT(spin)
{
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 <
		 200);
	return 0;
}

/* Which build this is. */
EXPORT(version)
{
	memcpy(out, VERSION, sizeof(VERSION) - 1);
	return sizeof(VERSION) - 1;
}
