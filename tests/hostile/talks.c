/* talks.c - functions that print: what they are given, or without end. Runs in a sandbox. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT uint32_t says(void *in, uint32_t in_size, void *out);
EXPORT uint32_t floods(void *in, uint32_t in_size, void *out);

__attribute__((constructor)) static void wakes(void)
{
	printf("constructed\n");
	fflush(stdout);
}

/* Its input, as a line on standard error. */
uint32_t says(void *in, uint32_t in_size, void *out)
{
	(void)out;
	fprintf(stderr, "%.*s\n", (int)in_size, (const char *)in);
	return 0;
}

/* As many lines as the number in `in` says, as fast as it can. */
uint32_t floods(void *in, uint32_t in_size, void *out)
{
	uint32_t n = 0;
	(void)out;
	memcpy(&n, in, in_size < sizeof(n) ? in_size : sizeof(n));
	for (uint32_t i = 0; i < n; i++)
		printf("line %u of a flood that nobody can read\n", i);
	fflush(stdout);
	return 0;
}
