/* sink.c - the module of bench/verbs: functions that take nothing of the machine but the call itself, or all of it. */
#include <adverb/function.h>

/* Does not look at its input. */
static uint32_t sink(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	(void)in;
	return adv_reply(ctx, out, &in_size, sizeof(in_size));
}
ADV_FUNCTION(sink, "the size of its input");

static uint32_t forever(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	(void)in;
	for (volatile uint64_t i = 0; i + 1 != 0; i++)
		;
	return adv_reply(ctx, out, &in_size, sizeof(in_size));
}
ADV_FUNCTION(forever, "does not return");
