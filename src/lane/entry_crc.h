/* entry_crc.h - the checksum of a verbs lane's entry. Pure, any thread; on the path of each call. */
#ifndef ADVERB_LANE_ENTRY_CRC_H
#define ADVERB_LANE_ENTRY_CRC_H

#include <string.h>

#include "lane/lane.h"
#include "util/crc32c.h"

/* CRC-32C of the 56 bytes before `crc`, then of `seq`, which the entry need not hold yet. Reads memory that nobody changes meanwhile. */
static inline uint32_t adv_entry_crc(const struct adv_entry *e, uint32_t seq)
{
	const uint8_t *bytes = (const uint8_t *)e;
	if (!adv_crc32c_in_hardware())
		return adv_crc32c_by_table(
			adv_crc32c_by_table(0, bytes, offsetof(struct adv_entry, crc)), &seq,
			sizeof(seq));
	uint64_t crc = UINT32_MAX, word;
#pragma GCC unroll 7
	for (size_t i = 0; i < offsetof(struct adv_entry, crc); i += sizeof(word)) {
		memcpy(&word, bytes + i, sizeof(word));
		crc = adv_crc32c_step8(crc, word);
	}
	return ~adv_crc32c_step4((uint32_t)crc, seq);
}

static_assert(offsetof(struct adv_entry, crc) % 8 == 0, "whole words");

#endif
