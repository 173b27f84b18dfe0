/* clone3.c - clone3(), whose arguments a filter cannot read; against the filter, which says that there is no such call. */
#include <linux/sched.h>
#include <signal.h>

#include "attack.h"

ATTACK
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	long seen = outcome(syscall(SYS_clone3, &args, sizeof(args)));
	if (seen == 0)
		_exit(99); /* the child: it must not serve */
	return saw(out, 0, seen);
}
