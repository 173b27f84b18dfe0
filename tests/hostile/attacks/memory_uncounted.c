/* memory_uncounted.c - asks for memory that RLIMIT_DATA does not count: shared, growing down, locked, by memfd_create(); against the filter. */
#include <sys/mman.h>

#include "attack.h"

#define RW (PROT_READ | PROT_WRITE)

ATTACK_BY_CALLS({SYS_mmap, {0, 1 << 20, RW, MAP_SHARED | MAP_ANONYMOUS, -1}},
		{SYS_mmap, {0, 1 << 20, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1}},
		{SYS_mmap, {0, 4096, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1}},
		{SYS_mmap, {0, 4096, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1}},
		{SYS_memfd_create, {(long)"hoard", 0}}, {SYS_memfd_secret, {0}},
		{SYS_mlockall, {3}}, {SYS_remap_file_pages, {0, 4096}})
