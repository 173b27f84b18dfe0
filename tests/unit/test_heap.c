/* The heap of buffers that devices read: shapes, keys, use again, errors of the registrar, forks, threads. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adverb/client.h"
#include "client/heap.h"

/* Stands for a device: each chunk gets the next key. */
static struct {
	uint32_t last_key;
	unsigned nr_known, fail_at;
	size_t bytes;
} device;

static bool remember(void *user, void *at, size_t size, uint32_t *lkey, void **handle)
{
	cr_assert_eq(user, &device);
	cr_assert_eq((uintptr_t)at % 4096, 0);
	if (device.fail_at != 0 && device.last_key + 1 == device.fail_at)
		return false;
	/* A device reads all of it. */
	memset(at, 0x5a, size);
	*lkey = ++device.last_key;
	*handle = &device;
	device.nr_known++;
	device.bytes += size;
	return true;
}

static void forget(void *handle)
{
	cr_assert_eq(handle, &device);
	device.nr_known--;
}

static struct adv_heap *heap(void)
{
	static const struct adv_heap_registrar registrar = {remember, forget, &device};
	memset(&device, 0, sizeof(device));
	struct adv_heap *h = adv_heap_create(&registrar);
	cr_assert_not_null(h);
	return h;
}

Test(heap, every_size_is_aligned_covered_and_its_own)
{
	struct adv_heap *h = heap();
	enum {
		NR = 3000
	};
	static uint8_t *at[NR];
	static size_t size[NR];
	size_t next = 0;
	for (size_t i = 0; i < NR; i++) {
		uint32_t key;
		size[i] = next;
		at[i] = adv_heap_alloc(h, size[i]);
		cr_assert_not_null(at[i], "%zu bytes", size[i]);
		cr_assert_eq((uintptr_t)at[i] % 64, 0);
		if (size[i] > 0)
			cr_assert(adv_heap_covers(h, at[i], size[i], &key));
		memset(at[i], (int)i, size[i]);
		next = i < 2200 ? next + 1 : (next * 7 + 13) % 300000;
	}
	for (size_t i = 0; i < NR; i++) {
		for (size_t k = 0; k < size[i]; k += size[i] / 7 + 1)
			cr_assert_eq(at[i][k], (uint8_t)i);
		cr_assert(adv_heap_free(h, at[i]));
	}
	cr_assert_gt(device.nr_known, 0);
	adv_heap_destroy(h);
	cr_assert_eq(device.nr_known, 0);
}

Test(heap, what_was_freed_is_used_again)
{
	struct adv_heap *h = heap();
	static const size_t sizes[] = {1,     64,    65,      4096,    30000,  32768,
				       32769, 65537, 1 << 20, 4 << 20, 9 << 20};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		void *first = adv_heap_alloc(h, sizes[i]);
		size_t bytes = device.bytes;
		for (int round = 0; round < 5000; round++) {
			cr_assert(adv_heap_free(h, first));
			cr_assert_eq(adv_heap_alloc(h, sizes[i]), first);
		}
		cr_assert_eq(device.bytes, bytes);
		cr_assert(adv_heap_free(h, first));
	}
	adv_heap_destroy(h);
}

Test(heap, many_objects_come_and_go_in_any_order)
{
	struct adv_heap *h = heap();
	enum {
		NR = 4096
	};
	static void *at[NR];
	unsigned seed = 1;
	size_t most = 0;
	for (int round = 0; round < 200000; round++) {
		unsigned i = (unsigned)rand_r(&seed) % NR;
		if (at[i] != NULL)
			cr_assert(adv_heap_free(h, at[i]));
		at[i] = adv_heap_alloc(h, (unsigned)rand_r(&seed) % 300);
		cr_assert_not_null(at[i]);
		most = device.bytes > most ? device.bytes : most;
	}
	/* 4096 objects of up to 320 bytes, and a unit or two of each size that is not full. */
	cr_assert_leq(most, (size_t)8 << 20);
	adv_heap_destroy(h);
}

/* ---- a day ---- */

struct object {
	uint8_t *at;
	size_t size;
	uint64_t stamp;
};

/* From 1 byte to 4 MiB, as many small as large; every lease likes some sizes more than others. */
static size_t some_size(unsigned *seed, unsigned taste)
{
	unsigned bits = (unsigned)rand_r(seed) % 22 + 1;
	if (rand_r(seed) % 2 == 0)
		bits = taste + (unsigned)rand_r(seed) % 3;
	return 1 + (size_t)rand_r(seed) % ((size_t)1 << bits);
}

static void stamp(struct object *o, uint64_t value)
{
	o->stamp = value;
	o->at[0] = o->at[o->size - 1] = (uint8_t)value;
	if (o->size >= 8)
		memcpy(o->at, &value, sizeof(value));
}

