/* biased.c - the slow ways of a biased lock, and whether the kernel makes it possible. Any thread. */
#include "util/biased.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPINS	 100
#define SLEEP_NS 20000

/* The checker knows nothing of membarrier(). */
#if defined(__SANITIZE_THREAD__)
#define CHECKED true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHECKED true
#endif
#endif
#ifndef CHECKED
#define CHECKED false
#endif

bool adv_biased_possible(void)
{
	return !CHECKED &&
	       syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* Nobody holds it for long; who waits longer than that sleeps. */
static void wait_for_zero(const _Atomic uint32_t *word)
{
	for (unsigned spins = 0; atomic_load_explicit(word, memory_order_acquire) != 0; spins++) {
		if (spins < SPINS)
			atomic_signal_fence(memory_order_seq_cst);
		else
			nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
	}
}

static bool take(struct adv_biased *l)
{
	return atomic_exchange_explicit(&l->locked, 1, memory_order_acquire) == 0;
}

/* With `locked`: nobody else makes it over to anyone. */
static void take_away(struct adv_biased *l)
{
	uintptr_t owner = atomic_load_explicit(&l->owner, memory_order_relaxed);
	if (owner == ADV_BIASED_NOBODY)
		return;
	if (owner == ADV_BIASED_ANYONE) {
		/* From the next time on: this time `locked` is what keeps others out. */
		atomic_store_explicit(&l->owner, (uintptr_t)pthread_self(), memory_order_relaxed);
		return;
	}
	atomic_store_explicit(&l->owner, ADV_BIASED_NOBODY, memory_order_seq_cst);
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	wait_for_zero(&l->busy);
}

void adv_biased_lock_slowly(struct adv_biased *l)
{
	while (!take(l))
		wait_for_zero(&l->locked);
	take_away(l);
}

bool adv_biased_try_slowly(struct adv_biased *l)
{
	if (!take(l))
		return false;
	uintptr_t owner = atomic_load_explicit(&l->owner, memory_order_relaxed);
	if (owner == ADV_BIASED_NOBODY || owner == ADV_BIASED_ANYONE)
		return true;
	atomic_store_explicit(&l->locked, 0, memory_order_release);
	return false;
}
