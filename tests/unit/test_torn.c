/*
 * test_torn.c - entries that come in parts, in every order, or wrong for good, on their way to the worker and to the client; entries of
 * epochs that are over; numbers that wrap around. Both ends are moved by hand, and so is the clock.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "fake_clock.h"
#include "verbs_rig.h"

#define WORDS 8 /* of an entry */

static struct rig rig;

static void make_default(void)
{
	fake_clock_stop(1000 * ADV_SEC, 0);
	rig_make(&rig, NULL);
	fake_by_hand(rig_client_qp(&rig), true);
	fake_by_hand(rig_node_qp(&rig), true);
}

static void unmake(void)
{
	fake_clock_on_look(NULL);
	rig_unmake(&rig);
}

TestSuite(torn, .init = make_default, .fini = unmake, .timeout = 120);
TestSuite(torn_made, .fini = unmake, .timeout = 120); /* with options */

static uint64_t input[4], output[4];

/* A call with an input that fills the entry. */
static void submit(uint64_t id)
{
	for (int i = 0; i < 4; i++)
		input[i] = id * 0x0101010101010101 + (uint64_t)i;
	cr_assert_eq(rig_client_submit(&rig, 0, input, sizeof(input), output, id), ADV_OK);
}

/* Everything that is on its way arrives. */
static void deliver(void)
{
	cr_assert(fake_step_all(rig_client_qp(&rig)));
	cr_assert(fake_step_all(rig_node_qp(&rig)));
}

/* The worker answers, and its completion waits at the node's end. */
static void answer(void)
{
	cr_assert(fake_step_all(rig_client_qp(&rig)));
	rig_node_pass(&rig);
	cr_assert(rig_worker_step(&rig, 0));
	rig_node_pass(&rig);
}

static unsigned client_takes(struct adv_completion *c)
{
	return adv_client_poll_lanes(rig.lease, c, 1);
}

static void client_has(uint64_t id, enum adv_status status)
{
	struct adv_completion c;
	cr_assert_eq(client_takes(&c), 1, "call %lu has not come", id);
	cr_assert_eq(c.user_data, id);
	cr_assert_eq(c.status, status, "%s", adv_status_name((enum adv_status)c.status));
	if (status == ADV_OK)
		cr_assert_arr_eq(output, input, sizeof(input));
}

static void client_has_nothing(void)
{
	struct adv_completion c;
	cr_assert_eq(client_takes(&c), 0);
}

/* The whole way of one call. */
static void call(uint64_t id)
{
	submit(id);
	answer();
	deliver();
	client_has(id, ADV_OK);
}

/* ---- parts ---- */

/* The words in `parts` of what waits first at that end are placed. */
static void place_words(struct ibv_qp *qp, uint32_t parts)
{
	for (uint32_t i = 0; i < WORDS; i++)
		if (parts & 1u << i)
			fake_place(qp, 0, 8 * i, 8 * i + 8);
}

#define SEQ_WORD (1u << (WORDS - 1)) /* and the checksum */
#define ALL	 ((1u << WORDS) - 1)

static int looks_left;

/* The rest comes while the worker looks at it again. */
static void rest_comes(void)
{
	if (looks_left > 0 && --looks_left == 0)
		fake_place(rig_client_qp(&rig), 0, 0, ADV_ENTRY_SIZE);
}

/* What is missing may be what lay there before: then the entry is whole. It is never taken for another. */
static void worker_finds_torn(uint32_t parts, uint64_t id)
{
	submit(id);
	place_words(rig_client_qp(&rig), parts);
	/* With its number it is waited for: the rest comes then. Without, it is not there. */
	looks_left = 5;
	fake_clock_on_look(rest_comes);
	bool came = rig_worker_step(&rig, 0);
	fake_clock_on_look(NULL);
	cr_assert_eq(came, (parts & SEQ_WORD) != 0, "parts %02x", parts);
	deliver();
	cr_assert_neq(came, rig_worker_step(&rig, 0));
	rig_node_pass(&rig);
	rig_node_pass(&rig);
	deliver();
	client_has(id, ADV_OK);
}

