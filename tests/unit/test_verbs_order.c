/*
 * test_verbs_order.c - a whole lease over verbs, its steps in any order: every call ends once, with its own output; no device rule is
 * broken, and no immediate finds itself without a receive, in queues that are as long as the node and the client make them.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "verbs_rig.h"

#define CALLS	   600
#define SLOTS_MAX  64
#define OUTPUT_MAX 512

TestSuite(verbs_order, .timeout = 300);

static struct rig rig;
static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

/* ---- calls whose bytes say whose they are ---- */

struct record {
	uint64_t id; /* 0: none */
	uint32_t size;
	uint8_t out[OUTPUT_MAX];
};

static struct record records[RIG_LANES_MAX * SLOTS_MAX];
static uint64_t submitted, ended, armed;

static uint8_t stamp(uint64_t id, uint32_t at)
{
	return (uint8_t)(id * 31 + at / 64 * 7 + at);
}

static void submit(void)
{
	uint8_t in[OUTPUT_MAX];
	uint32_t i = 0;
	while (i < rig.g.nr_lanes * rig.g.nr_slots && records[i].id != 0)
		i++;
	if (submitted == CALLS || i == rig.g.nr_lanes * rig.g.nr_slots)
		return;
	struct record *r = &records[i];
	r->id = submitted + 1;
	r->size = random_below(2) ? random_below(33) : random_below(OUTPUT_MAX);
	for (uint32_t at = 0; at < r->size; at++)
		in[at] = stamp(r->id, at);
	memset(r->out, 0, sizeof(r->out));
	enum adv_status status = rig_client_submit(&rig, ADV_ANY_WORKER, in, r->size, r->out, i);
	if (status == ADV_OK)
		submitted++;
	else
		r->id = 0;
	cr_assert(status == ADV_OK || status == ADV_BUSY, "%s", adv_status_name(status));
}

static void take(void)
{
	struct adv_completion c;
	while (adv_client_poll_lanes(rig.lease, &c, 1) == 1) {
		struct record *r = &records[c.user_data];
		cr_assert_neq(r->id, 0, "it has ended before");
		cr_assert_eq(c.status, ADV_OK, "%s", adv_status_name((enum adv_status)c.status));
		cr_assert_eq(c.out_size, r->size);
		for (uint32_t at = 0; at < r->size; at++)
			cr_assert_eq(r->out[at], stamp(r->id, at), "call %lu, byte %u", r->id, at);
		r->id = 0;
		ended++;
	}
}

static void arm(void)
{
	armed += adv_lease_arm(rig.lease) == 1;
}

static void run_worker(void)
{
	(void)rig_worker_step(&rig, random_below(rig.g.nr_lanes));
}

static void move(struct ibv_qp *qp)
{
	bool moved = fake_nr_waiting(qp) == 0 || fake_step(qp);
	cr_assert(moved || rig.options.device.patient);
}

static void one_step(uint32_t what)
{
	switch (what) {
	case 0:
	case 1:
		submit();
		break;
	case 2:
		take();
		break;
	case 3:
	case 4:
		move(rig_client_qp(&rig));
		break;
	case 5:
	case 6:
		move(rig_node_qp(&rig));
		break;
	case 7:
		(void)rig_node_pass(&rig);
		break;
	case 8:
	case 9:
		run_worker();
		break;
	case 10:
		(void)adv_verbs_progress(rig.lease);
		break;
	default:
		arm();
		break;
	}
}

/* Everything that is under way comes to its end. */
static void finish(void)
{
	for (int i = 0; i < 10000 && (ended < submitted || submitted < CALLS); i++) {
		submit();
		fake_step_all(rig_client_qp(&rig));
		rig_settle(&rig);
		fake_step_all(rig_node_qp(&rig));
		(void)adv_verbs_progress(rig.lease);
		take();
	}
	cr_assert_eq(submitted, CALLS);
	cr_assert_eq(ended, CALLS);
	cr_assert_eq(rig.relay.carried, CALLS);
	cr_assert_eq(rig.relay.stray, 0);
}

