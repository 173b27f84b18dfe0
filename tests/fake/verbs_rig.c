/* verbs_rig.c - a lease over verbs in one thread: see verbs_rig.h. */
#include "verbs_rig.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/clock.h"

#define NODE_RECEIVES 1024 /* as in src/control/remote_links.c */
#define NODE_SENDS    1024
#define TOKEN	      "000102030405060708090a0b0c0d0e0f"

#define MUST(condition)                                                                 \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, \
				#condition, adv_error());                               \
			abort();                                                        \
		}                                                                       \
	} while (0)

static void *map(uint64_t size)
{
	uint8_t *at = mmap(NULL, size + ADV_PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(at != MAP_FAILED);
	MUST(mprotect(at + size, ADV_PAGE, PROT_NONE) == 0);
	return at;
}

static void unmap(void *at, uint64_t size)
{
	if (at != NULL)
		munmap(at, size + ADV_PAGE);
}

static void *lines(size_t size)
{
	size = (size + ADV_CACHE_LINE - 1) / ADV_CACHE_LINE * ADV_CACHE_LINE;
	void *at = aligned_alloc(ADV_CACHE_LINE, size);
	MUST(at != NULL);
	memset(at, 0, size);
	return at;
}

/* ---- the node ---- */

static struct ibv_mr *region(struct rig *r, uint8_t *at, uint64_t size, uint64_t offset, int access)
{
	char reason[ADV_REASON_MAX];
	struct ibv_mr *mr =
		adv_memory_register(r->pd, at, size, offset, access, reason, sizeof(reason));
	MUST(mr != NULL);
	return mr;
}

/* As run_register() in src/control/remote.c. */
static void make_regions(struct rig *r)
{
	const struct adv_geometry *g = &r->g;
	const int written = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
	uint64_t size = g->size[ADV_LANE_REQ];
	uint8_t *slots = r->memory[ADV_LANE_SLOTS];
	if (r->options.landing)
		r->landing = map(size);
	r->req_mr =
		region(r, (r->landing != NULL ? r->landing : r->memory[ADV_LANE_REQ]) + ADV_PAGE,
		       size - ADV_PAGE, ADV_PAGE, written);
	for (uint32_t i = 0; i < g->nr_lanes; i++) {
		uint64_t at = adv_geometry_in(g, i, 0);
		r->input_mrs[i] =
			region(r, slots + at, (uint64_t)g->nr_slots * g->in_capacity, at, written);
	}
	r->slots_mr = region(r, slots, g->size[ADV_LANE_SLOTS], (uintptr_t)slots, 0);
	if (r->options.device.max_inline >= ADV_ENTRY_SIZE)
		return;
	size = (uint64_t)g->nr_lanes * (g->nr_entries + 1) * ADV_ENTRY_SIZE;
	r->staging_size = (size + ADV_PAGE - 1) / ADV_PAGE * ADV_PAGE;
	r->staging = map(r->staging_size);
	r->staging_mr = region(r, r->staging, r->staging_size, (uintptr_t)r->staging, 0);
}

static void make_lanes(struct rig *r)
{
	const struct adv_geometry *g = &r->g;
	adv_supervisor_format(r->memory[0], r->memory[1], r->memory[2], g);
	for (uint32_t i = 0; i < g->nr_lanes; i++) {
		struct adv_supervisor *s = &r->supervisors[i];
		adv_supervisor_init(s, g, i, r->memory[ADV_LANE_REQ], r->memory[ADV_LANE_CPL]);
		if (r->options.generation == 0)
			continue;
		s->generation = r->options.generation;
		atomic_store(&s->node_line->generation, s->generation);
	}
}

static void start_worker(struct rig *r, uint32_t lane)
{
	const struct adv_geometry *g = &r->g;
	const struct adv_worker_lane_options options = {
		.req = r->memory[ADV_LANE_REQ] + adv_geometry_req(g, lane),
		.cpl = r->memory[ADV_LANE_CPL] + adv_geometry_cpl(g, lane),
		.inputs = r->memory[ADV_LANE_SLOTS] + adv_geometry_in(g, lane, 0),
		.outputs = r->outputs + (size_t)lane * g->nr_slots,
		.generation = r->supervisors[lane].generation,
		.hot_us = UINT64_MAX,
		.nr_functions = RIG_FUNCTIONS,
		.event_fd = r->event_fd,
		.checked = true,
		.ticks = {.mult = r->options.tsc ? 1 << 23 : 1,
			  .shift = r->options.tsc ? 24 : 0,
			  .tsc = r->options.tsc},
	};
	adv_worker_lane_init(&r->workers[lane], g, &options);
}

static void make_workers(struct rig *r)
{
	const struct adv_geometry *g = &r->g;
	r->outputs = calloc((size_t)g->nr_lanes * g->nr_slots, sizeof(uint8_t *));
	MUST(r->outputs != NULL);
	for (uint32_t i = 0; i < g->nr_lanes * g->nr_slots; i++)
		r->outputs[i] = r->memory[ADV_LANE_SLOTS] +
				adv_geometry_out(g, i / g->nr_slots, i % g->nr_slots);
	for (uint32_t i = 0; i < g->nr_lanes; i++)
		start_worker(r, i);
}

/* An identifier that has the device, as a connection request brings one. */
static struct rdma_cm_id *make_id(struct rig *r)
{
	struct rdma_cm_event *event;
	struct rdma_cm_id *id;
	struct sockaddr_storage address = {.ss_family = AF_INET};
	if (r->events == NULL)
		r->events = rdma_create_event_channel();
	MUST(r->events != NULL && rdma_create_id(r->events, &id, NULL, RDMA_PS_TCP) == 0);
	MUST(rdma_resolve_addr(id, NULL, (struct sockaddr *)&address, 0) == 0);
	MUST(rdma_get_cm_event(r->events, &event) == 0);
	rdma_ack_cm_event(event);
	return id;
}

static uint32_t at_least(uint32_t wanted, uint32_t least)
{
	return wanted > least ? wanted : least;
}

/* As adv_remote_receives() and adv_remote_sends(). */
static void make_link(struct rig *r)
{
	char reason[ADV_REASON_MAX];
	const struct adv_geometry *g = &r->g;
	uint32_t sends = r->options.send_depth, receives = r->options.recv_depth;
	if (sends == 0)
		sends = at_least(g->nr_lanes * (2 * g->nr_slots + 4), NODE_SENDS);
	if (receives == 0)
		receives = at_least(g->nr_lanes * (2 * g->nr_slots + 1) + 1, NODE_RECEIVES);
	MUST(adv_pair_create(make_id(r), r->pd, sends, receives, &r->pair, reason,
			     sizeof(reason)) == 0);
	adv_link_init(&r->poll.link, r->pair.id->qp, r->pair.cq, r->pair.send_depth,
		      r->pair.recv_depth, r->pair.max_inline);
	r->poll.channel = r->pair.channel;
	MUST(adv_link_fill(&r->poll.link) == 0);
}

void rig_make_node(struct rig *r, const struct rig_options *options)
{
	const struct rig_options defaults = RIG_DEFAULTS;
	memset(r, 0, sizeof(*r));
	r->options = options != NULL ? *options : defaults;
	MUST(r->options.nr_lanes <= RIG_LANES_MAX);
	r->device = fake_device_create(&r->options.device);
	fake_setup_device(r->device);
	MUST(adv_geometry_init(&r->g, r->options.nr_lanes, r->options.nr_slots,
			       r->options.in_capacity, r->options.out_capacity) == 0);
	for (int i = 0; i < ADV_LANE_FILES; i++)
		r->memory[i] = map(r->g.size[i]);
	r->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r->lanes = lines(r->g.nr_lanes * sizeof(*r->lanes));
	r->pd = ibv_alloc_pd(fake_context(r->device));
	MUST(r->pd != NULL);
	make_lanes(r);
	make_workers(r);
	make_regions(r);
	make_link(r);
	r->tag = 1;
	r->number = 1;
}

void rig_renew(struct rig *r)
{
	for (int i = 0; i < ADV_LANE_FILES; i++)
		memset(r->memory[i], 0, r->g.size[i]);
	if (r->landing != NULL)
		memset(r->landing, 0, r->g.size[ADV_LANE_REQ]);
	memset(r->lanes, 0, r->g.nr_lanes * sizeof(*r->lanes));
	free(r->outputs);
	make_lanes(r);
	make_workers(r);
	r->tag++;
}

void rig_unmake_node(struct rig *r)
{
	adv_pair_destroy(&r->pair);
	rdma_destroy_event_channel(r->events);
	ibv_dereg_mr(r->req_mr);
	ibv_dereg_mr(r->slots_mr);
	if (r->staging_mr != NULL)
		ibv_dereg_mr(r->staging_mr);
	for (uint32_t i = 0; i < r->g.nr_lanes; i++)
		ibv_dereg_mr(r->input_mrs[i]);
	ibv_dealloc_pd(r->pd);
	for (int i = 0; i < ADV_LANE_FILES; i++)
		unmap(r->memory[i], r->g.size[i]);
	unmap(r->landing, r->g.size[ADV_LANE_REQ]);
	unmap(r->staging, r->staging_size);
	close(r->event_fd);
	free(r->lanes);
	free(r->outputs);
	fake_device_destroy(r->device);
	fake_setup_device(NULL);
}

/* ---- the client ---- */

/* As adv_lease_open() begins, and as a grant goes on. */
static struct adv_lease *make_lease(struct rig *r)
{
	struct adv_lease *l = lines(sizeof(*l));
	l->event_fd = l->wait_fd = -1;
	adv_keeper_init(&l->keeper);
	l->pid = (int)getpid();
	l->earliest_ns = UINT64_MAX;
	l->tick_ns = 4 * ADV_MS;
	l->geometry = r->g;
	l->node = &r->node;
	l->nr_functions = RIG_FUNCTIONS;
	l->functions = calloc(RIG_FUNCTIONS, sizeof(char *));
	MUST(l->functions != NULL);
	for (int i = 0; i < RIG_FUNCTIONS; i++)
		l->functions[i] = strdup("echo");
	snprintf(l->id, sizeof(l->id), "%d", RIG_LEASE);
	snprintf(l->module, sizeof(l->module), "rig");
	return l;
}

json_t *rig_grant(const struct rig *r)
{
	json_t *inputs = json_array();
	for (uint32_t i = 0; i < r->g.nr_lanes; i++)
		json_array_append_new(inputs, json_integer(r->input_mrs[i]->rkey));
	bool known = r->lease != NULL && r->lease->verbs->offered == r->number;
	return json_pack("{s:{s:I, s:o, s:i, s:i, s:s, s:b}}", "verbs", "req_rkey",
			 (json_int_t)r->req_mr->rkey, "input_rkeys", inputs, "link",
			 known ? (int)r->number : 0, "tag", (int)(r->tag & ADV_WIRE_TAG_MASK),
			 "placement", r->landing != NULL ? "immediate" : "memory", "hand_over", 0);
}

static void make_relay(struct rig *r)
{
	const struct adv_verbs_lease *v = r->lease->verbs;
	const struct adv_relay_options options = {
		.geometry = &r->g,
		.req = r->memory[ADV_LANE_REQ],
		.cpl = r->memory[ADV_LANE_CPL],
		.slots = r->memory[ADV_LANE_SLOTS],
		.landing = r->landing,
		.slots_lkey = r->slots_mr->lkey,
		.mirror = (uintptr_t)v->mirror,
		.mirror_rkey = v->mr->rkey,
		.staging = r->staging,
		.staging_lkey = r->staging_mr != NULL ? r->staging_mr->lkey : 0,
		.tag = r->tag,
		.hand_over = v->hand_over,
		.hot_ns = r->options.hot_ns,
		.lanes = r->lanes,
		.active = r->active,
	};
	adv_relay_init(&r->relay, &r->poll.link, &options);
	r->poll.relay = &r->relay;
	r->poll.event_fd = r->event_fd;
}

static struct ibv_qp *answer(void *user, struct rdma_cm_id *id, const void *hello, size_t size,
			     struct fake_answer *to)
{
	struct rig *r = user;
	(void)id;
	if (adv_hello_parse(hello, size, &r->hello) != 0)
		return NULL;
	to->why = r->refusal;
	if (r->refusal != NULL)
		return NULL;
	to->number = r->number;
	return r->pair.id->qp;
}

static uint64_t deadline_of(const struct rig *r)
{
	return r->deadline_ns != 0 ? r->deadline_ns : UINT64_MAX;
}

enum adv_status rig_open_handle(struct rig *r)
{
	const struct adv_address address = {
		.kind = ADV_ADDRESS_VERBS, .host = "127.0.0.1", .port = "7340"};
	return adv_verbs_node_create(&address, deadline_of(r), &r->node.verbs);
}

enum adv_status rig_open(struct rig *r)
{
	enum adv_status status = ADV_OK;
	fake_setup_listener(answer, r);
	r->lease = make_lease(r);
	if (r->node.verbs == NULL)
		status = rig_open_handle(r);
	if (status == ADV_OK)
		status = adv_verbs_lease_prepare(r->lease, r->node.verbs);
	if (status != ADV_OK)
		return status;
	make_relay(r);
	json_t *object = r->grant != NULL ? r->grant : rig_grant(r);
	r->grant = NULL;
	status = adv_verbs_lease_read(r->lease, object);
	json_decref(object);
	if (status == ADV_OK)
		status = adv_verbs_lease_attach(r->lease, TOKEN, deadline_of(r));
	if (status == ADV_OK)
		status = adv_lease_books_init(r->lease);
	return status;
}

void rig_close(struct rig *r, bool ended)
{
	struct adv_lease *l = r->lease;
	if (l == NULL)
		return;
	adv_verbs_lease_free(l, ended);
	for (int i = 0; i < RIG_FUNCTIONS; i++)
		free(l->functions[i]);
	free(l->functions);
	free(l->workers);
	free(l->calls);
	free(l->slots);
	free(l->stacks);
	free(l);
	r->lease = NULL;
	r->poll.relay = NULL;
}

void rig_make(struct rig *r, const struct rig_options *options)
{
	rig_make_node(r, options);
	MUST(rig_open(r) == ADV_OK);
}

void rig_unmake(struct rig *r)
{
	rig_close(r, false);
	adv_verbs_node_destroy(r->node.verbs);
	rig_unmake_node(r);
}

/* ---- steps ---- */

#define STEP __attribute__((noinline))

STEP enum adv_status rig_client_submit(struct rig *r, uint32_t worker, const void *in,
				       uint32_t size, void *out, uint64_t user_data)
{
	struct adv_request request = {
		.size = sizeof(request),
		.in = in,
		.in_size = size,
		.out = out,
		.out_capacity = size,
		.worker = worker,
		.user_data = user_data,
	};
	return adv_submit(r->lease, &request, NULL);
}

STEP unsigned rig_client_poll(struct rig *r, struct adv_completion *completions, unsigned max)
{
	return adv_poll(r->lease, completions, max);
}

STEP bool rig_worker_step(struct rig *r, uint32_t lane)
{
	struct adv_work work;
	struct adv_worker_lane *w = &r->workers[lane];
	if (!adv_worker_try(w, &work))
		return false;
	memcpy(work.out, work.in, work.length);
	adv_worker_complete(w, &work, ADV_OK, work.length);
	return true;
}

/* As serve() in src/poller/poller.c. */
STEP unsigned rig_node_pass(struct rig *r)
{
	uint32_t immediates[ADV_LINK_POLL_MAX];
	unsigned nr;
	unsigned n = adv_link_poll(&r->poll.link, immediates, &nr);
	for (unsigned i = 0; i < nr; i++)
		adv_relay_hear(&r->relay, immediates[i]);
	n += adv_relay_carry(&r->relay);
	(void)adv_link_replenish(&r->poll.link, n == 0);
	return n;
}

void rig_settle(struct rig *r)
{
	bool busy;
	do {
		busy = rig_node_pass(r) > 0;
		for (uint32_t i = 0; i < r->g.nr_lanes; i++)
			busy |= rig_worker_step(r, i);
	} while (busy);
}

void rig_worker_dies(struct rig *r, uint32_t lane, enum adv_status status, uint32_t detail)
{
	MUST(adv_supervisor_death(&r->supervisors[lane], status, detail) == 0);
	start_worker(r, lane);
	adv_relay_line_changed(&r->relay, lane);
}
