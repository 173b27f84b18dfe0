/* remote.c - a lease over verbs: its regions, the link that carries it, its end. Control thread; what blocks is a job. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "allocator/arena.h"
#include "control/remote_internal.h"
#include "lane/supervisor.h"
#include "util/clock.h"
#include "util/log.h"

uint32_t adv_remote_receives(const struct adv_geometry *g)
{
	/* A call in each slot, perhaps said again as it is given up; an ARM for each lane, and the QUIET. */
	return g->nr_lanes * (2 * g->nr_slots + 1) + 1;
}

uint32_t adv_remote_sends(const struct adv_geometry *g)
{
	/* Output and entry for each slot; for each lane the answer to an ARM and a node line. */
	return g->nr_lanes * (2 * g->nr_slots + 4);
}

/* ---- regions: on the jobs' thread ---- */

static int map_slots(struct adv_remote *r)
{
	const struct adv_shared *s = &r->options.memory->shared[ADV_LANE_SLOTS];
	void *at = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED, s->rw, 0);
	if (at == MAP_FAILED) {
		snprintf(r->reason, sizeof(r->reason), "mapping %llu bytes of slots: %s",
			 (unsigned long long)s->size, strerror(errno));
		return -errno;
	}
	r->slots = at;
	return 0;
}

static void *map_private(struct adv_remote *r, uint64_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (at != MAP_FAILED)
		return at;
	snprintf(r->reason, sizeof(r->reason), "mapping %llu bytes: %s", (unsigned long long)size,
		 strerror(errno));
	return NULL;
}

/* The page of the header stays out of reach: a client writes its rings and nothing else. */
static int register_rings(struct adv_remote *r)
{
	const struct adv_geometry *g = r->options.geometry;
	uint64_t size = g->size[ADV_LANE_REQ];
	uint8_t *rings = r->options.memory->shared[ADV_LANE_REQ].map;
	if (!r->owner->in_order) {
		r->landing = map_private(r, size);
		if (r->landing == NULL)
			return -ENOMEM;
		rings = r->landing;
	}
	r->req_mr = adv_memory_register(r->client->pd, rings + ADV_PAGE, size - ADV_PAGE, ADV_PAGE,
					IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, r->reason,
					sizeof(r->reason));
	return r->req_mr != NULL ? 0 : -ENOMEM;
}

static int register_slots(struct adv_remote *r)
{
	const struct adv_geometry *g = r->options.geometry;
	for (uint32_t i = 0; i < g->nr_lanes; i++) {
		uint64_t at = adv_geometry_in(g, i, 0);
		r->input_mrs[i] =
			adv_memory_register(r->client->pd, (uint8_t *)r->slots + at,
					    (uint64_t)g->nr_slots * g->in_capacity, at,
					    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
					    r->reason, sizeof(r->reason));
		if (r->input_mrs[i] == NULL)
			return -ENOMEM;
	}
	r->slots_mr = adv_memory_register(r->client->pd, r->slots, g->size[ADV_LANE_SLOTS],
					  (uintptr_t)r->slots, 0, r->reason, sizeof(r->reason));
	return r->slots_mr != NULL ? 0 : -ENOMEM;
}

static int register_staging(struct adv_remote *r)
{
	const struct adv_geometry *g = r->options.geometry;
	if (r->owner->max_inline >= ADV_ENTRY_SIZE)
		return 0;
	uint64_t size = (uint64_t)g->nr_lanes * (g->nr_entries + 1) * ADV_ENTRY_SIZE;
	r->staging_size = (size + ADV_PAGE - 1) / ADV_PAGE * ADV_PAGE;
	r->staging = map_private(r, r->staging_size);
	if (r->staging == NULL)
		return -ENOMEM;
	r->staging_mr = adv_memory_register(r->client->pd, r->staging, r->staging_size,
					    (uintptr_t)r->staging, 0, r->reason, sizeof(r->reason));
	return r->staging_mr != NULL ? 0 : -ENOMEM;
}

