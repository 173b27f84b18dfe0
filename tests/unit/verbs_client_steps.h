/* verbs_client_steps.h - one lease over verbs on the fake device, and what tests of its client's half do with it. */
#ifndef ADVERB_TESTS_VERBS_CLIENT_STEPS_H
#define ADVERB_TESTS_VERBS_CLIENT_STEPS_H

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>

#include "fake_clock.h"
#include "verbs_rig.h"

#define SLOTS 4

static struct rig rig;
static uint8_t outputs[SLOTS][ADV_PAGE];

static inline void make(const struct rig_options *o)
{
	fake_clock_stop(1000 * ADV_SEC, 0);
	rig_make(&rig, o);
}

static inline void make_default(void)
{
	make(NULL);
}

static inline void unmake(void)
{
	rig_unmake(&rig);
}

static inline struct rig_options handed_over(void)
{
	struct rig_options o = RIG_DEFAULTS;
	o.device.in_order = false;
	o.landing = true;
	return o;
}

static inline enum adv_status try_submit(uint64_t id, uint32_t size)
{
	uint8_t in[ADV_PAGE];
	memset(in, (int)id, size);
	return rig_client_submit(&rig, ADV_ANY_WORKER, in, size, outputs[id % SLOTS], id);
}

static inline void submit(uint64_t id, uint32_t size)
{
	cr_assert_eq(try_submit(id, size), ADV_OK, "%s", adv_error());
}

static inline void takes(uint64_t id, enum adv_status status)
{
	struct adv_completion c;
	cr_assert_eq(adv_poll(rig.lease, &c, 1), 1, "call %lu has not ended", id);
	cr_assert_eq(c.user_data, id);
	cr_assert_eq(c.status, status, "%s", adv_status_name((enum adv_status)c.status));
}

static inline void takes_nothing(void)
{
	struct adv_completion c;
	cr_assert_eq(adv_poll(rig.lease, &c, 1), 0);
}

static inline void call(uint64_t id)
{
	submit(id, 100);
	rig_settle(&rig);
	takes(id, ADV_OK);
	cr_assert_eq(outputs[id % SLOTS][99], (uint8_t)id);
}

/* An event loop would wake. */
static inline bool readable(void)
{
	struct pollfd p = {.fd = adv_lease_fd(rig.lease), .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

#endif
