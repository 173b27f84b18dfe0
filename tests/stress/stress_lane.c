/*
 * stress_lane.c - a lane under stress: a caller, workers that are killed at random and replaced, and their supervisor.
 *
 * Proves, for the schedules that come up: every call ends exactly once; every output and input is its own call's; no call
 * runs twice, nor after it was reported as not run, nor when its status says that it was not; completions come in order;
 * no wake-up is lost while nobody dies (a worker on its futex, the caller on its eventfd); the end of the lane ends every
 * call. Under ThreadSanitizer also: no data race between the three sides.
 *
 * Usage: stress_lane [SEED [CALLS [ROUNDS [WATCH]]]]. Rounds are bounded by calls and by time. WATCH 0: the supervisor does not
 * read entries that the sides are writing (the calls adv_supervisor_overdue() and adv_supervisor_busy()). Plain main():
 * Criterion and ThreadSanitizer do not go together.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"
#include "util/clock.h"

#define ROUND_NS       ADV_SEC
#define ERRORS_PRINTED 10

#if defined(__SANITIZE_THREAD__)
#define PROCESSES false /* it does not follow memory across processes */
#elif defined(__has_feature)
#define PROCESSES (!__has_feature(thread_sanitizer))
#else
#define PROCESSES true
#endif

struct stress_node {
	struct stress *s;
	struct adv_supervisor supervisor;
	struct stress_worker *worker;
	uint64_t random;
	uint64_t end_ns;
	bool watch;
	uint32_t deaths;
};

void stress_error(struct stress *s, const char *what, uint64_t call_id, uint64_t a, uint64_t b)
{
	if (atomic_fetch_add(&s->errors, 1) < ERRORS_PRINTED)
		fprintf(stderr, "seed %llu, call %llu: %s (%llu, %llu)\n",
			(unsigned long long)s->seed, (unsigned long long)call_id, what,
			(unsigned long long)a, (unsigned long long)b);
}

void stress_fill(uint8_t *to, uint32_t length, uint64_t salt)
{
	uint64_t mixed = salt * UINT64_C(0x9e3779b97f4a7c15);
	for (uint32_t i = 0; i < length; i++)
		to[i] = (uint8_t)((mixed >> 40) + 13 * i);
}

bool stress_same(const uint8_t *from, uint32_t length, uint64_t salt)
{
	uint64_t mixed = salt * UINT64_C(0x9e3779b97f4a7c15);
	for (uint32_t i = 0; i < length; i++)
		if (from[i] != (uint8_t)((mixed >> 40) + 13 * i))
			return false;
	return true;
}

/* Half of them travel in the entry, a few fill the slot. */
uint32_t stress_length(uint64_t salt, uint32_t capacity)
{
	uint64_t random = stress_random(&salt);
	switch (random % 8) {
	case 0:
		return 0;
	case 1:
		return ADV_INLINE_MAX;
	case 2:
		return ADV_INLINE_MAX + 1;
	case 3:
		return capacity;
	case 4:
		return (uint32_t)(random >> 8) % 256;
	default:
		return (uint32_t)(random >> 8) % ADV_INLINE_MAX;
	}
}

/* ---- the supervisor ---- */

static void nap(struct stress_node *n, uint32_t max_us)
{
	const struct timespec t = {.tv_nsec = (long)(stress_random(&n->random) % max_us) * 1000};
	nanosleep(&t, NULL);
}

static void wake_caller(struct stress *s)
{
	uint64_t one = 1;
	if (write(s->event_fd, &one, sizeof(one)) < 0)
		stress_error(s, "the eventfd is full", 0, 0, 0);
}

static void start_worker(struct stress_node *n)
{
	static const uint64_t windows_us[] = {0, 20, 500, UINT64_MAX};
	uint64_t hot_us = windows_us[stress_random(&n->random) % 4];
	n->worker = stress_worker_start(n->s, n->supervisor.generation, hot_us,
					stress_random(&n->random));
}

