/* heap.c - a heap of registered memory. Any thread; see heap.h. */
#include "client/heap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/internal.h"
#include "util/biased.h"

/*
 * The range is cut into units. A unit belongs to a chunk (it is registered), and is free, carries objects of one size, or is part of a
 * run of units that is one large object. Books are kept beside the memory, never in it: a device may write where the user may.
 */
#define UNIT	    ((size_t)64 * 1024)
#define CHUNK_UNITS 64 /* registered at a time, at least: 4 MiB */
#define RANGE_MAX   ((size_t)64 << 30)
#define RANGE_MIN   ((size_t)64 << 20)
#define WIPED	    4096
#define UNITS(n)    ((uint32_t)((n)*UNIT))

/* Four steps to a doubling from 256 on: a quarter is wasted at most. From half a unit on whole units: half. Above these, runs as needed. */
static const uint32_t sizes[] = {
	64,	   128,	      192,	 256,	    320,       384,	  448,	     512,
	640,	   768,	      896,	 1024,	    1280,      1536,	  1792,	     2048,
	2560,	   3072,      3584,	 4096,	    5120,      6144,	  7168,	     8192,
	10240,	   12288,     14336,	 16384,	    21824,     32768,	  UNITS(1),  UNITS(2),
	UNITS(3),  UNITS(4),  UNITS(5),	 UNITS(6),  UNITS(7),  UNITS(8),  UNITS(10), UNITS(12),
	UNITS(14), UNITS(16), UNITS(20), UNITS(24), UNITS(28), UNITS(32), UNITS(40), UNITS(48),
	UNITS(56), UNITS(64)};
#define NR_SIZES  (sizeof(sizes) / sizeof(sizes[0]))
#define FIRST_RUN 30 /* index of the first that is whole units */
#define SIZED_MAX UNITS(64)

#define UNIT_GOES (1u << 31) /* in nr_taken, while units are given back: and the next one */
#define NO_UNIT	  (UNIT_GOES - 1)
#define TIDY_BYTES \
	(4 *       \
	 UNIT) /* of a size, less than that which is free is no matter, nor is one unit or run */

enum unit_use {
	UNIT_NONE, /* no chunk reaches here, or it was given back */
	UNIT_FREE,
	UNIT_SIZED, /* objects of one of the sizes, or the first unit of one */
	UNIT_LARGE, /* the first of another run */
	UNIT_MORE,  /* of a run, but not the first */
};

struct unit {
	uint32_t lkey;
	uint32_t chunk; /* its number, from 1 */
	uint32_t run;	/* UNIT_SIZED, UNIT_LARGE: units */
	uint8_t use;
	uint8_t size;	   /* UNIT_SIZED: index into sizes */
	uint32_t nr_taken; /* UNIT_SIZED: objects */
	uint64_t *taken;   /* a bit for each */
};

/* Objects of one size that are free: a stack of their numbers, unit and place. */
struct shelf {
	struct adv_biased lock;
	uint32_t *free; /* (unit << 10) | place */
	size_t nr_free;
	size_t nr_objects; /* free or not: `free` has room for all */
	size_t nr_frees;   /* since units were looked for that are wholly free */
} __attribute__((aligned(ADV_CACHE_LINE)));

#define PLACE_BITS 10
#define PLACES_MAX (UNIT / 64)
static_assert(PLACES_MAX == 1u << PLACE_BITS, "a place's number has room");
static_assert(RANGE_MAX / UNIT <= 1u << (32 - PLACE_BITS), "a unit's number has room");

struct chunk {
	struct chunk *next;
	void *handle;
	size_t first, nr; /* units */
};

struct adv_heap {
	uint8_t *base;
	size_t size;
	struct unit *units;
	_Atomic size_t nr_units; /* that chunks reach */
	struct adv_heap_registrar registrar;
	const uint8_t *wiped; /* a byte that is 1, and 0 in a forked child */
	struct chunk *chunks;
	uint32_t nr_chunks;
	pthread_mutex_t lock;	    /* units, chunks */
	uint64_t inverse[NR_SIZES]; /* 2^32 by each size */
	struct shelf shelves[NR_SIZES];
};

/* ---- the beginning and the end ---- */

