/*
 * rogue.c - a client that breaks the rules of the verbs fabric: rogue HOST ACT. Has the library open a lease of module "echo", then uses
 * its queue pair as no honest client would. Says on standard output what came of it; exit status 0 when that is what must come.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/verbs.h"
#include "lane/entry_crc.h"

#define TEARS	    50
#define PATIENCE_MS 5000
#define LATE_MS	    1500

static struct adv_node *node;
static struct adv_lease *lease;
static struct adv_verbs_lease *v;
static struct adv_link *the_link;
static uint32_t echo;

static int say(const char *what, int status)
{
	printf("%s\n", what);
	return status;
}

/* ---- raw writes ---- */

static int raw(const void *from, uint32_t size, uint64_t to, uint32_t rkey, bool immediate,
	       uint32_t imm)
{
	struct adv_post post;
	adv_post_begin(&post);
	adv_post_write(&post, the_link, from, size, v->lkey, to, rkey);
	if (immediate)
		adv_post_immediate(&post, imm);
	return adv_link_post(the_link, &post, true);
}

/* Until the link is broken, or nothing that was sent is under way any more. */
static bool breaks(void)
{
	uint64_t end = adv_client_deadline(PATIENCE_MS);
	while (!adv_link_broken(the_link) && !adv_link_idle(the_link) &&
	       adv_client_left_ms(end) > 0)
		adv_verbs_progress(lease);
	return adv_link_broken(the_link);
}

static bool works(void)
{
	char out[8] = "";
	uint32_t n = 0;
	return adv_invoke(lease, echo, "again", 5, out, sizeof(out), &n, 5000000) == ADV_OK &&
	       n == 5 && memcmp(out, "again", 5) == 0;
}

static int must_break(const char *what)
{
	if (!breaks())
		return say("the write went through", 1);
	printf("%s: %s; a call then ends as %s\n", what, adv_link_why(the_link),
	       adv_status_name(adv_invoke(lease, echo, "x", 1, NULL, 0, NULL, 2000000)));
	return 0;
}

static uint32_t call_immediate(uint32_t lane, uint32_t seq)
{
	return adv_wire_pack(ADV_WIRE_CALL, adv_wire_lane(v->tag, lane), seq);
}

/* ---- acts ---- */

static int beyond_inputs(void)
{
	uint64_t end = adv_geometry_in(v->geometry, 0, v->geometry->nr_slots);
	raw(v->mirror, 64, end - 32, v->input_rkeys[0], false, 0);
	return must_break("a write beyond the inputs");
}

static int into_header(void)
{
	raw(v->mirror, 32, 0, v->req_rkey, false, 0);
	return must_break("a write into the header");
}

static int into_outputs(void)
{
	raw(v->mirror, 64, adv_geometry_out(v->geometry, 0, 0), v->input_rkeys[0], false, 0);
	return must_break("a write into the outputs");
}

static int guessed_key(void)
{
	raw(v->mirror, 64, ADV_PAGE, v->req_rkey ^ 0x5500, false, 0);
	return must_break("a guessed key");
}

static int reads(void)
{
	struct ibv_sge piece = {.addr = (uintptr_t)v->mirror, .length = 64, .lkey = v->lkey};
	struct ibv_send_wr wr = {.sg_list = &piece,
				 .num_sge = 1,
				 .opcode = IBV_WR_RDMA_READ,
				 .send_flags = IBV_SEND_SIGNALED,
				 .wr_id = 1,
				 .wr.rdma = {.remote_addr = ADV_PAGE, .rkey = v->req_rkey}},
			   *bad;
	the_link->nr_sent++;
	ibv_post_send(the_link->qp, &wr, &bad);
	return must_break("a read");
}

static int sends(void)
{
	struct ibv_sge piece = {.addr = (uintptr_t)v->mirror, .length = 64, .lkey = v->lkey};
	struct ibv_send_wr wr = {.sg_list = &piece,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED,
				 .wr_id = 1},
			   *bad;
	the_link->nr_sent++;
	ibv_post_send(the_link->qp, &wr, &bad);
	return must_break("a send");
}

