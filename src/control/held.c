/*
 * held.c - a lease's life on the control thread: its memory, its workers, its client's connection, its end.
 * Control thread only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/control.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/parse.h"

#define SCHEDULE_MAX_NS \
	ADV_SEC /* lease times go on while the machine sleeps, the loop's timers do not */

void adv_held_wake(struct adv_held *h, uint32_t lane)
{
	uint64_t one = 1;
#if ADV_HAVE_VERBS
	if (h->is_remote) {
		if (h->remote != NULL)
			adv_remote_line_changed(h->remote, lane);
		return;
	}
#else
	(void)lane;
#endif
	/* A full counter is readable too: there is nothing to lose. */
	ssize_t ignored = write(h->memory.event_fd, &one, sizeof(one));
	(void)ignored;
}

static void held_free(struct adv_held *h)
{
	adv_lane_memory_release(&h->memory);
	adv_module_put(h->module);
	adv_arena_free(h->workers);
	free(h);
}

static struct adv_held *held_alloc(struct adv_control *c, struct adv_module *module,
				   uint32_t nr_workers)
{
	struct adv_held *h = calloc(1, sizeof(*h));
	if (h == NULL)
		return NULL;
	h->control = c;
	h->memory = (struct adv_lane_memory){.event_fd = -1};
	for (int i = 0; i < ADV_LANE_FILES; i++)
		h->memory.shared[i] = (struct adv_shared){.rw = -1, .ro = -1};
	h->module = adv_module_get(module);
	h->workers = adv_arena_alloc(nr_workers * sizeof(*h->workers), ADV_CACHE_LINE);
	if (h->workers == NULL) {
		held_free(h);
		return NULL;
	}
	return h;
}

/* ---- opening ---- */

static enum adv_status geometry_of(const struct adv_lease_wish *wish, struct adv_geometry *g,
				   char *reason, size_t size)
{
	int rc = adv_geometry_init(g, wish->workers, wish->slots, wish->in_capacity,
				   wish->out_capacity);
	if (rc == 0)
		return ADV_OK;
	snprintf(
		reason, size,
		rc == -EFBIG
			? "%u workers of %u slots with these capacities need more than %llu GiB of "
			  "lane memory: ask for fewer slots or smaller capacities"
			: "workers %u, slots %u or a capacity is not within its limits (lane "
			  "memory %llu GiB)",
		wish->workers, wish->slots, (unsigned long long)(ADV_LANE_BYTES_MAX / ADV_GIB));
	return ADV_INVALID;
}

static enum adv_status refuse(enum adv_status status, char *reason, size_t size, const char *what,
			      int error)
{
	snprintf(reason, size, "%s: %s", what, strerror(-error));
	return status;
}

/* ---- over verbs ---- */

static void held_over(struct adv_held *h);

#if ADV_HAVE_VERBS
static void remote_ready(void *user, enum adv_status status, const char *reason)
{
	struct adv_held *h = user;
	void (*granted)(struct adv_held *, enum adv_status, const char *) = h->granted;
	h->granted = NULL;
	if (granted != NULL)
		granted(h, status, reason);
	if (status != ADV_OK)
		adv_held_end(h, status);
}

static void remote_gone(void *user, const char *reason)
{
	struct adv_held *h = user;
	adv_log_info("lease %llu ends: %s", (unsigned long long)h->entry->id, reason);
	h->client_gone = true;
	adv_held_end(h, ADV_CLOSED);
}

static void remote_ended(void *user)
{
	struct adv_held *h = user;
	h->remote = NULL;
	held_over(h);
}

static enum adv_status open_remote(struct adv_held *h, const struct adv_held_remote *remote,
				   char *reason, size_t size)
{
	struct adv_remote_options options = {
		.wish = remote->wish,
		.geometry = &h->geometry,
		.memory = &h->memory,
		.lease = h->entry->id,
		.tenant = h->entry->wish.tenant,
		.hot_us = h->entry->wish.hot_us,
		.ready = remote_ready,
		.gone = remote_gone,
		.ended = remote_ended,
		.user = h,
	};
	memcpy(options.token, h->entry->token, sizeof(options.token));
	enum adv_status status = adv_remote_open(h->control->remotes, &options, &h->remote);
	/* Who is refused here is told by that, and by nothing else. */
	if (status != ADV_OK) {
		snprintf(reason, size, "the node has no RDMA device any more, or no memory");
		return status;
	}
	h->granted = remote->granted;
	h->granted_user = remote->user;
	return status;
}
#endif