static void *reserve(size_t *size)
{
	for (*size = RANGE_MAX; *size >= RANGE_MIN; *size /= 2) {
		/* Shared, so that a fork does not move a page away from under the device. */
		void *at = mmap(NULL, *size, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
				-1, 0);
		if (at != MAP_FAILED)
			return at;
	}
	return NULL;
}

static const uint8_t *make_wiped(void)
{
	uint8_t *at = mmap(NULL, WIPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return NULL;
	if (madvise(at, WIPED, MADV_WIPEONFORK) < 0) {
		munmap(at, WIPED);
		return NULL;
	}
	*at = 1;
	return at;
}

struct adv_heap *adv_heap_create(const struct adv_heap_registrar *registrar)
{
	struct adv_heap *h = aligned_alloc(ADV_CACHE_LINE, sizeof(*h));
	if (h == NULL)
		return NULL;
	memset(h, 0, sizeof(*h));
	h->registrar = *registrar;
	bool biased = adv_biased_possible();
	pthread_mutex_init(&h->lock, NULL);
	for (size_t i = 0; i < NR_SIZES; i++) {
		adv_biased_init(&h->shelves[i].lock, biased);
		h->inverse[i] = ((UINT64_C(1) << 32) + sizes[i] - 1) / sizes[i];
	}
	h->base = reserve(&h->size);
	h->wiped = make_wiped();
	/* Untouched pages of it cost nothing. */
	if (h->base != NULL)
		h->units = calloc(h->size / UNIT, sizeof(*h->units));
	if (h->base == NULL || h->wiped == NULL || h->units == NULL) {
		adv_heap_destroy(h);
		return NULL;
	}
	return h;
}

bool adv_heap_foreign(const struct adv_heap *h)
{
	return *(const volatile uint8_t *)h->wiped == 0;
}

void adv_heap_destroy(struct adv_heap *h)
{
	if (h == NULL)
		return;
	bool foreign = h->wiped != NULL && adv_heap_foreign(h);
	for (struct chunk *c = h->chunks, *next; c != NULL; c = next) {
		next = c->next;
		if (!foreign && h->registrar.forget != NULL)
			h->registrar.forget(c->handle);
		free(c);
	}
	for (size_t i = 0; h->units != NULL && i < h->nr_units; i++)
		free(h->units[i].taken);
	for (size_t i = 0; i < NR_SIZES; i++)
		free(h->shelves[i].free);
	if (h->base != NULL)
		munmap(h->base, h->size);
	if (h->wiped != NULL)
		munmap((void *)h->wiped, WIPED);
	pthread_mutex_destroy(&h->lock);
	free(h->units);
	free(h);
}

/* ---- units: with the heap's lock ---- */

static bool out_of_memory(size_t size)
{
	adv_client_fail(ADV_NO_MEMORY, "no memory for a buffer of %zu bytes", size);
	return false;
}

/* Where `nr` units were given back; SIZE_MAX: nowhere. */
static size_t find_hole(const struct adv_heap *h, size_t nr)
{
	size_t found = 0;
	for (size_t i = 0; i < h->nr_units; i++) {
		found = h->units[i].use == UNIT_NONE ? found + 1 : 0;
		if (found == nr)
			return i + 1 - nr;
	}
	return SIZE_MAX;
}

/* Another chunk of at least `run` units: where one was given back, or at the end of those there are. */
static bool grow(struct adv_heap *h, size_t run)
{
	size_t all = h->size / UNIT, nr = run > CHUNK_UNITS ? run : CHUNK_UNITS;
	size_t first = find_hole(h, nr);
	if (first == SIZE_MAX) {
		first = h->nr_units;
		if (nr > all - first)
			nr = run;
		if (nr > all - first)
			return out_of_memory(run * UNIT);
	}
	uint8_t *at = h->base + first * UNIT;
	struct chunk *c = calloc(1, sizeof(*c));
	uint32_t lkey = 0;
	if (c == NULL || mprotect(at, nr * UNIT, PROT_READ | PROT_WRITE) < 0) {
		free(c);
		return out_of_memory(run * UNIT);
	}
	if (h->registrar.remember != NULL &&
	    !h->registrar.remember(h->registrar.user, at, nr * UNIT, &lkey, &c->handle)) {
		mprotect(at, nr * UNIT, PROT_NONE);
		free(c);
		return false;
	}
	c->first = first;
	c->nr = nr;
	c->next = h->chunks;
	h->chunks = c;
	h->nr_chunks++; /* a number is never used again */
	for (size_t i = first; i < first + nr; i++) {
		h->units[i].lkey = lkey;
		h->units[i].chunk = h->nr_chunks;
		h->units[i].use = UNIT_FREE;
	}
	/* Release: pairs with adv_heap_covers(). */
	if (first + nr > h->nr_units)
		atomic_store_explicit(&h->nr_units, first + nr, memory_order_release);
	return true;
}

/* The first run of so many free units of one chunk; SIZE_MAX: none. */
static size_t find_run(const struct adv_heap *h, size_t run)
{
	size_t found = 0;
	for (size_t i = 0; i < h->nr_units; i++) {
		const struct unit *u = &h->units[i];
		if (u->use != UNIT_FREE)
			found = 0;
		else if (found > 0 && u->chunk == u[-1].chunk)
			found++;
		else
			found = 1;
		if (found == run)
			return i + 1 - run;
		if (u->use == UNIT_LARGE || u->use == UNIT_SIZED)
			i += u->run - 1;
	}
	return SIZE_MAX;
}

/* Without `grows` only where there is one already: SIZE_MAX and no error where there is none. */
static size_t take_run(struct adv_heap *h, size_t run, enum unit_use use, bool grows)
{
	size_t first = find_run(h, run);
	if (first == SIZE_MAX && grows && grow(h, run))
		first = find_run(h, run);
	if (first == SIZE_MAX)
		return SIZE_MAX;
	h->units[first].use = (uint8_t)use;
	h->units[first].run = (uint32_t)run;
	for (size_t i = 1; i < run; i++)
		h->units[first + i].use = UNIT_MORE;
	return first;
}

/* ---- objects of a size: with the shelf's lock ---- */

static bool make_room(struct shelf *s, size_t more)
{
	uint32_t *at = realloc(s->free, (s->nr_objects + more) * sizeof(*at));
	if (at == NULL)
		return false;
	s->free = at;
	return true;
}

/* Its objects are off the shelf already. */
static void give_back(struct adv_heap *h, struct shelf *s, size_t index, size_t unit)
{
	struct unit *u = &h->units[unit];
	uint32_t run = u->run;
	s->nr_objects -= index < FIRST_RUN ? UNIT / sizes[index] : 1;
	free(u->taken);
	u->taken = NULL;
	pthread_mutex_lock(&h->lock);
	for (uint32_t i = 0; i < run; i++)
		u[i].use = UNIT_FREE;
	pthread_mutex_unlock(&h->lock);
}

/*
 * Units without an object that is taken are for other sizes again, but for `keep` of them. All objects of such a unit are on the shelf: the one in
 * its first place stands for it. While they are picked out, nr_taken links them.
 */
static void tidy(struct adv_heap *h, size_t index, unsigned keep)
{
	struct shelf *s = &h->shelves[index];
	uint32_t first = NO_UNIT;
	size_t kept = 0;
	for (size_t i = 0; i < s->nr_free; i++) {
		struct unit *u = &h->units[s->free[i] >> PLACE_BITS];
		if ((s->free[i] & (PLACES_MAX - 1)) != 0 || u->nr_taken != 0)
			continue;
		if (keep > 0) {
			keep--;
			continue;
		}
		u->nr_taken = UNIT_GOES | first;
		first = s->free[i] >> PLACE_BITS;
	}
	for (size_t i = 0; i < s->nr_free; i++)
		if ((h->units[s->free[i] >> PLACE_BITS].nr_taken & UNIT_GOES) == 0)
			s->free[kept++] = s->free[i];
	s->nr_free = kept;
	s->nr_frees = 0;
	while (first != NO_UNIT) {
		uint32_t unit = first;
		first = h->units[unit].nr_taken & NO_UNIT;
		give_back(h, s, index, unit);
	}
}

/* Most of a size is free, and has come to be so: worth a look, which costs as much as the frees before it. */
static bool worth_tidying(const struct shelf *s, size_t index)
{
	size_t unit = index < FIRST_RUN ? UNIT / sizes[index] : 1;
	return s->nr_frees >= s->nr_objects && s->nr_free > s->nr_objects / 2 &&
	       s->nr_free > unit && s->nr_free * sizes[index] > TIDY_BYTES;
}

/* Before it grows: what lies free on shelves that nobody is at. `held` is the shelf whose lock is held already. */
static void tidy_others(struct adv_heap *h, size_t held)
{
	for (size_t i = 0; i < NR_SIZES; i++) {
		bool owned;
		if (i == held || !adv_biased_try(&h->shelves[i].lock, &owned))
			continue;
		tidy(h, i, 0);
		adv_biased_unlock(&h->shelves[i].lock, owned);
	}
}

static size_t find_or_grow(struct adv_heap *h, size_t run, enum unit_use use, size_t held)
{
	size_t found = SIZE_MAX;
	for (int attempt = 0; attempt < 2 && found == SIZE_MAX; attempt++) {
		if (attempt == 1)
			tidy_others(h, held);
		pthread_mutex_lock(&h->lock);
		found = take_run(h, run, use, attempt == 1);
		pthread_mutex_unlock(&h->lock);
	}
	return found;
}

/* Puts the objects of one more unit on the shelf, or one more of several units. */
static bool stock(struct adv_heap *h, struct shelf *s, size_t index)
{
	uint32_t nr = index < FIRST_RUN ? (uint32_t)(UNIT / sizes[index]) : 1;
	uint64_t *taken = calloc((nr + 63) / 64, sizeof(*taken));
	size_t unit = SIZE_MAX;
	if (taken == NULL || !make_room(s, nr)) {
		free(taken);
		return out_of_memory(sizes[index]);
	}
	unit = find_or_grow(h, index < FIRST_RUN ? 1 : sizes[index] / UNIT, UNIT_SIZED, index);
	if (unit == SIZE_MAX) {
		free(taken);
		return false;
	}
	h->units[unit].size = (uint8_t)index;
	h->units[unit].taken = taken;
	h->units[unit].nr_taken = 0;
	s->nr_objects += nr;
	/* The lowest on top. */
	for (uint32_t i = nr; i-- > 0;)
		s->free[s->nr_free++] = (uint32_t)unit << PLACE_BITS | i;
	return true;
}

/* Four sizes to a doubling: found by counting, not by looking. */
static size_t size_index(size_t size)
{
	size_t i = 0;
	if (size > sizes[FIRST_RUN - 1]) {
		i = FIRST_RUN;
	} else if (size > 256) {
		unsigned log =
			63 - (unsigned)__builtin_clzll(size - 1); /* 2^log < size <= 2^(log+1) */
		i = (log - 8) * 4 + 3;
	}
	while (sizes[i] < size)
		i++;
	return i;
}

static void *alloc_sized(struct adv_heap *h, size_t size)
{
	size_t index = size_index(size);
	struct shelf *s = &h->shelves[index];
	void *at = NULL;
	bool owned = adv_biased_lock(&s->lock);
	if (s->nr_free > 0 || stock(h, s, index)) {
		uint32_t object = s->free[--s->nr_free];
		uint32_t place = object & (PLACES_MAX - 1), unit = object >> PLACE_BITS;
		h->units[unit].taken[place / 64] |= UINT64_C(1) << place % 64;
		h->units[unit].nr_taken++;
		at = h->base + unit * UNIT + (size_t)place * sizes[index];
	}
	adv_biased_unlock(&s->lock, owned);
	return at;
}

static bool free_sized(struct adv_heap *h, size_t unit, size_t offset)
{
	struct unit *u = &h->units[unit];
	size_t index = u->size;
	struct shelf *s = &h->shelves[index];
	/* Rounded up, so exact for what is below a unit: a division takes as long as all the rest. */
	uint32_t place = (uint32_t)(offset * h->inverse[index] >> 32);
	uint64_t bit = UINT64_C(1) << place % 64;
	if ((size_t)place * sizes[index] != offset)
		return false;
	bool owned = adv_biased_lock(&s->lock);
	/* It may have been given back meanwhile, if this was no object. */
	bool taken = u->use == UNIT_SIZED && u->size == index && u->taken != NULL &&
		     (u->taken[place / 64] & bit) != 0;
	if (taken) {
		u->taken[place / 64] &= ~bit;
		u->nr_taken--;
		s->free[s->nr_free++] = (uint32_t)unit << PLACE_BITS | place;
		s->nr_frees++;
		if (worth_tidying(s, index))
			tidy(h, index, 1);
	}
	adv_biased_unlock(&s->lock, owned);
	return taken;
}

/* ---- larger ones ---- */

static void *alloc_large(struct adv_heap *h, size_t size)
{
	size_t run = size / UNIT + (size % UNIT != 0);
	size_t first = find_or_grow(h, run, UNIT_LARGE, NR_SIZES);
	return first != SIZE_MAX ? h->base + first * UNIT : NULL;
}

static bool free_large(struct adv_heap *h, size_t unit, size_t offset)
{
	struct unit *u = &h->units[unit];
	pthread_mutex_lock(&h->lock);
	bool taken = offset == 0 && u->use == UNIT_LARGE;
	for (size_t i = 0; taken && i < u->run; i++)
		u[i].use = UNIT_FREE;
	pthread_mutex_unlock(&h->lock);
	return taken;
}

/* ---- what callers see ---- */

void *adv_heap_alloc(struct adv_heap *h, size_t size)
{
	if (size == 0)
		size = 1;
	if (size > h->size) {
		out_of_memory(size);
		return NULL;
	}
	return size <= SIZED_MAX ? alloc_sized(h, size) : alloc_large(h, size);
}

bool adv_heap_free(struct adv_heap *h, void *at)
{
	if (at == NULL)
		return true;
	size_t offset = (size_t)((uint8_t *)at - h->base);
	size_t unit = offset / UNIT;
	if (unit >= atomic_load_explicit(&h->nr_units, memory_order_acquire))
		return false;
	return h->units[unit].use == UNIT_SIZED ? free_sized(h, unit, offset % UNIT)
						: free_large(h, unit, offset % UNIT);
}

/* All its units are free. */
static bool chunk_free(const struct adv_heap *h, const struct chunk *c)
{
	for (size_t i = 0; i < c->nr; i++)
		if (h->units[c->first + i].use != UNIT_FREE)
			return false;
	return true;
}

/* Its pages go, and nobody gets them by its addresses until it grows again. */
static void chunk_drop(struct adv_heap *h, struct chunk *c)
{
	uint8_t *at = h->base + c->first * UNIT;
	if (h->registrar.forget != NULL)
		h->registrar.forget(c->handle);
	for (size_t i = 0; i < c->nr; i++)
		h->units[c->first + i] = (struct unit){.use = UNIT_NONE};
	/* Of shared memory only this gives pages back; where it cannot, they stay until the heap ends. */
	(void)madvise(at, c->nr * UNIT, MADV_REMOVE);
	(void)mprotect(at, c->nr * UNIT, PROT_NONE);
	free(c);
}

void adv_heap_trim(struct adv_heap *h)
{
	if (adv_heap_foreign(h))
		return;
	for (size_t i = 0; i < NR_SIZES; i++) {
		bool owned = adv_biased_lock(&h->shelves[i].lock);
		tidy(h, i, 0);
		adv_biased_unlock(&h->shelves[i].lock, owned);
	}
	pthread_mutex_lock(&h->lock);
	for (struct chunk **at = &h->chunks; *at != NULL;) {
		struct chunk *c = *at;
		if (!chunk_free(h, c)) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		chunk_drop(h, c);
	}
	pthread_mutex_unlock(&h->lock);
}

size_t adv_heap_bytes(struct adv_heap *h)
{
	size_t bytes = 0;
	pthread_mutex_lock(&h->lock);
	for (const struct chunk *c = h->chunks; c != NULL; c = c->next)
		bytes += c->nr * UNIT;
	pthread_mutex_unlock(&h->lock);
	return bytes;
}

bool adv_heap_covers(const struct adv_heap *h, const void *at, size_t size, uint32_t *lkey)
{
	size_t offset = (size_t)((const uint8_t *)at - h->base);
	/* Acquire: pairs with grow(). */
	size_t end = atomic_load_explicit(&h->nr_units, memory_order_acquire) * UNIT;
	if (offset >= end || size > end - offset || size == 0)
		return false;
	const struct unit *first = &h->units[offset / UNIT];
	const struct unit *last = &h->units[(offset + size - 1) / UNIT];
	*lkey = first->lkey;
	return first->chunk == last->chunk && first->chunk != 0;
}
