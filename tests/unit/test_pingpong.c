/* test_pingpong.c - the bare ping-pong, both ends on the fake device: what goes there comes back, and nothing outside the region is touched. */
#include <criterion/criterion.h>
#include <string.h>

#include "fabric/pingpong.h"
#include "fake_verbs.h"

#define DEPTH  64
#define INLINE 128

static struct fake_device *device;
static struct fake_end ask_end, answer_end;
static struct adv_link asking, answering;
static uint8_t pages[2 * ADV_PINGPONG_REGION] __attribute__((aligned(4096)));
static uint8_t region[ADV_PINGPONG_REGION] __attribute__((aligned(4096)));
static struct ibv_mr *pages_mr, *region_mr, *out_mr;
static struct adv_ping ping;
static struct adv_pong pong;

static void open_link(struct fake_end *end, struct adv_link *link)
{
	fake_end_create(device, DEPTH, DEPTH, INLINE, end);
	adv_link_init(link, end->qp, end->cq, DEPTH, DEPTH, INLINE);
	cr_assert_eq(adv_link_fill(link), 0);
}

static void make(void)
{
	const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
	device = fake_device_create(NULL);
	open_link(&ask_end, &asking);
	open_link(&answer_end, &answering);
	fake_connect(ask_end.qp, answer_end.qp);
	pages_mr = fake_region(ask_end.pd, pages, sizeof(pages), (uintptr_t)pages, access);
	region_mr = fake_region(answer_end.pd, region, sizeof(region), 0, access);
	out_mr = fake_region(answer_end.pd, region, sizeof(region), (uintptr_t)region, 0);
	ping = (struct adv_ping){
		.link = &asking, .rkey = region_mr->rkey, .from = pages, .lkey = pages_mr->lkey};
	pong = (struct adv_pong){.region = region, .lkey = out_mr->lkey};
}

static void unmake(void)
{
	fake_end_destroy(&ask_end);
	fake_end_destroy(&answer_end);
	fake_device_destroy(device);
}

TestSuite(pingpong, .init = make, .fini = unmake, .timeout = 60);

static void say(uint32_t bytes, uint32_t places, uint32_t flags)
{
	const struct adv_ping_terms t = {.mirror = (uintptr_t)pages + ADV_PINGPONG_REGION,
					 .mirror_rkey = pages_mr->rkey,
					 .bytes = bytes,
					 .places = places,
					 .flags = flags};
	cr_assert_eq(adv_ping_begin(&ping, &t, pages), 0);
}

/* What the answering side does in a pass of its poller; returns the answers. */
static unsigned serve(void)
{
	uint32_t immediates[ADV_LINK_POLL_MAX];
	unsigned nr;
	adv_link_poll(&answering, immediates, &nr);
	for (unsigned i = 0; i < nr; i++)
		adv_pong_hear(&pong, immediates[i]);
	unsigned n = adv_pong_answer(&pong, &answering);
	cr_assert_eq(adv_link_replenish(&answering, true), 0);
	return n;
}

static unsigned pongs(void)
{
	uint32_t immediates[ADV_LINK_POLL_MAX];
	unsigned nr;
	adv_link_poll(&asking, immediates, &nr);
	cr_assert_eq(adv_link_replenish(&asking, true), 0);
	return nr;
}

static void to_and_fro(uint32_t bytes, uint32_t places)
{
	uint8_t *out = pages + ADV_PAGE, *back = pages + ADV_PINGPONG_REGION + ADV_PAGE;
	uint32_t stride = adv_ping_stride(bytes);
	say(bytes, places, 0);
	for (uint32_t i = 0; i < 3 * places; i++) {
		uint64_t at = (uint64_t)(i % places) * stride;
		memset(out + at, (int)i + 1, bytes);
		cr_assert_eq(adv_ping_send(&ping, false), 0);
		cr_assert_eq(serve(), 1);
		cr_assert_eq(pongs(), 1);
		cr_assert_arr_eq(back + at, out + at, bytes);
	}
	cr_assert_eq(pong.stray, 0);
}

