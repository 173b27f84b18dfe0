/*
 * fuzz_verbs.c - a lease over verbs, on the fake device, whose other side is hostile: it writes what its keys let it write, sends any
 * immediate, and says anything when it connects.
 *
 * Proves: whatever a client writes and sends, the node's relay and its worker post only what a device may be given (the fake device ends
 * the program otherwise), reach no memory but their own, and a worker is never given a call that is not within its geometry. Whatever a
 * node writes and sends, each call that a client has submitted ends exactly once, with an output within its capacity. What is not a hello
 * of this version is refused, and none is genuine without the token.
 *
 * Input: a byte that picks the hostile side, the placement and the slots, then operations (a byte, and what it needs). Deterministic.
 */
#include "client/verbs.h"
#include "fabric/wire.h"
#include "fake_clock.h"
#include "fuzz.h"
#include "lane/entry_crc.h"
#include "verbs_rig.h"

#define LANES	       2
#define CALLS_MAX      64
#define OPERATIONS_MAX 300
#define STEP_NS	       300000 /* a torn entry is given up after four looks */

struct fuzz {
	struct fuzz_input in;
	struct rig rig;
	uint8_t out[CALLS_MAX][ADV_PAGE];
	bool open[CALLS_MAX]; /* submitted and not ended */
	uint32_t size[CALLS_MAX];
};

/* ---- what is done right ---- */

static void submit(struct fuzz *f)
{
	static const uint8_t payload[ADV_PAGE];
	uint8_t call = fuzz_u8(&f->in) % CALLS_MAX, size = fuzz_u8(&f->in);
	if (f->open[call])
		return;
	f->size[call] = size < 128 ? size % 40 : (uint32_t)size * 16;
	f->open[call] = rig_client_submit(&f->rig, call % LANES, payload, f->size[call],
					  f->out[call], call) == ADV_OK;
}

static void take(struct fuzz *f)
{
	struct adv_completion c[8];
	unsigned n = rig_client_poll(&f->rig, c, 8);
	FUZZ_CHECK(n <= 8);
	for (unsigned i = 0; i < n; i++) {
		FUZZ_CHECK(c[i].user_data < CALLS_MAX && f->open[c[i].user_data]);
		FUZZ_CHECK(c[i].out_size <= f->size[c[i].user_data]);
		FUZZ_CHECK(c[i].worker < LANES);
		f->open[c[i].user_data] = false;
	}
}

static void serve(struct fuzz *f)
{
	struct adv_work work;
	uint32_t lane = fuzz_u8(&f->in) % LANES;
	struct adv_worker_lane *w = &f->rig.workers[lane];
	if (!adv_worker_try(w, &work))
		return;
	FUZZ_CHECK(work.slot < f->rig.g.nr_slots && work.length <= f->rig.g.in_capacity);
	FUZZ_CHECK(work.function < RIG_FUNCTIONS);
	memset(work.out, work.length > 0 ? *(const uint8_t *)work.in : 0, f->rig.g.out_capacity);
	adv_worker_complete(w, &work, ADV_OK, fuzz_u8(&f->in) & 1 ? work.length : 0);
}

static void pass(struct fuzz *f)
{
	rig_node_pass(&f->rig);
	FUZZ_CHECK(f->rig.relay.nr_active <= LANES && f->rig.relay.nr_dirty <= LANES);
}

/* Announces sleep, as a client does that waits. */
static void arm(struct fuzz *f)
{
	if (adv_lease_arm(f->rig.lease) == 1)
		take(f);
}

static void die(struct fuzz *f)
{
	uint32_t lane = fuzz_u8(&f->in) % LANES;
	if (adv_generation_epoch(f->rig.supervisors[lane].generation) < ADV_EPOCH_MAX)
		rig_worker_dies(&f->rig, lane, ADV_CRASHED, 11);
}

/* ---- what is not ---- */

/* Anything, or nearly what would be right. */
static uint32_t any_immediate(struct fuzz *f, uint8_t tag)
{
	uint8_t kind = fuzz_u8(&f->in);
	uint16_t seq = fuzz_u16(&f->in);
	if (kind & 0x80)
		return fuzz_u32(&f->in);
	return adv_wire_pack(kind & 3, adv_wire_lane(kind & 4 ? tag + 1 : tag, kind >> 3 & 3),
			     kind & 0x40 ? seq : seq % 8);
}