enum adv_status adv_held_open(struct adv_control *c, struct adv_module *module,
			      const struct adv_lease_wish *wish,
			      const struct adv_held_remote *remote, struct adv_held **out,
			      char *reason, size_t size)
{
	struct adv_lease_entry *entry;
	uint64_t now = adv_clock_boottime_ns();
	enum adv_status status = adv_leases_grant(c->leases, wish, now, &entry, reason, size);
	if (status != ADV_OK)
		return status;
	struct adv_held *h = held_alloc(c, module, entry->wish.workers);
	if (h == NULL) {
		adv_leases_end(c->leases, entry, ADV_NO_CAPACITY);
		adv_leases_forget(c->leases, entry);
		return refuse(ADV_NO_CAPACITY, reason, size, "the node cannot hold another lease",
			      -ENOMEM);
	}
	h->entry = entry;
	h->counted_ns = now;
	h->is_remote = remote != NULL;
	entry->user = h;
	status = geometry_of(&entry->wish, &h->geometry, reason, size);
	int rc = status == ADV_OK
			 ? adv_lanes_take(c->lanes, &h->geometry,
					  adv_cores_numa_node(c->cores, entry->places[0].cpu),
					  &h->memory)
			 : 0;
	if (rc < 0)
		status = refuse(ADV_NO_CAPACITY, reason, size,
				"the node could not make the lease's shared memory", rc);
	if (status != ADV_OK) {
		adv_held_end(h, status);
		return status;
	}
	status = adv_workers_start(h);
	if (status != ADV_OK)
		snprintf(reason, size, "the node has no sandbox left: max_sandboxes are in use");
#if ADV_HAVE_VERBS
	if (status == ADV_OK && remote != NULL)
		status = open_remote(h, remote, reason, size);
#endif
	if (status != ADV_OK) {
		adv_held_end(h, status);
		return status;
	}
	if (module->current)
		adv_sandboxes_module_used(c->sandboxes, module);
	adv_held_schedule(c);
	adv_workers_watch(c);
	adv_billing_begin(h);
	*out = h;
	return ADV_OK;
}

/* ---- the client's connection ---- */

static void client_line(void *user, const char *line, size_t length)
{
	struct adv_held *h = user;
	uint64_t ttl_ms;
	char answer[64];
	if (length == strlen("release") && memcmp(line, "release", length) == 0) {
		adv_held_end(h, ADV_CLOSED);
		return;
	}
	if (length > strlen("renew ") && memcmp(line, "renew ", strlen("renew ")) == 0 &&
	    adv_parse_u64(line + strlen("renew "), &ttl_ms) == 0) {
		enum adv_status status = adv_leases_renew(h->control->leases, h->entry, ttl_ms,
							  adv_clock_boottime_ns());
		if (status == ADV_OK) {
			uint64_t granted = ttl_ms != 0 ? ttl_ms : h->entry->wish.ttl_ms;
			snprintf(answer, sizeof(answer), "renewed %llu",
				 (unsigned long long)granted);
			adv_held_schedule(h->control);
		} else {
			snprintf(answer, sizeof(answer), "refused %s", adv_status_name(status));
		}
		adv_http_upgraded_send(h->connection, answer);
		return;
	}
	adv_http_upgraded_send(h->connection, "refused protocol");
}

static void client_gone(void *user)
{
	struct adv_held *h = user;
	h->connection = NULL;
	h->client_gone = true;
	adv_held_end(h, ADV_CLOSED);
}

void adv_held_attach(struct adv_held *h, struct adv_http_request *request, const char *grant)
{
	const int fds[] = {h->memory.shared[ADV_LANE_REQ].rw, h->memory.shared[ADV_LANE_CPL].ro,
			   h->memory.shared[ADV_LANE_SLOTS].rw, h->memory.event_fd};
	const struct adv_http_upgrade upgrade = {.protocol = ADV_LANE_UPGRADE,
						 .grant = grant,
						 .fds = fds,
						 .nr_fds = h->is_remote ? 0 : 4,
						 .on_line = client_line,
						 .on_close = client_gone,
						 .user = h};
	h->connection = adv_http_upgrade(request, &upgrade);
	if (h->connection == NULL)
		adv_held_end(h, ADV_CLOSED);
	adv_held_schedule(h->control);
}

