/*
 * accounts.c - what tenants have used, in the registry's database: the ledger's sums by tenant and module, and a bill for each lease, written
 * again and again while it lives. The registry's thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/internal.h"

#define NR_SUMS 9

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS ledger("
	" tenant INTEGER NOT NULL, module TEXT NOT NULL, leases INTEGER NOT NULL,"
	" core_us INTEGER NOT NULL, mib_ms INTEGER NOT NULL, executed_us INTEGER NOT NULL,"
	" polled_us INTEGER NOT NULL, cpu_us INTEGER NOT NULL, calls INTEGER NOT NULL,"
	" failures INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY(tenant, module)) WITHOUT "
	"ROWID;"
	"CREATE TABLE IF NOT EXISTS bill("
	" tenant INTEGER NOT NULL, module TEXT NOT NULL, leases INTEGER NOT NULL,"
	" core_us INTEGER NOT NULL, mib_ms INTEGER NOT NULL, executed_us INTEGER NOT NULL,"
	" polled_us INTEGER NOT NULL, cpu_us INTEGER NOT NULL, calls INTEGER NOT NULL,"
	" failures INTEGER NOT NULL, bytes INTEGER NOT NULL, run TEXT NOT NULL,"
	" lease INTEGER NOT NULL, workers INTEGER NOT NULL, memory INTEGER NOT NULL,"
	" began INTEGER NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY(run, lease)) WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS bill_seen ON bill(seen);";

int adv_accounts_prepare(sqlite3 *db)
{
	return sqlite3_exec(db, schema, NULL, NULL, NULL);
}

/* ---- a line: tenant, module and its sums, which both tables begin with ---- */

/* SQLite's integers are signed: a saturated sum is stored as its greatest one. */
static sqlite3_int64 clamp(uint64_t n)
{
	return n > INT64_MAX ? INT64_MAX : (sqlite3_int64)n;
}

static void bind_line(sqlite3_stmt *q, const struct adv_ledger_line *l)
{
	const uint64_t sums[NR_SUMS] = {l->leases,	l->allocated_core_us, l->allocated_mib_ms,
					l->executed_us, l->polled_us,	      l->cpu_us,
					l->calls,	l->failures,	      l->bytes};
	sqlite3_bind_int64(q, 1, l->tenant);
	sqlite3_bind_text(q, 2, l->module, -1, SQLITE_STATIC);
	for (int k = 0; k < NR_SUMS; k++)
		sqlite3_bind_int64(q, 3 + k, clamp(sums[k]));
}

static void read_line(sqlite3_stmt *q, struct adv_ledger_line *l)
{
	uint64_t *const sums[NR_SUMS] = {
		&l->leases,	 &l->allocated_core_us, &l->allocated_mib_ms,
		&l->executed_us, &l->polled_us,		&l->cpu_us,
		&l->calls,	 &l->failures,		&l->bytes};
	*l = (struct adv_ledger_line){.tenant = (uint32_t)sqlite3_column_int64(q, 0)};
	snprintf(l->module, sizeof(l->module), "%s", (const char *)sqlite3_column_text(q, 1));
	for (int k = 0; k < NR_SUMS; k++)
		*sums[k] = (uint64_t)sqlite3_column_int64(q, 2 + k);
}

/* All of them or none: `bind` fills in number i of `items`. */
static int put_all(sqlite3 *db, const char *sql,
		   void (*bind)(sqlite3_stmt *q, const void *items, size_t i), const void *items,
		   size_t n)
{
	sqlite3_stmt *q = NULL;
	int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, sql, -1, &q, NULL);
	for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
		sqlite3_reset(q);
		bind(q, items, i);
		rc = sqlite3_step(q) == SQLITE_DONE ? SQLITE_OK : sqlite3_errcode(db);
	}
	sqlite3_finalize(q);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

/* ---- the ledger ---- */

static void bind_ledger(sqlite3_stmt *q, const void *items, size_t i)
{
	bind_line(q, &((const struct adv_ledger_line *)items)[i]);
}

int adv_accounts_put_ledger(sqlite3 *db, const struct adv_ledger_line *lines, size_t n)
{
	return put_all(db, "INSERT OR REPLACE INTO ledger VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		       bind_ledger, lines, n);
}

int adv_accounts_read_ledger(sqlite3 *db,
			     void (*each)(void *user, const struct adv_ledger_line *line),
			     void *user)
{
	sqlite3_stmt *q;
	struct adv_ledger_line l;
	int rc = sqlite3_prepare_v2(db, "SELECT * FROM ledger ORDER BY tenant, module", -1, &q,
				    NULL);
	if (rc != SQLITE_OK)
		return rc;
	while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
		read_line(q, &l);
		each(user, &l);
	}
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* ---- bills ---- */

static void bind_bill(sqlite3_stmt *q, const void *items, size_t i)
{
	const struct adv_bill *b = &((const struct adv_bill *)items)[i];
	bind_line(q, &b->used);
	sqlite3_bind_text(q, 12, b->run, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 13, clamp(b->lease));
	sqlite3_bind_int64(q, 14, b->workers);
	sqlite3_bind_int64(q, 15, clamp(b->memory_bytes));
	sqlite3_bind_int64(q, 16, b->began_ms);
	sqlite3_bind_int64(q, 17, b->seen_ms);
}

int adv_accounts_put_bills(sqlite3 *db, const struct adv_bill *bills, size_t n)
{
	return put_all(db,
		       "INSERT OR REPLACE INTO bill VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
		       "?, ?, ?, ?)",
		       bind_bill, bills, n);
}

static const char question[] =
	"SELECT tenant, module, COUNT(*), SUM(core_us), SUM(mib_ms), SUM(executed_us),"
	" SUM(polled_us), SUM(cpu_us), SUM(calls), SUM(failures), SUM(bytes) FROM bill"
	" WHERE seen >= ?1 AND (?2 < 0 OR tenant = ?2)"
	" GROUP BY tenant, module ORDER BY tenant, module";

/* SQLite adds whole numbers exactly, and says so when a sum has become too large for it. */
int adv_accounts_sum_bills(sqlite3 *db, int64_t since_ms, int64_t tenant,
			   struct adv_ledger_line **lines, size_t *nr)
{
	sqlite3_stmt *q;
	size_t capacity = 0;
	*lines = NULL;
	*nr = 0;
	int rc = sqlite3_prepare_v2(db, question, -1, &q, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(q, 1, since_ms);
	sqlite3_bind_int64(q, 2, tenant);
	while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
		if (*nr == capacity) {
			capacity = capacity > 0 ? 2 * capacity : 16;
			struct adv_ledger_line *more =
				reallocarray(*lines, capacity, sizeof(*more));
			if (more == NULL) {
				rc = SQLITE_NOMEM;
				break;
			}
			*lines = more;
		}
		read_line(q, &(*lines)[(*nr)++]);
	}
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}
