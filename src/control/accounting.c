/*
 * accounting.c - accounts between nodes: what this node tells an accounting node, and what it collects as one. The threads of src/accounts do the waiting.
 * Control thread only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"
#include "util/clock.h"
#include "util/log.h"

#if ADV_HAVE_VERBS
#include "accounts/collector.h"
#include "accounts/reporter.h"

#define STORE_NS     ADV_SEC
#define ROWS_AT_ONCE 64

struct adv_accounting {
	struct adv_timer timer;
	struct adv_collector *collector;
	struct adv_reporter *reporter;
};

/* ---- telling ---- */

static size_t totals(const struct adv_control *c, struct adv_account *accounts)
{
	return adv_ledger_accounts(c->ledger, accounts, ADV_ACCOUNT_LINES);
}

void adv_accounting_report(struct adv_control *c)
{
	static struct adv_account accounts[ADV_ACCOUNT_LINES];
	if (c->accounting == NULL || c->accounting->reporter == NULL)
		return;
	size_t n = totals(c, accounts);
	adv_reporter_give(c->accounting->reporter, accounts, n);
}

static int node_of(const struct adv_control *c, uint8_t node[ADV_ACCOUNT_NODE_BYTES])
{
	const char *id = adv_registry_node_id(c->registry);
	for (size_t i = 0; i < ADV_ACCOUNT_NODE_BYTES; i++)
		if (sscanf(id + 2 * i, "%2hhx", &node[i]) != 1)
			return -EINVAL;
	return 0;
}

static int start_reporter(struct adv_control *c, char *reason, size_t size)
{
	static struct adv_account accounts[ADV_ACCOUNT_LINES];
	const struct adv_accounting_options *o = &c->options.accounting;
	struct adv_reporter_options options = {
		.address = o->report, .adds = o->adds, .begun = accounts};
	size_t n = totals(c, accounts);
	options.nr_begun = n < ADV_ACCOUNT_LINES ? n : ADV_ACCOUNT_LINES;
	memcpy(options.key, o->key, sizeof(options.key));
	int rc = node_of(c, options.node);
	if (rc == 0)
		rc = adv_reporter_start(&options, &c->accounting->reporter);
	if (rc < 0)
		snprintf(reason, size, "what reports to the accounting node could not be started");
	else
		adv_accounting_report(c);
	return rc;
}

/* ---- collecting ---- */

static void store(struct adv_control *c)
{
	struct adv_collected rows[ROWS_AT_ONCE];
	size_t n;
	while ((n = adv_collector_take(c->accounting->collector, rows, ROWS_AT_ONCE)) > 0)
		adv_registry_store_collected(c->registry, rows, n);
}

static void store_fire(struct adv_timer *timer)
{
	store(timer->user);
	adv_timer_set(timer, adv_clock_monotonic_ns() + STORE_NS);
}

struct known {
	struct adv_collected *rows;
	size_t nr, capacity;
};

static void remember(void *user, const struct adv_collected *row)
{
	struct known *k = user;
	if (k->nr == k->capacity) {
		size_t more = k->capacity != 0 ? 2 * k->capacity : 64;
		struct adv_collected *rows = reallocarray(k->rows, more, sizeof(*rows));
		if (rows == NULL)
			return;
		k->rows = rows;
		k->capacity = more;
	}
	k->rows[k->nr++] = *row;
}

static int start_collector(struct adv_control *c, char *reason, size_t size)
{
	struct known known = {0};
	int rc = adv_registry_read_collected(c->registry, remember, &known);
	struct adv_collector_options options = {
		.address = c->options.accounting.listen, .known = known.rows, .nr_known = known.nr};
	memcpy(options.key, c->options.accounting.key, sizeof(options.key));
	if (rc < 0)
		snprintf(reason, size, "what was collected cannot be read");
	else
		rc = adv_collector_start(&options, &c->accounting->collector, reason, size);
	free(known.rows);
	if (rc < 0)
		return rc;
	adv_timer_init(&c->accounting->timer, c->loop, store_fire, c);
	adv_timer_set(&c->accounting->timer, adv_clock_monotonic_ns() + STORE_NS);
	return 0;
}

