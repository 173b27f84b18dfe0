/* api.c - the router of the control API: which path and method belongs to which handler. Control thread only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "control/control.h"

static struct adv_control *control_of(const struct adv_http_request *request)
{
	return adv_http_server_user(request);
}

/* Splits "/v1/a/b/c" into a, b, c. False: not a path of this API. */
static bool route_parse(const char *path, struct adv_route *route)
{
	route->nr_parts = 0;
	if (strncmp(path, "/v1/", 4) != 0 || strlen(path) >= sizeof(route->text))
		return false;
	snprintf(route->text, sizeof(route->text), "%s", path + 4);
	char *rest = route->text, *part;
	while ((part = strsep(&rest, "/")) != NULL) {
		if (part[0] == '\0' || route->nr_parts == 4)
			return false;
		route->part[route->nr_parts++] = part;
	}
	return true;
}

/* "OWNER/NAME" is two parts of the path: puts them together again in place. */
static const char *module_name(struct adv_route *route)
{
	if (route->nr_parts == 2)
		return route->part[1];
	route->text[strlen(route->part[0]) + 1 + strlen(route->part[1])] = '/';
	return route->part[1];
}

static bool is_upload(const struct adv_http_request *request, struct adv_route *route)
{
	return adv_http_method(request) == ADV_HTTP_PUT &&
	       route_parse(adv_http_path(request), route) && route->nr_parts >= 2 &&
	       strcmp(route->part[0], "modules") == 0;
}

/* modules/NAME/logs or modules/OWNER/NAME/logs; modules/OWNER/logs is a module of that name. */
static bool is_logs(const struct adv_route *route)
{
	if (route->nr_parts < 3 || strcmp(route->part[0], "modules") != 0 ||
	    strcmp(route->part[route->nr_parts - 1], "logs") != 0)
		return false;
	return route->nr_parts == 4 || route->part[1][strspn(route->part[1], "0123456789")] != '\0';
}

static void begin(struct adv_http_request *request)
{
	struct adv_route route;
	if (is_upload(request, &route))
		adv_deploy_begin(control_of(request), request, module_name(&route));
}

static void not_found(struct adv_http_request *request)
{
	adv_http_fail_as(request, 404, ADV_INVALID, "no such path: %s", adv_http_path(request));
}

static void health(struct adv_control *c, struct adv_http_request *request)
{
	(void)c;
	adv_http_respond(request, 200, json_pack("{s:s}", "status", "ok"));
}

static void status(struct adv_control *c, struct adv_http_request *request)
{
	adv_http_respond(request, 200, adv_api_status(c, adv_http_uid(request)));
}

/* Paths that are what they are. */
static const struct {
	const char *path;
	enum adv_http_method method;
	const char *allowed;
	void (*handle)(struct adv_control *control, struct adv_http_request *request);
} plain[] = {
	{"/healthz", ADV_HTTP_GET, "GET", health},
	{"/v1/status", ADV_HTTP_GET, "GET", status},
	{"/v1/bill", ADV_HTTP_GET, "GET", adv_api_bill},
	{"/v1/accounts", ADV_HTTP_GET, "GET", adv_api_accounts},
	{"/v1/drain", ADV_HTTP_POST, "POST", adv_api_drain},
	{"/v1/resume", ADV_HTTP_POST, "POST", adv_api_resume},
};

/* False: it is none of these. */
static bool handle_plain(struct adv_control *c, struct adv_http_request *request)
{
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (strcmp(adv_http_path(request), plain[i].path) != 0)
			continue;
		if (adv_http_method(request) == plain[i].method)
			plain[i].handle(c, request);
		else
			adv_http_wrong_method(request, plain[i].allowed);
		return true;
	}
	return false;
}

