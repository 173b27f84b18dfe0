/* confinement.c - undoes its confinement by prctl() and its kin; against the filter. */
#include <sys/prctl.h>

#include "attack.h"

ATTACK_BY_CALLS({SYS_prctl, {PR_SET_DUMPABLE, 1}}, {SYS_prctl, {PR_SET_PDEATHSIG, 0}},
		{SYS_prctl, {PR_SET_SECCOMP, 1}}, {SYS_prctl, {PR_SET_PTRACER, -1}},
		{SYS_prctl, {PR_CAP_AMBIENT, 2, 0}}, {SYS_prctl, {PR_SET_MM, 1, 0}},
		{SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1}}, {SYS_prctl, {PR_SET_TIMERSLACK, 1}},
		{SYS_prctl, {PR_SET_KEEPCAPS, 1}}, {SYS_prctl, {PR_SET_TSC, 2}},
		{SYS_prctl, {PR_SET_SECUREBITS, 0}}, {SYS_seccomp, {1, 0, 0}}, {444, {0, 0, 1}},
		{446, {3, 0}},
#if defined(__x86_64__)
		{SYS_arch_prctl, {0x1012, 0}}, {SYS_modify_ldt, {1}}, {SYS_iopl, {3}},
		{SYS_ioperm, {0, 1, 1}},
#endif
)
