/*
 * warden.h - the parts of the warden: what it prepares at start, cgroups, and building one sandbox.
 * All of it runs on the warden's only thread.
 */
#ifndef ADVERB_SANDBOX_WARDEN_H
#define ADVERB_SANDBOX_WARDEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox/failure.h"
#include "sandbox/plan.h"

/* ---- libraries.c: the operator's further libraries, and files to read ---- */

#define ADV_LIBRARIES_MAX     128
#define ADV_LIBRARY_NAME_MAX  64
#define ADV_LIBRARY_BYTES_MAX (256 * ADV_MIB)
#define ADV_PATHS_MAX	      16
#define ADV_PATH_MAX	      256

struct adv_libraries {
	unsigned nr;
	char names[ADV_LIBRARIES_MAX][ADV_LIBRARY_NAME_MAX];
	unsigned nr_paths;
	char paths[ADV_PATHS_MAX][ADV_PATH_MAX]; /* without the first slash */
};

/*
 * Reads [sandbox] libraries= and paths= of the configuration, which must be a file of root (or, when `root` is false, of
 * this user) that nobody else can write. NULL: none. 0 or -errno.
 */
int adv_libraries_read(struct adv_libraries *libraries, const char *config_file, bool root,
		       struct adv_failure *failure);

/* Copies them, and what they need, into the directory `dir`. Adds to `libraries` what they needed. 0 or -errno. */
int adv_libraries_copy(struct adv_libraries *libraries, int dir, struct adv_failure *failure);

/* ---- cgroup.c: one group for each sandbox, where a memory controller is delegated to us ---- */

struct adv_cgroups {
	int base; /* directory that holds the sandboxes' groups; -1: there is none, RLIMIT_DATA limits memory */
};

/* Before the mount namespace changes. Never fails: without a delegated group, base is -1. */
void adv_cgroups_init(struct adv_cgroups *cgroups);

/* A new group with limits; its descriptor (for CLONE_INTO_CGROUP) or -errno. */
int adv_cgroups_make(const struct adv_cgroups *cgroups, uint32_t id, struct adv_failure *failure);
int adv_cgroups_limit(const struct adv_cgroups *cgroups, uint32_t id, uint64_t memory_bytes);

/* The processes that the kernel killed in it for want of memory. */
uint32_t adv_cgroups_oom_kills(const struct adv_cgroups *cgroups, uint32_t id);
void adv_cgroups_remove(const struct adv_cgroups *cgroups, uint32_t id);

/* ---- prepare.c: the warden's own namespaces and the roots ---- */

/* Fills in the plan; afterwards the warden sees nothing but the prepared roots and /proc. 0 or -errno. */
int adv_prepare(struct adv_plan *plan, struct adv_cgroups *cgroups, const char *config_file,
		struct adv_failure *failure);

/* ---- build.c ---- */

struct adv_built {
	pid_t pid;
	int socket; /* the node's end, with which the warden writes orders */
	int log;    /* the read end of its log */
};

/* Makes the process and gives it its identity; does not wait for it. The caller owns both descriptors. 0 or -errno. */
int adv_build(const struct adv_plan *plan, const struct adv_cgroups *cgroups, uint32_t id,
	      uint32_t profile, struct adv_built *built, struct adv_failure *failure);

#endif
