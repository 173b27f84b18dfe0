/*
 * search_memory.c - searches all memory near what it knows (stack, heap, libc, itself, its lane, the worker) for what another lease has said;
 * against memory that is shared or was used before. Pages read, and places where it was found.
 */
#include <stdio.h>

#include "attack.h"

#define PAGE	   4096
#define NEAR_PAGES 8192 /* in each direction, gaps and all */

/* What is looked for comes with every bit turned, so that it is not found where it was given. */
static long hits_in(const uint8_t *page, const uint8_t *turned, size_t size)
{
	long hits = 0;
	for (size_t i = 0; i + size <= PAGE; i++) {
		size_t same = 0;
		while (same < size && (page[i + same] ^ turned[same]) == 0xff)
			same++;
		hits += same == size;
	}
	return hits;
}

ATTACK
{
	uint8_t turned[64];
	long pages = 0, hits = 0;
	if (in_size < sizeof(turned))
		return saw(out, 0, NO_SUCH_FORM);
	memcpy(turned, in, sizeof(turned));
	const uintptr_t known[] = {(uintptr_t)turned, (uintptr_t)sbrk(0),
				   (uintptr_t)puts,   (uintptr_t)attack,
				   (uintptr_t)out,    (uintptr_t)__builtin_return_address(0)};
	for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++) {
		uintptr_t first = known[k] / PAGE - NEAR_PAGES;
		for (uintptr_t page = first; page < first + 2 * NEAR_PAGES; page++) {
			if (!readable(page * PAGE))
				continue;
			hits += hits_in((const uint8_t *)(page * PAGE), turned, sizeof(turned));
			pages++;
		}
	}
	return saw(out, saw(out, 0, pages), hits);
}
