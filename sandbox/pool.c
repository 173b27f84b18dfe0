/* pool.c - decides which sandboxes to build, to warm and to hand out. One thread; starts nothing. */
#include "sandbox/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUILD_SAMPLES 1024
#define BACKOFF_SHIFT 6 /* at most 64 times the first delay */

struct box {
	enum adv_pool_state state;
	bool for_claim;	   /* BUILDING: for a claim that missed */
	bool let_go;	   /* HOT, COLD: to be killed, its place is a claim's already */
	uint32_t profile;  /* of a sandbox that is being built or cold */
	uint64_t key;	   /* LOADING, HOT */
	uint64_t since_ns; /* LOADING */
};

/* A module used of late. */
struct used {
	struct adv_pool_module module;
	int hot;     /* asked for at deploy; -1: the default */
	bool broken; /* loading it ahead failed: not again until it is used anew */
};

struct adv_pool {
	struct adv_pool_options options;
	uint32_t nr_ids;
	struct box *boxes;
	struct used *used; /* most recent first */
	uint32_t nr_used, max_used;
	uint32_t cursor; /* where the search for a free id goes on: ids are not reused at once */
	uint32_t failures_in_row;
	uint64_t not_before_ns;
	struct adv_pool_stats counts;
	uint32_t nr_samples;
	uint64_t samples[BUILD_SAMPLES];
};

int adv_pool_create(const struct adv_pool_options *options, struct adv_pool **pool)
{
	if (options->max_sandboxes == 0 || options->max_sandboxes > ADV_SANDBOXES_MAX ||
	    options->cold > options->max_sandboxes || options->max_parallel == 0)
		return -EINVAL;
	struct adv_pool *p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	p->options = *options;
	p->max_used = options->hot_modules > 0 ? options->hot_modules : 1;
	p->nr_ids = adv_pool_ids(options->max_sandboxes);
	p->boxes = calloc(p->nr_ids, sizeof(*p->boxes));
	p->used = calloc(p->max_used, sizeof(*p->used));
	if (p->boxes == NULL || p->used == NULL) {
		adv_pool_destroy(p);
		return -ENOMEM;
	}
	*pool = p;
	return 0;
}

void adv_pool_destroy(struct adv_pool *pool)
{
	if (pool == NULL)
		return;
	free(pool->boxes);
	free(pool->used);
	free(pool);
}

/* ---- counting and finding ---- */

static uint32_t count_let_go(const struct adv_pool *p)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->nr_ids; i++)
		n += p->boxes[i].let_go;
	return n;
}

static uint32_t count(const struct adv_pool *p, enum adv_pool_state state)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->nr_ids; i++)
		n += p->boxes[i].state == state && !p->boxes[i].let_go;
	return n;
}

/* Processes there are or will be, but for those on their way out. */
static uint32_t count_alive(const struct adv_pool *p)
{
	return p->nr_ids - count(p, ADV_POOL_FREE) - count(p, ADV_POOL_DYING) - count_let_go(p);
}

static uint32_t count_key(const struct adv_pool *p, uint64_t key)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->nr_ids; i++)
		n += (p->boxes[i].state == ADV_POOL_HOT || p->boxes[i].state == ADV_POOL_LOADING) &&
		     !p->boxes[i].let_go && p->boxes[i].key == key;
	return n;
}

static bool find_hot(const struct adv_pool *p, uint64_t key, uint32_t *id)
{
	for (uint32_t i = 0; i < p->nr_ids; i++)
		if (p->boxes[i].state == ADV_POOL_HOT && !p->boxes[i].let_go &&
		    p->boxes[i].key == key) {
			*id = i;
			return true;
		}
	return false;
}

static bool find_cold(const struct adv_pool *p, uint32_t profile, uint32_t *id)
{
	for (uint32_t i = 0; i < p->nr_ids; i++)
		if (p->boxes[i].state == ADV_POOL_COLD && !p->boxes[i].let_go &&
		    p->boxes[i].profile == profile) {
			*id = i;
			return true;
		}
	return false;
}

static bool find_free(struct adv_pool *p, uint32_t *id)
{
	uint32_t n = p->nr_ids;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = (p->cursor + i) % n;
		if (p->boxes[at].state != ADV_POOL_FREE)
			continue;
		p->cursor = (at + 1) % n;
		*id = at;
		return true;
	}
	return false;
}

static struct used *find_used(struct adv_pool *p, uint64_t key)
{
	for (uint32_t i = 0; i < p->nr_used; i++)
		if (p->used[i].module.key == key)
			return &p->used[i];
	return NULL;
}

