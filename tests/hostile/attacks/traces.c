/* traces.c - other processes' memory and descriptors; against the filter, and the pid namespace behind it. */
#include <sys/ptrace.h>

#include "attack.h"

ATTACK_BY_CALLS({SYS_ptrace, {PTRACE_TRACEME}}, {SYS_ptrace, {PTRACE_ATTACH, 1}},
		{SYS_ptrace, {PTRACE_SEIZE, 2}}, {SYS_process_vm_readv, {1}},
		{SYS_process_vm_writev, {1}}, {SYS_pidfd_open, {1}}, {SYS_pidfd_getfd, {3, 0}},
		{SYS_kcmp, {1, 1}}, {SYS_process_madvise, {3}}, {SYS_process_mrelease, {3}},
		{SYS_move_pages, {0}}, {SYS_migrate_pages, {0}})
