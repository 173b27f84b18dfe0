/* stack_overflow.c - calls itself without end, or takes one frame larger than the stack; against RLIMIT_STACK and the guard below. */
#include "attack.h"

#define LARGE (16 << 20)

#pragma GCC diagnostic ignored "-Winfinite-recursion"
static uint32_t deeper(uint32_t depth)
{
	volatile char frame[4096];
	frame[0] = (char)depth;
	return deeper((uint32_t)hidden(depth + 1)) + (uint32_t)frame[0];
}

static uint32_t leap(void)
{
	volatile char frame[LARGE];
	frame[hidden(16)] = 1;
	return (uint32_t)frame[hidden(16)];
}

ATTACK
{
	return argument(in, in_size, 0) == 0 ? deeper(0) : leap();
}
