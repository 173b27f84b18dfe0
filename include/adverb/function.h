/*
 * function.h - what a module sees of Adverb: the plugin ABI.
 *
 * A module is a shared object. It needs nothing of Adverb: every function symbol of default visibility in it is
 * taken for a function of the classic signature
 *
 *	uint32_t f(void *in, uint32_t in_size, void *out);      returns the bytes written to out
 *
 * which is the ABI of rFaaS (Copik et al., IPDPS 2023), so that a module written for it loads unchanged. The output area
 * ends at a guard page: a function that writes past it crashes and is reported as ADV_CRASHED.
 *
 * A module that declares at least one function by ADV_FUNCTION() exports those and no others:
 *
 *	#include <adverb/function.h>
 *
 *	static uint32_t hello(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
 *	{
 *		return adv_reply(ctx, out, in, in_size);
 *	}
 *	ADV_FUNCTION(hello, "returns its input");
 *
 *	gcc -shared -fPIC -O2 -o hello.so hello.c
 *
 * Header only; nothing to link. C11 or later and C++17 or later.
 *
 * A function runs on one thread, one call at a time, in a process of its own which serves one lease: what it keeps in
 * globals lives as long as the worker and is never seen by another tenant. `in` holds in_size bytes, 64-byte aligned,
 * and may be scribbled on by classic functions; `out` is 64-byte aligned and has ctx->out_capacity bytes.
 */
#ifndef ADVERB_FUNCTION_H
#define ADVERB_FUNCTION_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the structs below. A module built for a newer ABI than the node's is refused at deploy. */
#define ADV_FUNCTION_ABI 1

/* Set in a return value: the function failed, and the low bits are the length of the error text in `out`. */
#define ADV_FAILED UINT32_C(0x80000000)

/* One call as the function sees it. Valid until the function returns; owned by the worker. */
struct adv_context {
	uint32_t size; /* bytes of this struct, set by the worker; a newer worker has more */
	uint32_t out_capacity; /* bytes at `out` */
	uint64_t call_id;      /* never reused within a lease */
	uint64_t deadline_ns;  /* CLOCK_MONOTONIC; 0: none. The worker is killed 20 ms after it */
	/*
	 * Appends text to the function's log. It never blocks: what does not fit is dropped.
	 * Newlines end lines. Standard output and error go the same way.
	 */
	void (*log)(struct adv_context *ctx, const char *text, uint32_t length);
};

typedef uint32_t (*adv_function_fn)(struct adv_context *ctx, const void *in, uint32_t in_size,
				    void *out);

/* What ADV_FUNCTION() leaves in the module, one exported object adv_function__NAME for each function. */
struct adv_function {
	uint32_t size; /* bytes of this struct as the module was built */
	uint32_t abi;  /* ADV_FUNCTION_ABI as the module was built */
	const char *name;
	const char *description; /* one sentence for `adverb describe` */
	adv_function_fn run;
};

#define ADV_FUNCTION_PREFIX "adv_function__"

#ifdef __cplusplus
#define ADV_FUNCTION_LINKAGE_ extern "C"
#else
#define ADV_FUNCTION_LINKAGE_ extern
#endif

/* Declares the function `fn` (of type adv_function_fn) under its own name. File scope; ends with a semicolon. */
#define ADV_FUNCTION(fn, text)                                                                 \
	ADV_FUNCTION_LINKAGE_ const struct adv_function adv_function__##fn                     \
		__attribute__((visibility("default")));                                        \
	const struct adv_function adv_function__##fn = {(uint32_t)sizeof(struct adv_function), \
							ADV_FUNCTION_ABI, #fn, text, fn}

/*
 * Copies `size` bytes of `data` to `out` and returns the size, so that a function may end with
 * `return adv_reply(ctx, out, data, size);`. A size beyond the capacity is returned uncopied: the call ends as ADV_BAD_SIZE.
 */
static inline uint32_t adv_reply(const struct adv_context *ctx, void *out, const void *data,
				 uint32_t size)
{
	if (size <= ctx->out_capacity && size > 0)
		memcpy(out, data, size);
	return size;
}

/*
 * Writes an error text (cut at the capacity) to `out` and returns what the function must return to end as
 * ADV_FUNCTION_FAILED with that text as its output.
 */
__attribute__((format(printf, 3, 4))) static inline uint32_t adv_fail(const struct adv_context *ctx,
								      void *out, const char *format,
								      ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf((char *)out, ctx->out_capacity, format, args);
	va_end(args);
	if (n < 0)
		n = 0;
	if ((uint32_t)n >= ctx->out_capacity)
		n = ctx->out_capacity ? (int)ctx->out_capacity - 1 : 0;
	return ADV_FAILED | (uint32_t)n;
}

/* Appends one formatted line, cut at 511 bytes, to the function's log. */
__attribute__((format(printf, 2, 3))) static inline void adv_log(struct adv_context *ctx,
								 const char *format, ...)
{
	char line[512];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	if (n < 0)
		return;
	if ((size_t)n > sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n] = '\n';
	ctx->log(ctx, line, (uint32_t)n + 1);
}

#ifdef __cplusplus
}
#endif

#endif