static void send_immediate(struct fuzz *f, struct ibv_qp *to, uint8_t tag)
{
	/* Without a receive the device of whoever sends waits. */
	if (fake_receives(to) == 0)
		return;
	if (fuzz_u8(&f->in) == 0xff)
		fake_plain_send(to);
	else
		fake_immediate(to, any_immediate(f, tag));
}

static void write_any(struct fuzz *f, struct ibv_qp *to, uint64_t base, uint64_t size,
		      uint32_t rkey)
{
	uint8_t bytes[256];
	uint64_t at = fuzz_u32(&f->in) % size;
	uint32_t n = fuzz_u8(&f->in);
	fuzz_take(&f->in, bytes, n);
	(void)fake_write(to, base + at, rkey, bytes, n);
}

/* An entry that is genuine to its checksum, with anything in it. */
static void forge(struct fuzz *f, struct ibv_qp *to, uint64_t ring, uint32_t rkey, uint32_t seq,
		  uint16_t epoch)
{
	struct adv_entry e;
	uint8_t kind = fuzz_u8(&f->in);
	fuzz_take(&f->in, &e, sizeof(e));
	if (!(kind & 1))
		e.slot %= 4;
	if (!(kind & 2))
		e.length %= 2 * ADV_INLINE_MAX;
	if (!(kind & 4))
		e.code %= RIG_FUNCTIONS + 1;
	if (!(kind & 8))
		e.call_id %= CALLS_MAX;
	if (!(kind & 16))
		atomic_store(&e.epoch, epoch);
	if (!(kind & 32))
		atomic_store(&e.flags, kind >> 7);
	atomic_store(&e.seq, seq);
	if (!(kind & 64))
		e.crc = adv_entry_crc(&e, seq);
	(void)fake_write(to, ring + (uint64_t)(seq & (f->rig.g.nr_entries - 1)) * sizeof(e), rkey,
			 &e, sizeof(e));
}

static void hostile_client(struct fuzz *f, uint8_t operation)
{
	struct rig *r = &f->rig;
	struct ibv_qp *node = rig_node_qp(r);
	uint32_t lane = operation >> 7;
	const struct adv_worker_lane *w = &r->workers[lane];
	switch (operation % 16) {
	case 0:
		write_any(f, node, ADV_PAGE, r->g.size[ADV_LANE_REQ] - ADV_PAGE, r->req_mr->rkey);
		break;
	case 1:
		write_any(f, node, adv_geometry_in(&r->g, lane, 0),
			  (uint64_t)r->g.nr_slots * r->g.in_capacity, r->input_mrs[lane]->rkey);
		break;
	case 2: /* where its keys do not reach: refused by the device */
		write_any(f, node, 0, UINT32_MAX, r->slots_mr->rkey);
		break;
	case 3:
	case 4:
		forge(f, node, adv_geometry_req(&r->g, lane) + ADV_LANE_RING_OFFSET,
		      r->req_mr->rkey, w->request_seq + operation % 2, w->epoch);
		break;
	case 5: { /* what it has seen */
		struct adv_arm_line line;
		fuzz_take(&f->in, &line, sizeof(line));
		(void)fake_write(node, adv_geometry_req(&r->g, lane) + ADV_LANE_ARM_OFFSET,
				 r->req_mr->rkey, &line, sizeof(line));
		break;
	}
	default:
		send_immediate(f, node, r->tag);
	}
}

static void hostile_node(struct fuzz *f, uint8_t operation)
{
	struct rig *r = &f->rig;
	const struct adv_verbs_lease *v = r->lease->verbs;
	struct ibv_qp *client = rig_client_qp(r);
	uint32_t lane = operation >> 7;
	const struct adv_caller *c = &r->lease->workers[lane].caller;
	uint64_t mirror = (uintptr_t)v->mirror;
	switch (operation % 16) {
	case 0:
	case 1:
		write_any(f, client, mirror, v->mirror_size, v->mr->rkey);
		break;
	case 2: /* the node line */
		write_any(f, client, mirror + adv_geometry_node_line(&r->g, lane),
			  sizeof(struct adv_node_line), v->mr->rkey);
		break;
	case 3:
	case 4:
	case 5:
		forge(f, client, mirror + adv_geometry_cpl(&r->g, lane) + ADV_LANE_RING_OFFSET,
		      v->mr->rkey, c->completion_seq + operation % 2,
		      adv_generation_epoch(c->generation));
		break;
	default:
		send_immediate(f, client, v->tag);
	}
}

