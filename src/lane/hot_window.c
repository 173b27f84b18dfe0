/* hot_window.c - the hot window that is learned. No thread, no clock. */
#include "lane/hot_window.h"

#include <string.h>

#define FADE	      64 /* gaps: the past counts 1/e after so many */
#define BEHIND_MAX    2	 /* prices: then the rule is followed again */
#define AHEAD_MAX     8	 /* prices: so much of a lead is remembered */
#define BY_RULE_FIRST 16 /* gaps */
#define BY_RULE_MAX   (1u << 24)

static uint64_t window_of(const struct adv_hot_window *h, unsigned i)
{
	return i == 0 ? 0 : h->price_ns >> (ADV_HOT_WINDOWS - 1 - i);
}

void adv_hot_window_init(struct adv_hot_window *h, uint64_t price_ns)
{
	memset(h, 0, sizeof(*h));
	h->price_ns = h->window_ns = price_ns;
	h->by_rule = FADE; /* first something must be known */
	h->by_rule_next = BY_RULE_FIRST;
}

static void note(struct adv_hot_window *h, uint64_t gap_ns)
{
	for (unsigned i = 0; i < ADV_HOT_WINDOWS; i++) {
		uint64_t cost = adv_hot_window_cost(window_of(h, i), gap_ns, h->price_ns);
		h->cost_ns[i] += cost - h->cost_ns[i] / FADE;
	}
}

/* The cheapest of late; of equals the longest, which answers first. */
static uint64_t cheapest(const struct adv_hot_window *h)
{
	unsigned best = ADV_HOT_WINDOWS - 1;
	for (unsigned i = ADV_HOT_WINDOWS - 1; i-- > 0;)
		if (h->cost_ns[i] < h->cost_ns[best])
			best = i;
	return window_of(h, best);
}

/* What was learned against the rule. True: it may go on. */
static int is_trusted(struct adv_hot_window *h, uint64_t gap_ns)
{
	const int64_t price = (int64_t)h->price_ns;
	h->behind_ns += (int64_t)adv_hot_window_cost(h->window_ns, gap_ns, h->price_ns) -
			(int64_t)adv_hot_window_cost(h->price_ns, gap_ns, h->price_ns);
	if (h->behind_ns < -AHEAD_MAX * price)
		h->behind_ns = -AHEAD_MAX * price;
	if (h->behind_ns <= BEHIND_MAX * price)
		return 1;
	h->behind_ns = 0;
	h->by_rule = h->by_rule_next;
	if (h->by_rule_next < BY_RULE_MAX)
		h->by_rule_next *= 2;
	return 0;
}

void adv_hot_window_learn(struct adv_hot_window *h, uint64_t gap_ns)
{
	uint32_t nr_short = h->nr_short < FADE ? h->nr_short : FADE;
	for (uint32_t i = 0; i < nr_short; i++)
		note(h, 1); /* who does not spin at all pays for each */
	note(h, gap_ns);
	uint32_t passed = h->nr_short + 1 > h->nr_short ? h->nr_short + 1 : h->nr_short;
	h->nr_short = 0;
	if (h->by_rule > 0) {
		h->by_rule -= passed < h->by_rule ? passed : h->by_rule;
		h->window_ns = h->by_rule > 0 ? h->price_ns : cheapest(h);
		return;
	}
	h->window_ns = is_trusted(h, gap_ns) ? cheapest(h) : h->price_ns;
}
