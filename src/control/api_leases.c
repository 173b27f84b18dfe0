/* api_leases.c - leases over HTTP: grant, list, renew, attach, end. Control thread only. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"
#include "util/clock.h"
#include "util/parse.h"

/* ---- as JSON ---- */

static json_t *hot_json(uint64_t hot_us)
{
	return hot_us == UINT64_MAX	   ? json_string("always")
	       : hot_us == ADV_HOT_US_AUTO ? json_string("auto")
					   : json_integer((json_int_t)hot_us);
}

/* What everyone may see of a lease of their own. */
static json_t *lease_json(const struct adv_lease_entry *e)
{
	const struct adv_held *h = e->user;
	const struct adv_lease_wish *w = &e->wish;
	char id[24];
	bool shared = false;
	json_t *cpus = json_array();
	snprintf(id, sizeof(id), "%" PRIu64, e->id);
	for (uint32_t i = 0; i < w->workers; i++) {
		json_array_append_new(cpus, json_integer(e->places[i].cpu));
		shared |= e->places[i].shared;
	}
	return json_pack(
		"{s:s, s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:b, s:I, s:o, s:I}", "id",
		id, "module", h->module->name, "owner", (json_int_t)h->module->owner, "digest",
		h->module->digest, "workers", (json_int_t)w->workers, "slots", (json_int_t)w->slots,
		"in_capacity", (json_int_t)h->geometry.in_capacity, "out_capacity",
		(json_int_t)h->geometry.out_capacity, "memory_bytes", (json_int_t)w->memory_bytes,
		"ttl_ms", (json_int_t)w->ttl_ms, "hot_us", hot_json(w->hot_us), "shared_cores",
		(int)shared, "hot_hits", (json_int_t)h->hot_hits, "cpus", cpus, "deaths",
		(json_int_t)h->deaths);
}

static json_t *listed_json(const struct adv_lease_entry *e, uint64_t now)
{
	json_t *lease = lease_json(e);
	const struct adv_held *h = e->user;
	uint64_t left = e->expires_ns > now ? (e->expires_ns - now) / ADV_MS : 0;
	json_object_set_new(lease, "state", json_string(adv_lease_state_name(e->state)));
	json_object_set_new(lease, "expires_in_ms", json_integer((json_int_t)left));
	json_object_set_new(lease, "tenant", json_integer(e->wish.tenant));
	json_object_set_new(lease, "priority", json_integer(e->wish.priority));
	json_object_set_new(lease, "fabric", json_string(h->is_remote ? "verbs" : "shm"));
	json_object_set_new(lease, "mode", json_string(adv_held_blocks(h) ? "block" : "spin"));
	return lease;
}

/* With the token: only for the answer to the request that was granted. */
static json_t *granted_json(const struct adv_held *h)
{
	const struct adv_lease_entry *e = h->entry;
	char token[2 * ADV_TOKEN_BYTES + 1];
	for (int i = 0; i < ADV_TOKEN_BYTES; i++)
		snprintf(token + 2 * i, 3, "%02x", e->token[i]);
	json_t *lease = lease_json(e);
	json_t *functions = json_array(), *sizes = json_array();
	for (uint32_t i = 0; i < h->module->nr_functions; i++)
		json_array_append_new(functions, json_string(h->module->functions[i].name));
	for (int i = 0; i < ADV_LANE_FILES; i++)
		json_array_append_new(sizes, json_integer((json_int_t)h->geometry.size[i]));
	json_object_set_new(lease, "token", json_string(token));
	json_object_set_new(lease, "waited_ms", json_integer((json_int_t)h->waited_ms));
	json_object_set_new(lease, "attach_within_ms", json_integer(ADV_LEASE_UNATTACHED_MS));
	json_object_set_new(lease, "functions", functions);
	json_object_set_new(lease, "sizes", sizes);
#if ADV_HAVE_VERBS
	if (h->remote != NULL)
		json_object_set_new(lease, "verbs", adv_remote_json(h->remote));
#endif
	return json_pack("{s:o, s:{s:s, s:s}}", "lease", lease, "node", "id",
			 adv_registry_node_id(h->control->registry), "started",
			 h->control->started);
}

/* ---- POST /v1/leases ---- */

