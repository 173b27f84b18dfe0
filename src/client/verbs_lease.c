/* verbs_lease.c - a lease's mirror, its connection, its end. The thread that opens the lease, and closes it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "client/verbs.h"
#include "util/clock.h"
#include "util/fd.h"

#define LINK_RECEIVES 1024 /* at least: so that another lease may follow on the link */
#define LINK_SENDS    1024
#define SENDS_MAX     8192
#define QUIET_MS      100 /* for the last words to arrive */

/* ---- the mirror ---- */

static uint64_t mirror_at(const struct adv_geometry *g, enum adv_lane_file file)
{
	if (file == ADV_LANE_CPL)
		return 0;
	if (file == ADV_LANE_SLOTS)
		return g->size[ADV_LANE_CPL];
	return g->size[ADV_LANE_CPL] + g->size[ADV_LANE_SLOTS];
}

/* Shared, so that a fork does not move a page away from under the device. */
static void *map(uint64_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return at != MAP_FAILED ? at : NULL;
}

/* As the node's own lines begin: both sides start in epoch 1. */
static void begin_lines(const struct adv_geometry *g, uint8_t *cpl)
{
	for (uint32_t i = 0; i < g->nr_lanes; i++) {
		struct adv_node_line *line =
			(struct adv_node_line *)(cpl + adv_geometry_node_line(g, i));
		atomic_store_explicit(&line->generation, adv_generation(1, 1),
				      memory_order_release);
	}
}

static enum adv_status make_mirror(struct adv_lease *l, struct adv_verbs_lease *v)
{
	char reason[ADV_REASON_MAX];
	const struct adv_geometry *g = &l->geometry;
	v->mirror_size = g->size[ADV_LANE_CPL] + g->size[ADV_LANE_SLOTS] + g->size[ADV_LANE_REQ];
	v->mirror = map(v->mirror_size);
	if (v->mirror == NULL)
		return adv_client_fail(ADV_NO_MEMORY, "no memory for a mirror of %llu bytes",
				       (unsigned long long)v->mirror_size);
	begin_lines(g, v->mirror);
	uint64_t before_ns = adv_clock_monotonic_ns();
	v->mr = adv_memory_register(v->node->pd, v->mirror, v->mirror_size, (uintptr_t)v->mirror,
				    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, reason,
				    sizeof(reason));
	v->register_ns = adv_clock_monotonic_ns() - before_ns;
	if (v->mr == NULL)
		return adv_client_fail(ADV_SYSTEM, "%s", reason);
	v->lkey = v->mr->lkey;
	return ADV_OK;
}

/* ---- asking ---- */

/*
 * What the node may send by immediates before this side polls: an answer for each lane; where entries are handed over, all completions,
 * and node lines: a death by the calls that are there, deaths of workers that never served, revocation, the end.
 */
static uint32_t receives(const struct adv_geometry *g)
{
	return g->nr_lanes * (1 + g->nr_slots + 1 + ADV_RESTART_FAILURES_MAX + 2) + 1;
}

/* Input and entry of each slot, cancelled ones again; ARM for each lane; QUIET. */
static uint32_t sends(const struct adv_geometry *g)
{
	return g->nr_lanes * (3 * g->nr_slots + 1) + ADV_LINK_POST_MAX;
}

/* A link that the node may still know, to be offered. */
static void take_resting(struct adv_lease *l)
{
	struct adv_verbs_lease *v = l->verbs;
	v->link = adv_verbs_link_take(v->node, receives(&l->geometry));
	v->offered = v->link != NULL ? v->link->number : 0;
}

enum adv_status adv_verbs_lease_prepare(struct adv_lease *l, struct adv_verbs_node *node)
{
	struct adv_verbs_lease *v = calloc(1, sizeof(*v));
	if (v == NULL)
		return adv_client_fail_text(ADV_NO_MEMORY, "no memory for a lease");
	l->verbs = v;
	v->node = node;
	v->wait_fd = -1;
	v->geometry = &l->geometry;
	v->asked = l->geometry;
	v->hand_over = !node->in_order;
	v->input_rkeys = calloc(l->geometry.nr_lanes, sizeof(*v->input_rkeys));
	v->unanswered = calloc(l->geometry.nr_lanes, sizeof(*v->unanswered));
	if (v->input_rkeys == NULL || v->unanswered == NULL)
		return adv_client_fail_text(ADV_NO_MEMORY, "no memory for a lease");
	enum adv_status status = make_mirror(l, v);
	if (status != ADV_OK)
		return status;
	take_resting(l);
	return ADV_OK;
}

void adv_verbs_lease_wish(const struct adv_lease *l, json_t *object)
{
	const struct adv_verbs_lease *v = l->verbs;
	char id[2 * ADV_CLIENT_ID_BYTES + 1];
	for (int i = 0; i < ADV_CLIENT_ID_BYTES; i++)
		snprintf(id + 2 * i, 3, "%02x", v->node->id[i]);
	json_object_set_new(object, "fabric", json_string("verbs"));
	json_object_set_new(object, "client", json_string(id));
	json_object_set_new(object, "link", json_integer(v->offered));
	json_object_set_new(object, "mirror", json_integer((json_int_t)(uintptr_t)v->mirror));
	json_object_set_new(object, "mirror_rkey", json_integer(v->mr->rkey));
	json_object_set_new(object, "hand_over", json_integer(v->hand_over));
}

