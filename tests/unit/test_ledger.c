/* test_ledger.c - bills: sums by tenant and module, saturation, what is dirty, and what is restored. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "allocator/ledger.h"

static struct adv_ledger *ledger;

static void setup(void)
{
	cr_assert_eq(adv_ledger_create(&ledger), 0);
}

static void teardown(void)
{
	adv_ledger_destroy(ledger);
}

TestSuite(ledger, .init = setup, .fini = teardown);

static struct adv_ledger_line line(uint32_t tenant, const char *module, uint64_t n)
{
	struct adv_ledger_line l = {.tenant = tenant,
				    .leases = n,
				    .allocated_core_us = 2 * n,
				    .allocated_mib_ms = 3 * n,
				    .executed_us = 4 * n,
				    .polled_us = 5 * n,
				    .cpu_us = 6 * n,
				    .calls = 7 * n,
				    .failures = 8 * n,
				    .bytes = 9 * n};
	snprintf(l.module, sizeof(l.module), "%s", module);
	return l;
}

static void add(uint32_t tenant, const char *module, uint64_t n)
{
	const struct adv_ledger_line l = line(tenant, module, n);
	cr_assert_eq(adv_ledger_add(ledger, &l), 0);
}

static void holds(const struct adv_ledger_line *found, uint32_t tenant, const char *module,
		  uint64_t n)
{
	const struct adv_ledger_line l = line(tenant, module, n);
	cr_assert_not_null(found);
	cr_assert_str_eq(found->module, l.module);
	cr_assert_arr_eq(found, &l, sizeof(l));
}

Test(ledger, empty)
{
	struct adv_ledger_line l;
	cr_assert_null(adv_ledger_at(ledger, 0));
	cr_assert_eq(adv_ledger_take_dirty(ledger, &l, 1), 0);
	adv_ledger_destroy(NULL);
}

Test(ledger, sums_by_tenant_and_module)
{
	add(1, "1/a", 1);
	add(1, "1/b", 10);
	add(2, "1/a", 100);
	add(1, "1/a", 1000);
	holds(adv_ledger_at(ledger, 0), 1, "1/a", 1001);
	holds(adv_ledger_at(ledger, 1), 1, "1/b", 10);
	holds(adv_ledger_at(ledger, 2), 2, "1/a", 100);
	cr_assert_null(adv_ledger_at(ledger, 3));
}

Test(ledger, saturates)
{
	struct adv_ledger_line l = {.tenant = 1, .module = "1/a", .calls = UINT64_MAX, .bytes = 5};
	cr_assert_eq(adv_ledger_add(ledger, &l), 0);
	cr_assert_eq(adv_ledger_add(ledger, &l), 0);
	cr_assert_eq(adv_ledger_at(ledger, 0)->calls, UINT64_MAX);
	cr_assert_eq(adv_ledger_at(ledger, 0)->bytes, 10);
	cr_assert_eq(adv_ledger_at(ledger, 0)->executed_us, 0);
}

Test(ledger, product)
{
	cr_assert_eq(adv_ledger_product(0, UINT64_MAX), 0);
	cr_assert_eq(adv_ledger_product(6, 7), 42);
	cr_assert_eq(adv_ledger_product(UINT64_MAX, 1), UINT64_MAX);
	cr_assert_eq(adv_ledger_product(UINT64_C(1) << 32, UINT64_C(1) << 31), UINT64_C(1) << 63);
	cr_assert_eq(adv_ledger_product(UINT64_C(1) << 32, UINT64_C(1) << 32), UINT64_MAX);
	cr_assert_eq(adv_ledger_product(UINT64_MAX, UINT64_MAX), UINT64_MAX);
}

Test(ledger, dirty_lines_are_taken_once)
{
	struct adv_ledger_line lines[4];
	add(1, "1/a", 1);
	add(1, "1/b", 2);
	cr_assert_eq(adv_ledger_take_dirty(ledger, lines, 4), 2);
	holds(&lines[0], 1, "1/a", 1);
	holds(&lines[1], 1, "1/b", 2);
	cr_assert_eq(adv_ledger_take_dirty(ledger, lines, 4), 0);
	add(1, "1/b", 3);
	cr_assert_eq(adv_ledger_take_dirty(ledger, lines, 4), 1);
	holds(&lines[0], 1, "1/b", 5); /* the absolute total */
}

Test(ledger, dirty_lines_in_pieces)
{
	struct adv_ledger_line l;
	for (uint32_t i = 0; i < 10; i++)
		add(i, "0/m", i + 1);
	cr_assert_eq(adv_ledger_take_dirty(ledger, &l, 0), 0);
	for (uint32_t i = 0; i < 10; i++) {
		cr_assert_eq(adv_ledger_take_dirty(ledger, &l, 1), 1);
		holds(&l, i, "0/m", i + 1);
	}
	cr_assert_eq(adv_ledger_take_dirty(ledger, &l, 1), 0);
}

