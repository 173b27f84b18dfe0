/* crc32c.c - CRC-32C by table, and by instruction where there is one. Pure functions. */
#include "util/crc32c.h"

#include <string.h>

/* Half a byte at a time: sixteen entries need no program that makes them. */
static const uint32_t table[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
	0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
	0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t adv_crc32c_by_table(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *p = data;
	crc = ~crc;
	for (size_t i = 0; i < size; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

static uint32_t by_instruction(uint32_t crc, const uint8_t *p, size_t size)
{
	uint64_t word, c = (uint32_t)~crc;
	for (; size >= sizeof(word); size -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		c = adv_crc32c_step8(c, word);
	}
	return adv_crc32c_by_table((uint32_t)~c, p, size);
}

uint32_t adv_crc32c(uint32_t crc, const void *data, size_t size)
{
	return adv_crc32c_in_hardware() ? by_instruction(crc, data, size)
					: adv_crc32c_by_table(crc, data, size);
}
