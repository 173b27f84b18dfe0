/*
 * plan.h - what the warden has prepared once and every sandbox is made of; read-only after start.
 * Lies in the warden's memory, which sandboxes are copies of: it holds nothing secret.
 */
#ifndef ADVERB_SANDBOX_PLAN_H
#define ADVERB_SANDBOX_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lane/lane_worker.h"
#include "sandbox/failure.h"
#include "sandbox/proto.h"

/* The warden's fixed descriptors. What it opens later lies above them. */
enum adv_warden_fd {
	ADV_FD_NODE = 3, /* the socket to the node */
	ADV_FD_SELF =
		4, /* a pidfd of the warden itself: a sandbox sees by it whether the warden lives */
	ADV_FD_SIGNALS = 5, /* signalfd for SIGCHLD */
	ADV_FD_PROC = 6,    /* the machine's /proc */
	ADV_FD_FREE = 7,    /* the first that is not fixed */
};

/* A sandbox's. Only SOCKET lives until it serves, and its number is then the eventfd's. */
enum adv_sandbox_fd {
	ADV_SANDBOX_FD_SOCKET = 3,
	ADV_SANDBOX_FD_WARDEN = ADV_FD_SELF,
	ADV_SANDBOX_FD_SELF_FD =
		20, /* its own /proc/self/fd, by O_PATH: dlopen's way to the module */
	ADV_SANDBOX_FD_SELF_TASK = 21, /* /proc/self/task, likewise: to count threads */
};

struct adv_plan {
	bool root;		  /* a uid for each sandbox */
	bool extended;		  /* there is a root with further libraries or paths */
	bool cgroup;		  /* memory.max limits, not RLIMIT_DATA */
	bool strict_net;	  /* a network namespace for each sandbox */
	uint32_t core_scheduling; /* enum adv_core_scheduling */
	uint32_t speculation;	  /* enum adv_speculation */
	uid_t uid;		  /* the warden's own */
	gid_t gid;
	uint32_t landlock_abi;
	struct adv_ticks ticks;
};

/* The prepared roots, as the warden and a sandbox before its pivot see them; see ADV_PROFILE_STRICT and the others. */
#define ADV_ROOT_DEFAULT  "/default"
#define ADV_ROOT_EXTENDED "/extended"

/* What one sandbox is made of. */
struct adv_cell {
	const struct adv_plan *plan;
	uint32_t profile; /* enum adv_profile */
	int socket;	  /* its end */
	int log;	  /* write end of its log pipe */
};

/* The life of a sandbox: never returns. Called in the new process, which has one thread and nothing set up. */
void adv_sandbox_run(const struct adv_cell *cell) __attribute__((noreturn));

/*
 * All of confinement, in the new process: the walls, the root, the limits, the filter. 0 or -errno with `failure` set;
 * the process must then exit. Afterwards the descriptors are those of enum adv_sandbox_fd and 0 to 2.
 */
int adv_confine(const struct adv_cell *cell, struct adv_failure *failure);

#endif
