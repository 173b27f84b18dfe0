/*
 * accounts.c - what tenants have used, in the registry's database: the ledger's sums by tenant and module, a bill for each lease, written
 * again and again while it lives, and what other nodes have told. The registry's thread.
 */
#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/internal.h"

#define NR_SUMS	   (9 + ADV_ENDINGS)
#define NR_COLUMNS (2 + NR_SUMS)
#define SQL_MAX	   4096

/* A line's sums in both tables: the names of the columns, and where they are. Those of endings are ended_0 and so on. */
static const struct {
	const char *name;
	size_t at;
} sums[] = {
	{"leases", offsetof(struct adv_ledger_line, leases)},
	{"core_us", offsetof(struct adv_ledger_line, allocated_core_us)},
	{"mib_ms", offsetof(struct adv_ledger_line, allocated_mib_ms)},
	{"executed_us", offsetof(struct adv_ledger_line, executed_us)},
	{"polled_us", offsetof(struct adv_ledger_line, polled_us)},
	{"cpu_us", offsetof(struct adv_ledger_line, cpu_us)},
	{"calls", offsetof(struct adv_ledger_line, calls)},
	{"failures", offsetof(struct adv_ledger_line, failures)},
	{"bytes", offsetof(struct adv_ledger_line, bytes)},
};

