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

/* ---- libraries.c: further libraries ---- */

#define ADV_LIBRARIES_MAX     128
#define ADV_LIBRARY_NAME_MAX  64
#define ADV_LIBRARY_BYTES_MAX (256 * ADV_MIB)

struct adv_libraries {
	unsigned nr;
	char names[ADV_LIBRARIES_MAX][ADV_LIBRARY_NAME_MAX];
};

/* Adds a plain name, unless it is there or every sandbox has it anyway. 0 or -errno. */
int adv_libraries_add(struct adv_libraries *libraries, const char *name,
		      struct adv_failure *failure);

/* Copies them, and what they need, into the directory `dir`. Adds to `libraries` what they needed. 0 or -errno. */
int adv_libraries_copy(struct adv_libraries *libraries, int dir, struct adv_failure *failure);

/* ---- settings.c: [sandbox] of the configuration ---- */

#define ADV_PATHS_MAX 16
#define ADV_PATH_MAX  256

enum adv_wish {
	ADV_WISH_AUTO,
	ADV_WISH_YES,
	ADV_WISH_NO
};

struct adv_settings {
	struct adv_libraries libraries;
	unsigned nr_paths;
	char paths[ADV_PATHS_MAX][ADV_PATH_MAX]; /* to read; without the first slash */
	bool strict_net;
	enum adv_wish core_scheduling;
};

/*
 * Reads them from a file that must be root's (or, when `root` is false, this user's), and that nobody else can write.
 * NULL: the defaults. 0 or -errno.
 */
int adv_settings_read(struct adv_settings *settings, const char *config_file, bool root,
		      struct adv_failure *failure);

/* ---- corecookie.c: whose sandboxes may run on the hardware threads of one core at a time ---- */

/* What is to be done on this machine, by the operator's wish. 0, or -errno: it was asked for and cannot be had. */
int adv_core_cookies_init(enum adv_wish wish, bool root, uint32_t *core_scheduling,
			  struct adv_failure *failure);

/* A process of its own kind: nothing else runs beside it. 0 or -errno. */
int adv_core_cookies_new(pid_t pid);

/* `pid` becomes of the kind that `like` is. 0 or -errno; the warden itself stays of none. */
int adv_core_cookies_share(pid_t like, pid_t pid);

/* ---- cgroup.c: one group for each lease, where a memory controller is delegated to us ---- */

struct adv_cgroups {
	int base; /* directory that holds the groups; -1: there is none, RLIMIT_DATA limits memory */
	bool cpu, cpuset; /* these controllers were delegated too */
	bool freeze;	  /* the kernel can freeze a group (Linux 5.2) */
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

/* Keeps what is in it from running, or lets it. Takes effect as soon as it would return to its own code. 0 or -errno. */
int adv_cgroups_freeze(const struct adv_cgroups *cgroups, uint64_t number, bool freeze);

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
