/* test_arena.c - the node's memory: aligned and zeroed structs; shared memory that is new, sealed and closed to others. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "allocator/arena.h"
#include "util/limits.h"

static bool all_zero(const void *p, size_t size)
{
	const uint8_t *bytes = p;
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

Test(arena, aligned_and_zeroed)
{
	const size_t aligns[] = {1, 8, 64, 128, 4096};
	const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 100000};
	for (size_t a = 0; a < sizeof(aligns) / sizeof(aligns[0]); a++)
		for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			void *p = adv_arena_alloc(sizes[s], aligns[a]);
			cr_assert_not_null(p);
			cr_assert_eq((uintptr_t)p % aligns[a], 0);
			cr_assert(all_zero(p, sizes[s]));
			memset(p, 0xa5, sizes[s]);
			adv_arena_free(p);
		}
}

/* What was freed full of something comes back empty. */
Test(arena, zeroed_again)
{
	for (int i = 0; i < 100; i++) {
		void *p = adv_arena_alloc(1024, 64);
		cr_assert(all_zero(p, 1024));
		memset(p, 0xff, 1024);
		adv_arena_free(p);
	}
	adv_arena_free(NULL);
}

Test(arena, stats)
{
	struct adv_arena_stats stats = {.arena_bytes = 1, .process_bytes = 1};
	void *p = adv_arena_alloc(ADV_MIB, 64);
	adv_arena_stats(&stats);
	/* Without jemalloc, as under a sanitizer, both are zero. */
	cr_assert(stats.arena_bytes == 0 || stats.arena_bytes >= ADV_MIB);
	cr_assert_leq(stats.arena_bytes == 0 ? 0 : 1, stats.process_bytes);
	adv_arena_free(p);
}

static struct adv_shared shared;

static void make(uint64_t size)
{
	cr_assert_eq(adv_shared_create("adverb-test", size, &shared), 0);
}

Test(shared, is_new_and_of_its_size)
{
	struct stat st;
	make(3 * ADV_PAGE);
	cr_assert_eq(shared.size, 3 * ADV_PAGE);
	cr_assert_eq(shared.mapped, 3 * ADV_PAGE);
	cr_assert_eq(fstat(shared.rw, &st), 0);
	cr_assert_eq(st.st_size, (off_t)shared.size);
	cr_assert_eq(st.st_mode & 07777, 0, "mode 0");
	cr_assert(all_zero(shared.map, shared.size));
	adv_shared_destroy(&shared);
}

Test(shared, both_descriptors_are_the_same_memory)
{
	make(ADV_PAGE);
	strcpy(shared.map, "written by the node");
	char *seen = mmap(NULL, ADV_PAGE, PROT_READ, MAP_SHARED, shared.ro, 0);
	cr_assert_neq(seen, MAP_FAILED);
	cr_assert_str_eq(seen, "written by the node");
	munmap(seen, ADV_PAGE);
	adv_shared_destroy(&shared);
}

Test(shared, read_only_is_read_only)
{
	make(ADV_PAGE);
	cr_assert_eq(fcntl(shared.ro, F_GETFL) & O_ACCMODE, O_RDONLY);
	cr_assert_eq(fcntl(shared.rw, F_GETFL) & O_ACCMODE, O_RDWR);
	cr_assert_eq(write(shared.ro, "x", 1), -1);
	cr_assert_eq(errno, EBADF);
	void *map = mmap(NULL, ADV_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, shared.ro, 0);
	cr_assert_eq(map, MAP_FAILED);
	cr_assert_eq(errno, EACCES);
	adv_shared_destroy(&shared);
}

