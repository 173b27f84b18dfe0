/*
 * deploy.c - a module's way from a PUT's body to the registry: bytes, check, scratch sandbox, commit. Control thread only.
 *
 * Every step is asynchronous: hashing and fsyncs are jobs of the registry's thread, loading happens in a scratch sandbox.
 * The node itself never loads a module. Whatever fails, nothing has changed.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/log.h"

enum deploy_state {
	DEPLOY_CHECKING, /* sealing, hashing and reading the ELF header, in the registry's thread */
	DEPLOY_INSPECTING, /* a scratch sandbox loads it and lists its functions */
	DEPLOY_ENDING,	   /* the scratch sandbox is being killed, then: commit, or the refusal */
	DEPLOY_STORING,	   /* file and row, in the registry's thread */
};

struct deploy {
	struct adv_waiting waiting; /* first: see adv_waiting */
	struct adv_control *control;
	enum deploy_state state;
	char name[ADV_NAME_MAX];
	char digest[2 * ADV_DIGEST_BYTES + 1];
	uint64_t size_bytes;
	uint32_t owner;
	bool is_public;
	uint32_t nr_tenants;
	uint32_t tenants[ADV_MODULE_TENANTS_MAX];
	int hot;
	int memfd;
	uint32_t profile;
	bool profile_asked; /* for; else the scratch load decides */
	uint32_t needs;	    /* what the module's imports ask for */
	char profile_why[ADV_PROFILE_WHY_MAX];
	bool loaded, poolable, timed_out;
	uint32_t nr_functions;
	struct adv_module_function *functions;
	struct adv_claim claim;
	struct adv_timer timer; /* bounds the scratch load */
	struct adv_module *stored;
	bool replaces;
	enum adv_status fault; /* with `reason`, when the sandbox said no */
	char reason[ADV_REASON_MAX];
};

static void functions_free(struct deploy *d)
{
	for (uint32_t i = 0; i < d->nr_functions; i++) {
		free(d->functions[i].name);
		free(d->functions[i].description);
	}
	free(d->functions);
	d->functions = NULL;
	d->nr_functions = 0;
}

static void deploy_free(struct deploy *d)
{
	adv_timer_set(&d->timer, UINT64_MAX);
	functions_free(d);
	adv_fd_close(&d->memfd);
	free(d);
}

static void refuse(struct deploy *d, enum adv_status status, const char *reason)
{
	if (d->waiting.request != NULL)
		adv_http_fail(d->waiting.request, status, "module \"%s\": %s", d->name, reason);
	deploy_free(d);
}

/* ---- storing ---- */

static void stored(void *user, enum adv_status status, const char *reason)
{
	struct deploy *d = user;
	if (status != ADV_OK) {
		refuse(d, status, reason);
		return;
	}
	d->memfd = -1; /* the registry's now */
	adv_log_info("module %s of %u: profile %s%s%s", d->name, d->owner,
		     adv_profile_name(d->profile), d->profile_why[0] != '\0' ? ": " : "",
		     d->profile_why);
	adv_sandboxes_module_used(d->control->sandboxes, d->stored);
	if (d->waiting.request != NULL)
		adv_http_respond(d->waiting.request, d->replaces ? 200 : 201,
				 json_pack("{s:o}", "module", adv_module_json(d->stored)));
	deploy_free(d);
}

static void store(struct deploy *d)
{
	const struct adv_module_new new_module = {
		.owner = d->owner,
		.name = d->name,
		.digest = d->digest,
		.size_bytes = d->size_bytes,
		.is_public = d->is_public,
		.nr_tenants = d->nr_tenants,
		.tenants = d->tenants,
		.hot = d->hot,
		.profile = d->profile,
		.profile_why = d->profile_why,
		.poolable = d->poolable,
		.nr_functions = d->nr_functions,
		.functions = d->functions,
		.memfd = d->memfd,
	};
	d->replaces = adv_registry_find(d->control->registry, d->owner, d->name) != NULL;
	d->state = DEPLOY_STORING;
	int rc = adv_registry_commit(d->control->registry, &new_module, &d->stored, stored, d);
	if (rc == -ENOSPC)
		refuse(d, ADV_STORAGE,
		       "the node holds as many modules as it can: remove one first");
	else if (rc < 0)
		refuse(d, ADV_SYSTEM, "the node is out of memory");
}

