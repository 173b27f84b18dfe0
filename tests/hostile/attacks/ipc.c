/* ipc.c - System V and POSIX objects, which outlive a process and reach others; against the filter, and the namespace behind it. */
#include "attack.h"

ATTACK_BY_CALLS({SYS_shmget, {0, 4096, 01600}}, {SYS_shmat, {0}}, {SYS_msgget, {0, 01600}},
		{SYS_semget, {0, 1, 01600}}, {SYS_mq_open, {(long)"x", 0102, 0600, 0}},
		{SYS_flock, {2, 2}})
