/*
 * fuzz_http_node.c - the node behind fuzz_http.c: one module "m", one lease 1 with a token of zeros, answers that follow from
 * the request alone. Functions of src/control, src/registry and allocator/ that the API's handlers call.
 */
#include <sys/eventfd.h>

#include "control/control.h"
#include "fuzz.h"
#include "fuzz_http.h"

static struct adv_module_function functions[] = {
	{.name = "f", .description = "", .described = true}};
static struct adv_module module = {
	.owner = 1000,
	.name = "m",
	.digest = "00",
	.memfd = 0,
	.nr_functions = 1,
	.functions = functions,
	.refs = 1,
};
static struct adv_held held = {.module = &module};
static struct adv_lease_entry lease = {
	.id = 1,
	.state = ADV_LEASE_GRANTED,
	.wish = {.tenant = 1000, .workers = 1, .slots = 1, .ttl_ms = 1000},
	.user = &held,
};

/* One removal at a time waits; its end comes after the request may be gone. */
static adv_registry_done pending;
static void *pending_user;

/* And one lease over verbs whose memory is being registered. */
static void (*registering)(struct adv_held *held, enum adv_status status, const char *reason);
static enum adv_status registering_status;

void fuzz_node_finish(void)
{
	adv_registry_done done = pending;
	void (*granted)(struct adv_held *, enum adv_status, const char *) = registering;
	pending = NULL;
	registering = NULL;
	if (granted != NULL)
		granted(&held, registering_status, "so it is");
	if (done != NULL)
		done(pending_user, ADV_OK, "");
}

/* ---- registry ---- */

struct adv_module *adv_registry_resolve(struct adv_registry *registry, uint32_t tenant,
					const char *name, enum adv_status *status, char *reason,
					size_t reason_size)
{
	(void)registry, (void)tenant;
	if (strcmp(name, "m") == 0 || strcmp(name, "1000/m") == 0)
		return &module;
	*status = strchr(name, '/') != NULL ? ADV_FORBIDDEN : ADV_NO_MODULE;
	snprintf(reason, reason_size, "there is no module \"%s\"", name);
	return NULL;
}

struct adv_module *adv_registry_next(struct adv_registry *registry, struct adv_module *after)
{
	(void)registry;
	return after == NULL ? &module : NULL;
}

int adv_registry_load(struct adv_registry *registry, struct adv_module *m, adv_registry_done done,
		      void *user)
{
	(void)registry, (void)m, (void)done, (void)user;
	return 1;
}

int adv_registry_remove(struct adv_registry *registry, struct adv_module *m, adv_registry_done done,
			void *user)
{
	(void)registry, (void)m;
	if (pending != NULL)
		return -1;
	pending = done;
	pending_user = user;
	return 0;
}

const char *adv_registry_node_id(const struct adv_registry *registry)
{
	(void)registry;
	return "0";
}

struct adv_module *adv_module_get(struct adv_module *m)
{
	m->refs++;
	return m;
}

void adv_module_put(struct adv_module *m)
{
	if (m != NULL)
		m->refs--;
}

/* ---- leases ---- */

struct adv_lease_entry *adv_leases_find(struct adv_leases *leases, uint64_t id)
{
	(void)leases;
	return id == 1 ? &lease : NULL;
}

struct adv_lease_entry *adv_leases_next(const struct adv_leases *leases,
					const struct adv_lease_entry *after)
{
	(void)leases;
	return after == NULL ? &lease : NULL;
}

bool adv_lease_token_ok(const struct adv_lease_entry *e, const uint8_t token[ADV_TOKEN_BYTES])
{
	return memcmp(e->token, token, ADV_TOKEN_BYTES) == 0;
}

enum adv_status adv_leases_attach(struct adv_leases *leases, struct adv_lease_entry *e,
				  uint32_t tenant, const uint8_t token[ADV_TOKEN_BYTES],
				  uint64_t now_ns)
{
	(void)leases, (void)tenant, (void)now_ns;
	return adv_lease_token_ok(e, token) ? ADV_OK : ADV_BAD_TOKEN;
}

enum adv_status adv_leases_renew(struct adv_leases *leases, struct adv_lease_entry *e,
				 uint64_t ttl_ms, uint64_t now_ns)
{
	(void)leases, (void)e, (void)now_ns;
	return ttl_ms > ADV_LEASE_TTL_MS_MAX ? ADV_INVALID : ADV_OK;
}

const char *adv_lease_state_name(enum adv_lease_state state)
{
	return state == ADV_LEASE_GRANTED ? "granted" : "active";
}

bool adv_leases_share_ok(struct adv_leases *leases, const struct adv_lease_wish *wish,
			 uint64_t now_ns, uint64_t *when_ns)
{
	(void)leases, (void)wish, (void)now_ns, (void)when_ns;
	return true;
}

uint32_t adv_leases_cores_of(const struct adv_leases *leases, uint32_t tenant)
{
	(void)leases;
	return tenant % 3;
}

void adv_leases_note_refusal(struct adv_leases *leases)
{
	(void)leases;
}

void adv_billing_flush_for(struct adv_control *control)
{
	(void)control;
}

