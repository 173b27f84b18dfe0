/* arena.c - aligned structs from a jemalloc arena, and sealed shared memory. Any thread. */
#include "allocator/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef ADVERB_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "util/limits.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define HUGE_BYTES     (2 * ADV_MIB)
#define NUMA_NODES_MAX 1024

/* ---- structs ---- */

#ifdef ADVERB_HAVE_JEMALLOC
static unsigned arena;
static pthread_once_t arena_once = PTHREAD_ONCE_INIT;

/* Its own arena: what the node keeps for leases lies together, and statistics can tell it from everything else. */
static void arena_create(void)
{
	size_t size = sizeof(arena);
	if (mallctl("arenas.create", &arena, &size, NULL, 0) != 0)
		arena = 0; /* the default arena serves as well */
}

void *adv_arena_alloc(size_t size, size_t align)
{
	pthread_once(&arena_once, arena_create);
	if (size == 0)
		size = 1;
	return mallocx(size, MALLOCX_ALIGN(align) | MALLOCX_ZERO | MALLOCX_ARENA(arena) |
				     MALLOCX_TCACHE_NONE);
}

void adv_arena_free(void *p)
{
	if (p != NULL)
		dallocx(p, MALLOCX_TCACHE_NONE);
}

static uint64_t read_stat(const char *name)
{
	size_t value = 0, size = sizeof(value);
	return mallctl(name, &value, &size, NULL, 0) == 0 ? value : 0;
}

void adv_arena_stats(struct adv_arena_stats *stats)
{
	uint64_t epoch = 1;
	size_t size = sizeof(epoch);
	char name[64];
	pthread_once(&arena_once, arena_create);
	mallctl("epoch", &epoch, &size, &epoch, size);
	snprintf(name, sizeof(name), "stats.arenas.%u.mapped", arena);
	stats->arena_bytes = read_stat(name);
	stats->process_bytes = read_stat("stats.resident");
}
#else
/* A sanitizer's build: its own allocator stands behind malloc. */
void *adv_arena_alloc(size_t size, size_t align)
{
	void *p = NULL;
	if (align < sizeof(void *))
		align = sizeof(void *);
	if (posix_memalign(&p, align, size != 0 ? size : 1) != 0)
		return NULL;
	memset(p, 0, size);
	return p;
}

void adv_arena_free(void *p)
{
	free(p);
}

void adv_arena_stats(struct adv_arena_stats *stats)
{
	*stats = (struct adv_arena_stats){0};
}
#endif

/* ---- shared memory ---- */

static int memfd_make(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

/* While the mode still lets us: afterwards nobody without privileges opens it again. */
static int open_read_only(int fd)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int fill(const char *name, uint64_t size, uint64_t mapped, struct adv_shared *s)
{
	s->rw = memfd_make(name);
	if (s->rw < 0)
		return -errno;
	if (ftruncate(s->rw, (off_t)size) < 0)
		return -errno;
	s->ro = open_read_only(s->rw);
	if (s->ro < 0)
		return -errno;
	if (fchmod(s->rw, 0) < 0 ||
	    fcntl(s->rw, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	if (mapped == 0)
		return 0;
	void *map = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, s->rw, 0);
	if (map == MAP_FAILED)
		return -errno;
	s->map = map;
	s->mapped = mapped;
	if (mapped >= HUGE_BYTES)
		madvise(map, mapped, MADV_HUGEPAGE);
	return 0;
}

int adv_shared_create_partial(const char *name, uint64_t size, uint64_t mapped,
			      struct adv_shared *shared)
{
	struct adv_shared s = {.rw = -1, .ro = -1, .size = size};
	if (mapped > size)
		return -EINVAL;
	int rc = fill(name, size, mapped, &s);
	if (rc < 0)
		adv_shared_destroy(&s);
	else
		*shared = s;
	return rc;
}

int adv_shared_create(const char *name, uint64_t size, struct adv_shared *shared)
{
	return adv_shared_create_partial(name, size, size, shared);
}

int adv_shared_prefer_node(const struct adv_shared *s, int node)
{
	unsigned long nodes[NUMA_NODES_MAX / (8 * sizeof(unsigned long))] = {0};
	if (node < 0 || node >= NUMA_NODES_MAX)
		return -EINVAL;
	nodes[(size_t)node / (8 * sizeof(nodes[0]))] = 1UL
						       << ((size_t)node % (8 * sizeof(nodes[0])));
	/* The policy of a file is that of its pages, not of the mapping by which it was set. */
	void *all = mmap(NULL, s->size, PROT_NONE, MAP_SHARED, s->rw, 0);
	if (all == MAP_FAILED)
		return -errno;
	long rc = syscall(SYS_mbind, all, s->size, MPOL_PREFERRED, nodes, NUMA_NODES_MAX + 1UL, 0);
	int error = rc < 0 ? -errno : 0;
	munmap(all, s->size);
	return error;
}

void adv_shared_destroy(struct adv_shared *s)
{
	if (s->map != NULL)
		munmap(s->map, s->mapped);
	if (s->rw >= 0)
		close(s->rw);
	if (s->ro >= 0)
		close(s->ro);
	*s = (struct adv_shared){.rw = -1, .ro = -1};
}
