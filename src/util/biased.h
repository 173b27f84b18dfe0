/*
 * biased.h - a lock that belongs to the first thread that takes it: for that one it costs two stores and two loads, no atomic instruction, until another thread
 * wants it. That one takes it away by membarrier(2), once, and from then on it is an ordinary lock. For sections of nanoseconds that one thread enters again and
 * again, in a program that has others. Not for signal handlers; not across fork().
 *
 * Why it is right: the owner stores `busy` and then loads `owner`; who takes it away stores `owner` and then loads `busy`. Each has a full barrier in between: the one
 * a real one for all threads (membarrier), so the other needs only to keep the compiler from moving things. One of the two sees the other's store.
 */
#ifndef ADVERB_UTIL_BIASED_H
#define ADVERB_UTIL_BIASED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ADV_BIASED_ANYONE 0 /* the first to come owns it */
#define ADV_BIASED_NOBODY 1 /* it was taken away, or there is no membarrier() */

struct adv_biased {
	_Atomic uintptr_t owner; /* pthread_self() of a thread, or one of these */
	_Atomic uint32_t busy;	 /* the owner is inside */
	_Atomic uint32_t locked; /* one of the others is, or is about to take it away */
};

/* `biased` false: an ordinary lock from the beginning. Otherwise adv_biased_possible() must have said that it is. */
static inline void adv_biased_init(struct adv_biased *l, bool biased)
{
	atomic_init(&l->owner, biased ? ADV_BIASED_ANYONE : ADV_BIASED_NOBODY);
	atomic_init(&l->busy, 0);
	atomic_init(&l->locked, 0);
}

/* Does the kernel do it? Once for the process, before the first lock of it is made. */
bool adv_biased_possible(void);

void adv_biased_lock_slowly(struct adv_biased *l);

/* Without waiting, and without taking it away from another thread. */
bool adv_biased_try_slowly(struct adv_biased *l);

static inline bool adv_biased_own(struct adv_biased *l)
{
	uintptr_t self = (uintptr_t)pthread_self();
	if (atomic_load_explicit(&l->owner, memory_order_relaxed) != self)
		return false;
	atomic_store_explicit(&l->busy, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&l->owner, memory_order_relaxed) == self)
		return true;
	atomic_store_explicit(&l->busy, 0, memory_order_release);
	return false;
}

/* Returns what adv_biased_unlock() wants: was it the owner's way? */
static inline bool adv_biased_lock(struct adv_biased *l)
{
	if (adv_biased_own(l))
		return true;
	adv_biased_lock_slowly(l);
	return false;
}

/* False: it cannot be had now. */
static inline bool adv_biased_try(struct adv_biased *l, bool *owned)
{
	*owned = adv_biased_own(l);
	return *owned || adv_biased_try_slowly(l);
}

static inline void adv_biased_unlock(struct adv_biased *l, bool owned)
{
	atomic_store_explicit(owned ? &l->busy : &l->locked, 0, memory_order_release);
}

#endif