static_assert(sizeof(sums) / sizeof(sums[0]) + ADV_ENDINGS == NR_SUMS, "each sum has a column");

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS ledger("
	" tenant INTEGER NOT NULL, module TEXT NOT NULL, PRIMARY KEY(tenant, module)) WITHOUT "
	"ROWID;"
	"CREATE TABLE IF NOT EXISTS bill("
	" tenant INTEGER NOT NULL, module TEXT NOT NULL, run TEXT NOT NULL,"
	" lease INTEGER NOT NULL, workers INTEGER NOT NULL, memory INTEGER NOT NULL,"
	" began INTEGER NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY(run, lease)) WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS bill_seen ON bill(seen);"
	"CREATE TABLE IF NOT EXISTS collected("
	" node TEXT NOT NULL, tenant INTEGER NOT NULL, adds INTEGER NOT NULL,"
	" counter INTEGER NOT NULL, seen INTEGER NOT NULL, core_us INTEGER NOT NULL,"
	" mib_ms INTEGER NOT NULL, executed_us INTEGER NOT NULL, polled_us INTEGER NOT NULL,"
	" calls INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY(node, tenant, adds)) WITHOUT "
	"ROWID;";

/* ---- SQL that names each sum ---- */

struct sql {
	char text[SQL_MAX];
	size_t fill;
};

static void __attribute__((format(printf, 2, 3))) say(struct sql *s, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(s->text + s->fill, sizeof(s->text) - s->fill, format, args);
	va_end(args);
	s->fill += (size_t)n;
	if (s->fill >= sizeof(s->text))
		abort(); /* a constant of this file is too small */
}

static const char *column(int k, char name[16])
{
	const int nr = (int)(sizeof(sums) / sizeof(sums[0]));
	if (k < nr)
		snprintf(name, 16, "%s", sums[k].name);
	else
		snprintf(name, 16, "ended_%d", k - nr);
	return name;
}

/* Each, behind a comma, in the place of % in `format`. */
static void say_columns(struct sql *s, const char *format)
{
	char name[16];
	for (int k = 0; k < NR_SUMS; k++) {
		say(s, ", ");
		for (const char *f = format; *f != '\0'; f++)
			if (*f == '%')
				say(s, "%s", column(k, name));
			else
				say(s, "%c", *f);
	}
}

/* A database of before has not all of them. */
static int add_column(sqlite3 *db, const char *table, int k)
{
	char name[16];
	struct sql s = {0};
	sqlite3_stmt *q;
	say(&s, "SELECT 1 FROM pragma_table_info('%s') WHERE name = '%s'", table, column(k, name));
	int rc = sqlite3_prepare_v2(db, s.text, -1, &q, NULL);
	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(q);
	sqlite3_finalize(q);
	if (rc != SQLITE_DONE)
		return rc == SQLITE_ROW ? SQLITE_OK : rc;
	s = (struct sql){0};
	say(&s, "ALTER TABLE %s ADD COLUMN %s INTEGER NOT NULL DEFAULT 0", table, name);
	return sqlite3_exec(db, s.text, NULL, NULL, NULL);
}

int adv_accounts_prepare(sqlite3 *db)
{
	int rc = sqlite3_exec(db, schema, NULL, NULL, NULL);
	for (int k = 0; k < NR_SUMS && rc == SQLITE_OK; k++) {
		rc = add_column(db, "ledger", k);
		if (rc == SQLITE_OK)
			rc = add_column(db, "bill", k);
	}
	return rc;
}

/* ---- a line: tenant, module and its sums, which both tables have ---- */

static uint64_t *sum_of(struct adv_ledger_line *l, int k)
{
	const int nr = (int)(sizeof(sums) / sizeof(sums[0]));
	return k < nr ? (uint64_t *)((char *)l + sums[k].at) : &l->ended[k - nr];
}

/* SQLite's integers are signed: a saturated sum is stored as its greatest one. */
static sqlite3_int64 clamp(uint64_t n)
{
	return n > INT64_MAX ? INT64_MAX : (sqlite3_int64)n;
}

static void bind_line(sqlite3_stmt *q, const struct adv_ledger_line *l)
{
	struct adv_ledger_line line = *l;
	sqlite3_bind_int64(q, 1, l->tenant);
	sqlite3_bind_text(q, 2, l->module, -1, SQLITE_STATIC);
	for (int k = 0; k < NR_SUMS; k++)
		sqlite3_bind_int64(q, 3 + k, clamp(*sum_of(&line, k)));
}

static void read_line(sqlite3_stmt *q, struct adv_ledger_line *l)
{
	*l = (struct adv_ledger_line){.tenant = (uint32_t)sqlite3_column_int64(q, 0)};
	snprintf(l->module, sizeof(l->module), "%s", (const char *)sqlite3_column_text(q, 1));
	for (int k = 0; k < NR_SUMS; k++)
		*sum_of(l, k) = (uint64_t)sqlite3_column_int64(q, 2 + k);
}

/* "INSERT OR REPLACE INTO …(tenant, module, sums, more) VALUES(?, …)". */
static void say_put(struct sql *s, const char *table, const char *more, int nr_more)
{
	say(s, "INSERT OR REPLACE INTO %s(tenant, module", table);
	say_columns(s, "%");
	say(s, "%s) VALUES(?", more);
	for (int i = 1; i < NR_COLUMNS + nr_more; i++)
		say(s, ", ?");
	say(s, ")");
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
	struct sql s = {0};
	say_put(&s, "ledger", "", 0);
	return put_all(db, s.text, bind_ledger, lines, n);
}

int adv_accounts_read_ledger(sqlite3 *db,
			     void (*each)(void *user, const struct adv_ledger_line *line),
			     void *user)
{
	sqlite3_stmt *q;
	struct adv_ledger_line l;
	struct sql s = {0};
	say(&s, "SELECT tenant, module");
	say_columns(&s, "%");
	say(&s, " FROM ledger ORDER BY tenant, module");
	int rc = sqlite3_prepare_v2(db, s.text, -1, &q, NULL);
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
	sqlite3_bind_text(q, NR_COLUMNS + 1, b->run, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, NR_COLUMNS + 2, clamp(b->lease));
	sqlite3_bind_int64(q, NR_COLUMNS + 3, b->workers);
	sqlite3_bind_int64(q, NR_COLUMNS + 4, clamp(b->memory_bytes));
	sqlite3_bind_int64(q, NR_COLUMNS + 5, b->began_ms);
	sqlite3_bind_int64(q, NR_COLUMNS + 6, b->seen_ms);
}

int adv_accounts_put_bills(sqlite3 *db, const struct adv_bill *bills, size_t n)
{
	struct sql s = {0};
	say_put(&s, "bill", ", run, lease, workers, memory, began, seen", 6);
	return put_all(db, s.text, bind_bill, bills, n);
}

int adv_accounts_forget_bills(sqlite3 *db, int64_t before_ms)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(db, "DELETE FROM bill WHERE seen < ?", -1, &q, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(q, 1, before_ms);
	rc = sqlite3_step(q);
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* SQLite adds whole numbers exactly, and says so when a sum has become too large for it. */
int adv_accounts_sum_bills(sqlite3 *db, int64_t since_ms, int64_t tenant,
			   struct adv_ledger_line **lines, size_t *nr)
{
	sqlite3_stmt *q;
	size_t capacity = 0;
	*lines = NULL;
	*nr = 0;
	struct sql s = {0};
	say(&s, "SELECT tenant, module");
	say_columns(&s, "SUM(%)");
	say(&s, " FROM bill WHERE seen >= ?1 AND (?2 < 0 OR tenant = ?2)"
		" GROUP BY tenant, module ORDER BY tenant, module");
	int rc = sqlite3_prepare_v2(db, s.text, -1, &q, NULL);
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

/* ---- what other nodes have told ---- */

static void bind_collected(sqlite3_stmt *q, const void *items, size_t i)
{
	const struct adv_collected *r = &((const struct adv_collected *)items)[i];
	sqlite3_bind_text(q, 1, r->node, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 2, r->tenant);
	sqlite3_bind_int64(q, 3, r->adds);
	sqlite3_bind_int64(q, 4, clamp(r->counter));
	sqlite3_bind_int64(q, 5, r->seen_ms);
	for (int k = 0; k < ADV_ACCOUNT_SUMS; k++)
		sqlite3_bind_int64(q, 6 + k, clamp(r->sums[k]));
}

int adv_accounts_put_collected(sqlite3 *db, const struct adv_collected *rows, size_t n)
{
	return put_all(db,
		       "INSERT OR REPLACE INTO collected VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		       bind_collected, rows, n);
}

int adv_accounts_read_collected(sqlite3 *db,
				void (*each)(void *user, const struct adv_collected *row),
				void *user)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(db, "SELECT * FROM collected", -1, &q, NULL);
	if (rc != SQLITE_OK)
		return rc;
	while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
		struct adv_collected r = {.tenant = (uint32_t)sqlite3_column_int64(q, 1),
					  .adds = sqlite3_column_int64(q, 2) != 0,
					  .counter = (uint64_t)sqlite3_column_int64(q, 3),
					  .seen_ms = sqlite3_column_int64(q, 4)};
		snprintf(r.node, sizeof(r.node), "%s", (const char *)sqlite3_column_text(q, 0));
		for (int k = 0; k < ADV_ACCOUNT_SUMS; k++)
			r.sums[k] = (uint64_t)sqlite3_column_int64(q, 5 + k);
		each(user, &r);
	}
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}
