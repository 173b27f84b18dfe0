/* store.c - the registry's SQLite database. Opened by the main thread, then the registry's thread alone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "registry/internal.h"
#include "sandbox/proto.h"

#define SCHEMA_VERSION 2

struct adv_store {
	sqlite3 *db;
	char node_id[33];
};

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS module("
	" id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,"
	" size INTEGER NOT NULL, public INTEGER NOT NULL, hot INTEGER NOT NULL,"
	" profile INTEGER NOT NULL, poolable INTEGER NOT NULL, deployed_at INTEGER NOT NULL,"
	" profile_why TEXT NOT NULL DEFAULT '',"
	" UNIQUE(owner, name));"
	"CREATE INDEX IF NOT EXISTS module_digest ON module(digest);"
	"CREATE TABLE IF NOT EXISTS function("
	" module INTEGER NOT NULL REFERENCES module(id) ON DELETE CASCADE, number INTEGER NOT NULL,"
	" name TEXT NOT NULL, description TEXT NOT NULL, described INTEGER NOT NULL,"
	" PRIMARY KEY(module, number)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS listed("
	" module INTEGER NOT NULL REFERENCES module(id) ON DELETE CASCADE,"
	" tenant INTEGER NOT NULL, PRIMARY KEY(module, tenant)) WITHOUT ROWID;";

/* From version 1, which had two sets of libraries where there are profiles now: the same numbers, the same meaning. */
static const char from_1[] = "ALTER TABLE module RENAME COLUMN libraries TO profile;"
			     "ALTER TABLE module ADD COLUMN profile_why TEXT NOT NULL DEFAULT '';"
			     "UPDATE meta SET value = '2' WHERE key = 'schema';";

/* ---- opening ---- */

static int error_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return -EACCES;
	case SQLITE_NOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

const char *adv_storage_remedy(int error)
{
	switch (error) {
	case -EBUSY:
		return "another node uses this state directory: stop it, or name another --state";
	case -EROFS:
		return "the state directory is read-only: mount it writable, or name another "
		       "--state";
	case -ENOSPC:
		return "the disk is full: make space";
	case -EUCLEAN:
		return "the database is damaged: move registry.db away and deploy the modules "
		       "again";
	case -EACCES:
		return "the node's user must be able to search every directory above it and to "
		       "write there";
	default:
		return "see the system's log";
	}
}

static int explain(const struct adv_store *s, int code, const char *path, char *reason, size_t size)
{
	int error = error_of(code);
	snprintf(reason, size, "%s: %s: %s", path,
		 s->db != NULL ? sqlite3_errmsg(s->db) : "no memory", adv_storage_remedy(error));
	return error;
}

static int run(struct adv_store *s, const char *sql)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

