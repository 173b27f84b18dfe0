/*
 * proto.h - the fixed structs that node, warden and sandboxes exchange over SOCK_SEQPACKET Unix sockets.
 *
 *	node  ── adv_warden_request ──►  warden  ── adv_sandbox_order (forwarded, with its descriptors) ──►  sandbox
 *	node  ◄── adv_warden_event ────  warden
 *	node  ◄───────────────────────── adv_sandbox_report ─────────────────────────────────────────────   sandbox
 *	node  ────────────────────────── adv_sandbox_order ──────────────────────────────────────────────►  sandbox
 *
 * Each sandbox has one socketpair. The sandbox holds one end; of the other the warden keeps a descriptor to write orders
 * and the node gets a descriptor to read reports. The node writes an order itself where the warden has nothing to do before it: to a
 * sandbox of the hot pool whose memory is limited already as the lease wants it. The warden never reads what a sandbox writes. One record is one struct
 * of exactly the expected size; a record that is not, or a value out of range, is a protocol error: the warden answers it
 * with ADV_EVENT_REFUSED, the node kills that sandbox.
 * The node chooses sandbox ids in [0, ADV_SANDBOXES_MAX); an id is free again after its ADV_EVENT_DIED or ADV_EVENT_FAILED.
 */
#ifndef ADVERB_SANDBOX_PROTO_H
#define ADVERB_SANDBOX_PROTO_H

#include <stdint.h>

#include "adverb/status.h"
#include "util/limits.h"

#define ADV_WARDEN_PROTO 1

/* What a module may do, chosen at its deploy. Each gives what the one before it gives, and more. */
enum adv_profile {
	ADV_PROFILE_STRICT, /* libc, libm, libgcc_s, libstdc++; no file in the root at all, one thread */
	ADV_PROFILE_LIBC, /* and what the root-owned configuration lists under [sandbox] libraries= and paths=, to read */
	ADV_PROFILE_THREADS, /* and threads, ADV_SANDBOX_THREADS of them */
	ADV_PROFILES,
};

/* "strict", "libc", "threads"; of another number "?". */
static inline const char *adv_profile_name(uint32_t profile)
{
	static const char *const names[ADV_PROFILES] = {"strict", "libc", "threads"};
	return profile < ADV_PROFILES ? names[profile] : "?";
}

/* ---- node → warden ---- */

enum adv_warden_request_type {
	ADV_WARDEN_BUILD = 1, /* make a sandbox; answered by BUILT or FAILED */
	ADV_WARDEN_ORDER, /* apply cpu and memory, then hand `order` and its descriptors to the sandbox */
	ADV_WARDEN_KILL, /* SIGKILL it; DIED follows */
	ADV_WARDEN_PIN,	 /* apply cpu, and no more */
	ADV_WARDEN_PARK, /* apply cpu: it has loaded a module and waits. Usual priority from here on; `freeze`: and it does not run before its order */
};

#define ADV_WARDEN_ITSELF \
	UINT32_MAX /* PIN: the warden, and what it builds from then on until that is pinned */

/* What the sandbox is to do. Descriptors come with the record, in the order given. */
enum adv_sandbox_order_type {
	ADV_ORDER_LOAD =
		1, /* [module]: load and run constructors; report LOADED or FAILED; wait for SERVE */
	ADV_ORDER_INSPECT, /* [module]: the same, and report every function: for deploy */
	ADV_ORDER_SERVE, /* [req read-only, cpl, slots, eventfd, and with `core` the core's page]: map the lane, close everything, serve for ever */
	ADV_ORDER_LOAD_AND_SERVE, /* [module, and what SERVE has]: a claim from the cold pool */
};

/* Other leases may come to the worker's core: see lane/core_line.h. */
enum adv_order_core {
	ADV_ORDER_CORE_OWN,   /* they may not */
	ADV_ORDER_CORE_TURNS, /* calls take turns there, as the kernel schedules them */
	ADV_ORDER_CORE_BUSY,  /* one call runs at a time: ADV_BUSY for the others */
};

