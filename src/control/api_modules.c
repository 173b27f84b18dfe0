/* api_modules.c - GET and DELETE of modules. Control thread only. */
#include <stdlib.h>
#include <string.h>

#include "control/control.h"

json_t *adv_module_json(const struct adv_module *m)
{
	json_t *functions = json_array();
	for (uint32_t i = 0; i < m->nr_functions; i++)
		json_array_append_new(functions,
				      json_pack("{s:i, s:s, s:s, s:b}", "number", (int)i, "name",
						m->functions[i].name, "description",
						m->functions[i].description, "described",
						(int)m->functions[i].described));
	json_t *tenants = json_array();
	for (uint32_t i = 0; i < m->nr_tenants; i++)
		json_array_append_new(tenants, json_integer(m->tenants[i]));
	return json_pack("{s:s, s:I, s:s, s:I, s:b, s:o, s:o, s:s, s:s, s:b, s:I, s:o}", "name",
			 m->name, "owner", (json_int_t)m->owner, "digest", m->digest, "size",
			 (json_int_t)m->size_bytes, "public", (int)m->is_public, "tenants", tenants,
			 "hot", m->hot < 0 ? json_null() : json_integer(m->hot), "profile",
			 adv_profile_name(m->profile), "profile_why", m->profile_why, "poolable",
			 (int)m->poolable, "deployed_at", (json_int_t)m->deployed_at, "functions",
			 functions);
}

struct adv_module *adv_api_module(struct adv_control *c, struct adv_http_request *request,
				  const char *name)
{
	enum adv_status status;
	char reason[ADV_REASON_MAX];
	struct adv_module *module = adv_registry_resolve(c->registry, adv_http_uid(request), name,
							 &status, reason, sizeof(reason));
	if (module == NULL)
		adv_http_fail(request, status, "%s", reason);
	return module;
}

static void list(struct adv_control *c, struct adv_http_request *request)
{
	uint32_t tenant = adv_http_uid(request);
	json_t *modules = json_array();
	for (struct adv_module *m = adv_registry_next(c->registry, NULL); m != NULL;
	     m = adv_registry_next(c->registry, m))
		if (adv_module_visible(m, tenant))
			json_array_append_new(modules, adv_module_json(m));
	adv_http_respond(request, 200, json_pack("{s:o}", "modules", modules));
}

/* ---- removal ---- */

struct removal {
	struct adv_waiting waiting; /* first: see adv_waiting */
	struct adv_module *module;  /* a reference */
};

static void removed(void *user, enum adv_status status, const char *reason)
{
	struct removal *r = user;
	struct adv_http_request *request = r->waiting.request;
	if (request != NULL && status == ADV_OK)
		adv_http_respond(request, 200, json_pack("{s:s}", "removed", r->module->name));
	else if (request != NULL)
		adv_http_fail(request, status, "module \"%s\" could not be removed: %s",
			      r->module->name, reason);
	adv_module_put(r->module);
	free(r);
}

static void remove_module(struct adv_control *c, struct adv_http_request *request,
			  struct adv_module *module)
{
	uint32_t tenant = adv_http_uid(request);
	if (module->owner != tenant && tenant != 0) {
		adv_http_fail(
			request, ADV_FORBIDDEN,
			"module \"%s\" belongs to uid %u: only its owner and root may remove it",
			module->name, module->owner);
		return;
	}
	struct removal *r = calloc(1, sizeof(*r));
	int rc = r == NULL ? -1 : 0;
	if (rc == 0) {
		r->module = adv_module_get(module);
		adv_waiting_start(&r->waiting, request);
		rc = adv_registry_remove(c->registry, module, removed, r);
	}
	if (rc == 0)
		return;
	if (r != NULL)
		adv_module_put(module);
	free(r);
	adv_http_set_user(request, NULL);
	adv_http_fail(request, ADV_SYSTEM, "the node is out of memory");
}

void adv_api_modules(struct adv_control *c, struct adv_http_request *request,
		     const struct adv_route *route)
{
	enum adv_http_method method = adv_http_method(request);
	if (route->nr_parts == 1) {
		if (method == ADV_HTTP_GET)
			list(c, request);
		else
			adv_http_wrong_method(request, "GET");
		return;
	}
	if (method != ADV_HTTP_GET && method != ADV_HTTP_DELETE) {
		adv_http_wrong_method(request, "GET, PUT, DELETE");
		return;
	}
	struct adv_module *module = adv_api_module(c, request, route->part[1]);
	if (module == NULL)
		return;
	if (method == ADV_HTTP_GET)
		adv_http_respond(request, 200,
				 json_pack("{s:o}", "module", adv_module_json(module)));
	else
		remove_module(c, request, module);
}
