/* table.c - a function table whose name and function point nowhere. */
#include <adverb/function.h>

extern const struct adv_function adv_function__wild;
__attribute__((visibility("default")))
const struct adv_function adv_function__wild = {sizeof(struct adv_function), ADV_FUNCTION_ABI,
						(const char *)0x1000, "", (adv_function_fn)0x2000};
