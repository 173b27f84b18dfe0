/* newer.c - a module built for a function ABI that no node has yet. */
#include <adverb/function.h>

static uint32_t later(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	return adv_reply(ctx, out, in, in_size);
}

extern const struct adv_function adv_function__later;
__attribute__((visibility("default"))) const struct adv_function adv_function__later = {
	sizeof(struct adv_function), ADV_FUNCTION_ABI + 1, "later", "", later};
