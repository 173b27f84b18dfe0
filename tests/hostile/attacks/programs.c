/* programs.c - runs another program, by path and by descriptor; against the filter, and a root without any behind it. */
#include <fcntl.h>

#include "attack.h"

static const char *const arguments[] = {"sh", "-c", "true", 0};

ATTACK_BY_CALLS({SYS_execve, {(long)"/bin/sh", (long)arguments, 0}},
		{SYS_execveat, {AT_FDCWD, (long)"/bin/sh", (long)arguments, 0, 0}},
		{SYS_execveat, {3, (long)"", (long)arguments, 0, AT_EMPTY_PATH}},
		{SYS_execve, {(long)"/proc/self/exe", (long)arguments, 0}})
