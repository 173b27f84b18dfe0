/*
 * arena.h - where memory of the node comes from: aligned structs from a jemalloc arena, and sealed shared memory for lanes.
 * Any thread. Nothing of jemalloc's metadata ever lies in shared memory.
 */
#ifndef ADVERB_ALLOCATOR_ARENA_H
#define ADVERB_ALLOCATOR_ARENA_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed memory from an arena of its own, aligned to `align` (a power of two). NULL when there is none. */
void *adv_arena_alloc(size_t size, size_t align);
void adv_arena_free(void *p);

/* Bytes that the arena holds from the system, and the whole process's jemalloc. */
struct adv_arena_stats {
	uint64_t arena_bytes, process_bytes;
};
void adv_arena_stats(struct adv_arena_stats *stats);

/* One piece of shared memory: new for each lease, all zero, mode 0, its size sealed. */
struct adv_shared {
	int rw; /* O_RDWR, O_CLOEXEC */
	int ro; /* O_RDONLY, O_CLOEXEC: cannot be reopened for writing by another uid, the mode is 0 */
	void *map;	 /* the node's mapping, read-write; NULL when nothing is mapped */
	uint64_t mapped; /* bytes of it */
	uint64_t size;
};

/*
 * `name` shows in /proc/PID/maps. MADV_HUGEPAGE for 2 MiB and more, explicit hugepages never (docs/design.md: hole punching).
 * 0 or -errno; then nothing is held. The owner calls adv_shared_destroy().
 */
int adv_shared_create(const char *name, uint64_t size, struct adv_shared *shared);

/* Only maps the first `mapped` bytes in the node (0: none); for slots, which the node never touches beyond the header. */
int adv_shared_create_partial(const char *name, uint64_t size, uint64_t mapped,
			      struct adv_shared *shared);

/* From now on its pages come from that NUMA node, as long as it has any, whoever touches them first. 0 or -errno: then they come as ever. */
int adv_shared_prefer_node(const struct adv_shared *shared, int numa_node);

/* Unmaps and closes; the memory goes when the last other mapping goes. */
void adv_shared_destroy(struct adv_shared *shared);

#endif