/* Nobody else has written there. */
static void look(const struct object *o)
{
	uint8_t last = o->at[o->size - 1];
	if (o->size > 8)
		cr_assert_eq(last, (uint8_t)o->stamp);
	if (o->size >= 8)
		cr_assert_eq(memcmp(o->at, &o->stamp, sizeof(o->stamp)), 0);
}

static void release(struct adv_heap *h, struct object *o, size_t *live)
{
	look(o);
	*live -= o->size;
	cr_assert(adv_heap_free(h, o->at));
	o->at = NULL;
}

/*
 * A million allocations by 96 leases of a quarter of an hour each, whose sizes differ: what is held stays within twice the most that was ever live in that lease, and a
 * chunk for each size that may be half used; and when a lease ends nothing of it is held any more.
 */
Test(heap, a_day_of_leases)
{
	enum {
		NR = 512,
		LEASES = 96,
		EACH = 1000000 / LEASES + 1,
		LIVE_MAX = 48 << 20
	};
	static struct object objects[NR];
	static const struct adv_heap_registrar none = {0};
	struct adv_heap *h = adv_heap_create(&none);
	unsigned seed = 24;
	uint64_t number = 0;
	cr_assert_not_null(h);
	for (unsigned lease = 0; lease < LEASES; lease++) {
		size_t live = 0, most_live = 0, most_held = 0;
		for (unsigned i = 0; i < EACH; i++) {
			struct object *o = &objects[(unsigned)rand_r(&seed) % NR];
			if (o->at != NULL)
				release(h, o, &live);
			o->size = some_size(&seed, lease % 20);
			if (live + o->size > LIVE_MAX)
				continue;
			o->at = adv_heap_alloc(h, o->size);
			cr_assert_not_null(o->at);
			live += o->size;
			stamp(o, ++number);
			most_live = live > most_live ? live : most_live;
			if (i % 64 == 0 && adv_heap_bytes(h) > most_held)
				most_held = adv_heap_bytes(h);
		}
		cr_assert_leq(most_held, 2 * most_live + ((size_t)16 << 20),
			      "lease %u: %zu held of %zu", lease, most_held, most_live);
		/* One buffer outlives each second lease, as a user's might; all others go. */
		for (unsigned i = lease % 2; i < NR; i++)
			if (objects[i].at != NULL)
				release(h, &objects[i], &live);
		adv_heap_trim(h);
		if (objects[0].at == NULL)
			cr_assert_eq(adv_heap_bytes(h), 0);
		else
			cr_assert_leq(adv_heap_bytes(h), (size_t)8 << 20, "its chunk alone");
		if (objects[0].at != NULL) {
			look(&objects[0]);
			release(h, &objects[0], &live);
		}
	}
	adv_heap_destroy(h);
}

Test(heap, what_is_given_back_is_not_covered_and_comes_again)
{
	struct adv_heap *h = heap();
	uint32_t lkey, first_key;
	void *small = adv_heap_alloc(h, 100), *large = adv_heap_alloc(h, (size_t)9 << 20);
	cr_assert(adv_heap_covers(h, small, 100, &first_key));
	adv_heap_trim(h);
	cr_assert(adv_heap_covers(h, small, 100, &lkey) && lkey == first_key, "it is allocated");
	cr_assert_eq(device.nr_known, 2);
	adv_heap_free(h, small);
	adv_heap_trim(h);
	cr_assert_eq(device.nr_known, 1);
	cr_assert_not(adv_heap_covers(h, small, 100, &lkey));
	cr_assert_not(adv_heap_free(h, small), "it is nobody's");
	cr_assert(adv_heap_covers(h, large, (size_t)9 << 20, &lkey));
	void *again = adv_heap_alloc(h, 100);
	cr_assert_eq(again, small, "where there is room already");
	cr_assert(adv_heap_covers(h, again, 100, &lkey));
	cr_assert_neq(lkey, first_key);
	adv_heap_free(h, again);
	adv_heap_free(h, large);
	adv_heap_trim(h);
	cr_assert_eq(device.nr_known, 0);
	cr_assert_eq(adv_heap_bytes(h), 0);
	adv_heap_destroy(h);
}

/* A size that is not wanted any more makes room for another. */
Test(heap, sizes_give_way_to_each_other)
{
	enum {
		NR = 8192
	};
	static void *at[NR];
	struct adv_heap *h = heap();
	for (size_t size = 64; size <= 4096; size *= 2) {
		for (int i = 0; i < NR; i++)
			at[i] = adv_heap_alloc(h, size);
		for (int i = 0; i < NR; i++)
			cr_assert(adv_heap_free(h, at[i]));
	}
	/* 32 MiB of the largest; all sizes one after the other would be 64. */
	cr_assert_leq(adv_heap_bytes(h), (size_t)38 << 20);
	adv_heap_destroy(h);
}

