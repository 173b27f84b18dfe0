/*
 * fuzz_lane.c - a lane whose other side is hostile: the input's bytes overwrite what that side may write, between any steps.
 *
 * Proves: a worker whose caller is hostile, a caller whose worker is hostile, and the supervisor between them, touch only
 * their own memory; a worker is never given a call that is not within its geometry; each call of a caller ends exactly once,
 * with a status that a worker may give or the node gave, and an output within its capacity.
 *
 * Input: a byte that picks the hostile side and the slots, then operations (a byte, and what it needs). Deterministic.
 */
#include "fuzz.h"
#include "lane/caller.h"
#include "lane/lane_worker.h"
#include "lane/supervisor.h"

#define SLOTS_MAX      8
#define FUNCTIONS      3
#define OPERATIONS_MAX 400

struct fuzz {
	struct fuzz_input in;
	struct adv_geometry g;
	uint8_t *req, *cpl, *slots; /* exact, so that a sanitizer sees their ends */
	uint8_t *inputs, *outputs[SLOTS_MAX];
	struct adv_supervisor supervisor;
	struct adv_worker_lane worker;
	struct adv_caller caller;
	struct adv_caller_call calls[SLOTS_MAX];
	uint64_t open[SLOTS_MAX]; /* ids that the caller has not got back; 0: none */
	uint64_t next_id;
	bool dead; /* epochs have run out, or the lane has ended */
};

static uint8_t *allocate(size_t size)
{
	uint8_t *memory = aligned_alloc(ADV_PAGE, size);
	FUZZ_CHECK(memory != NULL);
	memset(memory, 0, size);
	return memory;
}

static struct adv_entry *entry_of(uint8_t *lane, uint32_t seq, const struct adv_geometry *g)
{
	return (struct adv_entry *)(lane + ADV_LANE_RING_OFFSET) + (seq & (g->nr_entries - 1));
}

/* An entry that gets past the look at its seq, with everything else from the input. */
static void forge(struct fuzz *f, uint8_t *lane, uint32_t seq)
{
	struct adv_entry *e = entry_of(lane, seq, &f->g);
	uint8_t kind = fuzz_u8(&f->in);
	fuzz_take(&f->in, e, offsetof(struct adv_entry, flags) + sizeof(e->flags));
	e->epoch = adv_generation_epoch(f->supervisor.generation);
	/* Most of them plausible, so that one wild field at a time is tried. */
	if (!(kind & 1))
		e->slot %= SLOTS_MAX;
	if (!(kind & 2))
		e->length %= 2 * ADV_INLINE_MAX;
	if (!(kind & 4))
		e->code %= FUNCTIONS + 1;
	if (!(kind & 8))
		atomic_store(&e->flags, kind >> 7);
	if (!(kind & 16))
		e->time = 0;
	if (!(kind & 32))
		e->call_id = f->open[kind >> 6];
	atomic_store(&e->seq, seq);
}

static void overwrite(struct fuzz *f, uint8_t *memory, uint64_t size)
{
	uint64_t at = fuzz_u32(&f->in) % size;
	uint64_t n = fuzz_u8(&f->in);
	n = n < size - at ? n : size - at;
	fuzz_take(&f->in, memory + at, n);
}

/* ---- the supervisor, which trusts neither ---- */

static void look(struct fuzz *f)
{
	struct adv_lane_counts counts;
	uint64_t next_ns = UINT64_MAX, max_ns = fuzz_u32(&f->in);
	(void)adv_supervisor_overdue(&f->supervisor, max_ns, &next_ns);
	(void)adv_supervisor_busy(&f->supervisor);
	(void)adv_supervisor_served(&f->supervisor);
	(void)adv_supervisor_memory_hint(&f->supervisor);
	adv_supervisor_count(&f->supervisor, max_ns, &counts);
	uint64_t ended = 0, ran_ns;
	for (unsigned i = 0; i < ADV_ENDINGS; i++)
		ended += counts.ended[i];
	FUZZ_CHECK(ended <= counts.failures);
	FUZZ_CHECK(adv_supervisor_unfinished(&f->supervisor, max_ns, &ran_ns) <= f->g.nr_entries);
	FUZZ_CHECK(counts.calls <= max_ns && counts.failures <= counts.calls);
	FUZZ_CHECK(counts.executed_ns + counts.polled_ns <= max_ns);
	FUZZ_CHECK(counts.bytes <= counts.calls * (f->g.in_capacity + f->g.out_capacity));
}