/* ---- the scratch sandbox ---- */

static void inspect(struct deploy *d);

static void take_function(struct deploy *d, const struct adv_sandbox_report *r)
{
	struct adv_module_function f = {
		.name = strdup(r->name), .description = strdup(r->text), .described = r->described};
	struct adv_module_function *more =
		realloc(d->functions, (d->nr_functions + 1) * sizeof(*d->functions));
	if (more != NULL)
		d->functions = more;
	if (more == NULL || f.name == NULL || f.description == NULL ||
	    d->nr_functions >= ADV_FUNCTIONS_MAX) {
		free(f.name);
		free(f.description);
		snprintf(d->reason, sizeof(d->reason), "it has more than %d functions",
			 ADV_FUNCTIONS_MAX);
		d->fault = ADV_BAD_MODULE;
		adv_sandboxes_kill(d->control->sandboxes, &d->claim);
		return;
	}
	d->functions[d->nr_functions++] = f;
}

/* Files to read are no need where there are none. */
static void note_needs(struct deploy *d, const struct adv_sandbox_report *r)
{
	d->needs = r->needs;
	if (d->needs == ADV_PROFILE_LIBC && !d->control->options.warden->facts.extended)
		d->needs = ADV_PROFILE_STRICT;
	if (d->profile_asked)
		snprintf(d->profile_why, sizeof(d->profile_why), "asked for at deploy");
	else if (d->needs > ADV_PROFILE_STRICT)
		snprintf(d->profile_why, sizeof(d->profile_why), "it uses %.48s", r->name);
}

static void reported(struct adv_claim *claim, const struct adv_sandbox_report *r)
{
	struct deploy *d = claim->user;
	if (d->state != DEPLOY_INSPECTING)
		return;
	if (r->type == ADV_REPORT_FUNCTION)
		take_function(d, r);
	if (r->type == ADV_REPORT_FAILED) {
		d->fault = r->status == ADV_BAD_MODULE ? ADV_BAD_MODULE : ADV_SYSTEM;
		snprintf(d->reason, sizeof(d->reason), "%s", r->text);
	}
	if (r->type == ADV_REPORT_LOADED) {
		d->loaded = true;
		d->poolable = r->threads <= 1;
		note_needs(d, r);
	}
	if (r->type == ADV_REPORT_LOADED || r->type == ADV_REPORT_FAILED) {
		d->state = DEPLOY_ENDING;
		adv_sandboxes_kill(d->control->sandboxes, claim);
	}
}

static void describe_death(struct deploy *d, const struct adv_death *death, const char *reason)
{
	uint32_t detail;
	if (d->reason[0] != '\0')
		return;
	d->fault = ADV_BAD_MODULE;
	if (d->timed_out) {
		snprintf(d->reason, sizeof(d->reason),
			 "its constructors ran longer than %d ms in the scratch sandbox",
			 ADV_DEPLOY_LOAD_MS);
	} else if (death->code == 0) {
		d->fault = ADV_SYSTEM;
		snprintf(d->reason, sizeof(d->reason),
			 "no scratch sandbox could be made for it: %s",
			 reason != NULL ? reason : "the warden does not say why");
	} else {
		enum adv_status status = adv_death_status(death, &detail);
		snprintf(d->reason, sizeof(d->reason),
			 "its constructors ended the scratch sandbox: %s%s%s",
			 adv_status_text(status), status == ADV_CRASHED ? ": " : "",
			 status == ADV_CRASHED ? strsignal((int)detail) : "");
	}
}

/*
 * The profile to load it under next; the same one: there is nothing more to find out. Nobody asked for one, and it loaded but
 * needs more; or it did not: libraries may be missing, or its constructors could not have their threads.
 */
