/*
 * cores.h - the core map: which CPU is for what, and which workers sit on it. Decisions only: pins nothing.
 * One thread after adv_cores_create(). Which CPUs there are: allocator/machine.h.
 */
#ifndef ADVERB_ALLOCATOR_CORES_H
#define ADVERB_ALLOCATOR_CORES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adv_cores;

enum adv_core_role {
	ADV_CORE_HOUSEKEEPING, /* control thread, warden, pools, everything else */
	ADV_CORE_WORKER,
	ADV_CORE_POLLER, /* alone there */
};

/* By what the workers' CPUs were chosen. */
enum adv_cores_choice {
	ADV_CORES_TOPOLOGY, /* all but the first core */
	ADV_CORES_ISOLATED,
	ADV_CORES_TICKLESS,
	ADV_CORES_LIST, /* the configuration's */
};

enum adv_oversubscribe {
	ADV_OVERSUBSCRIBE_NO, /* a worker has its core to itself, or there is no lease */
	ADV_OVERSUBSCRIBE_BUSY, /* cores are shared when all are taken; a core runs one call at a time, others are told ADV_BUSY */
	ADV_OVERSUBSCRIBE_TURNS, /* cores are shared when all are taken; calls take turns on them */
};

/* "no", "busy", "turns". */
const char *adv_oversubscribe_name(enum adv_oversubscribe oversubscribe);
int adv_oversubscribe_parse(const char *name,
			    enum adv_oversubscribe *oversubscribe); /* 0 or -EINVAL */

struct adv_cores_options {
	const char *
		worker_cpus; /* a CPU list ("2-63,66") or NULL: those isolated at boot, else those of nohz_full, else all but the first physical core; all on a one- or two-core machine */
	enum adv_oversubscribe oversubscribe;
	uint32_t nr_pollers;
	const char *
		poller_cpus; /* a CPU list or NULL: CPUs of their own where more than half remain for workers; else the last CPU, shared */
	int near_numa_node; /* that the network device is on, and 1; 0: none is known. Pollers and workers sit there where they fit */
	const char *sysfs;  /* for tests; NULL: the kernel's */
};

/*
 * Reads the machine. 0; -EINVAL: a list is malformed or names a CPU that this process may not use, `reason` says which;
 * -ENOMEM; -ENODEV: hwloc could not read the topology.
 */
int adv_cores_create(const struct adv_cores_options *options, struct adv_cores **cores,
		     char *reason, size_t reason_size);
void adv_cores_destroy(struct adv_cores *cores);

/* Where one worker is to run. */
struct adv_core {
	int cpu;     /* Linux's number */
	bool shared; /* with another worker or with housekeeping: yield while spinning */
};

/*
 * Takes `n` places for one tenant: whole free cores first (on one NUMA node where they fit, one hardware thread of each physical
 * core before their siblings, siblings never with another tenant's), then, if oversubscribing, the least loaded. All or nothing.
 * 0; -EBUSY: not enough; -EINVAL: n is 0.
 */
int adv_cores_take(struct adv_cores *cores, uint32_t tenant, uint32_t n, struct adv_core *places);
void adv_cores_give(struct adv_cores *cores, uint32_t tenant, uint32_t n,
		    const struct adv_core *places);

/* The CPU of the next place, should it be this tenant's and the only one; -1: there is none. Takes nothing. */
int adv_cores_guess(const struct adv_cores *cores, uint32_t tenant);

/* Where poller number `i` runs, and whether it shares that CPU with workers or others: then it does not spin. */
struct adv_core adv_cores_poller(const struct adv_cores *cores, uint32_t i);

/* The CPU for the control thread and its like, -1 when the kernel is to choose. */
int adv_cores_housekeeping(const struct adv_cores *cores);

/* The CPUs for workers as a list like "2-63,66", cut where `out` ends. Returns `out`. */
const char *adv_cores_list(const struct adv_cores *cores, char *out, size_t size);

/* The same in words: why those, and which of them are shared with what. Returns `out`. */
const char *adv_cores_describe(const struct adv_cores *cores, char *out, size_t size);

/* Of a CPU; -1: the machine has one only. */
int adv_cores_numa_node(const struct adv_cores *cores, int cpu);

uint32_t adv_cores_total(const struct adv_cores *cores); /* CPUs for workers */
uint32_t adv_cores_free(const struct adv_cores *cores);	 /* of these, without a worker */
enum adv_core_role adv_cores_role(const struct adv_cores *cores, int cpu);
uint32_t adv_cores_load(const struct adv_cores *cores, int cpu); /* workers on it */

#endif
