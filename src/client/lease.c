/* lease.c - opening and closing a lease, and what it says of itself. The lease's thread. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/internal.h"
#include "client/verbs.h"
#include "util/clock.h"
#include "util/fd.h"

#define OPEN_MS_DEFAULT	 5000
#define GIVE_BACK_MS	 200 /* a lease that could not be attached, if that goes quickly */
#define SPIN_US_DEFAULT	 1000
#define TOKEN_TEXT_BYTES (2 * ADV_TOKEN_BYTES + 1)

/* ---- options ---- */

void adv_lease_options_init(struct adv_lease_options *o)
{
	*o = (struct adv_lease_options){
		.size = sizeof(*o),
		.workers = 1,
		.memory_bytes = ADV_LEASE_MEMORY_DEFAULT,
		.ttl_ms = ADV_LEASE_TTL_MS_DEFAULT,
		.hot_us = ADV_HOT_DEFAULT,
		.slots = ADV_SLOTS_DEFAULT,
		.in_capacity = (uint32_t)ADV_CAPACITY_DEFAULT,
		.out_capacity = (uint32_t)ADV_CAPACITY_DEFAULT,
		.timeout_ms = OPEN_MS_DEFAULT,
		.spin_us = SPIN_US_DEFAULT,
		.priority = ADV_LEASE_PRIORITY_DEFAULT,
	};
}

static enum adv_status options_read(const struct adv_lease_options *from,
				    struct adv_lease_options *o)
{
	adv_lease_options_init(o);
	if (from == NULL)
		return ADV_OK;
	/* Later versions append: this one is the shortest. */
	if (from->size < sizeof(*o))
		return adv_client_fail_text(
			ADV_INVALID,
			"lease options: size is not set; call adv_lease_options_init() first");
	memcpy(o, from, sizeof(*o));
	if ((o->flags & ~(ADV_LEASE_NO_RENEW | ADV_LEASE_RESUME | ADV_LEASE_IDEMPOTENT)) != 0)
		return adv_client_fail(ADV_VERSION,
				       "lease options: flags 0x%x are not known to this library",
				       o->flags);
	if ((o->flags & ADV_LEASE_IDEMPOTENT) && !(o->flags & ADV_LEASE_RESUME))
		return adv_client_fail_text(ADV_INVALID,
					    "lease options: ADV_LEASE_IDEMPOTENT says what "
					    "ADV_LEASE_RESUME may do: set both");
	if (o->memory_bytes > INT64_MAX || o->ttl_ms > ADV_LEASE_TTL_MS_MAX ||
	    (o->hot_us > INT64_MAX && o->hot_us != ADV_HOT_ALWAYS && o->hot_us != ADV_HOT_DEFAULT &&
	     o->hot_us != ADV_HOT_AUTO))
		return adv_client_fail_text(
			ADV_INVALID, "lease options: memory_bytes, ttl_ms or hot_us is too large");
	if (o->wait_ms > ADV_LEASE_WAIT_MS_MAX)
		return adv_client_fail(ADV_INVALID, "lease options: wait_ms is more than %d",
				       ADV_LEASE_WAIT_MS_MAX);
	if (o->timeout_ms == 0)
		o->timeout_ms = OPEN_MS_DEFAULT;
	return ADV_OK;
}

