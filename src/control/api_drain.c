/*
 * api_drain.c - POST /v1/drain and /v1/resume: a node hands its cores back, for a batch job, an update, a shutdown. Who asks is told
 * when they are idle. Control thread only.
 */
#include <stdlib.h>
#include <unistd.h>

#include "control/control.h"
#include "util/clock.h"
#include "util/log.h"

/* A request that waits until no more cores are in use than the drain leaves. */
struct adv_drainer {
	struct adv_waiting waiting; /* first: see adv_waiting */
	struct adv_drainer *next;
};

/* Who operates the node: root, or in a user's session that user. */
static bool is_operator(struct adv_control *c, struct adv_http_request *request)
{
	const struct adv_warden_facts *facts = &c->options.warden->facts;
	uint32_t uid = facts->root ? 0 : getuid();
	if (!adv_http_is_remote(request) && adv_http_uid(request) == uid)
		return true;
	adv_http_fail(request, ADV_FORBIDDEN,
		      "only who operates the node may drain it: local, uid %u", uid);
	return false;
}

static uint32_t cores_used(const struct adv_control *c)
{
	return adv_leases_cores_used(c->leases);
}

json_t *adv_drain_json(const struct adv_control *c)
{
	if (!c->drain.on)
		return NULL;
	return json_pack("{s:I, s:I, s:b}", "keep", (json_int_t)c->drain.keep, "cores_used",
			 (json_int_t)cores_used(c), "idle", cores_used(c) <= c->drain.keep);
}

void adv_drain_look(struct adv_control *c)
{
	struct adv_drainer *d, *next;
	if (c->drain.first == NULL || (c->drain.on && cores_used(c) > c->drain.keep))
		return;
	d = c->drain.first;
	c->drain.first = NULL;
	for (; d != NULL; d = next) {
		next = d->next;
		if (d->waiting.request != NULL && c->drain.on)
			adv_http_respond(d->waiting.request, 200,
					 json_pack("{s:o}", "drain", adv_drain_json(c)));
		else if (d->waiting.request != NULL)
			adv_http_fail(d->waiting.request, ADV_NO_CAPACITY,
				      "the node was resumed before its cores were idle");
		free(d);
	}
}

/* Of those that go on, until the rest is few enough. */
static void revoke_surplus(struct adv_control *c, uint64_t grace_ms)
{
	struct adv_lease_entry *e;
	while ((e = adv_leases_surplus(c->leases)) != NULL) {
		adv_log_info("lease %llu is revoked: the node is drained",
			     (unsigned long long)e->id);
		if (e->user != NULL)
			adv_held_revoke(e->user, grace_ms);
		else
			adv_leases_revoke(c->leases, e, grace_ms * ADV_MS, adv_clock_boottime_ns());
	}
}

static void wait_until_idle(struct adv_control *c, struct adv_http_request *request)
{
	struct adv_drainer *d = calloc(1, sizeof(*d));
	if (d == NULL) {
		adv_http_fail(request, ADV_NO_CAPACITY, "the node is out of memory");
		return;
	}
	d->next = c->drain.first;
	c->drain.first = d;
	adv_waiting_start(&d->waiting, request);
	adv_drain_look(c);
}

void adv_api_drain(struct adv_control *c, struct adv_http_request *request)
{
	uint64_t grace_ms = ADV_DRAIN_GRACE_MS_DEFAULT, keep = 0;
	const struct adv_field fields[] = {{"grace_ms", ADV_FIELD_U64, &grace_ms},
					   {"keep", ADV_FIELD_U64, &keep}};
	json_t *body = is_operator(c, request) ? adv_http_json(request) : NULL;
	bool ok = body != NULL && adv_api_fields(request, body, fields, 2);
	json_decref(body);
	if (!ok)
		return;
	if (grace_ms > ADV_DRAIN_GRACE_MS_MAX || keep > UINT32_MAX) {
		adv_http_fail(request, ADV_INVALID,
			      "grace_ms must be from 0 to %d, keep a number of cores",
			      ADV_DRAIN_GRACE_MS_MAX);
		return;
	}
	c->drain.on = true;
	c->drain.keep = (uint32_t)keep;
	adv_leases_limit_cores(c->leases, c->drain.keep);
	if (keep == 0)
		adv_admission_refuse_all(c, "the node is being drained");
	revoke_surplus(c, grace_ms);
	wait_until_idle(c, request);
}

void adv_api_resume(struct adv_control *c, struct adv_http_request *request)
{
	if (!is_operator(c, request))
		return;
	bool was = c->drain.on;
	c->drain.on = false;
	adv_leases_limit_cores(c->leases, UINT32_MAX);
	adv_drain_look(c);
	adv_admission_room(c);
	adv_http_respond(request, 200, json_pack("{s:b}", "resumed", was));
}