/* False: the request wants another protocol, and has been told. */
static bool upgrade_ok(struct adv_http_request *request, bool optional)
{
	const char *upgrade = adv_http_header(request, "Upgrade");
	if (upgrade == NULL ? optional : strcmp(upgrade, ADV_LANE_UPGRADE) == 0)
		return true;
	adv_http_fail(request, ADV_VERSION,
		      "a lease is attached with \"Upgrade: %s\", not \"%.64s\"", ADV_LANE_UPGRADE,
		      upgrade != NULL ? upgrade : "");
	return false;
}

/* The request asks for the lease and for its lanes: one answer has both. */
static void attach_at_once(struct adv_http_request *request, struct adv_held *h)
{
	json_t *granted = granted_json(h);
	char *text = json_dumps(granted, JSON_COMPACT | JSON_PRESERVE_ORDER);
	enum adv_status status =
		adv_leases_attach(h->control->leases, h->entry, adv_http_uid(request),
				  h->entry->token, adv_clock_boottime_ns());
	json_decref(granted);
	if (text != NULL && status == ADV_OK) {
		adv_held_attach(h, request, text);
	} else {
		adv_held_end(h, ADV_NO_CAPACITY);
		adv_http_fail(request, ADV_NO_CAPACITY, "the node is out of memory");
	}
	free(text);
}

void adv_api_lease_granted(struct adv_http_request *request, struct adv_held *h)
{
	if (h->is_remote || adv_http_header(request, "Upgrade") != NULL)
		attach_at_once(request, h);
	else
		adv_http_respond(request, 201, granted_json(h));
}

/* What a lease over verbs says beside; as text and numbers. */
struct verbs_fields {
	const char *fabric, *client;
	uint64_t link, mirror, mirror_rkey, hand_over;
};

static bool client_parse(const char *text, uint8_t id[ADV_CLIENT_ID_BYTES])
{
	if (text == NULL || strlen(text) != (size_t)2 * ADV_CLIENT_ID_BYTES ||
	    strspn(text, "0123456789abcdef") != strlen(text))
		return false;
	for (int i = 0; i < ADV_CLIENT_ID_BYTES; i++) {
		unsigned byte = 0;
		sscanf(text + 2 * i, "%2x", &byte);
		id[i] = (uint8_t)byte;
	}
	return true;
}

/* Which fabric the lease is for. False: it cannot be had, and the request is answered. */
static bool fabric_of(struct adv_control *c, struct adv_http_request *request,
		      const struct verbs_fields *f, struct adv_remote_wish *wish, bool *is_remote)
{
	*is_remote = f->fabric != NULL && strcmp(f->fabric, "verbs") == 0;
	if (f->fabric != NULL && !*is_remote && strcmp(f->fabric, "shm") != 0) {
		adv_http_fail(request, ADV_INVALID, "no fabric \"%.32s\": shm or verbs", f->fabric);
		return false;
	}
	if (!*is_remote && adv_http_is_remote(request)) {
		adv_http_fail(request, ADV_INVALID,
			      "lanes in shared memory are for clients on the node's own machine: "
			      "lease over "
			      "verbs (verbs://HOST:PORT)");
		return false;
	}
	if (!*is_remote)
		return true;
	if (c->remotes == NULL) {
		adv_http_fail(request, ADV_INVALID,
			      "this node speaks no verbs: start it with --verbs DEVICE");
		return false;
	}
	if (!client_parse(f->client, wish->client) || f->mirror_rkey > UINT32_MAX ||
	    f->link > UINT32_MAX || f->hand_over > 1 ||
	    adv_http_header(request, "Upgrade") == NULL) {
		adv_http_fail(request, ADV_INVALID,
			      "a lease over verbs needs \"client\" (32 hexadecimal digits), "
			      "\"mirror_rkey\" and \"Upgrade: %s\"",
			      ADV_LANE_UPGRADE);
		return false;
	}
	wish->link = (uint32_t)f->link;
	wish->mirror = f->mirror;
	wish->mirror_rkey = (uint32_t)f->mirror_rkey;
	wish->hand_over = f->hand_over == 1;
	return true;
}