static char *options_json(const struct adv_lease *l, const char *module,
			  const struct adv_lease_options *o)
{
	json_t *object = json_pack(
		"{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "module", module, "workers",
		(json_int_t)o->workers, "memory_bytes", (json_int_t)o->memory_bytes, "ttl_ms",
		(json_int_t)o->ttl_ms, "slots", (json_int_t)o->slots, "in_capacity",
		(json_int_t)o->in_capacity, "out_capacity", (json_int_t)o->out_capacity);
	if (object == NULL)
		return NULL;
	if (o->priority != ADV_LEASE_PRIORITY_DEFAULT)
		json_object_set_new(object, "priority", json_integer(o->priority));
	if (o->wait_ms > 0)
		json_object_set_new(object, "wait_ms", json_integer((json_int_t)o->wait_ms));
	if (o->hot_us != ADV_HOT_DEFAULT)
		json_object_set_new(object, "hot_us",
				    o->hot_us == ADV_HOT_ALWAYS ? json_string("always")
				    : o->hot_us == ADV_HOT_AUTO
					    ? json_string("auto")
					    : json_integer((json_int_t)o->hot_us));
#if ADV_HAVE_VERBS
	if (l->verbs != NULL)
		adv_verbs_lease_wish(l, object);
#else
	(void)l;
#endif
	char *text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

/* ---- what the node grants ---- */

/* On the way from the grant to the attached lease. */
struct opening {
	const struct adv_address *address;
	uint64_t deadline_ns;
	struct adv_lease_options options;
	uint64_t asked_ns; /* CLOCK_BOOTTIME */
	uint64_t ttl_ms;
	int fd;	     /* the connection, as long as it may be used again */
	bool spoken; /* it has carried a request already */
	bool granted;
	char token[TOKEN_TEXT_BYTES];
	struct adv_node_run run;
};

static bool token_ok(const char *token)
{
	return strlen(token) == TOKEN_TEXT_BYTES - 1 &&
	       strspn(token, "0123456789abcdefABCDEF") == TOKEN_TEXT_BYTES - 1;
}

static bool id_ok(const char *id)
{
	return id[0] != '\0' &&
	       strspn(id, "0123456789abcdefABCDEFghijklmnopqrstuvwxyz-_") == strlen(id);
}

static bool read_functions(struct adv_lease *l, const json_t *lease)
{
	const json_t *list = json_object_get(lease, "functions");
	size_t n = json_array_size(list);
	if (l->functions != NULL)
		return n ==
		       l->nr_functions; /* of a lease in the place of another: the same module's */
	if (n < 1 || n > ADV_FUNCTIONS_MAX)
		return false;
	l->functions = calloc(n, sizeof(*l->functions));
	if (l->functions == NULL)
		return false;
	for (; l->nr_functions < n; l->nr_functions++) {
		const char *name = json_string_value(json_array_get(list, l->nr_functions));
		if (name == NULL || strlen(name) >= ADV_FUNCTION_NAME_MAX)
			return false;
		char *copy = strdup(name);
		if (copy == NULL)
			return false;
		l->functions[l->nr_functions] = copy;
	}
	return true;
}

/* A node that pins nothing may leave them out. */
static bool read_cpus(struct adv_lease *l, const json_t *lease)
{
	const json_t *list = json_object_get(lease, "cpus");
	uint32_t n = l->geometry.nr_lanes;
	if (l->cpus == NULL)
		l->cpus = calloc(n, sizeof(*l->cpus));
	CPU_ZERO(&l->worker_cpus);
	if (l->cpus == NULL || (list != NULL && json_array_size(list) != n))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		const json_t *cpu = json_array_get(list, i);
		json_int_t number = json_is_integer(cpu) ? json_integer_value(cpu) : -1;
		l->cpus[i] = number >= 0 && number <= INT_MAX ? (int)number : -1;
		if (l->cpus[i] >= 0 && l->cpus[i] < CPU_SETSIZE)
			CPU_SET(l->cpus[i], &l->worker_cpus);
	}
	return true;
}

