/* thread_bomb.c - a thousand threads by the raw system call, in a module that has no use for threads; against the filter. How many it got. */
#include <sched.h>

#include "attack.h"

ATTACK
{
	long got = 0, error = 0;
	for (int i = 0; i < 1000; i++) {
		long rc = outcome(syscall(SYS_clone,
					  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
						  CLONE_THREAD | CLONE_SYSVSEM,
					  0, 0, 0, 0));
		got += rc > 0;
		error = rc < 0 ? rc : error;
	}
	return saw(out, saw(out, 0, got), error);
}
