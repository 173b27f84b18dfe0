/* undefined.c - a module that uses a function which nothing defines. */
#include <stdint.h>

uint32_t adverb_test_nowhere(void *in, uint32_t in_size, void *out);
__attribute__((visibility("default"))) uint32_t call_it(void *in, uint32_t in_size, void *out);

uint32_t call_it(void *in, uint32_t in_size, void *out)
{
	return adverb_test_nowhere(in, in_size, out);
}
