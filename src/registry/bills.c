/*
 * bills.c - what each lease has used, in the registry's database: a row for each, written again and again while it lives. The
 * registry's thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/internal.h"

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS bill("
	" run TEXT NOT NULL, lease INTEGER NOT NULL, tenant INTEGER NOT NULL, module TEXT NOT NULL,"
	" workers INTEGER NOT NULL, memory INTEGER NOT NULL, began INTEGER NOT NULL,"
	" seen INTEGER NOT NULL, ended INTEGER NOT NULL, core_us INTEGER NOT NULL,"
	" mib_ms INTEGER NOT NULL, executed_us INTEGER NOT NULL, polled_us INTEGER NOT NULL,"
	" cpu_us INTEGER NOT NULL, calls INTEGER NOT NULL, failures INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL, PRIMARY KEY(run, lease)) WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS bill_seen ON bill(seen);"
	/* Of a node that was killed: they ended with it, and are counted up to their last second. */
	"UPDATE bill SET ended = 1 WHERE ended = 0;";

int adv_bills_prepare(sqlite3 *db)
{
	return sqlite3_exec(db, schema, NULL, NULL, NULL);
}

static sqlite3_int64 clamp(uint64_t n)
{
	return n > INT64_MAX ? INT64_MAX : (sqlite3_int64)n;
}

static int put_one(sqlite3_stmt *q, const struct adv_bill *b)
{
	const struct adv_ledger_line *u = &b->used;
	const uint64_t numbers[] = {b->workers,
				    b->memory_bytes,
				    (uint64_t)b->began_ms,
				    (uint64_t)b->seen_ms,
				    b->ended,
				    u->allocated_core_us,
				    u->allocated_mib_ms,
				    u->executed_us,
				    u->polled_us,
				    u->cpu_us,
				    u->calls,
				    u->failures,
				    u->bytes};
	sqlite3_reset(q);
	sqlite3_bind_text(q, 1, b->run, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 2, clamp(b->lease));
	sqlite3_bind_int64(q, 3, u->tenant);
	sqlite3_bind_text(q, 4, u->module, -1, SQLITE_STATIC);
	for (int k = 0; k < (int)(sizeof(numbers) / sizeof(numbers[0])); k++)
		sqlite3_bind_int64(q, 5 + k, clamp(numbers[k]));
	return sqlite3_step(q);
}

int adv_bills_put(sqlite3 *db, const struct adv_bill *bills, size_t n)
{
	sqlite3_stmt *q = NULL;
	int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(
			db,
			"INSERT OR REPLACE INTO bill VALUES(?, ?, ?, ?, ?, ?, ?, ?, "
			"?, ?, ?, ?, ?, ?, ?, ?, ?)",
			-1, &q, NULL);
	for (size_t i = 0; i < n && rc == SQLITE_OK; i++)
		rc = put_one(q, &bills[i]) == SQLITE_DONE ? SQLITE_OK : sqlite3_errcode(db);
	sqlite3_finalize(q);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

static const char question[] =
	"SELECT tenant, module, COUNT(*), SUM(core_us), SUM(mib_ms), SUM(executed_us),"
	" SUM(polled_us), SUM(cpu_us), SUM(calls), SUM(failures), SUM(bytes) FROM bill"
	" WHERE seen >= ?1 AND (?2 < 0 OR tenant = ?2)"
	" GROUP BY tenant, module ORDER BY tenant, module";

static void read_line(sqlite3_stmt *q, struct adv_ledger_line *l)
{
	uint64_t *const sums[] = {&l->leases,	   &l->allocated_core_us, &l->allocated_mib_ms,
				  &l->executed_us, &l->polled_us,	  &l->cpu_us,
				  &l->calls,	   &l->failures,	  &l->bytes};
	*l = (struct adv_ledger_line){.tenant = (uint32_t)sqlite3_column_int64(q, 0)};
	snprintf(l->module, sizeof(l->module), "%s", (const char *)sqlite3_column_text(q, 1));
	for (int k = 0; k < (int)(sizeof(sums) / sizeof(sums[0])); k++)
		*sums[k] = (uint64_t)sqlite3_column_int64(q, 2 + k);
}

/* SQLite adds whole numbers exactly, and says so when a sum has become too large for it. */
int adv_bills_sum(sqlite3 *db, int64_t since_ms, int64_t tenant, struct adv_ledger_line **lines,
		  size_t *nr)
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
