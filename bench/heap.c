/*
 * heap.c - what a buffer that a device may read costs beside jemalloc's malloc(): adv_heap_alloc() and free(), in blocks that alternate, one thread,
 * beside one that sleeps, as a client has: alone libc's locks would cost nothing.
 * Two patterns: the same buffer again and again; 1024 of them that come and go in random order. Prints the median of the blocks' ratios.
 *
 *	bench_heap [ROUNDS]
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/heap.h"
#include "util/clock.h"

#define KEPT	   1024
#define A_BLOCK	   20000
#define ROUNDS_MAX 1000

static struct adv_heap *heap;
static void *kept[KEPT];
static uint32_t order[A_BLOCK];

static void *take(bool ours, size_t size)
{
	void *at = ours ? adv_heap_alloc(heap, size) : malloc(size);
	if (at == NULL) {
		fprintf(stderr, "bench_heap: no memory for %zu bytes\n", size);
		exit(1);
	}
	*(volatile char *)at = 1; /* it is used, and no compiler may leave it out */
	return at;
}

static void give(bool ours, void *at)
{
	if (ours)
		adv_heap_free(heap, at);
	else
		free(at);
}

static uint64_t block_same(bool ours, size_t size)
{
	uint64_t begin = adv_clock_monotonic_ns();
	for (int i = 0; i < A_BLOCK; i++)
		give(ours, take(ours, size));
	return adv_clock_monotonic_ns() - begin;
}

static uint64_t block_mixed(bool ours, size_t size)
{
	for (int i = 0; i < KEPT; i++)
		kept[i] = take(ours, size);
	uint64_t begin = adv_clock_monotonic_ns();
	for (int i = 0; i < A_BLOCK; i++) {
		void **at = &kept[order[i]];
		give(ours, *at);
		*at = take(ours, size);
	}
	uint64_t used = adv_clock_monotonic_ns() - begin;
	for (int i = 0; i < KEPT; i++)
		give(ours, kept[i]);
	return used;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure(const char *name, uint64_t (*block)(bool, size_t), size_t size, int rounds)
{
	static double ours[ROUNDS_MAX], theirs[ROUNDS_MAX], ratio[ROUNDS_MAX];
	for (int i = 0; i < rounds; i++) {
		theirs[i] = (double)block(false, size) / A_BLOCK;
		ours[i] = (double)block(true, size) / A_BLOCK;
		ratio[i] = ours[i] / theirs[i];
	}
	qsort(ours, (size_t)rounds, sizeof(double), compare);
	qsort(theirs, (size_t)rounds, sizeof(double), compare);
	qsort(ratio, (size_t)rounds, sizeof(double), compare);
	printf("%-12s %8zu %9.1f ns %9.1f ns %7.2fx %7.2fx - %.2fx\n", name, size, ours[rounds / 2],
	       theirs[rounds / 2], ratio[rounds / 2], ratio[rounds / 10], ratio[rounds * 9 / 10]);
}

static void *sleep_on(void *unused)
{
	for (;;)
		pause();
	return unused;
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {64, 1000, 4096, 32768, 65536, 1 << 20};
	const struct adv_heap_registrar none = {0};
	unsigned seed = 1;
	int rounds = argc > 1 ? atoi(argv[1]) : 50;
	if (rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "bench_heap: 1 to %d rounds\n", ROUNDS_MAX);
		return 2;
	}
	heap = adv_heap_create(&none);
	if (heap == NULL) {
		fprintf(stderr, "bench_heap: no heap\n");
		return 1;
	}
	pthread_t sleeper;
	if (pthread_create(&sleeper, NULL, sleep_on, NULL) != 0)
		return 1;
	for (int i = 0; i < A_BLOCK; i++)
		order[i] = (uint32_t)rand_r(&seed) % KEPT;
	printf("%-12s %8s %12s %12s %8s %s\n", "pattern", "bytes", "heap", "malloc", "ratio",
	       "  10-90 %");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		measure("the same", block_same, sizes[i], rounds);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) - 1; i++)
		measure("mixed", block_mixed, sizes[i], rounds);
	adv_heap_destroy(heap);
	return 0;
}