static void run_register(struct adv_job *job)
{
	struct adv_remote *r =
		(struct adv_remote *)((char *)job - offsetof(struct adv_remote, job));
	if (r->client->pd == NULL)
		r->client->pd = ibv_alloc_pd(r->owner->listener->verbs);
	if (r->client->pd == NULL) {
		snprintf(r->reason, sizeof(r->reason),
			 "no protection domain for another client: %s", strerror(errno));
		r->rc = -errno;
		return;
	}
	r->rc = map_slots(r);
	if (r->rc == 0)
		r->rc = register_rings(r);
	if (r->rc == 0)
		r->rc = register_slots(r);
	if (r->rc == 0)
		r->rc = register_staging(r);
}

static void deregister(struct ibv_mr *mr)
{
	if (mr != NULL && ibv_dereg_mr(mr) != 0)
		adv_log_error("a memory region could not be given back: %s", strerror(errno));
}

static void run_release(struct adv_job *job)
{
	struct adv_remote *r =
		(struct adv_remote *)((char *)job - offsetof(struct adv_remote, job));
	const struct adv_geometry *g = r->options.geometry;
	deregister(r->req_mr);
	deregister(r->slots_mr);
	deregister(r->staging_mr);
	for (uint32_t i = 0; i < g->nr_lanes; i++)
		deregister(r->input_mrs[i]);
	if (r->slots != NULL)
		munmap(r->slots, g->size[ADV_LANE_SLOTS]);
	if (r->landing != NULL)
		munmap(r->landing, g->size[ADV_LANE_REQ]);
	if (r->staging != NULL)
		munmap(r->staging, r->staging_size);
}

/* ---- the end ---- */

static void forget(struct adv_remote *r)
{
	struct adv_remote **at = &r->owner->first;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	adv_timer_set(&r->timer, UINT64_MAX);
	adv_remote_client_put(r->client);
	adv_arena_free(r->lanes);
	free(r->active);
	free(r->input_mrs);
}

static void released(struct adv_job *job)
{
	struct adv_remote *r =
		(struct adv_remote *)((char *)job - offsetof(struct adv_remote, job));
	void (*ended)(void *) = r->options.ended;
	void *user = r->options.user;
	forget(r);
	free(r);
	ended(user);
}

void adv_remote_release_all(struct adv_remotes *o)
{
	for (struct adv_remote *r = o->first, *next; r != NULL; r = next) {
		next = r->next;
		adv_timer_set(&r->timer, UINT64_MAX);
		if (r->state != ADV_REMOTE_RELEASING)
			run_release(&r->job);
		adv_arena_free(r->lanes);
		free(r->active);
		free(r->input_mrs);
		free(r);
	}
}

/* After the link's own jobs, if it was closed: a queue pair that is gone writes nowhere. */
static void release(struct adv_remote *r)
{
	r->state = ADV_REMOTE_RELEASING;
	adv_timer_set(&r->timer, UINT64_MAX);
	r->job.run = run_release;
	r->job.done = released;
	adv_jobs_submit(r->owner->jobs, &r->job);
}

/* What the poller used of the lease it uses no more. */
static void detached(struct adv_remote_link *l, bool clean)
{
	struct adv_remote *r = l->remote;
	l->remote = NULL;
	r->link = NULL;
	if (clean)
		adv_remote_link_rest(l);
	else
		adv_remote_link_close(l);
	release(r);
}

static void quiet_overdue(struct adv_remote *r)
{
	if (r->gave_up)
		return;
	r->gave_up = true;
	adv_remote_link_send(r->link, &r->link->give_up, ADV_POLLER_GIVE_UP, NULL, NULL);
}

static void detach(struct adv_remote *r)
{
	struct adv_remote_link *l = r->link;
	r->state = ADV_REMOTE_DETACHING;
	adv_remote_link_send(l, &l->detach, ADV_POLLER_DETACH, &r->relay, detached);
	if (r->end_gone || l->gone)
		quiet_overdue(r);
	else
		adv_timer_set(&r->timer, adv_clock_monotonic_ns() + ADV_QUIET_MS * ADV_MS);
}

