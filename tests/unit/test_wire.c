/* The verbs fabric's bytes beside entries: immediates, a connection's private data. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "fabric/wire.h"

static const uint8_t token[16] = "sixteen bytes...";

Test(wire, an_immediate_comes_out_as_it_went_in)
{
	for (unsigned kind = 0; kind < 4; kind++)
		for (unsigned tag = 0; tag < 64; tag += 21)
			for (uint32_t lane = 0; lane < 256; lane += 51)
				for (uint32_t seq = 0xfffe; seq < 0x10002; seq++) {
					struct adv_wire_immediate i = adv_wire_unpack(adv_wire_pack(
						kind, adv_wire_lane((uint8_t)tag, lane), seq));
					cr_assert_eq(i.kind, kind);
					cr_assert_eq(i.lane & ADV_WIRE_LANE_MASK, lane);
					cr_assert_eq(i.lane >> ADV_WIRE_LANE_BITS, tag);
					cr_assert_eq(i.seq, (uint16_t)seq);
				}
}

Test(wire, tags_go_round)
{
	cr_assert_eq(adv_wire_lane(64, 3), adv_wire_lane(0, 3));
	cr_assert_eq(adv_wire_lane(255, 255), (63u << ADV_WIRE_LANE_BITS | 255));
}

Test(wire, kind_and_tag_lead_on_the_wire)
{
	uint32_t immediate = adv_wire_pack(2, adv_wire_lane(1, 5), 0x1234);
	const uint8_t bytes[4] = {0x81, 0x05, 0x12, 0x34};
	cr_assert_eq(memcmp(&immediate, bytes, sizeof(bytes)), 0);
}

static void make(uint8_t bytes[64], uint8_t flags)
{
	const struct adv_hello hello = {.flags = flags, .counter = 0x01020304, .lease = 77};
	memset(bytes, 0xaa, 64);
	cr_assert_eq(adv_hello_pack(&hello, token, sizeof(token), bytes), 0);
}

Test(wire, a_hello_comes_out_as_it_went_in)
{
	uint8_t bytes[64];
	struct adv_hello hello;
	make(bytes, ADV_HELLO_SPARE);
	/* rdma_cm pads what it carries. */
	for (size_t size = ADV_WIRE_HELLO_BYTES; size <= 56; size++) {
		cr_assert_eq(adv_hello_parse(bytes, size, &hello), 0);
		cr_assert_eq(hello.flags, ADV_HELLO_SPARE);
		cr_assert_eq(hello.counter, 0x01020304);
		cr_assert_eq(hello.lease, 77);
	}
	cr_assert(adv_hello_genuine(bytes, token, sizeof(token)));
}

Test(wire, every_flipped_bit_of_a_hello_shows)
{
	uint8_t bytes[64];
	for (unsigned bit = 0; bit < 8 * ADV_WIRE_HELLO_BYTES; bit++) {
		make(bytes, 0);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_not(adv_hello_genuine(bytes, token, sizeof(token)), "bit %u", bit);
	}
}

Test(wire, another_token_is_not_genuine)
{
	uint8_t bytes[64], other[16];
	make(bytes, 0);
	memcpy(other, token, sizeof(other));
	other[15] ^= 1;
	cr_assert_not(adv_hello_genuine(bytes, other, sizeof(other)));
	cr_assert_not(adv_hello_genuine(bytes, token, 15));
}

Test(wire, what_is_no_hello_is_refused)
{
	uint8_t bytes[64];
	struct adv_hello hello = {.lease = 5};
	make(bytes, 0);
	for (size_t size = 0; size < ADV_WIRE_HELLO_BYTES; size++)
		cr_assert_eq(adv_hello_parse(bytes, size, &hello), -EPROTO);
	cr_assert_eq(adv_hello_parse(NULL, 56, &hello), -EPROTO);
	bytes[0] = ADV_WIRE_VERSION + 1;
	cr_assert_eq(adv_hello_parse(bytes, 56, &hello), -EPROTONOSUPPORT);
	bytes[0] = 0;
	cr_assert_eq(adv_hello_parse(bytes, 56, &hello), -EPROTO);
	make(bytes, 0x80);
	cr_assert_eq(adv_hello_parse(bytes, 56, &hello), -EPROTO);
	make(bytes, 0);
	bytes[3] = 1;
	cr_assert_eq(adv_hello_parse(bytes, 56, &hello), -EPROTO);
	cr_assert_eq(hello.lease, 5, "it was left alone");
}