/* What a module would have where memory is no object. */
static uint32_t wished(const struct adv_pool *p, const struct used *u)
{
	if (!u->module.poolable || u->broken)
		return 0;
	return u->hot >= 0 ? (uint32_t)u->hot : p->options.hot;
}

static uint64_t hot_bytes(const struct used *u)
{
	return ADV_POOL_SANDBOX_BYTES + u->module.size_bytes;
}

/* Of the pool's memory: what remains for this one when the cold ones and those before it have theirs. First who was promised some, then who was used last. */
static uint64_t memory_for(const struct adv_pool *p, const struct used *one)
{
	uint64_t cold = p->options.cold * ADV_POOL_SANDBOX_BYTES;
	uint64_t left = cold < p->options.memory_bytes ? p->options.memory_bytes - cold : 0;
	for (unsigned pass = 0; pass < 2; pass++)
		for (uint32_t i = 0; i < p->nr_used; i++) {
			const struct used *u = &p->used[i];
			if ((u->hot >= 0) != (pass == 0))
				continue;
			if (u == one)
				return left;
			uint64_t fit = left / hot_bytes(u);
			left -= hot_bytes(u) * (fit < wished(p, u) ? fit : wished(p, u));
		}
	return left;
}

static uint32_t hot_target(const struct adv_pool *p, const struct used *u)
{
	if (p->options.memory_bytes == 0)
		return wished(p, u);
	uint64_t fit = memory_for(p, u) / hot_bytes(u);
	return fit < wished(p, u) ? (uint32_t)fit : wished(p, u);
}

/* ---- modules ---- */

void adv_pool_module_used(struct adv_pool *p, const struct adv_pool_module *module, int hot)
{
	struct used *u = find_used(p, module->key);
	uint32_t at;
	if (u != NULL)
		at = (uint32_t)(u - p->used);
	else if (p->nr_used < p->max_used)
		at = p->nr_used++;
	else
		at = p->nr_used - 1; /* the one not used for longest makes room */
	memmove(p->used + 1, p->used, at * sizeof(*p->used));
	p->used[0] = (struct used){.module = *module, .hot = hot};
}

void adv_pool_module_gone(struct adv_pool *p, uint64_t key)
{
	struct used *u = find_used(p, key);
	if (u == NULL)
		return;
	size_t after = (size_t)(p->used + p->nr_used - (u + 1));
	memmove(u, u + 1, after * sizeof(*u));
	p->nr_used--;
}

/* ---- claims ---- */

/* How much an idle sandbox would be missed: a cold one is soon built, the hot one of the module used last is not. 0: not idle. */
static uint32_t dispensable(struct adv_pool *p, const struct box *b)
{
	if (b->let_go)
		return 0;
	if (b->state == ADV_POOL_COLD)
		return p->max_used + 1;
	if (b->state != ADV_POOL_HOT)
		return 0;
	const struct used *u = find_used(p, b->key);
	return u == NULL ? p->max_used + 2 : (uint32_t)(u - p->used) + 1;
}

/* What is kept ready for some does not keep others out: an idle one goes, so that a claim has its place. */
static bool make_room(struct adv_pool *p)
{
	struct box *least = NULL;
	uint32_t most = 0;
	if (count_alive(p) < p->options.max_sandboxes)
		return true;
	for (uint32_t i = 0; i < p->nr_ids; i++) {
		uint32_t d = dispensable(p, &p->boxes[i]);
		if (d > most) {
			most = d;
			least = &p->boxes[i];
		}
	}
	if (least != NULL)
		least->let_go = true;
	return least != NULL;
}

enum adv_pool_hit adv_pool_claim(struct adv_pool *p, const struct adv_pool_module *module,
				 uint32_t *id)
{
	uint32_t at;
	enum adv_pool_hit hit;
	if (module->key != 0 && find_hot(p, module->key, &at)) {
		hit = ADV_POOL_HIT_HOT;
		p->counts.hits_hot++;
	} else if (find_cold(p, module->profile, &at)) {
		hit = ADV_POOL_HIT_COLD;
		p->counts.hits_cold++;
	} else if (make_room(p) && find_free(p, &at)) {
		hit = ADV_POOL_MISS;
		p->counts.misses++;
	} else {
		return ADV_POOL_EXHAUSTED;
	}
	p->boxes[at] =
		(struct box){.state = hit == ADV_POOL_MISS ? ADV_POOL_BUILDING : ADV_POOL_CLAIMED,
			     .for_claim = true,
			     .profile = module->profile};
	*id = at;
	return hit;
}

/* ---- what to do next ---- */

