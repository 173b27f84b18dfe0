/*
 * warden.h - the parts of the warden: what it prepares at start, cgroups, and building one sandbox.
 * All of it runs on the warden's only thread.
 */
#ifndef ADVERB_SANDBOX_WARDEN_H
#define ADVERB_SANDBOX_WARDEN_H

#include <sched.h>
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

/* ---- cgroup.c: one group for each lease, where a memory controller is delegated to us ---- */

struct adv_cgroups {
	int base; /* directory that holds the groups; -1: there is none, RLIMIT_DATA limits memory */
	bool cpu, cpuset; /* these controllers were delegated too */
	uint64_t last;	  /* groups are numbered, and a number is never used again */
};

/* Before the mount namespace changes. Never fails: without a delegated group, base is -1. */
void adv_cgroups_init(struct adv_cgroups *cgroups);

/* A new group with limits for one sandbox; its descriptor (for CLONE_INTO_CGROUP) or -errno. */
int adv_cgroups_make(struct adv_cgroups *cgroups, uint32_t profile, uint64_t *number,
		     struct adv_failure *failure);

/* Moves a sandbox's process there from the group that it was made in. What it uses by now stays counted there. 0 or -errno. */
int adv_cgroups_join(const struct adv_cgroups *cgroups, uint64_t number, pid_t pid);

/* For all workers of a lease together. 0 or -errno. */
int adv_cgroups_limit(const struct adv_cgroups *cgroups, uint64_t number, uint64_t memory_bytes,
		      uint32_t profile, uint32_t nr_workers);

/* It may run on these CPUs alone; an empty set: on any. Before Linux 6.2 its processes' own masks are lost by that. 0 or -errno. */
int adv_cgroups_pin(const struct adv_cgroups *cgroups, uint64_t number, const cpu_set_t *cpus);

/* The processes that the kernel ever killed in it for want of memory. */
uint32_t adv_cgroups_oom_kills(const struct adv_cgroups *cgroups, uint64_t number);
void adv_cgroups_remove(const struct adv_cgroups *cgroups, uint64_t number);

/* ---- prepare.c: the warden's own namespaces and the roots ---- */

/* Fills in the plan; afterwards the warden sees nothing but the prepared roots and /proc. 0 or -errno. */
int adv_prepare(struct adv_plan *plan, struct adv_cgroups *cgroups, const char *config_file,
		struct adv_failure *failure);

/* ---- build.c ---- */

struct adv_built {
	pid_t pid;
	int socket;	/* the node's end, with which the warden writes orders */
	int log;	/* the read end of its log */
	uint64_t group; /* the cgroup's number, where there are cgroups */
};

/* Makes the process and gives it its identity; does not wait for it. The caller owns both descriptors. 0 or -errno. */
int adv_build(const struct adv_plan *plan, struct adv_cgroups *cgroups, uint32_t id,
	      uint32_t profile, struct adv_built *built, struct adv_failure *failure);

#endif
