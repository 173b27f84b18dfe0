/* hello.c - the smallest module with a description: says hello to its input. */
#include <adverb/function.h>

static uint32_t hello(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	int n = snprintf(out, ctx->out_capacity, "hello, %.*s", (int)in_size, (const char *)in);
	return (uint32_t)n;
}
ADV_FUNCTION(hello, "says hello to its input");