static uint32_t next_profile(const struct deploy *d, bool good, const struct adv_death *death)
{
	if (d->profile_asked || d->timed_out)
		return d->profile;
	if (good)
		return d->needs > d->profile ? d->needs : d->profile;
	if (d->fault == ADV_BAD_MODULE && d->profile == ADV_PROFILE_STRICT &&
	    d->control->options.warden->facts.extended)
		return ADV_PROFILE_LIBC;
	bool by_constructors = d->fault == ADV_OK && death->code != 0;
	return by_constructors ? ADV_PROFILE_THREADS : d->profile;
}

static void inspect_again(struct deploy *d, uint32_t profile)
{
	functions_free(d);
	if (d->profile_why[0] == '\0')
		snprintf(d->profile_why, sizeof(d->profile_why), "it does not load under %s",
			 adv_profile_name(d->profile));
	d->profile = profile;
	d->fault = ADV_OK;
	d->reason[0] = '\0';
	d->loaded = d->timed_out = false;
	inspect(d);
}

/* One line for all of a tenant's: names that it tries out are no lines of their own. */
static void charge(const struct deploy *d, uint64_t cpu_ns)
{
	const struct adv_ledger_line used = {
		.tenant = d->owner, .module = "(deploy)", .cpu_us = cpu_ns / ADV_US};
	adv_ledger_add(d->control->ledger, &used);
	adv_billing_used(d->control);
}

static void died(struct adv_claim *claim, const struct adv_death *death, const char *reason)
{
	struct deploy *d = claim->user;
	charge(d, death->cpu_ns);
	adv_timer_set(&d->timer, UINT64_MAX);
	bool good = d->loaded && d->fault == ADV_OK && d->nr_functions > 0;
	uint32_t next = next_profile(d, good, death);
	if (next != d->profile) {
		inspect_again(d, next);
		return;
	}
	if (good) {
		store(d);
		return;
	}
	describe_death(d, death, reason);
	refuse(d, d->fault, d->reason);
}

static void timer_fire(struct adv_timer *timer)
{
	struct deploy *d = timer->user;
	d->timed_out = true;
	d->state = DEPLOY_ENDING;
	adv_sandboxes_kill(d->control->sandboxes, &d->claim);
}

static void inspect(struct deploy *d)
{
	const struct adv_sandbox_order order = {.type = ADV_ORDER_INSPECT};
	struct adv_sandboxes *s = d->control->sandboxes;
	d->state = DEPLOY_INSPECTING;
	d->claim = (struct adv_claim){
		.id = ADV_NO_SANDBOX, .reported = reported, .died = died, .user = d};
	if (adv_sandboxes_claim(s, NULL, d->profile, &d->claim) != ADV_OK) {
		refuse(d, ADV_NO_CAPACITY, "every sandbox of the node is in use: try again later");
		return;
	}
	adv_timer_set(&d->timer, adv_clock_monotonic_ns() + ADV_DEPLOY_LOAD_MS * ADV_MS);
	if (adv_sandboxes_order(s, &d->claim, -1, ADV_LEASE_MEMORY_DEFAULT, &order, &d->memfd, 1) <
	    0)
		adv_sandboxes_kill(s, &d->claim);
}

/* ---- the request ---- */

static void checked(void *user, enum adv_status status, const char *reason)
{
	struct deploy *d = user;
	if (status != ADV_OK)
		refuse(d, status, reason);
	else if (d->waiting.request == NULL)
		deploy_free(d);
	else
		inspect(d);
}

void adv_deploy_begin(struct adv_control *c, struct adv_http_request *request, const char *name)
{
	if (c->stopping) {
		adv_http_fail(request, ADV_NO_CAPACITY, "the node is stopping");
		return;
	}
	if (!adv_module_name_ok(name)) {
		adv_http_fail(request, ADV_INVALID,
			      "\"%.80s\" is not a module's name: 1 to %d of a-z A-Z 0-9 . _ -, not "
			      "starting "
			      "with a dot or a dash",
			      name, ADV_NAME_MAX - 1);
		return;
	}
	/* What it refuses (no length, too long) it has answered; anything else is ours to say. */
	int rc = adv_http_body_to_memfd(request, ADV_MODULE_BYTES_MAX);
	if (rc < 0)
		adv_http_fail(request, ADV_SYSTEM, "no memory for the module's bytes: %s",
			      strerror(-rc));
}

