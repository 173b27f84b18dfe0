/* kills.c - signals to others: to all, to the group, to other pids; against the filter, and the pid namespace behind it. */
#include <signal.h>

#include "attack.h"

ATTACK_BY_CALLS({SYS_kill, {-1, SIGKILL}}, {SYS_kill, {0, SIGKILL}}, {SYS_kill, {2, SIGKILL}},
		{SYS_kill, {-2, SIGKILL}}, {SYS_tkill, {2, SIGKILL}}, {SYS_tgkill, {2, 2, SIGKILL}},
		{SYS_tgkill, {1, 2, SIGKILL}}, {SYS_rt_sigqueueinfo, {1, SIGKILL}},
		{SYS_rt_tgsigqueueinfo, {1, 1, SIGKILL}}, {SYS_pidfd_send_signal, {3, SIGKILL}})