/* Goes on with an end that had to wait for something. */
static void go_on_ending(struct adv_remote *r)
{
	if (r->link == NULL)
		release(r);
	else if (r->link->state == ADV_RLINK_TAKEN)
		detach(r);
	/* Else its link is still being made: adv_remote_link_ready() or _failed() comes back here. */
}

void adv_remote_end(struct adv_remote *r, bool gone)
{
	if (r->ending)
		return;
	r->ending = true;
	r->end_gone = gone;
	adv_remote_pingpong_end(r);
	if (r->state == ADV_REMOTE_REGISTERING || r->state == ADV_REMOTE_ATTACHING)
		return; /* what is under way comes back first */
	go_on_ending(r);
}

static void tell_gone(struct adv_remote *r, const char *reason)
{
	if (r->told_gone || r->ending)
		return;
	r->told_gone = true;
	r->options.gone(r->options.user, reason);
}

static void timer_fire(struct adv_timer *timer)
{
	struct adv_remote *r = timer->user;
	if (r->state == ADV_REMOTE_DETACHING)
		quiet_overdue(r);
	else if (r->state == ADV_REMOTE_WAITING)
		tell_gone(r, "the client did not connect its queue pair in time");
}

/* ---- the beginning ---- */

/* Because the client's device needs it, or because this node was told to do so in both directions. */
static bool hands_over(const struct adv_remote *r)
{
	return r->options.wish.hand_over || r->owner->options.placement == ADV_PLACEMENT_IMMEDIATE;
}

void adv_remote_relay_init(struct adv_remote *r, struct adv_remote_link *l)
{
	const struct adv_remote_options *o = &r->options;
	l->tag++;
	const struct adv_relay_options relay = {
		.geometry = o->geometry,
		.req = o->memory->shared[ADV_LANE_REQ].map,
		.cpl = o->memory->shared[ADV_LANE_CPL].map,
		.slots = r->slots,
		.landing = r->landing,
		.slots_lkey = r->slots_mr->lkey,
		.mirror = o->wish.mirror,
		.mirror_rkey = o->wish.mirror_rkey,
		.staging = r->staging,
		.staging_lkey = r->staging_mr != NULL ? r->staging_mr->lkey : 0,
		.tag = l->tag,
		.hand_over = hands_over(r),
		/* A poller does not learn. */
		.hot_ns = o->hot_us == ADV_HOT_US_AUTO	  ? ADV_HOT_US_DEFAULT * 1000
			  : o->hot_us > UINT64_MAX / 1000 ? UINT64_MAX
							  : o->hot_us * 1000,
		.lanes = r->lanes,
		.active = r->active,
	};
	adv_relay_init(&r->relay, &l->poll.link, &relay);
}

static void attached(struct adv_remote_link *l, bool clean)
{
	struct adv_remote *r = l->remote;
	(void)clean;
	r->state = ADV_REMOTE_RUNNING;
	if (r->ending)
		go_on_ending(r);
	else
		r->options.ready(r->options.user, ADV_OK, NULL);
}

static void take_link(struct adv_remote *r, struct adv_remote_link *l)
{
	r->link = l;
	r->state = ADV_REMOTE_ATTACHING;
	l->remote = r;
	l->state = ADV_RLINK_TAKEN;
	adv_remote_relay_init(r, l);
	adv_remote_link_send(l, &l->attach, ADV_POLLER_ATTACH, &r->relay, attached);
}

static void registered(struct adv_job *job)
{
	struct adv_remote *r =
		(struct adv_remote *)((char *)job - offsetof(struct adv_remote, job));
	r->state = ADV_REMOTE_WAITING;
	if (r->ending) {
		go_on_ending(r);
		return;
	}
	if (r->rc < 0) {
		r->options.ready(r->options.user, ADV_NO_CAPACITY, r->reason);
		return;
	}
	struct adv_remote_link *l = adv_remote_link_idle(r->client, r->options.wish.link,
							 adv_remote_receives(r->options.geometry));
	if (l != NULL) {
		take_link(r, l);
		return;
	}
	adv_timer_set(&r->timer, adv_clock_monotonic_ns() + ADV_LEASE_UNATTACHED_MS * ADV_MS);
	r->options.ready(r->options.user, ADV_OK, NULL);
}