#define ADV_ORDER_FDS_MAX 6

struct adv_sandbox_order {
	uint32_t type;						/* enum adv_sandbox_order_type */
	uint32_t lane;						/* which lane of the memfds */
	uint32_t nr_lanes, nr_slots, in_capacity, out_capacity; /* geometry that counts */
	uint32_t nr_functions; /* that the registry knows; 0: not known */
	uint16_t yield;	       /* 1: the core is shared */
	uint16_t checked;      /* 1: a verbs lane: entries carry checksums */
	uint64_t generation;
	uint64_t core_worker; /* with `core`: who it is there, not 0 */
	uint32_t core;	      /* enum adv_order_core */
	uint32_t unused;      /* 0 */
	uint64_t hot_us;      /* UINT64_MAX: always; ADV_HOT_US_AUTO: learned */
};

/* How many descriptors come with it; 0: it is no order. */
static inline unsigned adv_order_fds(const struct adv_sandbox_order *order)
{
	static const uint8_t first[] = {
		[ADV_ORDER_LOAD] = 1,
		[ADV_ORDER_INSPECT] = 1,
		[ADV_ORDER_SERVE] = 4,
		[ADV_ORDER_LOAD_AND_SERVE] = 5,
	};
	if (order->type >= sizeof(first) || order->core > ADV_ORDER_CORE_BUSY ||
	    (order->core != ADV_ORDER_CORE_OWN && first[order->type] <= 1))
		return 0;
	return first[order->type] + (order->core != ADV_ORDER_CORE_OWN);
}

struct adv_warden_request {
	uint32_t type; /* enum adv_warden_request_type */
	uint32_t id;
	uint32_t profile; /* BUILD: enum adv_profile */
	int32_t cpu;	  /* ORDER, PIN, PARK: pin to this CPU; -1: leave it where the pool is */
	uint64_t
		memory_bytes; /* ORDER: limit from here on, that of all the lease's workers; 0: leave it */
	uint64_t
		lease; /* ORDER: workers of one lease share its cgroup; 0: it has no other worker */
	uint64_t
		core_group; /* ORDER: sandboxes of one number may run on the hardware threads of one core at a time; 0: with no other */
	uint32_t
		background; /* BUILD: nobody waits for it: at low priority until it is ordered or parked */
	uint32_t freeze; /* PARK */
	struct adv_sandbox_order order;
};

/* ---- warden → node ---- */

enum adv_warden_event_type {
	ADV_EVENT_HELLO =
		1, /* once, first: what this machine gives; or FAILED with id UINT32_MAX, and the warden exits */
	ADV_EVENT_BUILT, /* + [report socket, log pipe]: the process exists; it reports CONFINED itself */
	ADV_EVENT_FAILED, /* it could not be made: `text` says which step, errno in words, and the remedy */
	ADV_EVENT_DIED,	   /* reaped */
	ADV_EVENT_REFUSED, /* a request that makes no sense, `text` says why: a bug in the node */
};

/* How a sandbox died, from waitid(2). */
struct adv_death {
	int32_t code;		/* CLD_EXITED, CLD_KILLED, CLD_DUMPED */
	int32_t status;		/* exit status or signal */
	uint32_t out_of_memory; /* memory.events of its cgroup counted an oom kill */
	uint32_t killed;	/* the node had asked for it */
	uint64_t cpu_ns;	/* user + system, from rusage */
	uint64_t max_rss_bytes;
};

enum adv_core_scheduling {
	ADV_CORE_SCHEDULING_MISSING, /* the kernel has none (CONFIG_SCHED_CORE) */
	ADV_CORE_SCHEDULING_NO_SMT, /* cores have one hardware thread each: there is nothing to do */
	ADV_CORE_SCHEDULING_OFF, /* the configuration says so; or there is one tenant only, or one core */
	ADV_CORE_SCHEDULING_ON, /* one tenant's sandboxes never run beside anything else on one core */
};