/* Cold ones of a profile that are kept: some of strict always; of another as many as its modules that cannot be loaded ahead want. */
static uint32_t cold_target(const struct adv_pool *p, uint32_t profile)
{
	uint32_t n = profile == ADV_PROFILE_STRICT ? p->options.cold : 0;
	for (uint32_t i = 0; profile != ADV_PROFILE_STRICT && i < p->nr_used; i++) {
		const struct used *u = &p->used[i];
		if (u->module.profile == profile && !u->module.poolable)
			n += u->hot >= 0 ? (uint32_t)u->hot : p->options.hot;
	}
	return n < p->options.cold ? n : p->options.cold;
}

/* Does a module used of late want a cold one of that profile? Those of strict are kept anyway. */
static bool profile_wanted(struct adv_pool *p, uint32_t profile)
{
	for (uint32_t i = 0; i < p->nr_used; i++) {
		const struct used *u = &p->used[i];
		if (u->module.profile == profile && count_key(p, u->module.key) < hot_target(p, u))
			return true;
	}
	return profile == ADV_PROFILE_STRICT || cold_target(p, profile) > 0;
}

/* One whose constructors do not come to an end. When the next may be: *when_ns, unless that is earlier. */
static bool overdue(struct adv_pool *p, uint64_t now_ns, uint32_t *id, uint64_t *when_ns)
{
	for (uint32_t i = 0; i < p->nr_ids && p->options.load_ns > 0; i++) {
		const struct box *b = &p->boxes[i];
		uint64_t end_ns = b->since_ns + p->options.load_ns;
		if (b->state != ADV_POOL_LOADING)
			continue;
		if (now_ns >= end_ns) {
			*id = i;
			return true;
		}
		if (end_ns < *when_ns)
			*when_ns = end_ns;
	}
	return false;
}

/* One that was let go, or that no module used of late wants, or wants fewer of. */
static bool surplus(struct adv_pool *p, uint32_t *id)
{
	for (uint32_t i = 0; i < p->nr_ids; i++) {
		const struct box *b = &p->boxes[i];
		const struct used *u = find_used(p, b->key);
		if (b->let_go ||
		    (b->state == ADV_POOL_HOT &&
		     (u == NULL || count_key(p, b->key) > hot_target(p, u))) ||
		    (b->state == ADV_POOL_COLD && !profile_wanted(p, b->profile))) {
			*id = i;
			return true;
		}
	}
	return false;
}

/* A module that wants one more sandbox than it has. */
static const struct used *wanting(struct adv_pool *p)
{
	for (uint32_t i = 0; i < p->nr_used; i++)
		if (count_key(p, p->used[i].module.key) < hot_target(p, &p->used[i]))
			return &p->used[i];
	return NULL;
}

static uint32_t being_built(const struct adv_pool *p, uint32_t profile)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->nr_ids; i++)
		n += p->boxes[i].state == ADV_POOL_BUILDING && !p->boxes[i].for_claim &&
		     p->boxes[i].profile == profile;
	return n;
}

static uint32_t count_cold(const struct adv_pool *p, uint32_t profile)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->nr_ids; i++)
		n += p->boxes[i].state == ADV_POOL_COLD && p->boxes[i].profile == profile;
	return n;
}

/* How many sandboxes of a profile its modules want beside those they have: for each a cold one is built, unless one is there. */
static uint32_t shortage(const struct adv_pool *p, uint32_t profile)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < p->nr_used; i++) {
		const struct used *u = &p->used[i];
		uint32_t target = u->module.profile == profile ? hot_target(p, u) : 0;
		uint32_t has = count_key(p, u->module.key);
		n += target > has ? target - has : 0;
	}
	return n;
}

static struct adv_pool_order build(struct adv_pool *p, uint32_t profile,
				   const struct adv_pool_order *idle)
{
	uint32_t id;
	if (count_alive(p) >= p->options.max_sandboxes || !find_free(p, &id))
		return *idle;
	p->boxes[id] = (struct box){.state = ADV_POOL_BUILDING, .profile = profile};
	return (struct adv_pool_order){.act = ADV_POOL_BUILD, .id = id, .profile = profile};
}