void adv_remote_link_ready(struct adv_remote *r)
{
	/* A link that breaks as it is made may have ended the lease already. */
	if (r->state == ADV_REMOTE_DETACHING)
		return;
	r->state = ADV_REMOTE_RUNNING;
	adv_timer_set(&r->timer, UINT64_MAX);
	if (r->ending)
		go_on_ending(r);
}

void adv_remote_link_failed(struct adv_remote *r, const char *reason)
{
	r->link = NULL;
	if (r->ending)
		go_on_ending(r);
	else
		tell_gone(r, reason);
}

void adv_remote_link_lost(struct adv_remote *r, const char *reason)
{
	/* One that is being ended need not wait for a client that is gone. */
	if (r->state == ADV_REMOTE_DETACHING)
		quiet_overdue(r);
	else
		tell_gone(r, reason);
}

static int allocate(struct adv_remote *r)
{
	uint32_t n = r->options.geometry->nr_lanes;
	r->lanes = adv_arena_alloc(n * sizeof(*r->lanes), ADV_CACHE_LINE);
	r->active = calloc(n, sizeof(*r->active));
	r->input_mrs = calloc(n, sizeof(struct ibv_mr *));
	r->client = adv_remote_client_get(r->owner, r->options.tenant, r->options.wish.client);
	if (r->lanes != NULL && r->active != NULL && r->input_mrs != NULL && r->client != NULL)
		return 0;
	if (r->client != NULL)
		adv_remote_client_put(r->client);
	adv_arena_free(r->lanes);
	free(r->active);
	free(r->input_mrs);
	return -ENOMEM;
}

enum adv_status adv_remote_open(struct adv_remotes *owner, const struct adv_remote_options *options,
				struct adv_remote **remote)
{
	if (owner->dead)
		return ADV_NO_CAPACITY;
	struct adv_remote *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return ADV_NO_MEMORY;
	r->owner = owner;
	r->options = *options;
	if (allocate(r) < 0) {
		free(r);
		return ADV_NO_MEMORY;
	}
	adv_timer_init(&r->timer, owner->options.loop, timer_fire, r);
	r->next = owner->first;
	owner->first = r;
	r->job.run = run_register;
	r->job.done = registered;
	adv_jobs_submit(owner->jobs, &r->job);
	*remote = r;
	return ADV_OK;
}

json_t *adv_remote_json(const struct adv_remote *r)
{
	json_t *inputs = json_array();
	for (uint32_t i = 0; i < r->options.geometry->nr_lanes; i++)
		json_array_append_new(inputs, json_integer(r->input_mrs[i]->rkey));
	return json_pack("{s:I, s:o, s:i, s:i, s:s, s:b}", "req_rkey", (json_int_t)r->req_mr->rkey,
			 "input_rkeys", inputs, "link", r->link != NULL ? (int)r->link->number : 0,
			 "tag", r->link != NULL ? (int)(r->link->tag & 63) : 1, "placement",
			 r->owner->in_order ? "memory" : "immediate", "hand_over",
			 (int)hands_over(r));
}

/* ---- all of them ---- */

bool adv_remotes_share(const struct adv_remotes *o, int cpu)
{
	for (unsigned i = 0; i < o->options.nr_pollers; i++)
		if (o->options.pollers[i].cpu == cpu)
			return true;
	return false;
}

static void decide_placement(struct adv_remotes *o)
{
	if (o->options.placement != ADV_PLACEMENT_AUTO) {
		o->in_order = o->options.placement == ADV_PLACEMENT_MEMORY;
		snprintf(o->why, sizeof(o->why), "as configured");
		return;
	}
	o->in_order = adv_device_in_order(o->listener->verbs, o->why, sizeof(o->why));
}

