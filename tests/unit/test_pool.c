/*
 * test_pool.c - the pool's decisions, with no sandbox at all: a miniature owner carries out each order at once or not, and
 * the tests look at what the pool asks for next.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "sandbox/pool.h"
#include "util/limits.h"

#define RETRY (10 * ADV_MS)

static const struct adv_pool_options usual = {.cold = 3,
					      .hot = 1,
					      .hot_modules = 2,
					      .max_sandboxes = 16,
					      .max_parallel = 2,
					      .retry_ns = RETRY};
static const struct adv_pool_module a = {.key = 11, .poolable = true};
static const struct adv_pool_module b = {.key = 22, .poolable = true};
static const struct adv_pool_module c = {.key = 33, .poolable = true};
static const struct adv_pool_module extended = {
	.key = 44, .profile = ADV_PROFILE_LIBC, .poolable = true};
static const struct adv_pool_module threaded = {.key = 55};
static const struct adv_pool_module scratch = {.key = 0};

static struct adv_pool *pool;

static void make(const struct adv_pool_options *options)
{
	cr_assert_eq(adv_pool_create(options, &pool), 0);
}

static void setup(void)
{
	make(&usual);
}

static void teardown(void)
{
	adv_pool_destroy(pool);
}

TestSuite(pool, .init = setup, .fini = teardown);
TestSuite(pool_made, .fini = teardown); /* makes its own */

static struct adv_pool_stats stats(void)
{
	struct adv_pool_stats s;
	adv_pool_stats(pool, &s);
	return s;
}

static struct adv_pool_order next(enum adv_pool_act act, uint64_t now)
{
	struct adv_pool_order order = adv_pool_next(pool, now);
	cr_assert_eq(order.act, act, "order %d instead of %d", order.act, act);
	return order;
}

static void carry_out(const struct adv_pool_order *order)
{
	switch (order->act) {
	case ADV_POOL_BUILD:
		cr_assert_eq(adv_pool_confined(pool, order->id, 1000), 0);
		break;
	case ADV_POOL_LOAD:
		cr_assert_eq(adv_pool_loaded(pool, order->id), 0);
		break;
	case ADV_POOL_KILL:
		cr_assert_eq(adv_pool_killed(pool, order->id), 0);
		cr_assert_eq(adv_pool_died(pool, order->id), 0);
		break;
	case ADV_POOL_IDLE:
		break;
	}
}

/* Carries out all orders, each at once. Returns how many. */
static unsigned settle(uint64_t now)
{
	for (unsigned n = 0; n < 10000; n++) {
		struct adv_pool_order order = adv_pool_next(pool, now);
		if (order.act == ADV_POOL_IDLE)
			return n;
		carry_out(&order);
	}
	cr_assert_fail("the pool never comes to rest");
	return 0;
}

static uint32_t claim(const struct adv_pool_module *m, enum adv_pool_hit wanted)
{
	uint32_t id = UINT32_MAX;
	enum adv_pool_hit hit = adv_pool_claim(pool, m, &id);
	cr_assert_eq(hit, wanted, "hit %d instead of %d", hit, wanted);
	return id;
}

/* ---- options ---- */

Test(pool_made, bad_options)
{
	struct adv_pool_options o = usual;
	o.max_sandboxes = 0;
	cr_assert_eq(adv_pool_create(&o, &pool), -EINVAL);
	o.max_sandboxes = ADV_SANDBOXES_MAX + 1;
	cr_assert_eq(adv_pool_create(&o, &pool), -EINVAL);
	o = usual;
	o.cold = o.max_sandboxes + 1;
	cr_assert_eq(adv_pool_create(&o, &pool), -EINVAL);
	o = usual;
	o.max_parallel = 0;
	cr_assert_eq(adv_pool_create(&o, &pool), -EINVAL);
	o = usual;
	o.max_sandboxes = ADV_SANDBOXES_MAX;
	cr_assert_eq(adv_pool_create(&o, &pool), 0);
	adv_pool_destroy(NULL);
}

/* ---- the cold pool ---- */

