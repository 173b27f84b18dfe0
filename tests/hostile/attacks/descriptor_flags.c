/* descriptor_flags.c - changes what others share by a descriptor: flags, owners, seals, locks, sizes; against the filter. */
#include <fcntl.h>

#include "attack.h"

ATTACK_BY_CALLS({SYS_fcntl, {2, F_SETFL, 0}}, {SYS_fcntl, {3, F_SETFL, O_ASYNC}},
		{SYS_fcntl, {2, F_SETOWN, 1}}, {SYS_fcntl, {2, F_SETPIPE_SZ, 1 << 20}},
		{SYS_fcntl, {3, F_ADD_SEALS, 1}}, {SYS_fcntl, {2, F_SETLK, 0}},
		{SYS_fcntl, {3, F_SETLEASE, 0}}, {SYS_fcntl, {0, F_NOTIFY, 1}},
		{SYS_fcntl, {2, F_SETSIG, 9}}, {SYS_tee, {0, 2, 1, 0}})