/* The node is gone, whatever it has done before: every call ends. */
static void finish(struct fuzz *f)
{
	adv_keeper_lost(&f->rig.lease->keeper, ADV_NODE_GONE);
	for (unsigned i = 0; i < 64 && f->rig.lease->nr_waiting > 0; i++)
		take(f);
	FUZZ_CHECK(f->rig.lease->nr_waiting == 0);
	for (unsigned i = 0; i < CALLS_MAX; i++)
		FUZZ_CHECK(!f->open[i]);
}

static void step(struct fuzz *f, bool client_is_hostile)
{
	uint8_t operation = fuzz_u8(&f->in);
	switch (operation >> 4 & 7) {
	case 0:
		submit(f);
		break;
	case 1:
		take(f);
		break;
	case 2:
		serve(f);
		break;
	case 3:
		pass(f);
		break;
	case 4:
		if (operation % 16 == 0)
			die(f);
		else
			arm(f);
		break;
	default:
		if (client_is_hostile)
			hostile_client(f, operation);
		else
			hostile_node(f, operation);
	}
}

static void strange_lease(struct fuzz *f, uint8_t kind)
{
	struct rig_options options = RIG_DEFAULTS;
	options.device.in_order = !(kind & 2);
	options.device.max_inline = kind & 4 ? 32 : 220;
	options.landing = (kind & 2) != 0;
	options.nr_lanes = LANES;
	options.nr_slots = 1 + (kind >> 4) % 8;
	rig_make(&f->rig, &options);
	for (unsigned i = 0; i < OPERATIONS_MAX && f->in.left > 0; i++)
		step(f, (kind & 1) != 0);
	finish(f);
	rig_unmake(&f->rig);
}

/* ---- private data ---- */

static void strange_hello(struct fuzz *f)
{
	static const uint8_t token[16] = "sixteen secrets";
	struct adv_hello hello = {0}, again;
	uint8_t bytes[2 * ADV_WIRE_HELLO_BYTES], packed[ADV_WIRE_HELLO_BYTES];
	size_t size = fuzz_u8(&f->in) % sizeof(bytes);
	bool sign = (fuzz_u8(&f->in) & 1) != 0;
	fuzz_take(&f->in, bytes, sizeof(bytes));
	int rc = adv_hello_parse(bytes, size, &hello);
	FUZZ_CHECK(rc == 0 || rc == -EPROTO || rc == -EPROTONOSUPPORT);
	if (rc != 0)
		return;
	FUZZ_CHECK(size >= ADV_WIRE_HELLO_BYTES);
	FUZZ_CHECK(!adv_hello_genuine(bytes, token, sizeof(token)));
	FUZZ_CHECK(adv_hello_pack(&hello, token, sizeof(token), packed) == 0);
	/* What was read is what was there, to the last bit that counts. */
	FUZZ_CHECK(memcmp(packed, bytes, ADV_WIRE_HELLO_BYTES - ADV_WIRE_MAC_BYTES) == 0);
	if (!sign)
		return;
	FUZZ_CHECK(adv_hello_genuine(packed, token, sizeof(token)));
	FUZZ_CHECK(adv_hello_parse(packed, sizeof(packed), &again) == 0);
	FUZZ_CHECK(again.lease == hello.lease && again.counter == hello.counter);
	packed[fuzz_u8(&f->in) % sizeof(packed)] ^= 1;
	FUZZ_CHECK(!adv_hello_genuine(packed, token, sizeof(token)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz f;
	memset(&f, 0, sizeof(f));
	f.in = (struct fuzz_input){.at = data, .left = size};
	fake_clock_stop(1000000000, STEP_NS);
	uint8_t kind = fuzz_u8(&f.in);
	if ((kind & 8) != 0)
		strange_hello(&f);
	else
		strange_lease(&f, kind);
	return 0;
}