/* ---- start and stop ---- */

int adv_accounting_start(struct adv_control *c, char *reason, size_t size)
{
	const struct adv_accounting_options *o = &c->options.accounting;
	int rc = 0;
	if (!o->collects && !o->reports)
		return 0;
	c->accounting = calloc(1, sizeof(*c->accounting));
	if (c->accounting == NULL)
		return -ENOMEM;
	if (o->collects)
		rc = start_collector(c, reason, size);
	if (rc == 0 && o->reports)
		rc = start_reporter(c, reason, size);
	return rc;
}

void adv_accounting_stop(struct adv_control *c)
{
	struct adv_accounting *a = c->accounting;
	if (a == NULL)
		return;
	adv_reporter_stop(a->reporter);
	if (a->collector != NULL) {
		adv_timer_set(&a->timer, UINT64_MAX);
		adv_collector_stop(a->collector);
		store(c);
		adv_collector_destroy(a->collector);
	}
	free(a);
	c->accounting = NULL;
}

/* ---- what is to be seen ---- */

json_t *adv_accounting_json(const struct adv_control *c)
{
	const struct adv_accounting *a = c->accounting;
	if (a == NULL)
		return NULL;
	json_t *json = json_object();
	if (a->collector != NULL)
		json_object_set_new(json, "collects",
				    json_pack("{s:i}", "connected",
					      (int)adv_collector_connected(a->collector)));
	if (a->reporter != NULL) {
		struct adv_reporter_state state;
		adv_reporter_state(a->reporter, &state);
		json_object_set_new(json, "reports",
				    json_pack("{s:s, s:b, s:b, s:I, s:s}", "by",
					      c->options.accounting.adds ? "add" : "write",
					      "connected", (int)state.connected, "settled",
					      (int)state.settled, "lines", (json_int_t)state.lines,
					      "why", state.why));
	}
	return json;
}

static json_t *row_json(const struct adv_collected *row)
{
	json_t *json = json_pack("{s:s, s:I, s:s, s:I}", "node", row->node, "tenant",
				 (json_int_t)row->tenant, "by", row->adds ? "add" : "write",
				 "seen_ms", (json_int_t)row->seen_ms);
	for (int k = 0; k < ADV_ACCOUNT_SUMS; k++)
		json_object_set_new(
			json, adv_account_sum_name(k),
			json_integer(
				(json_int_t)(row->sums[k] > INT64_MAX ? INT64_MAX : row->sums[k])));
	return json;
}

void adv_api_accounts(struct adv_control *c, struct adv_http_request *request)
{
	struct adv_collected row;
	if (adv_http_uid(request) != 0) {
		adv_http_fail(request, ADV_FORBIDDEN, "what nodes report is for root alone");
		return;
	}
	if (c->accounting == NULL || c->accounting->collector == NULL) {
		adv_http_fail(request, ADV_INVALID,
			      "this node collects no accounts: see [accounting] in adverb(1)");
		return;
	}
	json_t *lines = json_array();
	for (size_t i = 0; adv_collector_row(c->accounting->collector, i, &row); i++)
		if (row.tenant != ADV_COLLECTED_NODE)
			json_array_append_new(lines, row_json(&row));
	adv_http_respond(request, 200,
			 json_pack("{s:i, s:o}", "connected",
				   (int)adv_collector_connected(c->accounting->collector), "lines",
				   lines));
}

#else

void adv_accounting_report(struct adv_control *c)
{
	(void)c;
}

int adv_accounting_start(struct adv_control *c, char *reason, size_t size)
{
	const struct adv_accounting_options *o = &c->options.accounting;
	if (!o->collects && !o->reports)
		return 0;
	snprintf(reason, size, "this adverb was built without libibverbs and librdmacm");
	return -ENOTSUP;
}

void adv_accounting_stop(struct adv_control *c)
{
	(void)c;
}

json_t *adv_accounting_json(const struct adv_control *c)
{
	(void)c;
	return NULL;
}

void adv_api_accounts(struct adv_control *c, struct adv_http_request *request)
{
	(void)c;
	adv_http_fail(request, ADV_INVALID, "this adverb was built without RDMA");
}

#endif
