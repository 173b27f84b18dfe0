/*
 * stress.h - one lane under stress: what its three roles share. See stress_lane.c for what the program proves.
 *
 *	stress_lane.c    main(), and the supervisor: kills and replaces workers, ends the lane (main thread)
 *	stress_caller.c  the caller: submits, checks every end (a thread)
 *	stress_worker.c  the worker: runs calls, checks every input, dies (a thread, or a process killed by SIGKILL)
 */
#ifndef ADVERB_TESTS_STRESS_H
#define ADVERB_TESTS_STRESS_H

#include "lane/caller.h"
#include "lane/lane_worker.h"
#include "lane/supervisor.h"

#define CALLS_MAX    100000
#define STRESS_SLOTS 64
#define NR_FUNCTIONS 3
#define STALL_NS     (30 * ADV_SEC) /* without any progress the lane hangs */

/* Functions by number; NR_FUNCTIONS itself does not exist. */
enum function {
	FN_ECHO,
	FN_FAIL,
	FN_TOO_LONG,
};

/* One call's history. Both sides store their own mark before they look at the other's. */
struct stress_call {
	_Atomic uint32_t ran;	/* times that its function was started */
	_Atomic uint32_t ended; /* status + 1; 0 while it has not ended */
};

/* Lies in memory that a forked worker shares. */
struct stress {
	struct adv_geometry geometry;
	uint8_t *req, *cpl, *slots;
	int event_fd;
	uint64_t seed;
	bool processes; /* workers are processes */
	uint32_t count; /* calls at most */
	_Atomic uint32_t submitted, done, errors;
	_Atomic uint32_t slept, woke; /* the caller on its eventfd; the worker from its futex */
	_Atomic uint32_t finished;    /* the caller has drained the lane */
	_Atomic uint32_t quiet;	      /* no worker dies by itself */
	_Atomic uint32_t statuses[128];
	struct stress_call calls[CALLS_MAX + 1]; /* by call id, from 1 */
};

struct stress_worker;

/* Every check that fails ends here; the first few are printed. */
void stress_error(struct stress *s, const char *what, uint64_t call_id, uint64_t a, uint64_t b);

static inline uint64_t stress_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* What a call's bytes are: both follow from its id, inputs by an even salt and outputs by an odd one. */
void stress_fill(uint8_t *to, uint32_t length, uint64_t salt);
bool stress_same(const uint8_t *from, uint32_t length, uint64_t salt);
uint32_t stress_length(uint64_t salt, uint32_t capacity);

/* stress_caller.c: a thread's main function; the argument is the struct stress. */
void *stress_caller_main(void *stress);

/* stress_worker.c */
struct stress_worker *stress_worker_start(struct stress *s, uint64_t generation, uint64_t hot_us,
					  uint64_t seed);
/* Kills it, or finds it dead, and reaps it. */
void stress_worker_reap(struct stress_worker *w);

#endif
