/*
 * heap.h - memory for payloads that a device reads where it lies: a heap in registered chunks. Any thread; malloc-fast, by a lock for
 * each size that two threads rarely want at once. Growing registers memory, which blocks.
 *
 * One range of addresses holds it all, so that one comparison says whether a buffer is from here, and one load with which key. What was
 * freed is used again, of its own size or another, and given back to the system by adv_heap_trim() alone: a device may still read what a caller has given up.
 */
#ifndef ADVERB_CLIENT_HEAP_H
#define ADVERB_CLIENT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adv_heap;

/* How chunks become known to a device; all NULL: they do not. Called with the heap's lock held. */
struct adv_heap_registrar {
	/* Stores the local key and what `forget` wants. False: it cannot be done, and the thread's error text says why. */
	bool (*remember)(void *user, void *at, size_t size, uint32_t *lkey, void **handle);
	void (*forget)(void *handle);
	void *user;
};

/* NULL: no memory, or no room in the address space. */
struct adv_heap *adv_heap_create(const struct adv_heap_registrar *registrar);

/* Nothing of it may be in use by a device. In a forked child only its books go. NULL is ignored. */
void adv_heap_destroy(struct adv_heap *heap);

/* At least `size` bytes at a multiple of 64; NULL with the thread's error text. */
void *adv_heap_alloc(struct adv_heap *heap, size_t size);

/* False: `at` was not from adv_heap_alloc() of this heap, or was freed before; nothing was done. NULL is ignored. */
bool adv_heap_free(struct adv_heap *heap, void *at);

/* Gives back to the system, and unregisters, every chunk in which nothing is allocated. No device may be reading what was freed. */
void adv_heap_trim(struct adv_heap *heap);

size_t adv_heap_bytes(struct adv_heap *heap); /* that chunks hold now */

/* True when all of it lies in one chunk of the heap; `lkey` gets its key. Reads memory only. */
bool adv_heap_covers(const struct adv_heap *heap, const void *at, size_t size, uint32_t *lkey);

/* True in a child that was forked since the heap was made: it is the parent's, whose devices this process cannot use. */
bool adv_heap_foreign(const struct adv_heap *heap);

#endif