static int read_meta(struct adv_store *s, const char *key, char *value, size_t size)
{
	sqlite3_stmt *q;
	value[0] = '\0';
	int rc = sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key = ?", -1, &q, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_text(q, 1, key, -1, SQLITE_STATIC);
	rc = sqlite3_step(q);
	if (rc == SQLITE_ROW)
		snprintf(value, size, "%s", (const char *)sqlite3_column_text(q, 0));
	sqlite3_finalize(q);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int write_meta(struct adv_store *s, const char *key, const char *value)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(s->db, "INSERT OR IGNORE INTO meta VALUES(?, ?)", -1, &q, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_text(q, 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_text(q, 2, value, -1, SQLITE_STATIC);
	rc = sqlite3_step(q);
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The version of the schema and the node's id; a new database gets both. */
static int read_identity(struct adv_store *s, char *reason, size_t size)
{
	char version[16], id[33];
	uint8_t raw[16];
	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		return SQLITE_ERROR;
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(id + 2 * i, 3, "%02x", raw[i]);
	snprintf(version, sizeof(version), "%d", SCHEMA_VERSION);
	int rc = write_meta(s, "schema", version);
	if (rc == SQLITE_OK)
		rc = write_meta(s, "node_id", id);
	if (rc == SQLITE_OK)
		rc = read_meta(s, "schema", version, sizeof(version));
	if (rc == SQLITE_OK)
		rc = read_meta(s, "node_id", s->node_id, sizeof(s->node_id));
	if (rc == SQLITE_OK && strtol(version, NULL, 10) == 1)
		rc = run(s, from_1);
	if (rc == SQLITE_OK && strtol(version, NULL, 10) > SCHEMA_VERSION) {
		snprintf(reason, size,
			 "the registry was written by a newer Adverb (schema %s, this one has %d)",
			 version, SCHEMA_VERSION);
		return SQLITE_MISMATCH;
	}
	return rc;
}

/* Exclusive: a second node is told so at its start, not at its first deploy. */
static int prepare(struct adv_store *s, const char *path, char *reason, size_t size)
{
	static const char *const pragmas[] = {
		"PRAGMA locking_mode = EXCLUSIVE",
		"PRAGMA journal_mode = WAL",
		"PRAGMA synchronous = FULL",
		"PRAGMA foreign_keys = ON",
		"BEGIN IMMEDIATE",
		schema,
	};
	int rc = SQLITE_OK;
	for (size_t i = 0; i < sizeof(pragmas) / sizeof(pragmas[0]) && rc == SQLITE_OK; i++)
		rc = run(s, pragmas[i]);
	reason[0] = '\0';
	if (rc == SQLITE_OK)
		rc = read_identity(s, reason, size);
	if (rc == SQLITE_OK)
		rc = adv_accounts_prepare(s->db);
	if (rc == SQLITE_OK)
		rc = run(s, "COMMIT");
	if (rc == SQLITE_OK)
		return 0;
	if (reason[0] != '\0')
		return -EUCLEAN;
	return explain(s, rc, path, reason, size);
}

int adv_store_open(const char *path, struct adv_store **store, char *reason, size_t size)
{
	struct adv_store *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	int rc = sqlite3_open_v2(path, &s->db,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
				 NULL);
	rc = rc == SQLITE_OK ? prepare(s, path, reason, size) : explain(s, rc, path, reason, size);
	if (rc < 0) {
		adv_store_close(s);
		return rc;
	}
	*store = s;
	return 0;
}

void adv_store_close(struct adv_store *s)
{
	if (s == NULL)
		return;
	sqlite3_close(s->db);
	free(s);
}

const char *adv_store_node_id(const struct adv_store *s)
{
	return s->node_id;
}

/* ---- reading ---- */

static char *column_copy(sqlite3_stmt *q, int column)
{
	const char *text = (const char *)sqlite3_column_text(q, column);
	return strdup(text != NULL ? text : "");
}

static int read_functions(struct adv_store *s, sqlite3_int64 row, struct adv_module *m)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(s->db,
				    "SELECT name, description, described FROM function WHERE "
				    "module = ? ORDER BY number",
				    -1, &q, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(q, 1, row);
	while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
		struct adv_module_function *more =
			reallocarray(m->functions, m->nr_functions + 1, sizeof(*m->functions));
		if (more == NULL)
			break;
		m->functions = more;
		struct adv_module_function *f = &more[m->nr_functions];
		*f = (struct adv_module_function){.name = column_copy(q, 0),
						  .description = column_copy(q, 1),
						  .described = sqlite3_column_int(q, 2) != 0};
		m->nr_functions++;
		if (f->name == NULL || f->description == NULL)
			break;
	}
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : SQLITE_NOMEM;
}

static int read_tenants(struct adv_store *s, sqlite3_int64 row, struct adv_module *m)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(
		s->db, "SELECT tenant FROM listed WHERE module = ? ORDER BY tenant", -1, &q, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(q, 1, row);
	while ((rc = sqlite3_step(q)) == SQLITE_ROW && m->nr_tenants < ADV_MODULE_TENANTS_MAX)
		m->tenants[m->nr_tenants++] = (uint32_t)sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static struct adv_module *read_module(struct adv_store *s, sqlite3_stmt *q, int *rc)
{
	struct adv_module *m = calloc(1, sizeof(*m));
	*rc = SQLITE_NOMEM;
	if (m == NULL)
		return NULL;
	m->memfd = -1;
	m->owner = (uint32_t)sqlite3_column_int64(q, 1);
	snprintf(m->name, sizeof(m->name), "%s", (const char *)sqlite3_column_text(q, 2));
	snprintf(m->digest, sizeof(m->digest), "%s", (const char *)sqlite3_column_text(q, 3));
	m->size_bytes = (uint64_t)sqlite3_column_int64(q, 4);
	m->is_public = sqlite3_column_int(q, 5) != 0;
	m->hot = sqlite3_column_int(q, 6);
	m->profile = (uint32_t)sqlite3_column_int(q, 7);
	if (m->profile >= ADV_PROFILES)
		m->profile = ADV_PROFILE_STRICT; /* whoever wrote that: no more than anyone may */
	m->poolable = sqlite3_column_int(q, 8) != 0;
	m->deployed_at = sqlite3_column_int64(q, 9);
	snprintf(m->profile_why, sizeof(m->profile_why), "%s",
		 (const char *)sqlite3_column_text(q, 10));
	*rc = read_functions(s, sqlite3_column_int64(q, 0), m);
	if (*rc == SQLITE_OK)
		*rc = read_tenants(s, sqlite3_column_int64(q, 0), m);
	if (*rc == SQLITE_OK)
		return m;
	adv_module_free(m);
	return NULL;
}

int adv_store_read_modules(struct adv_store *s, int (*each)(void *user, struct adv_module *m),
			   void *user, char *reason, size_t size)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(
		s->db,
		"SELECT id, owner, name, digest, size, public, hot, profile, poolable,"
		" deployed_at, profile_why FROM module ORDER BY owner, name",
		-1, &q, NULL);
	while (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
		struct adv_module *m = read_module(s, q, &rc);
		if (m != NULL && each(user, m) < 0)
			rc = SQLITE_NOMEM;
	}
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? 0 : explain(s, rc, "registry.db", reason, size);
}

void adv_store_digest(struct adv_store *s, uint32_t owner, const char *name,
		      char digest[2 * ADV_DIGEST_BYTES + 1])
{
	sqlite3_stmt *q;
	digest[0] = '\0';
	if (sqlite3_prepare_v2(s->db, "SELECT digest FROM module WHERE owner = ? AND name = ?", -1,
			       &q, NULL) != SQLITE_OK)
		return;
	sqlite3_bind_int64(q, 1, owner);
	sqlite3_bind_text(q, 2, name, -1, SQLITE_STATIC);
	if (sqlite3_step(q) == SQLITE_ROW)
		snprintf(digest, 2 * ADV_DIGEST_BYTES + 1, "%s",
			 (const char *)sqlite3_column_text(q, 0));
	sqlite3_finalize(q);
}

bool adv_store_names(struct adv_store *s, const char *digest)
{
	sqlite3_stmt *q;
	if (sqlite3_prepare_v2(s->db, "SELECT 1 FROM module WHERE digest = ? LIMIT 1", -1, &q,
			       NULL) != SQLITE_OK)
		return true; /* in doubt it stays */
	sqlite3_bind_text(q, 1, digest, -1, SQLITE_STATIC);
	int rc = sqlite3_step(q);
	sqlite3_finalize(q);
	return rc != SQLITE_DONE;
}

/* ---- writing ---- */

static enum adv_status refuse(struct adv_store *s, int code, const char *what, char *reason,
			      size_t size)
{
	snprintf(reason, size, "registry.db: %s: %s: %s", what, sqlite3_errmsg(s->db),
		 adv_storage_remedy(error_of(code)));
	run(s, "ROLLBACK");
	return ADV_STORAGE;
}

static int put_row(struct adv_store *s, const struct adv_module *m)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(
		s->db,
		"INSERT INTO module(owner, name, digest, size, public, hot, profile,"
		" poolable, deployed_at, profile_why) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		-1, &q, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(q, 1, m->owner);
	sqlite3_bind_text(q, 2, m->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(q, 3, m->digest, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 4, (sqlite3_int64)m->size_bytes);
	sqlite3_bind_int(q, 5, m->is_public);
	sqlite3_bind_int(q, 6, m->hot);
	sqlite3_bind_int64(q, 7, m->profile);
	sqlite3_bind_int(q, 8, m->poolable);
	sqlite3_bind_int64(q, 9, m->deployed_at);
	sqlite3_bind_text(q, 10, m->profile_why, -1, SQLITE_STATIC);
	rc = sqlite3_step(q);
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int put_tenants(struct adv_store *s, sqlite3_int64 row, const struct adv_module *m)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(s->db, "INSERT OR IGNORE INTO listed VALUES(?, ?)", -1, &q,
				    NULL);
	if (rc != SQLITE_OK)
		return rc;
	rc = SQLITE_DONE;
	for (uint32_t i = 0; i < m->nr_tenants && rc == SQLITE_DONE; i++) {
		sqlite3_reset(q);
		sqlite3_bind_int64(q, 1, row);
		sqlite3_bind_int64(q, 2, m->tenants[i]);
		rc = sqlite3_step(q);
	}
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int put_functions(struct adv_store *s, sqlite3_int64 row, const struct adv_module *m)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(s->db, "INSERT INTO function VALUES(?, ?, ?, ?, ?)", -1, &q,
				    NULL);
	if (rc != SQLITE_OK)
		return rc;
	rc = SQLITE_DONE;
	for (uint32_t i = 0; i < m->nr_functions && rc == SQLITE_DONE; i++) {
		sqlite3_reset(q);
		sqlite3_bind_int64(q, 1, row);
		sqlite3_bind_int64(q, 2, i);
		sqlite3_bind_text(q, 3, m->functions[i].name, -1, SQLITE_STATIC);
		sqlite3_bind_text(q, 4, m->functions[i].description, -1, SQLITE_STATIC);
		sqlite3_bind_int(q, 5, m->functions[i].described);
		rc = sqlite3_step(q);
	}
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int delete_row(struct adv_store *s, uint32_t owner, const char *name)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(s->db, "DELETE FROM module WHERE owner = ? AND name = ?", -1,
				    &q, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(q, 1, owner);
	sqlite3_bind_text(q, 2, name, -1, SQLITE_STATIC);
	rc = sqlite3_step(q);
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

enum adv_status adv_store_put(struct adv_store *s, const struct adv_module *m, char *reason,
			      size_t size)
{
	sqlite3_int64 row = 0;
	int rc = run(s, "BEGIN IMMEDIATE");
	if (rc == SQLITE_OK)
		rc = delete_row(s, m->owner, m->name);
	if (rc == SQLITE_OK)
		rc = put_row(s, m);
	if (rc == SQLITE_OK)
		rc = put_functions(s, row = sqlite3_last_insert_rowid(s->db), m);
	if (rc == SQLITE_OK)
		rc = put_tenants(s, row, m);
	if (rc == SQLITE_OK)
		rc = run(s, "COMMIT");
	return rc == SQLITE_OK ? ADV_OK : refuse(s, rc, "cannot store the module", reason, size);
}

enum adv_status adv_store_remove(struct adv_store *s, uint32_t owner, const char *name,
				 char *reason, size_t size)
{
	int rc = delete_row(s, owner, name);
	return rc == SQLITE_OK ? ADV_OK : refuse(s, rc, "cannot remove the module", reason, size);
}

/* ---- accounts ---- */

int adv_store_put_ledger(struct adv_store *s, const struct adv_ledger_line *lines, size_t n)
{
	return error_of(adv_accounts_put_ledger(s->db, lines, n));
}

int adv_store_read_ledger(struct adv_store *s,
			  void (*each)(void *user, const struct adv_ledger_line *line), void *user)
{
	return error_of(adv_accounts_read_ledger(s->db, each, user));
}

int adv_store_put_bills(struct adv_store *s, const struct adv_bill *bills, size_t n)
{
	return error_of(adv_accounts_put_bills(s->db, bills, n));
}

int adv_store_put_collected(struct adv_store *s, const struct adv_collected *rows, size_t n)
{
	return error_of(adv_accounts_put_collected(s->db, rows, n));
}

int adv_store_read_collected(struct adv_store *s,
			     void (*each)(void *user, const struct adv_collected *row), void *user)
{
	return error_of(adv_accounts_read_collected(s->db, each, user));
}

int adv_store_forget_bills(struct adv_store *s, int64_t before_ms)
{
	return error_of(adv_accounts_forget_bills(s->db, before_ms));
}

int adv_store_sum_bills(struct adv_store *s, int64_t since_ms, int64_t tenant,
			struct adv_ledger_line **lines, size_t *nr)
{
	return error_of(adv_accounts_sum_bills(s->db, since_ms, tenant, lines, nr));
}