/* Every subset of the eight words is there when the worker looks: all prefixes and suffixes, and seq before the rest. */
Test(torn, requests_in_any_parts)
{
	for (uint32_t parts = 0; parts <= ALL; parts++)
		worker_finds_torn(parts, parts + 1);
}

/* Some of it is there: nothing is taken, or all of it. */
static void client_finds_torn(uint64_t id)
{
	struct adv_completion c;
	unsigned came = 0;
	for (int i = 0; i < 3 && came == 0; i++) {
		came = client_takes(&c);
		fake_clock_add(ADV_LANE_TORN_NS / 4);
	}
	deliver();
	if (came == 0)
		came = client_takes(&c);
	cr_assert_eq(came, 1);
	cr_assert_eq(c.user_data, id);
	cr_assert_eq(c.status, ADV_OK);
	cr_assert_arr_eq(output, input, sizeof(input));
	client_has_nothing();
}

Test(torn, completions_in_any_parts)
{
	for (uint32_t parts = 0; parts <= ALL; parts++) {
		submit(parts + 1);
		answer();
		place_words(rig_node_qp(&rig), parts);
		client_finds_torn(parts + 1);
	}
}

/* At every byte, from the front and from the back: a number may be there in half. */
Test(torn, completions_cut_at_any_byte)
{
	uint64_t id = 0;
	for (uint32_t at = 0; at <= ADV_ENTRY_SIZE; at++)
		for (int back = 0; back < 2; back++) {
			submit(++id);
			answer();
			fake_place(rig_node_qp(&rig), 0, back ? at : 0, back ? ADV_ENTRY_SIZE : at);
			client_finds_torn(id);
		}
}

Test(torn, requests_cut_at_any_byte)
{
	uint64_t id = 0;
	for (uint32_t at = 0; at <= ADV_ENTRY_SIZE; at++)
		for (int back = 0; back < 2; back++) {
			submit(++id);
			fake_place(rig_client_qp(&rig), 0, back ? at : 0,
				   back ? ADV_ENTRY_SIZE : at);
			looks_left = 5;
			fake_clock_on_look(rest_comes);
			bool early = rig_worker_step(&rig, 0);
			fake_clock_on_look(NULL);
			deliver();
			cr_assert(early || rig_worker_step(&rig, 0));
			rig_node_pass(&rig);
			rig_node_pass(&rig);
			deliver();
			client_has(id, ADV_OK);
		}
}

/* The entry overtakes its payload: what the device does not do, but then nothing else tells. The entry is waited for, not the payload. */
Test(torn, another_place_in_the_ring_is_not_looked_at)
{
	submit(1);
	uint64_t second = 2;
	static uint64_t out;
	cr_assert_eq(rig_client_submit(&rig, 0, &second, 8, &out, 2), ADV_OK);
	fake_place(rig_client_qp(&rig), 1, 0, ADV_ENTRY_SIZE);
	cr_assert_not(rig_worker_step(&rig, 0), "the first goes first");
	fake_place(rig_client_qp(&rig), 0, 0, ADV_ENTRY_SIZE);
	cr_assert(rig_worker_step(&rig, 0));
	cr_assert(rig_worker_step(&rig, 0));
	deliver();
	rig_node_pass(&rig);
	deliver();
	client_has(1, ADV_OK);
	struct adv_completion c;
	cr_assert_eq(client_takes(&c), 1);
	cr_assert_eq(c.user_data, 2);
}

/* ---- wrong for good ---- */

/* Bits that are not the number that is waited for, nor what says to which epoch it belongs. */
static bool tells_which(uint32_t byte)
{
	return byte >= offsetof(struct adv_entry, seq) ||
	       byte / 2 == offsetof(struct adv_entry, epoch) / 2;
}

Test(torn, a_completion_that_stays_wrong)
{
	uint64_t id = 0;
	for (uint32_t byte = 0; byte < ADV_ENTRY_SIZE; byte++) {
		if (tells_which(byte))
			continue;
		submit(++id);
		answer();
		fake_waiting(rig_node_qp(&rig), 0)->data[byte] ^= (uint8_t)(1u << byte % 8);
		deliver();
		client_has_nothing();
		fake_clock_add(ADV_LANE_TORN_NS - 1);
		client_has_nothing();
		fake_clock_add(1);
		client_has(id, ADV_BAD_ENTRY);
		client_has_nothing();
		call(++id);
	}
}