Test(pool, fills_to_its_size)
{
	cr_assert_eq(settle(0), 3);
	cr_assert_eq(stats().cold, 3);
	cr_assert_eq(stats().built, 3);
	cr_assert_eq(next(ADV_POOL_IDLE, 0).when_ns, UINT64_MAX);
}

Test(pool, builds_a_bounded_number_at_a_time)
{
	struct adv_pool_order first = next(ADV_POOL_BUILD, 0), second = next(ADV_POOL_BUILD, 0);
	cr_assert_neq(first.id, second.id);
	cr_assert_eq(first.profile, ADV_PROFILE_STRICT);
	next(ADV_POOL_IDLE, 0);
	cr_assert_eq(stats().building, 2);
	carry_out(&first);
	next(ADV_POOL_BUILD, 0);
	next(ADV_POOL_IDLE, 0);
}

Test(pool_made, no_cold_pool)
{
	struct adv_pool_options o = usual;
	o.cold = 0;
	make(&o);
	cr_assert_eq(settle(0), 0);
	uint32_t id = claim(&a, ADV_POOL_MISS);
	cr_assert_eq(adv_pool_confined(pool, id, 1), 0);
	cr_assert_eq(adv_pool_state(pool, id), ADV_POOL_CLAIMED);
}

Test(pool, a_claim_is_replaced)
{
	settle(0);
	uint32_t id = claim(&a, ADV_POOL_HIT_COLD);
	cr_assert_eq(adv_pool_state(pool, id), ADV_POOL_CLAIMED);
	cr_assert_eq(settle(0), 1);
	cr_assert_eq(stats().cold, 3);
	cr_assert_eq(stats().claimed, 1);
	cr_assert_eq(stats().hits_cold, 1);
}

Test(pool, a_miss_is_built_for_its_claim)
{
	uint32_t id = claim(&a, ADV_POOL_MISS);
	cr_assert_eq(adv_pool_state(pool, id), ADV_POOL_BUILDING);
	cr_assert_eq(adv_pool_confined(pool, id, 1), 0);
	cr_assert_eq(adv_pool_state(pool, id), ADV_POOL_CLAIMED);
	cr_assert_eq(stats().misses, 1);
	cr_assert_eq(settle(0), 3, "the claim does not count as cold");
}

Test(pool, every_claim_has_a_sandbox_of_its_own)
{
	bool seen[16] = {false};
	settle(0);
	for (int i = 0; i < 16; i++) {
		uint32_t id = UINT32_MAX;
		cr_assert_neq(adv_pool_claim(pool, &a, &id), ADV_POOL_EXHAUSTED);
		cr_assert_lt(id, 16);
		cr_assert_not(seen[id], "%u was handed out twice", id);
		seen[id] = true;
	}
	cr_assert_eq(claim(&a, ADV_POOL_EXHAUSTED), UINT32_MAX, "untouched");
	cr_assert_eq(settle(0), 0, "there is no room to build");
}

/* A sandbox serves one lease: after the claim it dies, it is never cold again. */
Test(pool, never_reused)
{
	settle(0);
	uint32_t id = claim(&a, ADV_POOL_HIT_COLD);
	cr_assert_eq(adv_pool_confined(pool, id, 1), -EINVAL);
	cr_assert_eq(adv_pool_loaded(pool, id), -EINVAL);
	cr_assert_eq(adv_pool_killed(pool, id), 0);
	cr_assert_eq(adv_pool_state(pool, id), ADV_POOL_DYING);
	cr_assert_eq(stats().dying, 1);
	cr_assert_eq(adv_pool_died(pool, id), 0);
	cr_assert_eq(adv_pool_state(pool, id), ADV_POOL_FREE);
}

/* An id that was just given up is not the next one: late reports of its sandbox must not hit another. */
Test(pool, ids_are_not_reused_at_once)
{
	uint32_t id = claim(&a, ADV_POOL_MISS);
	cr_assert_eq(adv_pool_died(pool, id), 0);
	for (int i = 0; i < 16; i++)
		cr_assert_neq(claim(&a, ADV_POOL_MISS), id);
}