Test(shared, sealed)
{
	make(2 * ADV_PAGE);
	cr_assert_eq(fcntl(shared.rw, F_GET_SEALS) & ~0x20 /* F_SEAL_EXEC */,
		     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	cr_assert_eq(ftruncate(shared.rw, ADV_PAGE), -1);
	cr_assert_eq(errno, EPERM);
	cr_assert_eq(ftruncate(shared.rw, 3 * ADV_PAGE), -1);
	cr_assert_eq(errno, EPERM);
	cr_assert_eq(fcntl(shared.rw, F_ADD_SEALS, F_SEAL_WRITE), -1);
	cr_assert_eq(errno, EPERM);
	adv_shared_destroy(&shared);
}

Test(shared, not_inherited)
{
	make(ADV_PAGE);
	cr_assert(fcntl(shared.rw, F_GETFD) & FD_CLOEXEC);
	cr_assert(fcntl(shared.ro, F_GETFD) & FD_CLOEXEC);
	adv_shared_destroy(&shared);
}

Test(shared, has_a_name)
{
	char path[64], name[128] = "";
	make(ADV_PAGE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", shared.rw);
	cr_assert_gt(readlink(path, name, sizeof(name) - 1), 0);
	cr_assert_not_null(strstr(name, "adverb-test"), "%s", name);
	adv_shared_destroy(&shared);
}

Test(shared, mapped_in_part)
{
	cr_assert_eq(adv_shared_create_partial("adverb-test", 8 * ADV_PAGE, ADV_PAGE, &shared), 0);
	cr_assert_eq(shared.size, 8 * ADV_PAGE);
	cr_assert_eq(shared.mapped, ADV_PAGE);
	cr_assert_not_null(shared.map);
	adv_shared_destroy(&shared);
	cr_assert_eq(adv_shared_create_partial("adverb-test", 8 * ADV_PAGE, 0, &shared), 0);
	cr_assert_null(shared.map);
	cr_assert_eq(shared.mapped, 0);
	adv_shared_destroy(&shared);
}

Test(shared, refusals_hold_nothing)
{
	struct adv_shared untouched = {.rw = 77, .ro = 78};
	int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(adv_shared_create_partial("x", ADV_PAGE, 2 * ADV_PAGE, &untouched), -EINVAL);
	cr_assert_lt(adv_shared_create("x", UINT64_C(1) << 63, &untouched), 0);
	cr_assert_lt(adv_shared_create("x", UINT64_C(1) << 62, &untouched), 0,
		     "more than there is to map");
	cr_assert_eq(untouched.rw, 77);
	cr_assert_eq(untouched.ro, 78);
	int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(after, before + 1, "a descriptor was left open");
	close(before);
	close(after);
}

Test(shared, destroyed_once)
{
	make(4 * ADV_MIB);
	int rw = shared.rw, ro = shared.ro;
	adv_shared_destroy(&shared);
	cr_assert_eq(fcntl(rw, F_GETFD), -1);
	cr_assert_eq(fcntl(ro, F_GETFD), -1);
	cr_assert_eq(shared.rw, -1);
	cr_assert_null(shared.map);
	adv_shared_destroy(&shared);
}

/* The policy is the file's: whoever maps it, and whoever touches it first. */
Test(arena, pages_from_a_numa_node)
{
	struct adv_shared s;
	int mode = -1;
	unsigned long nodes[16] = {0};
	cr_assert_eq(adv_shared_create_partial("test", 4 * ADV_PAGE, ADV_PAGE, &s), 0);
	cr_assert_eq(adv_shared_prefer_node(&s, 0), 0);
	uint8_t *map = mmap(NULL, 4 * ADV_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, s.rw, 0);
	cr_assert_neq(map, MAP_FAILED);
	cr_assert_eq(syscall(SYS_get_mempolicy, &mode, nodes, 1024UL + 1, map + 3 * ADV_PAGE,
			     MPOL_F_ADDR),
		     0);
	cr_assert_eq(mode, MPOL_PREFERRED);
	cr_assert_eq(nodes[0], 1);
	cr_assert_neq(adv_shared_prefer_node(&s, -1), 0);
	cr_assert_neq(adv_shared_prefer_node(&s, 1 << 20), 0);
	munmap(map, 4 * ADV_PAGE);
	adv_shared_destroy(&s);
}
