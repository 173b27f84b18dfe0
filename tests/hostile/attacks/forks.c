/* forks.c - a process of its own making, which would outlive its call: every way there is; against the filter. A bomb begins so. */
#include <sched.h>
#include <signal.h>

#include "attack.h"

ATTACK_BY_CALLS({SYS_clone, {SIGCHLD}}, {SYS_clone, {CLONE_VM | CLONE_VFORK | SIGCHLD}},
		{SYS_clone, {CLONE_NEWUSER | SIGCHLD}}, {SYS_clone, {CLONE_PARENT | SIGCHLD}},
		{SYS_clone, {CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND}},
#if defined(__x86_64__)
		{SYS_fork, {0}}, {SYS_vfork, {0}},
#endif
)
