/* described.c - a well-behaved module of the described ABI. Runs in a sandbox. */
#include <adverb/function.h>

__attribute__((visibility("default"))) uint32_t not_listed(void *in, uint32_t in_size, void *out);

/* Exported, and yet no function: a table exists. */
uint32_t not_listed(void *in, uint32_t in_size, void *out)
{
	(void)in;
	(void)in_size;
	(void)out;
	return 0;
}

static uint32_t echo(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	return adv_reply(ctx, out, in, in_size);
}
ADV_FUNCTION(echo, "returns its input");

static uint32_t refuse(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	(void)in;
	return adv_fail(ctx, out, "does not like %u bytes", in_size);
}
ADV_FUNCTION(refuse, "reports an error");

static uint32_t speak(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	(void)out;
	adv_log(ctx, "heard %.*s", (int)in_size, (const char *)in);
	printf("said so\n");
	return 0;
}
ADV_FUNCTION(speak, "writes to its log and to standard output");

/* What it sees of its call: capacity, call id, deadline. */
static uint32_t context(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	const uint64_t seen[3] = {ctx->out_capacity, ctx->call_id, ctx->deadline_ns};
	(void)in;
	(void)in_size;
	return adv_reply(ctx, out, seen, sizeof(seen));
}
ADV_FUNCTION(context, "returns\twhat it sees"); /* the tab must not reach a terminal */
