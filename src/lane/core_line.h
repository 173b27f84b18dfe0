/*
 * core_line.h - one page for each core that leases may share: how many workers sit there, and which of them runs a call. Workers map it, so what is
 * in it is hearsay: a worker that lies makes its neighbours yield or refuse, as it could by running for ever; it reaches no byte of theirs.
 * Every function is one or two loads or stores, from any thread. Depends on nothing.
 */
#ifndef ADVERB_LANE_CORE_LINE_H
#define ADVERB_LANE_CORE_LINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct adv_core_line {
	_Atomic uint64_t
		holder; /* the worker that runs a call, 0: none. Where calls are refused on a core that is taken */
	_Atomic uint32_t workers; /* that sit there: the node's */
};

/* `worker` is not 0, and no other's on that core. False: another runs a call. */
static inline bool adv_core_line_take(struct adv_core_line *line, uint64_t worker)
{
	uint64_t nobody = 0;
	/* Not an exchange at once: a look at a core that is taken leaves the cache line where it is. */
	return atomic_load_explicit(&line->holder, memory_order_relaxed) == 0 &&
	       atomic_compare_exchange_strong_explicit(&line->holder, &nobody, worker,
						       memory_order_acquire, memory_order_relaxed);
}

/* Its call is over. Whoever holds it instead keeps it. */
static inline void adv_core_line_give(struct adv_core_line *line, uint64_t worker)
{
	atomic_compare_exchange_strong_explicit(&line->holder, &worker, 0, memory_order_release,
						memory_order_relaxed);
}

static inline bool adv_core_line_taken(const struct adv_core_line *line)
{
	return atomic_load_explicit(&line->holder, memory_order_relaxed) != 0;
}

static inline bool adv_core_line_shared(const struct adv_core_line *line)
{
	return atomic_load_explicit(&line->workers, memory_order_relaxed) > 1;
}

#endif
