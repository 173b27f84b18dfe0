/* test_biased.c - a lock that belongs to its first thread: one inside at a time, before, while and after it is taken away. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "util/biased.h"

static struct adv_biased lock;
static bool possible;
static unsigned long inside; /* what the lock is for: not atomic */

static void setup(void)
{
	possible = adv_biased_possible();
	adv_biased_init(&lock, possible);
	inside = 0;
}

TestSuite(biased, .init = setup);

static void enter_and_leave(void)
{
	bool owned = adv_biased_lock(&lock);
	unsigned long seen = inside;
	inside = seen + 1;
	adv_biased_unlock(&lock, owned);
}

Test(biased, the_first_owns_it)
{
	if (!possible)
		cr_skip_test("no membarrier()");
	enter_and_leave();
	for (int i = 0; i < 1000; i++) {
		bool owned = adv_biased_lock(&lock);
		cr_assert(owned, "from the second time on");
		adv_biased_unlock(&lock, owned);
	}
}

static void *once(void *unused)
{
	enter_and_leave();
	return unused;
}

Test(biased, another_takes_it_away_for_good)
{
	pthread_t other;
	enter_and_leave();
	enter_and_leave();
	cr_assert_eq(pthread_create(&other, NULL, once, NULL), 0);
	pthread_join(other, NULL);
	cr_assert_eq(inside, 3);
	bool owned = adv_biased_lock(&lock);
	cr_assert_not(owned);
	adv_biased_unlock(&lock, owned);
}

Test(biased, without_it_it_is_an_ordinary_lock)
{
	adv_biased_init(&lock, false);
	for (int i = 0; i < 3; i++) {
		bool owned = adv_biased_lock(&lock);
		cr_assert_not(owned);
		adv_biased_unlock(&lock, owned);
	}
}

static void *holds(void *unused)
{
	bool owned = adv_biased_lock(&lock);
	adv_biased_unlock(&lock, owned);
	owned = adv_biased_lock(&lock); /* the owner's way, now */
	atomic_store((_Atomic unsigned long *)&inside, 1);
	while (atomic_load((_Atomic unsigned long *)&inside) == 1)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	adv_biased_unlock(&lock, owned);
	return unused;
}

Test(biased, trying_neither_waits_nor_takes_away)
{
	pthread_t other;
	bool owned;
	cr_assert_eq(pthread_create(&other, NULL, holds, NULL), 0);
	while (atomic_load((_Atomic unsigned long *)&inside) != 1)
		;
	cr_assert_not(adv_biased_try(&lock, &owned));
	atomic_store((_Atomic unsigned long *)&inside, 2);
	pthread_join(other, NULL);
	adv_biased_init(&lock, possible);
	cr_assert(adv_biased_try(&lock, &owned));
	adv_biased_unlock(&lock, owned);
}

#define ROUNDS 3000
#define EACH   400

static pthread_barrier_t barrier;

static void *hammers(void *user)
{
	unsigned seed = (unsigned)(uintptr_t)user;
	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&barrier);
		/* Somewhere in the middle of what the other one does. */
		for (volatile int wait = (int)((unsigned)rand_r(&seed) % 2000); wait > 0; wait--)
			;
		for (int i = 0; i < EACH; i++)
			enter_and_leave();
		pthread_barrier_wait(&barrier);
		if (seed % 2 == 0)
			sched_yield();
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

/* The moment at which it is taken away, again and again. */
Test(biased, nobody_is_inside_beside_another)
{
	pthread_t threads[2];
	pthread_barrier_init(&barrier, NULL, 3);
	for (uintptr_t i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, hammers, (void *)(i + 1)), 0);
	for (int round = 0; round < ROUNDS; round++) {
		adv_biased_init(&lock, possible);
		inside = 0;
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		cr_assert_eq(inside, 2 * EACH, "round %d: %lu", round, inside);
		pthread_barrier_wait(&barrier);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}
