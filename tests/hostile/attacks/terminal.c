/* terminal.c - ioctl() on every descriptor: types into a terminal, makes what must not block block; against the filter. Errnos. */
#include <sys/ioctl.h>

#include "attack.h"

ATTACK
{
	static const unsigned long requests[] = {TIOCSTI,   FIONBIO,   FIOASYNC,
						 TIOCSCTTY, TIOCLINUX, FIONREAD};
	char byte = 'x';
	uint32_t size = 0;
	for (int fd = 0; fd < 4; fd++)
		for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
			size = saw(out, size, outcome(ioctl(fd, requests[i], &byte)));
	return size;
}
