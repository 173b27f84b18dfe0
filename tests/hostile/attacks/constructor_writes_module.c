/*
 * constructor_writes_module.c - writes into whatever descriptors are there while it is loaded: the module's own bytes, which others are loaded from;
 * against seals, read-only descriptors and RLIMIT_FSIZE. How many it could write to, and how many it could map to write, files only.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "constructor.h"

static long written, mapped;

/* The lane of a lease that is loaded as it begins is given to it, and may be mapped: only what is sealed counts. */
static int is_module(int fd)
{
	char magic[4];
	return pread(fd, magic, 4, 0) == 4 && memcmp(magic, "\177ELF", 4) == 0;
}

CONSTRUCTOR
{
	signal(SIGXFSZ, SIG_IGN);
	for (int fd = 4; fd < 64; fd++) {
		if (!is_module(fd))
			continue;
		written += write(fd, "x", 1) == 1;
		mapped += mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED;
	}
}

ATTACK
{
	return saw(out, saw(out, 0, written), mapped);
}