static void handle(struct adv_http_request *request)
{
	struct adv_control *c = control_of(request);
	struct adv_route route;
	if (is_upload(request, &route)) {
		adv_deploy_handle(c, request, module_name(&route));
		return;
	}
	if (handle_plain(c, request))
		return;
	if (!route_parse(adv_http_path(request), &route)) {
		not_found(request);
		return;
	}
	if (is_logs(&route)) {
		if (route.nr_parts == 4)
			module_name(&route);
		adv_api_logs(c, request, route.part[1]);
	} else if (strcmp(route.part[0], "modules") == 0 && route.nr_parts <= 3) {
		if (route.nr_parts == 3)
			route.part[1] = module_name(&route);
		adv_api_modules(c, request, &route);
	} else if (strcmp(route.part[0], "leases") == 0 && route.nr_parts <= 3) {
		adv_api_leases(c, request, &route);
	} else {
		not_found(request);
	}
}

/* What waits for something on behalf of this request keeps itself alive, and answers nobody. */
static void gone(struct adv_http_request *request)
{
	struct adv_waiting *waiting = adv_http_user(request);
	if (waiting != NULL)
		waiting->request = NULL;
}

void adv_waiting_start(struct adv_waiting *waiting, struct adv_http_request *request)
{
	waiting->request = request;
	adv_http_set_user(request, waiting);
}

struct adv_http_handlers adv_api_handlers(struct adv_control *control)
{
	return (struct adv_http_handlers){
		.begin = begin, .handle = handle, .gone = gone, .user = control};
}

/* "Bearer TOKEN" */
static bool authenticate(void *user, const char *authorization, uint32_t *number)
{
	const struct adv_control *c = user;
	static const char scheme[] = "Bearer ";
	if (authorization == NULL || strncasecmp(authorization, scheme, strlen(scheme)) != 0)
		return false;
	const struct adv_tenant *tenant =
		adv_tenants_find(c->options.tenants, authorization + strlen(scheme));
	if (tenant != NULL)
		*number = tenant->number;
	return tenant != NULL;
}

struct adv_http_handlers adv_api_remote_handlers(struct adv_control *control)
{
	struct adv_http_handlers handlers = adv_api_handlers(control);
	handlers.authenticate = authenticate;
	handlers.silent_ms = control->options.peer_timeout_ms;
	return handlers;
}

/* ---- fields of a request's object ---- */

static bool read_field(json_t *value, const struct adv_field *field)
{
	switch (field->type) {
	case ADV_FIELD_STRING:
		*(const char **)field->to = json_string_value(value);
		return json_is_string(value);
	case ADV_FIELD_HOT:
		if (json_is_string(value) && strcmp(json_string_value(value), "always") == 0) {
			*(uint64_t *)field->to = UINT64_MAX;
			return true;
		}
		if (json_is_string(value) && strcmp(json_string_value(value), "auto") == 0) {
			*(uint64_t *)field->to = ADV_HOT_US_AUTO;
			return true;
		}
		if (json_is_string(value) && strcmp(json_string_value(value), "never") == 0) {
			*(uint64_t *)field->to = 0;
			return true;
		}
		/* fall through */
	case ADV_FIELD_U64:
		*(uint64_t *)field->to = (uint64_t)json_integer_value(value);
		return json_is_integer(value) && json_integer_value(value) >= 0;
	}
	return false;
}

static const char *const field_wants[] = {
	[ADV_FIELD_STRING] = "a string",
	[ADV_FIELD_U64] = "a whole number that is not negative",
	[ADV_FIELD_HOT] = "a number of microseconds, \"always\", \"never\" or \"auto\"",
};

bool adv_api_fields(struct adv_http_request *request, json_t *object,
		    const struct adv_field *fields, size_t nr_fields)
{
	const char *name;
	json_t *value;
	json_object_foreach (object, name, value) {
		size_t i = 0;
		while (i < nr_fields && strcmp(fields[i].name, name) != 0)
			i++;
		if (i == nr_fields) {
			adv_http_fail(request, ADV_INVALID, "the request has no field \"%.64s\"",
				      name);
			return false;
		}
		if (!read_field(value, &fields[i])) {
			adv_http_fail(request, ADV_INVALID, "the field \"%s\" must be %s", name,
				      field_wants[fields[i].type]);
			return false;
		}
	}
	return true;
}