int adv_registry_sum_bills(struct adv_registry *registry, struct adv_bill_sums *sums,
			   adv_registry_done done, void *user)
{
	(void)registry;
	FUZZ_CHECK(sums->since_ms >= 0);
	sums->lines = calloc(1, sizeof(*sums->lines));
	sums->nr_lines = sums->lines != NULL;
	done(user, sums->since_ms == 7 ? ADV_STORAGE : ADV_OK, "no disk");
	return 0;
}

void adv_api_accounts(struct adv_control *control, struct adv_http_request *request)
{
	(void)control;
	adv_http_fail(request, ADV_INVALID, "no accounts");
}

void adv_api_drain(struct adv_control *control, struct adv_http_request *request)
{
	json_t *body = adv_http_json(request);
	if (body == NULL)
		return;
	json_decref(body);
	adv_admission_refuse_all(control, "the node is being drained");
	adv_http_respond(request, 200, json_pack("{s:b}", "idle", 1));
}

void adv_api_resume(struct adv_control *control, struct adv_http_request *request)
{
	adv_admission_room(control);
	adv_http_respond(request, 200, json_pack("{s:b}", "resumed", 1));
}

/* ---- control ---- */

enum adv_status adv_held_open(struct adv_control *control, struct adv_module *m,
			      const struct adv_lease_wish *wish,
			      const struct adv_held_remote *remote, struct adv_held **out,
			      char *reason, size_t reason_size)
{
	struct adv_geometry g;
	(void)m;
	held.is_remote = remote != NULL;
	held.control = control;
	held.entry = &lease;
	if (wish->workers == 2 || registering != NULL) {
		snprintf(reason, reason_size, "there is no room for two");
		return ADV_NO_CAPACITY;
	}
	if (wish->workers != 1 || adv_geometry_init(&g, wish->workers, wish->slots,
						    wish->in_capacity, wish->out_capacity) != 0) {
		snprintf(reason, reason_size, "that is not to be had");
		return ADV_INVALID;
	}
	*out = &held;
	if (remote != NULL) {
		held.granted_user = remote->user;
		registering = remote->granted;
		registering_status = remote->wish.link == 1 ? ADV_NO_CAPACITY : ADV_OK;
	}
	return ADV_OK;
}

bool adv_held_blocks(const struct adv_held *h)
{
	return h->is_remote;
}

#if ADV_HAVE_VERBS
json_t *adv_remote_json(const struct adv_remote *remote)
{
	(void)remote;
	return json_object();
}
#endif

static void on_line(void *user, const char *line, size_t length)
{
	(void)user;
	FUZZ_CHECK(strlen(line) <= length && length <= 255);
}

static void on_close(void *user)
{
	(void)user;
}

void adv_held_attach(struct adv_held *h, struct adv_http_request *request, const char *grant)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	const struct adv_http_upgrade upgrade = {
		.protocol = "adverb-lane/1",
		.grant = grant,
		.fds = &fd,
		.nr_fds = 1,
		.on_line = on_line,
		.on_close = on_close,
		.user = h,
	};
	struct adv_http_upgraded *u = adv_http_upgrade(request, &upgrade);
	if (u != NULL)
		adv_http_upgraded_send(u, "hello");
	close(fd);
}

void adv_held_end(struct adv_held *h, enum adv_status status)
{
	(void)h, (void)status;
}

void adv_held_schedule(struct adv_control *control)
{
	(void)control;
}

json_t *adv_api_status(struct adv_control *control, uint32_t tenant)
{
	(void)control;
	return json_pack("{s:i}", "tenant", (int)tenant);
}

json_t *adv_ledger_line_json(const struct adv_ledger_line *line)
{
	return json_pack("{s:I}", "tenant", (json_int_t)line->tenant);
}

void adv_api_logs(struct adv_control *control, struct adv_http_request *request, const char *name)
{
	if (adv_api_module(control, request, name) != NULL)
		adv_http_respond(request, 200, json_pack("{s:[]}", "lines"));
}

/* ---- deploy: the body goes into a memfd ---- */

void adv_deploy_begin(struct adv_control *control, struct adv_http_request *request,
		      const char *name)
{
	(void)control;
	const char *public = adv_http_query(request, "public");
	if (strlen(name) >= ADV_NAME_MAX)
		adv_http_fail(request, ADV_INVALID, "the name \"%.80s\" is too long", name);
	else if (adv_http_body_to_memfd(request, public != NULL ? 4096 : 1 << 20) != 0)
		adv_http_fail(request, ADV_SYSTEM, "no memory for the upload");
}

void adv_deploy_handle(struct adv_control *control, struct adv_http_request *request,
		       const char *name)
{
	uint64_t size;
	(void)control;
	int fd = adv_http_take_memfd(request, &size);
	const char *hot = adv_http_query(request, "hot");
	if (fd < 0) {
		adv_http_fail(request, ADV_INVALID, "no bytes came with %s", name);
		return;
	}
	close(fd);
	adv_http_respond(request, 201,
			 json_pack("{s:I, s:s?}", "size", (json_int_t)size, "hot", hot));
}