static bool is_immediate(const json_t *placement)
{
	return json_is_string(placement) && strcmp(json_string_value(placement), "immediate") == 0;
}

enum adv_status adv_verbs_lease_read(struct adv_lease *l, const json_t *lease)
{
	struct adv_verbs_lease *v = l->verbs;
	const json_t *object = json_object_get(lease, "verbs");
	const json_t *inputs = json_object_get(object, "input_rkeys");
	uint64_t req, link, tag;
	const struct adv_geometry *g = &l->geometry, *asked = &v->asked;
	bool ok = g->nr_lanes == asked->nr_lanes && g->nr_slots == asked->nr_slots &&
		  g->in_capacity == asked->in_capacity && g->out_capacity == asked->out_capacity &&
		  adv_client_json_u64(object, "req_rkey", UINT32_MAX, &req) &&
		  adv_client_json_u64(object, "link", UINT32_MAX, &link) &&
		  adv_client_json_u64(object, "tag", ADV_WIRE_TAG_MASK, &tag) &&
		  json_array_size(inputs) == l->geometry.nr_lanes &&
		  (link == 0 || (v->link != NULL && link == v->offered));
	for (uint32_t i = 0; ok && i < l->geometry.nr_lanes; i++) {
		const json_t *key = json_array_get(inputs, i);
		ok = json_is_integer(key) && json_integer_value(key) >= 0 &&
		     json_integer_value(key) <= UINT32_MAX;
		v->input_rkeys[i] = ok ? (uint32_t)json_integer_value(key) : 0;
	}
	if (!ok)
		return adv_client_fail_text(ADV_PROTOCOL,
					    "the node grants a lease without what RDMA needs");
	v->req_rkey = (uint32_t)req;
	v->tag = (uint8_t)tag;
	/* The node may want it so on its own account. */
	v->hand_over = v->hand_over || json_is_true(json_object_get(object, "hand_over"));
	v->lands = is_immediate(json_object_get(object, "placement"));
	/* The node has it no more: it takes another. */
	if (link == 0 && v->link != NULL) {
		adv_verbs_link_destroy(v->link);
		v->link = NULL;
	}
	return ADV_OK;
}

/* ---- attaching ---- */

static void keep_token(struct adv_verbs_lease *v, const char *token)
{
	for (int i = 0; i < ADV_TOKEN_BYTES; i++) {
		unsigned byte = 0;
		sscanf(token + 2 * i, "%2x", &byte);
		v->token[i] = (uint8_t)byte;
	}
}

static enum adv_status connect_link(struct adv_lease *l, uint64_t deadline_ns)
{
	struct adv_verbs_lease *v = l->verbs;
	uint32_t nr_sends = sends(&l->geometry), nr_receives = receives(&l->geometry);
	const struct adv_verbs_connect c = {
		.hello = {.counter = ++v->counter, .lease = strtoull(l->id, NULL, 10)},
		.token = v->token,
		.token_size = sizeof(v->token),
		.send_depth = nr_sends > SENDS_MAX    ? SENDS_MAX
			      : nr_sends > LINK_SENDS ? nr_sends
						      : LINK_SENDS,
		.recv_depth = nr_receives > LINK_RECEIVES ? nr_receives : LINK_RECEIVES,
		.deadline_ns = deadline_ns,
	};
	uint64_t before_ns = adv_clock_monotonic_ns();
	enum adv_status status = adv_verbs_link_connect(v->node, &c, &v->link);
	v->connect_ns = adv_clock_monotonic_ns() - before_ns;
	return status;
}

/* One descriptor that is readable when either of the two is. */
static enum adv_status make_waiting(struct adv_lease *l)
{
	struct adv_verbs_lease *v = l->verbs;
	struct epoll_event e = {.events = EPOLLIN};
	adv_fd_close(&l->event_fd);
	l->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->resume != NULL && l->event_fd >= 0) {
		enum adv_status status = adv_resume_listen(l, l->event_fd);
		return status == ADV_OK ? adv_resume_listen(l, v->link->pair.channel->fd) : status;
	}
	v->wait_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wait_fd = v->wait_fd;
	if (l->event_fd < 0 || v->wait_fd < 0 ||
	    epoll_ctl(v->wait_fd, EPOLL_CTL_ADD, l->event_fd, &e) < 0 ||
	    epoll_ctl(v->wait_fd, EPOLL_CTL_ADD, v->link->pair.channel->fd, &e) < 0)
		return adv_client_fail(ADV_SYSTEM, "no descriptor to wait on: %s", strerror(errno));
	return ADV_OK;
}

