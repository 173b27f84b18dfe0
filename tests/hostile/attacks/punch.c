/* punch.c - punches holes and cuts files by any descriptor; a hole in a lane would be a fault for its caller. Against the filter. */
#include <fcntl.h>
#include <linux/falloc.h>

#include "attack.h"

#define HOLE (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

ATTACK_BY_CALLS({SYS_fallocate, {3, HOLE, 0, 4096}}, {SYS_fallocate, {4, HOLE, 0, 4096}},
		{SYS_ftruncate, {3, 0}}, {SYS_ftruncate, {5, 0}}, {SYS_truncate, {(long)"/", 0}},
		{SYS_sync_file_range, {3, 0, 0, 0}})
