/* echo.c - a well-behaved module of the classic ABI with several functions. Runs in a sandbox. */
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT uint32_t echo(void *in, uint32_t in_size, void *out);
EXPORT uint32_t reverse(void *in, uint32_t in_size, void *out);
EXPORT uint32_t count(void *in, uint32_t in_size, void *out);
uint32_t hidden(void *in, uint32_t in_size, void *out);

uint32_t echo(void *in, uint32_t in_size, void *out)
{
	memcpy(out, in, in_size);
	return in_size;
}

uint32_t reverse(void *in, uint32_t in_size, void *out)
{
	for (uint32_t i = 0; i < in_size; i++)
		((uint8_t *)out)[i] = ((uint8_t *)in)[in_size - 1 - i];
	return in_size;
}

/* How often it was called in this worker: globals live as long as the worker. */
uint32_t count(void *in, uint32_t in_size, void *out)
{
	static uint32_t calls;
	(void)in;
	(void)in_size;
	calls++;
	memcpy(out, &calls, sizeof(calls));
	return sizeof(calls);
}

uint32_t hidden(void *in, uint32_t in_size, void *out)
{
	(void)in;
	(void)in_size;
	(void)out;
	return 0;
}