static void init_worker(struct fuzz *f)
{
	const struct adv_worker_lane_options options = {
		.req = f->req + adv_geometry_req(&f->g, 0),
		.cpl = f->cpl + adv_geometry_cpl(&f->g, 0),
		.inputs = f->inputs,
		.outputs = f->outputs,
		.generation = f->supervisor.generation,
		.nr_functions = FUNCTIONS,
		.event_fd = -1,
		.ticks = {.mult = 1},
	};
	adv_worker_lane_init(&f->worker, &f->g, &options);
}

static void die(struct fuzz *f)
{
	uint64_t before = f->supervisor.generation;
	if (adv_supervisor_death(&f->supervisor, ADV_CRASHED, 9) != 0)
		f->dead = true;
	else
		FUZZ_CHECK(adv_generation_epoch(f->supervisor.generation) ==
			   adv_generation_epoch(before) + 1);
	init_worker(f);
}

/* ---- a worker, whose caller is hostile ---- */

static uint32_t sum(const uint8_t *bytes, uint64_t size)
{
	uint32_t all = 0;
	for (uint64_t i = 0; i < size; i++)
		all += bytes[i];
	return all;
}

static void serve(struct fuzz *f)
{
	struct adv_work work;
	if (!adv_worker_try(&f->worker, &work))
		return;
	FUZZ_CHECK(work.slot < f->g.nr_slots);
	FUZZ_CHECK(work.function < FUNCTIONS);
	FUZZ_CHECK(work.length <= f->g.in_capacity);
	FUZZ_CHECK(work.out == f->outputs[work.slot]);
	uint32_t all = sum(work.in, work.length); /* a sanitizer watches */
	(void)adv_worker_deadline(&f->worker, &work);
	memset(work.out, (int)all, f->g.out_capacity);
	uint32_t length = fuzz_u8(&f->in);
	adv_worker_complete(&f->worker, &work, (enum adv_status)(all & 1),
			    length == 255 ? UINT32_MAX : length);
	const struct adv_entry *done =
		entry_of(f->cpl + adv_geometry_cpl(&f->g, 0), f->worker.completion_seq - 1, &f->g);
	FUZZ_CHECK(done->length <= f->g.out_capacity && done->call_id == work.call_id);
}

static void hostile_caller(struct fuzz *f, uint8_t operation)
{
	uint8_t *lane = f->req + adv_geometry_req(&f->g, 0);
	switch (operation % 6) {
	case 0:
		overwrite(f, f->req, f->g.size[ADV_LANE_REQ]);
		break;
	case 1:
		forge(f, lane, f->worker.request_seq);
		break;
	case 2: /* further ones, for the look ahead */
		forge(f, lane, f->worker.request_seq + fuzz_u8(&f->in) % SLOTS_MAX);
		break;
	case 3:
		serve(f);
		break;
	case 4:
		look(f);
		break;
	case 5:
		die(f);
		break;
	}
}

/* ---- a caller, whose worker is hostile ---- */

static void submit(struct fuzz *f)
{
	uint8_t small[ADV_INLINE_MAX] = {0};
	uint32_t slot = fuzz_u8(&f->in) % f->g.nr_slots;
	uint32_t length = fuzz_u8(&f->in);
	uint64_t deadline = (length & 1) != 0 ? length : UINT64_MAX;
	if (!adv_caller_slot_free(&f->caller, slot))
		return;
	uint64_t id = f->next_id;
	enum adv_status status =
		adv_caller_submit(&f->caller, slot, 0, small, length, id, ~id, length, deadline);
	FUZZ_CHECK(status == ADV_OK || status == ADV_BUSY || status == ADV_CLOSED ||
		   status == ADV_REVOKED);
	if (status == ADV_OK) {
		f->open[slot] = id;
		f->next_id++;
	}
}

static void ended(struct fuzz *f, const struct adv_result *r)
{
	FUZZ_CHECK(r->slot < f->g.nr_slots);
	FUZZ_CHECK(r->call_id != 0 && f->open[r->slot] == r->call_id);
	FUZZ_CHECK(r->user_data == ~r->call_id);
	/* The call was ended by a completion: by one that names it. */
	const struct adv_entry *e =
		entry_of(f->cpl + adv_geometry_cpl(&f->g, 0), f->caller.completion_seq - 1, &f->g);
	FUZZ_CHECK(r->status != ADV_OK || e->call_id == r->call_id);
	FUZZ_CHECK(r->status < ADV_NO_NODE || r->status == ADV_CLOSED || r->status == ADV_BUSY);
	FUZZ_CHECK(r->length <= f->g.out_capacity);
	FUZZ_CHECK(r->slot_held || adv_caller_slot_free(&f->caller, r->slot));
	f->open[r->slot] = 0;
	if (r->length > ADV_INLINE_MAX)
		(void)sum(adv_caller_out(&f->caller, r->slot), r->length);
}

