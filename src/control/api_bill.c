/* api_bill.c - GET /v1/bill: what tenants have used since when, and what it costs by the configuration's prices. Control thread only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"
#include "util/parse.h"

struct asking {
	struct adv_waiting waiting; /* first: see adv_waiting */
	struct adv_control *control;
	struct adv_bill_sums sums;
};

static json_t *line_json(const struct adv_control *c, const struct adv_ledger_line *l,
			 uint64_t cost)
{
	const char *name = adv_tenants_name(c->options.tenants, l->tenant);
	json_t *line = adv_ledger_line_json(l);
	if (name != NULL)
		json_object_set_new(line, "tenant_name", json_string(name));
	json_object_set_new(line, "cost_millionths",
			    json_integer((json_int_t)(cost > INT64_MAX ? INT64_MAX : cost)));
	return line;
}

static json_t *bill_json(const struct adv_control *c, const struct adv_bill_sums *sums)
{
	const struct adv_prices *prices = &c->options.prices;
	json_t *lines = json_array();
	uint64_t total = 0;
	for (size_t i = 0; i < sums->nr_lines; i++) {
		uint64_t cost = adv_prices_cost(prices, &sums->lines[i]);
		if (__builtin_add_overflow(total, cost, &total) || total > INT64_MAX)
			total = INT64_MAX;
		json_array_append_new(lines, line_json(c, &sums->lines[i], cost));
	}
	return json_pack("{s:I, s:s, s:o, s:I}", "since_ms", (json_int_t)sums->since_ms, "currency",
			 prices->currency, "lines", lines, "total_millionths", (json_int_t)total);
}

static void summed(void *user, enum adv_status status, const char *reason)
{
	struct asking *a = user;
	struct adv_http_request *request = a->waiting.request;
	if (request != NULL)
		adv_http_set_user(request, NULL);
	if (request != NULL && status == ADV_OK)
		adv_http_respond(request, 200, bill_json(a->control, &a->sums));
	else if (request != NULL)
		adv_http_fail(request, status, "%s", reason);
	free(a->sums.lines);
	free(a);
}

/* A number of the query, or its default. False: refused already. */
static bool number_of(struct adv_http_request *request, const char *name, uint64_t max,
		      int64_t *value)
{
	const char *text = adv_http_query(request, name);
	uint64_t n;
	if (text == NULL)
		return true;
	if (adv_parse_u64(text, &n) < 0 || n > max) {
		adv_http_fail(request, ADV_INVALID, "%s=%.32s: must be a number up to %llu", name,
			      text, (unsigned long long)max);
		return false;
	}
	*value = (int64_t)n;
	return true;
}

/* Root sees all, a tenant its own. */
void adv_api_bill(struct adv_control *c, struct adv_http_request *request)
{
	uint32_t uid = adv_http_uid(request);
	int64_t since_ms = 0, tenant = uid == 0 ? -1 : (int64_t)uid;
	if (!number_of(request, "since_ms", INT64_MAX, &since_ms) ||
	    !number_of(request, "tenant", UINT32_MAX, &tenant))
		return;
	if (uid != 0 && tenant != (int64_t)uid) {
		adv_http_fail(request, ADV_FORBIDDEN, "a tenant sees its own bill alone");
		return;
	}
	struct asking *a = calloc(1, sizeof(*a));
	if (a != NULL) {
		a->control = c;
		a->sums.since_ms = since_ms;
		a->sums.tenant = tenant;
		adv_waiting_start(&a->waiting, request);
		/* What is counted goes first, so that it is in the answer. */
		adv_billing_flush_for(c);
		if (adv_registry_sum_bills(c->registry, &a->sums, summed, a) == 0)
			return;
		adv_http_set_user(request, NULL);
		free(a);
	}
	adv_http_fail(request, ADV_SYSTEM, "the node is out of memory");
}