struct adv_pool_order adv_pool_next(struct adv_pool *p, uint64_t now_ns)
{
	struct adv_pool_order idle = {.act = ADV_POOL_IDLE, .when_ns = UINT64_MAX};
	uint32_t id;
	if (overdue(p, now_ns, &id, &idle.when_ns)) {
		struct used *late = find_used(p, p->boxes[id].key);
		if (late != NULL)
			late->broken = true;
		p->counts.failures++;
		return (struct adv_pool_order){.act = ADV_POOL_KILL, .id = id};
	}
	if (surplus(p, &id))
		return (struct adv_pool_order){.act = ADV_POOL_KILL, .id = id};
	if (count(p, ADV_POOL_BUILDING) + count(p, ADV_POOL_LOADING) >= p->options.max_parallel)
		return idle;
	if (now_ns < p->not_before_ns) {
		if (p->not_before_ns < idle.when_ns)
			idle.when_ns = p->not_before_ns;
		return idle;
	}
	const struct used *u = wanting(p);
	if (u != NULL && find_cold(p, u->module.profile, &id)) {
		p->boxes[id].state = ADV_POOL_LOADING;
		p->boxes[id].key = u->module.key;
		p->boxes[id].since_ns = now_ns;
		return (struct adv_pool_order){
			.act = ADV_POOL_LOAD, .id = id, .key = u->module.key};
	}
	if (u != NULL && being_built(p, u->module.profile) < shortage(p, u->module.profile))
		return build(p, u->module.profile, &idle);
	for (uint32_t profile = 0; profile < ADV_PROFILES; profile++)
		if (count_cold(p, profile) + being_built(p, profile) < cold_target(p, profile))
			return build(p, profile, &idle);
	return idle;
}

/* ---- reports ---- */

static struct box *box_of(struct adv_pool *p, uint32_t id)
{
	return id < p->nr_ids ? &p->boxes[id] : NULL;
}

int adv_pool_confined(struct adv_pool *p, uint32_t id, uint64_t build_ns)
{
	struct box *b = box_of(p, id);
	if (b == NULL || b->state != ADV_POOL_BUILDING)
		return -EINVAL;
	b->state = b->for_claim ? ADV_POOL_CLAIMED : ADV_POOL_COLD;
	p->samples[p->nr_samples++ % BUILD_SAMPLES] = build_ns;
	p->counts.built++;
	p->failures_in_row = 0;
	return 0;
}

int adv_pool_loaded(struct adv_pool *p, uint32_t id)
{
	struct box *b = box_of(p, id);
	if (b == NULL || b->state != ADV_POOL_LOADING)
		return -EINVAL;
	b->state = ADV_POOL_HOT;
	return 0;
}

int adv_pool_failed(struct adv_pool *p, uint32_t id, uint64_t now_ns)
{
	struct box *b = box_of(p, id);
	if (b == NULL || b->state == ADV_POOL_FREE)
		return -EINVAL;
	p->counts.failures++;
	if (b->state == ADV_POOL_LOADING) {
		struct used *u = find_used(p, b->key);
		if (u != NULL)
			u->broken = true;
	} else if (b->state == ADV_POOL_BUILDING) {
		uint32_t shift =
			p->failures_in_row < BACKOFF_SHIFT ? p->failures_in_row : BACKOFF_SHIFT;
		p->not_before_ns = now_ns + (p->options.retry_ns << shift);
		p->failures_in_row++;
	}
	b->state = ADV_POOL_DYING;
	b->let_go = false;
	return 0;
}

int adv_pool_killed(struct adv_pool *p, uint32_t id)
{
	struct box *b = box_of(p, id);
	if (b == NULL || b->state == ADV_POOL_FREE || b->state == ADV_POOL_DYING)
		return -EINVAL;
	b->state = ADV_POOL_DYING;
	b->let_go = false;
	return 0;
}

int adv_pool_died(struct adv_pool *p, uint32_t id)
{
	struct box *b = box_of(p, id);
	if (b == NULL || b->state == ADV_POOL_FREE)
		return -EINVAL;
	*b = (struct box){.state = ADV_POOL_FREE};
	return 0;
}

enum adv_pool_state adv_pool_state(const struct adv_pool *p, uint32_t id)
{
	return id < p->nr_ids ? p->boxes[id].state : ADV_POOL_FREE;
}

/* ---- statistics ---- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

void adv_pool_stats(const struct adv_pool *p, struct adv_pool_stats *stats)
{
	uint64_t sorted[BUILD_SAMPLES];
	uint32_t n = p->nr_samples < BUILD_SAMPLES ? p->nr_samples : BUILD_SAMPLES;
	*stats = p->counts;
	stats->cold = count(p, ADV_POOL_COLD);
	stats->hot = count(p, ADV_POOL_HOT);
	stats->building = count(p, ADV_POOL_BUILDING);
	stats->loading = count(p, ADV_POOL_LOADING);
	stats->claimed = count(p, ADV_POOL_CLAIMED);
	stats->dying = count(p, ADV_POOL_DYING);
	if (n == 0)
		return;
	memcpy(sorted, p->samples, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_value);
	stats->build_ns_p50 = sorted[n / 2];
	stats->build_ns_p99 = sorted[(uint64_t)n * 99 / 100];
}