/* A number in the query, or its default. False: refused already. */
static bool query_number(struct adv_http_request *request, const char *name, long max, long *value)
{
	const char *text = adv_http_query(request, name);
	if (text == NULL)
		return true;
	char *end;
	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || n < 0 || n > max) {
		adv_http_fail(request, ADV_INVALID, "%s=%.32s: must be a number from 0 to %ld",
			      name, text, max);
		return false;
	}
	*value = n;
	return true;
}

/* Uids in the query, separated by commas. False: refused already. */
static bool query_tenants(struct adv_http_request *request, uint32_t *tenants, uint32_t *nr)
{
	const char *text = adv_http_query(request, "tenants");
	for (*nr = 0; text != NULL && *text != '\0'; (*nr)++) {
		char *end;
		errno = 0;
		unsigned long uid = strtoul(text, &end, 10);
		if (*text < '0' || *text > '9' || errno != 0 || uid >= UINT32_MAX ||
		    (*end != '\0' && (*end != ',' || end[1] == '\0')) ||
		    *nr == ADV_MODULE_TENANTS_MAX) {
			adv_http_fail(request, ADV_INVALID,
				      "tenants=%.64s: must be at most %d uids, separated by commas",
				      adv_http_query(request, "tenants"), ADV_MODULE_TENANTS_MAX);
			return false;
		}
		tenants[*nr] = (uint32_t)uid;
		text = *end == ',' ? end + 1 : end;
	}
	return true;
}

/* False: refused already. Without one the scratch load decides. */
static bool query_profile(struct adv_http_request *request, uint32_t *profile, bool *asked)
{
	const char *text = adv_http_query(request, "profile");
	*profile = ADV_PROFILE_STRICT;
	*asked = text != NULL;
	for (uint32_t p = 0; text != NULL && p < ADV_PROFILES; p++)
		if (strcmp(text, adv_profile_name(p)) == 0) {
			*profile = p;
			return true;
		}
	if (text != NULL)
		adv_http_fail(request, ADV_INVALID,
			      "profile=%.32s: must be strict, libc or threads", text);
	return text == NULL;
}

void adv_deploy_handle(struct adv_control *c, struct adv_http_request *request, const char *name)
{
	long is_public = 0, hot = -1;
	uint32_t profile;
	bool profile_asked;
	uint32_t tenants[ADV_MODULE_TENANTS_MAX], nr_tenants;
	uint64_t size;
	if (!query_number(request, "public", 1, &is_public) ||
	    !query_number(request, "hot", 64, &hot) ||
	    !query_tenants(request, tenants, &nr_tenants) ||
	    !query_profile(request, &profile, &profile_asked))
		return;
	int memfd = adv_http_take_memfd(request, &size);
	struct deploy *d = memfd < 0 ? NULL : calloc(1, sizeof(*d));
	if (d == NULL) {
		adv_fd_close(&memfd);
		adv_http_fail(request, ADV_INVALID,
			      "the request has no body: send the .so's bytes");
		return;
	}
	d->control = c;
	d->memfd = memfd;
	d->size_bytes = size;
	d->owner = adv_http_uid(request);
	d->is_public = is_public == 1;
	d->nr_tenants = nr_tenants;
	memcpy(d->tenants, tenants, nr_tenants * sizeof(*tenants));
	d->hot = (int)hot;
	d->profile = profile;
	d->profile_asked = profile_asked;
	snprintf(d->name, sizeof(d->name), "%s", name);
	adv_timer_init(&d->timer, c->loop, timer_fire, d);
	adv_waiting_start(&d->waiting, request);
	if (adv_registry_check(c->registry, d->memfd, d->digest, checked, d) < 0)
		refuse(d, ADV_SYSTEM, "the node is out of memory");
}
