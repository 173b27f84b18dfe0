/* shares.c - what each tenant holds, and may hold. The control thread; the clock is passed in. */
#include "allocator/shares.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "util/limits.h"

/* A tenant that holds something, or has had leases within the last second. */
struct holding {
	uint32_t tenant;
	uint32_t cores, leases;
	uint64_t memory_bytes;
	/* Of its rate: a token is one lease, in nanoseconds of a second divided by the rate. Full at full_ns. */
	uint64_t full_ns;
};

struct adv_shares {
	struct adv_share_limits each;
	struct adv_share_own *own;
	size_t nr_own;
	struct holding *holdings;
	size_t nr, capacity;
};

int adv_shares_create(const struct adv_shares_options *options, struct adv_shares **out)
{
	struct adv_shares *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->each = options->each;
	s->nr_own = options->nr_own;
	if (s->nr_own > 0) {
		s->own = calloc(s->nr_own, sizeof(*s->own));
		if (s->own == NULL) {
			free(s);
			return -ENOMEM;
		}
		memcpy(s->own, options->own, s->nr_own * sizeof(*s->own));
	}
	*out = s;
	return 0;
}

void adv_shares_destroy(struct adv_shares *s)
{
	if (s == NULL)
		return;
	free(s->own);
	free(s->holdings);
	free(s);
}

static const struct adv_share_limits *limits_of(const struct adv_shares *s, uint32_t tenant)
{
	for (size_t i = 0; i < s->nr_own; i++)
		if (s->own[i].tenant == tenant)
			return &s->own[i].limits;
	return &s->each;
}

static struct holding *holding_of(const struct adv_shares *s, uint32_t tenant)
{
	for (size_t i = 0; i < s->nr; i++)
		if (s->holdings[i].tenant == tenant)
			return &s->holdings[i];
	return NULL;
}

/* Who holds nothing any more, and whose rate is whole again, is not kept. */
static void prune(struct adv_shares *s, uint64_t now_ns)
{
	for (size_t i = 0; i < s->nr;)
		if (s->holdings[i].leases == 0 && s->holdings[i].full_ns <= now_ns)
			s->holdings[i] = s->holdings[--s->nr];
		else
			i++;
}

static struct holding *holding_make(struct adv_shares *s, uint32_t tenant, uint64_t now_ns)
{
	struct holding *h = holding_of(s, tenant);
	if (h != NULL)
		return h;
	if (s->nr == s->capacity)
		prune(s, now_ns);
	if (s->nr == s->capacity) {
		size_t more = s->capacity > 0 ? 2 * s->capacity : 16;
		struct holding *holdings = reallocarray(s->holdings, more, sizeof(*holdings));
		if (holdings == NULL)
			return NULL;
		s->holdings = holdings;
		s->capacity = more;
	}
	h = &s->holdings[s->nr++];
	*h = (struct holding){.tenant = tenant};
	return h;
}

/* A bucket of as many tokens as the rate; it is empty when it will be full in a second. */
static uint64_t token_ns(const struct adv_share_limits *l)
{
	return ADV_SEC / l->per_second;
}

static bool rate_ok(const struct adv_share_limits *l, const struct holding *h, uint64_t now_ns,
		    uint64_t *when_ns)
{
	if (l->per_second == 0 || h->full_ns <= now_ns)
		return true;
	uint64_t latest_ns = now_ns + ADV_SEC - token_ns(l);
	if (h->full_ns <= latest_ns)
		return true;
	if (when_ns != NULL)
		*when_ns = now_ns + (h->full_ns - latest_ns);
	return false;
}

static enum adv_share_lack lacks(enum adv_share_lack lack, uint64_t is, uint64_t has,
				 uint64_t *limit, uint64_t *held)
{
	if (limit != NULL)
		*limit = is;
	if (held != NULL)
		*held = has;
	return lack;
}

enum adv_share_lack adv_shares_lack(struct adv_shares *s, uint32_t tenant, uint32_t cores,
				    uint64_t memory_bytes, uint64_t now_ns, uint64_t *limit,
				    uint64_t *held, uint64_t *when_ns)
{
	static const struct holding nothing;
	const struct adv_share_limits *l = limits_of(s, tenant);
	const struct holding *h = holding_of(s, tenant);
	if (h == NULL)
		h = &nothing;
	if (l->cores > 0 && (uint64_t)h->cores + cores > l->cores)
		return lacks(ADV_SHARE_CORES, l->cores, h->cores, limit, held);
	if (l->leases > 0 && h->leases >= l->leases)
		return lacks(ADV_SHARE_LEASES, l->leases, h->leases, limit, held);
	if (l->memory_bytes > 0 &&
	    (memory_bytes > l->memory_bytes || h->memory_bytes > l->memory_bytes - memory_bytes))
		return lacks(ADV_SHARE_MEMORY, l->memory_bytes, h->memory_bytes, limit, held);
	if (!rate_ok(l, h, now_ns, when_ns))
		return lacks(ADV_SHARE_RATE, l->per_second, l->per_second, limit, held);
	return ADV_SHARE_ENOUGH;
}

int adv_shares_take(struct adv_shares *s, uint32_t tenant, uint32_t cores, uint64_t memory_bytes,
		    uint64_t now_ns)
{
	const struct adv_share_limits *l = limits_of(s, tenant);
	struct holding *h = holding_make(s, tenant, now_ns);
	if (h == NULL)
		return -ENOMEM;
	h->cores += cores;
	h->leases++;
	h->memory_bytes += memory_bytes;
	if (l->per_second > 0)
		h->full_ns = (h->full_ns > now_ns ? h->full_ns : now_ns) + token_ns(l);
	return 0;
}

void adv_shares_give(struct adv_shares *s, uint32_t tenant, uint32_t cores, uint64_t memory_bytes)
{
	struct holding *h = holding_of(s, tenant);
	if (h == NULL)
		return;
	h->cores -= cores;
	h->leases--;
	h->memory_bytes -= memory_bytes;
}

uint32_t adv_shares_cores(const struct adv_shares *s, uint32_t tenant)
{
	const struct holding *h = holding_of(s, tenant);
	return h != NULL ? h->cores : 0;
}
