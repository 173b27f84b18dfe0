/* mounts.c - changes what it sees of files: mount, umount, pivot_root, chroot and their newer kin; against the filter and no capabilities. */
#include <fcntl.h>
#include <sys/mount.h>

#include "attack.h"

#define ROOT ((long)"/")

ATTACK_BY_CALLS({SYS_mount, {(long)"none", ROOT, (long)"tmpfs", 0, 0}},
		{SYS_mount, {0, ROOT, 0, 32, 0}}, {SYS_umount2, {ROOT, 2}},
		{SYS_pivot_root, {(long)".", (long)"."}}, {SYS_chroot, {ROOT}},
		{SYS_fsopen, {(long)"proc", 0}}, {SYS_fspick, {AT_FDCWD, ROOT, 0}},
		{SYS_fsmount, {3, 0, 0}}, {SYS_open_tree, {AT_FDCWD, ROOT, 1}},
		{SYS_move_mount, {3, (long)"", AT_FDCWD, ROOT, 4}},
		{SYS_mount_setattr, {AT_FDCWD, ROOT}}, {SYS_swapon, {ROOT, 0}},
		{SYS_quotactl, {0, ROOT, 0, 0}})
