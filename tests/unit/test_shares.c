/* test_shares.c - what tenants may hold: each limit for itself, the rate, and that what is given back is free again. */
#include <criterion/criterion.h>

#include "allocator/shares.h"
#include "util/limits.h"

#define START (100 * ADV_SEC)

static struct adv_shares *shares;
static uint64_t limit, held, when;

static void make(struct adv_share_limits each, const struct adv_share_own *own, size_t nr_own)
{
	const struct adv_shares_options options = {.each = each, .own = own, .nr_own = nr_own};
	cr_assert_eq(adv_shares_create(&options, &shares), 0);
}

static void end(void)
{
	adv_shares_destroy(shares);
}

TestSuite(shares, .fini = end);

static enum adv_share_lack lack(uint32_t tenant, uint32_t cores, uint64_t memory, uint64_t now)
{
	when = UINT64_MAX;
	return adv_shares_lack(shares, tenant, cores, memory, now, &limit, &held, &when);
}

static void take(uint32_t tenant, uint32_t cores, uint64_t memory, uint64_t now)
{
	cr_assert_eq(lack(tenant, cores, memory, now), ADV_SHARE_ENOUGH);
	cr_assert_eq(adv_shares_take(shares, tenant, cores, memory, now), 0);
}

Test(shares, without_limits_there_are_none)
{
	make((struct adv_share_limits){0}, NULL, 0);
	for (int i = 0; i < 1000; i++)
		take(1, UINT32_MAX / 1000, UINT64_MAX / 1000, START);
	cr_assert_eq(adv_shares_cores(shares, 1), 1000 * (UINT32_MAX / 1000));
	cr_assert_eq(adv_shares_cores(shares, 2), 0);
}

Test(shares, cores)
{
	make((struct adv_share_limits){.cores = 4}, NULL, 0);
	take(1, 3, 0, START);
	cr_assert_eq(lack(1, 2, 0, START), ADV_SHARE_CORES);
	cr_assert(limit == 4 && held == 3);
	take(1, 1, 0, START);
	take(2, 4, 0, START);
	adv_shares_give(shares, 1, 3, 0);
	take(1, 3, 0, START);
	cr_assert_eq(lack(1, UINT32_MAX, 0, START), ADV_SHARE_CORES, "it does not wrap around");
}

Test(shares, leases)
{
	make((struct adv_share_limits){.leases = 2}, NULL, 0);
	take(1, 1, 0, START);
	take(1, 1, 0, START);
	cr_assert_eq(lack(1, 1, 0, START), ADV_SHARE_LEASES);
	cr_assert(limit == 2 && held == 2);
	adv_shares_give(shares, 1, 1, 0);
	take(1, 1, 0, START);
}

Test(shares, memory)
{
	make((struct adv_share_limits){.memory_bytes = 10 * ADV_MIB}, NULL, 0);
	take(1, 1, 6 * ADV_MIB, START);
	cr_assert_eq(lack(1, 1, 5 * ADV_MIB, START), ADV_SHARE_MEMORY);
	cr_assert(limit == 10 * ADV_MIB && held == 6 * ADV_MIB);
	cr_assert_eq(lack(1, 1, UINT64_MAX, START), ADV_SHARE_MEMORY);
	cr_assert_eq(lack(2, 1, 11 * ADV_MIB, START), ADV_SHARE_MEMORY);
	take(1, 1, 4 * ADV_MIB, START);
}

/* As many at once as its rate is, then one each time that it says. */
Test(shares, rate)
{
	make((struct adv_share_limits){.per_second = 10}, NULL, 0);
	for (int i = 0; i < 10; i++)
		take(1, 1, 0, START);
	cr_assert_eq(lack(1, 1, 0, START), ADV_SHARE_RATE);
	cr_assert_eq(when, START + 100 * ADV_MS);
	cr_assert_eq(lack(1, 1, 0, when - 1), ADV_SHARE_RATE);
	take(1, 1, 0, START + 100 * ADV_MS);
	cr_assert_eq(lack(1, 1, 0, START + 100 * ADV_MS), ADV_SHARE_RATE);
	take(2, 1, 0, START);
	/* In a long time there are as many as the rate says, and no more. */
	unsigned granted = 0;
	for (uint64_t now = START + ADV_SEC; now < START + 101 * ADV_SEC; now += 7 * ADV_MS)
		if (lack(1, 1, 0, now) == ADV_SHARE_ENOUGH) {
			take(1, 1, 0, now);
			granted++;
		}
	cr_assert(granted >= 1000 && granted <= 1011, "%u", granted);
}

Test(shares, of_its_own)
{
	const struct adv_share_own own[] = {{.tenant = 7, .limits = {.cores = 100}},
					    {.tenant = 8, .limits = {.leases = 1}}};
	make((struct adv_share_limits){.cores = 1, .leases = 5}, own, 2);
	for (int i = 0; i < 10; i++)
		take(7, 10, 0, START);
	cr_assert_eq(lack(7, 1, 0, START), ADV_SHARE_CORES);
	take(8, 50, 0, START);
	cr_assert_eq(lack(8, 1, 0, START), ADV_SHARE_LEASES);
	cr_assert_eq(lack(9, 2, 0, START), ADV_SHARE_CORES);
}

/* Tenants that come and go leave nothing behind; the rate of one that has just gone is not forgotten. */
Test(shares, many_tenants)
{
	make((struct adv_share_limits){.per_second = 2}, NULL, 0);
	uint64_t now = START;
	for (uint32_t tenant = 0; tenant < 100000; tenant++, now += ADV_MS) {
		take(tenant, 1, 1, now);
		take(tenant, 1, 1, now);
		adv_shares_give(shares, tenant, 1, 1);
		adv_shares_give(shares, tenant, 1, 1);
		cr_assert_eq(lack(tenant, 1, 1, now), ADV_SHARE_RATE);
	}
}
