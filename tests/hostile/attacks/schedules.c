/* schedules.c - takes more of the machine than its core: affinity, priority, real time; against the filter. */
#include <sched.h>

#include "attack.h"

static const uint64_t all_cpus = UINT64_MAX;
static const struct sched_param high = {.sched_priority = 99};

ATTACK_BY_CALLS({SYS_sched_setaffinity, {0, sizeof(all_cpus), (long)&all_cpus}},
		{SYS_sched_setscheduler, {0, SCHED_FIFO, (long)&high}},
		{SYS_sched_setparam, {0, (long)&high}}, {SYS_sched_setattr, {0, (long)&high, 0}},
		{SYS_setpriority, {0, 0, -20}}, {SYS_ioprio_set, {1, 0, 0}}, {SYS_mbind, {0}},
		{SYS_set_mempolicy, {0}})