static void poll_all(struct fuzz *f)
{
	struct adv_result r = {0};
	for (unsigned i = 0; i < 4 * SLOTS_MAX && adv_caller_poll(&f->caller, &r); i++)
		ended(f, &r);
}

static void wait_or_expire(struct fuzz *f)
{
	struct adv_result r = {0};
	if (adv_caller_sleep(&f->caller))
		adv_caller_awake(&f->caller);
	uint64_t first = adv_caller_deadline(&f->caller);
	if (adv_caller_expire(&f->caller, fuzz_u8(&f->in), &r)) {
		FUZZ_CHECK(first != UINT64_MAX && r.slot_held);
		ended(f, &r);
	}
}

static void hostile_worker(struct fuzz *f, uint8_t operation)
{
	uint8_t *lane = f->cpl + adv_geometry_cpl(&f->g, 0);
	switch (operation % 8) {
	case 0: /* its lane of cpl, without the node's line */
		overwrite(f, lane, f->g.cpl_stride);
		break;
	case 1:
		forge(f, lane, f->caller.completion_seq);
		break;
	case 2:
		submit(f);
		break;
	case 3:
		poll_all(f);
		break;
	case 4:
		wait_or_expire(f);
		break;
	case 5:
		look(f);
		break;
	case 6:
		die(f);
		break;
	case 7: /* rarely: nothing comes after it */
		if (fuzz_u8(&f->in) == 0x77)
			adv_supervisor_end(&f->supervisor, ADV_CLOSED);
		else
			forge(f, lane, f->caller.completion_seq + fuzz_u8(&f->in) % SLOTS_MAX);
		break;
	}
}

/* Whatever the worker has done: the end of the lane ends every call. */
static void finish(struct fuzz *f)
{
	struct adv_result r = {0};
	adv_supervisor_end(&f->supervisor, ADV_CLOSED);
	/* Each poll takes a ring of garbage at most. */
	for (unsigned i = 0; i < 64 * SLOTS_MAX && f->caller.nr_outstanding > 0; i++)
		if (adv_caller_poll(&f->caller, &r))
			ended(f, &r);
	FUZZ_CHECK(f->caller.nr_outstanding == 0 && f->caller.nr_waited == 0);
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		FUZZ_CHECK(f->open[i] == 0);
}

/* ---- an input ---- */

static void start(struct fuzz *f, uint32_t nr_slots)
{
	FUZZ_CHECK(adv_geometry_init(&f->g, 1, nr_slots, 1, 1) == 0);
	f->req = allocate(f->g.size[ADV_LANE_REQ]);
	f->cpl = allocate(f->g.size[ADV_LANE_CPL]);
	f->slots = allocate(f->g.size[ADV_LANE_SLOTS]);
	f->inputs = allocate((size_t)nr_slots * f->g.in_capacity);
	for (uint32_t i = 0; i < nr_slots; i++)
		f->outputs[i] = allocate(f->g.out_capacity);
	f->next_id = 1;
	adv_supervisor_format(f->req, f->cpl, f->slots, &f->g);
	adv_supervisor_init(&f->supervisor, &f->g, 0, f->req, f->cpl);
	adv_caller_init(&f->caller, &f->g, 0, f->req, f->cpl, f->slots, f->calls);
	init_worker(f);
}

static void stop(struct fuzz *f)
{
	for (uint32_t i = 0; i < f->g.nr_slots; i++)
		free(f->outputs[i]);
	free(f->inputs);
	free(f->slots);
	free(f->cpl);
	free(f->req);
}

/* The header's page is written by the node; a client checks it all the same. */
static void check_header(struct fuzz *f)
{
	uint8_t page[64];
	fuzz_take(&f->in, page, sizeof(page));
	for (int file = 0; file < ADV_LANE_FILES; file++) {
		int rc = adv_lane_header_check(page, &f->g, (enum adv_lane_file)file);
		FUZZ_CHECK(rc <= 0);
	}
	FUZZ_CHECK(adv_lane_header_check(f->req, &f->g, ADV_LANE_REQ) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {.in = {.at = data, .left = size}};
	uint8_t kind = fuzz_u8(&f.in);
	bool caller_is_hostile = (kind & 1) != 0;
	start(&f, 1 + (kind >> 1) % SLOTS_MAX);
	if (kind & 128)
		check_header(&f);
	for (unsigned i = 0; i < OPERATIONS_MAX && f.in.left > 0 && !f.dead; i++) {
		uint8_t operation = fuzz_u8(&f.in);
		if (caller_is_hostile)
			hostile_caller(&f, operation);
		else
			hostile_worker(&f, operation);
	}
	if (!caller_is_hostile)
		finish(&f);
	stop(&f);
	return 0;
}