static void post(struct adv_control *c, struct adv_http_request *request)
{
	const char *name = NULL;
	uint64_t workers = 1, slots = ADV_SLOTS_DEFAULT, priority = ADV_LEASE_PRIORITY_DEFAULT;
	struct verbs_fields verbs = {0};
	struct adv_remote_wish remote;
	bool is_remote = false;
	struct adv_lease_wish wish = {
		.tenant = adv_http_uid(request),
		.in_capacity = ADV_CAPACITY_DEFAULT,
		.out_capacity = ADV_CAPACITY_DEFAULT,
		.memory_bytes = ADV_LEASE_MEMORY_DEFAULT,
		.ttl_ms = ADV_LEASE_TTL_MS_DEFAULT,
		.hot_us = ADV_HOT_US_DEFAULT,
	};
	const struct adv_field fields[] = {
		{"module", ADV_FIELD_STRING, &name},
		{"workers", ADV_FIELD_U64, &workers},
		{"slots", ADV_FIELD_U64, &slots},
		{"in_capacity", ADV_FIELD_U64, &wish.in_capacity},
		{"out_capacity", ADV_FIELD_U64, &wish.out_capacity},
		{"memory_bytes", ADV_FIELD_U64, &wish.memory_bytes},
		{"ttl_ms", ADV_FIELD_U64, &wish.ttl_ms},
		{"hot_us", ADV_FIELD_HOT, &wish.hot_us},
		{"priority", ADV_FIELD_U64, &priority},
		{"wait_ms", ADV_FIELD_U64, &wish.wait_ms},
		{"fabric", ADV_FIELD_STRING, &verbs.fabric},
		{"client", ADV_FIELD_STRING, &verbs.client},
		{"link", ADV_FIELD_U64, &verbs.link},
		{"mirror", ADV_FIELD_U64, &verbs.mirror},
		{"mirror_rkey", ADV_FIELD_U64, &verbs.mirror_rkey},
		{"hand_over", ADV_FIELD_U64, &verbs.hand_over},
	};
	json_t *body = upgrade_ok(request, true) ? adv_http_json(request) : NULL;
	if (body == NULL)
		return;
	bool ok = adv_api_fields(request, body, fields, sizeof(fields) / sizeof(fields[0]));
	struct adv_module *module = NULL;
	if (ok && name == NULL)
		adv_http_fail(request, ADV_INVALID, "the request must name a \"module\"");
	else if (ok && c->stopping)
		adv_http_fail(request, ADV_NO_CAPACITY, "the node is stopping");
	else if (ok && wish.wait_ms > ADV_LEASE_WAIT_MS_MAX)
		adv_http_fail(request, ADV_INVALID, "wait_ms %" PRIu64 ": must be from 0 to %d",
			      wish.wait_ms, ADV_LEASE_WAIT_MS_MAX);
	else if (ok && fabric_of(c, request, &verbs, &remote, &is_remote))
		module = adv_api_module(c, request, name);
	json_decref(body);
	if (module == NULL)
		return;
	wish.workers = workers > UINT32_MAX ? UINT32_MAX : (uint32_t)workers;
	wish.slots = slots > UINT32_MAX ? UINT32_MAX : (uint32_t)slots;
	wish.priority = priority > UINT32_MAX ? UINT32_MAX : (uint32_t)priority;
	adv_admission_begin(c, request, module, &wish, is_remote ? &remote : NULL);
}

/* ---- the others ---- */

static void list(struct adv_control *c, struct adv_http_request *request)
{
	uint32_t tenant = adv_http_uid(request);
	uint64_t now = adv_clock_boottime_ns();
	json_t *leases = json_array();
	for (struct adv_lease_entry *e = adv_leases_next(c->leases, NULL); e != NULL;
	     e = adv_leases_next(c->leases, e))
		if (e->user != NULL && (e->wish.tenant == tenant || tenant == 0))
			json_array_append_new(leases, listed_json(e, now));
	adv_http_respond(request, 200, json_pack("{s:o}", "leases", leases));
}

/* The lease of the path, if the peer may know of it. NULL: answered. */
static struct adv_lease_entry *find(struct adv_control *c, struct adv_http_request *request,
				    const char *text)
{
	uint64_t id;
	uint32_t tenant = adv_http_uid(request);
	struct adv_lease_entry *e = NULL;
	if (adv_parse_u64(text, &id) == 0)
		e = adv_leases_find(c->leases, id);
	if (e == NULL || e->user == NULL || (e->wish.tenant != tenant && tenant != 0)) {
		adv_http_fail(request, ADV_NO_LEASE,
			      "no lease %.32s here: it is over, or not this tenant's, or of a node "
			      "that has "
			      "been restarted",
			      text);
		return NULL;
	}
	return e;
}

