/* close_all.c - closes every descriptor; against a worker that cannot go on, or opens another's in their place. How many were open. */
#include <fcntl.h>

#include "attack.h"

ATTACK
{
	long were_open = 0;
	for (int fd = 0; fd < 1024; fd++)
		were_open += close(fd) == 0;
	return saw(out, 0, were_open);
}