static bool read_geometry(struct adv_lease *l, const json_t *lease)
{
	uint64_t workers, slots, in, out;
	struct adv_geometry g;
	if (!adv_client_json_u64(lease, "workers", ADV_LANES_MAX, &workers) ||
	    !adv_client_json_u64(lease, "slots", ADV_SLOTS_MAX, &slots) ||
	    !adv_client_json_u64(lease, "in_capacity", ADV_CAPACITY_MAX, &in) ||
	    !adv_client_json_u64(lease, "out_capacity", ADV_CAPACITY_MAX, &out) ||
	    adv_geometry_init(&g, (uint32_t)workers, (uint32_t)slots, in, out) < 0)
		return false;
	/* One in the place of another has its shape: its lanes come to lie where the other's were. */
	if (l->functions != NULL &&
	    (g.nr_lanes != l->geometry.nr_lanes || g.nr_slots != l->geometry.nr_slots ||
	     g.in_capacity != l->geometry.in_capacity ||
	     g.out_capacity != l->geometry.out_capacity))
		return false;
	l->geometry = g;
	return true;
}

/* Both sides derive the layout from the same four numbers: another size is another layout. */
static bool same_sizes(const struct adv_lease *l, const json_t *lease)
{
	const json_t *sizes = json_object_get(lease, "sizes");
	if (json_array_size(sizes) != ADV_LANE_FILES)
		return false;
	for (size_t i = 0; i < ADV_LANE_FILES; i++) {
		const json_t *size = json_array_get(sizes, i);
		if (!json_is_integer(size) ||
		    (uint64_t)json_integer_value(size) != l->geometry.size[i])
			return false;
	}
	return true;
}

/* A lease that takes the place of another must be of the same module's same bytes. */
static enum adv_status read_digest(struct adv_lease *l, const struct opening *o,
				   const json_t *lease)
{
	char digest[sizeof(l->digest)];
	if (!adv_client_json_text(lease, "digest", digest, sizeof(digest)))
		return adv_client_fail(ADV_PROTOCOL,
				       "the node at %s grants a lease without a digest",
				       o->address->text);
	if (l->digest[0] != '\0' && strcmp(digest, l->digest) != 0)
		return adv_client_fail(
			ADV_BAD_MODULE,
			"the node at %s has another module \"%s\" by now: open another lease",
			o->address->text, l->module);
	memcpy(l->digest, digest, sizeof(digest));
	return ADV_OK;
}

static enum adv_status read_grant(struct adv_lease *l, struct opening *o, const json_t *answer)
{
	const json_t *lease = json_object_get(answer, "lease");
	uint64_t hits = 0, waited_ms = 0;
	if (!adv_client_json_text(lease, "id", l->id, sizeof(l->id)) || !id_ok(l->id) ||
	    !adv_client_json_text(lease, "token", o->token, sizeof(o->token)) ||
	    !token_ok(o->token))
		return adv_client_fail(ADV_PROTOCOL,
				       "the node at %s grants a lease without id and token",
				       o->address->text);
	o->granted = true;
	enum adv_status status = read_digest(l, o, lease);
	if (status != ADV_OK)
		return status;
	if (!adv_client_node_run_read(json_object_get(answer, "node"), &o->run) ||
	    !adv_client_json_u64(lease, "ttl_ms", ADV_LEASE_TTL_MS_MAX, &o->ttl_ms) ||
	    o->ttl_ms < ADV_LEASE_TTL_MS_MIN || !read_geometry(l, lease) ||
	    !read_functions(l, lease) || !read_cpus(l, lease))
		return adv_client_fail(ADV_PROTOCOL,
				       "the node at %s grants a lease that makes no sense",
				       o->address->text);
	/* Its time began so much after it was asked for; no more than it was allowed to wait. */
	if (adv_client_json_u64(lease, "waited_ms", o->options.wait_ms, &waited_ms))
		o->asked_ns = adv_clock_add(o->asked_ns, waited_ms * ADV_MS);
	if (!same_sizes(l, lease))
		return adv_client_fail(
			ADV_VERSION,
			"the node at %s lays lanes out in another way: use the library "
			"that belongs to the node",
			o->address->text);
#if ADV_HAVE_VERBS
	if (l->verbs != NULL) {
		CPU_ZERO(&l->worker_cpus); /* another machine's */
		return adv_verbs_lease_read(l, lease);
	}
#endif
	l->shared_cores = json_is_true(json_object_get(lease, "shared_cores"));
	if (adv_client_json_u64(lease, "hot_hits", l->geometry.nr_lanes, &hits))
		l->nr_hot = (uint32_t)hits;
	return ADV_OK;
}

