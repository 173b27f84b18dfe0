/*
 * lane_worker.h - the worker's side of one lane: take a request, publish its completion, sleep when nothing comes.
 * Runs on the sandbox's only thread, under seccomp: no allocation, no lock; hot, no system call.
 * What the caller wrote is copied out once and checked against the worker's own copy of the geometry.
 * Depends on libc alone (the warden links it).
 */
#ifndef ADVERB_LANE_LANE_WORKER_H
#define ADVERB_LANE_LANE_WORKER_H

#include "lane/core_line.h"
#include "lane/hot_window.h"
#include "lane/lane.h"
#include "util/clock.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* How a worker measures time cheaply: the TSC where it is invariant, else clock_gettime(). Filled by adv_ticks_init(). */
struct adv_ticks {
	uint32_t mult, shift; /* ns = (ticks * mult) >> shift, for differences below an hour */
	bool tsc;
};

/* Calibrates in at most 2 ms; before the sandbox is needed (the warden does it once). Uses CPUID for invariance. */
void adv_ticks_init(struct adv_ticks *t);

/* In ticks. */
static inline uint64_t adv_ticks_now(const struct adv_ticks *t)
{
#if defined(__x86_64__)
	if (t->tsc)
		return __rdtsc();
#endif
	(void)t;
	return adv_clock_monotonic_ns();
}

/* Ticks to nanoseconds. */
static inline uint64_t adv_ticks_ns(const struct adv_ticks *t, uint64_t difference)
{
	if (!t->tsc)
		return difference;
	return (uint64_t)((unsigned __int128)difference * t->mult >> t->shift);
}

struct adv_worker_lane {
	const struct adv_entry *requests;
	struct adv_entry *completions;
	struct adv_worker_line *line;
	struct adv_progress_line *progress;
	struct adv_endings_line *endings;
	const struct adv_caller_line *caller_line;
	uint8_t *inputs; /* slot s at + s * in_capacity */
	uint8_t **
		outputs; /* nr_slots pointers, each area followed by an unmapped page; storage of the owner */
	uint32_t nr_slots, mask, in_capacity, out_capacity, nr_functions;
	uint16_t epoch;
	uint32_t request_seq;	 /* expected next */
	uint32_t completion_seq; /* of the next completion */
	uint64_t hot_ns;	 /* UINT64_MAX: always; 0: never */
	bool learns;		 /* hot_ns is the window's, which is learned */
	struct adv_hot_window window;
	bool timed;    /* the caller of the call being run wants to know how long it ran */
	bool unfenced; /* completions were published since the last look at the caller's state */
	bool checked;  /* a verbs lane: entries carry checksums */
	bool yield;    /* the core is shared: sched_yield() while spinning */
	struct adv_core_line *core; /* other leases may come to this core; NULL: none will */
	uint64_t core_worker; /* who it is there; 0: calls are not refused for its being taken */
	int event_fd;
	struct adv_ticks ticks;
	uint64_t idle_since;   /* ticks */
	uint64_t found_at;     /* ticks, when what is being taken was found; 0: now */
	uint64_t waited_since; /* ticks */
	bool waited;	       /* for the call being run, since then */
	uint64_t accepted_at;  /* ticks, of the call being run */
	uint32_t
		backlog_seq; /* requests before this one were seen at backlog_at: what their budgets count from */
	uint64_t backlog_at; /* ticks */
	uint64_t seen_at;    /* ticks: what the budget of the call being run counts from */
};

/* A request after all checks. `in` is 64-byte aligned: `small` for inline input, else the slot. */
struct adv_work {
	uint8_t small[64] __attribute__((aligned(64)));
	void *in;
	void *out;
	uint64_t call_id;
	uint64_t
		deadline_ns; /* CLOCK_MONOTONIC; 0 none. Filled only when the lane's owner asks: see adv_worker_deadline() */
	uint32_t length;
	uint32_t budget_us;
	uint16_t function;
	uint16_t slot;
};

struct adv_worker_lane_options {
	const void *req; /* this lane's part of req */
	void *cpl;	 /* of cpl */
	void *inputs;
	uint8_t **outputs;
	uint64_t generation;
	uint64_t hot_us; /* UINT64_MAX always; ADV_HOT_US_AUTO learned */
	uint32_t nr_functions;
	int event_fd;
	bool checked;
	bool yield;
	struct adv_core_line *core; /* or NULL */
	uint64_t
		core_worker; /* who it is on the core, where one call runs at a time; 0: calls take turns */
	struct adv_ticks ticks;
};

/* State becomes RUNNING. */
void adv_worker_lane_init(struct adv_worker_lane *w, const struct adv_geometry *g,
			  const struct adv_worker_lane_options *options);

/*
 * Waits for the next call that is to be run and returns it: spins for the hot window, then sleeps, for ever. Calls that are
 * cancelled, past their budget, or not valid (function, slot, length), or whose core another lease's call has, are completed here and never returned.
 */
void adv_worker_next(struct adv_worker_lane *w, struct adv_work *work);

/* The same without waiting: false when nothing is there. For tests and the fuzzer. */
bool adv_worker_try(struct adv_worker_lane *w, struct adv_work *work);

/* Publishes the completion; the next adv_worker_next() or _try() wakes the caller when it sleeps. An output of up to ADV_INLINE_MAX bytes is copied from work->out. */
void adv_worker_complete(struct adv_worker_lane *w, const struct adv_work *work,
			 enum adv_status status, uint32_t length);

/* CLOCK_MONOTONIC deadline of the call being run, 0 without a budget. One clock_gettime(): only for functions that ask. */
uint64_t adv_worker_deadline(const struct adv_worker_lane *w, const struct adv_work *work);

#endif