/* It is the first of several: the others are as good as before. */
Test(torn, a_bad_completion_among_good_ones)
{
	for (uint64_t id = 1; id <= 4; id++)
		submit(id);
	cr_assert(fake_step_all(rig_client_qp(&rig)));
	rig_node_pass(&rig);
	while (rig_worker_step(&rig, 0))
		;
	rig_node_pass(&rig);
	for (uint32_t i = 1; i < 4; i++)
		fake_waiting(rig_node_qp(&rig), i)->data[0] ^= i == 2;
	deliver();
	struct adv_completion c;
	cr_assert_eq(client_takes(&c), 1);
	cr_assert_eq(client_takes(&c), 1);
	cr_assert_eq(client_takes(&c), 0);
	fake_clock_add(ADV_LANE_TORN_NS);
	cr_assert_eq(client_takes(&c), 1);
	cr_assert_eq(c.user_data, 3);
	cr_assert_eq(c.status, ADV_BAD_ENTRY);
	cr_assert_eq(client_takes(&c), 1);
	cr_assert_eq(c.user_data, 4);
	cr_assert_eq(c.status, ADV_OK);
}

/* Torn, whole, torn again: each begins its own millisecond. */
Test(torn, the_millisecond_is_the_entry_s_own)
{
	for (uint64_t id = 1; id <= 4; id++) {
		submit(id);
		answer();
		fake_place(rig_node_qp(&rig), 0, 56, 64);
		client_has_nothing();
		fake_clock_add(ADV_LANE_TORN_NS - 1);
		deliver();
		client_has(id, ADV_OK);
	}
}

/* What a completion is known by. */
static bool says_whose(uint32_t byte)
{
	return (byte >= offsetof(struct adv_entry, call_id) &&
		byte < offsetof(struct adv_entry, length)) ||
	       byte / 2 == offsetof(struct adv_entry, slot) / 2;
}

static void stays_wrong(uint64_t id, uint32_t byte)
{
	submit(id);
	fake_waiting(rig_client_qp(&rig), 0)->data[byte] ^= (uint8_t)(1u << byte % 8);
	cr_assert(fake_step_all(rig_client_qp(&rig)));
	/* The worker looks again and again, until a millisecond has passed. */
	fake_clock_stop(1000 * ADV_SEC + id * ADV_SEC, ADV_LANE_TORN_NS / 10);
	cr_assert_not(rig_worker_step(&rig, 0), "it was run");
	fake_clock_stop(1000 * ADV_SEC + id * ADV_SEC, 0);
	rig_node_pass(&rig);
	deliver();
	client_has(id, ADV_BAD_ENTRY);
}

Test(torn, a_request_that_stays_wrong)
{
	uint64_t id = 0;
	for (uint32_t byte = 0; byte < ADV_ENTRY_SIZE; byte++) {
		if (tells_which(byte) || says_whose(byte))
			continue;
		stays_wrong(++id, byte);
		call(++id);
	}
}

/* The worker cannot say whose call it answers: by the number, the client can. */
Test(torn, a_request_that_does_not_say_whose_it_is)
{
	uint64_t id = 0;
	for (uint32_t byte = 0; byte < ADV_ENTRY_SIZE; byte++) {
		if (!says_whose(byte))
			continue;
		stays_wrong(++id, byte);
		call(++id);
	}
}

/* ---- epochs ---- */

/* A completion of the epoch before lies where the next one is expected, its number and all. */
Test(torn, an_entry_of_an_old_epoch)
{
	call(1);
	submit(2);
	answer();
	struct fake_work *w = fake_waiting(rig_node_qp(&rig), 0);
	struct adv_entry e;
	memcpy(&e, w->data, sizeof(e));
	for (uint16_t epoch = 0; epoch < 4; epoch++) {
		if (epoch == 1)
			continue;
		atomic_store(&e.epoch, epoch);
		memcpy(w->data, &e, sizeof(e));
		fake_place(rig_node_qp(&rig), 0, 0, ADV_ENTRY_SIZE);
		client_has_nothing();
		fake_clock_add(2 * ADV_LANE_TORN_NS);
		client_has_nothing();
	}
	atomic_store(&e.epoch, 1);
	memcpy(w->data, &e, sizeof(e));
	deliver();
	client_has(2, ADV_OK);
}