/* ---- asking ---- */

/* One request on the connection there is, or on a new one. It is kept when the node keeps it. */
static enum adv_status ask(struct opening *o, const struct adv_client_request *request, bool attach,
			   struct adv_client_answer *a)
{
	enum adv_status status;
	if (o->fd >= 0) {
		status = adv_client_exchange(o->fd, o->address, o->deadline_ns, request, attach, a);
		/* A node may hang up on a connection that rests; that was not an answer. */
		if (status != ADV_NODE_GONE)
			goto out;
		adv_fd_close(&o->fd);
	}
	status = adv_client_dial(o->address, o->deadline_ns, &o->fd);
	if (status == ADV_OK)
		status = adv_client_exchange(o->fd, o->address, o->deadline_ns, request, attach, a);
out:
	if (status != ADV_OK || (!a->keep_alive && a->code != 101))
		adv_fd_close(&o->fd);
	return status;
}

static void while_waiting(void *user)
{
	struct adv_lease *l = user;
	/* What fails here fails again, with a word, when the lease is there. */
	(void)adv_keeper_prepare(&l->keeper);
}

/* Asks for the lease and its lanes at once. A node that grants first and hands over when asked again is fine too: code 201. */
static enum adv_status request_lease(struct adv_lease *l, struct opening *o, const char *module,
				     struct adv_client_answer *a)
{
	ADV_CLEANUP_FREE char *body = options_json(l, module, &o->options);
	if (body == NULL)
		return adv_client_fail(ADV_INVALID, "\"%.64s\" is not a module's name", module);
	const struct adv_client_request request = {.method = "POST",
						   .path = "/v1/leases",
						   .headers = "Upgrade: " ADV_LANE_UPGRADE
							      "\r\nConnection: Upgrade\r\n",
						   .type = "application/json",
						   .body = body,
						   .body_size = strlen(body),
						   .file = -1,
						   .sent = while_waiting,
						   .user = l};
	o->asked_ns = adv_clock_boottime_ns();
	enum adv_status status = ask(o, &request, true, a);
	if (status != ADV_OK)
		return status;
	if (a->code != 101)
		status = adv_client_answer_status(a, o->address->text);
	json_t *answer = status == ADV_OK ? adv_client_json(a->body, a->body_size) : NULL;
	if (status == ADV_OK)
		status = read_grant(l, o, answer);
	json_decref(answer);
	if (status != ADV_OK)
		adv_client_answer_fini(a);
	return status;
}

/* The grant came from a run of the node that is over: say so instead of "no such lease". */
static enum adv_status attach_refused(const struct opening *o, enum adv_status status)
{
	struct adv_node_run now;
	char text[ADV_CLIENT_ERROR_BYTES];
	snprintf(text, sizeof(text), "%s", adv_error());
	if (status != ADV_NO_LEASE && status != ADV_BAD_TOKEN && status != ADV_NODE_GONE)
		return status;
	if (adv_client_node_run(o->address, o->deadline_ns, &now) == ADV_OK &&
	    !adv_client_node_run_same(&now, &o->run))
		return adv_client_fail(
			ADV_NODE_RESTARTED,
			"the node at %s was restarted after it had granted the lease: "
			"open another",
			o->address->text);
	return adv_client_fail(status, "%s", text);
}

