/* namespaces.c - leaves its namespaces or makes others; against the filter and no capabilities. */
#include <sched.h>

#include "attack.h"

ATTACK_BY_CALLS({SYS_unshare, {CLONE_NEWUSER}}, {SYS_unshare, {CLONE_NEWNS}},
		{SYS_unshare, {CLONE_NEWNET}}, {SYS_unshare, {CLONE_FILES}}, {SYS_setns, {3, 0}},
		{SYS_setns, {0, CLONE_NEWNET}}, {SYS_sethostname, {(long)"x", 1}},
		{SYS_setdomainname, {(long)"x", 1}})
