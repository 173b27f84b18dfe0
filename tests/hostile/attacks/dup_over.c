/* dup_over.c - puts one descriptor over all others; against what the node reads from them: its log and its wake-ups. */
#include "attack.h"

#define OPEN 4 /* nothing, the log twice, the eventfd */

ATTACK
{
	int from = (int)argument(in, in_size, 0);
	long done = 0;
	for (int fd = 0; fd < OPEN; fd++)
		done += fd != from && dup2(from, fd) == fd;
	for (int i = 0; i < 16; i++)
		(void)!write(i % OPEN, "0123456789abcdef", 16);
	return saw(out, 0, done);
}