/* The second step where the first one did not do it. */
static enum adv_status request_lanes(struct adv_lease *l, struct opening *o,
				     struct adv_client_answer *a)
{
	char path[96], headers[160];
	snprintf(path, sizeof(path), "/v1/leases/%s/attach", l->id);
	snprintf(headers, sizeof(headers),
		 "Upgrade: " ADV_LANE_UPGRADE "\r\nConnection: Upgrade\r\nAdverb-Token: %s\r\n",
		 o->token);
	const struct adv_client_request request = {
		.method = "POST", .path = path, .headers = headers, .file = -1};
	enum adv_status status = ask(o, &request, true, a);
	if (status == ADV_NO_NODE)
		status = ADV_NODE_GONE; /* it was there for the grant */
	if (status != ADV_OK)
		return attach_refused(o, status);
	if (a->code == 101)
		return ADV_OK;
	status = attach_refused(o, adv_client_answer_status(a, o->address->text));
	adv_client_answer_fini(a);
	return status;
}

static enum adv_status take_memory(struct adv_lease *l, struct opening *o,
				   struct adv_client_answer *a)
{
#if ADV_HAVE_VERBS
	if (l->verbs != NULL)
		return adv_verbs_lease_attach(l, o->token, o->deadline_ns);
#else
	(void)o;
#endif
	return adv_lease_map(l, a);
}

static enum adv_status attach(struct adv_lease *l, struct opening *o, struct adv_client_answer *a)
{
	enum adv_status status = take_memory(l, o, a);
	if (status == ADV_OK)
		status = adv_lease_books_init(l);
	if (status == ADV_OK) {
		const struct adv_keeper_options keep = {
			.address = o->address,
			.connection = o->fd,
			.event = l->event_fd,
			/* A mirror has its pages since it was registered. */
			.slots = l->verbs == NULL ? l->maps[ADV_LANE_SLOTS] : NULL,
			.slots_size = l->verbs == NULL ? l->geometry.size[ADV_LANE_SLOTS] : 0,
			.renew = !(o->options.flags & ADV_LEASE_NO_RENEW),
			.ttl_ms = o->ttl_ms,
			.asked_ns = o->asked_ns,
			.run = &o->run,
			.rest = a->rest + 1,
			.rest_size = a->rest_size - 1,
		};
		status = adv_keeper_start(&l->keeper, &keep);
		if (status == ADV_OK)
			(void)adv_fd_steal(&o->fd);
	}
	return status;
}

static enum adv_status obtain(struct adv_lease *l, struct opening *o, const char *module)
{
	struct adv_client_answer a;
	enum adv_status status = request_lease(l, o, module, &a);
	if (status != ADV_OK)
		return status;
	if (a.code != 101 && l->verbs != NULL) {
		adv_client_answer_fini(&a);
		return adv_client_fail(ADV_PROTOCOL, "the node at %s grants a lease but no lanes",
				       o->address->text);
	}
	if (a.code != 101) {
		adv_client_answer_fini(&a);
		status = request_lanes(l, o, &a);
		if (status != ADV_OK)
			return status;
	}
	status = attach(l, o, &a);
	adv_client_answer_fini(&a);
	return status;
}

/* ---- opening ---- */

static void lease_free(struct adv_lease *l)
{
#if ADV_HAVE_VERBS
	/* In a forked child the device's handles are the parent's. */
	if (l->pid == (int)getpid())
		adv_verbs_lease_free(l, atomic_load_explicit(&l->keeper.lost,
							     memory_order_acquire) == ADV_CLOSED);
#endif
	adv_lease_unmap(l);
	adv_resume_fini(l);
	for (uint32_t i = 0; l->functions != NULL && i < l->nr_functions; i++)
		free(l->functions[i]);
	free(l->functions);
	free(l->cpus);
	free(l->workers);
	free(l->calls);
	free(l->slots);
	free(l->stacks);
	free(l);
}

