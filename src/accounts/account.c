/* account.c - lines of accounts, and who may write them. Pure functions but for the key's file; any thread. */
#include "accounts/account.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fabric/wire.h"
#include "util/crc32c.h"
#include "util/fd.h"

#define VERSION	     1
#define FLAG_ADDS    1
#define SIGNED_BYTES 32
#define MAC_BYTES    16
#define KEY_FILE_MIN 32
#define KEY_FILE_MAX 4096

static_assert(SIGNED_BYTES + MAC_BYTES == ADV_ACCOUNT_HELLO_BYTES, "layout");
static_assert(ADV_ACCOUNT_SUMS * sizeof(uint64_t) == ADV_ACCOUNT_HEAD, "layout");

/* ---- lines ---- */

struct head {
	uint32_t tenant, zero, crc, used;
};

static_assert(sizeof(struct head) == ADV_ACCOUNT_LINE_BYTES - ADV_ACCOUNT_HEAD, "layout");

static uint32_t crc_of(const uint8_t line[ADV_ACCOUNT_LINE_BYTES], bool adds)
{
	unsigned from = adds ? ADV_ACCOUNT_HEAD : 0;
	return adv_crc32c(0, line + from, ADV_ACCOUNT_HEAD + offsetof(struct head, crc) - from);
}

void adv_account_pack(const struct adv_account *account, bool adds,
		      uint8_t line[ADV_ACCOUNT_LINE_BYTES])
{
	struct head head = {.tenant = account->tenant, .used = 1};
	memcpy(line, account->sums, ADV_ACCOUNT_HEAD);
	memcpy(line + ADV_ACCOUNT_HEAD, &head, sizeof(head));
	head.crc = crc_of(line, adds);
	memcpy(line + ADV_ACCOUNT_HEAD, &head, sizeof(head));
}

int adv_account_unpack(const void *at, bool adds, struct adv_account *account)
{
	uint8_t line[ADV_ACCOUNT_LINE_BYTES];
	struct head head;
	/* Words at once: what is added to is never seen half done. */
	for (unsigned i = 0; i < sizeof(line); i += sizeof(uint64_t)) {
		uint64_t word =
			__atomic_load_n((const uint64_t *)((const char *)at + i), __ATOMIC_ACQUIRE);
		memcpy(line + i, &word, sizeof(word));
	}
	memcpy(&head, line + ADV_ACCOUNT_HEAD, sizeof(head));
	if (head.used == 0)
		return -ENOENT;
	if (head.used != 1 || head.zero != 0 || head.crc != crc_of(line, adds))
		return -EBADMSG;
	account->tenant = head.tenant;
	memcpy(account->sums, line, ADV_ACCOUNT_HEAD);
	return 0;
}

const char *adv_account_sum_name(enum adv_account_sum sum)
{
	static const char *const names[ADV_ACCOUNT_SUMS] = {"core_us",	 "mib_ms", "executed_us",
							    "polled_us", "calls",  "bytes"};
	return names[sum];
}

/* ---- the connection ---- */

int adv_account_hello_pack(const struct adv_account_hello *hello,
			   const uint8_t key[ADV_ACCOUNT_KEY_BYTES],
			   uint8_t bytes[ADV_ACCOUNT_HELLO_BYTES])
{
	uint8_t mac[ADV_WIRE_MAC_BYTES];
	memset(bytes, 0, ADV_ACCOUNT_HELLO_BYTES);
	bytes[0] = VERSION;
	bytes[1] = hello->adds ? FLAG_ADDS : 0;
	memcpy(bytes + 8, &hello->counter, sizeof(hello->counter));
	memcpy(bytes + 16, hello->node, sizeof(hello->node));
	if (!adv_wire_mac(bytes, SIGNED_BYTES, key, ADV_ACCOUNT_KEY_BYTES, mac))
		return -EIO;
	memcpy(bytes + SIGNED_BYTES, mac, MAC_BYTES);
	return 0;
}

int adv_account_hello_parse(const void *data, size_t size, const uint8_t key[ADV_ACCOUNT_KEY_BYTES],
			    struct adv_account_hello *hello)
{
	const uint8_t *bytes = data;
	uint8_t mac[ADV_WIRE_MAC_BYTES];
	if (bytes == NULL || size < ADV_ACCOUNT_HELLO_BYTES || bytes[0] == 0)
		return -EPROTO;
	if (bytes[0] != VERSION)
		return -EPROTONOSUPPORT;
	if (!adv_wire_mac(bytes, SIGNED_BYTES, key, ADV_ACCOUNT_KEY_BYTES, mac))
		return -EIO;
	if (CRYPTO_memcmp(mac, bytes + SIGNED_BYTES, MAC_BYTES) != 0)
		return -EACCES;
	if ((bytes[1] & ~FLAG_ADDS) != 0)
		return -EPROTO;
	hello->adds = bytes[1] & FLAG_ADDS;
	memcpy(&hello->counter, bytes + 8, sizeof(hello->counter));
	memcpy(hello->node, bytes + 16, sizeof(hello->node));
	return 0;
}

void adv_account_welcome_pack(const struct adv_account_welcome *w,
			      uint8_t bytes[ADV_ACCOUNT_WELCOME_BYTES])
{
	memset(bytes, 0, ADV_ACCOUNT_WELCOME_BYTES);
	bytes[0] = VERSION;
	memcpy(bytes + 4, &w->lines, sizeof(w->lines));
	memcpy(bytes + 8, &w->rkey, sizeof(w->rkey));
	memcpy(bytes + 16, &w->address, sizeof(w->address));
}

int adv_account_welcome_parse(const void *data, size_t size, struct adv_account_welcome *w)
{
	const uint8_t *bytes = data;
	if (bytes == NULL || size < ADV_ACCOUNT_WELCOME_BYTES || bytes[0] == 0)
		return -EPROTO;
	if (bytes[0] != VERSION)
		return -EPROTONOSUPPORT;
	memcpy(&w->lines, bytes + 4, sizeof(w->lines));
	memcpy(&w->rkey, bytes + 8, sizeof(w->rkey));
	memcpy(&w->address, bytes + 16, sizeof(w->address));
	return w->lines > 0 && w->lines <= ADV_ACCOUNT_LINES ? 0 : -EPROTO;
}

int adv_account_key_read(const char *path, uint8_t key[ADV_ACCOUNT_KEY_BYTES], char *reason,
			 size_t size)
{
	uint8_t text[KEY_FILE_MAX];
	struct stat st;
	int fd ADV_CLEANUP_FD = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0) {
		snprintf(reason, size, "the accounting key %s: %s", path, strerror(errno));
		return -errno;
	}
	if ((st.st_mode & 077) != 0) {
		snprintf(reason, size,
			 "the accounting key %s may be read by others than its owner: chmod 600",
			 path);
		return -EACCES;
	}
	ssize_t n = read(fd, text, sizeof(text));
	if (n < KEY_FILE_MIN) {
		snprintf(
			reason, size,
			"the accounting key %s has %zd bytes: %d or more are needed, like those of "
			"`openssl rand -hex 32`",
			path, n, KEY_FILE_MIN);
		return -EINVAL;
	}
	int rc = EVP_Digest(text, (size_t)n, key, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
	OPENSSL_cleanse(text, sizeof(text));
	return rc;
}