/* ---- the hot pool ---- */

Test(pool, keeps_a_used_module_hot)
{
	settle(0);
	adv_pool_module_used(pool, &a, -1);
	struct adv_pool_order order = next(ADV_POOL_LOAD, 0);
	cr_assert_eq(order.key, a.key);
	cr_assert_eq(adv_pool_state(pool, order.id), ADV_POOL_LOADING);
	carry_out(&order);
	cr_assert_eq(adv_pool_state(pool, order.id), ADV_POOL_HOT);
	settle(0);
	cr_assert_eq(stats().hot, 1);
	cr_assert_eq(stats().cold, 3);
	cr_assert_eq(claim(&a, ADV_POOL_HIT_HOT), order.id);
	settle(0);
	cr_assert_eq(stats().hot, 1, "refilled");
	cr_assert_eq(stats().hits_hot, 1);
}

Test(pool, hot_sandboxes_are_for_their_module)
{
	adv_pool_module_used(pool, &a, -1);
	settle(0);
	claim(&b, ADV_POOL_HIT_COLD);
	claim(&scratch, ADV_POOL_HIT_COLD);
	claim(&a, ADV_POOL_HIT_HOT);
}

/* One that is still loading is not handed out. */
Test(pool, loading_is_not_hot)
{
	settle(0);
	adv_pool_module_used(pool, &a, -1);
	uint32_t loading = next(ADV_POOL_LOAD, 0).id;
	cr_assert_neq(claim(&a, ADV_POOL_HIT_COLD), loading);
}

Test(pool, as_many_as_asked_for_at_deploy)
{
	adv_pool_module_used(pool, &a, 4);
	settle(0);
	cr_assert_eq(stats().hot, 4);
	adv_pool_module_used(pool, &a, 2);
	settle(0);
	cr_assert_eq(stats().hot, 2, "fewer are wanted");
	adv_pool_module_used(pool, &a, 0);
	settle(0);
	cr_assert_eq(stats().hot, 0);
	cr_assert_eq(stats().cold, 3);
	cr_assert_eq(stats().dying, 0);
}

Test(pool, only_the_last_used_stay_hot)
{
	adv_pool_module_used(pool, &a, -1);
	adv_pool_module_used(pool, &b, -1);
	settle(0);
	adv_pool_module_used(pool, &a, -1); /* now b is the one not used for longest */
	adv_pool_module_used(pool, &c, -1);
	settle(0);
	cr_assert_eq(stats().hot, 2);
	claim(&a, ADV_POOL_HIT_HOT);
	claim(&c, ADV_POOL_HIT_HOT);
	claim(&b, ADV_POOL_HIT_COLD);
}

Test(pool, what_starts_threads_is_never_loaded_ahead)
{
	adv_pool_module_used(pool, &threaded, 4);
	settle(0);
	cr_assert_eq(stats().hot, 0);
	claim(&threaded, ADV_POOL_HIT_COLD);
}

Test(pool, a_module_that_is_gone)
{
	adv_pool_module_used(pool, &a, 2);
	adv_pool_module_used(pool, &b, 1);
	settle(0);
	adv_pool_module_gone(pool, a.key);
	adv_pool_module_gone(pool, 999);
	settle(0);
	cr_assert_eq(stats().hot, 1);
	claim(&b, ADV_POOL_HIT_HOT);
}

/* It goes while it is being loaded: the sandbox is killed as soon as it has been. */
Test(pool, gone_while_loading)
{
	settle(0);
	adv_pool_module_used(pool, &a, -1);
	struct adv_pool_order order = next(ADV_POOL_LOAD, 0);
	adv_pool_module_gone(pool, a.key);
	settle(0);
	carry_out(&order);
	cr_assert_eq(next(ADV_POOL_KILL, 0).id, order.id);
	settle(0);
	cr_assert_eq(stats().hot, 0);
}