static struct adv_lease *lease_alloc(const char *module, const struct adv_lease_options *o)
{
	struct timespec tick;
	struct adv_lease *l =
		aligned_alloc(ADV_CACHE_LINE,
			      (sizeof(*l) + ADV_CACHE_LINE - 1) / ADV_CACHE_LINE * ADV_CACHE_LINE);
	if (l == NULL)
		return NULL;
	memset(l, 0, sizeof(*l));
	l->event_fd = -1;
	l->wait_fd = -1;
	adv_keeper_init(&l->keeper);
	l->pid = (int)getpid();
	l->earliest_ns = UINT64_MAX;
	l->spin_ns = o->spin_us > UINT64_MAX / 1000 ? UINT64_MAX : o->spin_us * 1000;
	l->tick_ns = 10 * ADV_MS;
	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0)
		l->tick_ns = (uint64_t)tick.tv_sec * ADV_SEC + (uint64_t)tick.tv_nsec;
	snprintf(l->module, sizeof(l->module), "%s", module);
	return l;
}

static void *lines_alloc(size_t size)
{
	void *p = aligned_alloc(ADV_CACHE_LINE,
				(size + ADV_CACHE_LINE - 1) / ADV_CACHE_LINE * ADV_CACHE_LINE);
	if (p != NULL)
		memset(p, 0, size);
	return p;
}

static enum adv_status books_alloc(struct adv_lease *l)
{
	const struct adv_geometry *g = &l->geometry;
	size_t n = (size_t)g->nr_lanes * g->nr_slots;
	l->workers = lines_alloc(g->nr_lanes * sizeof(*l->workers));
	l->calls = lines_alloc(n * sizeof(*l->calls));
	l->slots = lines_alloc(n * sizeof(*l->slots));
	l->stacks = lines_alloc(2 * n * sizeof(*l->stacks));
	if (l->workers == NULL || l->calls == NULL || l->slots == NULL || l->stacks == NULL)
		return adv_client_fail(ADV_NO_MEMORY, "no memory for %zu slots", n);
	l->nr_workers = g->nr_lanes;
	return ADV_OK;
}

/* What is not known after the lane that it was counted on. */
static void keep_counts(struct adv_lease *l)
{
	for (uint32_t i = 0; i < l->nr_workers; i++) {
		l->stats.wakes += l->workers[i].caller.wakes;
		l->stats.deaths += l->workers[i].caller.deaths;
		l->workers[i].caller.wakes = l->workers[i].caller.deaths = 0;
	}
}

enum adv_status adv_lease_books_init(struct adv_lease *l)
{
	const struct adv_geometry *g = &l->geometry;
	enum adv_status status = l->workers == NULL ? books_alloc(l) : ADV_OK;
	if (status != ADV_OK)
		return status;
	keep_counts(l);
	for (uint32_t i = 0; i < g->nr_lanes; i++) {
		struct adv_client_worker *w = &l->workers[i];
		size_t first = (size_t)i * g->nr_slots;
		adv_caller_init(&w->caller, g, i, l->maps[ADV_LANE_REQ], l->maps[ADV_LANE_CPL],
				l->maps[ADV_LANE_SLOTS], l->calls + first);
		w->caller.checked = l->verbs != NULL;
		w->slots = l->slots + first;
		w->free = l->stacks + 2 * first;
		w->lost = w->free + g->nr_slots;
		w->nr_free = w->nr_lost = 0;
		for (uint32_t slot = g->nr_slots; slot-- > 0;)
			if (!w->slots[slot].held)
				w->free[w->nr_free++] = (uint16_t)slot; /* the first on top */
	}
	l->earliest_ns = UINT64_MAX;
	return ADV_OK;
}

/* So that its workers do not wait for somebody who does not come. Its failure says nothing new. */
static void give_back(const struct adv_lease *l, struct opening *o)
{
	char path[96], text[ADV_CLIENT_ERROR_BYTES];
	struct adv_client_answer a;
	snprintf(text, sizeof(text), "%s", adv_error());
	snprintf(path, sizeof(path), "/v1/leases/%s", l->id);
	const struct adv_client_request request = {
		.method = "DELETE", .path = path, .headers = "Connection: close\r\n", .file = -1};
	if (adv_client_ask(o->address, adv_client_deadline(GIVE_BACK_MS), &request, &a) == ADV_OK)
		adv_client_answer_fini(&a);
	adv_client_fail(ADV_OK, "%s", text);
}

