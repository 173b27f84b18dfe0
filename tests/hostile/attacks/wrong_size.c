/* wrong_size.c - claims an output larger than there is room for; against the worker's and the caller's check of sizes. */
#include "attack.h"

ATTACK
{
	static const uint32_t sizes[] = {UINT32_MAX, 65536 + 1, UINT32_C(0x80000000), 64 << 20};
	return sizes[argument(in, in_size, 0) & 3];
}
