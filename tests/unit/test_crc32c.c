/* CRC-32C: the vectors of RFC 3720 (B.4), by instruction and by table alike; the checksum of an entry. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "lane/entry_crc.h"
#include "util/crc32c.h"

static void both(const void *data, size_t size, uint32_t want)
{
	cr_assert_eq(adv_crc32c(0, data, size), want);
	cr_assert_eq(adv_crc32c_by_table(0, data, size), want);
}

Test(crc32c, vectors)
{
	uint8_t bytes[32];
	both("", 0, 0);
	both("123456789", 9, 0xe3069283);
	memset(bytes, 0, sizeof(bytes));
	both(bytes, sizeof(bytes), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	both(bytes, sizeof(bytes), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	both(bytes, sizeof(bytes), 0x46dd794e);
}

Test(crc32c, both_ways_agree_wherever_data_lies)
{
	uint8_t bytes[96];
	srand(7);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)rand();
	for (size_t from = 0; from < 16; from++)
		for (size_t size = 0; size <= 80; size++)
			cr_assert_eq(adv_crc32c(0, bytes + from, size),
				     adv_crc32c_by_table(0, bytes + from, size));
}

Test(crc32c, goes_on_from_what_came_before)
{
	const char text[] = "the quick brown fox jumps over the lazy dog";
	for (size_t cut = 0; cut < sizeof(text); cut++)
		cr_assert_eq(adv_crc32c(adv_crc32c(0, text, cut), text + cut, sizeof(text) - cut),
			     adv_crc32c(0, text, sizeof(text)));
}

static struct adv_entry an_entry(void)
{
	struct adv_entry e;
	for (unsigned i = 0; i < sizeof(e); i++)
		((uint8_t *)&e)[i] = (uint8_t)(i * 37);
	e.crc = adv_entry_crc(&e, atomic_load(&e.seq));
	return e;
}

Test(crc32c, an_entry_is_all_its_bytes_but_the_checksum)
{
	struct adv_entry e = an_entry();
	uint8_t plain[60];
	uint32_t seq = atomic_load(&e.seq);
	memcpy(plain, &e, 56);
	memcpy(plain + 56, &seq, 4);
	cr_assert_eq(e.crc, adv_crc32c_by_table(0, plain, sizeof(plain)));
}

Test(crc32c, every_flipped_bit_of_an_entry_shows)
{
	const struct adv_entry good = an_entry();
	for (unsigned bit = 0; bit < 8 * sizeof(good); bit++) {
		struct adv_entry e;
		memcpy(&e, &good, sizeof(e));
		((uint8_t *)&e)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_neq(e.crc, adv_entry_crc(&e, atomic_load(&e.seq)), "bit %u", bit);
	}
}