Test(pool, a_load_that_fails_is_not_tried_again)
{
	settle(0);
	adv_pool_module_used(pool, &a, -1);
	uint32_t id = next(ADV_POOL_LOAD, 0).id;
	cr_assert_eq(adv_pool_failed(pool, id, 0), 0);
	cr_assert_eq(adv_pool_state(pool, id), ADV_POOL_DYING);
	cr_assert_eq(adv_pool_died(pool, id), 0);
	settle(0);
	cr_assert_eq(stats().hot, 0);
	cr_assert_eq(stats().failures, 1);
	adv_pool_module_used(pool, &a, -1); /* used anew: another try */
	next(ADV_POOL_LOAD, 0);
}

/* Constructors that took their time at the deploy, and now for ever: their sandbox goes, and others are built. */
Test(pool_made, a_load_that_does_not_end)
{
	struct adv_pool_options o = usual;
	o.load_ns = 5 * ADV_SEC;
	make(&o);
	settle(0);
	adv_pool_module_used(pool, &a, -1);
	uint32_t id = next(ADV_POOL_LOAD, 100).id;
	settle(100);
	cr_assert_eq(next(ADV_POOL_IDLE, 100).when_ns, 100 + 5 * ADV_SEC);
	next(ADV_POOL_IDLE, 99 + 5 * ADV_SEC);
	cr_assert_eq(next(ADV_POOL_KILL, 100 + 5 * ADV_SEC).id, id);
	cr_assert_eq(adv_pool_killed(pool, id), 0);
	cr_assert_eq(adv_pool_died(pool, id), 0);
	settle(101 + 5 * ADV_SEC);
	cr_assert_eq(stats().loading + stats().hot, 0, "it is not tried again");
	cr_assert_eq(stats().failures, 1);
	adv_pool_module_used(pool, &a, -1);
	next(ADV_POOL_LOAD, 102 + 5 * ADV_SEC);
}

/* ---- memory ---- */

static uint32_t hot_of(const struct adv_pool_module *m)
{
	uint32_t id, n = 0;
	while (adv_pool_claim(pool, m, &id) == ADV_POOL_HIT_HOT)
		n++;
	return n;
}

Test(pool_made, promises_go_first)
{
	const struct adv_pool_module large = {
		.key = 77, .poolable = true, .size_bytes = 3 * ADV_POOL_SANDBOX_BYTES};
	struct adv_pool_options o = usual;
	o.hot_modules = 3;
	o.max_parallel = 8;
	o.memory_bytes = (3 + 9) * ADV_POOL_SANDBOX_BYTES;
	make(&o);
	settle(0);
	adv_pool_module_used(pool, &large, 2); /* eight of the nine */
	adv_pool_module_used(pool, &a, -1);
	adv_pool_module_used(pool, &b, -1);
	settle(0);
	cr_assert_eq(stats().hot, 3);
	adv_pool_module_used(pool, &large, 3);
	settle(0);
	cr_assert_eq(stats().hot, 3, "a third does not fit");
	cr_assert_eq(hot_of(&large), 2);
	cr_assert_eq(hot_of(&b), 1, "used later than a");
	cr_assert_eq(hot_of(&a), 0);
}

Test(pool_made, what_does_not_fit_any_more_goes)
{
	const struct adv_pool_module large = {
		.key = 77, .poolable = true, .size_bytes = 3 * ADV_POOL_SANDBOX_BYTES};
	struct adv_pool_options o = usual;
	o.memory_bytes = (3 + 4) * ADV_POOL_SANDBOX_BYTES;
	make(&o);
	adv_pool_module_used(pool, &a, -1);
	settle(0);
	cr_assert_eq(stats().hot, 1);
	adv_pool_module_used(pool, &large, 1);
	settle(0);
	cr_assert_eq(stats().hot, 1);
	cr_assert_eq(hot_of(&a), 0);
}

/* ---- profiles ---- */

