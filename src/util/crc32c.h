/*
 * crc32c.h - CRC-32C, the checksum of RFC 3720 (Castagnoli polynomial, reflected). Pure functions, any thread, libc alone.
 * By the CPU's instruction where it has one (x86 SSE 4.2, Arm CRC), else by table.
 */
#ifndef ADVERB_UTIL_CRC32C_H
#define ADVERB_UTIL_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Goes on from `crc`, that of what came before; 0 at the beginning. */
uint32_t adv_crc32c(uint32_t crc, const void *data, size_t size);

/* The same by table, wherever it runs: what the other is tested against. */
uint32_t adv_crc32c_by_table(uint32_t crc, const void *data, size_t size);

/* Has the CPU an instruction for it? Constant time, no initialisation. */
static inline bool adv_crc32c_in_hardware(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("sse4.2");
#elif defined(__ARM_FEATURE_CRC32)
	return true;
#else
	return false;
#endif
}

/* Eight bytes and four, unfinished: the CRC's register in and out. Only where adv_crc32c_in_hardware(). */
static inline uint64_t adv_crc32c_step8(uint64_t crc, uint64_t word)
{
#if defined(__x86_64__)
	__asm__("crc32q %1, %0" : "+r"(crc) : "rm"(word));
#elif defined(__ARM_FEATURE_CRC32)
	crc = __builtin_aarch64_crc32cx((uint32_t)crc, word);
#else
	(void)word;
#endif
	return crc;
}

static inline uint32_t adv_crc32c_step4(uint32_t crc, uint32_t word)
{
#if defined(__x86_64__)
	__asm__("crc32l %1, %0" : "+r"(crc) : "rm"(word));
#elif defined(__ARM_FEATURE_CRC32)
	crc = __builtin_aarch64_crc32cw(crc, word);
#else
	(void)word;
#endif
	return crc;
}

#endif
