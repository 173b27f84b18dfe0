/* none.c - a module without a function: only data and a hidden one. */
#include <stdint.h>

__attribute__((visibility("default"))) extern const uint32_t adverb_answer;
const uint32_t adverb_answer = 42;
