/*
 * internal.h - the registry's three files among themselves.
 *
 *	registry.c  the table of modules and the queue of jobs: control thread (and the thread's main loop)
 *	store.c     SQLite: the registry's thread
 *	files.c     module files, hashes, ELF: the registry's thread
 */
#ifndef ADVERB_REGISTRY_INTERNAL_H
#define ADVERB_REGISTRY_INTERNAL_H

#include <sqlite3.h>

#include "registry/registry.h"

/* ---- files.c ---- */

/* Seals the memfd and hashes it; hexadecimal into `digest`. ADV_OK or a status with `reason`. */
enum adv_status adv_file_check(int memfd, char *digest, char *reason, size_t size);

/* Writes the memfd's bytes as modules/DIGEST.so, durably. A file that is there already is kept. */
enum adv_status adv_file_store(int modules_dir, int memfd, const char *digest, uint64_t bytes,
			       char *reason, size_t size);

/* Reads modules/DIGEST.so into a new sealed memfd, verified. */
enum adv_status adv_file_load(int modules_dir, const char *digest, int *memfd, char *reason,
			      size_t size);

void adv_file_remove(int modules_dir, const char *digest);

/* Removes temporary files, and module files that `wanted` does not want. */
void adv_file_sweep(int modules_dir, bool (*wanted)(void *user, const char *digest), void *user);

/* ---- elf.c ---- */

/* Is it a shared object that this machine could load? 0, or -EINVAL with `reason`: what it is instead, and what to do. */
int adv_elf_check(const uint8_t *bytes, uint64_t size, char *reason, size_t reason_size);

/* ---- store.c ---- */

/* What to do about such a -errno. */
const char *adv_storage_remedy(int error);

struct adv_store;
int adv_store_open(const char *path, struct adv_store **store, char *reason, size_t size);
void adv_store_close(struct adv_store *store);
/* Calls `each` with a module that the callee takes over. */
int adv_store_read_modules(struct adv_store *store, int (*each)(void *user, struct adv_module *m),
			   void *user, char *reason, size_t size);
int adv_store_read_ledger(struct adv_store *store,
			  void (*each)(void *user, const struct adv_ledger_line *line), void *user);
/* In one transaction: the row of that owner and name, replaced. */
enum adv_status adv_store_put(struct adv_store *store, const struct adv_module *m, char *reason,
			      size_t size);
enum adv_status adv_store_remove(struct adv_store *store, uint32_t owner, const char *name,
				 char *reason, size_t size);
/* The digest in that row; "" when there is none. */
void adv_store_digest(struct adv_store *store, uint32_t owner, const char *name,
		      char digest[2 * ADV_DIGEST_BYTES + 1]);
bool adv_store_names(struct adv_store *store, const char *digest); /* does any row name it? */
int adv_store_put_ledger(struct adv_store *store, const struct adv_ledger_line *lines, size_t n);
const char *adv_store_node_id(const struct adv_store *store);
int adv_store_put_bills(struct adv_store *store, const struct adv_bill *bills, size_t n);
int adv_store_put_collected(struct adv_store *store, const struct adv_collected *rows, size_t n);
int adv_store_read_collected(struct adv_store *store,
			     void (*each)(void *user, const struct adv_collected *row), void *user);
int adv_store_forget_bills(struct adv_store *store, int64_t before_ms);
int adv_store_sum_bills(struct adv_store *store, int64_t since_ms, int64_t tenant,
			struct adv_ledger_line **lines, size_t *nr); /* the caller frees *lines */

/* ---- accounts.c: SQLite's result codes ---- */

int adv_accounts_prepare(sqlite3 *db);
int adv_accounts_put_ledger(sqlite3 *db, const struct adv_ledger_line *lines, size_t n);
int adv_accounts_read_ledger(sqlite3 *db,
			     void (*each)(void *user, const struct adv_ledger_line *line),
			     void *user);
int adv_accounts_put_bills(sqlite3 *db, const struct adv_bill *bills, size_t n);
int adv_accounts_put_collected(sqlite3 *db, const struct adv_collected *rows, size_t n);
int adv_accounts_read_collected(sqlite3 *db,
				void (*each)(void *user, const struct adv_collected *row),
				void *user);
int adv_accounts_forget_bills(sqlite3 *db, int64_t before_ms);
int adv_accounts_sum_bills(sqlite3 *db, int64_t since_ms, int64_t tenant,
			   struct adv_ledger_line **lines, size_t *nr);

/* ---- what is stored or deleted without anyone waiting for it ---- */

struct adv_stored {
	int (*put)(struct adv_store *store, const void *items, size_t n); /* 0 or -errno */
	const char *failure; /* how the log begins when it could not be */
	size_t item_size;
};

/* `what` is static; items are copied. 0 or -ENOMEM. */
int adv_registry_store_copy(struct adv_registry *registry, const struct adv_stored *what,
			    const void *items, size_t n);

/* Frees a module that nobody refers to. */
void adv_module_free(struct adv_module *m);

#endif
