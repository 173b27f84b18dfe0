/* limits.c - lifts its own limits; against the filter, and hard limits behind it. */
#include <sys/resource.h>

#include "attack.h"

static const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};

ATTACK_BY_CALLS({SYS_setrlimit, {RLIMIT_DATA, (long)&none}},
		{SYS_setrlimit, {RLIMIT_NOFILE, (long)&none}},
		{SYS_prlimit64, {0, RLIMIT_DATA, (long)&none, 0}},
		{SYS_prlimit64, {1, RLIMIT_AS, (long)&none, 0}},
		{SYS_prlimit64, {2, RLIMIT_DATA, 0, 0}}, {SYS_umask, {0}})
