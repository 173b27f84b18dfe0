/*
 * memory_mmap.c - takes and fills memory by mmap(), in ways that an accountant may overlook: MAP_NORESERVE; readable first and writable
 * later; by growing one mapping. Against RLIMIT_DATA and the cgroup. Megabytes.
 */
#include <sys/mman.h>

#include "attack.h"

#define MIB  ((size_t)1 << 20)
#define MOST 4096

static void *map(size_t size, int prot)
{
	return mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static long piece_by_piece(void)
{
	long n = 0;
	for (; n < MOST; n++) {
		void *p = map(MIB, PROT_READ | PROT_WRITE);
		if (p == MAP_FAILED)
			return n;
		memset(p, 1, MIB);
	}
	return n;
}

static long made_writable_later(int prot)
{
	char *all = map(MOST * MIB, prot);
	long n = 0;
	if (all == MAP_FAILED)
		return -errno;
	for (; n < MOST; n++) {
		if (mprotect(all + (size_t)n * MIB, MIB, PROT_READ | PROT_WRITE) < 0)
			break;
		memset(all + (size_t)n * MIB, 1, MIB);
	}
	return n;
}

static long grown(void)
{
	size_t size = MIB;
	char *p = map(size, PROT_READ | PROT_WRITE);
	while (p != MAP_FAILED && size < MOST * MIB) {
		memset(p + size - MIB, 1, MIB);
		char *more = mremap(p, size, size + MIB, MREMAP_MAYMOVE);
		if (more == MAP_FAILED)
			break;
		p = more;
		size += MIB;
	}
	return (long)(size / MIB);
}

ATTACK
{
	switch (argument(in, in_size, 0)) {
	case 0:
		return saw(out, 0, piece_by_piece());
	case 1:
		return saw(out, 0, made_writable_later(PROT_NONE));
	case 2:
		return saw(out, 0, made_writable_later(PROT_READ));
	default:
		return saw(out, 0, grown());
	}
}
