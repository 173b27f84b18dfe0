/*
 * pool.h - which sandboxes to build, to warm with which module, and to hand out: decisions only.
 * Starts nothing and knows no descriptor: the control thread carries the decisions out and reports what became of them.
 * One thread. The clock is passed in.
 */
#ifndef ADVERB_SANDBOX_POOL_H
#define ADVERB_SANDBOX_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "sandbox/proto.h"

struct adv_pool;

enum adv_pool_state {
	ADV_POOL_FREE,	   /* no sandbox has this id */
	ADV_POOL_BUILDING, /* asked of the warden */
	ADV_POOL_COLD,	   /* confined, nothing loaded */
	ADV_POOL_LOADING,  /* loads a module for the hot pool */
	ADV_POOL_HOT,	   /* its module is loaded, constructors have run */
	ADV_POOL_CLAIMED,  /* by a lease or by a deploy */
	ADV_POOL_DYING,	   /* killed or failed, not reaped yet */
};

struct adv_pool_options {
	uint32_t cold;		/* sandboxes to keep in the cold pool; may be 0 */
	uint32_t hot;		/* for each module used of late without a number of its own */
	uint32_t hot_modules;	/* how many modules count as used of late */
	uint32_t max_sandboxes; /* at most ADV_SANDBOXES_MAX, claimed ones included */
	uint32_t max_parallel;	/* builds and loads under way at a time */
	uint64_t retry_ns;	/* after a failed build, doubled up to 64 times for each in a row */
	uint64_t
		load_ns; /* loading ahead may take so long, then the module is not tried again until it is used anew; 0: for ever */
	uint64_t
		memory_bytes; /* for what is idle, by the estimate below; 0: no limit. What was asked for at a deploy goes first */
};

/* Sandboxes are numbered below this: there are more numbers than max_sandboxes, for those that are on their way out. */
static inline uint32_t adv_pool_ids(uint32_t max_sandboxes)
{
	return max_sandboxes < ADV_SANDBOXES_MAX / 2 ? 2 * max_sandboxes : ADV_SANDBOXES_MAX;
}

int adv_pool_create(const struct adv_pool_options *options,
		    struct adv_pool **pool); /* 0, -ENOMEM, -EINVAL */
void adv_pool_destroy(struct adv_pool *pool);

/* What an idle sandbox is taken to cost, the kernel's share included; with a module loaded, the module's size more. */
#define ADV_POOL_SANDBOX_BYTES (UINT64_C(512) * 1024)

/* A module as the pool knows it: `key` is a number that the owner gives to a digest. */
struct adv_pool_module {
	uint64_t key;
	uint32_t profile; /* enum adv_profile */
	bool poolable;	  /* stays single-threaded after its constructors: may be loaded ahead */
	uint64_t size_bytes;
};

/* The module was leased or deployed now: it moves to the front of the modules kept hot. `hot` -1: the option's default. */
void adv_pool_module_used(struct adv_pool *pool, const struct adv_pool_module *module, int hot);

/* It is no more: its hot sandboxes are for nothing. adv_pool_next() will ask for their end. */
void adv_pool_module_gone(struct adv_pool *pool, uint64_t key);

/* What a claim got. */
enum adv_pool_hit {
	ADV_POOL_HIT_HOT,   /* *id has the module */
	ADV_POOL_HIT_COLD,  /* *id must load it */
	ADV_POOL_MISS,	    /* *id must be built first: the owner now sends BUILD for it */
	ADV_POOL_EXHAUSTED, /* max_sandboxes are claimed; *id untouched */
};

/* Takes one sandbox for `module` (for a deploy's scratch: key 0, never hot). It is CLAIMED, or BUILDING-for-claim on a miss. */
enum adv_pool_hit adv_pool_claim(struct adv_pool *pool, const struct adv_pool_module *module,
				 uint32_t *id);

/* What the owner is to do now to bring the pool to its size. */
enum adv_pool_act {
	ADV_POOL_IDLE, /* nothing; *when_ns is when to ask again, UINT64_MAX: after the next report */
	ADV_POOL_BUILD, /* build `id` with `profile` */
	ADV_POOL_LOAD,	/* have `id` load module `key` */
	ADV_POOL_KILL,	/* kill `id`: not wanted any more */
};

struct adv_pool_order {
	enum adv_pool_act act;
	uint32_t id;
	uint32_t profile;
	uint64_t key;
	uint64_t when_ns;
};

/* Call until IDLE, after each claim and report, off the path of a request. */
struct adv_pool_order adv_pool_next(struct adv_pool *pool, uint64_t now_ns);

/* Reports. An id that is not in the state that the report needs is ignored, and -EINVAL returned. */
int adv_pool_confined(struct adv_pool *pool, uint32_t id,
		      uint64_t build_ns); /* BUILDING → COLD or, for a claim, CLAIMED */
int adv_pool_loaded(struct adv_pool *pool, uint32_t id); /* LOADING → HOT */
int adv_pool_failed(
	struct adv_pool *pool, uint32_t id,
	uint64_t
		now_ns); /* build or load failed: → DYING; delays the next build, or stops loading that module ahead */
int adv_pool_killed(struct adv_pool *pool, uint32_t id); /* any → DYING */
int adv_pool_died(struct adv_pool *pool, uint32_t id);	 /* any → FREE */

enum adv_pool_state adv_pool_state(const struct adv_pool *pool, uint32_t id);

struct adv_pool_stats {
	uint32_t cold, hot, building, loading, claimed, dying;
	uint64_t hits_hot, hits_cold, misses, built, failures;
	uint64_t build_ns_p50, build_ns_p99; /* of the last 1,024 */
};
void adv_pool_stats(const struct adv_pool *pool, struct adv_pool_stats *stats);

#endif
