/* wire.c - a connection's private data. Pure functions, any thread. */
#include "fabric/wire.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define SIGNED_BYTES 16 /* what stands before the MAC */

static_assert(SIGNED_BYTES + ADV_WIRE_MAC_BYTES == ADV_WIRE_HELLO_BYTES, "layout");

bool adv_wire_mac(const void *bytes, size_t nr_bytes, const uint8_t *key, size_t key_size,
		  uint8_t mac[ADV_WIRE_MAC_BYTES])
{
	unsigned size = 0;
	return HMAC(EVP_sha256(), key, (int)key_size, bytes, nr_bytes, mac, &size) != NULL &&
	       size == ADV_WIRE_MAC_BYTES;
}

int adv_hello_pack(const struct adv_hello *hello, const uint8_t *token, size_t token_size,
		   uint8_t bytes[ADV_WIRE_HELLO_BYTES])
{
	memset(bytes, 0, ADV_WIRE_HELLO_BYTES);
	bytes[0] = ADV_WIRE_VERSION;
	bytes[1] = hello->flags;
	memcpy(bytes + 4, &hello->counter, sizeof(hello->counter));
	memcpy(bytes + 8, &hello->lease, sizeof(hello->lease));
	return adv_wire_mac(bytes, SIGNED_BYTES, token, token_size, bytes + SIGNED_BYTES) ? 0
											  : -EIO;
}

int adv_hello_parse(const void *data, size_t size, struct adv_hello *hello)
{
	const uint8_t *bytes = data;
	if (bytes == NULL || size < ADV_WIRE_HELLO_BYTES || bytes[0] == 0)
		return -EPROTO;
	if (bytes[0] != ADV_WIRE_VERSION)
		return -EPROTONOSUPPORT;
	if ((bytes[1] & ~ADV_HELLO_FLAGS) != 0 || bytes[2] != 0 || bytes[3] != 0)
		return -EPROTO;
	hello->flags = bytes[1];
	memcpy(&hello->counter, bytes + 4, sizeof(hello->counter));
	memcpy(&hello->lease, bytes + 8, sizeof(hello->lease));
	return 0;
}

bool adv_hello_genuine(const uint8_t bytes[ADV_WIRE_HELLO_BYTES], const uint8_t *token,
		       size_t token_size)
{
	uint8_t mac[ADV_WIRE_MAC_BYTES];
	return adv_wire_mac(bytes, SIGNED_BYTES, token, token_size, mac) &&
	       CRYPTO_memcmp(mac, bytes + SIGNED_BYTES, sizeof(mac)) == 0;
}
