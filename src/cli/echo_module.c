/* echo_module.c - the built-in echo that `adverb latency` deploys. Runs in a sandbox. */
#include <stdint.h>
#include <string.h>

uint32_t echo(void *in, uint32_t in_size, void *out);

__attribute__((visibility("default"))) uint32_t echo(void *in, uint32_t in_size, void *out)
{
	memcpy(out, in, in_size);
	return in_size;
}
