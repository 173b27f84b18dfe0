/* sum.c - the module of bench/inplace: adds up the 64-bit words of its input where they lie. */
#include <adverb/function.h>

static uint32_t sum(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	const uint64_t *words = in;
	uint64_t total = 0;
	for (uint32_t i = 0; i < in_size / 8; i++)
		total += words[i];
	return adv_reply(ctx, out, &total, sizeof(total));
}
ADV_FUNCTION(sum, "the sum of 64-bit words");