/* ---- the end ---- */

void adv_held_revoke(struct adv_held *h, uint64_t grace_ms)
{
	char line[64];
	struct adv_control *c = h->control;
	adv_leases_revoke(c->leases, h->entry, grace_ms * ADV_MS, adv_clock_boottime_ns());
	if (h->entry->state != ADV_LEASE_REVOKING)
		return;
	for (uint32_t i = 0; i < h->geometry.nr_lanes; i++)
		adv_supervisor_revoke(&h->workers[i].supervisor);
	adv_held_wake(h, UINT32_MAX);
	snprintf(line, sizeof(line), "revoked %llu", (unsigned long long)grace_ms);
	/* Sending may find that the client is gone, and end the lease: it is not touched after that. */
	if (h->connection != NULL)
		adv_http_upgraded_send(h->connection, line);
	adv_held_schedule(c);
}

void adv_held_end(struct adv_held *h, enum adv_status status)
{
	if (h->entry->state != ADV_LEASE_ENDING)
		adv_leases_end(h->control->leases, h->entry, status);
	if (h->nr_live > 0)
		adv_workers_kill(h);
	else if (!h->finishing)
		adv_held_finish(h);
}

/* The client is told; nothing of the lease is in use any more. */
static void held_over(struct adv_held *h)
{
	struct adv_control *c = h->control;
	char line[64];
	if (h->granted != NULL)
		h->granted(h, h->entry->end_status, "it ended before it could be handed out");
	if (h->connection != NULL) {
		snprintf(line, sizeof(line), "ended %s", adv_status_name(h->entry->end_status));
		adv_http_upgraded_send(h->connection, line);
	}
	/* Sending may have found that the client is gone. */
	if (h->connection != NULL)
		adv_http_upgraded_close(h->connection);
	adv_billing_settle(h);
	adv_leases_forget(c->leases, h->entry);
	held_free(h);
	adv_held_schedule(c);
	adv_drain_look(c);
	adv_admission_room(c);
}

void adv_held_finish(struct adv_held *h)
{
	enum adv_status status = h->entry->end_status;
	h->finishing = true;
	if (h->memory.shared[ADV_LANE_SLOTS].map != NULL)
		adv_billing_cut_off(h, status);
	for (uint32_t i = 0;
	     h->memory.shared[ADV_LANE_SLOTS].map != NULL && i < h->geometry.nr_lanes; i++) {
		if (h->workers[i].held == NULL)
			continue;
		adv_timer_set(&h->workers[i].restart, UINT64_MAX);
		adv_supervisor_end(&h->workers[i].supervisor, status);
	}
	if (h->memory.event_fd >= 0)
		adv_held_wake(h, UINT32_MAX);
#if ADV_HAVE_VERBS
	/* Its memory is freed when no device can reach it any more: remote_ended() goes on. */
	if (h->remote != NULL) {
		adv_remote_end(h->remote, h->client_gone);
		return;
	}
#endif
	held_over(h);
}

static void lease_timer_fire(struct adv_timer *timer)
{
	struct adv_control *c = timer->user;
	struct adv_lease_entry *entry;
	while ((entry = adv_leases_due(c->leases, adv_clock_boottime_ns())) != NULL) {
		adv_log_info("lease %llu ends: %s", (unsigned long long)entry->id,
			     adv_status_text(entry->end_status));
		adv_held_end(entry->user, entry->end_status);
	}
	adv_held_schedule(c);
}

void adv_held_schedule(struct adv_control *c)
{
	if (c->lease_timer.fire == NULL)
		adv_timer_init(&c->lease_timer, c->loop, lease_timer_fire, c);
	uint64_t due = adv_leases_next_ns(c->leases);
	if (due == UINT64_MAX) {
		adv_timer_set(&c->lease_timer, UINT64_MAX);
		return;
	}
	uint64_t now = adv_clock_boottime_ns();
	uint64_t wait = due > now ? due - now : 0;
	if (wait > SCHEDULE_MAX_NS)
		wait = SCHEDULE_MAX_NS;
	adv_timer_set(&c->lease_timer, adv_clock_monotonic_ns() + wait);
}
