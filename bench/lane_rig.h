/*
 * lane_rig.h - a lane with its caller in this thread and its worker in another, pinned to a CPU each: without node, sandbox or library. What benchmarks of
 * the protocol share.
 */
#ifndef ADVERB_BENCH_LANE_RIG_H
#define ADVERB_BENCH_LANE_RIG_H

#include <pthread.h>

#include "lane/caller.h"
#include "lane/lane_worker.h"
#include "util/histogram.h"

#define RIG_BLOCK_NS (10 * ADV_MS)
#define RIG_HOT_US   2000	  /* asleep while something else has the CPU */
#define RIG_REST_NS  (4 * ADV_MS) /* until it sleeps */

/* The worker's side: of src/lane, or of a build of it that is to be compared. */
struct rig_side {
	void (*init)(struct adv_worker_lane *w, const struct adv_geometry *g,
		     const struct adv_worker_lane_options *options);
	void (*next)(struct adv_worker_lane *w, struct adv_work *work);
	void (*complete)(struct adv_worker_lane *w, const struct adv_work *work,
			 enum adv_status status, uint32_t length);
};
extern const struct rig_side rig_side_usual;

struct rig {
	const struct rig_side *side;
	uint32_t inflight, payload; /* the caller of rig_start() sets these and `cpu` */
	int cpu;		    /* the worker's */
	struct adv_geometry geometry;
	void *req, *cpl;
	uint8_t *slots;
	uint8_t *outputs[ADV_SLOTS_MAX];
	struct adv_caller caller;
	struct adv_caller_call calls[ADV_SLOTS_MAX];
	struct adv_ticks ticks;
	uint8_t in[ADV_PAGE], out[ADV_PAGE];
	uint64_t next_id;
	pthread_t worker;
};

/* Exits with a message on failure. */
void rig_cpus(int cpus[2]); /* two that this process may use */
void rig_pin(int cpu);
void rig_start(struct rig *rig);
void rig_stop(struct rig *rig);

void rig_one_by_one(struct rig *rig, struct adv_histogram *h); /* a block of calls, each timed */
double rig_flood(struct rig *rig); /* a block with `inflight` calls in flight: calls a second */
void rig_rest(void);		   /* until the worker sleeps */

int rig_by_value(const void *a, const void *b); /* doubles, for qsort() */

#endif