/* A lease over RDMA brings memory of its own, and knows its shape before it asks. */
static enum adv_status prepare(struct adv_lease *l, const struct opening *o, struct adv_node *node)
{
	const struct adv_lease_options *x = &o->options;
	if (node->address.kind == ADV_ADDRESS_TCP)
		return adv_client_fail(
			ADV_INVALID,
			"%s: over TCP there is the control API alone; lease by verbs://HOST:PORT, "
			"or by unix:PATH on the node's machine",
			node->address.text);
	if (node->verbs == NULL)
		return ADV_OK;
#if ADV_HAVE_VERBS
	if (adv_geometry_init(&l->geometry, x->workers, x->slots, x->in_capacity, x->out_capacity) <
	    0)
		return adv_client_fail_text(
			ADV_INVALID,
			"lease options: workers, slots or a capacity is not within its "
			"limits");
	enum adv_status status = adv_node_find_device(node);
	return status == ADV_OK ? adv_verbs_lease_prepare(l, node->verbs) : status;
#else
	(void)l;
	(void)x;
	return ADV_OK;
#endif
}

enum adv_status adv_lease_open(struct adv_node *node, const char *module,
			       const struct adv_lease_options *options, struct adv_lease **out)
{
	struct opening o = {.fd = -1};
	if (node == NULL || module == NULL || out == NULL)
		return adv_client_fail_text(ADV_INVALID,
					    "adv_lease_open: node, module or lease is NULL");
	enum adv_status status = options_read(options, &o.options);
	if (status != ADV_OK)
		return status;
	struct adv_lease *l = lease_alloc(module, &o.options);
	if (l == NULL)
		return adv_client_fail_text(ADV_NO_MEMORY, "no memory for a lease");
	o.address = &node->address;
	o.deadline_ns = adv_client_deadline(o.options.timeout_ms + o.options.wait_ms);
	if (o.options.flags & ADV_LEASE_RESUME)
		status = adv_resume_init(l, &o.options);
	if (status == ADV_OK)
		status = prepare(l, &o, node);
	o.fd = status == ADV_OK ? adv_node_take_spare(node) : -1;
	if (status == ADV_OK)
		status = obtain(l, &o, module);
	adv_fd_close(&o.fd);
	if (status != ADV_OK) {
		if (o.granted && status != ADV_NODE_GONE && status != ADV_NODE_RESTARTED)
			give_back(l, &o);
		adv_keeper_stop(&l->keeper);
		lease_free(l);
		return status;
	}
	l->node = adv_node_get(node);
	adv_node_lease_begins(node);
	*out = l;
	return ADV_OK;
}

/* The keeper says that the lease is over, if it still is there, and waits for the node's word. */
static void end_old(struct adv_lease *l)
{
	adv_keeper_stop(&l->keeper);
	l->stats.renewals += atomic_load_explicit(&l->keeper.renewals, memory_order_relaxed);
	adv_keeper_init(&l->keeper);
#if ADV_HAVE_VERBS
	if (l->verbs != NULL)
		adv_verbs_lease_reset(l);
#endif
}

enum adv_status adv_lease_again(struct adv_lease *l, const struct adv_lease_options *options,
				uint64_t deadline_ns)
{
	struct opening o = {.fd = -1,
			    .address = &l->node->address,
			    .deadline_ns = deadline_ns,
			    .options = *options};
	uint32_t lost = atomic_load_explicit(&l->keeper.lost, memory_order_relaxed);
	end_old(l);
	o.fd = adv_node_take_spare(l->node);
	enum adv_status status = obtain(l, &o, l->module);
	adv_fd_close(&o.fd);
	if (status == ADV_OK)
		return ADV_OK;
	if (o.granted && status != ADV_NODE_GONE && status != ADV_NODE_RESTARTED)
		give_back(l, &o);
	adv_keeper_stop(&l->keeper);
	adv_keeper_init(&l->keeper);
	/* It is as lost as before, or as it has become. */
	adv_keeper_lost(&l->keeper, lost != ADV_OK ? (enum adv_status)lost : ADV_NODE_GONE);
	return status;
}