static int look_at_device(struct adv_remotes *o, char *reason, size_t size)
{
	struct ibv_pd *pd = ibv_alloc_pd(o->listener->verbs);
	if (pd == NULL) {
		snprintf(reason, size, "no protection domain on %s: %s",
			 ibv_get_device_name(o->listener->verbs->device), strerror(errno));
		return -errno;
	}
	o->max_inline = adv_pair_inline(pd);
	ibv_dealloc_pd(pd);
	decide_placement(o);
	return 0;
}

int adv_remotes_create(const struct adv_remotes_options *options, struct adv_remotes **out,
		       char *reason, size_t size)
{
	struct adv_remotes *o = calloc(1, sizeof(*o));
	if (o == NULL)
		return -ENOMEM;
	o->options = *options;
	int rc = adv_remote_links_start(o, reason, size);
	if (rc == 0)
		rc = look_at_device(o, reason, size);
	if (rc < 0) {
		adv_remotes_destroy(o);
		return rc;
	}
	*out = o;
	return 0;
}

void adv_remotes_destroy(struct adv_remotes *o)
{
	if (o == NULL)
		return;
	adv_remote_links_stop(o);
	free(o);
}

json_t *adv_remotes_status(const struct adv_remotes *o)
{
	json_t *pollers = json_array();
	int links = 0;
	for (const struct adv_remote_link *l = o->links; l != NULL; l = l->next)
		links++;
	for (unsigned i = 0; i < o->options.nr_pollers; i++) {
		struct adv_poller_stats s;
		adv_poller_stats(o->pollers[i].poller, &s);
		json_array_append_new(pollers,
				      json_pack("{s:i, s:s, s:i, s:I, s:I}", "cpu", s.cpu, "mode",
						s.shared ? "block" : "spin", "links",
						(int)s.nr_links, "passes", (json_int_t)s.passes,
						"sleeps", (json_int_t)s.sleeps));
	}
	json_t *counters = json_object();
	for (int i = 0; i < ADV_LINK_COUNTERS; i++) {
		uint64_t n = o->counted[i];
		for (const struct adv_remote_link *l = o->links; l != NULL; l = l->next)
			n += adv_link_counted(&l->poll.link, i);
		json_object_set_new(counters, adv_link_counter_name(i),
				    json_integer((json_int_t)n));
	}
	json_t *status = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:i, s:i, s:I, s:I, s:o, s:o}", "device",
		o->device, "address", o->address, "gid", o->gid, "placement",
		o->in_order ? "memory" : "immediate", "placement_why", o->why, "max_inline",
		(int)o->max_inline, "gone", (int)o->dead, "links", links, "pingpongs",
		(int)adv_remote_pingpongs(o), "accepted", (json_int_t)o->accepted, "refused",
		(json_int_t)o->refused, "pollers", pollers, "counters", counters);
	/* A build for measuring: nobody is to take it for a node. */
	if (ADV_TRANSPORT_BENCH)
		json_object_set_new(status, "transport_bench", json_true());
	return status;
}

/* ---- while it runs ---- */

static void line_sent(struct adv_remote_link *l, bool clean)
{
	(void)clean;
	l->line_sent = false;
	if (!l->line_again)
		return;
	l->line_again = false;
	if (l->remote != NULL && l->state == ADV_RLINK_TAKEN)
		adv_remote_line_changed(l->remote, UINT32_MAX);
}

void adv_remote_line_changed(struct adv_remote *r, uint32_t lane)
{
	struct adv_remote_link *l = r->link;
	/* Before that, the relay begins with what the lines say. */
	if (l == NULL || (l->state != ADV_RLINK_TAKEN && l->state != ADV_RLINK_ADDING))
		return;
	if (l->line_sent) {
		l->line_again = true;
		return;
	}
	l->line_sent = true;
	l->line.message.lane = lane;
	adv_remote_link_send(l, &l->line, ADV_POLLER_LINE, NULL, line_sent);
}