enum adv_speculation {
	ADV_SPECULATION_STORE_BYPASS = 1,
	ADV_SPECULATION_INDIRECT_BRANCH = 2,
};

/* What HELLO tells: for `status` and for the start banner. */
struct adv_warden_facts {
	uint32_t proto; /* ADV_WARDEN_PROTO */
	uint32_t
		root; /* 1: a uid for each sandbox; 0: an ordinary user's session, for that user's own code alone */
	uint32_t landlock_abi;	  /* 0: the kernel has none */
	uint32_t cgroup_memory;	  /* 1: memory.max is enforced by cgroup v2; 0: by RLIMIT_DATA */
	uint32_t cgroup_cpu;	  /* 1: cpu.max too */
	uint32_t cgroup_cpuset;	  /* 1: cpuset.cpus too */
	uint32_t cgroup_freeze;	  /* 1: a process that waits can be kept from running */
	uint32_t extended;	  /* 1: the configuration names further libraries or paths */
	uint32_t strict_net;	  /* 1: a network namespace for each sandbox, not one for all */
	uint32_t core_scheduling; /* enum adv_core_scheduling */
	uint32_t
		speculation; /* enum adv_speculation, or-ed: what each sandbox has switched off for itself */
	uint32_t node_uid; /* the uid that the node is to drop to; its own when not root */
	uint32_t node_gid;
	uint32_t reserved;
};

struct adv_warden_event {
	uint32_t type; /* enum adv_warden_event_type */
	uint32_t id;
	int32_t pid;	   /* BUILT: in the warden's pid namespace, for logs and tests */
	int32_t error;	   /* FAILED: errno */
	uint64_t build_ns; /* BUILT: that the warden spent on it */
	struct adv_death death;
	struct adv_warden_facts facts;
	char text[ADV_REASON_MAX];
};

/* ---- sandbox → node ---- */

enum adv_sandbox_report_type {
	ADV_REPORT_CONFINED = 1, /* every step of confinement is done: in the cold pool */
	ADV_REPORT_LOADED,	 /* nr_functions */
	ADV_REPORT_FUNCTION,	 /* INSPECT: one for each, in order of number, before LOADED */
	ADV_REPORT_FAILED, /* `text`: a step of confinement, dlopen's reason, no usable function...; it exits then */
};

struct adv_sandbox_report {
	uint32_t type; /* enum adv_sandbox_report_type */
	uint32_t nr_functions;
	int32_t error; /* errno or 0 */
	uint32_t
		status; /* FAILED: enum adv_status, ADV_BAD_MODULE when the module is at fault, ADV_SYSTEM when the machine is */
	uint32_t described; /* FUNCTION: 1: declared with ADV_FUNCTION() */
	uint32_t
		threads; /* LOADED: threads in the process after the constructors; 1 is what a hot pool wants */
	uint32_t
		needs; /* LOADED: the enum adv_profile that its imports ask for; `name` is the one that does */
	uint64_t
		cpu_ns; /* LOADED: that it has used by now; believed as far as the kernel's own count at its death goes */
	char name[ADV_FUNCTION_NAME_MAX];
	char text[ADV_REASON_MAX]; /* description or reason */
};

/* Exit statuses by which a worker names its own end (a hint: a function can fake them for its own calls). */
#define ADV_EXIT_ABORTED       134 /* abort(), which pid 1 of a namespace could not die of */
#define ADV_EXIT_OUT_OF_MEMORY 138 /* a crash right after an allocation had failed */
#define ADV_EXIT_CONFINEMENT   136 /* after ADV_REPORT_FAILED */
#define ADV_EXIT_LANE	       137 /* the lane's descriptors or header did not match the order */

/* The status a caller sees for such a death, and its detail (signal or exit status). */
enum adv_status adv_death_status(const struct adv_death *death, uint32_t *detail);

#endif