static void announce(struct stress_node *n, enum adv_status status)
{
	n->deaths++;
	if (adv_supervisor_death(&n->supervisor, status, n->deaths) != 0)
		stress_error(n->s, "out of epochs", 0, n->deaths, 0);
}

static void replace_worker(struct stress_node *n)
{
	stress_worker_reap(n->worker);
	n->worker = NULL;
	announce(n, ADV_CRASHED);
	/* Some replacements never start; when there are many, a death record is overwritten. */
	for (uint64_t i = stress_random(&n->random) % 32; i < 2 * ADV_DEATH_RECORDS; i++) {
		wake_caller(n->s);
		if (stress_random(&n->random) % 2 == 0)
			nap(n, 100);
		announce(n, ADV_LOAD_FAILED);
	}
	if (stress_random(&n->random) % 4 == 0)
		nap(n, 300);
	wake_caller(n->s);
	if (stress_random(&n->random) % 2 == 0)
		nap(n, 300);
	start_worker(n);
}

/* What the node reads of a lane while both sides are at work. */
static void look(struct stress_node *n)
{
	struct adv_lane_counts counts;
	uint64_t next_ns = UINT64_MAX;
	adv_supervisor_count(&n->supervisor, ADV_SEC, &counts);
	(void)adv_supervisor_served(&n->supervisor);
	if (!n->watch)
		return;
	(void)adv_supervisor_overdue(&n->supervisor, adv_clock_monotonic_ns(), &next_ns);
	(void)adv_supervisor_busy(&n->supervisor);
}

static bool is_over(const struct stress_node *n)
{
	const struct stress *s = n->s;
	return atomic_load(&s->finished) || atomic_load(&s->errors) > 0 ||
	       atomic_load(&s->done) >= s->count - s->count / 4 ||
	       adv_clock_monotonic_ns() >= n->end_ns;
}

/* A new worker that nobody kills, so that a lost wake-up shows. */
static void be_quiet(struct stress_node *n, uint32_t calls)
{
	struct stress *s = n->s;
	atomic_store(&s->quiet, 1);
	replace_worker(n);
	uint32_t until = atomic_load(&s->done) + calls;
	uint64_t give_up_ns = adv_clock_monotonic_ns() + 2 * STALL_NS;
	while ((int32_t)(until - atomic_load(&s->done)) > 0 && !is_over(n)) {
		look(n);
		nap(n, 200);
		if (adv_clock_monotonic_ns() > give_up_ns)
			stress_error(s, "no progress", 0, atomic_load(&s->done), 0);
	}
	atomic_store(&s->quiet, 0);
}

static void finish(struct stress_node *n, bool with_grace)
{
	struct stress *s = n->s;
	if (with_grace) {
		atomic_store(&s->quiet, 1);
		replace_worker(n);
		adv_supervisor_revoke(&n->supervisor);
	} else {
		stress_worker_reap(n->worker);
		n->worker = NULL;
		adv_supervisor_end(&n->supervisor, ADV_CLOSED);
	}
	wake_caller(s);
	uint64_t give_up_ns = adv_clock_monotonic_ns() + 2 * STALL_NS;
	while (!atomic_load(&s->finished) && adv_clock_monotonic_ns() < give_up_ns)
		nap(n, 500);
	if (!atomic_load(&s->finished))
		stress_error(s, "the caller does not finish", 0, atomic_load(&s->done), 0);
	if (n->worker != NULL)
		stress_worker_reap(n->worker);
}

static void supervise(struct stress_node *n)
{
	while (!is_over(n)) {
		look(n);
		if (stress_random(&n->random) % 8 == 0)
			be_quiet(n, 200);
		else
			nap(n, 3000);
		replace_worker(n);
	}
	finish(n, stress_random(&n->random) % 2 == 0);
}

/* ---- a round ---- */

static void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return memory;
}

