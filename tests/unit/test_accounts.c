/*
 * test_accounts.c - accounts in the registry's database: the ledger's totals, bills of leases and how long they are kept, what other nodes have told;
 * and a database of before.
 */
#include <sqlite3.h>

#include "registry/internal.h"
#include "scratch.h"

#define ALICE 1000

static char reason[ADV_REASON_MAX];
static struct adv_registry *r;

static void open_it(void)
{
	int rc = adv_registry_open(scratch_path("state"), &r, reason, sizeof(reason));
	cr_assert_eq(rc, 0, "%d: %s", rc, reason);
}

static void close_it(void)
{
	adv_registry_close(r);
	r = NULL;
}

static void reopen(void)
{
	close_it();
	open_it();
}

static void tear_down(void)
{
	close_it();
	scratch_remove();
}

TestSuite(accounts, .init = scratch_make, .fini = tear_down);

static void sql(const char *text)
{
	sqlite3 *db;
	cr_assert_eq(sqlite3_open(scratch_path("state/registry.db"), &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

/* ---- the ledger ---- */

static struct adv_ledger_line lines_read[4];
static unsigned nr_read;

static void read_line(void *user, const struct adv_ledger_line *line)
{
	(void)user;
	cr_assert_lt(nr_read, 4);
	lines_read[nr_read++] = *line;
}

Test(accounts, the_ledger_keeps_absolute_totals)
{
	struct adv_ledger_line lines[2] = {
		{.tenant = 4294967295u, .module = "1000/m", .leases = 1, .calls = UINT64_MAX},
		{.tenant = ALICE,
		 .module = "1000/m",
		 .allocated_core_us = 2,
		 .allocated_mib_ms = 3,
		 .executed_us = 4,
		 .polled_us = 5,
		 .cpu_us = 6,
		 .calls = 7,
		 .failures = 8,
		 .bytes = 9,
		 .ended = {0, 1, [6] = 2, [14] = 5, [15] = 7}},
	};
	open_it();
	cr_assert_eq(adv_registry_store_ledger(r, lines, 2), 0);
	lines[1].calls = 70;
	cr_assert_eq(adv_registry_store_ledger(r, &lines[1], 1), 0);
	reopen();
	cr_assert_eq(adv_registry_read_ledger(r, read_line, NULL), 0);
	cr_assert_eq(nr_read, 2);
	cr_assert_arr_eq(&lines_read[0], &lines[1], sizeof(lines[1]));
	cr_assert_eq(lines_read[1].tenant, 4294967295u);
	cr_assert_eq(lines_read[1].calls, INT64_MAX); /* saturated */
}

/* As the last version left them. */
Test(accounts, accounts_of_before_count_on)
{
	struct adv_ledger_line line = {.tenant = ALICE, .module = "1000/m", .calls = 7};
	line.ended[3] = 4;
	open_it();
	cr_assert_eq(adv_registry_store_ledger(r, &line, 1), 0);
	close_it();
	sql("ALTER TABLE ledger DROP COLUMN ended_3; ALTER TABLE bill DROP COLUMN ended_15");
	open_it();
	cr_assert_eq(adv_registry_read_ledger(r, read_line, NULL), 0);
	cr_assert_eq(lines_read[0].calls, 7);
	cr_assert_eq(lines_read[0].ended[3], 0, "nobody counted them");
	cr_assert_eq(adv_registry_store_ledger(r, &line, 1), 0);
	reopen();
	cr_assert_eq(adv_registry_read_ledger(r, read_line, NULL), 0);
	cr_assert_eq(lines_read[nr_read - 1].ended[3], 4);
}

struct summed {
	struct adv_bill_sums sums;
	bool done;
};

static void summed(void *user, enum adv_status status, const char *why)
{
	cr_assert_eq(status, ADV_OK, "%s", why);
	((struct summed *)user)->done = true;
}

static uint64_t calls_billed(void)
{
	struct summed s = {.sums = {.tenant = -1}};
	cr_assert_eq(adv_registry_sum_bills(r, &s.sums, summed, &s), 0);
	while (!s.done)
		adv_registry_poll(r);
	uint64_t calls = s.sums.nr_lines > 0 ? s.sums.lines[0].calls : 0;
	free(s.sums.lines);
	return calls;
}

Test(accounts, old_bills_go)
{
	struct adv_bill bills[2] = {{.run = "a",
				     .lease = 1,
				     .seen_ms = 1000,
				     .used = {.tenant = ALICE, .leases = 1, .calls = 1}},
				    {.run = "a",
				     .lease = 2,
				     .seen_ms = 2000,
				     .used = {.tenant = ALICE, .leases = 1, .calls = 10}}};
	open_it();
	cr_assert_eq(adv_registry_store_bills(r, bills, 2), 0);
	cr_assert_eq(calls_billed(), 11);
	cr_assert_eq(adv_registry_forget_bills(r, 1000), 0);
	cr_assert_eq(calls_billed(), 11, "that one is not older");
	cr_assert_eq(adv_registry_forget_bills(r, 1001), 0);
	cr_assert_eq(calls_billed(), 10);
}

static struct adv_collected collected[4];
static size_t nr_collected;

static void read_collected(void *user, const struct adv_collected *row)
{
	(void)user;
	collected[nr_collected++] = *row;
}

Test(accounts, what_other_nodes_have_told)
{
	struct adv_collected rows[2] = {
		{.node = "aa", .tenant = 7, .counter = 1, .seen_ms = 5, .sums = {1, 2, 3, 4, 5, 6}},
		{.node = "aa", .tenant = 7, .adds = true, .sums = {9}}};
	open_it();
	cr_assert_eq(adv_registry_store_collected(r, rows, 2), 0);
	rows[0].sums[0] = 11;
	cr_assert_eq(adv_registry_store_collected(r, rows, 1), 0);
	reopen();
	cr_assert_eq(adv_registry_read_collected(r, read_collected, NULL), 0);
	cr_assert_eq(nr_collected, 2);
	cr_assert_arr_eq(&collected[0], &rows[0], sizeof(rows[0]));
	cr_assert_arr_eq(&collected[1], &rows[1], sizeof(rows[1]));
}
