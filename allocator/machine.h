/*
 * machine.h - the CPUs that this process may use, and what the kernel keeps free of everything else. Read once, at the start: by hwloc, and from
 * sysfs what hwloc does not tell. Any thread. cores.c decides by it.
 *
 * May use: online, in the cgroup's cpuset, and in the mask of the thread that asks. CPUs that were isolated at boot (isolcpus=) are in nobody's mask unless it is
 * set by hand: they are usable where the mask is that default, everything but them.
 */
#ifndef ADVERB_ALLOCATOR_MACHINE_H
#define ADVERB_ALLOCATOR_MACHINE_H

#include <hwloc.h>
#include <stdbool.h>
#include <stddef.h>

#define ADV_MACHINE_SYSFS "/sys/devices/system/cpu"

struct adv_machine_cpu {
	int os;	       /* Linux's number */
	int core;      /* physical core, counted from 0 */
	int node;      /* NUMA node, Linux's number */
	int thread;    /* which hardware thread of its core */
	bool isolated; /* the scheduler puts nothing there by itself */
	bool tickless; /* nohz_full=: no timer interrupt while one thread runs */
};

struct adv_machine {
	struct adv_machine_cpu *cpus; /* in the order of the topology: by node, core, thread */
	unsigned nr_cpus;
	unsigned nr_cores;
	unsigned nr_nodes;
	hwloc_bitmap_t offline, allowed; /* for words of refusal */
};

/* `sysfs` NULL: the real one, for a real topology. 0; -ENOMEM, -ENODEV. The owner calls adv_machine_forget(), also after a failure. */
int adv_machine_read(struct adv_machine *machine, const char *sysfs);
void adv_machine_forget(struct adv_machine *machine);

/* Why a CPU is not among those: "is offline", "is not in this cgroup's cpuset", … Static storage. */
const char *adv_machine_why_not(const struct adv_machine *machine, unsigned cpu);

#endif
