/*
 * registry.h - the modules of a node: content-addressed files, an SQLite table of names, and sealed memfds to load from.
 *
 * The table of modules is in memory and belongs to the control thread. Everything that touches a disk or hashes bytes is
 * a job that one thread of the registry does; its end is delivered by adv_registry_poll() on the control thread, so that
 * neither an fsync nor a SHA-256 ever stalls it.
 *
 * On disk, under the state directory:
 *	registry.db            SQLite, WAL, synchronous=FULL; tables module, function, ledger, meta
 *	modules/SHA256.so      mode 0400; written as modules/.tmp-*, fsync, rename, fsync of the directory
 * The file is there before the row that names it commits, and removed after the last row that names it is gone; a file without a row
 * and temporary files are swept at start. kill -9 at any instant leaves one of the two states, never something between.
 */
#ifndef ADVERB_REGISTRY_REGISTRY_H
#define ADVERB_REGISTRY_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "adverb/status.h"
#include "allocator/ledger.h"
#include "util/limits.h"

struct adv_registry;

struct adv_module_function {
	char *name;
	char *description; /* "" when there is none */
	bool described;	   /* declared with ADV_FUNCTION() */
};

/* What stays of a deployed module as long as someone leases it, even after it is replaced or removed. */
struct adv_module {
	uint64_t key;	/* of this version of this name in this process: never reused */
	uint32_t owner; /* uid */
	char name[ADV_NAME_MAX];
	char digest[2 * ADV_DIGEST_BYTES + 1];
	uint64_t size_bytes;
	int64_t deployed_at; /* wall clock, seconds */
	bool is_public;
	uint32_t nr_tenants; /* listed: they may use it too */
	uint32_t tenants[ADV_MODULE_TENANTS_MAX];
	int hot;	  /* hot sandboxes asked for at deploy; -1: the node's default */
	uint32_t profile; /* enum adv_profile */
	char profile_why
		[ADV_PROFILE_WHY_MAX]; /* one sentence; "": nothing asked for more than strict */
	bool poolable;		       /* single-threaded after its constructors */
	uint32_t nr_functions;
	struct adv_module_function
		*functions; /* sorted as the worker sorts them: index = function number */
	int memfd;	    /* sealed; -1 until adv_registry_load() has brought it in */
	uint32_t refs;	    /* the table's one, and one for each lease */
	bool current;	    /* still in the table */
};

/*
 * Opens or creates the state directory's registry, reads all rows, sweeps, starts the thread. 0 or -errno with `reason` set
 * (-EROFS, -EACCES, -ENOSPC, -EUCLEAN: the database is damaged and what to do about it, -EBUSY: another node has it locked).
 */
int adv_registry_open(const char *state_dir, struct adv_registry **registry, char *reason,
		      size_t reason_size);

/* Finishes the jobs under way, closes. */
void adv_registry_close(struct adv_registry *registry);

/* `gone` is called for each module that leaves the table, replaced or removed, from adv_registry_poll(). NULL: nobody any more. */
void adv_registry_watch(struct adv_registry *registry,
			void (*gone)(void *user, struct adv_module *module), void *user);

/* An eventfd, readable when adv_registry_poll() has something to deliver. Never blocks. */
int adv_registry_fd(const struct adv_registry *registry);

/* Calls the `done` of finished jobs. Returns how many. */
unsigned adv_registry_poll(struct adv_registry *registry);

/* The end of a job: ADV_OK or a status with its sentence (valid during the call). */
typedef void (*adv_registry_done)(void *user, enum adv_status status, const char *reason);

/*
 * Checks a new module's bytes: a memfd with the bytes written; the job makes it read-only by seals, hashes it, and checks that it is an ELF shared
 * object for this machine (class, byte order, machine, ET_DYN, within its size). ADV_BAD_MODULE says what it is instead.
 * `digest` (of 2 * ADV_DIGEST_BYTES + 1 bytes) must live until done.
 */
int adv_registry_check(struct adv_registry *registry, int memfd, char *digest,
		       adv_registry_done done, void *user);

/* What a deploy makes of a checked and inspected file. Strings and the array are copied. */
struct adv_module_new {
	uint32_t owner;
	const char *name;
	const char *digest;
	uint64_t size_bytes;
	bool is_public;
	uint32_t nr_tenants; /* at most ADV_MODULE_TENANTS_MAX */
	const uint32_t *tenants;
	int hot;
	uint32_t profile;
	const char *profile_why; /* NULL: nothing to say */
	bool poolable;
	uint32_t nr_functions;
	const struct adv_module_function *functions;
	int memfd; /* taken over on success; stays the caller's on failure */
};

