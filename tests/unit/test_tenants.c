/* Tenants by token. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control/tenants.h"

/* SHA-256 of "secret" and of "other". */
#define SECRET "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
#define OTHER  "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"

static struct adv_tenants t;
static char reason[512];

static int set(const char *name, const char *key, const char *value)
{
	reason[0] = '\0';
	return adv_tenants_set(&t, name, key, value, reason, sizeof(reason));
}

static int check(void)
{
	reason[0] = '\0';
	return adv_tenants_check(&t, reason, sizeof(reason));
}

static void start(void)
{
	memset(&t, 0, sizeof(t));
}

TestSuite(tenants, .init = start);

Test(tenants, a_token_finds_its_tenant)
{
	cr_assert_eq(set("alice", "token_sha256", SECRET), 0);
	cr_assert_eq(set("bob", "token_sha256", OTHER), 0);
	cr_assert_eq(set("bob", "uid", "1000"), 0);
	cr_assert_eq(check(), 0);
	const struct adv_tenant *alice = adv_tenants_find(&t, "secret");
	cr_assert_not_null(alice);
	cr_assert_str_eq(alice->name, "alice");
	cr_assert_geq(alice->number, 0x80000000u);
	cr_assert_neq(alice->number, ADV_TENANT_NOBODY);
	cr_assert_eq(adv_tenants_find(&t, "other")->number, 1000);
	cr_assert_null(adv_tenants_find(&t, ""));
	cr_assert_null(adv_tenants_find(&t, "secret "));
	cr_assert_str_eq(adv_tenants_name(&t, 1000), "bob");
	cr_assert_null(adv_tenants_name(&t, 7));
}

Test(tenants, a_number_from_a_name_stays)
{
	cr_assert_eq(set("alice", "token_sha256", SECRET), 0);
	cr_assert_eq(check(), 0);
	uint32_t number = t.list[0].number;
	start();
	cr_assert_eq(set("zoe", "token_sha256", OTHER), 0);
	cr_assert_eq(set("alice", "token_sha256", SECRET), 0);
	cr_assert_eq(check(), 0);
	cr_assert_eq(t.list[1].number, number);
}

static void refused(const char *name, const char *key, const char *value, const char *says)
{
	start();
	cr_assert_eq(set(name, key, value), -EINVAL, "%s %s %s", name, key, value);
	cr_assert_not_null(strstr(reason, says), "%s", reason);
}

Test(tenants, bad_lines_are_refused)
{
	refused("", "uid", "1", "a name has");
	refused("with space", "uid", "1", "a name has");
	refused("a/b", "uid", "1", "a name has");
	refused("a", "uid", "0", "not 0");
	refused("a", "uid", "2147483648", "uid must be");
	refused("a", "uid", "-1", "uid must be");
	refused("a", "uid", "1x", "uid must be");
	refused("a", "token_sha256", "", "64 hexadecimal");
	refused("a", "token_sha256", SECRET "0", "64 hexadecimal");
	refused("a", "token_sha256", "g" SECRET, "64 hexadecimal");
	refused("a", "colour", "blue", "its keys are");
}

Test(tenants, twice_the_same_is_refused)
{
	cr_assert_eq(set("a", "token_sha256", SECRET), 0);
	cr_assert_eq(set("a", "token_sha256", OTHER), -EINVAL);
	cr_assert_eq(set("b", "token_sha256", SECRET), 0);
	cr_assert_eq(check(), -EINVAL);
	cr_assert_not_null(strstr(reason, "has the token of [tenant a]"), "%s", reason);
	start();
	cr_assert_eq(set("a", "token_sha256", SECRET), 0);
	cr_assert_eq(set("a", "uid", "5"), 0);
	cr_assert_eq(set("b", "token_sha256", OTHER), 0);
	cr_assert_eq(set("b", "uid", "5"), 0);
	cr_assert_eq(check(), -EINVAL);
	cr_assert_not_null(strstr(reason, "has the number"), "%s", reason);
}

Test(tenants, one_without_a_token_is_refused)
{
	cr_assert_eq(set("a", "uid", "5"), 0);
	cr_assert_eq(check(), -EINVAL);
	cr_assert_not_null(strstr(reason, "token_sha256 is missing"), "%s", reason);
}

Test(tenants, there_is_a_limit)
{
	char name[16];
	for (int i = 0; i < ADV_TENANTS_MAX; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		cr_assert_eq(set(name, "uid", "5"), 0);
	}
	cr_assert_eq(set("one-more", "uid", "5"), -EINVAL);
	cr_assert_not_null(strstr(reason, "too many"), "%s", reason);
}