Test(heap, a_range_that_is_not_in_one_chunk_is_not_covered)
{
	struct adv_heap *h = heap();
	uint32_t key, other;
	uint8_t *first = adv_heap_alloc(h, 5 << 20);
	uint8_t *second = adv_heap_alloc(h, 5 << 20);
	char local[64];
	cr_assert_eq(second, first + (5 << 20), "chunks follow each other here");
	cr_assert(adv_heap_covers(h, first, 5 << 20, &key));
	cr_assert(adv_heap_covers(h, second, 5 << 20, &other));
	cr_assert_neq(key, other);
	cr_assert_not(adv_heap_covers(h, first, (5 << 20) + 1, &key));
	cr_assert_not(adv_heap_covers(h, first + (5 << 20) - 1, 2, &key));
	cr_assert_not(adv_heap_covers(h, second, (5 << 20) + 1, &key));
	cr_assert_not(adv_heap_covers(h, first - 1, 1, &key));
	cr_assert_not(adv_heap_covers(h, first - 1, 2, &key));
	cr_assert_not(adv_heap_covers(h, local, sizeof(local), &key));
	cr_assert_not(adv_heap_covers(h, first, SIZE_MAX, &key));
	cr_assert_not(adv_heap_covers(h, NULL, 1, &key));
	adv_heap_destroy(h);
}

Test(heap, what_is_not_an_object_is_not_freed)
{
	struct adv_heap *h = heap();
	uint8_t *small = adv_heap_alloc(h, 100), *large = adv_heap_alloc(h, 200000),
		*larger = adv_heap_alloc(h, 5 << 20);
	char local;
	cr_assert_not(adv_heap_free(h, small + 1));
	cr_assert_not(adv_heap_free(h, small + 64));
	cr_assert_not(adv_heap_free(h, large + 64));
	cr_assert_not(adv_heap_free(h, large + 65536));
	cr_assert_not(adv_heap_free(h, larger + 64));
	cr_assert_not(adv_heap_free(h, larger + 65536));
	cr_assert_not(adv_heap_free(h, &local));
	cr_assert(adv_heap_free(h, NULL));
	cr_assert(adv_heap_free(h, small));
	cr_assert_not(adv_heap_free(h, small), "twice");
	cr_assert(adv_heap_free(h, large));
	cr_assert_not(adv_heap_free(h, large), "twice");
	cr_assert(adv_heap_free(h, larger));
	cr_assert_not(adv_heap_free(h, larger), "twice");
	adv_heap_destroy(h);
}

Test(heap, a_device_that_refuses_is_an_error_and_costs_nothing)
{
	struct adv_heap *h = heap();
	device.fail_at = 2;
	uint8_t *first = adv_heap_alloc(h, 100);
	cr_assert_not_null(first);
	cr_assert_null(adv_heap_alloc(h, 8 << 20));
	cr_assert_null(adv_heap_alloc(h, 8 << 20));
	cr_assert_not_null(adv_heap_alloc(h, 100000), "the first chunk has room");
	device.fail_at = 0;
	cr_assert_not_null(adv_heap_alloc(h, 8 << 20));
	cr_assert_eq(device.nr_known, 2);
	adv_heap_destroy(h);
	cr_assert_eq(device.nr_known, 0);
}

Test(heap, too_much_is_an_error_with_a_text)
{
	struct adv_heap *h = heap();
	cr_assert_null(adv_heap_alloc(h, SIZE_MAX));
	cr_assert_not_null(strstr(adv_error(), "no memory"));
	adv_heap_destroy(h);
}

Test(heap, a_child_knows_that_it_is_not_its_own)
{
	struct adv_heap *h = heap();
	char *at = adv_heap_alloc(h, 100);
	strcpy(at, "read me");
	cr_assert_not(adv_heap_foreign(h));
	pid_t child = fork();
	if (child == 0) {
		bool ok = adv_heap_foreign(h) && strcmp(at, "read me") == 0;
		adv_heap_destroy(h);
		_exit(ok && device.nr_known == 1 ? 0 : 1);
	}
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert(adv_heap_free(h, at));
	adv_heap_destroy(h);
}

static void *churn(void *arg)
{
	struct adv_heap *h = arg;
	void *at[64] = {0};
	unsigned seed = (unsigned)(uintptr_t)&at;
	for (int round = 0; round < 50000; round++) {
		unsigned i = (unsigned)rand_r(&seed) % 64;
		size_t size = (unsigned)rand_r(&seed) % 70000;
		if (at[i] != NULL && !adv_heap_free(h, at[i]))
			return "freed by somebody else";
		at[i] = adv_heap_alloc(h, size);
		if (at[i] == NULL)
			return "no memory";
		memset(at[i], (int)seed, size < 64 ? size : 64);
	}
	for (int i = 0; i < 64; i++)
		adv_heap_free(h, at[i]);
	return NULL;
}

Test(heap, threads)
{
	struct adv_heap *h = heap();
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, churn, h), 0);
	for (int i = 0; i < 4; i++) {
		void *what;
		pthread_join(threads[i], &what);
		cr_assert_null(what, "%s", (const char *)what);
	}
	adv_heap_destroy(h);
}