/*
 * Stores file and row; when done with ADV_OK the module is in the table (*module is set just before `done`), a previous one of
 * that owner and name is not current any more. ADV_STORAGE: disk full, read-only...: nothing has changed.
 * -ENOMEM, -ENOSPC (ADV_MODULES_MAX) are returned at once, without `done`.
 */
int adv_registry_commit(struct adv_registry *registry, const struct adv_module_new *new_module,
			struct adv_module **module, adv_registry_done done, void *user);

/* Removes the row; leases go on. The module is out of the table when done says ADV_OK. */
int adv_registry_remove(struct adv_registry *registry, struct adv_module *module,
			adv_registry_done done, void *user);

/* Brings the file's bytes into module->memfd, verified against the digest. Done at once (returns 1, `done` is not called) when it is there. */
int adv_registry_load(struct adv_registry *registry, struct adv_module *module,
		      adv_registry_done done, void *user);

/* Stores absolute totals in one transaction. Failures are logged and retried with the next call. Lines are copied. */
int adv_registry_store_ledger(struct adv_registry *registry, const struct adv_ledger_line *lines,
			      size_t nr_lines);

/* Stores what leases have used so far, each in place of what was stored of it before, in one transaction. Copied. */
int adv_registry_store_bills(struct adv_registry *registry, const struct adv_bill *bills,
			     size_t nr_bills);

/* Deletes bills that were counted last before that. Failures are logged; asked for again some time later they go then. */
int adv_registry_forget_bills(struct adv_registry *registry, int64_t before_ms);

/* Stores what other nodes have told, each row in place of what was stored of it before. Failures are logged; a row that changes again is stored then. Copied. */
int adv_registry_store_collected(struct adv_registry *registry, const struct adv_collected *rows,
				 size_t nr_rows);

/* As stored: calls `each` for every row; only directly after adv_registry_open(). */
int adv_registry_read_collected(struct adv_registry *registry,
				void (*each)(void *user, const struct adv_collected *row),
				void *user);

/* Adds up what leases used that were counted last at `since_ms` or later, by tenant and module. */
struct adv_bill_sums {
	int64_t since_ms; /* wall clock */
	int64_t tenant;	  /* -1: all */
	struct adv_ledger_line
		*lines; /* the answer, when done says ADV_OK; the asker frees it in any case */
	size_t nr_lines;
};
int adv_registry_sum_bills(struct adv_registry *registry, struct adv_bill_sums *sums,
			   adv_registry_done done, void *user);

/* As stored: calls `each` for every line; only directly after adv_registry_open(). */
int adv_registry_read_ledger(struct adv_registry *registry,
			     void (*each)(void *user, const struct adv_ledger_line *line),
			     void *user);

/* The owner's own module of that name; NULL when there is none. */
struct adv_module *adv_registry_find(struct adv_registry *registry, uint32_t owner,
				     const char *name);

/*
 * As a tenant names it: "name" (its own, else the only one of that name that is public or lists it), or "OWNER/name" with OWNER a uid.
 * NULL with *status ADV_NO_MODULE or ADV_FORBIDDEN and `reason`.
 */
struct adv_module *adv_registry_resolve(struct adv_registry *registry, uint32_t tenant,
					const char *name, enum adv_status *status, char *reason,
					size_t reason_size);

/* May this tenant see and lease it? Its owner, whom it lists, everyone if it is public, and root. */
static inline bool adv_module_visible(const struct adv_module *m, uint32_t tenant)
{
	for (uint32_t i = 0; i < m->nr_tenants; i++)
		if (m->tenants[i] == tenant)
			return true;
	return m->is_public || m->owner == tenant || tenant == 0;
}

/* Walks the table in order of owner and name: start with NULL. */
struct adv_module *adv_registry_next(struct adv_registry *registry, struct adv_module *after);

struct adv_module *adv_module_get(struct adv_module *module);
void adv_module_put(struct adv_module *module); /* NULL is ignored */

/* 1 to 63 of [a-z A-Z 0-9 . _ -], not starting with a dot or a dash. */
bool adv_module_name_ok(const char *name);

/* A number that stays the same as long as the registry's directory does; made at its creation. For the node's id. */
const char *adv_registry_node_id(const struct adv_registry *registry);

#endif
