/*
 * hot_window.h - how long a worker without work spins before it sleeps, learned from the gaps between its calls. No thread, no clock, no
 * allocation; depends on libc alone. Of the worker, and of bench/hotwindow, which shows what it is worth.
 *
 * A gap g costs g where it is spun through, and w + price where a worker spins for its window w and is then woken. It is ski rental: the window
 * w = price is never more than twice as dear as knowing the gap beforehand, and so as any fixed window (Karlin, Manasse, Rudolph, Sleator:
 * "Competitive Snoopy Caching", Algorithmica 1988). Here that window is the rule, and what was learned an exception to it: of eleven
 * windows from 0 to `price` the one is taken that would have been cheapest of late. When it has cost 2 prices more than the rule would have,
 * the rule is followed again, each time for twice as many gaps as before. So after n gaps the cost is at most
 *
 *	2 × (the best fixed window's) + 3 × price × (1 + log2 n)
 */
#ifndef ADVERB_LANE_HOT_WINDOW_H
#define ADVERB_LANE_HOT_WINDOW_H

#include <stdint.h>

#define ADV_HOT_WINDOWS 11 /* 0, price / 512, price / 256, ... price */

struct adv_hot_window {
	uint64_t price_ns;		   /* of a wake-up, as time spun */
	uint64_t window_ns;		   /* to spin now */
	uint64_t cost_ns[ADV_HOT_WINDOWS]; /* what each would have cost, the past fading */
	uint32_t nr_short;		   /* gaps shorter than any window, not counted in yet */
	uint32_t by_rule, by_rule_next;	   /* gaps to go by the rule; and the next time */
	int64_t behind_ns;		   /* the rule: what was learned has cost so much more */
};

/* By the rule, until something was learned. */
void adv_hot_window_init(struct adv_hot_window *h, uint64_t price_ns);

/* So long there was nothing to do: sets the next window. */
void adv_hot_window_learn(struct adv_hot_window *h, uint64_t gap_ns);

/* A gap costs so much with a window. */
static inline uint64_t adv_hot_window_cost(uint64_t window_ns, uint64_t gap_ns, uint64_t price_ns)
{
	return gap_ns <= window_ns ? gap_ns : window_ns + price_ns;
}

/* What is learned of a gap that is spun through and shorter than all windows but 0: next to nothing, and it is noted for next to nothing. */
static inline void adv_hot_window_gap(struct adv_hot_window *h, uint64_t gap_ns)
{
	if (gap_ns < h->price_ns / 512 && h->window_ns > 0)
		h->nr_short++;
	else
		adv_hot_window_learn(h, gap_ns);
}

#endif