/* One that is not loaded ahead finds a sandbox of its profile all the same. */
Test(pool, a_threaded_module_has_cold_sandboxes_of_its_profile)
{
	static const struct adv_pool_module parallel = {.key = 66, .profile = ADV_PROFILE_THREADS};
	settle(0);
	claim(&parallel, ADV_POOL_MISS);
	adv_pool_module_used(pool, &parallel, -1);
	settle(0);
	cr_assert_eq(stats().cold, 4);
	cr_assert_eq(stats().hot, 0);
	claim(&parallel, ADV_POOL_HIT_COLD);
	settle(0);
	adv_pool_module_used(pool, &parallel, 100);
	settle(0);
	cr_assert_eq(stats().cold, 6, "as many as there are of strict, and no more");
	adv_pool_module_gone(pool, parallel.key);
	settle(0);
	cr_assert_eq(stats().cold, 3);
}

Test(pool, profiles_are_kept_apart)
{
	settle(0);
	claim(&extended, ADV_POOL_MISS);
	adv_pool_module_used(pool, &extended, -1);
	struct adv_pool_order order = next(ADV_POOL_BUILD, 0);
	cr_assert_eq(order.profile, ADV_PROFILE_LIBC);
	carry_out(&order);
	cr_assert_eq(next(ADV_POOL_LOAD, 0).id, order.id);
	carry_out(&(struct adv_pool_order){.act = ADV_POOL_LOAD, .id = order.id});
	settle(0);
	cr_assert_eq(stats().cold, 3);
	claim(&extended, ADV_POOL_HIT_HOT);
}

/* Built for a module that went meanwhile: nothing wants it, and it may not stay for ever. */
Test(pool, a_set_that_nobody_wants_is_let_go)
{
	settle(0);
	adv_pool_module_used(pool, &extended, -1);
	struct adv_pool_order order = next(ADV_POOL_BUILD, 0);
	adv_pool_module_gone(pool, extended.key);
	carry_out(&order);
	settle(0);
	cr_assert_eq(stats().cold, 3);
	cr_assert_eq(adv_pool_state(pool, order.id), ADV_POOL_FREE);
}

/* What is kept ready for some must not keep others out. */
Test(pool_made, hot_sandboxes_make_room_for_a_claim)
{
	const struct adv_pool_options o = {
		.hot = 2, .hot_modules = 2, .max_sandboxes = 4, .max_parallel = 4};
	make(&o);
	adv_pool_module_used(pool, &a, -1);
	adv_pool_module_used(pool, &b, -1);
	settle(0);
	cr_assert_eq(stats().hot, 4);
	adv_pool_module_used(pool, &c, -1);
	settle(0);
	uint32_t id;
	cr_assert_neq(adv_pool_claim(pool, &c, &id), ADV_POOL_EXHAUSTED);
	settle(0);
	claim(&c, ADV_POOL_HIT_HOT);
	uint32_t more = UINT32_MAX;
	cr_assert_neq(adv_pool_claim(pool, &threaded, &more), ADV_POOL_EXHAUSTED,
		      "two idle ones of module b hold the room");
}

/* ---- failures ---- */

static void fail_build(uint64_t now)
{
	uint32_t id = next(ADV_POOL_BUILD, now).id;
	cr_assert_eq(adv_pool_failed(pool, id, now), 0);
	cr_assert_eq(adv_pool_died(pool, id), 0);
}

Test(pool, failed_builds_are_delayed_ever_longer)
{
	uint64_t now = 1000;
	for (unsigned i = 0; i < 12; i++) {
		uint64_t delay = RETRY << (i < 6 ? i : 6);
		fail_build(now);
		cr_assert_eq(next(ADV_POOL_IDLE, now).when_ns, now + delay, "failure %u", i);
		next(ADV_POOL_IDLE, now + delay - 1);
		now += delay;
	}
	carry_out(&(struct adv_pool_order){.act = ADV_POOL_BUILD,
					   .id = next(ADV_POOL_BUILD, now).id});
	fail_build(now); /* after a success the first delay again */
	cr_assert_eq(next(ADV_POOL_IDLE, now).when_ns, now + RETRY);
}

/* A claim is answered even while the pool waits: its owner builds it at once. */
Test(pool, claims_do_not_wait)
{
	fail_build(0);
	next(ADV_POOL_IDLE, 0);
	uint32_t id = claim(&a, ADV_POOL_MISS);
	cr_assert_eq(adv_pool_confined(pool, id, 1), 0);
	cr_assert_eq(adv_pool_state(pool, id), ADV_POOL_CLAIMED);
}