/* Immediates that mean nothing: for lanes that do not exist, of other uses of the link, of kinds that there are not. */
static int nonsense(void)
{
	for (uint32_t i = 0; i < 2000; i++) {
		uint32_t imm =
			i % 3 == 0 ? adv_wire_pack(3, adv_wire_lane(v->tag, 0), i)
			: i % 3 == 1
				? adv_wire_pack(i & 3, adv_wire_lane(v->tag, 1 + i % 255), i)
				: adv_wire_pack(i & 1, adv_wire_lane((uint8_t)(v->tag + 1), 0), i);
		if (raw(NULL, 0, 0, v->req_rkey, true, imm) == -EAGAIN)
			breaks();
	}
	return !breaks() && works() ? say("nonsense is not heard", 0) : say("nonsense did harm", 1);
}

/* Calls that are announced and never published, and a thousand announcements of sleep. */
static int floods(void)
{
	for (uint32_t i = 0; i < 4000; i++) {
		uint32_t imm = i % 2 ? call_immediate(0, i)
				     : adv_wire_pack(ADV_WIRE_ARM, adv_wire_lane(v->tag, 0), 0);
		while (raw(NULL, 0, 0, v->req_rkey, true, imm) == -EAGAIN && !breaks())
			;
	}
	return !breaks() && works() ? say("a flood hurts nobody", 0) : say("a flood did harm", 1);
}

/* A call whose entry the rogue spoils on its way. 0 or the status it ended with. */
static enum adv_status spoilt_call(void (*spoil)(struct adv_entry *e), bool in_two)
{
	struct adv_client_worker *w = &lease->workers[0];
	struct adv_result r;
	uint32_t slot = w->free[w->nr_free - 1];
	uint64_t end = adv_client_deadline(PATIENCE_MS);
	adv_caller_submit(&w->caller, slot, (uint16_t)echo, "torn", 4, ++lease->next_call_id, 0,
			  4000000, UINT64_MAX);
	uint32_t seq = w->caller.calls[slot].seq;
	struct adv_entry e;
	memcpy(&e, adv_caller_entry(&w->caller, slot), sizeof(e));
	uint64_t to = adv_geometry_req(v->geometry, 0) + ADV_LANE_RING_OFFSET +
		      (uint64_t)(seq & (v->geometry->nr_entries - 1)) * ADV_ENTRY_SIZE;
	if (spoil != NULL)
		spoil(&e);
	if (in_two) {
		/* The sequence number is there before what it stands for. */
		raw((uint8_t *)&e + 32, 32, to + 32, v->req_rkey, true, call_immediate(0, seq));
		raw(&e, 32, to, v->req_rkey, false, 0);
	} else {
		raw(&e, sizeof(e), to, v->req_rkey, true, call_immediate(0, seq));
	}
	while (!adv_caller_poll(&w->caller, &r))
		if (!adv_verbs_progress(lease) || adv_client_left_ms(end) == 0)
			return ADV_LINK_LOST;
	return (enum adv_status)r.status;
}

static void wrong_checksum(struct adv_entry *e)
{
	e->crc ^= 1;
}

static void wrong_epoch(struct adv_entry *e)
{
	atomic_store(&e->epoch, 7);
	e->crc = adv_entry_crc(e, atomic_load(&e->seq));
}

static void wrong_slot(struct adv_entry *e)
{
	e->slot = 999;
	e->crc = adv_entry_crc(e, atomic_load(&e->seq));
}

static void wrong_length(struct adv_entry *e)
{
	e->length = UINT32_MAX;
	e->crc = adv_entry_crc(e, atomic_load(&e->seq));
}

static void wrong_function(struct adv_entry *e)
{
	e->code = 999;
	e->crc = adv_entry_crc(e, atomic_load(&e->seq));
}

static int expect_status(enum adv_status got, enum adv_status want)
{
	printf("it ends as %s\n", adv_status_name(got));
	return got == want ? 0 : 1;
}

static int checksum(void)
{
	return expect_status(spoilt_call(wrong_checksum, false), ADV_BAD_ENTRY);
}

/* Whole within the millisecond that a torn entry has, unless this process is put off between its two halves: then it is a bad one. */
static int torn(void)
{
	enum adv_status status = ADV_BAD_ENTRY;
	for (int i = 0; i < TEARS && status == ADV_BAD_ENTRY; i++)
		status = spoilt_call(NULL, true);
	return expect_status(status, ADV_OK);
}

static int length(void)
{
	return expect_status(spoilt_call(wrong_length, false), ADV_BAD_ENTRY);
}

static int function(void)
{
	return expect_status(spoilt_call(wrong_function, false), ADV_NO_FUNCTION);
}