Test(ledger, restored_lines_are_clean_and_go_on)
{
	struct adv_ledger_line taken;
	const struct adv_ledger_line stored = line(7, "7/m", 50);
	cr_assert_eq(adv_ledger_restore(ledger, &stored), 0);
	holds(adv_ledger_at(ledger, 0), 7, "7/m", 50);
	cr_assert_eq(adv_ledger_take_dirty(ledger, &taken, 1), 0);
	add(7, "7/m", 1);
	cr_assert_eq(adv_ledger_take_dirty(ledger, &taken, 1), 1);
	holds(&taken, 7, "7/m", 51);
}

/* Beyond what the table starts with; the longest name a module and its owner can have. */
Test(ledger, many_lines)
{
	char name[2 * ADV_NAME_MAX];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (uint32_t i = 0; i < 1000; i++)
		add(i, name, i);
	for (uint32_t i = 0; i < 1000; i++)
		add(i, name, 1);
	for (uint32_t i = 0; i < 1000; i++)
		holds(adv_ledger_at(ledger, i), i, name, i + 1);
	cr_assert_null(adv_ledger_at(ledger, 1000));
}

/* ---- prices ---- */

Test(ledger, costs_are_exact)
{
	const struct adv_prices prices = {.core_hour = 40000, /* 0.04 */
					  .gib_hour = 5000,
					  .executed_hour = 10000,
					  .polled_hour = 1,
					  .million_calls = 200000,
					  .gib = 10000};
	struct adv_ledger_line l = {.allocated_core_us = UINT64_C(3600) * 1000000};
	cr_assert_eq(adv_prices_cost(&prices, &l), 40000);
	l.allocated_core_us--;
	cr_assert_eq(adv_prices_cost(&prices, &l), 39999, "rounded down");
	l = (struct adv_ledger_line){.allocated_mib_ms = UINT64_C(2) * 3600 * 1000 * 1024};
	cr_assert_eq(adv_prices_cost(&prices, &l), 10000);
	l = (struct adv_ledger_line){.executed_us = UINT64_C(1800) * 1000000};
	cr_assert_eq(adv_prices_cost(&prices, &l), 5000);
	l = (struct adv_ledger_line){.polled_us = UINT64_C(3600) * 1000000};
	cr_assert_eq(adv_prices_cost(&prices, &l), 1);
	l = (struct adv_ledger_line){.calls = 5};
	cr_assert_eq(adv_prices_cost(&prices, &l), 1);
	l = (struct adv_ledger_line){.bytes = 3 * ADV_GIB};
	cr_assert_eq(adv_prices_cost(&prices, &l), 30000);
	l = (struct adv_ledger_line){.calls = 1000000, .bytes = ADV_GIB, .failures = 77};
	cr_assert_eq(adv_prices_cost(&prices, &l), 210000);
	const struct adv_prices free_of_charge = {0};
	l = (struct adv_ledger_line){.calls = UINT64_MAX, .bytes = UINT64_MAX};
	cr_assert_eq(adv_prices_cost(&free_of_charge, &l), 0);
}

/* A century of a thousand cores is no overflow; what is one saturates. */
Test(ledger, costs_that_are_large)
{
	struct adv_prices prices = {.core_hour = 1000000};
	struct adv_ledger_line l = {.allocated_core_us =
					    UINT64_C(1000) * 36525 * 24 * 3600 * 1000000};
	cr_assert_eq(adv_prices_cost(&prices, &l), UINT64_C(1000) * 36525 * 24 * 1000000);
	prices.core_hour = prices.million_calls = UINT64_MAX;
	l.calls = UINT64_MAX;
	cr_assert_eq(adv_prices_cost(&prices, &l), UINT64_MAX);
}

/* ---- between nodes ---- */

Test(ledger, accounts_by_tenant)
{
	struct adv_ledger *l;
	struct adv_account accounts[3];
	cr_assert_eq(adv_ledger_create(&l), 0);
	cr_assert_eq(adv_ledger_accounts(l, accounts, 3), 0);
	const struct adv_ledger_line lines[] = {
		{.tenant = 7, .module = "a", .calls = 1, .bytes = 10, .allocated_core_us = 100},
		{.tenant = 8, .module = "a", .calls = UINT64_MAX},
		{.tenant = 7, .module = "b", .calls = 2, .polled_us = 5},
		{.tenant = 8, .module = "b", .calls = 1}};
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(adv_ledger_add(l, &lines[i]), 0);
	cr_assert_eq(adv_ledger_accounts(l, accounts, 3), 2);
	cr_assert_eq(accounts[0].tenant, 7);
	cr_assert_eq(accounts[0].sums[ADV_ACCOUNT_CALLS], 3);
	cr_assert_eq(accounts[0].sums[ADV_ACCOUNT_BYTES], 10);
	cr_assert_eq(accounts[0].sums[ADV_ACCOUNT_CORE_US], 100);
	cr_assert_eq(accounts[0].sums[ADV_ACCOUNT_POLLED_US], 5);
	cr_assert_eq(accounts[1].tenant, 8);
	cr_assert_eq(accounts[1].sums[ADV_ACCOUNT_CALLS], UINT64_MAX, "saturated");
	cr_assert_gt(adv_ledger_accounts(l, accounts, 1), 1, "more than there is room for");
	cr_assert_eq(accounts[0].tenant, 7);
	adv_ledger_destroy(l);
}