/* One on its way out keeps its number, and keeps nobody else out. */
Test(pool, dying_sandboxes_keep_their_number)
{
	settle(0);
	uint32_t id = claim(&a, ADV_POOL_HIT_COLD), last = 0;
	cr_assert_eq(adv_pool_failed(pool, id, 0), 0);
	cr_assert_eq(adv_pool_state(pool, id), ADV_POOL_DYING);
	for (int i = 0; i < 16; i++) {
		cr_assert_neq(adv_pool_claim(pool, &a, &last), ADV_POOL_EXHAUSTED);
		cr_assert_neq(last, id);
	}
	claim(&a, ADV_POOL_EXHAUSTED);
	cr_assert_eq(adv_pool_died(pool, id), 0);
	claim(&a, ADV_POOL_EXHAUSTED);
	cr_assert_eq(adv_pool_died(pool, last), 0);
	claim(&a, ADV_POOL_MISS);
}

/* A cold or hot one that dies by itself is replaced. */
Test(pool, deaths_are_replaced)
{
	adv_pool_module_used(pool, &a, -1);
	settle(0);
	for (uint32_t id = 0; id < 16; id++)
		if (adv_pool_state(pool, id) != ADV_POOL_FREE)
			cr_assert_eq(adv_pool_died(pool, id), 0);
	cr_assert_eq(stats().cold + stats().hot, 0);
	settle(0);
	cr_assert_eq(stats().cold, 3);
	cr_assert_eq(stats().hot, 1);
}

Test(pool, reports_that_do_not_fit)
{
	const uint32_t ids[] = {0, 15, 16, 4096, UINT32_MAX}; /* nothing is built yet */
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		cr_assert_eq(adv_pool_confined(pool, ids[i], 1), -EINVAL);
		cr_assert_eq(adv_pool_loaded(pool, ids[i]), -EINVAL);
		cr_assert_eq(adv_pool_failed(pool, ids[i], 1), -EINVAL);
		cr_assert_eq(adv_pool_killed(pool, ids[i]), -EINVAL);
		cr_assert_eq(adv_pool_died(pool, ids[i]), -EINVAL);
		cr_assert_eq(adv_pool_state(pool, ids[i]), ADV_POOL_FREE);
	}
	uint32_t id = next(ADV_POOL_BUILD, 0).id;
	cr_assert_eq(adv_pool_loaded(pool, id), -EINVAL);
	cr_assert_eq(adv_pool_confined(pool, id, 1), 0);
	cr_assert_eq(adv_pool_confined(pool, id, 1), -EINVAL);
	cr_assert_eq(adv_pool_killed(pool, id), 0);
	cr_assert_eq(adv_pool_killed(pool, id), -EINVAL, "once");
	cr_assert_eq(stats().failures, 0);
	cr_assert_eq(stats().built, 1);
}

/* Killed before the warden said that it was built. */
Test(pool, killed_while_building)
{
	uint32_t id = claim(&a, ADV_POOL_MISS);
	cr_assert_eq(adv_pool_killed(pool, id), 0);
	cr_assert_eq(adv_pool_confined(pool, id, 1), -EINVAL);
	cr_assert_eq(adv_pool_state(pool, id), ADV_POOL_DYING);
	cr_assert_eq(adv_pool_died(pool, id), 0);
}

Test(pool, build_times)
{
	cr_assert_eq(stats().build_ns_p50, 0);
	for (uint64_t i = 1; i <= 2000; i++) {
		uint32_t id = claim(&scratch, ADV_POOL_MISS);
		cr_assert_eq(adv_pool_confined(pool, id, i), 0);
		cr_assert_eq(adv_pool_died(pool, id), 0);
	}
	/* Of the last 1,024: 977 to 2,000. */
	cr_assert_eq(stats().build_ns_p50, 977 + 512);
	cr_assert_eq(stats().build_ns_p99, 977 + 1013);
}
