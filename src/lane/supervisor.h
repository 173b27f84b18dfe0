/*
 * supervisor.h - the node's side of a lease's lanes: it sets them up, watches budgets, announces deaths and the end.
 * Runs on the control thread alone. No call blocks, allocates or takes a lock. Nothing read from a lane is trusted.
 */
#ifndef ADVERB_LANE_SUPERVISOR_H
#define ADVERB_LANE_SUPERVISOR_H

#include "lane/lane.h"

/* One lane as the node sees it. The owner of the lease's mapping outlives it. */
struct adv_supervisor {
	const struct adv_geometry *geometry;
	const struct adv_entry *requests; /* written by the caller: hostile */
	struct adv_entry *completions;	  /* written by the worker: hostile */
	struct adv_progress_line *progress;
	struct adv_worker_line *worker_line;
	struct adv_node_line *node_line;
	uint32_t lane;
	uint64_t generation;	     /* the node's own copy: the one that counts */
	uint64_t watched;	     /* progress->running as last seen */
	uint64_t watched_since_ns;   /* when it was first seen */
	uint32_t stalled_seq;	     /* the oldest call that is not completed, as last seen */
	uint64_t stalled_since_ns;   /* when it was first seen; 0: none was */
	uint64_t stalled_look_ns;    /* not before that is there another look */
	uint64_t counted[6];	     /* totals taken so far by adv_supervisor_count() */
	uint32_t ended[ADV_ENDINGS]; /* the same, of calls that did not end well */
	const struct adv_endings_line *endings;
};

/* Writes the three headers. Once, when the memory is new (all zero). */
void adv_supervisor_format(void *req, void *cpl, void *slots, const struct adv_geometry *g);

/* `req` and `cpl` are the node's mappings of the memfds. Starts epoch 1 with base 1. */
void adv_supervisor_init(struct adv_supervisor *s, const struct adv_geometry *g, uint32_t lane,
			 const void *req, void *cpl);

/*
 * Announces that the worker of the current epoch is dead and reaped: death record, new base, next epoch. The caller of
 * this function then writes the eventfd, whatever it returns.
 * 0, or -EOVERFLOW after ADV_EPOCH_MAX epochs: nothing is stored, the lease must end.
 */
int adv_supervisor_death(struct adv_supervisor *s, enum adv_status status, uint32_t detail);

/*
 * Calls that are published and not completed, at most the ring's entries: what its worker's death, or the lease's end, ends. Before that is announced.
 * Of them the first is the one that the dead worker ran, as it says of itself, if *ran_ns is not 0: for so long the node has seen it run.
 */
uint32_t adv_supervisor_unfinished(const struct adv_supervisor *s, uint64_t now_ns,
				   uint64_t *ran_ns);

/* The caller may submit nothing more. The caller of this function then writes the eventfd. */
void adv_supervisor_revoke(struct adv_supervisor *s);

/* The lease is over for this lane, its worker reaped. `status` is not ADV_OK. Then write the eventfd. */
void adv_supervisor_end(struct adv_supervisor *s, enum adv_status status);

/*
 * Looks at the call being run. Returns true when it has been seen for longer than its budget plus ADV_TIMEOUT_KILL_US on the
 * node's clock (CLOCK_MONOTONIC, passed in): the worker must be killed. Otherwise *next_ns is lowered to the time at which
 * that could become true, if a call with a budget is running.
 * What runs the worker tells. One that tells lies is found by its caller's ring: true, too, when the oldest call that is not completed has
 * been so for its budget and ADV_STALLED_US more, whatever the worker says.
 */
bool adv_supervisor_overdue(struct adv_supervisor *s, uint64_t now_ns, uint64_t *next_ns);

/* What the worker says it has done since the last call of this function; each figure clamped to max_ns where a time. */
struct adv_lane_counts {
	uint64_t calls, failures, executed_ns, polled_ns, bytes;
	uint64_t ended
		[ADV_ENDINGS]; /* of the failures, by adv_ending_of(); together no more than these */
};
void adv_supervisor_count(struct adv_supervisor *s, uint64_t max_ns,
			  struct adv_lane_counts *counts);

/* Has the worker said that an allocation failed? A hint to name a death; its word and no more. */
bool adv_supervisor_memory_hint(const struct adv_supervisor *s);

/* Has the worker published anything in this epoch, or said that it is running? (A replacement that never did is a failed start.) */
bool adv_supervisor_served(const struct adv_supervisor *s);

/* Are there published calls that are not completed? For grace and drain. By the rings, not by hints. */
bool adv_supervisor_busy(const struct adv_supervisor *s);

#endif
