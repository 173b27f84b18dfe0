/* classic.c - a module of the classic signature: written for rFaaS, it loads here unchanged. */
#include <stdint.h>
#include <string.h>

uint32_t empty(void *in, uint32_t in_size, void *out);
uint32_t echo(void *in, uint32_t in_size, void *out);

__attribute__((visibility("default"))) uint32_t empty(void *in, uint32_t in_size, void *out)
{
	(void)in;
	(void)in_size;
	(void)out;
	return 0;
}

__attribute__((visibility("default"))) uint32_t echo(void *in, uint32_t in_size, void *out)
{
	memcpy(out, in, in_size);
	return in_size;
}