/* The client has not heard of the death when it submits: the call is not run, and it says so. */
Test(torn, a_request_of_an_old_epoch)
{
	submit(1);
	rig_worker_dies(&rig, 0, ADV_CRASHED, 11);
	cr_assert(fake_step_all(rig_client_qp(&rig)));
	cr_assert_not(rig_worker_step(&rig, 0));
	rig_node_pass(&rig);
	deliver();
	client_has(1, ADV_CRASHED);
	client_has_nothing();
	call(2);
}

/* ---- numbers ---- */

static void wraps(uint32_t base, bool placed)
{
	struct rig_options o = RIG_DEFAULTS;
	o.generation = adv_generation(7, base);
	o.device.in_order = placed;
	o.landing = !placed;
	o.nr_slots = 3;
	fake_clock_stop(1000 * ADV_SEC, 0);
	rig_make(&rig, &o);
	/* The client begins in epoch 1, is told, and hears it. */
	rig_settle(&rig);
	client_has_nothing();
	uint64_t id = 1;
	for (int round = 0; round < 12; round++) {
		uint64_t in[3], out[3];
		for (uint32_t i = 0; i < 3; i++) {
			in[i] = id + i;
			cr_assert_eq(rig_client_submit(&rig, 0, &in[i], 8, &out[i], in[i]), ADV_OK);
		}
		if (round % 3 == 1) {
			cr_assert_eq(adv_lease_arm(rig.lease), 1);
			cr_assert_eq(rig.lease->verbs->unanswered[0], placed);
		}
		rig_settle(&rig);
		for (uint32_t i = 0; i < 3; i++) {
			struct adv_completion c;
			cr_assert_eq(adv_poll(rig.lease, &c, 1), 1, "base %x, call %lu", base, id);
			cr_assert_eq(c.user_data, id);
			cr_assert_eq(c.status, ADV_OK, "base %x, call %lu: %s", base, id,
				     adv_status_name((enum adv_status)c.status));
			cr_assert_eq(out[i], id++);
		}
		(void)adv_verbs_progress(rig.lease);
		cr_assert_not(rig.lease->verbs->unanswered[0], "ARM was answered");
	}
	cr_assert_eq(rig.relay.carried, 36);
	cr_assert_eq(rig.lanes[0].completion_seq, base + 36);
}

Test(torn_made, numbers_wrap_around)
{
	static const uint32_t bases[] = {0x0000fff0, 0x0000fffe, 0x0000ffff, 0x00010000, 0x7ffffff0,
					 0x7fffffff, 0xfffffff0, 0xfffffffe, 0xffffffff, 0};
	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
		for (int placed = 0; placed < 2; placed++) {
			wraps(bases[i], placed);
			rig_unmake(&rig);
		}
	rig_make(&rig, NULL);
}

/* Deaths right at the edges. */
Test(torn_made, epochs_begin_where_numbers_wrap)
{
	static const uint32_t bases[] = {0xfff0, 0xfffffff0};
	for (int i = 0; i < 2; i++) {
		struct rig_options o = RIG_DEFAULTS;
		o.generation = adv_generation(2, bases[i]);
		rig_make(&rig, &o);
		rig_settle(&rig);
		for (uint64_t id = 1; id <= 12; id++) {
			submit(id);
			rig_node_pass(&rig);
			if (id % 2 == 0)
				rig_worker_dies(&rig, 0, ADV_EXITED, (uint32_t)id);
			rig_settle(&rig);
			client_has(id, id % 2 == 0 ? ADV_EXITED : ADV_OK);
			client_has_nothing();
		}
		rig_unmake(&rig);
	}
	rig_make(&rig, NULL);
}