enum adv_status adv_verbs_lease_attach(struct adv_lease *l, const char *token, uint64_t deadline_ns)
{
	struct adv_verbs_lease *v = l->verbs;
	keep_token(v, token);
	v->connect_ns = 0;
	enum adv_status status = v->link == NULL ? connect_link(l, deadline_ns) : ADV_OK;
	if (status == ADV_OK)
		status = make_waiting(l);
	if (status != ADV_OK)
		return status;
	for (int i = 0; i < ADV_LANE_FILES; i++)
		l->maps[i] = v->mirror + mirror_at(&l->geometry, (enum adv_lane_file)i);
	if (v->hand_over) {
		if (v->handed == NULL)
			v->handed = map(l->geometry.size[ADV_LANE_CPL]);
		if (v->handed == NULL)
			return adv_client_fail_text(ADV_NO_MEMORY, "no memory for a lease");
		begin_lines(&l->geometry, v->handed);
		l->maps[ADV_LANE_CPL] = v->handed;
	}
	for (int i = 0; i < ADV_LINK_COUNTERS; i++)
		v->before[i] = adv_link_counted(&v->link->link, i);
	return ADV_OK;
}

/* ---- the end ---- */

void adv_verbs_lease_quiet(struct adv_lease *l)
{
	struct adv_verbs_lease *v = l->verbs;
	uint64_t deadline = adv_client_deadline(QUIET_MS);
	struct adv_post post;
	if (v->link == NULL || v->quiet)
		return;
	v->quiet = true;
	while (!adv_verbs_room(l) && adv_client_left_ms(deadline) > 0 &&
	       !adv_link_broken(&v->link->link))
		sched_yield();
	adv_post_begin(&post);
	adv_post_write(&post, &v->link->link, NULL, 0, 0, 0, v->req_rkey);
	adv_post_immediate(&post, adv_wire_pack(ADV_WIRE_QUIET, adv_wire_lane(v->tag, 0), 0));
	if (adv_link_post(&v->link->link, &post, true) < 0)
		return;
	while (!adv_link_idle(&v->link->link) && adv_client_left_ms(deadline) > 0 &&
	       adv_verbs_progress(l))
		sched_yield();
}

/* It may carry another lease only when nothing of this one is under way, in either direction. */
static void give_link_back(struct adv_lease *l, bool ended)
{
	struct adv_verbs_lease *v = l->verbs;
	if (v->link == NULL)
		return;
	adv_verbs_progress(l);
	if (ended && v->quiet && adv_link_idle(&v->link->link) &&
	    !adv_link_broken(&v->link->link) && adv_link_replenish(&v->link->link, true) == 0)
		adv_verbs_link_rest(v->node, v->link);
	else
		adv_verbs_link_destroy(v->link);
	v->link = NULL;
}

void adv_verbs_lease_count(const struct adv_lease *l, struct adv_lease_stats *stats)
{
	const struct adv_verbs_lease *v = l->verbs;
	if (v->link == NULL)
		return;
	const struct adv_link *link = &v->link->link;
	stats->doorbells +=
		adv_link_counted(link, ADV_LINK_DOORBELLS) - v->before[ADV_LINK_DOORBELLS];
	stats->work_requests +=
		adv_link_counted(link, ADV_LINK_REQUESTS) - v->before[ADV_LINK_REQUESTS];
	stats->immediates +=
		adv_link_counted(link, ADV_LINK_IMMEDIATES) - v->before[ADV_LINK_IMMEDIATES];
}

/* The queue pair goes first: what the node that was may still send finds none. */
void adv_verbs_lease_reset(struct adv_lease *l)
{
	struct adv_verbs_lease *v = l->verbs;
	const struct adv_geometry *g = &l->geometry;
	adv_verbs_lease_count(l, &l->stats);
	give_link_back(l, false);
	memset(v->mirror + mirror_at(g, ADV_LANE_CPL), 0, g->size[ADV_LANE_CPL]);
	memset(v->mirror + mirror_at(g, ADV_LANE_REQ), 0, g->size[ADV_LANE_REQ]);
	begin_lines(g, v->mirror);
	if (v->handed != NULL) {
		memset(v->handed, 0, g->size[ADV_LANE_CPL]);
		begin_lines(g, v->handed);
	}
	memset(v->unanswered, 0, g->nr_lanes * sizeof(*v->unanswered));
	v->quiet = false;
	take_resting(l);
}

void adv_verbs_lease_free(struct adv_lease *l, bool ended)
{
	struct adv_verbs_lease *v = l->verbs;
	if (v == NULL)
		return;
	/* Before the memory that it reaches. */
	give_link_back(l, ended);
	if (v->mr != NULL)
		ibv_dereg_mr(v->mr);
	if (v->mirror != NULL)
		munmap(v->mirror, v->mirror_size);
	if (v->handed != NULL)
		munmap(v->handed, l->geometry.size[ADV_LANE_CPL]);
	adv_fd_close(&v->wait_fd);
	adv_fd_close(&l->event_fd);
	for (int i = 0; i < ADV_LANE_FILES; i++)
		l->maps[i] = NULL; /* they were the mirror's */
	free(v->input_rkeys);
	free(v->unanswered);
	free(v);
	l->verbs = NULL;
}
