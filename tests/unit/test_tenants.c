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

/* A local user comes by its uid; who has neither could not come at all. */
Test(tenants, one_without_token_and_uid_is_refused)
{
	cr_assert_eq(set("a", "uid", "5"), 0);
	cr_assert_eq(check(), 0, "%s", reason);
	cr_assert_eq(set("b", "cores", "5"), 0);
	cr_assert_eq(check(), -EINVAL);
	cr_assert_not_null(strstr(reason, "token_sha256 is missing"), "%s", reason);
}

/* One without a token is found by none, not even by the one whose hash is all zero. */
Test(tenants, no_token_finds_one_without)
{
	cr_assert_eq(set("a", "uid", "5"), 0);
	cr_assert_eq(set("b", "uid", "6"), 0);
	cr_assert_eq(check(), 0, "they have no token in common: %s", reason);
	cr_assert_null(adv_tenants_find(&t, ""));
}

Test(tenants, limits)
{
	cr_assert_eq(set("a", "uid", "5"), 0);
	cr_assert_not(t.list[0].has_limits);
	cr_assert_eq(set("a", "cores", "12"), 0);
	cr_assert_eq(set("a", "leases", "3"), 0);
	cr_assert_eq(set("a", "rate", "100"), 0);
	cr_assert_eq(set("a", "memory", "2GiB"), 0);
	cr_assert(t.list[0].has_limits);
	cr_assert_eq(t.list[0].limits.cores, 12);
	cr_assert_eq(t.list[0].limits.leases, 3);
	cr_assert_eq(t.list[0].limits.per_second, 100);
	cr_assert_eq(t.list[0].limits.memory_bytes, 2 * ADV_GIB);
	static const char *const bad[][2] = {
		{"cores", "0"},	 {"cores", "-1"},    {"cores", "many"}, {"cores", "4294967296"},
		{"memory", "1"}, {"memory", "lots"}, {"rate", "0"},	{"leases", ""}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(set("a", bad[i][0], bad[i][1]), -EINVAL, "%s", bad[i][1]);
		cr_assert_not_null(strstr(reason, "from 1"), "%s", reason);
		cr_assert_eq(adv_tenants_limit(&t, bad[i][0], bad[i][1], reason, sizeof(reason)),
			     -EINVAL);
	}
	cr_assert_eq(set("a", "coers", "1"), -EINVAL);
	cr_assert_not_null(strstr(reason, "its keys are"), "%s", reason);
	cr_assert_eq(adv_tenants_limit(&t, "cores", "4", reason, sizeof(reason)), 0);
	cr_assert_eq(t.each.cores, 4);
	cr_assert_eq(adv_tenants_limit(&t, "uid", "4", reason, sizeof(reason)), -EINVAL);
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