void adv_lease_close(struct adv_lease *l)
{
	if (l == NULL)
		return;
	if (l->pid == (int)getpid()) {
#if ADV_HAVE_VERBS
		if (l->verbs != NULL)
			adv_verbs_lease_quiet(l);
#endif
		adv_keeper_stop(&l->keeper);
		adv_node_dial_spare(l->node);
	} else {
		adv_keeper_forget(&l->keeper);
	}
	struct adv_node *node = l->node;
	lease_free(l);
	adv_node_lease_over(node);
	adv_node_put(node); /* after what belongs to its device */
}

/* ---- what it says of itself ---- */

enum adv_status adv_lease_state(struct adv_lease *l)
{
	uint32_t state = adv_client_state(l);
	for (uint32_t i = 0; state == ADV_OK && i < l->nr_workers; i++)
		state = adv_caller_state(&l->workers[i].caller);
	return state == ADV_OK ? ADV_OK : adv_client_refused(l, (enum adv_status)state);
}

enum adv_status adv_lease_info(struct adv_lease *l, struct adv_lease_info *info)
{
	struct adv_lease_info all = {
		.workers = l->nr_workers,
		.slots = l->geometry.nr_slots,
		.in_capacity = l->geometry.in_capacity,
		.out_capacity = l->geometry.out_capacity,
		.nr_functions = l->nr_functions,
		.shared_cores = l->shared_cores,
		.nr_hot = l->nr_hot,
	};
	if (info == NULL || info->size < sizeof(info->size))
		return adv_client_fail_text(ADV_INVALID, "adv_lease_info: info->size is not set");
	all.size = info->size;
	memcpy(all.id, l->id, sizeof(all.id));
	memcpy(all.digest, l->digest, sizeof(all.digest));
	memcpy(info, &all, info->size < sizeof(all) ? info->size : sizeof(all));
	return ADV_OK;
}

enum adv_status adv_function_find(struct adv_lease *l, const char *name, uint32_t *function)
{
	for (uint32_t i = 0; name != NULL && i < l->nr_functions; i++)
		if (strcmp(l->functions[i], name) == 0) {
			*function = i;
			return ADV_OK;
		}
	return adv_client_fail(ADV_NO_FUNCTION, "module \"%s\" has no function \"%.64s\"",
			       l->module, name != NULL ? name : "");
}

const char *adv_function_name(struct adv_lease *l, uint32_t function)
{
	return function < l->nr_functions ? l->functions[function] : NULL;
}

int adv_lease_cpu(struct adv_lease *l, uint32_t worker)
{
	return worker < l->nr_workers ? l->cpus[worker] : -1;
}

enum adv_status adv_lease_stats(struct adv_lease *l, struct adv_lease_stats *stats)
{
	struct adv_lease_stats all = l->stats;
	if (stats == NULL || stats->size < sizeof(stats->size))
		return adv_client_fail_text(ADV_INVALID, "adv_lease_stats: stats->size is not set");
	all.size = stats->size;
	for (uint32_t i = 0; i < l->nr_workers; i++) {
		all.wakes += l->workers[i].caller.wakes;
		all.deaths += l->workers[i].caller.deaths;
	}
#if ADV_HAVE_VERBS
	if (l->verbs != NULL)
		adv_verbs_lease_count(l, &all);
#endif
	all.renewals += atomic_load_explicit(&l->keeper.renewals, memory_order_relaxed);
	memcpy(stats, &all, stats->size < sizeof(all) ? stats->size : sizeof(all));
	return ADV_OK;
}