/* The worker answers for slot 0, which it is here. */
static int slot(void)
{
	return expect_status(spoilt_call(wrong_slot, false), ADV_BAD_ENTRY);
}

/* Not an entry of this worker's: it is not answered, and its caller's clock ends the call. */
static int epoch(void)
{
	return expect_status(spoilt_call(wrong_epoch, false), ADV_LINK_LOST);
}

/* Goes on writing after the node has ended the lease. */
static int late(void)
{
	char path[64];
	uint64_t end = adv_client_deadline(LATE_MS), n = 0;
	snprintf(path, sizeof(path), "/v1/leases/%s", lease->id);
	if (adv_control(node, "DELETE", path, NULL, 0, 0, NULL) != ADV_OK)
		return say(adv_error(), 1);
	memset(v->mirror, 0xee, 4096);
	while (!adv_link_broken(the_link) && adv_client_left_ms(end) > 0) {
		n += raw(v->mirror, 4096,
			 adv_geometry_in(v->geometry, 0, n % v->geometry->nr_slots),
			 v->input_rkeys[0], false, 0) == 0;
		adv_verbs_progress(lease);
	}
	/* Where the node's end of the link is gone, nothing is acknowledged; a device tells that sooner or later. */
	printf("%llu late writes, %u not acknowledged: %s\n", (unsigned long long)n,
	       the_link->nr_sent, adv_link_why(the_link));
	return adv_link_broken(the_link) || !adv_link_idle(the_link) ? 0 : 1;
}

/* ---- connections ---- */

static enum adv_status knock(uint8_t flags, uint32_t counter, uint64_t id, const uint8_t *token)
{
	struct adv_verbs_link *link;
	const struct adv_verbs_connect c = {
		.hello = {.flags = flags, .counter = counter, .lease = id},
		.token = token,
		.token_size = ADV_TOKEN_BYTES,
		.send_depth = 16,
		.recv_depth = 16,
		.deadline_ns = adv_client_deadline(PATIENCE_MS),
	};
	enum adv_status status = adv_verbs_link_connect(v->node, &c, &link);
	if (status == ADV_OK)
		adv_verbs_link_destroy(link);
	printf("  %s\n", status == ADV_OK ? "let in" : adv_error());
	return status;
}

static int strangers(void)
{
	static const uint8_t token[ADV_TOKEN_BYTES] = "not the token..";
	uint64_t id = strtoull(lease->id, NULL, 10);
	int bad = 0;
	bad += knock(0, 9, id, token) != ADV_FORBIDDEN;
	bad += knock(0, 9, id + 1000, token) != ADV_FORBIDDEN;
	bad += knock(ADV_HELLO_SPARE, 9, id, token) != ADV_FORBIDDEN;
	bad += knock(0x80, 9, id, token) != ADV_FORBIDDEN;
	return bad == 0 && works() ? say("strangers stay out", 0) : 1;
}

static const struct {
	const char *name;
	int (*act)(void);
} acts[] = {
	{"beyond-inputs", beyond_inputs},
	{"checksum", checksum},
	{"epoch", epoch},
	{"floods", floods},
	{"function", function},
	{"guessed-key", guessed_key},
	{"into-header", into_header},
	{"into-outputs", into_outputs},
	{"late", late},
	{"length", length},
	{"nonsense", nonsense},
	{"reads", reads},
	{"sends", sends},
	{"slot", slot},
	{"strangers", strangers},
	{"torn", torn},
};

#define NR_ACTS (sizeof(acts) / sizeof(acts[0]))

int main(int argc, char **argv)
{
	struct adv_lease_options options;
	adv_lease_options_init(&options);
	for (size_t i = 0; argc == 3 && i < NR_ACTS; i++) {
		if (strcmp(acts[i].name, argv[2]) != 0)
			continue;
		if (adv_connect(argv[1], &node) != ADV_OK ||
		    adv_lease_open(node, "echo", &options, &lease) != ADV_OK ||
		    adv_function_find(lease, "echo", &echo) != ADV_OK)
			return say(adv_error(), 2);
		v = lease->verbs;
		the_link = &v->link->link;
		if (!works())
			return say(adv_error(), 2);
		int status = acts[i].act();
		adv_lease_close(lease);
		adv_disconnect(node);
		return status;
	}
	for (size_t i = 0; i < NR_ACTS; i++)
		printf("%s\n", acts[i].name);
	return argc == 1 ? 0 : 2;
}
