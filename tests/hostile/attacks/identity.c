/* identity.c - another uid, gid, group, session or capability; against the filter, and an empty bounding set behind it. */
#include "attack.h"

ATTACK_BY_CALLS({SYS_setuid, {0}}, {SYS_setgid, {0}}, {SYS_setreuid, {0, 0}},
		{SYS_setregid, {0, 0}}, {SYS_setresuid, {0, 0, 0}}, {SYS_setresgid, {0, 0, 0}},
		{SYS_setfsuid, {0}}, {SYS_setfsgid, {0}}, {SYS_setgroups, {0, 0}},
		{SYS_capset, {0, 0}}, {SYS_setsid, {0}}, {SYS_setpgid, {0, 0}})
