/*
 * account.h - what a node tells an accounting node: a line for each tenant, and the connection's private data. Pure functions, any thread.
 *
 * This header is the specification; docs/leases.md says what it is for. Numbers are little-endian. A line is 64 bytes, the cache line that RDMA places:
 *
 *	0-47   six sums: core time in us, memory in MiB ms, executed in us, polled in us, calls, bytes
 *	48-51  tenant     52-55  zero     56-59  CRC-32C of bytes 0-55, with adding of bytes 48-55     60-63  1: the line is in use
 *
 * Writing: the sums are absolute, of all that the tenant has ever used on that node, and the whole line is one RDMA WRITE: written again it counts nothing
 * twice. A torn one has a wrong checksum, and is read again a second later.
 * Adding, as in the paper (rFaaS, IPDPS 2023, section IV): bytes 48-63 are written once, and each sum is what FETCH_AND_ADD has made of zero since the connection
 * was made. What is under way when a connection is lost may be counted or not, and is not sent again: at most once.
 */
#ifndef ADVERB_ACCOUNTS_ACCOUNT_H
#define ADVERB_ACCOUNTS_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/ledger.h"

#define ADV_ACCOUNT_LINE_BYTES	  64
#define ADV_ACCOUNT_LINES	  1024 /* of one node: tenants */
#define ADV_ACCOUNT_TABLE_BYTES	  (ADV_ACCOUNT_LINES * ADV_ACCOUNT_LINE_BYTES)
#define ADV_ACCOUNT_HEAD	  48 /* where a line's own words begin */
#define ADV_ACCOUNT_KEY_BYTES	  32
#define ADV_ACCOUNT_HELLO_BYTES	  48
#define ADV_ACCOUNT_WELCOME_BYTES 24

void adv_account_pack(const struct adv_account *account, bool adds,
		      uint8_t line[ADV_ACCOUNT_LINE_BYTES]);

/* `line` may be written meanwhile. 0; -ENOENT: not in use; -EBADMSG: it is being written, or is nonsense. */
int adv_account_unpack(const void *line, bool adds, struct adv_account *account);

/* "core_us", …: in JSON. */
const char *adv_account_sum_name(enum adv_account_sum sum);

/* ---- the connection ---- */

/*
 * Private data of the request, 48 bytes:
 *
 *	0 version (1)   1 flags (1: adds)   2-7 zero   8-15 counter   16-31 node   32-47 HMAC-SHA256(key, bytes 0-31), its first 16 bytes
 *
 * The counter is above that of any connection that this node has tried before: a lower one is a replay.
 */
struct adv_account_hello {
	bool adds;
	uint64_t counter;
	uint8_t node[ADV_ACCOUNT_NODE_BYTES];
};

/* 0, or -EIO: no HMAC to be had. */
int adv_account_hello_pack(const struct adv_account_hello *hello,
			   const uint8_t key[ADV_ACCOUNT_KEY_BYTES],
			   uint8_t bytes[ADV_ACCOUNT_HELLO_BYTES]);

/* 0; -EPROTO: something else; -EPROTONOSUPPORT: another version; -EACCES: not by this key, compared in constant time. */
int adv_account_hello_parse(const void *data, size_t size, const uint8_t key[ADV_ACCOUNT_KEY_BYTES],
			    struct adv_account_hello *hello);

/* Private data of the answer: where this node's table is. */
struct adv_account_welcome {
	uint64_t address;
	uint32_t rkey;
	uint32_t lines;
};
void adv_account_welcome_pack(const struct adv_account_welcome *welcome,
			      uint8_t bytes[ADV_ACCOUNT_WELCOME_BYTES]);
int adv_account_welcome_parse(const void *data, size_t size, struct adv_account_welcome *welcome);

/* Reads a key's file: 32 bytes or more, of which the key is the SHA-256. 0 or -errno with `reason`: also when others than its owner may read it. */
int adv_account_key_read(const char *path, uint8_t key[ADV_ACCOUNT_KEY_BYTES], char *reason,
			 size_t reason_size);

#endif