Test(pingpong, what_goes_there_comes_back)
{
	to_and_fro(0, 1);
	to_and_fro(8, 1);
	to_and_fro(8, 16);
	to_and_fro(INLINE, 4);
	to_and_fro(INLINE + 1, 4);
	to_and_fro(100000, adv_ping_places(100000, 256));
	to_and_fro(ADV_PINGPONG_BYTES_MAX, 1);
}

Test(pingpong, places_fit_the_region)
{
	cr_assert_eq(adv_ping_places(8, 16), 16);
	cr_assert_eq(adv_ping_places(0, 1), 1);
	cr_assert_eq(adv_ping_places(ADV_PINGPONG_BYTES_MAX, 256), 1);
	for (uint32_t bytes = 0; bytes <= ADV_PINGPONG_BYTES_MAX; bytes += 997) {
		uint64_t n = adv_ping_places(bytes, UINT32_MAX);
		cr_assert(n >= 1 && n * adv_ping_stride(bytes) <= ADV_PINGPONG_BYTES_MAX);
	}
}

Test(pingpong, terms_that_do_not_fit_are_none)
{
	const struct {
		uint32_t bytes, places;
	} bad[] = {{8, 0},
		   {8, (uint32_t)(ADV_PINGPONG_BYTES_MAX / 64) + 1},
		   {8, UINT32_MAX},
		   {ADV_PINGPONG_BYTES_MAX, 2},
		   {(uint32_t)ADV_PINGPONG_BYTES_MAX + 1, 1},
		   {UINT32_MAX, 1},
		   {UINT32_MAX - 62, 1}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		say(8, 1, 0);
		serve();
		cr_assert_eq(pong.terms.places, 1);
		uint64_t stray = pong.stray;
		say(bad[i].bytes, bad[i].places, 0);
		serve();
		cr_assert_eq(pong.terms.places, 0);
		adv_pong_hear(&pong, adv_wire_pack(ADV_WIRE_PING, 0, 0));
		cr_assert_eq(pong.stray, stray + 2);
		cr_assert_eq(serve(), 0);
	}
}

Test(pingpong, a_ping_without_terms_is_not_answered)
{
	adv_pong_hear(&pong, adv_wire_pack(ADV_WIRE_PING, 0, 0));
	adv_pong_hear(&pong, adv_wire_pack(3, 0, 0));
	cr_assert_eq(pong.stray, 2);
	cr_assert_eq(serve(), 0);
	cr_assert_not(pong.spinning);
}

Test(pingpong, the_answering_side_knows_whether_to_wait)
{
	say(8, 1, 0);
	serve();
	cr_assert_not(pong.spinning, "nothing was pinged yet");
	adv_ping_send(&ping, false);
	serve();
	cr_assert(pong.spinning);
	adv_ping_send(&ping, true);
	cr_assert_eq(serve(), 1, "the last one is answered too");
	cr_assert_not(pong.spinning);
	say(8, 1, ADV_PING_BLOCKING);
	adv_ping_send(&ping, false);
	serve();
	cr_assert_not(pong.spinning);
}

Test(pingpong, answers_without_room_are_owed)
{
	say(8, 16, 0);
	serve();
	fake_by_hand(answer_end.qp, true);
	for (unsigned i = 0; i < 2 * DEPTH; i++)
		adv_pong_hear(&pong, adv_wire_pack(ADV_WIRE_PING, 0, i));
	unsigned sent = 0, n;
	while ((n = adv_pong_answer(&pong, &answering)) > 0) {
		cr_assert_leq(n, ADV_LINK_POLL_MAX, "other links wait no longer than that");
		sent += n;
	}
	cr_assert_eq(sent, DEPTH);
	cr_assert(fake_step_all(answer_end.qp));
	fake_by_hand(answer_end.qp, false);
	for (unsigned i = 0; i < 64 && sent < 2 * DEPTH; i++) {
		while (pongs() > 0)
			;
		sent += serve();
	}
	cr_assert_eq(sent, 2 * DEPTH);
	cr_assert_not(adv_link_broken(&answering));
}