/* Some steps come much oftener than others: a poller that is slow, a worker that is fast, a client that never looks. */
static void any_order(const struct rig_options *o, uint32_t seed)
{
	uint32_t often[4];
	random_state = seed;
	submitted = ended = 0;
	memset(records, 0, sizeof(records));
	rig_make(&rig, o);
	rig_settle(&rig); /* the client may have to be told of an epoch */
	take();
	fake_by_hand(rig_client_qp(&rig), true);
	fake_by_hand(rig_node_qp(&rig), true);
	for (int step = 0; step < 20000 && ended < CALLS; step++) {
		if (step % 1000 == 0)
			for (int i = 0; i < 4; i++)
				often[i] = random_below(12);
		one_step(random_below(3) ? often[random_below(4)] : random_below(12));
	}
	finish();
	rig_unmake(&rig);
}

static void many_orders(const struct rig_options *o, uint32_t nr)
{
	for (uint32_t seed = 1; seed <= nr; seed++)
		any_order(o, seed * 2654435761);
}

static struct rig_options of(uint32_t nr_lanes, uint32_t nr_slots)
{
	struct rig_options o = RIG_DEFAULTS;
	o.nr_lanes = nr_lanes;
	o.nr_slots = nr_slots;
	return o;
}

/* ---- with each kind of device and lease ---- */

Test(verbs_order, placed_in_order)
{
	struct rig_options o = of(1, 4);
	many_orders(&o, 20);
}

Test(verbs_order, handed_over)
{
	struct rig_options o = of(2, 4);
	o.device.in_order = false;
	o.landing = true;
	many_orders(&o, 20);
}

Test(verbs_order, handed_over_by_the_client_alone)
{
	struct rig_options o = of(1, 8);
	o.device.in_order = false;
	many_orders(&o, 20);
}

Test(verbs_order, many_lanes)
{
	struct rig_options o = of(4, 16);
	many_orders(&o, 20);
}

Test(verbs_order, nothing_inline)
{
	struct rig_options o = of(2, 5);
	o.device.max_inline = 0;
	many_orders(&o, 20);
}

Test(verbs_order, short_queues)
{
	struct rig_options o = of(2, 16);
	o.send_depth = 6;
	many_orders(&o, 10);
	/* Too short for a receive for each immediate: those wait, and that is all. */
	o.device.max_wr = 40;
	o.device.patient = true;
	many_orders(&o, 10);
}

Test(verbs_order, one_slot)
{
	struct rig_options o = of(1, 1);
	many_orders(&o, 10);
}

Test(verbs_order, where_numbers_wrap)
{
	struct rig_options o = of(2, 4);
	o.generation = adv_generation(2, UINT32_MAX - 100);
	many_orders(&o, 10);
	o.generation = adv_generation(2, 0xffff - 100);
	many_orders(&o, 10);
}

/* As many receives as a node makes for a lease that needs more than it makes for any: none is missing, whatever the order. */
Test(verbs_order, a_receive_for_each_immediate)
{
	static const uint32_t shapes[][2] = {{1, 1}, {1, 4}, {4, 1}, {2, 8}, {1, 64}, {4, 64}};
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct rig_options o = of(shapes[i][0], shapes[i][1]);
		o.recv_depth = shapes[i][0] * (shapes[i][1] + 1) + 1;
		many_orders(&o, 10);
	}
}

/* Whenever there is an answer the client calls again, at once, in all its slots; workers are as fast; the poller is not. */
Test(verbs_order, a_receive_for_each_immediate_of_a_fast_client)
{
	static const uint32_t shapes[][2] = {{1, 64}, {4, 64}, {2, 32}};
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct rig_options o = of(shapes[i][0], shapes[i][1]);
		o.recv_depth = shapes[i][0] * (shapes[i][1] + 1) + 1;
		submitted = ended = 0;
		memset(records, 0, sizeof(records));
		rig_make(&rig, &o);
		while (ended < CALLS) {
			for (uint32_t k = 0; k < o.nr_lanes * o.nr_slots; k++)
				submit();
			for (uint32_t lane = 0; lane < o.nr_lanes; lane++)
				while (rig_worker_step(&rig, lane))
					;
			(void)rig_node_pass(&rig);
			take();
		}
		rig_unmake(&rig);
	}
}