static struct stress *prepare(uint64_t seed, uint32_t count, bool processes)
{
	static const uint32_t slots[] = {1, 3, 8, STRESS_SLOTS};
	struct stress *s = map(sizeof(*s));
	s->seed = seed;
	s->count = count;
	s->processes = processes;
	s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (adv_geometry_init(&s->geometry, 1, slots[seed / 2 % 4], 1, 1) != 0)
		abort();
	s->req = map(s->geometry.size[ADV_LANE_REQ]);
	s->cpl = map(s->geometry.size[ADV_LANE_CPL]);
	s->slots = map(s->geometry.size[ADV_LANE_SLOTS]);
	adv_supervisor_format(s->req, s->cpl, s->slots, &s->geometry);
	return s;
}

static void dispose(struct stress *s)
{
	munmap(s->req, s->geometry.size[ADV_LANE_REQ]);
	munmap(s->cpl, s->geometry.size[ADV_LANE_CPL]);
	munmap(s->slots, s->geometry.size[ADV_LANE_SLOTS]);
	close(s->event_fd);
	munmap(s, sizeof(*s));
}

static void report(const struct stress_node *n)
{
	const struct stress *s = n->s;
	printf("seed %llu: %s, %u slots, %u calls, %u deaths, slept %u, woke %u:",
	       (unsigned long long)s->seed, s->processes ? "processes" : "threads",
	       s->geometry.nr_slots, atomic_load(&s->submitted), n->deaths, atomic_load(&s->slept),
	       atomic_load(&s->woke));
	for (unsigned i = 0; i < 128; i++)
		if (atomic_load(&s->statuses[i]) > 0)
			printf(" %s %u", adv_status_name(i), atomic_load(&s->statuses[i]));
	printf("\n");
	fflush(stdout);
}

static uint32_t play(uint64_t seed, uint32_t count, bool processes, bool watch)
{
	struct stress *s = prepare(seed, count, processes);
	struct stress_node n = {.s = s, .random = ~seed, .watch = watch};
	pthread_t caller;
	adv_supervisor_init(&n.supervisor, &s->geometry, 0, s->req, s->cpl);
	n.end_ns = adv_clock_monotonic_ns() + ROUND_NS;
	start_worker(&n);
	if (pthread_create(&caller, NULL, stress_caller_main, s) != 0)
		abort();
	supervise(&n);
	uint32_t errors = atomic_load(&s->errors);
	if (errors > 0 && !atomic_load(&s->finished)) {
		fprintf(stderr, "seed %llu: hangs\n", (unsigned long long)seed);
		_exit(1);
	}
	pthread_join(caller, NULL);
	errors = atomic_load(&s->errors);
	if (atomic_load(&s->done) == 0 || atomic_load(&s->done) != atomic_load(&s->submitted)) {
		fprintf(stderr, "seed %llu: %u calls ended of %u\n", (unsigned long long)seed,
			atomic_load(&s->done), atomic_load(&s->submitted));
		errors++;
	}
	report(&n);
	dispose(s);
	return errors;
}

static uint64_t argument(int argc, char **argv, int i, uint64_t otherwise, uint64_t most)
{
	uint64_t value = i < argc ? strtoull(argv[i], NULL, 0) : otherwise;
	return most != 0 && value > most ? most : value;
}

int main(int argc, char **argv)
{
	uint64_t seed = argument(argc, argv, 1, 1, 0);
	uint32_t count = (uint32_t)argument(argc, argv, 2, 60000, CALLS_MAX);
	uint64_t rounds = argument(argc, argv, 3, 8, 100000);
	bool watch = argument(argc, argv, 4, 1, 1) != 0;
	uint32_t errors = 0;
	for (uint64_t i = 0; i < rounds && errors == 0; i++)
		errors = play(seed + i, count, PROCESSES && i % 2 == 1, watch);
	printf("%s\n", errors == 0 ? "ok" : "FAILED");
	return errors == 0 ? 0 : 1;
}
