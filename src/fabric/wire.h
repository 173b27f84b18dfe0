/*
 * wire.h - the bytes of the verbs fabric: immediates, the sleep announcement, a connection's private data. Pure functions, any thread.
 *
 * This header is the specification of what travels beside the lane's entries (lane/lane.h); docs/verbs.md draws it.
 * Numbers are little-endian, but for the immediate, which ibverbs carries in network order.
 *
 * Immediates, 32 bits: kind in bits 30-31, tag in bits 24-29, lane in bits 16-23, the low 16 bits of a sequence number in bits 0-15. The
 * tag tells one use of a queue pair from the next: it belongs to one lease after the other, and what was sent for another is not heard.
 *
 *	client to node                                          node to client
 *	0 CALL  entry seq of that lane lies in its ring         0 DONE  completions up to seq lie in the mirror
 *	1 ARM   the lane's arm line says what was seen last     1 NOTE  look at the mirror: answers an ARM
 *	2 QUIET this lease writes no more (lane: its first)     2 LINE  a node line lies in the mirror (seq: adv_wire_line())
 *
 * On a queue pair that carries a ping-pong instead of a lease (fabric/pingpong.h), lane and tag 0:
 *
 *	0 PING  seq: its number         2 PING_LAST  and no other is about to come       0 PONG  seq: the ping's
 *	1 TERMS lie at the beginning of the region
 */
#ifndef ADVERB_FABRIC_WIRE_H
#define ADVERB_FABRIC_WIRE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADV_WIRE_VERSION     1
#define ADV_WIRE_HELLO_BYTES 48 /* rdma_cm carries 56 */
#define ADV_WIRE_MAC_BYTES   32
#define ADV_WIRE_LANE_BITS   8
#define ADV_WIRE_LANE_MASK   ((1u << ADV_WIRE_LANE_BITS) - 1)
#define ADV_WIRE_TAG_MASK    63u
#define ADV_WIRE_LANES_MAX   (1u << 14) /* tag and lane together */

enum adv_wire_request {
	ADV_WIRE_CALL = 0,
	ADV_WIRE_ARM = 1,
	ADV_WIRE_QUIET = 2,
};

enum adv_wire_reply {
	ADV_WIRE_DONE = 0,
	ADV_WIRE_NOTE = 1,
	ADV_WIRE_LINE = 2,
};

enum adv_wire_ping {
	ADV_WIRE_PING = 0,
	ADV_WIRE_TERMS = 1,
	ADV_WIRE_PING_LAST = 2,
	ADV_WIRE_PONG = 0, /* the other way */
};

struct adv_wire_immediate {
	uint8_t kind;
	uint16_t lane; /* adv_wire_lane() */
	uint16_t seq;
};

static inline uint32_t adv_wire_lane(uint8_t tag, uint32_t lane)
{
	return (tag & ADV_WIRE_TAG_MASK) << ADV_WIRE_LANE_BITS | lane;
}

/* Which node line a LINE speaks of: what lies in the mirror by then may be a later one, whose own LINE has not come. */
static inline uint16_t adv_wire_line(uint16_t epoch, uint32_t revoking, uint32_t ended)
{
	return (uint16_t)((epoch & 0x3fff) | (revoking != 0) << 14 | (ended != 0) << 15);
}

/* In the order that ibv_send_wr and ibv_wc want. */
static inline uint32_t adv_wire_pack(unsigned kind, uint32_t lane, uint32_t seq)
{
	return __builtin_bswap32((uint32_t)kind << 30 | (lane & (ADV_WIRE_LANES_MAX - 1)) << 16 |
				 (seq & 0xffff));
}

static inline struct adv_wire_immediate adv_wire_unpack(uint32_t immediate)
{
	uint32_t host = __builtin_bswap32(immediate);
	return (struct adv_wire_immediate){
		.kind = (uint8_t)(host >> 30),
		.lane = (uint16_t)(host >> 16 & (ADV_WIRE_LANES_MAX - 1)),
		.seq = (uint16_t)host};
}

/*
 * A queue pair's purpose, said by the client in rdma_cm's private data. 48 bytes:
 *
 *	0 version   1 flags   2-3 zero   4-7 counter   8-15 lease id   16-47 HMAC-SHA256(lease token, bytes 0-15)
 *
 * The counter is above that of any connection tried with that lease before: a lower one is a replay.
 */
#define ADV_HELLO_SPARE	   1u /* made ahead, for the next lease of this process */
#define ADV_HELLO_PINGPONG 2u /* a bare ping-pong beside the lease: for measuring */
#define ADV_HELLO_FLAGS	   (ADV_HELLO_SPARE | ADV_HELLO_PINGPONG)

struct adv_hello {
	uint8_t flags;
	uint32_t counter;
	uint64_t lease;
};

/* What a node accepts with: the link's number; for a ping-pong the key and the size of its region too, else zeros or nothing. */
struct adv_welcome {
	uint32_t number;
	uint32_t region_rkey, region_bytes;
};

/* A ping-pong's terms. */
#define ADV_PING_BLOCKING 1u /* the answering side sleeps between pings */

struct adv_ping_terms {
	uint64_t mirror; /* where pongs go: laid out as the region */
	uint32_t mirror_rkey;
	uint32_t bytes; /* of each ping and pong */
	uint32_t places;
	uint32_t flags;
};

static_assert(sizeof(struct adv_welcome) == 12 && sizeof(struct adv_ping_terms) == 24, "layout");

/* `token` is the lease's, of token_size bytes. 0; -EIO: no HMAC to be had. */
int adv_hello_pack(const struct adv_hello *hello, const uint8_t *token, size_t token_size,
		   uint8_t bytes[ADV_WIRE_HELLO_BYTES]);

/*
 * Reads what a stranger sent: `size` is what rdma_cm says there is, which may be more (it pads) or less. Proves nothing yet.
 * 0; -EPROTO: not a hello; -EPROTONOSUPPORT: another version.
 */
int adv_hello_parse(const void *bytes, size_t size, struct adv_hello *hello);

/* Is it from somebody who knows the token? Compared in constant time. `bytes` have been parsed before. */
bool adv_hello_genuine(const uint8_t bytes[ADV_WIRE_HELLO_BYTES], const uint8_t *token,
		       size_t token_size);

/* HMAC-SHA256, what every kind of private data here is signed by. False: there is none to be had. */
bool adv_wire_mac(const void *bytes, size_t nr_bytes, const uint8_t *key, size_t key_size,
		  uint8_t mac[ADV_WIRE_MAC_BYTES]);

#endif
