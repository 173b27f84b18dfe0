/* test_account.c - lines of accounts as they lie in an accounting node's table, and who may write there. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "accounts/account.h"

static const uint8_t key[ADV_ACCOUNT_KEY_BYTES] = {1, 2, 3};
static const struct adv_account some = {.tenant = 1000,
					.sums = {1, UINT64_MAX, 3, 1ull << 40, 5, 6}};
static uint8_t line[ADV_ACCOUNT_LINE_BYTES] __attribute__((aligned(64)));

static bool same(const struct adv_account *a, const struct adv_account *b)
{
	return a->tenant == b->tenant && memcmp(a->sums, b->sums, sizeof(a->sums)) == 0;
}

Test(account, written_lines)
{
	struct adv_account got;
	cr_assert_eq(adv_account_unpack(line, false, &got), -ENOENT, "nothing is there");
	adv_account_pack(&some, false, line);
	cr_assert_eq(adv_account_unpack(line, false, &got), 0);
	cr_assert(same(&got, &some));
}

/* Any part of a line that is new, and the rest old: it is not believed. */
Test(account, torn_lines)
{
	struct adv_account got, other = some;
	uint8_t next[ADV_ACCOUNT_LINE_BYTES],
		torn[ADV_ACCOUNT_LINE_BYTES] __attribute__((aligned(64)));
	for (int k = 0; k < ADV_ACCOUNT_SUMS; k++)
		other.sums[k] += 1000003;
	adv_account_pack(&some, false, line);
	adv_account_pack(&other, false, next);
	for (size_t n = 8; n < 60; n += 4) {
		memcpy(torn, next, n);
		memcpy(torn + n, line + n, sizeof(torn) - n);
		int rc = adv_account_unpack(torn, false, &got);
		/* Behind the last byte that differs it is the new one, whole. */
		cr_assert(rc == -EBADMSG || same(&got, &other), "%zu", n);
	}
	for (size_t bit = 0; bit < 60 * 8; bit++) {
		memcpy(torn, line, sizeof(torn));
		torn[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(adv_account_unpack(torn, false, &got), -EBADMSG, "bit %zu", bit);
	}
}

/* Sums are added to one by one: they are under no checksum; whose they are is. */
Test(account, added_lines)
{
	struct adv_account got;
	uint64_t calls = 7;
	adv_account_pack(&some, true, line);
	memset(line, 0, ADV_ACCOUNT_HEAD);
	memcpy(line + 8 * ADV_ACCOUNT_CALLS, &calls, sizeof(calls));
	cr_assert_eq(adv_account_unpack(line, true, &got), 0);
	cr_assert_eq(got.tenant, some.tenant);
	cr_assert_eq(got.sums[ADV_ACCOUNT_CALLS], 7);
	cr_assert_eq(got.sums[ADV_ACCOUNT_CORE_US], 0);
	line[ADV_ACCOUNT_HEAD]++;
	cr_assert_eq(adv_account_unpack(line, true, &got), -EBADMSG);
}

Test(account, who_has_the_key)
{
	struct adv_account_hello got,
		hello = {.adds = true, .counter = 1ull << 50, .node = {9, 8, 7}};
	uint8_t bytes[ADV_ACCOUNT_HELLO_BYTES], changed[ADV_ACCOUNT_HELLO_BYTES],
		wrong[32] = {1, 2, 4};
	cr_assert_eq(adv_account_hello_pack(&hello, key, bytes), 0);
	cr_assert_eq(adv_account_hello_parse(bytes, sizeof(bytes), key, &got), 0);
	cr_assert_eq(got.counter, hello.counter);
	cr_assert(got.adds);
	cr_assert_arr_eq(got.node, hello.node, sizeof(got.node));
	cr_assert_eq(adv_account_hello_parse(bytes, sizeof(bytes), wrong, &got), -EACCES);
	for (size_t bit = 8; bit < sizeof(bytes) * 8; bit++) {
		memcpy(changed, bytes, sizeof(changed));
		changed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(adv_account_hello_parse(changed, sizeof(changed), key, &got), -EACCES,
			     "bit %zu", bit);
	}
	cr_assert_eq(adv_account_hello_parse(bytes, sizeof(bytes) - 1, key, &got), -EPROTO);
	cr_assert_eq(adv_account_hello_parse(NULL, 0, key, &got), -EPROTO);
	memset(changed, 0, sizeof(changed));
	cr_assert_eq(adv_account_hello_parse(changed, sizeof(changed), key, &got), -EPROTO);
	bytes[0] = 2;
	cr_assert_eq(adv_account_hello_parse(bytes, sizeof(bytes), key, &got), -EPROTONOSUPPORT);
}

Test(account, where_the_table_is)
{
	struct adv_account_welcome got, welcome = {.address = 0x7f0000001000,
						   .rkey = 0xdeadbeef,
						   .lines = ADV_ACCOUNT_LINES};
	uint8_t bytes[ADV_ACCOUNT_WELCOME_BYTES];
	adv_account_welcome_pack(&welcome, bytes);
	cr_assert_eq(adv_account_welcome_parse(bytes, sizeof(bytes), &got), 0);
	cr_assert(got.address == welcome.address && got.rkey == welcome.rkey &&
		  got.lines == welcome.lines);
	cr_assert_eq(adv_account_welcome_parse(bytes, sizeof(bytes) - 1, &got), -EPROTO);
	welcome.lines = ADV_ACCOUNT_LINES + 1;
	adv_account_welcome_pack(&welcome, bytes);
	cr_assert_eq(adv_account_welcome_parse(bytes, sizeof(bytes), &got), -EPROTO,
		     "more than this side has lines");
	bytes[0] = 9;
	cr_assert_eq(adv_account_welcome_parse(bytes, sizeof(bytes), &got), -EPROTONOSUPPORT);
}

static int key_of(const char *text, mode_t mode, uint8_t to[ADV_ACCOUNT_KEY_BYTES], char *reason,
		  size_t size)
{
	char path[] = "/tmp/adverb-key-XXXXXX";
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	cr_assert_eq(fchmod(fd, mode), 0);
	close(fd);
	int rc = adv_account_key_read(path, to, reason, size);
	unlink(path);
	return rc;
}

Test(account, the_key)
{
	uint8_t one[ADV_ACCOUNT_KEY_BYTES], two[ADV_ACCOUNT_KEY_BYTES];
	char reason[256];
	static const char text[] = "0123456789abcdef0123456789abcdef";
	cr_assert_eq(key_of(text, 0600, one, reason, sizeof(reason)), 0, "%s", reason);
	cr_assert_eq(key_of(text, 0400, two, reason, sizeof(reason)), 0, "%s", reason);
	cr_assert_arr_eq(one, two, sizeof(one));
	cr_assert_eq(key_of(text, 0640, one, reason, sizeof(reason)), -EACCES);
	cr_assert_not_null(strstr(reason, "chmod 600"), "%s", reason);
	cr_assert_eq(key_of(text + 1, 0600, one, reason, sizeof(reason)), -EINVAL);
	cr_assert_not_null(strstr(reason, "openssl"), "%s", reason);
	cr_assert_eq(adv_account_key_read("/nonexistent", one, reason, sizeof(reason)), -ENOENT);
}
