/* open_by_descriptor.c - uses every descriptor number as a place to open files from, and as a file to read; errnos, of which none may be 0. */
#include <fcntl.h>

#include "attack.h"

ATTACK
{
	uint32_t size = 0;
	char byte;
	for (int fd = 0; fd < 64; fd++) {
		size = saw(out, size, outcome(openat(fd, "..", O_RDONLY | O_CLOEXEC)));
		size = saw(out, size, outcome(pread(fd, &byte, 1, 0)));
		size = saw(out, size, outcome(fchdir(fd)));
	}
	return size;
}