static bool token_parse(const char *text, uint8_t token[ADV_TOKEN_BYTES])
{
	if (text == NULL || strlen(text) != (size_t)2 * ADV_TOKEN_BYTES)
		return false;
	for (int i = 0; i < ADV_TOKEN_BYTES; i++) {
		unsigned byte;
		if (strspn(text + 2 * i, "0123456789abcdef") < 2 ||
		    sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		token[i] = (uint8_t)byte;
	}
	return true;
}

static void attach(struct adv_http_request *request, struct adv_lease_entry *e)
{
	uint8_t token[ADV_TOKEN_BYTES];
	if (!upgrade_ok(request, false))
		return;
	if (adv_http_is_remote(request) || ((struct adv_held *)e->user)->is_remote) {
		adv_http_fail(
			request, ADV_INVALID,
			"only a lease in shared memory is attached, and only by a local client");
		return;
	}
	if (!token_parse(adv_http_header(request, "Adverb-Token"), token)) {
		adv_http_fail(request, ADV_BAD_TOKEN,
			      "attach needs the lease's token in \"Adverb-Token\", 32 hexadecimal "
			      "digits");
		return;
	}
	enum adv_status status =
		adv_leases_attach(((struct adv_held *)e->user)->control->leases, e,
				  adv_http_uid(request), token, adv_clock_boottime_ns());
	if (status != ADV_OK) {
		adv_http_fail(request, status, "lease %" PRIu64 " cannot be attached: %s", e->id,
			      status == ADV_INVALID ? "it is attached already"
						    : adv_status_text(status));
		return;
	}
	adv_held_attach(e->user, request, NULL);
}

static void renew(struct adv_control *c, struct adv_http_request *request,
		  struct adv_lease_entry *e)
{
	uint64_t ttl_ms = 0;
	uint8_t token[ADV_TOKEN_BYTES];
	const struct adv_field fields[] = {{"ttl_ms", ADV_FIELD_U64, &ttl_ms}};
	json_t *body = adv_http_json(request);
	if (body == NULL)
		return;
	bool ok = adv_api_fields(request, body, fields, 1);
	json_decref(body);
	if (!ok)
		return;
	if (!token_parse(adv_http_header(request, "Adverb-Token"), token) ||
	    !adv_lease_token_ok(e, token)) {
		adv_http_fail(request, ADV_BAD_TOKEN,
			      "the token in \"Adverb-Token\" is not this lease's");
		return;
	}
	enum adv_status status = adv_leases_renew(c->leases, e, ttl_ms, adv_clock_boottime_ns());
	if (status != ADV_OK) {
		adv_http_fail(request, status,
			      "lease %" PRIu64 " cannot be renewed for %" PRIu64 " ms: %s", e->id,
			      ttl_ms, adv_status_text(status));
		return;
	}
	adv_held_schedule(c);
	adv_http_respond(
		request, 200,
		json_pack("{s:I}", "ttl_ms", (json_int_t)(ttl_ms != 0 ? ttl_ms : e->wish.ttl_ms)));
}

static void one(struct adv_http_request *request, struct adv_lease_entry *e)
{
	if (adv_http_method(request) == ADV_HTTP_GET) {
		adv_http_respond(
			request, 200,
			json_pack("{s:o}", "lease", listed_json(e, adv_clock_boottime_ns())));
	} else if (adv_http_method(request) == ADV_HTTP_DELETE) {
		char id[24];
		snprintf(id, sizeof(id), "%" PRIu64, e->id);
		adv_held_end(e->user,
			     e->wish.tenant == adv_http_uid(request) ? ADV_CLOSED : ADV_REVOKED);
		adv_http_respond(request, 200, json_pack("{s:s}", "ended", id));
	} else {
		adv_http_wrong_method(request, "GET, DELETE");
	}
}

void adv_api_leases(struct adv_control *c, struct adv_http_request *request,
		    const struct adv_route *route)
{
	enum adv_http_method method = adv_http_method(request);
	if (route->nr_parts == 1) {
		if (method == ADV_HTTP_GET)
			list(c, request);
		else if (method == ADV_HTTP_POST)
			post(c, request);
		else
			adv_http_wrong_method(request, "GET, POST");
		return;
	}
	struct adv_lease_entry *e = find(c, request, route->part[1]);
	if (e == NULL)
		return;
	if (route->nr_parts == 2)
		one(request, e);
	else if (strcmp(route->part[2], "attach") != 0 && strcmp(route->part[2], "renew") != 0)
		adv_http_fail_as(request, 404, ADV_INVALID, "no such path: %s",
				 adv_http_path(request));
	else if (method != ADV_HTTP_POST)
		adv_http_wrong_method(request, "POST");
	else if (strcmp(route->part[2], "attach") == 0)
		attach(request, e);
	else
		renew(c, request, e);
}
